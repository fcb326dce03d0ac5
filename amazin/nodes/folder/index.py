"""The index of a folder node in SQLite: it maps each key to a content file.

All functions block: `node.py` calls them off the event loop, and translates their
errors. Source: https://www.sqlite.org/howtocorrupt.html, for the dangers avoided here.
"""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
import weakref
from collections import deque
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

from amazin.blocking import BlockingCalls
from amazin.errors import (
    GatewayError,
    NodeError,
    NodeUnreachableError,
    NoSuchBucketError,
)
from amazin.model.objects import Label, ObjectInfo, ObjectName
from amazin.nodes.folder.content import Content, sync_folder
from amazin.nodes.folder.reserve import Reserve
from amazin.nodes.folder.schema import (
    READABLE_VERSION,
    SCHEMA,
    UPGRADES,
    VERSION,
    show_as_newest,
    upgrade,
    version_of,
)

_COLUMNS = "key, file, size, etag, stamp, headers, damaged"
_WITH_SUMS = f"{_COLUMNS}, sums"
_BUSY_SECONDS = 4.0


class Row(NamedTuple):
    """The index entry of one key."""

    key: str
    file: str
    info: ObjectInfo
    damaged_at: int = 0
    """Unix time at which the content was last found damaged or gone; 0: it was not."""
    sums: bytes | None = None
    """See `sums.py`. None: not made yet, or not asked for."""


class _Connection(NamedTuple):
    sqlite: sqlite3.Connection
    place: tuple[int, int]
    """Device and inode of the index file when it was opened."""
    is_old: bool
    """Whether it shows an index that could not be upgraded."""

    def is_right(self, place: tuple[int, int], adds: bool) -> bool:
        """Whether it is of the index that is there now, and can be used for this."""
        if self.place != place or not self.is_old:
            return self.place == place
        with suppress(sqlite3.Error):
            return not adds and version_of(self.sqlite) == READABLE_VERSION
        return False


class Index:
    """The connections to one folder's index; the first use makes it in an empty folder.

    It is neither thread-local nor locked: each use takes a connection from a deque and
    puts it back, which is atomic for threads and greenlets alike.
    """

    def __init__(self, root: Path, orphan_age_seconds: float) -> None:
        self.content = Content(root / "content")
        self.reserve = Reserve(root / "index.reserve")
        self.calls = BlockingCalls()
        self._root = root
        self._path = root / "index.sqlite"
        self._orphan_age_seconds = orphan_age_seconds
        self._idle: deque[_Connection] = deque()
        self._uses: set[object] = set()
        self._pid = os.getpid()
        self._identity = ""
        self._closed = False
        _indexes.add(self)

    @contextmanager
    def connect(self, *, adds: bool = False) -> Iterator[sqlite3.Connection]:
        """Lend a connection to the index file that exists now.

        `adds`: to add entries. All else is done in an index of the version before, too,
        while there is no space to upgrade it.
        Raises:
            NodeUnreachableError: the folder does not exist.
            NodeError: the index file is gone, or was replaced by another node's.
        """
        self._check_process()
        use = object()
        self._uses.add(use)
        try:
            connection = self._take(adds)
            try:
                yield connection.sqlite
            except GatewayError:
                self._idle.append(connection)
                raise
            except BaseException:
                connection.sqlite.close()
                raise
            self._idle.append(connection)
        finally:
            self._uses.discard(use)
            if self._closed:
                self.close_idle()

    def shrink_log(self) -> None:
        """Write SQLite's log into the index and empty it, as far as others let it."""
        with suppress(OSError, sqlite3.Error), self.connect() as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

    def close(self) -> None:
        """Close all connections; those in use are closed when they are put back."""
        self._closed = True
        self.close_idle()

    def close_idle(self) -> None:
        """Close the connections that are not in use."""
        with suppress(IndexError):
            while True:
                self._idle.pop().sqlite.close()

    def _check_process(self) -> None:
        # SQLite's locks belong to the process that took them. A forked process inherits
        # no open connection (see the end of this module), unless another thread of the
        # parent was using one.
        if self._pid == os.getpid():
            return
        if self._idle or self._uses:
            raise NodeError(
                "the process was forked while the folder's index was in use"
            )
        self._pid = os.getpid()

    def _take(self, adds: bool) -> _Connection:
        place = self._place()
        with suppress(IndexError):
            while True:
                connection = self._idle.pop()
                if connection.is_right(place, adds):
                    return connection
                connection.sqlite.close()
        sqlite, is_old = self.reserve.spend(partial(self._open, adds))
        return _Connection(sqlite, place, is_old)

    def _place(self) -> tuple[int, int]:
        try:
            found = self._path.stat()
        except (FileNotFoundError, NotADirectoryError):
            if not self._root.is_dir():
                raise NodeUnreachableError("the folder is not there") from None
            if self._identity:
                raise NodeError("the folder's index is gone") from None
            self._initialise()
            found = self._path.stat()
        return (found.st_dev, found.st_ino)

    def _open(self, adds: bool) -> tuple[sqlite3.Connection, bool]:
        """Open the index; also return whether it is still one of an older version."""
        connection = _connect(self._path, "rw")
        try:
            version = version_of(connection)
            if version not in (*UPGRADES, VERSION):
                raise NodeError(f"the folder's index has an unknown version {version}")
            connection.execute("PRAGMA synchronous = FULL")
            (identity,) = connection.execute("SELECT id FROM node").fetchone()
            if self._identity not in ("", identity):
                raise NodeError("the folder's index is another one than before")
            is_old = version != VERSION and not _upgrade(connection, adds)
            if not self._identity:
                sync_folder(self._root)
                self.content.sweep(connection, self._orphan_age_seconds)
                self._identity = identity
        except BaseException:
            connection.close()
            raise
        return connection, is_old

    def _initialise(self) -> None:
        """Make the index of an empty folder, safely if several processes do it at once.

        The complete index file gets its name last.
        """
        self._refuse_lost_index()
        self.content.path.mkdir(exist_ok=True)
        new = self._root / f"index.{secrets.token_hex(8)}.new"
        try:
            with closing(_connect(new, "rwc")) as connection:
                connection.executescript(SCHEMA)
                connection.execute("INSERT INTO node VALUES (?)", (new.name,))
            with suppress(FileExistsError):
                self._path.hardlink_to(new)
        finally:
            new.unlink(missing_ok=True)
        sync_folder(self._root)

    def _refuse_lost_index(self) -> None:
        log = self._path.with_name("index.sqlite-wal")
        if (log.exists() or self.content.has_files()) and not self._path.exists():
            raise NodeError("the folder has content but no index")


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.as_uri()}?mode={mode}",
        timeout=_BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
        uri=True,
    )
    connection.text_factory = partial(str, encoding="utf-8", errors="replace")
    return connection


def _upgrade(connection: sqlite3.Connection, is_needed: bool) -> bool:
    """Upgrade the index; False: it can't be written to, and is shown as if it were."""
    try:
        with transaction(connection):
            upgrade(connection)
    except sqlite3.OperationalError:
        if is_needed or version_of(connection) != READABLE_VERSION:
            raise
        show_as_newest(connection)
        return False
    return True


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Hold SQLite's write lock; commit at the end, or roll back on an exception."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if connection.in_transaction:  # SQLite itself rolls back on some errors
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def find(
    connection: sqlite3.Connection, name: ObjectName, *, has_sums: bool = False
) -> Row | None:
    """Return the index entry of an object, or None; with its sums if asked to."""
    columns = _WITH_SUMS if has_sums else _COLUMNS
    found = connection.execute(
        f"SELECT {columns} FROM objects WHERE bucket = ? AND key = ?",
        (name.bucket.encode(), name.key.encode()),
    ).fetchone()
    return found and _row(*found)


def find_all(
    connection: sqlite3.Connection, bucket: str, first: bytes, end: bytes, limit: int
) -> list[Row]:
    """Return the objects with first <= key < end, in order of the keys' bytes."""
    found = connection.execute(
        f"SELECT {_COLUMNS} FROM objects"
        " WHERE bucket = ? AND key >= ? AND key < ? ORDER BY key LIMIT ?",
        (bucket.encode(), first, end, limit),
    )
    return [_row(*columns) for columns in found]


def find_keys(
    connection: sqlite3.Connection, bucket: str, first: bytes, end: bytes, limit: int
) -> list[str]:
    """Return the keys with first <= key < end, in order of their bytes.

    Without those whose content is known to be damaged or gone.
    """
    found = connection.execute(
        "SELECT key FROM objects WHERE damaged = 0"
        " AND bucket = ? AND key >= ? AND key < ? ORDER BY key LIMIT ?",
        (bucket.encode(), first, end, limit),
    )
    return [key.decode() for (key,) in found]


def put(
    connection: sqlite3.Connection,
    name: ObjectName,
    file: str,
    info: ObjectInfo,
    sums: bytes,
) -> None:
    """Map the key to `file`, replacing an older entry."""
    values = (file, info.size, info.etag, str(info.label), json.dumps(info.headers))
    connection.execute(
        "INSERT OR REPLACE INTO objects"
        " (bucket, key, file, size, etag, stamp, headers, sums)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (name.bucket.encode(), name.key.encode(), *values, sums),
    )


def remove(connection: sqlite3.Connection, name: ObjectName) -> None:
    """Remove the entry of a key."""
    connection.execute(
        "DELETE FROM main.objects WHERE bucket = ? AND key = ?",
        (name.bucket.encode(), name.key.encode()),
    )


def make_bucket(connection: sqlite3.Connection, bucket: str) -> None:
    """Make a bucket; nothing is written if it exists."""
    if not _has_bucket(connection, bucket):
        connection.execute(
            "INSERT OR IGNORE INTO buckets VALUES (?)", (bucket.encode(),)
        )


def require_bucket(connection: sqlite3.Connection, bucket: str) -> None:
    """Raises: NoSuchBucketError, if the bucket was never made."""
    if not _has_bucket(connection, bucket):
        raise NoSuchBucketError("the folder has no such bucket")


def _has_bucket(connection: sqlite3.Connection, bucket: str) -> bool:
    known = "SELECT 1 FROM buckets WHERE name = ?"
    return connection.execute(known, (bucket.encode(),)).fetchone() is not None


def _row(
    key: bytes,
    file: str,
    size: int,
    etag: str,
    label_text: str,
    headers: str,
    damaged_at: int,
    sums: bytes | None = None,
) -> Row:
    """Return an entry; one that makes no sense is that of a lost copy."""
    label = Label.parse(label_text) if isinstance(label_text, str) else None
    modified_ns = label.stamp.nanoseconds if label else 0
    try:
        kept, is_lost = json.loads(headers), damaged_at > 0
        is_readable = (
            isinstance(size, int)
            and size >= 0
            and etag.isprintable()
            and {str, *map(type, kept.values())} == {str}
        )
        info = ObjectInfo(size, etag, modified_ns, label, kept, is_lost)
    except (AttributeError, TypeError, ValueError):
        is_readable = False
    if not is_readable:
        # Its stamp counts: without it an older version elsewhere would be the newest.
        info = ObjectInfo(0, "", modified_ns, label, {}, is_damaged=True)
        damaged_at = (isinstance(damaged_at, int) and damaged_at) or 1
    sums = sums if isinstance(sums, bytes) else None
    return Row(key.decode(), file, info, damaged_at, sums)


_indexes: weakref.WeakSet[Index] = weakref.WeakSet()


def _close_before_fork() -> None:
    for index in list(_indexes):
        index.close_idle()


os.register_at_fork(before=_close_before_fork)
