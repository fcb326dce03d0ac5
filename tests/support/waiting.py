"""Waiting for what other threads and processes do, never for ever."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
PATIENCE_SECONDS = 20.0
POLL_SECONDS = 0.01


def await_that(ask: Callable[[], T], seconds: float = PATIENCE_SECONDS) -> T:
    """Ask until the answer is true, and return it; fail when that takes too long."""
    deadline = time.monotonic() + seconds
    while not (answer := ask()):
        assert time.monotonic() < deadline, f"still {answer!r}"
        time.sleep(POLL_SECONDS)
    return answer


def within_a_second(look: Callable[[], T]) -> T:
    """Return the first result that no new second interrupts.

    Last-Modified of what was stored a moment ago changes with the second.
    """
    for _ in range(100):
        second = int(time.time())
        found = look()
        if int(time.time()) == second:
            return found
    raise AssertionError("a look takes too long")
