"""Corrects how gunicorn reads request bodies.

gunicorn's read waits until all requested bytes have arrived, however slowly.
`limit_reading` and `limit_slowness` end such a read, in workers whose `receive` is
wrapped by `timely`. It assembles them of any number of chunks without a pause;
`pausing` inserts pauses.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import Any
from weakref import WeakKeyDictionary
from wsgiref.types import StartResponse, WSGIEnvironment

from amazin.blocking import pause
from amazin.model.objects import CHUNK_BYTES

PIECES_AT_ONCE = 16
"""So many chunks of a body are parsed, in some 0.2 ms, until other clients run."""
LEAST_BYTES, MOST_PERIODS = 64 * 1024, 256
"""What must come of a body in a period is so much, and its share of what has come."""
_limits = WeakKeyDictionary[Any, tuple[float, int]]()
"""By socket: when reading must end, on the monotonic clock, and the most to receive."""
_paces = WeakKeyDictionary[Any, "Pace"]()
"""By socket."""


class Pace:
    """How long a client may still keep us waiting for a body, and must not be slow.

    So a body has to come to its end, however much of it came at first. Only the time in
    which nothing could be read counts.
    """

    def __init__(self, seconds: float) -> None:
        self._period = self.left = seconds
        self._size = 0

    def note(self, size: int, waited: float) -> None:
        """So many bytes came after so many seconds."""
        self._size += size
        due = max(LEAST_BYTES, self._size / MOST_PERIODS)
        self.left = min(self._period, self.left - waited + self._period * size / due)


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


class HeldContinue:
    """Stands for the reader of a request's body until the first read.

    gunicorn sends `100 Continue` before the application runs. Held, it is sent when the
    body is read. If it never is, the connection closes after the response: nobody can
    know whether the body or another request comes next.
    """

    def __init__(self, request: Any, sock: Any) -> None:
        """`request` is gunicorn's, with `Expect: 100-continue`."""
        self._request = request
        self._sock = sock
        self._reader = request.body.reader
        self._must_close = request.must_close
        request.must_close = True
        request.body.reader = self

    def read(self, size: int) -> bytes:
        """Ask the client for the body, and read some of it."""
        self.give_up()
        self._request.must_close = self._must_close
        self._sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        return self._reader.read(size)  # type: ignore[no-any-return]

    def give_up(self) -> None:
        """Leave the body to its reader, and don't ask for it."""
        self._request.body.reader = self._reader


def hold_continue(request: Any, sock: Any) -> None:
    """Let gunicorn send `100 Continue` not now, but when the body is read."""
    request._expected_100_continue = False
    if getattr(request.body.reader, "length", 1):  # chunked, or not empty
        HeldContinue(request, sock)


def forget_continue(environ: WSGIEnvironment) -> None:
    """Let later reads of the body not ask the client for it any more."""
    held = getattr(environ["wsgi.input"], "reader", None)
    if isinstance(held, HeldContinue):
        held.give_up()


def announce_close(start_response: StartResponse) -> None:
    """Let the response say that its connection closes, and close it.

    Applications may not send the header Connection (PEP 3333). Does nothing under
    servers other than gunicorn.
    """
    response: Any = getattr(start_response, "__self__", None)
    if hasattr(response, "force_close"):
        response.force_close()


def limit_slowness(environ: WSGIEnvironment, seconds: float) -> None:
    """Let reads of the request's body fail when too little comes in so long.

    What is too little: see `Pace`. Does nothing under servers other than gunicorn.
    """
    sock = environ.get("gunicorn.socket")
    has_body = environ.get("CONTENT_LENGTH") or "HTTP_TRANSFER_ENCODING" in environ
    if sock is not None and has_body:
        _paces[sock] = Pace(seconds)


def end_limits(environ: WSGIEnvironment) -> None:
    """Let the next request of this connection have its own limits."""
    sock = environ.get("gunicorn.socket")
    if sock is not None:
        _limits.pop(sock, None)
        _paces.pop(sock, None)


def timely(receive: Callable[..., bytes]) -> Callable[..., bytes]:
    """Wrap gunicorn's `SocketUnreader.chunk` so that it obeys `limit_reading`.

    The wrapped function raises TimeoutError.
    """

    def receive_in_time(unreader: Any, *size: Any) -> bytes:
        if not _limits and not _paces:
            return receive(unreader, *size)
        sock = unreader.sock
        until, most = _limits.get(sock, (math.inf, CHUNK_BYTES))
        size = tuple(min(wanted, most) for wanted in size if wanted)
        pace, begun = _paces.get(sock), time.monotonic()
        left = min(until - begun, pace.left if pace else math.inf)
        if left == math.inf:
            return receive(unreader, *size)
        if left <= 0:
            raise TimeoutError("the body takes too long")
        timeout = sock.gettimeout()
        sock.settimeout(left if timeout is None else min(left, timeout))
        try:
            data = receive(unreader, *size)
        finally:
            sock.settimeout(timeout)
        if pace:
            pace.note(len(data), time.monotonic() - begun)
        return data

    return receive_in_time


def pausing(
    parse: Callable[..., Iterator[bytes]], pause: Callable[[], None] = pause
) -> Callable[..., Iterator[bytes]]:
    """Wrap gunicorn's `ChunkedReader.parse_chunked`: it pauses between many chunks."""

    def parse_with_pauses(*arguments: Any) -> Iterator[bytes]:
        for number, piece in enumerate(parse(*arguments), 1):
            yield piece
            if not number % PIECES_AT_ONCE:
                pause()

    return parse_with_pauses
