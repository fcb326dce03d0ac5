"""Request bodies: streamed with a known length, or spooled to a file without one.

Source: RFC 9112 section 6; PEP 3333 on `wsgi.input`.
"""

from __future__ import annotations

import logging
import math
import re
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from errno import EDQUOT, ENOSPC, errorcode
from typing import IO, Protocol
from wsgiref.types import InputStream, WSGIEnvironment

from amazin.blocking import BlockingCalls
from amazin.cluster.uploads import Body
from amazin.errors import BodyError, HTTPError, LateError
from amazin.nodes.interface import CHUNK_BYTES, UNKNOWN_SIZE
from amazin.web.server_quirks import is_granian, limit_reading

DRAIN_BYTES, DRAIN_SECONDS = 2**30, 30.0
"""How much of a refused upload is read, so that its client sees the refusal."""
DRAIN_SILENCE_SECONDS = 2.0
"""After this long without a byte the client is waiting, not sending."""
DEADLINE = "amazin.deadline"
"""In the environ: until when the request has to be over, on the monotonic clock."""
_BODY = "amazin.body"
"""In the environ: the `StreamedBody` of which something may have been read."""
_LENGTH = re.compile(r"[0-9]{1,999}")

log = logging.getLogger("amazin.bodies")


class StreamedBody:
    """A body of known length, read from the client as it is asked for."""

    def __init__(
        self, stream: InputStream, length: int, deadline: float = math.inf
    ) -> None:
        self.length = length
        self._stream = stream
        self._deadline = deadline
        self.missing = length
        """Bytes that were not read yet."""

    def chunks(self) -> Iterator[bytes]:
        """See `uploads.Body`."""
        while self.missing:
            require_time(self._deadline)
            wanted = min(CHUNK_BYTES, self.missing)
            chunk = read_some(self._stream, wanted, self._deadline)
            if not chunk:
                raise BodyError(
                    f"The body ended {self.missing} bytes before its Content-Length"
                )
            self.missing -= len(chunk)
            yield chunk

    def can_restart(self) -> bool:
        """See `uploads.Body`."""
        return self.missing == self.length

    def close(self) -> None:
        """Nothing is held."""


class ChunkedBody:
    """A body of unknown length, read from the client as it is asked for, once."""

    length = UNKNOWN_SIZE

    def __init__(
        self, stream: InputStream, limit: int, deadline: float = math.inf
    ) -> None:
        self._chunks = limited(stream, limit, deadline)

    def chunks(self) -> Iterator[bytes]:
        """Yield what there is. Raises: HTTPError 413, BodyError, LateError."""
        return self._chunks

    def can_restart(self) -> bool:
        """See `uploads.Body`."""
        return False

    def close(self) -> None:
        """Nothing is held."""


class SpooledBody:
    """Bytes that are here as a whole, in a temporary file (small: in memory)."""

    def __init__(self, file: IO[bytes], length: int, room: SpoolRoom) -> None:
        self.length = length
        self._file = file
        self._room = room

    def chunks(self) -> Iterator[bytes]:
        """See `uploads.Body`."""
        self._file.seek(0)
        while chunk := self._room.calls.run(self._file.read, CHUNK_BYTES):
            yield chunk

    def __iter__(self) -> Iterator[bytes]:
        """The same, for an answer that is made of it."""
        return self.chunks()

    def can_restart(self) -> bool:
        """See `uploads.Body`."""
        return True

    def close(self) -> None:
        """Remove the file and give its room back. Idempotent."""
        if not self._file.closed:
            self._file.close()
            self._room.give_back(self.length)


Observer = Callable[[bytes], object]


class AnyBody(Body, Protocol):
    """Any of those above."""

    def close(self) -> None:
        """Release what it holds. Idempotent."""


class SpoolRoom:
    """The room that all spooled bodies of this process share. Thread-safe."""

    def __init__(self, folder: str, capacity_bytes: int) -> None:
        self.calls = BlockingCalls()
        self._folder = folder
        self._free = capacity_bytes
        self._lock = threading.Lock()

    def spool(self, chunks: Iterator[bytes]) -> SpooledBody:
        """Write chunks to a file.

        Raises: HTTPError 507, if there is no room; 503, if the folder is unusable.
        """
        file: IO[bytes] = tempfile.SpooledTemporaryFile(  # noqa: SIM115 - the body owns it
            max_size=CHUNK_BYTES, dir=self._folder
        )
        length = 0
        try:
            for chunk in chunks:
                self._take(len(chunk))
                length += len(chunk)
                self.calls.run(file.write, chunk)
            self.calls.run(file.flush)
        except OSError as exc:
            self._discard(file, length)
            raise spool_error(exc) from exc
        except BaseException:
            self._discard(file, length)
            raise
        return SpooledBody(file, length, self)

    def _discard(self, file: IO[bytes], length: int) -> None:
        with suppress(OSError):  # it may still hold bytes that the disk has no room for
            file.close()
        self.give_back(length)

    def _take(self, size: int) -> None:
        with self._lock:
            if size > self._free:
                raise spool_full()
            self._free -= size

    def give_back(self, size: int) -> None:
        """Return room that was taken."""
        with self._lock:
            self._free += size


def spool_full() -> HTTPError:
    """Return the refusal of a body for which there is no room."""
    message = "No room to hold an upload of unknown length; send a Content-Length"
    return HTTPError(507, "SpoolFull", message)


def spool_error(error: OSError) -> HTTPError:
    """Translate what the spool's folder raised; what is no lack of room is logged."""
    if error.errno in (ENOSPC, EDQUOT):
        return spool_full()
    log.error("SPOOL_DIR can't be used: %s", errorcode.get(error.errno or 0, error))
    message = "An upload of unknown length can't be held now; send a Content-Length"
    return HTTPError(503, "SpoolFailed", message)


def open_body(
    environ: WSGIEnvironment,
    limit: int,
    room: SpoolRoom,
    *,
    whole: bool = False,
    observe: Observer | None = None,
) -> AnyBody:
    """Return the request's body; with `whole` it is here entirely on return.

    An observer is told every piece while the body is spooled, and makes it whole.

    Raises:
        HTTPError: 400 malformed or doubtful framing, 411 no length, 413 longer than
            `limit` bytes (before reading, where the length is told), 507 no room.
        BodyError: the client sent less than it announced.
        LateError: it took longer than the request may.
    """
    body = stream_body(environ, limit)
    if isinstance(body, StreamedBody) and not whole and observe is None:
        return body
    chunks = body.chunks()
    return room.spool(observed(chunks, observe) if observe else chunks)


def stream_body(environ: WSGIEnvironment, limit: int) -> StreamedBody | ChunkedBody:
    """Return the request's body, to be read as it arrives, whatever its framing.

    Raises: HTTPError 400, 411, 413, as `open_body`.
    """
    stream = environ["wsgi.input"]
    deadline = environ.get(DEADLINE, math.inf)
    length = announced_length(environ, limit)
    limit_reading(environ, deadline)
    if length is None:
        return ChunkedBody(stream, limit, deadline)
    environ[_BODY] = body = StreamedBody(stream, length, deadline)
    return body


def observed(chunks: Iterator[bytes], observe: Observer) -> Iterator[bytes]:
    """Yield these chunks, each after it was shown."""
    for chunk in chunks:
        observe(chunk)
        yield chunk


def is_chunked(environ: WSGIEnvironment) -> bool:
    """Tell whether the body is chunked. Raises: HTTPError 400, 411 or 501."""
    encoding = environ.get("HTTP_TRANSFER_ENCODING", "").strip().lower()
    if not encoding:
        return False
    if environ.get("CONTENT_LENGTH"):
        message = "Send either Content-Length or Transfer-Encoding, not both"
        raise HTTPError(400, "AmbiguousLength", message)
    if encoding != "chunked":
        message = "Only the transfer encoding chunked is supported"
        raise HTTPError(501, "NotSupported", message)
    if not environ.get("wsgi.input_terminated") or is_granian(environ):
        raise HTTPError(411, "LengthRequired", "Send a Content-Length")
    return True


def content_length(environ: WSGIEnvironment) -> int | None:
    """Return the announced length in bytes. Raises: HTTPError 400."""
    text = environ.get("CONTENT_LENGTH") or ""
    if not text:
        return None
    if not _LENGTH.fullmatch(text):
        raise HTTPError(400, "InvalidLength", "Content-Length must be a number")
    return int(text)


def announced_length(environ: WSGIEnvironment, limit: int) -> int | None:
    """Return the length of a body that may be sent; None: it is chunked.

    Raises: HTTPError 400, 411, 413, 501.
    """
    if is_chunked(environ):
        return None
    length = content_length(environ)
    if length is None:
        raise HTTPError(411, "LengthRequired", "Send a Content-Length")
    if length > limit:
        raise too_large(limit)
    return length


def limited(
    stream: InputStream, limit: int, deadline: float = math.inf
) -> Iterator[bytes]:
    """Yield a body of unknown length. Raises: HTTPError 413, BodyError, LateError."""
    size = 0
    while chunk := read_some(stream, CHUNK_BYTES, deadline):
        require_time(deadline)
        size += len(chunk)
        if size > limit:
            raise too_large(limit)
        yield chunk


def require_time(deadline: float) -> None:
    """Raises: LateError, if the request should be over by now."""
    if time.monotonic() > deadline:
        raise LateError("The body did not arrive within REQUEST_TIMEOUT")


def read_some(stream: InputStream, size: int, deadline: float = math.inf) -> bytes:
    """Read from the client.

    Raises: BodyError, if the connection or framing broke; LateError, if by then it was
    too late.
    """
    try:
        return stream.read(size)
    except Exception as exc:  # gunicorn's parser has bare ones of its own
        require_time(deadline)
        raise BodyError("The body could not be read to its end") from exc


def drain(environ: WSGIEnvironment, most: int = DRAIN_BYTES) -> bool:
    """Read a bounded part of what nobody wanted of a body; tells if its end came.

    A client that is still sending when the connection closes sees a broken pipe
    instead of the answer (which is sent already). Of a body that is not at its end the
    rest must not be taken for the next request: the connection has to be closed.
    """
    try:
        return _drained(environ, most)
    finally:
        limit_reading(environ, math.inf)  # what comes next has its own time


def _drained(environ: WSGIEnvironment, most: int) -> bool:
    try:
        unread = unread_length(environ)
    except HTTPError:
        return False
    if unread == 0:
        return True
    if is_granian(environ) and "HTTP_EXPECT" in environ and not was_read(environ):
        return False  # its client was not told to send
    sock = environ.get("gunicorn.socket")
    patience = sock.gettimeout() if sock else None
    deadline = time.monotonic() + DRAIN_SECONDS
    try:
        limit_reading(environ, deadline)
        if sock:
            sock.settimeout(DRAIN_SILENCE_SECONDS)
        is_at_end = read_and_drop(environ["wsgi.input"], unread, most, deadline)
        if sock:
            sock.settimeout(patience)
    except (BodyError, LateError, OSError):
        return False
    return is_at_end


def was_read(environ: WSGIEnvironment) -> bool:
    """Whether reading a body of known length was begun."""
    body: StreamedBody | None = environ.get(_BODY)
    return body is not None and not body.can_restart()


def unread_length(environ: WSGIEnvironment) -> int | None:
    """Return the bytes of the body that are still to be read; None: it is chunked.

    Raises: HTTPError, if its end can't be found.
    """
    if environ.get("HTTP_TRANSFER_ENCODING"):
        if not environ.get("wsgi.input_terminated"):
            raise HTTPError(411, "LengthRequired", "Nobody knows where the body ends")
        return None
    body: StreamedBody | None = environ.get(_BODY)
    return body.missing if body else content_length(environ) or 0


def read_and_drop(
    stream: InputStream, unread: int | None, most: int, deadline: float
) -> bool:
    """Read about `most` bytes until `deadline`; tells whether the end was reached.

    At most `unread` bytes are asked for: not every server stops a read at the
    body's end. Raises: BodyError, LateError.
    """
    size = 0
    while size < most and time.monotonic() < deadline:
        wanted = min(CHUNK_BYTES, most if unread is None else unread - size)
        data = read_some(stream, wanted, deadline) if wanted else b""
        if not data:
            return True
        size += len(data)
        time.sleep(0)  # under gevent a client that floods would keep the others out
    return False


def too_large(limit: int) -> HTTPError:
    """Return the refusal of a body above `limit` bytes."""
    return HTTPError(413, "ObjectTooLarge", f"An object may have {limit} bytes at most")
