"""Uploads to a folder node: a content file that no key points to before the commit."""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from amazin.errors import NodeError, PreconditionError
from amazin.model.objects import UNKNOWN_SIZE, ObjectInfo, ObjectName
from amazin.nodes.folder.calls import PendingCall, ask
from amazin.nodes.folder.content import give_to_owner, sync_folder
from amazin.nodes.folder.index import Index, transaction
from amazin.nodes.folder.rows import find, put, require_bucket
from amazin.nodes.folder.sums import BlockSums, measure

Write = Callable[[io.FileIO, memoryview], int]


@dataclass(frozen=True, slots=True)
class Conditions:
    """What an upload requires of the stored object, checked at the commit."""

    if_match: str | None = None
    if_absent: bool = False
    keeps_newer: bool = False

    def judge(self, stored: ObjectInfo | None) -> None:
        """Raises: PreconditionError, if a condition does not hold."""
        if self.if_absent and stored is not None:
            raise PreconditionError("there is an object already")
        if self.if_match is not None and (
            stored is None or stored.etag != self.if_match
        ):
            raise PreconditionError("the object has another ETag")

    def keeps(self, stored: ObjectInfo | None, new: ObjectInfo) -> bool:
        """Whether the stored object stays, as if it had come just after the new one."""
        return (
            self.keeps_newer
            and stored is not None
            and stored.version > new.version
            and stored.epoch >= new.epoch
        )


class FolderUpload:
    """An `Upload`: a locked file that no key points to before the commit.

    Whoever takes the file out of `_files` ends the upload. A commit continues in its
    thread even if the waiting greenlet is killed, and a following abort must not remove
    a file that a key may point to by then. If the size in `info` is unknown, any number
    of bytes may be written.
    """

    def __init__(
        self,
        index: Index,
        name: ObjectName,
        info: ObjectInfo,
        conditions: Conditions,
        write: Write,
    ) -> None:
        # This makes the index of an empty folder.
        with index.connect(adds=True) as connection:
            require_bucket(connection, name.bucket)
        self._index = index
        self._calls = index.calls
        self._name = name
        self._info = info
        self._conditions = conditions
        self._write = write
        self._written = 0
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._sums = BlockSums()
        self._path = index.content.new_path()
        file = self._path.open("xb", buffering=0)
        give_to_owner(self._path)
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._files = [file]

    def write(self, chunk: bytes) -> None:
        """Write the next bytes. Raises: NodeError."""
        ask(self._calls, self.append, chunk)

    @property
    def written(self) -> tuple[int, str]:
        """The number of bytes written so far, and their ETag."""
        return self._written, self._md5.hexdigest()

    def start_commit(self) -> PendingCall[ObjectInfo]:
        """Ask to store the object; nothing happens before `wait`."""
        if not self._files:
            raise NodeError("the upload has ended")
        return PendingCall(self._calls, self.store, self.abort)

    def abort(self) -> None:
        """Store nothing and release everything. Idempotent, harmless after a commit."""
        if self._files:
            ask(self._calls, self.drop)

    # These methods block: call them off the event loop.

    def append(self, chunk: bytes) -> None:
        """Write the next bytes. Raises: NodeError."""
        size = self._info.size
        if size != UNKNOWN_SIZE and self._written + len(chunk) > size:
            raise NodeError("the upload is longer than was said")
        try:
            file = self._files[0]
        except IndexError:
            raise NodeError("the upload has ended") from None
        self._index.reserve.require()
        view = memoryview(chunk)
        while view:
            view = view[self._write(file, view) :]
        self._md5.update(chunk)
        self._sums.update(chunk)
        self._written += len(chunk)

    def drop(self) -> None:
        """Store nothing and release everything. Idempotent, harmless after `store`."""
        with suppress(IndexError), self._files.pop():
            self._index.content.discard(self._path.name)

    def store(self) -> ObjectInfo:
        """Store the object. Raises: PreconditionError, NodeError."""
        try:
            file = self._files.pop()
        except IndexError:
            raise NodeError("the upload has ended") from None
        is_needed = False
        with file:
            try:
                info, sums = self._complete(file), self._sums.digest()
                with (
                    self._index.connect(adds=True) as connection,
                    transaction(connection),
                ):
                    old = find(connection, self._name)
                    self._conditions.judge(old and old.info)
                    if not self._conditions.keeps(old and old.info, info):
                        if old and info.is_deleted:
                            self._index.content.require_removable(old.file)
                        put(connection, self._name, self._path.name, info, sums)
                        is_needed = True  # a commit that raises may still have happened
            finally:
                if not is_needed:
                    self._index.content.discard(self._path.name)
        if is_needed and old is not None:
            self._index.content.discard(old.file)
        return info

    def _complete(self, file: io.FileIO) -> ObjectInfo:
        if self._info.size not in (self._written, UNKNOWN_SIZE):
            raise NodeError("the upload is shorter than was said")
        os.fsync(file.fileno())
        sync_folder(self._path.parent)
        found = os.fstat(file.fileno())
        if not found.st_nlink or found.st_size != self._written:
            raise NodeError("the upload's content is not what was written")
        size, etag = self.written
        return replace(self._info, size=size, etag=etag)


def adopt(index: Index, name: ObjectName, path: Path, info: ObjectInfo) -> ObjectInfo:
    """Link a file into the folder, map a key to it; see `FolderNode.adopt`. Blocks."""
    with index.connect(adds=True) as connection:
        require_bucket(connection, name.bucket)
    link = index.content.new_path()
    is_needed = False
    with path.open("rb", buffering=0) as file:
        # The lock protects the file from sweeps until the key points to it: an old file
        # is not protected by its age.
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        link.hardlink_to(path)
        try:
            info, sums = _adopted(file, link, info)
            with index.connect(adds=True) as connection, transaction(connection):
                old = find(connection, name)
                Conditions(if_absent=True).judge(old and old.info)
                put(connection, name, link.name, info, sums)
                is_needed = True  # a commit that raises may still have happened
        finally:
            if not is_needed:
                index.content.discard(link.name)
    return info


def _adopted(file: io.FileIO, link: Path, info: ObjectInfo) -> tuple[ObjectInfo, bytes]:
    sums, etag = measure(file)
    os.fsync(file.fileno())
    sync_folder(link.parent)
    found = os.fstat(file.fileno())
    if found.st_size != file.tell() or not os.path.samestat(found, link.lstat()):
        raise NodeError("the file changed while it was read")
    return replace(info, size=found.st_size, etag=etag), sums
