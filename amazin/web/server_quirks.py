"""Corrects how gunicorn reads request bodies.

gunicorn's read waits until all requested bytes have arrived, however slowly.
`limit_reading` ends such a read, in workers whose `receive` is wrapped by `timely`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary
from wsgiref.types import WSGIEnvironment

_read_until = WeakKeyDictionary[Any, float]()
"""By socket: when reading must end, on the monotonic clock."""


def limit_reading(environ: WSGIEnvironment, deadline: float) -> None:
    """Let reads of the request's body fail after `deadline`; inf: no limit.

    Does nothing under servers other than gunicorn.
    """
    sock = environ.get("gunicorn.socket")
    if sock is None:
        return
    if deadline < math.inf:
        _read_until[sock] = deadline
    else:
        _read_until.pop(sock, None)


def timely(receive: Callable[..., bytes]) -> Callable[..., bytes]:
    """Wrap gunicorn's `SocketUnreader.chunk` so that it obeys `limit_reading`.

    The wrapped function raises TimeoutError.
    """

    def receive_in_time(unreader: Any, *size: Any) -> bytes:
        if not _read_until or (until := _read_until.get(unreader.sock)) is None:
            return receive(unreader, *size)
        sock, left = unreader.sock, until - time.monotonic()
        if left <= 0:
            raise TimeoutError("the body takes too long")
        timeout = sock.gettimeout()
        sock.settimeout(left if timeout is None else min(left, timeout))
        try:
            return receive(unreader, *size)
        finally:
            sock.settimeout(timeout)

    return receive_in_time
