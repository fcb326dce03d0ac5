"""`amazin put`: stores one file."""

from __future__ import annotations

import json
import stat
import sys
from dataclasses import asdict
from pathlib import Path

import click

from amazin.cli.common import MistakeError, as_files, examples, json_option
from amazin.cli.options import (
    as_address,
    as_headers,
    check_headers,
    client_of,
    doubtful,
    gateway_options,
    make_bucket_option,
    with_hint,
)
from amazin.cli.progress import Display
from amazin.client.client import GatewayClient
from amazin.client.files import Show, upload
from amazin.client.objects import StoredObject
from amazin.model.names import printable

STANDARD = "-"
DEFAULT_FOLDER = "default/"
"""The prefix of addresses for files that are stored without KEY."""


def address_for(name: str, address: str | None) -> str:
    """Return the address for a file of this name. Raises: MistakeError."""
    if address is None or address.endswith("/"):
        if name == STANDARD:
            raise MistakeError("Standard input has no name: give a whole KEY")
        address = (address or DEFAULT_FOLDER) + name
    return as_address(address)


def check_source(file: str) -> None:
    """Check that the file or pipe exists. Raises: MistakeError."""
    if file == STANDARD:
        if sys.stdin is None:
            raise MistakeError("Standard input is closed")
        return
    path = Path(file)
    try:
        found = path.stat()
    except OSError as exc:
        raise MistakeError(f"{printable(str(path))}: {exc.strerror}") from exc
    if stat.S_ISDIR(found.st_mode):
        raise MistakeError(f"{printable(str(path))} is a folder: amazin cp -r takes it")


def store(
    client: GatewayClient,
    file: str,
    address: str,
    headers: dict[str, str],
    show: Show,
) -> StoredObject:
    """Store a file, or standard input. Raises: ClientError."""
    if file == STANDARD:
        return client.put(address, sys.stdin.buffer, None, headers)
    return upload(client, Path(file), address, headers, show)


def put_one(
    display: Display,
    client: GatewayClient,
    file: str,
    address: str,
    headers: dict[str, str],
) -> StoredObject | None:
    """Store a file and show the progress; None: it failed."""
    with display.noting(address), display.bar(file, None) as show, with_hint():
        return store(client, file, address, headers, show)
    return None


@click.command(
    epilog=examples(
        "amazin put cat.jpg photos/2026/cat.jpg",
        "amazin put --header 'X-Meta-Owner: ann' cat.jpg photos/ --make-bucket",
        "tar c . | amazin put - backups/today.tar --type application/x-tar",
    )
)
@click.argument("file", shell_complete=as_files)
@click.argument("key", required=False)
@click.option("--type", "content_type", metavar="TYPE", help="Content-Type to keep.")
@click.option(
    "--header",
    "headers",
    multiple=True,
    callback=as_headers,
    metavar="NAME:VALUE",
    help=(
        "Header to keep with it, as 'X-Meta-Owner: ann'; several times. Another X- "
        "header is kept only if the gateway's METADATA_HEADERS names it."
    ),
)
@make_bucket_option
@json_option
@gateway_options
def put(
    file: str,
    key: str | None,
    content_type: str | None,
    headers: dict[str, str],
    make_bucket: bool,
    is_json: bool,
    url: str,
    token: str | None,
    quiet: bool,
) -> None:
    """Store a file as an object.

    FILE - is standard input. KEY is a bucket and a key, or, without a slash, the id of
    an object. If it ends in a slash, the file's name is appended; without KEY it is
    default/ and the file's name. The MD5 of the stored object is compared with that of
    the file. A file that changes meanwhile is not stored.
    """
    client = client_of(url, token)
    check_source(file)
    address = address_for(Path(file).name, key)
    if content_type is not None:
        headers["Content-Type"] = content_type
    check_headers(headers)
    with Display(quiet) as display:
        if make_bucket and "/" in address:
            client.make_bucket(address.partition("/")[0])
        stored = put_one(display, client, file, address, headers)
        for name in doubtful(headers) if stored else ():
            display.warn(f"{name} is kept only if METADATA_HEADERS there names it")
        if stored and is_json:
            click.echo(json.dumps(asdict(stored)))
        elif stored:
            display.print(f"Stored {printable(address)}, {stored.size} bytes")
