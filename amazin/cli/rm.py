"""`amazin rm`: removes objects."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from itertools import islice

import click

from amazin.cli.common import MistakeError, examples
from amazin.cli.options import as_address, as_tree, client_of, gateway_options
from amazin.cli.progress import Display
from amazin.client.client import PAGE_KEYS, GatewayClient
from amazin.errors import ClientError
from amazin.model.names import printable
from amazin.units import counted


def remove_one(display: Display, client: GatewayClient, address: str) -> None:
    """Remove an object; note a failure."""
    with display.noting(address):
        client.delete(address)


def remove_tree(
    display: Display, client: GatewayClient, bucket: str, prefix: str
) -> None:
    """Remove all objects of a bucket whose keys begin with `prefix`; note failures."""
    try:
        keys = (entry.key for entry in client.list(bucket, prefix))
        for batch in batches(keys):
            left = client.delete_all(bucket, batch)
            for unremoved in left:
                label = f"{bucket}/{unremoved.key}"
                display.note_failure(label, ClientError(unremoved.reason))
            display.note_done(len(batch) - len(left))
    except ClientError as exc:
        display.note_failure(f"{bucket}/{prefix}", exc)


def batches(keys: Iterable[str]) -> Iterator[list[str]]:
    """Yield the keys in lists of up to `PAGE_KEYS`."""
    rest = iter(keys)
    while batch := list(islice(rest, PAGE_KEYS)):
        yield batch


@click.command(
    epilog=examples(
        "amazin rm photos/2026/cat.jpg cat1",
        "amazin rm -r photos/2025 --yes",
    )
)
@click.argument("keys", nargs=-1, required=True, metavar="KEY...")
@click.option("-r", "--recursive", is_flag=True, help="All that is below KEY.")
@click.option("--yes", is_flag=True, help="Don't ask.")
@gateway_options
def rm(
    keys: tuple[str, ...],
    recursive: bool,
    yes: bool,
    url: str,
    token: str | None,
    quiet: bool,
) -> None:
    """Remove objects.

    KEY is a bucket and a key, or, without a slash, the id of an object. An object that
    doesn't exist is no error. With -r, KEY is a bucket, or a bucket and a prefix:
    photos/2026 removes the keys that begin with 2026/ in the bucket photos. The bucket
    stays.
    """
    client = client_of(url, token)
    trees = [as_tree(key) for key in keys] if recursive else []
    addresses = [] if recursive else [as_address(key) for key in keys]
    if recursive and not yes:
        if sys.stdin is None:
            raise MistakeError("Standard input is closed: --yes asks nothing")
        places = ", ".join(printable("/".join(tree)) for tree in trees)
        click.confirm(f"Remove everything below {places}?", abort=True, err=True)
    with Display(quiet) as display:
        for address in addresses:
            remove_one(display, client, address)
        for tree in trees:
            remove_tree(display, client, *tree)
        if recursive:
            display.print(f"Removed {counted(display.done, 'object')}")
