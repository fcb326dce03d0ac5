"""Copies whole folders to a prefix of keys, and back, and prefixes to others."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from amazin.cli.common import FailureError, MistakeError
from amazin.cli.copying import Copier
from amazin.cli.options import as_tree, object_at, with_hints
from amazin.cli.patterns import ALL, Selection
from amazin.cli.places import STANDARD, Kind, Way
from amazin.cli.progress import Display
from amazin.client.files import is_same
from amazin.client.objects import StoredObject
from amazin.client.partial import PARTIAL_SUFFIX, has_leftovers, remove_leftovers
from amazin.errors import ClientError
from amazin.model.names import printable
from amazin.units import counted
from amazin.workers import for_each

T = TypeVar("T")


def check_trees(way: Way) -> None:
    """Check that all that is below one side can be copied below the other one.

    Raises: MistakeError: an address has no bucket, the local side is no folder, or one
        side is below the other.
    """
    if STANDARD in (way.source, way.target):
        raise MistakeError("-r needs a folder")
    if way.kind is Kind.WITHIN:
        source, target = ("/".join(as_tree(side)) for side in (way.source, way.target))
        if source.startswith(target) or target.startswith(source):
            raise MistakeError("One side is below the other one: that has no end")
        return
    path = Path(way.local)
    if (way.kind is Kind.UPLOAD or path.exists()) and not path.is_dir():
        raise MistakeError(f"{printable(way.local)} is no folder")
    as_tree(way.address)


class Trees:
    """Copies all that is below a folder or a prefix, and skips what is there already.

    `way` is one that `check_trees` has passed.
    """

    def __init__(
        self,
        copier: Copier,
        way: Way,
        jobs: int,
        selection: Selection = ALL,
        is_new: bool = False,
    ) -> None:
        """`jobs` are copied at a time. `is_new`: the target's bucket isn't there."""
        self._copier = replace(copier, replaces_links=True)
        self._client = copier.client
        self._display = copier.display
        self._way = way
        self._jobs = jobs
        self._selection = selection
        self._is_new = is_new
        self._untidy: dict[Path, bool] = {}
        """Whether a folder had partial files before the first download to it."""

    def run(self) -> None:
        """Copy all, and print how many; note failures."""
        self._display.show_total()
        kind = self._way.kind
        runs = {Kind.UPLOAD: self._upload, Kind.DOWNLOAD: self._download}
        try:
            count = runs.get(kind, self._copy_within)()
        except ClientError as exc:
            self._display.note_failure("/".join(as_tree(self._way.address)), exc)
            return
        except OSError as exc:
            self._display.note_failure(self._way.local, exc)
            return
        left = self._display.done - count
        verb = self._copier.verb(kind)
        done = f"{verb} {counted(count, 'object')}"
        verbs = ("is", "are") if self._copier.is_dry else ("was", "were")
        were = verbs[left != 1]
        self._display.print(f"{done}, {left} {were} there already")

    def _each(
        self,
        items: Iterable[T],
        labels: Callable[[T], tuple[str, str]],
        step: Callable[[T], bool],
    ) -> int:
        """Do a step for each; return how many returned True.

        `labels` returns what an error of the store is about, and one of this machine.
        """
        done: list[None] = []

        def work(item: T) -> None:
            with self._display.noting(*labels(item)):
                if step(item):
                    done.append(None)

        for_each(work, items, self._jobs)
        return len(done)

    # To the store

    def _upload(self) -> int:
        """Store the files that are not stored yet; return how many were sent."""
        bucket, prefix = as_tree(self._way.target)
        self._look_at(bucket, prefix)
        folder = Path(self._way.source)
        names = files_below(folder, self._display, self._selection)

        def store(name: str) -> bool:
            target = f"{bucket}/{prefix}{name}"
            return self._store(Way(Kind.UPLOAD, str(folder / name), target), name)

        return self._each(names, lambda name: (name, str(folder / name)), store)

    def _look_at(self, bucket: str, prefix: str) -> None:
        """Find out whether there is anything below the target. Raises: ClientError."""
        if not self._is_new:
            is_within = self._way.kind is Kind.WITHIN
            target = self._way.target
            with with_hints(self._client, target=target, is_within=is_within):
                first = next(self._client.list(bucket, prefix, page_keys=1), None)
            self._is_new = first is None

    def _store(self, way: Way, name: str) -> bool:
        """Store one file; False: it was stored already."""
        seen = Path(way.source).stat()
        with self._display.bar(name, seen.st_size) as show:
            path = Path(os.path.realpath(way.source))
            old = self._stored(way.target)
            if old is None or not is_same(path, old):
                self._copier.copy(way, show)
                return True
        return self._skip(way, seen)

    def _stored(self, address: str) -> StoredObject | None:
        """Return what is at an address already. Raises: ClientError."""
        return None if self._is_new else object_at(self._client, address)

    # From the store

    def _download(self) -> int:
        """Fetch the objects that are not here yet; return how many were fetched.

        Raises: FailureError: there is no object with the prefix.
        """
        folder = Path(self._way.target)
        is_new = not folder.exists()
        if not self._copier.is_dry:
            folder.mkdir(parents=True, exist_ok=True)
        root = Path(os.path.realpath(folder))
        try:
            return self._each_object(partial(self._fetch, root))
        except (ClientError, FailureError):
            if is_new:
                with suppress(OSError):  # it holds something
                    folder.rmdir()
            raise

    def _each_object(self, step: Callable[[StoredObject, str], bool]) -> int:
        """Do a step for each object of the source, and the rest of its key.

        Raises: FailureError: there is no object with the prefix.
        """
        bucket, prefix = as_tree(self._way.source)

        def labels(entry: StoredObject) -> tuple[str, str]:
            rest = entry.key.removeprefix(prefix)
            local = os.path.join(self._way.local, rest)  # noqa: PTH118 - any key
            return f"{bucket}/{entry.key}", local if self._way.local else ""

        count = self._each(
            self._objects(bucket, prefix),
            labels,
            lambda entry: step(entry, entry.key.removeprefix(prefix)),
        )
        is_empty = not (self._display.done or self._display.failures)
        if prefix and is_empty and not self._selection:
            place = printable(f"{bucket}/{prefix}")
            raise FailureError(f"There is nothing below {place}")
        return count

    def _objects(self, bucket: str, prefix: str) -> Iterator[StoredObject]:
        is_local = self._way.kind is Kind.DOWNLOAD
        for entry in self._client.list(bucket, prefix):
            # An empty object whose key ends in a slash stands for a folder.
            is_folder = is_local and not entry.size and entry.key.endswith("/")
            if not is_folder and self._selection.takes(entry.key.removeprefix(prefix)):
                yield entry

    def _fetch(self, root: Path, entry: StoredObject, rest: str) -> bool:
        """Fetch one object; False: its file was here already."""
        target = place_of(root, rest, self._copier.is_move)
        bucket = as_tree(self._way.source)[0]
        way = Way(Kind.DOWNLOAD, f"{bucket}/{entry.key}", str(target))
        if is_same(target, entry):
            return self._skip(way, entry)
        if self._copier.is_dry:
            self._copier.copy(way, no_show)
            return True
        make_room(target)
        if target.parent not in self._untidy:
            self._untidy[target.parent] = has_leftovers(target.parent)
        with self._display.bar(entry.key, entry.size) as show:
            self._copier.copy(way, show)
        if self._untidy[target.parent]:
            remove_leftovers(target)
        return True

    def _skip(self, way: Way, seen: os.stat_result | StoredObject) -> bool:
        """Return False; a move removes what was copied already."""
        if self._copier.is_move and self._copier.is_dry:
            name = printable(way.source)
            self._display.print(f"Would remove {name}: it is there already")
        elif self._copier.is_move:
            self._copier.remove_source(way, seen)
        return False

    # Within the store

    def _copy_within(self) -> int:
        """Copy the objects that are not there yet; return how many were copied.

        Raises: FailureError: there is no object with the prefix.
        """
        bucket, prefix = as_tree(self._way.target)
        self._look_at(bucket, prefix)
        return self._each_object(partial(self._copy, f"{bucket}/{prefix}"))

    def _copy(self, below: str, entry: StoredObject, rest: str) -> bool:
        """Copy one object; False: it was there already."""
        bucket = as_tree(self._way.source)[0]
        way = Way(Kind.WITHIN, f"{bucket}/{entry.key}", below + rest)
        old = self._stored(way.target)
        if old and (old.etag, old.size) == (entry.etag, entry.size):
            return self._skip(way, entry)
        with self._display.bar(entry.key, entry.size) as show:
            self._copier.copy(way, show)
        return True


def no_show(position: int, size: int | None) -> None:
    """Show no progress."""


def files_below(
    folder: Path, display: Display, selection: Selection = ALL
) -> Iterator[str]:
    """Yield the paths of all files below the folder; warn of those left out."""
    root = os.path.realpath(folder)

    def unreadable(error: OSError) -> None:
        display.note_failure(str(error.filename), error)

    for place, folders, names in os.walk(folder, onerror=unreadable):
        folders.sort()
        for name in folders:
            if is_link(Path(place, name)):
                path = os.path.relpath(Path(place, name), folder)
                display.warn(f"{printable(path)}: left out: a link to a folder")
        for name in sorted(names):
            path = os.path.relpath(Path(place, name), folder)
            if not selection.takes(path):
                continue
            if reason := why_not(Path(place, name), root):
                display.warn(f"{printable(path)}: left out: {reason}")
            else:
                yield path


def is_link(path: Path) -> bool:
    """Whether a path is a link; False if it can't be read."""
    return os.path.islink(path)  # noqa: PTH114 - it raises nothing


def why_not(path: Path, root: str) -> str:
    """Return why a file is left out; empty: it is not left out."""
    if path.name.endswith(PARTIAL_SUFFIX):
        return "of a download that is not complete"
    if is_link(path):
        target = os.path.realpath(path)
        if os.path.commonpath((target, root)) != root:
            return "a link out of the folder"
        if not os.path.isfile(target):  # noqa: PTH113 - it raises nothing
            return "a link to no file"
        return ""
    try:
        is_file = stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return ""  # the upload will report the error
    return "" if is_file else "no ordinary file"


def place_of(root: Path, name: str, is_move: bool = False) -> Path:
    """Return the path of the file for an object, below `root`, which has no links.

    `is_move`: by links two objects could be one file, which would lose one of them.

    Raises: ClientError: the name is no path here, or a link leads out of `root`, or
        anywhere if it is a move.
    """
    segments = name.split("/")
    if "\0" in name or {"", ".", ".."}.intersection(segments):
        raise ClientError("Refused: its key is no path below the folder")
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        raise ClientError("Refused: no file here can have its name") from None
    if name.endswith(PARTIAL_SUFFIX):
        raise ClientError("Refused: its key looks like a download that is not complete")
    target = root.joinpath(*segments)
    parent = Path(os.path.realpath(target.parent))
    if not parent.is_relative_to(root):
        raise ClientError("Refused: a link on its way leads out of the folder")
    if is_move and parent != target.parent:
        raise ClientError("Refused: on its way is a link, which only cp follows")
    return target


def make_room(target: Path) -> None:
    """Make the folders above a file.

    Raises: ClientError: a file or a folder is in the way; OSError.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise ClientError("Refused: a file is where its folder should be") from None
    if target.is_dir() and not target.is_symlink():
        raise ClientError("Refused: a folder is where it should be")
