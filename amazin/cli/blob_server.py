"""`amazin blob-server`: serves a folder of blobs to api-servers."""

from __future__ import annotations

import os
from pathlib import Path

import click

from amazin.blobs.folder_store import BlobFolder
from amazin.cli.common import MistakeError, examples
from amazin.errors import SettingsError
from amazin.serving.checks import open_access
from amazin.serving.processes import bind_address
from amazin.serving.start import run_gunicorn
from amazin.settings.config_file import load_settings, reason


@click.command(
    "blob-server",
    epilog=examples("amazin blob-server -store /srv/blobs -port 3001"),
)
@click.option(
    "-store", "--store", default="data", show_default=True, help="Folder of the blobs."
)
@click.option(
    "-port",
    "--port",
    type=click.IntRange(1, 65535),
    default=3001,
    show_default=True,
    help="Port to listen on.",
)
@click.option(
    "-host",
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on.",
)
def blob_server(store: str, port: int, host: str) -> None:
    """Serve a folder of blobs.

    The folder is made if it is missing. Blobs that `sos` stored in it are served in
    place; `amazin import-blobs` imports them. These settings apply: those of the
    server, of uploads and of access.
    """
    settings = load_settings(os.environ)
    folder = made_folder(store)
    opened_folder(store).close()
    address = bind_address(host, port)
    # As sos does, before it listens.
    click.echo(f"blob-server available at http://{address}/")
    click.echo(f"Uploads will be written beneath: {store}")
    app = f"amazin.serving.blob_apps:blob_server({str(folder)!r})"
    run_gunicorn(app, address, start_lines=open_access(settings, [(host, port)]))


def opened_folder(store: str) -> BlobFolder:
    """Open a folder of blobs. Raises: MistakeError: it can't hold blobs."""
    if not Path(store).is_dir():
        raise MistakeError(f"-store: there is no folder {store}")
    try:
        return BlobFolder(Path(store).absolute())
    except SettingsError as exc:
        raise MistakeError(str(exc)) from exc


def made_folder(store: str) -> Path:
    """Make the folder if it is missing; return its path. Raises: MistakeError."""
    folder = Path(store).absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise MistakeError(f"-store: {store} can't be made: {reason(exc)}") from exc
    return folder
