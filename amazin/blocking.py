"""Keeps gevent's event loop free: blocking calls (disk, SQLite) run outside it.

Does not import gevent: each call checks whether gevent has patched the process.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import Any, TypeVar, TypeVarTuple

Arguments = TypeVarTuple("Arguments")
Result = TypeVar("Result")


HIGHEST_PRIORITY = 2
"""Of gevent's watchers: in each turn of the loop, what idles is resumed, too."""


def pause() -> None:
    """Let other requests of this process run, within a long computation.

    A greenlet goes on undisturbed as long as all that it wants to receive has arrived.
    After `sleep(0)` gevent resumes it up to fifty times before it looks for what has
    arrived for others; from idling, once.
    """
    if is_patched():
        sys.modules["gevent"].idle(HIGHEST_PRIORITY)
    else:
        time.sleep(0)


def is_patched() -> bool:
    """Whether gevent has patched the process."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("socket"))


class BlockingCalls:
    """Runs calls in a few native threads of its own, if gevent has patched the process.

    Each disk needs its own instance: calls that hang on one disk must not delay calls
    on another.
    """

    def __init__(self, threads: int = 8) -> None:
        self._threads = threads
        self._pool: Any = None
        self._process = 0

    def run(
        self, function: Callable[[*Arguments], Result], *args: *Arguments
    ) -> Result:
        """Return `function(*args)`; under gevent a native thread calls it.

        In a native thread the call runs to its end, even if the waiting greenlet is
        killed or times out. The function must not use anything that gevent patches
        (locks, sleep, sockets), nor objects that the greenlet uses afterwards.
        """
        if not is_patched():
            return function(*args)
        result, error = self._current_pool().apply(_outcome, (function, args))
        if error is not None:
            raise error
        return result  # type: ignore[no-any-return]

    def _current_pool(self) -> Any:
        if self._process != os.getpid():
            from gevent.threadpool import ThreadPool

            self._pool, self._process = ThreadPool(self._threads), os.getpid()
        return self._pool

    def close(self) -> None:
        """End the threads after their last call; a later call starts new ones."""
        pool, self._pool = self._pool, None
        if pool is not None and self._process == os.getpid():
            pool.kill()
        self._process = 0


def _outcome(
    function: Callable[[*Arguments], Result], args: tuple[*Arguments]
) -> tuple[Result | None, BaseException | None]:
    # gevent prints the traceback of every exception in a job, also of expected ones.
    try:
        return function(*args), None
    except BaseException as exc:  # noqa: BLE001 - raised again by the caller
        return None, exc
