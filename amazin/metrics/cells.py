"""Counters in the memory that workers share, at less cost than the library's own.

To add to a counter, the library takes a lock, looks whether the process was forked and
where the series is, and only then adds: that is half of what all metrics cost.
"""

from __future__ import annotations

from typing import Any

from prometheus_client import values

from amazin.blocking import is_patched

DOUBLE_BYTES = 8
NEEDED = ("_m", "_positions")
"""What the library's file must have; if it has not, its own way is taken."""


def shared_values(slot: str) -> type[Any]:
    """Return the library's class of shared values; under gevent, with a faster `inc`.

    Greenlets never switch within an addition. Threads may, and need the lock.
    """
    library: type[Any] = values.MultiProcessValue(lambda: slot)
    return with_cells(library) if is_patched() else library


def with_cells(library: type[Any]) -> type[Any]:
    """Return a subclass of `library` that adds in place."""

    class CellValue(library):  # type: ignore[misc]
        def __init__(self, *about: Any, **more: Any) -> None:
            super().__init__(*about, **more)
            file = self._file
            if all(hasattr(file, name) for name in NEEDED):
                # A file that grows is mapped anew, but this stays the same memory.
                self._cells = memoryview(file._m).cast("d")
                self._at = file._positions[self._key] // DOUBLE_BYTES
                self.inc, self.get = self._add, self._read

        def _add(self, amount: float) -> None:
            self._cells[self._at] += amount

        def _read(self) -> float:
            value: float = self._cells[self._at]
            return value

    return CellValue
