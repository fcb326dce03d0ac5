"""The connection to the client, where the server lets the application have it.

WSGI has no word for it: gunicorn's workers put the socket into the environ.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from wsgiref.types import WSGIEnvironment

LEAST_SECONDS = 0.01
_TIMEOUT = "amazin.socket_timeout"
"""Key in the environ: the socket's own timeout, while there is another."""
PATIENCE_SECONDS = 2.0
"""A client may end its side when it has sent its request; who waits longer has left."""
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_TCP_ESTABLISHED = 1
"""Linux, include/net/tcp_states.h."""


def reset(environ: WSGIEnvironment) -> None:
    """End the connection so that the client sees that the response is not complete.

    An orderly end is how a whole response without a length ends for an HTTP/1.0 client.
    Does nothing under servers other than gunicorn, which end it as they can when the
    response raises.
    """
    sock: socket.socket | None = environ.get("gunicorn.socket")
    if sock is not None:
        with suppress(OSError):  # it is closed already
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            sock.close()  # before the server, which would shut it down in order


def has_left(environ: WSGIEnvironment, started: float) -> bool:
    """Whether the client of a request has closed its connection; False if unknown.

    `started` is when the request began, on the monotonic clock.
    """
    sock: socket.socket | None = environ.get("gunicorn.socket")
    if sock is None or time.monotonic() < started + PATIENCE_SECONDS:
        return False
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
    except (OSError, AttributeError):  # no TCP, or no Linux
        return False
    return info[0] != _TCP_ESTABLISHED


def taken_by(
    deadline: float, chunks: Iterable[bytes], environ: WSGIEnvironment
) -> Iterator[bytes]:
    """Yield chunks; to send one fails if the client hasn't taken it by then.

    `deadline` is on the monotonic clock; `end_limit` ends it.
    """
    sock: socket.socket | None = environ.get("gunicorn.socket")
    for chunk in chunks:
        if sock is not None:
            environ.setdefault(_TIMEOUT, sock.gettimeout())
            sock.settimeout(max(LEAST_SECONDS, deadline - time.monotonic()))
        yield chunk


def end_limit(environ: WSGIEnvironment) -> None:
    """Let the client have the server's time again. Harmless without a limit."""
    if _TIMEOUT in environ:
        with suppress(OSError):  # it is closed already
            environ["gunicorn.socket"].settimeout(environ.pop(_TIMEOUT))
