"""A few threads for many tasks, and a limit of the bytes that all of them read."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from queue import Queue
from threading import Lock, Thread
from typing import TypeVar

T = TypeVar("T")
PIECES_PER_SECOND = 4
LEAST_PIECE_BYTES = 1024


class Throttle:
    """Limits the bytes of a second; None: no limit. Thread-safe."""

    def __init__(
        self,
        bytes_per_second: float | None,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._rate = bytes_per_second
        self._sleep = sleep
        self._free_at = 0.0
        self._lock = Lock()

    def piece(self, most: int) -> int:
        """Return how many bytes to take at a time, so that no pause is long."""
        if self._rate is None:
            return most
        return min(most, max(LEAST_PIECE_BYTES, int(self._rate / PIECES_PER_SECOND)))

    def take(self, size: int) -> None:
        """Wait until `size` more bytes may be taken."""
        if self._rate is None:
            return
        with self._lock:
            start = max(self._free_at, time.monotonic())
            self._free_at = start + size / self._rate
        self._sleep(max(0.0, start - time.monotonic()))


def for_each(work: Callable[[T], object], tasks: Iterable[T], threads: int) -> None:
    """Do all tasks, so many at a time, as they come; they are never all in memory.

    `tasks` is read by the caller's thread, which also does the work if `threads` is 1.
    The first error of `work`, or of `tasks`, ends it and is raised.
    """
    if threads == 1:
        for task in tasks:
            work(task)
        return
    pending: Queue[T | None] = Queue(threads)
    errors: list[BaseException] = []
    # They are daemons, so that an interruption ends the process at once: nothing that
    # they do has to be brought to an end.
    pool = [
        Thread(target=_do_pending, args=(work, pending, errors), daemon=True)
        for _ in range(threads)
    ]
    for thread in pool:
        thread.start()
    try:
        for task in tasks:
            if errors:
                break
            pending.put(task)
    except Exception as exc:  # noqa: BLE001 - raised below
        errors.append(exc)
    for _ in pool:
        pending.put(None)
    for thread in pool:
        thread.join()
    if errors:
        raise errors[0]


def _do_pending(
    work: Callable[[T], object], pending: Queue[T | None], errors: list[BaseException]
) -> None:
    """Do tasks until `None` comes; after an error only take them off the queue."""
    while (task := pending.get()) is not None:
        try:
            if not errors:
                work(task)
        except BaseException as exc:  # noqa: BLE001 - the caller's thread raises it
            errors.append(exc)
