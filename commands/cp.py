"""`amazin cp`: files and folders to a gateway, and back."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import click

from commands import MistakeError, as_files, examples
from commands.get import file_for, get_one, is_shown
from commands.put import STANDARD, address_for, check_is_file, put_one
from commands.transfers import (
    Board,
    as_address,
    as_tree,
    client_of,
    counted,
    gateway_options,
    make_bucket_option,
)
from commands.trees import Trees
from errors import ClientError
from gateway_client import GatewayClient
from object_names import printable

MARK = "amazin:"
"""Before an address: it is one, whatever lies here."""
MAX_JOBS = 32


class Way(NamedTuple):
    """What is copied where."""

    is_upload: bool
    local: str
    address: str


def way(source: str, target: str) -> Way:
    """Tell which side is the local one. Raises: MistakeError: that can't be told."""
    sides = (is_local(source), is_local(target))
    if sides[0] == sides[1] and sides[0] is not None:
        where = "here" if sides[0] else "in the store"
        raise MistakeError(f"Both sides are {where}; cp copies between the two")
    if sides == (None, None):
        sides = guessed(source, target)
    is_upload = bool(sides[0] if sides[0] is not None else not sides[1])
    local, address = (source, target) if is_upload else (target, source)
    return Way(is_upload, local, address.removeprefix(MARK))


def is_local(text: str) -> bool | None:
    """Whether a side is a path, as it is written; None: it may be either."""
    if text.startswith(MARK):
        return False
    is_path = text in (".", "..", STANDARD) or text.startswith(("/", "./", "../"))
    return True if is_path else None


def guessed(source: str, target: str) -> tuple[bool | None, bool | None]:
    """Tell by what exists here. Raises: MistakeError, if both do."""
    is_here = Path(source).exists() or Path(source).is_symlink()
    if is_here and Path(target).exists():
        raise MistakeError(
            f"Both {source!r} and {target!r} exist here: write ./ before the local one,"
            f" or {MARK} before the other"
        )
    return is_here, not is_here


def copy_one(board: Board, client: GatewayClient, way: Way) -> None:
    """Copy one file or object."""
    if way.is_upload:
        address = address_for(Path(way.local).name, way.address)
        if stored := put_one(board, client, way.local, address, {}):
            board.tell(f"Stored {printable(address)}, {stored.size} bytes")
        return
    place = file_for(way.address, way.local)
    stored = get_one(board, client, way.address, place)
    if stored and place != STANDARD:
        board.tell(f"Fetched {printable(place)}, {stored.size} bytes")


def copy_tree(trees: Trees, is_upload: bool) -> None:
    """Copy all that is below."""
    board = trees.board
    board.show_total()
    try:
        count = trees.upload() if is_upload else trees.download()
    except (ClientError, OSError) as exc:
        board.failed(f"{trees.bucket}/{trees.prefix}", exc)
        return
    done = "Stored" if is_upload else "Fetched"
    left = board.done - count
    board.tell(f"{done} {counted(count)}, {left} were there already")


def check_local(way: Way, is_recursive: bool) -> None:
    """Raises: MistakeError: the local side is not what it must be."""
    path = Path(way.local)
    if not is_recursive:
        if way.is_upload and way.local != STANDARD:
            check_is_file(path)
        if not way.is_upload:
            as_address(way.address)
    elif way.local == STANDARD:
        raise MistakeError("-r needs a folder")
    elif (way.is_upload or path.exists()) and not path.is_dir():
        raise MistakeError(f"{printable(way.local)} is no folder")


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

    One side is local: begin it with ./, ../ or /, or begin the other with amazin: to
    say which. Without either, what exists here is local; if both do, it is refused.

    With -r the files below the one side get the same names below the other. What is
    there already, with the same size and MD5, is left out: so a run that was stopped is
    simply begun again. What can't be copied is told, and the rest goes on.
    """
    client = client_of(url, token)
    found = way(source, target)
    check_local(found, recursive)
    bucket, prefix = as_tree(found.address) if recursive else ("", "")
    with Board(quiet, not is_shown(found.local)) as board:
        if make_bucket and found.is_upload and (recursive or "/" in found.address):
            client.make_bucket(found.address.partition("/")[0])
        if recursive:
            folder = Path(found.local)
            trees = Trees(client, board, folder, bucket, prefix, jobs)
            copy_tree(trees, found.is_upload)
        else:
            copy_one(board, client, found)
