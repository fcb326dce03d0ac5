"""`amazin get`: fetches one object."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import click

from amazin.cli.common import MistakeError, as_files, examples
from amazin.cli.options import as_address, client_of, gateway_options, last_segment
from amazin.cli.progress import Display
from amazin.cli.put import STANDARD
from amazin.client.client import GatewayClient
from amazin.client.files import Show, copy, download, remove_leftovers
from amazin.client.objects import StoredObject
from amazin.model.names import printable


def file_for(address: str, file: str | None) -> str:
    """Return the path of the file for an object; `-` is standard output.

    Raises: MistakeError: the path can't be used.
    """
    if file == STANDARD:
        if sys.stdout is None:
            raise MistakeError("Standard output is closed")
        return file
    if file is None:
        return last_segment(address)
    if Path(file).is_dir():
        return str(Path(file) / last_segment(address))
    if file.endswith("/"):
        raise MistakeError(f"There is no folder {printable(file)}")
    return file


def fetch(client: GatewayClient, address: str, file: str, show: Show) -> StoredObject:
    """Fetch an object into a file, or write it to standard output or a device.

    A file is replaced only by the whole object.

    Raises: ClientError, OSError.
    """
    if file == STANDARD:
        with client.get(address) as stream:
            copy(stream, sys.stdout.buffer, show)
        sys.stdout.buffer.flush()
        return stream.info
    path = Path(file)
    if path.exists() and not stat.S_ISREG(path.stat().st_mode):
        with client.get(address) as stream, path.open("wb", buffering=0) as device:
            copy(stream, device, show)
        return stream.info
    path = Path(os.path.realpath(file))  # a link is not replaced
    stored = download(client, address, path, show)
    remove_leftovers(path)
    return stored


def get_one(
    display: Display, client: GatewayClient, address: str, file: str
) -> StoredObject | None:
    """Fetch an object and show the progress; None: it failed."""
    with display.noting(address), display.bar(address, None) as show:
        return fetch(client, address, file, show)
    return None


def is_output(file: str) -> bool:
    """Whether the file is standard output, also by another name."""
    try:
        return file == STANDARD or os.path.samestat(Path(file).stat(), os.fstat(1))
    except (OSError, ValueError):
        return False


def is_shown(file: str) -> bool:
    """Whether the object is printed on the terminal."""
    return is_output(file) and sys.stdout is not None and sys.stdout.isatty()


def print_fetched(display: Display, file: str, stored: StoredObject) -> None:
    """Print that an object was fetched, unless its bytes are on standard output."""
    if not is_output(file):
        display.print(f"Fetched {printable(file)}, {stored.size} bytes")


@click.command(
    epilog=examples(
        "amazin get photos/2026/cat.jpg",
        "amazin get photos/2026/cat.jpg /tmp/cat.jpg",
        "amazin get backups/today.tar - | tar t",
    )
)
@click.argument("key")
@click.argument("file", required=False, shell_complete=as_files)
@gateway_options
def get(key: str, file: str | None, url: str, token: str | None, quiet: bool) -> None:
    """Fetch an object into a file.

    KEY is a bucket and a key, or, without a slash, the id of an object. FILE is the
    last part of the key unless given; - is standard output. An existing file is
    replaced only when the whole object has come, with the right MD5. A download
    continues if its connection breaks; the next run continues one that was stopped.
    """
    client = client_of(url, token)
    place = file_for(as_address(key), file)
    with Display(quiet, not is_shown(place)) as display:
        if stored := get_one(display, client, key, place):
            print_fetched(display, place, stored)
