"""Issues stamps, each greater than all that this process issued or saw before."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable

from amazin.model.objects import Stamp


def new_tie_break() -> int:
    """Return what orders stamps of the same nanosecond, of different gateways."""
    return secrets.randbits(32)


class Stamps:
    """Thread-safe. Its only state is the last stamp's time."""

    def __init__(
        self,
        clock_ns: Callable[[], int] = time.time_ns,
        new_tie_break: Callable[[], int] = new_tie_break,
    ) -> None:
        self._clock_ns = clock_ns
        self._new_tie_break = new_tie_break
        self._last_ns = 0
        self._lock = threading.Lock()

    def next(self, seen: Stamp) -> Stamp:
        """Return a stamp that is greater than `seen` and than those issued before."""
        with self._lock:
            self._last_ns = max(
                self._clock_ns(), self._last_ns + 1, seen.nanoseconds + 1
            )
            return Stamp(self._last_ns, self._new_tie_break())
