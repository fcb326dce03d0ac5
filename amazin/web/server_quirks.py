"""Corrects how gunicorn reads request bodies.

gunicorn's read waits until all requested bytes have arrived, however slowly.
`limit_reading` ends such a read, in workers whose `receive` is wrapped by `timely`. It
assembles them of any number of chunks without a pause; `pausing` inserts pauses.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import Any
from weakref import WeakKeyDictionary
from wsgiref.types import WSGIEnvironment

from amazin.model.objects import CHUNK_BYTES

PIECES_AT_ONCE = 16
"""So many chunks of a body are parsed, in some 0.2 ms, until other clients run."""
_limits = WeakKeyDictionary[Any, tuple[float, int]]()
"""By socket: when reading must end, on the monotonic clock, and the most to receive."""


def limit_reading(
    environ: WSGIEnvironment, deadline: float, piece_bytes: int = CHUNK_BYTES
) -> None:
    """Let reads of the request's body fail after `deadline`; inf: no limit.

    Where they are of small pieces, gunicorn reads no more ahead: a client that stops
    would have a worker keep it. Does nothing under servers other than gunicorn.
    """
    sock = environ.get("gunicorn.socket")
    if sock is None:
        return
    if deadline < math.inf or piece_bytes < CHUNK_BYTES:
        _limits[sock] = deadline, piece_bytes
    else:
        _limits.pop(sock, None)


def timely(receive: Callable[..., bytes]) -> Callable[..., bytes]:
    """Wrap gunicorn's `SocketUnreader.chunk` so that it obeys `limit_reading`.

    The wrapped function raises TimeoutError.
    """

    def receive_in_time(unreader: Any, *size: Any) -> bytes:
        if not _limits or (limits := _limits.get(unreader.sock)) is None:
            return receive(unreader, *size)
        until, most = limits
        size = tuple(min(wanted, most) for wanted in size if wanted)
        if until == math.inf:
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


def let_others_run() -> None:
    """Under gevent, let the other clients of this worker run."""
    time.sleep(0)


def pausing(
    parse: Callable[..., Iterator[bytes]], pause: Callable[[], None] = let_others_run
) -> Callable[..., Iterator[bytes]]:
    """Wrap gunicorn's `ChunkedReader.parse_chunked`: it pauses between many chunks."""

    def parse_with_pauses(*arguments: Any) -> Iterator[bytes]:
        for number, piece in enumerate(parse(*arguments), 1):
            yield piece
            if not number % PIECES_AT_ONCE:
                pause()

    return parse_with_pauses
