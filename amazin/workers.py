"""A few threads for many tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from queue import Queue
from threading import Thread
from typing import TypeVar

T = TypeVar("T")


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
