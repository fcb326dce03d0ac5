"""`amazin rm`: removes objects."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice

import click

from amazin.cli.common import MistakeError, examples
from amazin.cli.options import (
    as_address,
    as_tree,
    dry_run_option,
    gateway_options,
    lone_object,
    selection_options,
    what_is_at,
)
from amazin.cli.patterns import ALL, Selection
from amazin.cli.progress import Display
from amazin.client.client import PAGE_KEYS, GatewayClient
from amazin.errors import ClientError, RefusedError
from amazin.model.names import printable
from amazin.units import counted


class Removal:
    """Removes objects, or only says which ones."""

    def __init__(self, client: GatewayClient, display: Display, is_dry: bool) -> None:
        self._client = client
        self._display = display
        self._is_dry = is_dry

    def one(self, address: str) -> None:
        """Remove an object; note a failure, also if others are below it."""
        with self._display.noting(address):
            others = self._others(address)
            if others:
                raise ClientError(f"No such object; {others}: {remedy(address)}")
            if not self._say(address):
                self._client.delete(address)

    def _others(self, address: str) -> str:
        """Return what there is if there is no object; empty: an object, or nothing."""
        try:
            self._client.head(address)
        except ClientError as exc:
            # A damaged object can't be read, but removed.
            if isinstance(exc, RefusedError) and exc.status == 404:
                with suppress(ClientError):
                    return what_is_at(self._client, address)
        return ""

    def tree(self, bucket: str, prefix: str, selection: Selection = ALL) -> None:
        """Remove the objects of a bucket whose keys begin with `prefix`.

        Failures are noted: also that there is only an object whose key is the prefix
        without its slash.
        """
        count = 0
        try:
            keys = (
                entry.key
                for entry in self._client.list(bucket, prefix)
                if selection.takes(entry.key.removeprefix(prefix))
            )
            for batch in batches(keys):
                self._remove(bucket, batch)
                count += len(batch)
            is_empty = not (count or selection)
            if is_empty and lone_object(self._client, bucket, prefix):
                raise ClientError("Nothing is below it, it is an object: rm without -r")
        except ClientError as exc:
            self._display.note_failure(f"{bucket}/{prefix}", exc)

    def _remove(self, bucket: str, keys: list[str]) -> None:
        if self._is_dry:
            for key in keys:
                self._say(f"{bucket}/{key}")
            self._display.note_done(len(keys))
            return
        left = self._client.delete_all(bucket, keys)
        for unremoved in left:
            label = f"{bucket}/{unremoved.key}"
            self._display.note_failure(label, ClientError(unremoved.reason))
        self._display.note_done(len(keys) - len(left))

    def _say(self, address: str) -> bool:
        """Say what would be removed; return whether nothing is to be removed."""
        if self._is_dry:
            self._display.print(f"Would remove {printable(address)}")
        return self._is_dry


def remedy(address: str) -> str:
    """Return how to remove what is at an address."""
    place = printable(address)
    if "/" not in address:
        return f"`amazin rm -r {place}` removes its objects, `amazin rb` the bucket"
    return f"`amazin rm -r {place}` removes them"


def batches(keys: Iterable[str]) -> Iterator[list[str]]:
    """Yield the keys in lists of up to `PAGE_KEYS`."""
    rest = iter(keys)
    while batch := list(islice(rest, PAGE_KEYS)):
        yield batch


def ask(question: str) -> None:
    """Ask, and end the command without a yes. Raises: MistakeError: nobody can answer.

    `--yes` asks nothing.
    """
    if sys.stdin is None:
        raise MistakeError("Standard input is closed: --yes asks nothing")
    click.confirm(question, abort=True, err=True)


@click.command(
    epilog=examples(
        "amazin rm photos/2026/cat.jpg cat1",
        "amazin rm -r photos/2025 --yes",
        "amazin rm -r photos --include '*.tmp' --dry-run",
    )
)
@click.argument("keys", nargs=-1, required=True, metavar="KEY...")
@click.option("-r", "--recursive", is_flag=True, help="All that is below KEY.")
@selection_options
@dry_run_option
@click.option("-y", "--yes", "-f", "--force", "yes", is_flag=True, help="Don't ask.")
@gateway_options
def rm(
    client: GatewayClient,
    keys: tuple[str, ...],
    recursive: bool,
    selection: Selection,
    is_dry: bool,
    yes: bool,
    quiet: bool,
) -> None:
    """Remove objects.

    KEY is a bucket and a key, or, without a slash, the id of an object. An object that
    doesn't exist is no error, unless there are others below it. With -r, KEY is a
    bucket, or a bucket and a prefix: photos/2026 removes the keys that begin with 2026/
    in the bucket photos. The bucket stays; `amazin rb` removes it.
    """
    if selection and not recursive:
        raise MistakeError("--include and --exclude need -r")
    trees = [as_tree(key) for key in keys] if recursive else []
    addresses = [] if recursive else [as_address(key) for key in keys]
    if recursive and not yes and not is_dry:
        places = ", ".join(printable("/".join(tree)) for tree in trees)
        what = "what is selected" if selection else "everything"
        ask(f"Remove {what} below {places}?")
    with Display(quiet, not is_dry) as display:
        removal = Removal(client, display, is_dry)
        for address in addresses:
            removal.one(address)
        for tree in trees:
            removal.tree(*tree, selection)
        if recursive:
            verb = "Would remove" if is_dry else "Removed"
            display.print(f"{verb} {counted(display.done, 'object')}")
