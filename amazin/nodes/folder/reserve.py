"""Space in a folder that only deletes and the roster may use.

So a full folder can be emptied: SQLite can't delete a row on a disk without any space,
because the change is written to its log first. And nodes can be added or given up: that
has to be recorded on the full ones. All functions block.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from pathlib import Path
from typing import IO, TypeVar

from amazin.nodes.folder.content import give_to_owner

RESERVE_BYTES = 2**19
"""Enough for many deletes, and for SQLite to write its log into the index."""
FULL_BYTES = 2**20
"""With less space than this beside the reserve, a folder is shown as full."""
_SHORT_OF_SPACE = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)
"""What SQLite says on a full disk: the last two, if it can't make its log."""
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
_spends = ContextVar("_spends", default=False)
"""Whether this thread or greenlet is within `Reserve.spend`."""
T = TypeVar("T")


class Reserve:
    """A file that takes up space for nothing else; any number of processes share it.

    Who spends it holds a lock on it. Those who fill it share one: any number may do so
    at once.
    """

    def __init__(self, path: Path) -> None:
        """Take the file's path; nothing is made yet."""
        self._path = path

    def require(self) -> None:
        """Fill the file where it is not full, but for who may spend it.

        Raises: OSError ENOSPC: there is no space, or a delete needs it now.
        """
        if _spends.get():
            return
        with suppress(FileNotFoundError):
            if self._path.stat().st_size >= RESERVE_BYTES:
                return
        with self._path.open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError as exc:
                raise OSError(errno.ENOSPC, "the reserve is being spent") from exc
            _fill(file)
            give_to_owner(self._path)

    def is_full(self) -> bool:
        """Whether uploads are refused, or soon will be."""
        try:
            self.require()
            free = os.statvfs(self._path)
        except OSError as exc:
            return exc.errno in _NO_SPACE
        return free.f_bavail * free.f_frsize < FULL_BYTES

    def spend(
        self,
        work: Callable[[], T],
        make_room: Callable[[], object] = lambda: None,
    ) -> T:
        """Do the work; without space for it, again with that of the file.

        `make_room` is called in between. Afterwards the file is filled again, if there
        is space by then; else the next upload does it, or is refused. What the work
        itself spends is spent for all of it: the lock would exclude its own holder.
        """
        if _spends.get():
            return work()
        token = _spends.set(True)
        try:
            return self._spend(work, make_room)
        finally:
            _spends.reset(token)

    def _spend(self, work: Callable[[], T], make_room: Callable[[], object]) -> T:
        try:
            return work()
        except (OSError, sqlite3.Error) as exc:
            if not _is_short_of_space(exc):
                raise
        with self._path.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.truncate(0)
            try:
                make_room()
                return work()
            finally:
                with suppress(OSError):
                    _fill(file)


def _fill(file: IO[bytes]) -> None:
    try:
        os.posix_fallocate(file.fileno(), 0, RESERVE_BYTES)
    except OSError as exc:
        if exc.errno in _NO_SPACE:
            raise
        file.truncate(RESERVE_BYTES)  # this file system reserves nothing


def is_no_space(error: Exception) -> bool:
    """Whether this is the error of a full disk, and can be of nothing else."""
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL
    return isinstance(error, OSError) and error.errno in _NO_SPACE


def _is_short_of_space(error: Exception) -> bool:
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", 0) & 0xFF in _SHORT_OF_SPACE
    return is_no_space(error)
