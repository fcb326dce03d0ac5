"""The index of a folder node in SQLite: it maps each key to a content file.

All functions block: `node.py` calls them off the event loop, and translates their
errors. Source: https://www.sqlite.org/howtocorrupt.html, for the dangers avoided here.
"""

from __future__ import annotations

import errno
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
    NodeFullError,
    NodeUnreachableError,
    NodeUnreadableError,
)
from amazin.nodes.folder.calls import ERRORS, name_of
from amazin.nodes.folder.content import (
    Content,
    give_to_owner,
    require_writable,
    sync_folder,
)
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

_BUSY_SECONDS = 4.0
_UNWRITABLE = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN)
"""What SQLite says if it can't write to the index, or can't make its log beside it."""


class _Connection(NamedTuple):
    sqlite: sqlite3.Connection
    place: tuple[int, int]
    """Device and inode of the index file when it was opened."""
    is_old: bool
    """Whether it shows an index that could not be upgraded."""
    is_read_only: bool = False
    """Whether the index could not be written to: SQLite does not look again."""
    still: tuple[int, int] | None = None
    """See `Index._still`. None: it sees all changes, as SQLite has it."""

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
        self._log = root / "index.sqlite-wal"
        self._shared = root / "index.sqlite-shm"
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
            OSError: EROFS, EACCES: SQLite says less of a folder it can't write to.
        """
        self._check_process()
        use = object()
        self._uses.add(use)
        try:
            connection = self._take(adds)
            try:
                yield connection.sqlite
                if connection.still and connection.still != self._still():
                    raise NodeError("the folder's index changed while it was read")
            except GatewayError:
                self._idle.append(connection)
                raise
            except BaseException:
                connection.sqlite.close()
                raise
            self._idle.append(connection)
        except sqlite3.Error as exc:
            if getattr(exc, "sqlite_errorcode", 0) & 0xFF in _UNWRITABLE:
                self.require_writable()
            raise
        finally:
            self._uses.discard(use)
            if self._closed:
                self.close_idle()

    @contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection within a transaction. Raises: as `connect`.

        The files are looked at first: the system may kill a process that writes to the
        shared memory of an index that became read-only.
        """
        self.require_writable()
        with self.connect() as connection, transaction(connection):
            yield connection

    def require_writable(self) -> None:
        """Check that the index can be changed.

        Raises: OSError: EROFS, EACCES; NodeUnreachableError: the folder does not exist.
        """
        try:
            require_writable(self._root)
        except (FileNotFoundError, NotADirectoryError):
            raise NodeUnreachableError("the folder is not there") from None
        for path in (self._path, self._log, self._shared):
            with suppress(FileNotFoundError):
                require_writable(path)

    def check(self) -> None:
        """Check that all can be read, and written to; nothing is left of the trial.

        Raises: as `connect`; OSError; NodeUnreadableError: it can't even be read.
        """
        try:
            with self.connect() as connection:
                connection.execute("SELECT 1 FROM objects LIMIT 1").fetchone()
            self.content.require_readable()
        except OSError as exc:
            if exc.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise
            error = NodeUnreadableError(f"the folder failed: {name_of(exc)}")
            error.state = ERRORS[exc.errno].state
            raise error from exc
        if self.reserve.is_full():
            raise NodeFullError("the folder is full")
        self.require_writable()
        self.reserve.require()
        self.content.require_writable()

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
                if self._shows_all(connection) and connection.is_right(place, adds):
                    return connection
                connection.sqlite.close()
        still = None
        try:
            sqlite, is_old = self.reserve.spend(partial(self._open, adds))
        except (OSError, sqlite3.Error):
            still = self._still()
            if adds or still is None:
                raise
            sqlite, is_old = self._open(adds, "ro&immutable=1")
        return _Connection(sqlite, place, is_old, not self._is_writable(), still)

    def _shows_all(self, connection: _Connection) -> bool:
        """Whether it sees all changes, and can make some where that is possible."""
        if connection.is_read_only and self._is_writable():
            return False
        return connection.still is None or connection.still == self._still()

    def _is_writable(self) -> bool:
        try:
            self.require_writable()
        except OSError:
            return False
        return True

    def _still(self) -> tuple[int, int] | None:
        """Return time and size of an index that can be read, but not be opened.

        SQLite wants to make its log and its shared memory beside it, unless it is told
        that nobody changes the index. Nobody did as long as these stay and there is no
        log: whoever writes makes one, and changes the index when it goes.
        None: the index can be written to, or has a log.
        """
        if self._is_writable() or self._log.exists():
            return None
        found = self._path.stat()
        return (found.st_mtime_ns, found.st_size)

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

    def _open(self, adds: bool, mode: str = "rw") -> tuple[sqlite3.Connection, bool]:
        """Open the index; also return whether it is still one of an older version."""
        connection = _connect(self._path, mode)
        try:
            version = version_of(connection)
            if version not in (*UPGRADES, VERSION):
                raise NodeError(f"the folder's index has an unknown version {version}")
            connection.execute("PRAGMA synchronous = FULL")
            found = connection.execute("SELECT id FROM node").fetchone()
            if found is None:
                raise NodeError("the folder's index is damaged")
            (identity,) = found
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
        self.content.make_folder(self.content.path)
        new = self._root / f"index.{secrets.token_hex(8)}.new"
        try:
            with closing(_connect(new, "rwc")) as connection:
                connection.executescript(SCHEMA)
                connection.execute("INSERT INTO node VALUES (?)", (new.name,))
            give_to_owner(new)
            with suppress(FileExistsError):
                self._path.hardlink_to(new)
        finally:
            new.unlink(missing_ok=True)
        sync_folder(self._root)

    def _refuse_lost_index(self) -> None:
        if (self._log.exists() or self.content.has_files()) and not self._path.exists():
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


_indexes: weakref.WeakSet[Index] = weakref.WeakSet()


def _close_before_fork() -> None:
    for index in list(_indexes):
        index.close_idle()


os.register_at_fork(before=_close_before_fork)
