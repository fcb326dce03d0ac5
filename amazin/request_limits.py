"""How long the request that a thread, or greenlet, serves may take, and who wants it.

The server's side says so once; whatever waits for a node, or lists for long, asks here.
Where nobody has said anything, as in a command or in a thread of its own, there is no
limit.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from amazin.errors import ClientGoneError, LateError

request_deadline = ContextVar("request_deadline", default=math.inf)
"""When the request must end, on the monotonic clock."""
client_has_left = ContextVar[Callable[[], bool] | None]("client_has_left", default=None)
"""Tells whether nobody waits for the response any more."""

has_node_failed = ContextVar("has_node_failed", default=False)
"""Whether a node failed, or is skipped, that the request would have asked."""


def is_late() -> bool:
    """Whether the request should have ended."""
    return time.monotonic() > request_deadline.get()


def time_left() -> float:
    """Return the seconds that the request still has, at least 0; inf: no limit."""
    return max(0.0, request_deadline.get() - time.monotonic())


def require_wanted() -> None:
    """Raise LateError or ClientGoneError, if the work is of no use any more."""
    if is_late():
        raise LateError("The answer was not complete within REQUEST_TIMEOUT")
    has_left = client_has_left.get()
    if has_left and has_left():
        raise ClientGoneError("the client has gone")


@contextmanager
def unlimited() -> Iterator[None]:
    """Let the block take its time: others need its result, too."""
    deadline = request_deadline.set(math.inf)
    client = client_has_left.set(None)
    try:
        yield
    finally:
        request_deadline.reset(deadline)
        client_has_left.reset(client)
