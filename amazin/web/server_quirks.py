"""What gunicorn does otherwise than it should, and what is done about it.

It waits with a read until all that was asked for is there, however slowly it comes:
`limit_reading` ends that, in workers whose `receive` is `timely`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary
from wsgiref.types import WSGIEnvironment

_read_until = WeakKeyDictionary[Any, float]()
"""Of sockets: when reading ends, on the monotonic clock."""


def limit_reading(environ: WSGIEnvironment, deadline: float) -> None:
    """Let no read of the request's body go on after `deadline`; inf: as long as it may.

    Under gunicorn; elsewhere this does nothing.
    """
    sock = environ.get("gunicorn.socket")
    if sock is None:
        return
    if deadline < math.inf:
        _read_until[sock] = deadline
    else:
        _read_until.pop(sock, None)


def timely(receive: Callable[..., bytes]) -> Callable[..., bytes]:
    """Return gunicorn's `SocketUnreader.chunk` as one that keeps to `limit_reading`.

    It raises TimeoutError.
    """

    def receive_in_time(unreader: Any, *size: Any) -> bytes:
        if not _read_until or (until := _read_until.get(unreader.sock)) is None:
            return receive(unreader, *size)
        sock, left = unreader.sock, until - time.monotonic()
        if left <= 0:
            raise TimeoutError("the body takes too long")
        patience = sock.gettimeout()
        sock.settimeout(left if patience is None else min(left, patience))
        try:
            return receive(unreader, *size)
        finally:
            sock.settimeout(patience)

    return receive_in_time
