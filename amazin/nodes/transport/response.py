"""A small, strict parser of HTTP/1.1 responses, with bodies that are streamed.

Does not retry, follow redirects or decode contents. Anything that is not plain HTTP/1.1
is an error, never a guess: a body that ends early raises, and a connection with bytes
behind a body is closed. Source: RFC 9112.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator

from amazin.blocking import pause
from amazin.errors import NodeProtocolError, NodeTimeoutError
from amazin.model.objects import CHUNK_BYTES
from amazin.nodes.transport.connection import (
    HEAD_BYTES,
    MAX_INTERIM_RESPONSES,
    Connection,
)
from amazin.request_limits import request_deadline

MAX_FIELDS = 512
"""A response with more headers, or with more trailers, is refused."""
SMALL_BYTES = 16 * 1024
"""A read joins chunks that are here already until it has so many bytes,"""
CHUNKS_AT_ONCE = 500
"""and of so many chunks at most: then it is the turn of other requests."""
_STATUS_LINE = re.compile(
    r"HTTP/1\.([01]) ([1-9][0-9]{2})(?: [^\x00-\x08\x0a-\x1f]*)?(?=\r\n|\Z)"
)
_FIELD = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([^\x00-\x08\x0a-\x1f\x7f]*)")
_NEXT_FIELD = re.compile(rf"\r\n{_FIELD.pattern}(?=\r\n|\Z)")
_LENGTH = re.compile(r"[0-9]{1,18}")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\x00-\x08\x0a-\x1f\x7f]*)?")
_SINGLETONS = frozenset(
    ("content-length", "content-range", "etag", "transfer-encoding")
)


class Response:
    """A node's response: status, headers, and a body that owns the connection.

    Header names are in lower case; the values of repeated headers are joined.
    """

    def __init__(
        self, connection: Connection, method: str, release: Callable[[Connection], None]
    ) -> None:
        self._connection = connection
        self._is_open = True
        self._is_begun = False
        self._release = release
        self.method = method
        self.status = 0
        self.headers: dict[str, str] = {}
        self.length: int | None = None
        """Bytes of the body that are still to come; None: chunked, or until the
        close."""
        self._is_chunked = False
        self._is_kept = False

    def receive_head(self, deadline: float) -> None:
        """Receive the final response's head, skipping interim ones.

        Raises:
            NoAnswerError: closed before the first byte of the response.
            NodeTimeoutError: not complete at `deadline`; the call may be repeated.
            NodeProtocolError: not HTTP.
        """
        if not self._is_begun:
            self._connection.await_answer(deadline)
            self._is_begun = True
        for _ in range(MAX_INTERIM_RESPONSES):
            head = self._connection.receive_until(b"\r\n\r\n", deadline)
            version, self.status, self.headers = parse_head(head)
            if self.status >= 200:
                self._set_framing(version)
                if self.length == 0:
                    self._finish()
                return
            if self.status == 101:
                break
        raise NodeProtocolError("the node sent interim answers only")

    def _set_framing(self, version: int) -> None:
        """Find the body's end (RFC 9112 section 6.3); refuse ambiguous framing."""
        options = self.headers.get("connection", "").lower()
        self._is_kept = version == 1 and "close" not in options
        length = self.headers.get("content-length")
        encoding = self.headers.get("transfer-encoding")
        if length is not None and not _LENGTH.fullmatch(length):
            raise NodeProtocolError("the node sent a malformed Content-Length")
        if encoding is not None and (
            version == 0 or length is not None or encoding.lower() != "chunked"
        ):
            raise NodeProtocolError("the node sent an ambiguous body")
        if self.method == "HEAD" or self.status in (204, 304):
            self.length = 0
        elif encoding is not None:
            self._is_chunked = True
        elif length is not None:
            self.length = int(length)
        else:
            self._is_kept = False

    @property
    def is_delimited(self) -> bool:
        """Whether a truncated body can be distinguished from a complete one."""
        return self._is_chunked or self.length is not None

    def read(self, timeout: float) -> bytes:
        """Return the next bytes of the body, b"" after the last.

        Raises:
            NodeError: the body is cut off, or nothing arrived for `timeout` seconds.
        """
        if not self._is_open:
            return b""
        try:
            deadline = min(time.monotonic() + timeout, request_deadline.get())
            if self._is_chunked:
                return self._read_chunks(deadline)
            return self._read_some(deadline)
        except BaseException:
            self.close()
            raise

    def _read_some(self, deadline: float) -> bytes:
        if self.length is None:
            data = self._connection.receive(deadline)
            if not data:
                self._finish()
            return data
        data = self._connection.receive(deadline, min(self.length, CHUNK_BYTES))
        if not data:
            raise NodeProtocolError("the node's answer is cut off")
        self.length -= len(data)
        if self.length == 0:
            if not self._is_chunked:
                self._finish()
            elif self._line(deadline):
                raise NodeProtocolError("the node sent a malformed chunk")
        return data

    def _read_chunks(self, deadline: float) -> bytes:
        """Return the next bytes; of small chunks those that were received together."""
        data = bytearray()
        for _ in range(CHUNKS_AT_ONCE):
            if not self.length and not self._next_chunk(deadline):
                self._finish()
                break
            piece = self._read_some(deadline)
            if not data and len(piece) >= SMALL_BYTES:
                return piece
            data += piece
            if len(data) >= SMALL_BYTES or not self._connection.has_surplus:
                break
        else:
            pause()
        return bytes(data)

    def _next_chunk(self, deadline: float) -> bool:
        """Read a chunk's size line; False after the last one and its trailers."""
        match = _CHUNK_SIZE.fullmatch(self._line(deadline))
        if not match:
            raise NodeProtocolError("the node sent a malformed chunk size")
        self.length = int(match[1], 16)
        if self.length:
            return True
        for _ in range(MAX_FIELDS):
            line = self._line(deadline)
            if not line:
                return False
            if not _FIELD.fullmatch(line.decode("latin-1")):
                raise NodeProtocolError("the node sent malformed trailers")
        raise NodeProtocolError("the node sent too many trailers")

    def _line(self, deadline: float) -> bytes:
        return self._connection.receive_until(b"\r\n", deadline)

    def chunks(self, timeout: float) -> Iterator[bytes]:
        """Yield the whole body, received within `timeout` seconds.

        Raises: NodeError.
        """
        deadline = time.monotonic() + timeout
        while self._is_open and (data := self.read(deadline - time.monotonic())):
            yield data
            if time.monotonic() >= deadline:
                self.close()
                raise NodeTimeoutError("the node took too long for its answer")

    def read_all(self, timeout: float, limit: int = HEAD_BYTES) -> bytes:
        """Return the whole body of a small response, received within `timeout` seconds.

        Raises:
            NodeError: also if the body is longer than `limit` bytes.
        """
        if not self._is_open:
            return b""
        body = bytearray()
        for data in self.chunks(timeout):
            body += data
            if len(body) > limit:
                self.close()
                raise NodeProtocolError("the node's answer is too long")
        return bytes(body)

    def _finish(self) -> None:
        """End a complete response: give the connection back if it can be used again."""
        if self._is_open and self._is_kept and not self._connection.has_surplus:
            self._is_open = False
            self._release(self._connection)
        else:
            self.close()

    def close(self) -> None:
        """Close the connection, unless the body is complete. Idempotent."""
        if self._is_open:
            self._is_open = False
            self._connection.close()


def parse_head(head: bytes) -> tuple[int, int, dict[str, str]]:
    """Parse a response head (without its final empty line).

    Returns (minor version, status, headers with names in lower case). Raises:
    NodeProtocolError for anything outside the grammar of RFC 9112 section 4.
    """
    text = head.decode("latin-1")
    match = _STATUS_LINE.match(text)
    if not match:
        raise NodeProtocolError("the node does not speak HTTP/1.1")
    fields = _NEXT_FIELD.findall(text, match.end())
    if len(fields) > MAX_FIELDS:
        raise NodeProtocolError("the node sent too many headers")
    if len(fields) != text.count("\r\n"):
        raise NodeProtocolError("the node sent a malformed header")
    headers: dict[str, str] = {}
    for name, value in fields:
        name, value = name.lower(), value.strip(" \t")
        if name not in headers:
            headers[name] = value
        elif name in _SINGLETONS:
            raise NodeProtocolError(f"the node sent {name} twice")
        else:
            headers[name] += ", " + value
    return int(match[1]), int(match[2]), headers
