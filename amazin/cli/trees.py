"""Copies whole folders to a prefix of keys, and back."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from amazin.cli.common import FailureError
from amazin.cli.options import with_hint
from amazin.cli.progress import Display
from amazin.client.client import GatewayClient
from amazin.client.files import (
    PARTIAL_SUFFIX,
    download,
    has_leftovers,
    is_same,
    remove_leftovers,
    upload,
)
from amazin.client.objects import StoredObject
from amazin.errors import ClientError, RefusedError
from amazin.model.names import printable
from amazin.workers import for_each


@dataclass(frozen=True)
class Trees:
    """A local folder, and the keys with a prefix on the gateway."""

    client: GatewayClient
    display: Display
    folder: Path
    bucket: str
    prefix: str
    """Empty, or ends in a slash."""
    jobs: int
    """How many objects are transferred at a time."""
    untidy: dict[Path, bool] = field(default_factory=dict)
    """Whether a folder had partial files before the first download to it."""

    def upload(self) -> int:
        """Store the files that are not stored yet; return how many were sent."""
        with with_hint():
            old = next(self.client.list(self.bucket, self.prefix), None)
        sent: list[None] = []

        def work(name: str) -> None:
            with self.display.noting(name):
                if self._store(name, is_new=old is None):
                    sent.append(None)

        for_each(work, files_below(self.folder, self.display), self.jobs)
        return len(sent)

    def _store(self, name: str, is_new: bool) -> bool:
        """Store one file; False: it was stored already."""
        path, address = self.folder / name, f"{self.bucket}/{self.prefix}{name}"
        with self.display.bar(name, path.stat().st_size) as show:
            if not is_new and self._is_there(path, address):
                return False
            upload(self.client, path, address, {}, show)
            return True

    def _is_there(self, path: Path, address: str) -> bool:
        try:
            return is_same(Path(os.path.realpath(path)), self.client.head(address))
        except RefusedError as exc:
            if exc.status == 404:
                return False
            raise

    def download(self) -> int:
        """Fetch the objects that are not here yet; return how many were fetched.

        Raises: FailureError: there is no object with the prefix.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        root = Path(os.path.realpath(self.folder))
        came: list[None] = []

        def work(entry: StoredObject) -> None:
            with self.display.noting(f"{self.bucket}/{entry.key}"):
                if self._fetch(root, entry):
                    came.append(None)

        for_each(work, self._objects(), self.jobs)
        if self.prefix and not (self.display.done or self.display.failures):
            place = printable(f"{self.bucket}/{self.prefix}")
            raise FailureError(f"There is nothing below {place}")
        return len(came)

    def _objects(self) -> Iterator[StoredObject]:
        for entry in self.client.list(self.bucket, self.prefix):
            # An empty object whose key ends in a slash stands for a folder.
            if entry.size or not entry.key.endswith("/"):
                yield entry

    def _fetch(self, root: Path, entry: StoredObject) -> bool:
        """Fetch one object; False: its file was here already."""
        target = place_of(root, entry.key.removeprefix(self.prefix))
        if is_same(target, entry):
            return False
        make_room(target)
        if target.parent not in self.untidy:
            self.untidy[target.parent] = has_leftovers(target.parent)
        with self.display.bar(entry.key, entry.size) as show:
            download(self.client, f"{self.bucket}/{entry.key}", target, show)
        if self.untidy[target.parent]:
            remove_leftovers(target)
        return True


def files_below(folder: Path, display: Display) -> Iterator[str]:
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


def place_of(root: Path, name: str) -> Path:
    """Return the path of the file for an object, below `root`, which has no links.

    Raises: ClientError: the name is no path, or a link leads out of `root`.
    """
    segments = name.split("/")
    if "\\" in name or "\0" in name or {"", ".", ".."}.intersection(segments):
        raise ClientError("Refused: its key is no path below the folder")
    if name.endswith(PARTIAL_SUFFIX):
        raise ClientError("Refused: its key looks like a download that is not complete")
    target = root.joinpath(*segments)
    parent = Path(os.path.realpath(target.parent))
    if not parent.is_relative_to(root):
        raise ClientError("Refused: a link on its way leads out of the folder")
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
