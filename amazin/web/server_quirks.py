"""What servers do otherwise than they should, and what is done about it.

granian, of what PEP 3333 says:

- A chunked body that was cut off ends as if it were whole: none is taken (411).
- A header with a byte above 127 is empty when it comes to the application: an empty one
  is not stored (400).
- Headers of a response are encoded in UTF-8, not in Latin-1: `encodable`.

And an answer without a Content-Length that fails on the way ends as if it were whole:
such answers show by themselves whether they are (`streaming.py`).

gunicorn waits with a read until all that was asked for is there, however slowly it
comes: `limit_reading` ends that, in workers whose `receive` is `timely`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from typing import Any
from weakref import WeakKeyDictionary
from wsgiref.types import WSGIEnvironment

_read_until = WeakKeyDictionary[Any, float]()
"""Of sockets: when reading ends, on the monotonic clock."""


def is_granian(environ: WSGIEnvironment) -> bool:
    """Whether this request came through granian."""
    return environ.get("SERVER_SOFTWARE") == "Granian"


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


def encodable(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return headers whose UTF-8 is what their Latin-1 was.

    A value whose bytes are no UTF-8 goes out as the same text, in other bytes.
    """
    return [(name, _reread(value)) for name, value in headers]


def _reread(value: str) -> str:
    if value.isascii():
        return value
    try:
        return value.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        return value
