"""Sorts any number of rows by their keys: few are in memory, the others in a file."""

from __future__ import annotations

import pickle
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Generic, TypeVar, TypeVarTuple

from amazin.blocking import BlockingCalls
from amazin.errors import HTTPError

ROWS_AT_ONCE = 500
"""How many rows are stored and read at a time."""
_CACHE_KIB = 2048

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")
Result = TypeVar("Result")


class SortedRows(Generic[T]):
    """Rows of (key, value), each key once. Belongs to one thread.

    They are in a database of SQLite without a name: it becomes a file when it is larger
    than its cache, in the folder for temporary files, and is gone when it is closed.
    """

    def __init__(self, rows: Iterable[tuple[bytes, T]]) -> None:
        """Take all rows. Raises: HTTPError 503, what `rows` raises."""
        self._calls = BlockingCalls(threads=1)
        self._database = sqlite3.connect("", check_same_thread=False)
        try:
            self._run(_prepare, self._database)
            source = iter(rows)
            while some := [
                (k, pickle.dumps(v)) for k, v in islice(source, ROWS_AT_ONCE)
            ]:
                self._run(_insert, self._database, some)
        except BaseException:
            self.close()
            raise

    def rows(self, first: bytes) -> Iterator[tuple[bytes, T]]:
        """Yield the rows from this key on, in order. Raises: HTTPError 503."""
        while found := self._run(_select, self._database, first):
            for key, value in found:
                yield key, pickle.loads(value)
            first = found[-1][0] + b"\0"

    def _run(
        self, function: Callable[[*Arguments], Result], *arguments: *Arguments
    ) -> Result:
        try:
            return self._calls.run(function, *arguments)
        except sqlite3.Error as exc:
            message = "A list can't be sorted now: there is no room for it"
            raise HTTPError(503, "SpoolFailed", message) from exc

    def close(self) -> None:
        """Remove the file. Idempotent."""
        self._database.close()
        self._calls.close()


def _prepare(database: sqlite3.Connection) -> None:
    # What it holds is of no use after a crash.
    database.execute("PRAGMA journal_mode = OFF")
    database.execute("PRAGMA synchronous = OFF")
    database.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    database.execute("CREATE TABLE rows (key BLOB PRIMARY KEY, value) WITHOUT ROWID")


def _insert(database: sqlite3.Connection, rows: list[tuple[bytes, bytes]]) -> None:
    database.executemany("INSERT INTO rows VALUES (?, ?)", rows)


def _select(database: sqlite3.Connection, first: bytes) -> list[tuple[bytes, bytes]]:
    found = database.execute(
        "SELECT key, value FROM rows WHERE key >= ? ORDER BY key LIMIT ?",
        (first, ROWS_AT_ONCE),
    )
    return found.fetchall()
