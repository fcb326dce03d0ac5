"""A node that stores objects in a folder of this machine, without any server.

Bodies are in `content/ab/<32 hex>`: each is written once under a random name and never
changed. `index.sqlite` maps keys to bodies. A body and its folder are synced to disk
before the single transaction that switches the key to it, so a key has its old or its
new object at any instant, always whole. The index also has the buckets that were made:
a folder that was emptied has none. Any number of processes may share the folder.
Nothing that a client sends becomes part of a path. Network file systems are not
supported, because SQLite's WAL needs shared memory. The node fills its folder, but
never makes it: a disk that is not mounted must not look like an empty node.

The index also has checksums of each body (`sums.py`), and every read is verified. A
copy that is found damaged or gone is marked, and not read again for a while; the entry
stays, for it knows the version.
"""

from __future__ import annotations

import io
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from amazin.errors import LostCopyError, NodeError, NoSuchKeyError, PreconditionError
from amazin.model.objects import (
    ROSTER_NAME,
    UNKNOWN_SIZE,
    Label,
    ObjectInfo,
    ObjectName,
)
from amazin.model.stored_names import shown
from amazin.nodes.folder.calls import PendingCall, StartedCall, ask
from amazin.nodes.folder.content import SHARDS, NoFileError
from amazin.nodes.folder.index import Index
from amazin.nodes.folder.marks import find_files, note_damage, note_whole
from amazin.nodes.folder.reading import FolderObject, Lose, verified_sums
from amazin.nodes.folder.reserve import is_no_space
from amazin.nodes.folder.rows import (
    Row,
    find,
    find_all,
    find_keys,
    make_bucket,
    remove,
    require_bucket,
)
from amazin.nodes.folder.sums import BLOCK_BYTES
from amazin.nodes.folder.uploads import Conditions, FolderUpload, Write, adopt
from amazin.nodes.folder.verifying import PendingRead, UnverifiedError, Verifier
from amazin.nodes.order import in_order

_FIRST_ROWS, _BATCH_ROWS = 32, 1024
"""Rows that a listing reads at once: at first, and at most. The number doubles."""
_BATCH_KEYS = 4096
_BEHIND_ALL = b"\xff"
"""Sorts behind every key: UTF-8 never has this byte."""
_READ_ATTEMPTS = 10
RECHECK_SECONDS = 60.0
"""A copy that was found lost is not looked at again before: it may have been the disk's
passing trouble, and looking at it means to read all of it."""

T = TypeVar("T")


class FolderNode:
    """Stores its objects in the folder `path`, which must exist.

    A `TriedNode`, a `VerifyingNode` and a `MeasuredNode`.

    `write`, `orphan_age_seconds` and `clock` are for tests: how bodies are written, at
    what age a file that is not in the index is removed, and the Unix time.
    """

    trial_seconds = 5.0

    def __init__(
        self,
        name: str,
        path: Path,
        *,
        write: Write = io.FileIO.write,
        orphan_age_seconds: float = 3600.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.name = name
        self._clock = clock
        self._write = write
        self._index = Index(path.absolute(), orphan_age_seconds)
        self._calls = self._index.calls
        self._verifier = Verifier()
        self._check: StartedCall[None] | None = None

    def __repr__(self) -> str:
        return f"FolderNode({self.name!r})"

    def start_get(
        self,
        name: ObjectName,
        *,
        byte_range: tuple[int, int] | None = None,
        if_match: str | None = None,
    ) -> PendingRead:
        """Request an object, or its bytes first..last (inclusive, within it)."""
        opens = partial(self._open, name, byte_range, if_match)
        return PendingRead(self._calls, self._verifier, opens)

    def start_head(self, name: ObjectName) -> PendingCall[ObjectInfo]:
        """Request the info about an object."""
        return PendingCall(self._calls, lambda: self._look(name))

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
        put = partial(self._put, name, data, info, conditions)
        is_roster = name == ROSTER_NAME
        return PendingCall(self._calls, partial(self._spend, put) if is_roster else put)

    def _put(
        self, name: ObjectName, data: bytes, info: ObjectInfo, conditions: Conditions
    ) -> ObjectInfo:
        upload = FolderUpload(self._index, name, info, conditions, self._write)
        try:
            upload.append(data)
            return upload.store()
        finally:
            upload.drop()

    def _spend(self, work: Callable[[], T]) -> T:
        """Do what has to be possible in a full folder, too."""
        return self._index.reserve.spend(work, self._index.shrink_log)

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
        return PendingCall(self._calls, lambda: self._delete_in_any(name, if_match))

    def make_bucket(self, bucket: str) -> None:
        """Make a bucket, unless it exists. Raises: NodeError."""
        ask(self._calls, self._make_bucket, bucket)

    def start_check(self) -> StartedCall[None]:
        """Check that folder and index can be read and written; one check at a time."""
        if self._check is None or self._check.is_ready(0):
            self._check = StartedCall(self._calls, self._index.check)
        return self._check

    start_trial = start_check

    def free_bytes(self) -> int:
        """See `MeasuredNode`."""
        return ask(self._calls, self._index.content.free_bytes)

    def list_objects(
        self, bucket: str, prefix: str = "", after: str = ""
    ) -> Iterator[tuple[str, ObjectInfo]]:
        """See `Node`."""
        return in_order(self._listed(bucket, prefix, after), prefix, after)

    def _listed(
        self, bucket: str, prefix: str, after: str
    ) -> Iterator[tuple[str, ObjectInfo]]:
        """Yield (key, info) in the index's order, read in batches."""
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
        """Yield all keys of a bucket in order, in batches; not those known as lost."""
        first = b""
        while keys := ask(self._calls, self._keys, bucket, first, _BATCH_KEYS):
            yield keys
            first = keys[-1].encode() + b"\0"

    def note_lost(self) -> None:
        """Mark the copies whose content file is gone. Raises: NodeError."""
        for shard in SHARDS:
            for name in ask(self._calls, self._owners_of_missing, shard):
                with suppress(NoSuchKeyError):
                    ask(self._calls, self._look, name)

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
        self._verifier.calls.close()

    def _find(self, name: ObjectName, has_sums: bool) -> Row:
        with self._index.connect() as connection:
            row = find(connection, name, has_sums=has_sums)
            if row is None:
                require_bucket(connection, name.bucket)
                raise NoSuchKeyError("no such object")
        return row

    def _look(self, name: ObjectName) -> ObjectInfo:
        def measure(row: Row, path: Path) -> ObjectInfo:
            is_short = not row.damaged_at and path.lstat().st_size != row.info.size
            return gone(row, "has another size") if is_short else row.info

        def gone(row: Row, reason: str = "is gone") -> ObjectInfo:
            self._lose(name, row, reason)
            return replace(row.info, is_damaged=True)

        return self._with_content(name, measure, gone)

    def _open(
        self,
        name: ObjectName,
        byte_range: tuple[int, int] | None,
        if_match: str | None,
        verified: Mapping[str, bytes],
    ) -> FolderObject:
        def read(row: Row, path: Path) -> FolderObject:
            _require_etag(row, if_match)
            lose = partial(self._lose, name, row)
            sums = verified.get(row.file, row.sums)
            if sums is None or (row.damaged_at and row.file not in verified):
                sums = self._verified(name, row, path, lose)
            info = replace(row.info, is_damaged=False) if row.damaged_at else row.info
            return FolderObject(self._calls, path, info, byte_range, sums, lose)

        def gone(row: Row) -> FolderObject:
            raise self._lose(name, row, "is gone")

        return self._with_content(name, read, gone, has_sums=True)

    def _with_content(
        self,
        name: ObjectName,
        use: Callable[[Row, Path], T],
        gone: Callable[[Row], T],
        has_sums: bool = False,
    ) -> T:
        """Return what `use` makes of an entry and its file; without a file, `gone`."""
        seen = ""
        for _ in range(_READ_ATTEMPTS):
            row = self._find(name, has_sums)
            try:
                return use(row, self._index.content.path_of(row.file))
            except (FileNotFoundError, NoFileError):
                # An overwrite may have removed the file since the entry was read, and
                # has written another one.
                if row.file == seen:
                    return gone(row)
                seen = row.file
        raise NodeError("the object keeps changing")

    def _verified(self, name: ObjectName, row: Row, path: Path, lose: Lose) -> bytes:
        """Verify a whole file against its MD5, and return its checksums.

        For what was stored before there were any, and for what was found lost.
        Raises: LostCopyError; UnverifiedError, if the file is large.
        """
        if 0 <= self._clock() - row.damaged_at < RECHECK_SECONDS:
            raise LostCopyError("the copy was found damaged or gone a moment ago")

        is_large = path.stat().st_size > BLOCK_BYTES

        def verify() -> bytes:
            with suppress(FileNotFoundError, NoFileError):
                sums = verified_sums(path, lose, "md5", row.info.etag)
                if row.damaged_at or is_large:  # else it is soon done again
                    self._note(note_whole, name, row.file, sums)
                return sums
            return b""  # the read that follows misses the file, too

        if is_large:
            raise UnverifiedError(row.file, verify)
        return verify()

    def _lose(self, name: ObjectName, row: Row, reason: str) -> LostCopyError:
        """Mark a copy as lost; returns the error to raise."""
        self._note(note_damage, name, row.file, max(1, int(self._clock())))
        error = LostCopyError(f"the copy of {shown(name)} on {self.name} {reason}")
        error.is_news = not row.damaged_at
        return error

    def _note(
        self,
        note: Callable[[sqlite3.Connection, ObjectName, str, T], None],
        name: ObjectName,
        file: str,
        value: T,
    ) -> None:
        # A folder that is full or can't be written to is read all the same.
        with (
            suppress(NodeError, OSError, sqlite3.Error),
            self._index.connect() as connection,
        ):
            note(connection, name, file, value)

    def _delete_in_any(self, name: ObjectName, if_match: str | None) -> None:
        """Remove an object, also from a full folder."""
        delete = partial(self._delete, name, if_match)
        try:
            self._spend(delete)
        except (OSError, sqlite3.Error) as exc:
            if not is_no_space(exc):
                raise
            # There was no reserve: older versions made none. Then the content has to
            # make room. Should that not be enough, the next delete finds it made.
            with self._index.connect() as connection:
                row = find(connection, name)
            if row is not None:
                _require_etag(row, if_match)
                self._index.content.discard(row.file)
            delete()

    def _delete(self, name: ObjectName, if_match: str | None) -> None:
        with self._index.change() as connection:
            row = find(connection, name)
            if row is None:
                require_bucket(connection, name.bucket)
                return
            _require_etag(row, if_match)
            self._index.content.require_removable(row.file)
            remove(connection, name)
        self._index.content.remove(row.file)

    def _make_bucket(self, bucket: str) -> None:
        with self._index.connect() as connection:
            make_bucket(connection, bucket)

    def _owners_of_missing(self, shard: str) -> list[ObjectName]:
        with self._index.connect() as connection:
            owners = find_files(connection, shard)  # first: files come before entries
        missing = self._index.content.missing(shard, owners)
        named = [owners[file] for file in missing]
        return [ObjectName(bucket.decode(), key.decode()) for bucket, key in named]

    def _keys(self, bucket: str, first: bytes, count: int) -> list[str]:
        with self._index.connect() as connection:
            return find_keys(connection, bucket, first, _BEHIND_ALL, count)

    def _batch(self, bucket: str, first: bytes, end: bytes, count: int) -> list[Row]:
        with self._index.connect() as connection:
            return find_all(connection, bucket, first, end, count)


def _require_etag(row: Row, if_match: str | None) -> None:
    if if_match not in (None, row.info.etag):
        raise PreconditionError("the object has another ETag")
