"""`amazin du`: sums up objects."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

import click
from rich.filesize import decimal

from amazin.cli.common import examples, json_option
from amazin.cli.options import (
    as_place,
    as_tree,
    gateway_options,
    lone_object,
    selection_options,
)
from amazin.cli.patterns import Selection
from amazin.cli.progress import Display, say
from amazin.client.client import GatewayClient
from amazin.model.names import printable
from amazin.units import counted


@dataclass
class Sum:
    """The objects of a place, and their size."""

    place: str
    objects: int = 0
    bytes: int = 0


def sum_of(client: GatewayClient, place: str, selection: Selection) -> Sum:
    """Sum up the objects below a bucket or a prefix. Raises: ClientError."""
    bucket, prefix = as_tree(place)
    found = Sum(f"{bucket}/{prefix}")
    for entry in client.list(bucket, prefix):
        if selection.takes(entry.key.removeprefix(prefix)):
            found.objects += 1
            found.bytes += entry.size
    is_empty = not (found.objects or selection)
    if is_empty and (alone := lone_object(client, bucket, prefix)):
        return Sum(f"{bucket}/{alone.key}", 1, alone.size)
    return found


def line_of(found: Sum) -> str:
    """Return a sum as a line."""
    size = f"{found.bytes:>14}  {decimal(found.bytes):>9}"
    return f"{size}  {counted(found.objects, 'object'):>14}  {printable(found.place)}"


@click.command(
    epilog=examples("amazin du", "amazin du photos/2025 photos/2026 --include '*.jpg'")
)
@click.argument("places", nargs=-1, metavar="[BUCKET[/PREFIX]]...")
@selection_options
@json_option
@gateway_options
def du(
    client: GatewayClient,
    places: tuple[str, ...],
    selection: Selection,
    is_json: bool,
    quiet: bool,
) -> None:
    """Sum up the sizes of objects.

    A line for each bucket, or for each BUCKET[/PREFIX]: bytes, the same in larger
    units, the number of objects, and the place. Copies on several nodes count once.
    """
    for place in places:
        as_place(place)
    with Display(quiet) as display:
        for place in places or client.buckets():
            with display.noting(place):
                found = sum_of(client, place, selection)
                say(json.dumps(asdict(found)) if is_json else line_of(found))
