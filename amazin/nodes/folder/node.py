"""A node that stores objects in a folder of this machine, without any server.

Bodies are in `content/ab/<32 hex>`: each is written once under a random name and never
changed. `index.sqlite` maps keys to bodies. A body and its folder are synced to disk
before the single transaction that switches the key to it, so a key has its old or its
new object at any instant, always whole. The index also has the buckets that were made:
a folder that was emptied has none. Any number of processes may share the folder.
Nothing that a client sends becomes part of a path. Network file systems are not
supported, because SQLite's WAL needs shared memory. The node fills its folder, but
never makes it: a disk that is not mounted must not look like an empty node.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from amazin.blocking import BlockingCalls
from amazin.errors import NodeError, NodeFullError, NoSuchKeyError, PreconditionError
from amazin.model.objects import (
    CHUNK_BYTES,
    UNKNOWN_SIZE,
    Label,
    ObjectInfo,
    ObjectName,
)
from amazin.nodes.folder.calls import PendingCall, ask
from amazin.nodes.folder.content import open_content
from amazin.nodes.folder.index import (
    Index,
    Row,
    find,
    find_all,
    find_keys,
    make_bucket,
    remove,
    require_bucket,
    transaction,
)
from amazin.nodes.folder.uploads import Conditions, FolderUpload, Write, adopt

_FIRST_ROWS, _BATCH_ROWS = 32, 1024
"""Rows that a listing reads at once: at first, and at most. The number doubles."""
_BATCH_KEYS = 4096
_BEHIND_ALL = b"\xff"
"""Sorts behind every key: UTF-8 never has this byte."""
_READ_ATTEMPTS = 10


class FolderNode:
    """A `Node` that stores its objects in the folder `path`, which must exist.

    `write` and `orphan_age_seconds` are for tests: how bodies are written, and at what
    age a file that is not in the index is removed.
    """

    def __init__(
        self,
        name: str,
        path: Path,
        *,
        write: Write = io.FileIO.write,
        orphan_age_seconds: float = 3600.0,
    ) -> None:
        self.name = name
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
    ) -> PendingCall[FolderObject]:
        """Request an object, or its bytes first..last (inclusive, within it)."""
        return PendingCall(self._calls, lambda: self._open(name, byte_range, if_match))

    def start_head(self, name: ObjectName) -> PendingCall[ObjectInfo]:
        """Request the info about an object."""
        return PendingCall(self._calls, lambda: self._find(name).info)

    def start_put(
        self,
        name: ObjectName,
        data: bytes,
        label: Label,
        headers: Mapping[str, str],
        *,
        if_match: str | None = None,
        if_absent: bool = False,
        keeps_newer: bool = False,
    ) -> PendingCall[ObjectInfo]:
        """Ask to store an object; nothing happens before `wait`."""
        info = ObjectInfo(len(data), "", label.stamp.nanoseconds, label, dict(headers))
        conditions = Conditions(if_match, if_absent, keeps_newer)
        return PendingCall(self._calls, lambda: self._put(name, data, info, conditions))

    def _put(
        self, name: ObjectName, data: bytes, info: ObjectInfo, conditions: Conditions
    ) -> ObjectInfo:
        upload = FolderUpload(self._index, name, info, conditions, self._write)
        try:
            upload.append(data)
            return upload.store()
        finally:
            upload.drop()

    def start_upload(
        self,
        name: ObjectName,
        length: int | None,
        label: Label,
        headers: Mapping[str, str],
        *,
        if_match: str | None = None,
        if_absent: bool = False,
        keeps_newer: bool = False,
    ) -> FolderUpload:
        """Begin an upload of `length` bytes; None: of as many bytes as are written."""
        size = UNKNOWN_SIZE if length is None else length
        info = ObjectInfo(size, "", label.stamp.nanoseconds, label, dict(headers))
        conditions = Conditions(if_match, if_absent, keeps_newer)
        return ask(
            self._calls, FolderUpload, self._index, name, info, conditions, self._write
        )

    def start_delete(
        self, name: ObjectName, *, if_match: str | None = None
    ) -> PendingCall[None]:
        """Ask to remove an object; it is no error if there is none."""
        index = self._index
        delete = partial(self._delete, name, if_match)
        return PendingCall(
            self._calls,
            lambda: index.reserve.spend(delete, index.shrink_log, waits=True),
        )

    def make_bucket(self, bucket: str) -> None:
        """Make a bucket, unless it exists. Raises: NodeError."""
        ask(self._calls, self._make_bucket, bucket)

    def start_check(self) -> PendingCall[None]:
        """Check that the folder and its index exist, and that there is space."""
        return PendingCall(self._calls, self._check)

    def list_objects(
        self, bucket: str, prefix: str = "", after: str = ""
    ) -> Iterator[tuple[str, ObjectInfo]]:
        """Yield (key, info) in the order of the keys' UTF-8 bytes, read in batches."""
        first = max(prefix.encode(), after.encode() + b"\0" if after else b"")
        end = prefix.encode() + _BEHIND_ALL
        count = _FIRST_ROWS
        while True:
            rows = ask(self._calls, self._batch, bucket, first, end, count)
            for row in rows:
                yield row.key, row.info
            if len(rows) < count:
                return
            first = rows[-1].key.encode() + b"\0"
            count = min(2 * count, _BATCH_ROWS)

    def list_keys(self, bucket: str) -> Iterator[list[str]]:
        """Yield all keys of a bucket, in order, in batches."""
        first = b""
        while keys := ask(self._calls, self._keys, bucket, first, _BATCH_KEYS):
            yield keys
            first = keys[-1].encode() + b"\0"

    def adopt(
        self, name: ObjectName, path: Path, label: Label, headers: Mapping[str, str]
    ) -> ObjectInfo:
        """Make an object of a file on the same file system, by a hard link to it.

        Nobody may write to the file afterwards. The caller may remove its old name.
        Raises:
            PreconditionError: an object with this name exists.
            NodeError: the file can't be linked, or the folder failed.
        """
        nanoseconds = label.stamp.nanoseconds
        info = ObjectInfo(UNKNOWN_SIZE, "", nanoseconds, label, dict(headers))
        return ask(self._calls, adopt, self._index, name, path, info)

    def close(self) -> None:
        """Close the index and end idle threads; transfers in progress continue."""
        ask(self._calls, self._index.close)
        self._calls.close()

    def _check(self) -> None:
        with self._index.connect() as connection:
            connection.execute("SELECT 1 FROM objects LIMIT 1").fetchone()
        if self._index.reserve.is_full():
            raise NodeFullError("the folder is full")

    def _find(self, name: ObjectName) -> Row:
        with self._index.connect() as connection:
            row = find(connection, name)
            if row is None:
                require_bucket(connection, name.bucket)
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
            _require_etag(row, if_match)
            try:
                path = self._index.content.path_of(row.file)
                return FolderObject(self._calls, path, row.info, byte_range)
            except FileNotFoundError:
                # An overwrite has removed the file since the row was read, and has
                # written another row.
                if row.file == seen:
                    break
                seen = row.file
        raise NodeError("the object's content is not there")

    def _delete(self, name: ObjectName, if_match: str | None) -> None:
        with self._index.connect() as connection, transaction(connection):
            row = find(connection, name)
            if row is None:
                require_bucket(connection, name.bucket)
                return
            _require_etag(row, if_match)
            remove(connection, name)
        self._index.content.discard(row.file)

    def _make_bucket(self, bucket: str) -> None:
        with self._index.connect() as connection:
            make_bucket(connection, bucket)

    def _keys(self, bucket: str, first: bytes, count: int) -> list[str]:
        with self._index.connect() as connection:
            return find_keys(connection, bucket, first, _BEHIND_ALL, count)

    def _batch(self, bucket: str, first: bytes, end: bytes, count: int) -> list[Row]:
        with self._index.connect() as connection:
            return find_all(connection, bucket, first, end, count)


def _require_etag(row: Row, if_match: str | None) -> None:
    if if_match not in (None, row.info.etag):
        raise PreconditionError("the object has another ETag")


class FolderObject:
    """A `NodeObject`: a content file, or a range of it, that is read once."""

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
        self._file = open_content(path)
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
            ask(self._calls, self._read_ahead)
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
