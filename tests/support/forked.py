"""What holds in a process that was forked from the tests' own."""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Callable

from tests.support.waiting import await_that


def is_so_in_child(ask: Callable[[], bool]) -> bool:
    """Fork, ask there, and return the answer; an exception is a no."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if ask() else 2
        finally:
            os._exit(status)
    return exit_code(child) == 0


def exit_code(child: int) -> int:
    """Wait for a process, which is killed if it takes long."""
    found = (0, 0)

    def has_ended() -> bool:
        nonlocal found
        found = os.waitpid(child, os.WNOHANG)
        return bool(found[0])

    try:
        await_that(has_ended)
    except AssertionError:
        os.kill(child, signal.SIGKILL)
        found = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(found[1])
