"""A value that costs something, asked for once while many want it."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Recent(Generic[Value]):
    """The value of a call, which is repeated when it is too old. Thread-safe."""

    def __init__(
        self,
        call: Callable[[], Value],
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._call = call
        self._seconds = seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._value: Value | None = None
        self._old_at = -math.inf

    def get(self) -> Value:
        """Return a value not older than that; who comes during a call waits for it.

        Raises: what the call raises, which the next one repeats.
        """
        with self._lock:
            if self._value is None or self._clock() >= self._old_at:
                self._value = self._call()
                self._old_at = self._clock() + self._seconds
            return self._value
