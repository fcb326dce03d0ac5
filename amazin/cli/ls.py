"""`amazin ls`: lists buckets or objects."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import click

from amazin.cli.common import examples, json_option
from amazin.cli.options import (
    as_place,
    gateway_options,
    selection_options,
)
from amazin.cli.patterns import Selection
from amazin.cli.progress import Display
from amazin.client.client import GatewayClient
from amazin.client.objects import StoredObject
from amazin.errors import ClientError
from amazin.model.names import printable

SIZE_DIGITS = 12
TIME_LETTERS = 19
"""The letters of an RFC 3339 time up to the second."""


def print_array(entries: Iterable[Any]) -> None:
    """Print a JSON array as entries come; after an error it is not closed."""
    before = "["
    for entry in entries:
        click.echo(before + json.dumps(entry), nl=False)
        before = ",\n"
    click.echo("]" if before != "[" else "[]")


def line_of(entry: StoredObject) -> str:
    """Return size, time and key as a line; control characters are escaped."""
    size = time = ""
    if not entry.is_prefix:
        size, time = str(entry.size), f"{entry.last_modified[:TIME_LETTERS]}Z"
    width = TIME_LETTERS + 1
    return f"{size:>{SIZE_DIGITS}}  {printable(time):{width}}  {printable(entry.key)}"


def show(
    client: GatewayClient,
    place: str,
    is_recursive: bool,
    selection: Selection,
    is_json: bool,
) -> None:
    """Print buckets or objects as they come. Raises: ClientError, also midway."""
    if not place:
        names = client.buckets()
        if is_json:
            print_array(names)
        for name in names if not is_json else []:
            click.echo(printable(name))
        return
    bucket, prefix = as_place(place)
    start = prefix.rpartition("/")[0] + "/" if "/" in prefix else ""
    entries = (
        entry
        for entry in client.list(bucket, prefix, is_recursive)
        if selection.takes(entry.key.removeprefix(start))
    )
    if is_json:
        print_array(map(asdict, entries))
        return
    for entry in entries:
        click.echo(line_of(entry))


@click.command(
    epilog=examples(
        "amazin ls",
        "amazin ls photos/2026/",
        "amazin ls -r --json photos | jq '.[].key'",
    )
)
@click.argument("place", required=False, default="", metavar="[BUCKET[/PREFIX]]")
@click.option("-r", "--recursive", is_flag=True, help="Also what is below slashes.")
@selection_options
@json_option
@gateway_options
def ls(
    client: GatewayClient,
    place: str,
    recursive: bool,
    selection: Selection,
    is_json: bool,
    quiet: bool,
) -> None:
    """List the buckets, or the objects of one.

    Objects are listed in key order, with their size in bytes and their time. PREFIX is
    the beginning of the keys. Without -r, keys with the same text up to a slash behind
    PREFIX are one line. Control characters are escaped, but not with --json. The JSON
    array is closed only if the list is complete.
    """
    if place:
        as_place(place)
    with Display(quiet) as display:
        try:
            show(client, place, recursive, selection, is_json)
        except ClientError as exc:
            display.note_failure(place or "buckets", exc)
