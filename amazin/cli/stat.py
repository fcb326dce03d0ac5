"""`amazin stat`: shows the properties of objects."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, replace
from email.utils import parsedate_to_datetime

import click

from amazin.cli.common import examples, json_option
from amazin.cli.options import as_address, gateway_options, with_hints
from amazin.cli.progress import Display, say
from amazin.client.client import GatewayClient
from amazin.client.objects import StoredObject
from amazin.model.names import printable

WIDTH = 14


def with_time(found: StoredObject) -> StoredObject:
    """Return the properties with the time as in lists, if it can be read."""
    with suppress(ValueError, TypeError):
        time = parsedate_to_datetime(found.last_modified)
        return replace(found, last_modified=f"{time:%Y-%m-%dT%H:%M:%SZ}")
    return found


def lines_of(address: str, found: StoredObject, headers: dict[str, str]) -> list[str]:
    """Return the properties, one a line."""
    rows = {
        "Object": address,
        "Size": str(found.size),
        "Last-Modified": found.last_modified,
        "ETag": found.etag,
        **headers,
    }
    return [f"{name:<{WIDTH}} {printable(value)}" for name, value in rows.items()]


@click.command("stat", epilog=examples("amazin stat photos/2026/cat.jpg"))
@click.argument("keys", nargs=-1, required=True, metavar="KEY...")
@json_option
@gateway_options
def stat_command(
    client: GatewayClient, keys: tuple[str, ...], is_json: bool, quiet: bool
) -> None:
    """Show the properties of objects.

    The size in bytes, the time, the ETag, and the headers that are kept with it. With
    --json, a line for each.
    """
    addresses = [as_address(key) for key in keys]
    with Display(quiet) as display:
        for position, address in enumerate(addresses):
            with display.noting(address), with_hints(client, source=address):
                found, headers = client.inspect(address)
                found = with_time(found)
                if is_json:
                    say(json.dumps({**asdict(found), "headers": headers}))
                    continue
                lines = lines_of(address, found, headers)
                say("\n".join([""] * bool(position) + lines))
