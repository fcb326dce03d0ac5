"""Where `put`, `cp` and `mv` copy from and to: which side is local, and whole names."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from amazin.cli.common import MistakeError
from amazin.cli.options import MARK, as_address, check_id, last_segment
from amazin.client.client import GatewayClient
from amazin.model.names import printable

STANDARD = "-"
DEFAULT_FOLDER = "default/"
"""The prefix of addresses for files that are stored without KEY."""


class Kind(Enum):
    """Which sides of a copy are local."""

    UPLOAD = "store"
    DOWNLOAD = "fetch"
    WITHIN = "copy"


class Way(NamedTuple):
    """What is copied, and where to. Addresses have no mark."""

    kind: Kind
    source: str
    target: str

    @property
    def address(self) -> str:
        """The address in the store; of two the source's."""
        return self.target if self.kind is Kind.UPLOAD else self.source

    @property
    def local(self) -> str:
        """The path of the file; empty: there is none."""
        if self.kind is Kind.WITHIN:
            return ""
        path = self.target if self.kind is Kind.DOWNLOAD else self.source
        return path if path != STANDARD else f"standard {self.stream}"

    @property
    def stream(self) -> str:
        """What `-` is."""
        return "output" if self.kind is Kind.DOWNLOAD else "input"


# Which side is local


def way_of(source: str, target: str, is_tree: bool = False) -> Way:
    """Decide which sides are local. `is_tree`: all that is below them is copied.

    Raises: MistakeError: both are local, or it is not clear.
    """
    here, there = is_local(source), is_local(target)
    if here and there:
        raise MistakeError("Both sides are here; one of them is to be in the store")
    if here is None and there is None:
        here, there = guessed(source, target, is_tree)
    elif here is None:
        here = not there
    elif there is None:
        there = not here
    kind = Kind.UPLOAD if here else Kind.DOWNLOAD if there else Kind.WITHIN
    return Way(kind, source.removeprefix(MARK), target.removeprefix(MARK))


def is_local(text: str) -> bool | None:
    """Whether an argument is a path, not an address; None: it may be either."""
    if text.startswith(MARK):
        return False
    is_path = text in (".", "..", STANDARD) or text.startswith(("/", "./", "../"))
    return True if is_path else None


def guessed(source: str, target: str, is_tree: bool) -> tuple[bool, bool]:
    """Return whether each side is local: what exists here, or has its folder here.

    Raises: MistakeError: both exist.
    """
    if not (Path(source).exists() or Path(source).is_symlink()):
        is_folder = target.endswith("/") and not is_tree
        folder = Path(target) if is_folder else Path(target).parent
        return False, folder.is_dir()
    if Path(target).exists():
        raise MistakeError(
            f"Both {source!r} and {target!r} exist here: write ./ before the local one,"
            f" or {MARK} before the other"
        )
    return True, False


# Whole names


def ways_of(
    client: GatewayClient, sources: Sequence[str], target: str, make_bucket: bool
) -> list[Way]:
    """Return how to copy single files or objects.

    Raises: MistakeError: something can't be read, or can't be a target, or is the
        target of two. ClientError.
    """
    ways = [way_of(source, target) for source in sources]
    if any(way.kind is not ways[0].kind for way in ways):
        raise MistakeError("Some sources are files here, and others are in the store")
    return whole_ways(client, ways, target, make_bucket)


def whole_ways(
    client: GatewayClient, ways: Sequence[Way], text: str, make_bucket: bool
) -> list[Way]:
    """Return the ways with the full names of their targets; `text` is what was given.

    Raises: as `ways_of`.
    """
    if len(ways) > 1:
        check_folder(ways[0])
    whole = [with_target_name(way) for way in ways]
    refuse_same_targets(whole)
    if ways[0].kind is not Kind.DOWNLOAD:
        if make_bucket:
            check_has_bucket(whole[0].target)
        check_id(client, text, Path(ways[0].source).name)
    return whole


def check_folder(way: Way) -> None:
    """Check that several files can have this target. Raises: MistakeError."""
    if way.kind is Kind.DOWNLOAD:
        if not Path(way.target).is_dir():
            raise MistakeError(f"There is no folder {printable(way.target)}")
    elif not way.target.endswith("/"):
        raise MistakeError(
            f"Several sources need a target that ends in a slash, as photos/: "
            f"{printable(way.target)!r} is one object"
        )


def with_target_name(way: Way) -> Way:
    """Return the way with the full name of the target.

    Raises: MistakeError: the file, the folder or the address can't be used.
    """
    if way.kind is Kind.DOWNLOAD:
        return way._replace(target=file_for(as_address(way.source), way.target))
    if way.kind is Kind.UPLOAD:
        check_source(way.source)
        return way._replace(target=address_for(Path(way.source).name, way.target))
    as_address(way.source)
    target = address_for(way.source.rpartition("/")[2], way.target)
    if target == way.source:
        raise MistakeError(f"{printable(target)} would be copied onto itself")
    return way._replace(target=target)


def check_has_bucket(address: str) -> None:
    """Raises: MistakeError: the address is an id, so there is no bucket to make."""
    if "/" not in address:
        name = printable(address)
        message = f"{name} is an id, which has no bucket: {name}/ would be the bucket"
        raise MistakeError(message)


def refuse_same_targets(ways: Sequence[Way]) -> None:
    """Raises: MistakeError: one copy would overwrite another one."""
    taken: dict[str, str] = {}
    for way in ways:
        target = way.target
        if way.kind is Kind.DOWNLOAD:
            target = os.path.realpath(target)  # links of two names lead to one file
        if target in taken:
            sources = f"{printable(taken[target])} and {printable(way.source)}"
            raise MistakeError(f"{sources} would both be {printable(way.target)}")
        taken[target] = way.source


def address_for(name: str, address: str | None) -> str:
    """Return the address for a file of this name. Raises: MistakeError."""
    if address is None or address.endswith("/"):
        if name in (STANDARD, ""):
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
        raise MistakeError(f"{printable(str(path))} is a folder: cp -r or mv -r")


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
