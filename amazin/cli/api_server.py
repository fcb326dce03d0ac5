"""`amazin api-server`: serves uploads and downloads of blobs on blob servers."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from amazin.blobs.sos_conf import (
    SERVERS_VARIABLE,
    BlobServer,
    dump,
    read_servers,
    table,
)
from amazin.cli.common import GoCommand, MistakeError, examples
from amazin.serving.checks import open_access
from amazin.serving.processes import bind_address
from amazin.serving.start import run_gunicorn
from amazin.settings.config_file import load_settings

_PORT = click.IntRange(1, 65535)
NO_SERVERS = (
    "No blob servers are known: name them with -blob-server URL,URL, in /etc/sos.conf "
    "or in ~/.sos.conf"
)


@click.command(
    "api-server",
    cls=GoCommand,
    epilog=examples("amazin api-server -blob-server http://b1:3001,http://b2:3001"),
)
@click.option(
    "-blob-server",
    "--blob-server",
    "given",
    metavar="URL,URL",
    help="The blob servers; by default those of /etc/sos.conf and ~/.sos.conf.",
)
@click.option(
    "-api-host",
    "--api-host",
    default="0.0.0.0",
    show_default=True,
    help="Address to listen on.",
)
@click.option(
    "-upload-port",
    "--upload-port",
    type=_PORT,
    default=9991,
    show_default=True,
    help="Port of /upload.",
)
@click.option(
    "-download-port",
    "--download-port",
    type=_PORT,
    default=9992,
    show_default=True,
    help="Port of /fetch/ID.",
)
@click.option(
    "-dump", "--dump", "is_dump", is_flag=True, help="Print the blob servers, and exit."
)
@click.option(
    "-verbose", "--verbose", is_flag=True, help="Log the requests to blob servers."
)
def api_server(
    given: str | None,
    api_host: str,
    upload_port: int,
    download_port: int,
    is_dump: bool,
    verbose: bool,
) -> None:
    """Serve uploads and downloads of blobs, which blob servers keep.

    These settings apply: those of the server, of uploads and of access, the time limits
    of nodes, and REPLICAS.
    """
    home = Path(os.path.expanduser("~"))  # noqa: PTH111 - there may be none
    servers = read_servers(given or None, home)
    if is_dump:
        click.echo(dump(servers).removesuffix("\n"))
        return
    if not servers:
        raise MistakeError(NO_SERVERS)
    if upload_port == download_port:
        raise MistakeError("-upload-port and -download-port can't be the same")
    settings = load_settings(os.environ)
    if verbose:
        os.environ["LOG_LEVEL"] = "debug"
    upload = bind_address(api_host, upload_port)
    download = bind_address(api_host, download_port)
    click.echo(start_lines(upload, download, servers))
    # Not as arguments: other users can see a command line, and URLs may have secrets.
    os.environ[SERVERS_VARIABLE] = json.dumps(servers)
    app = f"amazin.serving.blob_apps:api_server({upload_port}, {download_port})"
    addresses = (api_host, upload_port), (api_host, download_port)
    warning = open_access(settings, addresses)
    run_gunicorn(app, upload, download, start_lines=warning)


def start_lines(upload: str, download: str, servers: list[BlobServer]) -> str:
    """Return the text that is printed before the server starts, as by sos."""
    lines = (
        *("[Launching API-server]", ""),
        *("Upload service", f"http://{upload}/upload", ""),
        *("Download service", f"http://{download}/fetch/:id", ""),
        *("Blob-servers:", table(servers).removesuffix("\n"), ""),
    )
    return "\n".join(lines)
