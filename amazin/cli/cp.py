"""`amazin cp`: copies files and folders to a gateway, and back."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import click

from amazin.cli.common import MistakeError, as_files, examples
from amazin.cli.get import file_for, get_one, is_shown, print_fetched
from amazin.cli.options import (
    as_address,
    as_tree,
    client_of,
    gateway_options,
    make_bucket_option,
)
from amazin.cli.progress import Display
from amazin.cli.put import STANDARD, address_for, check_source, put_one
from amazin.cli.trees import Trees
from amazin.client.client import GatewayClient
from amazin.errors import ClientError
from amazin.model.names import printable
from amazin.units import counted

MARK = "amazin:"
"""The prefix that marks an argument as an address."""
MAX_JOBS = 32


class Direction(NamedTuple):
    """The direction of a copy, and both of its ends."""

    is_upload: bool
    local: str
    address: str


def direction_of(source: str, target: str) -> Direction:
    """Decide which side is local. Raises: MistakeError: neither or both may be."""
    sides = (is_local(source), is_local(target))
    if sides[0] == sides[1] and sides[0] is not None:
        where = "here" if sides[0] else "in the store"
        raise MistakeError(f"Both sides are {where}; cp copies between the two")
    if sides == (None, None):
        sides = guessed(source, target)
    is_upload = bool(sides[0] if sides[0] is not None else not sides[1])
    local, address = (source, target) if is_upload else (target, source)
    return Direction(is_upload, local, address.removeprefix(MARK))


def is_local(text: str) -> bool | None:
    """Whether an argument is a path, not an address; None: it may be either."""
    if text.startswith(MARK):
        return False
    is_path = text in (".", "..", STANDARD) or text.startswith(("/", "./", "../"))
    return True if is_path else None


def guessed(source: str, target: str) -> tuple[bool | None, bool | None]:
    """Return whether each side is local: the one that exists here.

    Raises: MistakeError: both exist.
    """
    is_here = Path(source).exists() or Path(source).is_symlink()
    if is_here and Path(target).exists():
        raise MistakeError(
            f"Both {source!r} and {target!r} exist here: write ./ before the local one,"
            f" or {MARK} before the other"
        )
    return is_here, not is_here


def with_target_name(direction: Direction) -> Direction:
    """Return the direction with the full name of the target.

    Raises: MistakeError: the file, the folder or the address can't be used.
    """
    if direction.is_upload:
        check_source(direction.local)
        address = address_for(Path(direction.local).name, direction.address)
        return direction._replace(address=address)
    place = file_for(as_address(direction.address), direction.local)
    return direction._replace(local=place)


def copy_one(display: Display, client: GatewayClient, direction: Direction) -> None:
    """Copy one file or object."""
    if direction.is_upload:
        if stored := put_one(display, client, direction.local, direction.address, {}):
            display.print(f"Stored {printable(direction.address)}, {stored.size} bytes")
    elif stored := get_one(display, client, direction.address, direction.local):
        print_fetched(display, direction.local, stored)


def copy_tree(trees: Trees, is_upload: bool) -> None:
    """Copy a folder, or all objects with a prefix."""
    display = trees.display
    display.show_total()
    try:
        count = trees.upload() if is_upload else trees.download()
    except (ClientError, OSError) as exc:
        display.note_failure(f"{trees.bucket}/{trees.prefix}", exc)
        return
    done = "Stored" if is_upload else "Fetched"
    left = display.done - count
    display.print(f"{done} {counted(count, 'object')}, {left} were there already")


def tree_of(direction: Direction) -> tuple[str, str]:
    """Return bucket and prefix for the copy of a folder.

    Raises: MistakeError: the address has no bucket, or the local side is no folder.
    """
    path = Path(direction.local)
    if direction.local == STANDARD:
        raise MistakeError("-r needs a folder")
    if (direction.is_upload or path.exists()) and not path.is_dir():
        raise MistakeError(f"{printable(direction.local)} is no folder")
    return as_tree(direction.address)


@click.command(
    epilog=examples(
        "amazin cp -r ./pictures photos/2026",
        "amazin cp -r photos/2026 ./pictures",
        "amazin cp cat.jpg photos/2026/",
    )
)
@click.argument("source", shell_complete=as_files)
@click.argument("target", shell_complete=as_files)
@click.option("-r", "--recursive", is_flag=True, help="All that is below SOURCE.")
@click.option(
    "--jobs",
    type=click.IntRange(1, MAX_JOBS),
    default=4,
    show_default=True,
    help="Objects at a time, with -r.",
)
@make_bucket_option
@gateway_options
def cp(
    source: str,
    target: str,
    recursive: bool,
    jobs: int,
    make_bucket: bool,
    url: str,
    token: str | None,
    quiet: bool,
) -> None:
    """Copy files to the store, or objects from it.

    One side is local. To say which, begin it with ./, ../ or /, or begin the other side
    with `amazin:`. Otherwise the side that exists here is local; it is an error if both
    exist.

    With -r the files below one side get the same names below the other. Files that are
    there already, with the same size and MD5, are skipped, so a stopped run can be
    started again. Files that fail are reported, and the others are copied.
    """
    client = client_of(url, token)
    direction = direction_of(source, target)
    bucket, prefix = tree_of(direction) if recursive else ("", "")
    if not recursive:
        direction = with_target_name(direction)
    with Display(quiet, not is_shown(direction.local)) as display:
        has_bucket = recursive or "/" in direction.address
        if make_bucket and direction.is_upload and has_bucket:
            client.make_bucket(direction.address.partition("/")[0])
        if recursive:
            folder = Path(direction.local)
            trees = Trees(client, display, folder, bucket, prefix, jobs)
            copy_tree(trees, direction.is_upload)
        else:
            copy_one(display, client, direction)
