"""`amazin cp` and `amazin mv`: copy to the store, from it, and within it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from amazin.cli.common import MistakeError, as_files, examples
from amazin.cli.copying import (
    Copier,
    descriptor_of,
    is_shown,
    make_bucket_for,
    print_done,
    warn_of_headers,
)
from amazin.cli.options import (
    Command,
    dry_run_option,
    header_options,
    make_bucket_option,
    selection_options,
    transfer_options,
)
from amazin.cli.patterns import Selection
from amazin.cli.places import STANDARD, Kind, Way, way_of, ways_of
from amazin.cli.progress import Display
from amazin.cli.trees import Trees, check_trees
from amazin.client.client import GatewayClient
from amazin.model.names import printable

MAX_JOBS = 32


def copy_options(command: Command) -> Command:
    """Add the arguments and options of a copy."""
    for option in (
        transfer_options,
        dry_run_option,
        header_options,
        make_bucket_option,
        selection_options,
        click.option(
            "--jobs",
            type=click.IntRange(1, MAX_JOBS),
            default=4,
            show_default=True,
            help="Objects at a time, with -r.",
        ),
        click.option("-r", "--recursive", is_flag=True, help="All below SOURCE."),
        click.argument("target", shell_complete=as_files),
        click.argument(
            "sources",
            nargs=-1,
            required=True,
            metavar="SOURCE...",
            shell_complete=as_files,
        ),
    ):
        command = option(command)
    return command


@click.command(
    epilog=examples(
        "amazin cp -r ./pictures photos/2026",
        "amazin cp -r photos/2026 ./pictures --include '*.jpg'",
        "amazin cp cat.jpg dog.jpg photos/2026/",
        "amazin cp amazin:photos/cat.jpg amazin:archive/",
    )
)
@copy_options
def cp(**options: Any) -> None:
    """Copy files to the store, objects from it, or objects within it.

    To say which side is here, begin it with ./, ../ or /; to say which is in the store,
    begin it with `amazin:`. If only one side says it, the other one is on the other
    side. If none does, a SOURCE that exists here is local, and it is an error if TARGET
    exists here, too. Otherwise SOURCE is in the store, and TARGET is local if its
    folder is here, else in the store, too.

    With -r the files below one side get the same names below the other. Files that are
    there already, with the same size and MD5, are skipped, so a stopped run can be
    started again. Files that fail are reported, and the others are copied.
    """
    run(is_move=False, **options)


@click.command(
    epilog=examples(
        "amazin mv cat.jpg photos/2026/",
        "amazin mv amazin:photos/cat.jpg amazin:archive/2026/cat.jpg",
        "amazin mv -r amazin:photos/2025 amazin:archive/2025 --dry-run",
    )
)
@copy_options
def mv(**options: Any) -> None:
    """Move files to the store, objects from it, or objects within it.

    Each is copied as `amazin cp` does, and only then removed where it was, unless it
    was changed meanwhile. Folders stay.
    """
    run(is_move=True, **options)


def run(
    client: GatewayClient,
    sources: tuple[str, ...],
    target: str,
    recursive: bool,
    jobs: int,
    selection: Selection,
    make_bucket: bool,
    headers: dict[str, str],
    is_dry: bool,
    quiet: bool,
    is_move: bool,
) -> None:
    """Copy or move. Raises: MistakeError, ClientError."""
    if recursive:
        ways = [tree_way(sources, target)]
    else:
        if selection:
            raise MistakeError("--include and --exclude need -r")
        ways = ways_of(client, sources, target, make_bucket)
    check_way(ways, headers, make_bucket, is_move)
    has_bars = not is_dry and not is_shown(ways[0].target)
    with Display(quiet, has_bars) as display:
        copier = Copier(client, display, headers, is_move, is_dry)
        is_missing = False
        if make_bucket or not recursive:  # trees look at it themselves
            is_missing = make_bucket_for(copier, ways[0], make_bucket)
        if recursive:
            Trees(copier, ways[0], jobs, selection, is_missing).run()
        for way in () if recursive else ways:
            if stored := copier.run(way):
                print_done(copier, way, stored)
        warn_of_headers(copier)


def tree_way(sources: tuple[str, ...], target: str) -> Way:
    """Return how to copy all that is below. Raises: MistakeError."""
    if len(sources) > 1:
        raise MistakeError("-r takes one SOURCE")
    way = way_of(sources[0], target, is_tree=True)
    check_trees(way)
    return way


def check_way(
    ways: list[Way], headers: dict[str, str], make_bucket: bool, is_move: bool
) -> None:
    """Raises: MistakeError: an option doesn't fit."""
    kind = ways[0].kind
    if headers and kind is not Kind.UPLOAD:
        raise MistakeError("--header and --type are for files that are stored")
    if make_bucket and kind is Kind.DOWNLOAD:
        raise MistakeError("--make-bucket is for what is stored")
    for way in ways if is_move else ():
        path = Path(way.local)
        if way.local and not (path.is_file() or path.is_dir() or not path.exists()):
            name = printable(way.local)
            raise MistakeError(f"{name} is no ordinary file: cp copies it")
        if STANDARD in (way.source, way.target) or descriptor_of(way.local) is not None:
            raise MistakeError("- can't be moved: cp copies it")
