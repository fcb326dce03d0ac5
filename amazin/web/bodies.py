"""Request bodies: streamed as they are needed, and drained if they are not.

Source: RFC 9112 section 6; PEP 3333 on `wsgi.input`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from wsgiref.types import InputStream, WSGIEnvironment

from amazin.blocking import pause
from amazin.errors import BodyError, HTTPError, LateError
from amazin.model.bodies import ClosableBody
from amazin.model.digests import CheckedBody
from amazin.model.objects import CHUNK_BYTES, UNKNOWN_SIZE
from amazin.web.digests import READ, claims_of
from amazin.web.framing import (
    DEADLINE,
    announced_length,
    content_length,
    limited,
    read_some,
    require_time,
)
from amazin.web.server_quirks import end_limits, forget_continue, limit_reading

DRAIN_BYTES, DRAIN_SECONDS = 8 * 2**30, 120.0
"""Limits for reading the rest of a refused upload, so that its client sees the refusal:
many look for a response only when they have sent everything."""
ENDLESS_BYTES = 2**30
"""What is read of one that announces more: its end will not be reached."""
DRAIN_SILENCE_SECONDS = 2.0
"""A client that sends nothing for this long is waiting for the response."""
DRAIN_PIECE_BYTES = 64 * 1024
"""Is what a worker holds of it at a time: many clients may be refused at once."""
_BODY = "amazin.body"
"""Key in the environ: the body, which may be partly read."""


class StreamedBody:
    """A body of known length that is read from the client as it is needed."""

    def __init__(
        self,
        stream: InputStream,
        length: int,
        deadline: float = math.inf,
        piece_bytes: int = CHUNK_BYTES,
    ) -> None:
        self.length = length
        self._piece_bytes = piece_bytes
        self._stream = stream
        self._deadline = deadline
        self.missing = length
        """Bytes that were not read yet."""

    def chunks(self) -> Iterator[bytes]:
        """See `Body`."""
        while self.missing:
            require_time(self._deadline)
            wanted = min(self._piece_bytes, self.missing)
            chunk = read_some(self._stream, wanted, self._deadline)
            if not chunk:
                raise BodyError(
                    f"The body ended {self.missing} bytes before its Content-Length"
                )
            self.missing -= len(chunk)
            yield chunk
            if self.missing:
                pause()

    @property
    def received(self) -> int:
        """The bytes that were read."""
        return self.length - self.missing

    def can_restart(self) -> bool:
        """See `Body`."""
        return self.missing == self.length

    def close(self) -> None:
        """Do nothing: the body owns nothing."""


class ChunkedBody:
    """A body of unknown length that is read from the client as it is needed, once."""

    length = UNKNOWN_SIZE

    def __init__(
        self,
        stream: InputStream,
        limit: int,
        deadline: float = math.inf,
        piece_bytes: int = CHUNK_BYTES,
    ) -> None:
        self._chunks = limited(stream, limit, deadline, piece_bytes)
        self.received = 0
        """The bytes that were read."""

    def chunks(self) -> Iterator[bytes]:
        """Yield all bytes. Raises: HTTPError 413, BodyError, LateError."""
        for chunk in self._chunks:
            self.received += len(chunk)
            yield chunk

    def can_restart(self) -> bool:
        """See `Body`."""
        return False

    def close(self) -> None:
        """Do nothing: the body owns nothing."""


def stream_body(
    environ: WSGIEnvironment, limit: int, piece_bytes: int = CHUNK_BYTES
) -> ClosableBody:
    """Return the request's body, to be read as it arrives, for any framing.

    Nothing is read before `chunks` is called, and then a piece at a time. What arrives
    is checked against the digests that the request has: see `CheckedBody`.

    Raises: HTTPError: 400 malformed or ambiguous framing, or a malformed digest, 411 no
        length, 413 a Content-Length above `limit` bytes, 501 unknown framing, or a
        digest in a trailer.
    """
    stream = environ["wsgi.input"]
    deadline = environ.get(DEADLINE, math.inf)
    length = announced_length(environ, limit)
    limit_reading(environ, deadline, piece_bytes)
    body: StreamedBody | ChunkedBody
    if length is None:
        body = ChunkedBody(stream, limit, deadline, piece_bytes)
    else:
        body = StreamedBody(stream, length, deadline, piece_bytes)
    environ[_BODY] = body
    if environ.keys().isdisjoint(READ) and not environ.get("QUERY_STRING"):
        return body
    claims = claims_of(environ)
    return CheckedBody(body, claims) if claims else body


def received_bytes(environ: WSGIEnvironment) -> int:
    """Return how many bytes of the body were read for a handler."""
    body: StreamedBody | ChunkedBody | None = environ.get(_BODY)
    return body.received if body else 0


def drain(
    environ: WSGIEnvironment, most: int = DRAIN_BYTES, seconds: float = DRAIN_SECONDS
) -> bool:
    """Read the rest of a body, up to a limit; return whether the end was reached.

    A client that is still sending when the connection closes sees a broken pipe instead
    of the response (which was sent already). If the end was not reached, the connection
    must be closed, or else the rest would be taken for the next request.
    """
    try:
        if "HTTP_EXPECT" in environ:
            forget_continue(environ)
        if getattr(environ["wsgi.input"], "failed", False):  # gunicorn: no end is known
            return False
        unread = unread_length(environ)
        if unread is not None and unread > most:
            most = min(most, ENDLESS_BYTES)
        return unread == 0 or _drained(environ, unread, most, seconds)
    except (BodyError, LateError, HTTPError, OSError):
        return False
    finally:
        end_limits(environ)


def _drained(
    environ: WSGIEnvironment, unread: int | None, most: int, seconds: float
) -> bool:
    sock = environ.get("gunicorn.socket")
    timeout = sock.gettimeout() if sock else None
    deadline = time.monotonic() + seconds
    limit_reading(environ, deadline, DRAIN_PIECE_BYTES)
    if sock:
        sock.settimeout(DRAIN_SILENCE_SECONDS)
    is_at_end = read_and_drop(environ["wsgi.input"], unread, most, deadline)
    if sock:
        sock.settimeout(timeout)
    return is_at_end


def has_no_end(environ: WSGIEnvironment) -> bool:
    """Whether no request can follow: the body broke off, or its end is unknown."""
    if getattr(environ["wsgi.input"], "failed", False):  # gunicorn's
        return True
    try:
        return (unread_length(environ) or 0) > DRAIN_BYTES
    except HTTPError:
        return True


def unread_length(environ: WSGIEnvironment) -> int | None:
    """Return the bytes of the body that were not read yet; None: it is chunked.

    Raises: HTTPError, if the end of the body is unknown.
    """
    if environ.get("HTTP_TRANSFER_ENCODING"):
        if not environ.get("wsgi.input_terminated"):
            raise HTTPError(411, "LengthRequired", "The end of the body is unknown")
        return None
    body: StreamedBody | ChunkedBody | None = environ.get(_BODY)
    if isinstance(body, StreamedBody):
        return body.missing
    return (content_length(environ) or 0) if environ.get("CONTENT_LENGTH") else 0


def read_and_drop(
    stream: InputStream, unread: int | None, most: int, deadline: float
) -> bool:
    """Read about `most` bytes until `deadline`; return whether the end was reached.

    Never reads beyond `unread` bytes, because some servers don't stop at the body's
    end. Raises: BodyError, LateError.
    """
    size = 0
    while size < most and time.monotonic() < deadline:
        wanted = min(DRAIN_PIECE_BYTES, most if unread is None else unread - size)
        data = read_some(stream, wanted, deadline) if wanted else b""
        if not data:
            return True
        size += len(data)
        pause()  # while this client floods us
    return False
