"""Waiting for what another thread or process does."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE_SECONDS = 20.0
POLL_SECONDS = 0.005


def wait_until(
    condition: Callable[[], object], seconds: float = PATIENCE_SECONDS
) -> None:
    """Return when it holds; the test fails if it doesn't in so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(POLL_SECONDS)
