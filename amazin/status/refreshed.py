"""A value that is got anew in a thread, for which nobody waits longer than he wants."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from amazin.errors import GatewayError

Value = TypeVar("Value")
log = logging.getLogger("amazin.status")


class Refreshed(Generic[Value]):
    """The last value of a call, which runs once at a time for all who want it."""

    def __init__(
        self,
        call: Callable[[], Value],
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`seconds` are from the end of a call to the next.

        A call that fails leaves the value as it was.
        """
        self._call = call
        self._seconds = seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._next_at = self._got_at = -math.inf
        self.value: Value | None = None
        """None: there is none yet."""

    @property
    def age_seconds(self) -> float:
        """How old the value is."""
        return self._clock() - self._got_at

    @property
    def is_late(self) -> bool:
        """Whether a call has begun whose end did not come yet."""
        thread = self._thread
        return thread is not None and thread.is_alive()

    def begin(self) -> None:
        """Have the call made, unless one is running or was made a moment ago."""
        with self._lock:
            if self.is_late or self._clock() < self._next_at:
                return
            thread = threading.Thread(target=self._run, name="status", daemon=True)
            thread.start()  # others run meanwhile, and may join only what has begun
            self._thread = thread

    def wait(self, seconds: float) -> Value | None:
        """Wait at most that long for the end of a running call; return the value."""
        if thread := self._thread:
            thread.join(max(0.0, seconds))
        return self.value

    def _run(self) -> None:
        try:
            self.value = self._call()
            self._got_at = self._clock()
        except GatewayError as exc:
            log.debug("the status is not known anew: %s", exc)
        except Exception:
            log.exception("the status is not known anew")
        self._next_at = self._clock() + self._seconds
