"""`amazin import-blobs`: imports the blobs that `sos` stored in a folder."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import asdict
from functools import partial
from pathlib import Path

import click
from rich.progress import Progress

from amazin.blobs.folder_store import BlobFolder
from amazin.blobs.importing import Import, Report
from amazin.cli.blob_server import opened_folder
from amazin.cli.common import (
    FailureError,
    MistakeError,
    examples,
    json_option,
    new_console,
)
from amazin.errors import NodeFullError
from amazin.settings.config_file import reason

_MAX_SHOWN = 20


@click.command(
    "import-blobs",
    epilog=examples("amazin import-blobs -store /srv/blobs /srv/sos/data"),
)
@click.option(
    "-store", "--store", default="data", show_default=True, help="Folder of the blobs."
)
@click.argument(
    "source",
    metavar="[FROM]",
    required=False,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
)
@json_option
def import_blobs(store: str, source: Path | None, is_json: bool) -> None:
    """Take over the blobs that sos stored in a folder.

    Blobs in the store itself are moved; those in another folder FROM are copied, and
    stay there. Stored blobs are never overwritten. The file of a damaged blob is
    removed from the store once a whole copy is stored there. Nothing else may write to
    the folder meanwhile, but `amazin blob-server` may serve the store. The import can
    be stopped and started again at any time.
    """
    if source and source.resolve() == Path(store).resolve():
        source = None
    with closing(opened_folder(store)) as folder:
        report = run_import(folder, source)
    if is_json:
        click.echo(json.dumps(asdict(report), indent=2))
    else:
        click.echo(
            f"Imported {report.imported} blobs ({report.bytes} bytes); "
            f"{report.already} were stored already."
        )
    for blob_id, why in list(report.failures.items())[:_MAX_SHOWN]:
        click.echo(f"{blob_id}: {why}", err=True)
    if report.failures:
        raise FailureError(f"{len(report.failures)} blobs were left where they are.")


def run_import(folder: BlobFolder, source: Path | None) -> Report:
    """Import all blobs, and show the progress. Raises: MistakeError, FailureError."""
    work = Import(folder, source)
    try:
        ids = work.ids()
    except OSError as exc:
        raise MistakeError(f"The folder can't be read: {reason(exc)}") from exc
    console = new_console()
    with Progress(console=console, disable=not console.is_interactive) as progress:
        task = progress.add_task("Importing", total=len(ids))
        try:
            return work.run(ids, partial(progress.advance, task))
        except NodeFullError as exc:
            message = f"The disk is full; {work.report.imported} blobs were imported"
            raise FailureError(message) from exc
