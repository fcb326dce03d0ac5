"""Connections on which no request has begun: they are kept, but no stop waits for them.

A proxy sends its next request on a connection that it believes to be open, so idle ones
have to live longer here than there. gunicorn counts the time for the head of a request
with the idle time before it, and at a stop it waits for idle connections, too.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from typing import Any, NoReturn

import gevent
from gunicorn.http.errors import ParseException

from amazin.serving.refusals import refused_heads

HEAD_SECONDS = 5.0
"""For the rest of a request's head, once its first bytes are here."""
LOOK_SECONDS = 0.25
"""Between two looks whether the worker has to stop."""
GRACE_SECONDS = 0.5
"""A client that was answered more recently may be sending its next request."""
EMPTY_LINE = b"\r\n"
"""May come before a request: some old clients send it behind a body. Source: RFC 9112
section 2.2."""


class IdleConnections:
    """The connections of this worker on which no request has arrived yet."""

    def __init__(self) -> None:
        self._since: dict[Any, float] = {}
        """By socket: since when it waits, on the monotonic clock."""

    def await_head(self, sock: Any, receive: Callable[[], bytes]) -> bytes:
        """Return a request's first bytes; b"" if the client, or a stop, ended it.

        The rest of the head is awaited, too: until `note_head`.
        """
        self._since[sock] = time.monotonic()
        sock.settimeout(None)  # the worker limits the idle time
        data = receive()
        self._since[sock] = time.monotonic()
        return data

    def note_head(self, sock: Any) -> None:
        """Note that a head is here, or that the connection ends: it is not idle."""
        self._since.pop(sock, None)

    def end(self, least_seconds: float) -> None:
        """End those that wait for at least so long; what has arrived is still read."""
        latest = time.monotonic() - least_seconds
        for sock in [sock for sock, since in self._since.items() if since <= latest]:
            # gevent's own `shutdown` raises in who waits; of a twin it doesn't.
            with suppress(OSError), sock.dup() as twin:
                twin.shutdown(socket.SHUT_RD)


def patient(parser: type[Any], idle: IdleConnections) -> type[Any]:
    """Return a subclass of gunicorn's `RequestParser` that waits among `idle`."""

    class PatientParser(parser):  # type: ignore[misc]
        def __next__(self) -> Any:
            unreader, last = self.unreader, self.mesg
            if last and (getattr(last.body, "failed", False) or last.should_close()):
                raise StopIteration
            try:
                while unreader.buf.tell() <= len(EMPTY_LINE) and (
                    EMPTY_LINE.startswith(unreader.buf.getvalue())
                ):
                    data = idle.await_head(unreader.sock, unreader.chunk)
                    if not data:
                        raise StopIteration
                    unreader.buf.write(data)
                return self._read_head(unreader.buf)
            finally:
                idle.note_head(unreader.sock)

        def _read_head(self, begun: BytesIO) -> Any:
            try:
                with gevent.Timeout(HEAD_SECONDS, False):  # type: ignore[arg-type]
                    return super().__next__()
            except ParseException:
                if begun.getvalue().lstrip(EMPTY_LINE).startswith(b"HEAD "):
                    refused_heads.add(self.unreader.sock)
                raise
            raise StopIteration

        next = __next__

    return PatientParser


def end_at_stop(worker: Any, idle: IdleConnections) -> NoReturn:
    """End idle connections from the time on when the worker has to stop. A greenlet."""
    while True:
        gevent.sleep(LOOK_SECONDS)
        if not worker.alive:
            idle.end(GRACE_SECONDS)


def watch(worker: Any) -> None:
    """Have a worker of gevent keep idle connections, and end them at its stop."""
    from gunicorn import http

    idle = IdleConnections()
    http.RequestParser = patient(http.RequestParser, idle)
    gevent.spawn(end_at_stop, worker, idle)
