"""Objects in a folder of this machine: a node that needs nothing installed.

Bodies lie in `content/ab/<32 hex>`, written once under a random name and never
changed; `index.sqlite` says which one a key means. A body and its folder are on the
disk before the one transaction that switches the key to it, so at any instant a key
has its old or its new object, whole. Any number of processes may share the folder.
Nothing a client sends is ever part of a path. Not for network file systems (SQLite's
WAL needs shared memory); the folder itself is never made, only filled: a disk that
is not mounted must not look like an empty node.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import io
import json
import os
import secrets
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar, TypeVarTuple

from errors import (
    NodeError,
    NodeFullError,
    NodeTimeoutError,
    NoSuchKeyError,
    PreconditionError,
)
from nodes import CHUNK_BYTES, ObjectInfo, ObjectName, Stamp
from nodes.blocking import BlockingCalls
from nodes.folder_index import (
    Index,
    Row,
    find,
    find_all,
    put,
    remove,
    sync_folder,
    transaction,
)

_BATCH_ROWS = 500
_READ_ATTEMPTS = 10

Answer = TypeVar("Answer")
Arguments = TypeVarTuple("Arguments")
Write = Callable[[io.FileIO, memoryview], int]


def _ask(
    calls: BlockingCalls, function: Callable[[*Arguments], Answer], *args: *Arguments
) -> Answer:
    """Run off the event loop; the one place where foreign errors become ours."""
    try:
        return calls.run(function, *args)
    except (OSError, sqlite3.Error, json.JSONDecodeError, UnicodeDecodeError) as exc:
        raise _translated(exc) from exc


def _translated(exc: Exception) -> NodeError:
    if isinstance(exc, OSError):
        full = exc.errno in (errno.ENOSPC, errno.EDQUOT)
        reason = errno.errorcode.get(exc.errno or 0, type(exc).__name__)
        return (NodeFullError if full else NodeError)(f"the folder failed: {reason}")
    primary = getattr(exc, "sqlite_errorcode", 0) & 0xFF
    kind = {sqlite3.SQLITE_FULL: NodeFullError, sqlite3.SQLITE_BUSY: NodeTimeoutError}
    reason = getattr(exc, "sqlite_errorname", type(exc).__name__)
    return kind.get(primary, NodeError)(f"the folder's index failed: {reason}")


@dataclass(frozen=True, slots=True)
class _Question(Generic[Answer]):
    """A `Pending` that asks when it is waited for: a folder has nothing to send."""

    calls: BlockingCalls
    ask: Callable[[], Answer]

    def wait(self) -> Answer:
        return _ask(self.calls, self.ask)

    def cancel(self) -> None:
        pass


class FolderNode:
    """A `Node` whose objects lie in `path`, which must exist.

    `write` and `orphan_age_seconds` are for tests: how bodies are written, and how old
    a file that no key means must be before it is removed.
    """

    def __init__(
        self,
        name: str,
        path: Path,
        weight: float = 1.0,
        *,
        write: Write = io.FileIO.write,
        orphan_age_seconds: float = 3600.0,
    ) -> None:
        self.name = name
        self.weight = weight
        self._write = write
        self._index = Index(path.absolute(), orphan_age_seconds)
        self._calls = self._index.calls

    def __repr__(self) -> str:
        return f"FolderNode({self.name!r})"

    def start_get(
        self,
        name: ObjectName,
        *,
        byte_range: tuple[int, int] | None = None,
        if_match: str | None = None,
    ) -> _Question[FolderObject]:
        """Ask for an object, or for its bytes first..last (inclusive, within it)."""
        return _Question(self._calls, lambda: self._open(name, byte_range, if_match))

    def start_head(self, name: ObjectName) -> _Question[ObjectInfo]:
        """Ask for what is known of an object."""
        return _Question(self._calls, lambda: self._find(name).info)

    def start_put(
        self,
        name: ObjectName,
        length: int,
        stamp: Stamp,
        headers: Mapping[str, str],
        *,
        if_match: str | None = None,
        if_absent: bool = False,
    ) -> FolderUpload:
        """Begin an upload of `length` bytes."""
        info = ObjectInfo(length, "", stamp.nanoseconds, stamp, dict(headers))
        condition = _Condition(if_match, if_absent)
        return _ask(
            self._calls, FolderUpload, self._index, name, info, condition, self._write
        )

    def start_delete(self, name: ObjectName) -> _Question[None]:
        """Remove an object; that there was none is success too."""
        return _Question(self._calls, lambda: self._delete(name))

    def start_check(self) -> _Question[None]:
        """Ask whether the folder and its index are there."""
        return _Question(self._calls, self._check)

    def list_objects(
        self, bucket: str, prefix: str = "", after: str = ""
    ) -> Iterator[tuple[str, ObjectInfo]]:
        """Yield (key, info) in the order of the keys' UTF-8 bytes, read in batches."""
        first = max(prefix.encode(), after.encode() + b"\0" if after else b"")
        end = prefix.encode() + b"\xff"  # no UTF-8 has this byte
        while True:
            rows = _ask(self._calls, self._batch, bucket, first, end)
            for row in rows:
                yield row.key, row.info
            if len(rows) < _BATCH_ROWS:
                return
            first = rows[-1].key.encode() + b"\0"

    def close(self) -> None:
        """Close the index; transfers that run go on."""
        _ask(self._calls, self._index.close)

    def _check(self) -> None:
        with self._index.connect() as connection:
            connection.execute("SELECT 1 FROM objects LIMIT 1").fetchone()

    def _find(self, name: ObjectName) -> Row:
        with self._index.connect() as connection:
            row = find(connection, name)
        if row is None:
            raise NoSuchKeyError("no such object")
        return row

    def _open(
        self,
        name: ObjectName,
        byte_range: tuple[int, int] | None,
        if_match: str | None,
    ) -> FolderObject:
        seen = ""
        for _ in range(_READ_ATTEMPTS):
            row = self._find(name)
            if if_match not in (None, row.info.etag):
                raise PreconditionError("the object has another ETag")
            try:
                path = _content(self._index, row.file)
                return FolderObject(self._calls, path, row.info, byte_range)
            except FileNotFoundError:
                # Overwritten since the row was read: then there is another row now.
                if row.file == seen:
                    break
                seen = row.file
        raise NodeError("the object's content is not there")

    def _delete(self, name: ObjectName) -> None:
        with self._index.connect() as connection, transaction(connection):
            row = find(connection, name)
            if row is not None:
                remove(connection, name)
        if row is not None:
            _discard(_content(self._index, row.file))

    def _batch(self, bucket: str, first: bytes, end: bytes) -> list[Row]:
        with self._index.connect() as connection:
            return find_all(connection, bucket, first, end, _BATCH_ROWS)


def _content(index: Index, file: str) -> Path:
    return index.content / file[:2] / file


def _discard(path: Path) -> None:
    with suppress(OSError):  # what stays is removed when the node is opened again
        path.unlink()


class FolderObject:
    """A `NodeObject`: a content file that is read once, or a range of it."""

    def __init__(
        self,
        calls: BlockingCalls,
        path: Path,
        info: ObjectInfo,
        byte_range: tuple[int, int] | None,
    ) -> None:
        self.info = info
        self._calls = calls
        first, last = byte_range or (0, info.size - 1)
        if not 0 <= first <= last + 1 <= info.size:
            raise NodeError("the object does not have these bytes")
        self._left = last + 1 - first
        self._ahead = b""
        self._file = path.open("rb", buffering=0)
        try:
            if os.fstat(self._file.fileno()).st_size != info.size:
                raise NodeError("the object's content does not have its size")
            self._file.seek(first)
            self._read_ahead()
        except BaseException:
            self._file.close()
            raise

    def read(self) -> bytes:
        """Return the next bytes, or b"" after the last. Raises: NodeError."""
        if not self._ahead:
            _ask(self._calls, self._read_ahead)
        chunk, self._ahead = self._ahead, b""
        return chunk

    def close(self) -> None:
        """Close the file. Idempotent."""
        self._file.close()

    def _read_ahead(self) -> None:
        if self._left:
            self._ahead = self._file.read(min(CHUNK_BYTES, self._left))
            if not self._ahead:
                raise NodeError("the object's content is shorter than its size")
            self._left -= len(self._ahead)


@dataclass(frozen=True, slots=True)
class _Condition:
    if_match: str | None
    if_absent: bool

    def judge(self, stored: ObjectInfo | None) -> None:
        if self.if_absent and stored is not None:
            raise PreconditionError("there is an object already")
        if self.if_match is not None and (
            stored is None or stored.etag != self.if_match
        ):
            raise PreconditionError("the object has another ETag")


class FolderUpload:
    """An `Upload`: a locked file that no key means before the commit.

    Whoever takes the file out of `_files` ends the upload: a commit goes on in its
    thread although the greenlet that waits for it is killed, and an abort that
    follows must not remove what a key may mean already.
    """

    def __init__(
        self,
        index: Index,
        name: ObjectName,
        info: ObjectInfo,
        condition: _Condition,
        write: Write,
    ) -> None:
        with index.connect():  # the folder is there, and filled
            pass
        self._index = index
        self._calls = index.calls
        self._name = name
        self._info = info
        self._condition = condition
        self._write = write
        self._written = 0
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._path = _content(index, secrets.token_hex(16))
        file = self._path.open("xb", buffering=0)
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._files = [file]

    def write(self, chunk: bytes) -> None:
        """Write the next bytes. Raises: NodeError."""
        if self._written + len(chunk) > self._info.size:
            raise NodeError("the upload is longer than was said")
        if not self._files:
            raise NodeError("the upload has ended")
        _ask(self._calls, self._append, self._files[0], chunk)

    def commit(self) -> ObjectInfo:
        """Store the object. Raises: PreconditionError, NodeError."""
        try:
            file = self._files.pop()
        except IndexError:
            raise NodeError("the upload has ended") from None
        return _ask(self._calls, self._store, file)

    def abort(self) -> None:
        """Store nothing and release everything. Idempotent, harmless after commit."""
        with suppress(IndexError):
            _ask(self._calls, self._drop, self._files.pop())

    def _append(self, file: io.FileIO, chunk: bytes) -> None:
        view = memoryview(chunk)
        while view:
            view = view[self._write(file, view) :]
        self._md5.update(chunk)
        self._written += len(chunk)

    def _drop(self, file: io.FileIO) -> None:
        with file:
            _discard(self._path)

    def _store(self, file: io.FileIO) -> ObjectInfo:
        is_needed = False
        with file:
            try:
                info = self._complete(file)
                with self._index.connect() as connection, transaction(connection):
                    old = find(connection, self._name)
                    self._condition.judge(old and old.info)
                    put(connection, self._name, self._path.name, info)
                    is_needed = True  # a commit that fails may have happened
            finally:
                if not is_needed:
                    _discard(self._path)
        if old is not None:
            _discard(_content(self._index, old.file))
        return info

    def _complete(self, file: io.FileIO) -> ObjectInfo:
        if self._written != self._info.size:
            raise NodeError("the upload is shorter than was said")
        os.fsync(file.fileno())
        sync_folder(self._path.parent)
        found = os.fstat(file.fileno())
        if not found.st_nlink or found.st_size != self._info.size:
            raise NodeError("the upload's content is not what was written")
        return replace(self._info, etag=self._md5.hexdigest())
