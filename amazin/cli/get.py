"""`amazin get`: fetches one object."""

from __future__ import annotations

import click

from amazin.cli.common import as_files, examples
from amazin.cli.copying import Copier, is_shown, print_done
from amazin.cli.options import as_address, dry_run_option, transfer_options
from amazin.cli.places import Kind, Way, file_for
from amazin.cli.progress import Display
from amazin.client.client import GatewayClient


@click.command(
    epilog=examples(
        "amazin get photos/2026/cat.jpg",
        "amazin get photos/2026/cat.jpg /tmp/cat.jpg",
        "amazin get backups/today.tar - | tar t",
    )
)
@click.argument("key")
@click.argument("file", required=False, shell_complete=as_files)
@dry_run_option
@transfer_options
def get(
    client: GatewayClient, key: str, file: str | None, is_dry: bool, quiet: bool
) -> None:
    """Fetch an object into a file.

    KEY is a bucket and a key, or, without a slash, the id of an object. FILE is the
    last part of the key unless given; - is standard output. An existing file is
    replaced only when the whole object has come, with the right MD5. A download
    continues if its connection breaks; the next run continues one that was stopped.
    """
    address = as_address(key)
    way = Way(Kind.DOWNLOAD, address, file_for(address, file))
    with Display(quiet, not is_dry and not is_shown(way.target)) as display:
        copier = Copier(client, display, is_dry=is_dry)
        if stored := copier.run(way):
            print_done(copier, way, stored)
