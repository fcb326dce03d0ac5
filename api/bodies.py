"""Request bodies: streamed with a known length, or spooled to a file without one.

Source: RFC 9112 section 6; PEP 3333 on `wsgi.input`.
"""

from __future__ import annotations

import re
import tempfile
import threading
from collections.abc import Iterator
from errno import EDQUOT, ENOSPC
from typing import IO, Protocol
from wsgiref.types import InputStream, WSGIEnvironment

from errors import BodyError, HTTPError
from nodes import CHUNK_BYTES
from nodes.blocking import run_blocking

_LENGTH = re.compile(r"[0-9]{1,19}")


class StreamedBody:
    """A body of known length, read from the client as it is asked for."""

    def __init__(self, stream: InputStream, length: int) -> None:
        self.length = length
        self._stream = stream
        self._missing = length

    def chunks(self) -> Iterator[bytes]:
        """See `cluster.Body`."""
        while self._missing:
            chunk = read_some(self._stream, min(CHUNK_BYTES, self._missing))
            if not chunk:
                raise BodyError(
                    f"The body ended {self._missing} bytes before its Content-Length"
                )
            self._missing -= len(chunk)
            yield chunk

    def can_restart(self) -> bool:
        """See `cluster.Body`."""
        return self._missing == self.length

    def close(self) -> None:
        """Nothing is held."""


class SpooledBody:
    """A body that is here as a whole, in a temporary file (small: in memory)."""

    def __init__(self, file: IO[bytes], length: int, room: SpoolRoom) -> None:
        self.length = length
        self._file = file
        self._room = room

    def chunks(self) -> Iterator[bytes]:
        """See `cluster.Body`."""
        self._file.seek(0)
        while chunk := run_blocking(self._file.read, CHUNK_BYTES):
            yield chunk

    def can_restart(self) -> bool:
        """See `cluster.Body`."""
        return True

    def close(self) -> None:
        """Remove the file and give its room back."""
        self._file.close()
        self._room.give_back(self.length)


class AnyBody(Protocol):
    """`StreamedBody` or `SpooledBody`."""

    length: int

    def chunks(self) -> Iterator[bytes]: ...
    def can_restart(self) -> bool: ...
    def close(self) -> None: ...


class SpoolRoom:
    """The room that all spooled bodies of this process share. Thread-safe."""

    def __init__(self, folder: str, capacity_bytes: int) -> None:
        self._folder = folder
        self._free = capacity_bytes
        self._lock = threading.Lock()

    def spool(self, chunks: Iterator[bytes]) -> SpooledBody:
        """Write chunks to a file. Raises: HTTPError 507, if there is no room."""
        file: IO[bytes] = tempfile.SpooledTemporaryFile(  # noqa: SIM115 - the body owns it
            max_size=CHUNK_BYTES, dir=self._folder
        )
        length = 0
        try:
            for chunk in chunks:
                self._take(len(chunk))
                length += len(chunk)
                run_blocking(file.write, chunk)
        except OSError as exc:
            self._discard(file, length)
            if exc.errno not in (ENOSPC, EDQUOT):
                raise
            raise self._is_full() from exc
        except BaseException:
            self._discard(file, length)
            raise
        return SpooledBody(file, length, self)

    def _discard(self, file: IO[bytes], length: int) -> None:
        file.close()
        self.give_back(length)

    def _take(self, size: int) -> None:
        with self._lock:
            if size > self._free:
                raise self._is_full()
            self._free -= size

    def give_back(self, size: int) -> None:
        """Return room that was taken."""
        with self._lock:
            self._free += size

    @staticmethod
    def _is_full() -> HTTPError:
        message = "No room to hold an upload of unknown length; send a Content-Length"
        return HTTPError(507, "SpoolFull", message)


def open_body(
    environ: WSGIEnvironment, limit: int, room: SpoolRoom, *, whole: bool = False
) -> AnyBody:
    """Return the request's body; with `whole` it is here entirely on return.

    Raises:
        HTTPError: 400 malformed or doubtful framing, 411 no length, 413 longer than
            `limit` bytes (before reading, where the length is told), 507 no room.
        BodyError: the client sent less than it announced.
    """
    stream = environ["wsgi.input"]
    if is_chunked(environ):
        return room.spool(limited(stream, limit))
    length = content_length(environ)
    if length is None:
        raise HTTPError(411, "LengthRequired", "Send a Content-Length")
    if length > limit:
        raise too_large(limit)
    body = StreamedBody(stream, length)
    return room.spool(body.chunks()) if whole else body


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
    if not environ.get("wsgi.input_terminated"):
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


def limited(stream: InputStream, limit: int) -> Iterator[bytes]:
    """Yield a body of unknown length. Raises: HTTPError 413, BodyError."""
    size = 0
    while chunk := read_some(stream, CHUNK_BYTES):
        size += len(chunk)
        if size > limit:
            raise too_large(limit)
        yield chunk


def read_some(stream: InputStream, size: int) -> bytes:
    """Read from the client. Raises: BodyError, if the connection broke."""
    try:
        return stream.read(size)
    except (OSError, ValueError) as exc:
        raise BodyError("The body could not be read to its end") from exc


def too_large(limit: int) -> HTTPError:
    """Return the refusal of a body above `limit` bytes."""
    return HTTPError(413, "ObjectTooLarge", f"An object may have {limit} bytes at most")
