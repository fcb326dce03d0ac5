"""A small, strict HTTP/1.1 client connection, for requests whose head is ready bytes.

Does not retry, follow redirects or decode contents. Anything that is not plain
HTTP/1.1 is an error, never a guess: a body that ends early raises, bytes behind a
body end the connection's life. RFC 9112.
"""

from __future__ import annotations

import re
import socket
import ssl
import time
from collections.abc import Callable
from fcntl import ioctl
from termios import FIONREAD

from amazin.errors import NodeError, NodeProtocolError, NodeTimeoutError
from amazin.nodes.interface import CHUNK_BYTES

HEAD_BYTES = 64 * 1024
"""A response head, a chunk's size line or the trailers above this are refused."""
MAX_INTERIM_RESPONSES = 8

SLACK_SECONDS = 0.01
"""A time limit may be so much too long, if that saves a system call."""

_STATUS_LINE = re.compile(
    r"HTTP/1\.([01]) ([1-9][0-9]{2})(?: [^\x00-\x08\x0a-\x1f]*)?(?=\r\n|\Z)"
)
_FIELD = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([^\x00-\x08\x0a-\x1f\x7f]*)")
_NEXT_FIELD = re.compile(rf"\r\n{_FIELD.pattern}(?=\r\n|\Z)")
_INTERIM_HEAD = re.compile(rb"HTTP/1\.1 1(?!01)[0-9]{2}[ \r]")
_NO_BYTES = bytes(4)
_LENGTH = re.compile(r"[0-9]{1,18}")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\x00-\x08\x0a-\x1f\x7f]*)?")
_SINGLETONS = frozenset(
    ("content-length", "content-range", "etag", "transfer-encoding")
)


class NoAnswerError(NodeError):
    """The node closed the connection before the first byte of its answer.

    On a kept connection: most likely before it read the request.
    """


class Connection:
    """One connection to a node; used by one thread at a time."""

    __slots__ = ("_buffer", "_end", "_limit", "_socket", "idle_since", "is_reused")

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._buffer = b""
        self._end: NodeError | bool = False
        """Whether the end was received; what broke the connection, if it broke."""
        self._limit = -1.0
        """The socket's timeout, as set last."""
        self.idle_since = 0.0
        self.is_reused = False

    def send(self, data: bytes, timeout: float) -> None:
        """Send all of `data`; in twice `timeout` seconds it ends, or fails.

        Raises:
            NodeError: how much arrived is unknown.
        """
        self._set_limit(timeout)
        try:
            sent = self._socket.send(data)  # all, as a rule; gevent's sendall does more
            if sent < len(data):
                self._socket.sendall(memoryview(data)[sent:])
        except OSError as exc:
            raise translated(exc) from exc

    def receive(self, deadline: float) -> bytes:
        """Return received bytes, at most `CHUNK_BYTES`; b"" at the connection's end.

        `deadline` is on the monotonic clock; what came before is returned after it.
        """
        if self._buffer:
            data = self._buffer[:CHUNK_BYTES]
            self._buffer = self._buffer[CHUNK_BYTES:]
            return data
        if not self._end:
            return self._receive_now(deadline - time.monotonic())
        if isinstance(self._end, NodeError):
            raise self._end
        return b""

    def _receive_now(self, timeout: float) -> bytes:
        self._set_limit(timeout)
        try:
            return self._socket.recv(CHUNK_BYTES)
        except OSError as exc:
            raise translated(exc) from exc

    def _set_limit(self, seconds: float) -> None:
        """Let the socket wait for so long."""
        if seconds <= 0:
            seconds = 0.0
        elif seconds <= self._limit <= seconds + SLACK_SECONDS:
            return
        self._limit = seconds
        self._socket.settimeout(seconds)

    def receive_until(self, mark: bytes, deadline: float) -> bytes:
        """Return the bytes in front of `mark`, and drop the mark.

        Raises:
            NodeTimeoutError: nothing is lost, it may be called again.
            NodeProtocolError: no mark within `HEAD_BYTES`, or before the end.
        """
        data = b""
        while (end := data.find(mark)) < 0 and len(data) <= HEAD_BYTES:
            try:
                more = self.receive(deadline)
            except NodeTimeoutError:
                self.unread(data)
                raise
            if not more:
                raise NodeProtocolError("the node's answer is cut off")
            data += more
        if not 0 <= end <= HEAD_BYTES:
            raise NodeProtocolError("the node's answer has too long a head")
        self.unread(data[end + len(mark) :])
        return data[:end]

    def unread(self, data: bytes) -> None:
        """Put received bytes back in front."""
        self._buffer = data + self._buffer if self._buffer else data

    def has_input(self) -> bool:
        """Tell, without waiting, whether the node sent something or closed."""
        return self.wait_readable(0)

    def has_bytes(self) -> bool:
        """Tell cheaply whether bytes, if only of TLS, came; not whether it closed."""
        return ioctl(self._socket.fileno(), FIONREAD, _NO_BYTES) != _NO_BYTES

    def wait_readable(self, timeout: float) -> bool:
        """Tell whether the node sends something, or closes, within `timeout` seconds.

        What comes is kept for `receive`.
        """
        if self._buffer or self._end:
            return True
        try:
            self._buffer = self._receive_now(timeout)
            self._end = not self._buffer
        except NodeTimeoutError:
            return False
        except NodeError as exc:
            self._end = exc
        return True

    def skip_interim(self, timeout: float) -> bool:
        """Drop interim answers, of those that came; tell whether that was all.

        RFC 9110 section 15.2: they may come unasked, and mean nothing. The rest of one
        that has begun is waited for. Raises: as `receive_until`.
        """
        deadline = time.monotonic() + timeout
        while _INTERIM_HEAD.match(self._buffer):
            self.receive_until(b"\r\n\r\n", deadline)
        return not self._buffer and not self._end

    @property
    def has_ended(self) -> bool:
        """Whether its end was received, and nothing before it that is still to read."""
        return bool(self._end) and not self._buffer

    def await_answer(self, deadline: float) -> None:
        """Wait for the first byte of an answer.

        Raises:
            NoAnswerError: the connection's end, with nothing before it.
            NodeTimeoutError: it may be called again.
        """
        try:
            data = self.receive(deadline)
        except NodeTimeoutError:
            raise
        except NodeError as exc:
            raise NoAnswerError(str(exc)) from exc
        if not data:
            raise NoAnswerError("the node closed the connection without an answer")
        self.unread(data)

    @property
    def has_surplus(self) -> bool:
        """Whether bytes were received that nobody asked for."""
        return bool(self._buffer)

    def close(self) -> None:
        """Close it. Idempotent."""
        self._socket.close()


def translated(error: OSError) -> NodeError:
    """Return what a socket raised as what a node did."""
    if isinstance(error, TimeoutError | BlockingIOError | ssl.SSLWantReadError):
        return NodeTimeoutError("the node was silent for too long")
    return NodeError(f"the connection to the node broke: {error.strerror}")


class Response:
    """A node's answer: status, headers, and a body that owns the connection.

    Header names are in lower case; of several of one name the values are joined.
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
        """Bytes of the body that are still to come; None: chunked or until close."""
        self._is_chunked = False
        self._is_kept = False

    def receive_head(self, deadline: float) -> None:
        """Receive the final response's head, skipping interim ones.

        Raises:
            NoAnswerError: closed before the first byte of the answer.
            NodeTimeoutError: not whole at `deadline`; may be called again.
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
        """Decide where the body ends: RFC 9112 section 6.3, refusing doubtful ones."""
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
        """Whether a cut-off body can be told from a whole one."""
        return self._is_chunked or self.length is not None

    def read(self, timeout: float) -> bytes:
        """Return the next bytes of the body, b"" after the last.

        Raises:
            NodeError: the body is cut off, or `timeout` seconds went by in silence.
        """
        return self._read_before(time.monotonic() + timeout)

    def _read_before(self, deadline: float) -> bytes:
        if not self._is_open:
            return b""
        try:
            return self._read_some(deadline)
        except BaseException:
            self.close()
            raise

    def _read_some(self, deadline: float) -> bytes:
        if self._is_chunked and not self.length and not self._next_chunk(deadline):
            self._finish()
            return b""
        data = self._connection.receive(deadline)
        if self.length is None:
            if not data:
                self._finish()
            return data
        if not data:
            raise NodeProtocolError("the node's answer is cut off")
        if len(data) > self.length:
            self._connection.unread(data[self.length :])
            data = data[: self.length]
        self.length -= len(data)
        if self.length == 0:
            self._end_of_data(deadline)
        return data

    def _end_of_data(self, deadline: float) -> None:
        if not self._is_chunked:
            self._finish()
        elif self._line(deadline):
            raise NodeProtocolError("the node sent a malformed chunk")

    def _next_chunk(self, deadline: float) -> bool:
        """Read a chunk's size line; False after the last one and its trailers."""
        match = _CHUNK_SIZE.fullmatch(self._line(deadline))
        if not match:
            raise NodeProtocolError("the node sent a malformed chunk size")
        self.length = int(match[1], 16)
        if self.length:
            return True
        size = 0
        while line := self._line(deadline):
            size += len(line) + len(b"\r\n")
            if size > HEAD_BYTES or not _FIELD.fullmatch(line.decode("latin-1")):
                raise NodeProtocolError("the node sent malformed trailers")
        return False

    def _line(self, deadline: float) -> bytes:
        return self._connection.receive_until(b"\r\n", deadline)

    def read_all(self, timeout: float, limit: int = HEAD_BYTES) -> bytes:
        """Return the whole body of a small answer, received within `timeout` seconds.

        Raises:
            NodeError: also if it is not small.
        """
        deadline = time.monotonic() + timeout
        pieces, size = [], 0
        while data := self._read_before(deadline):
            pieces.append(data)
            size += len(data)
            if size > limit:
                self.close()
                raise NodeProtocolError("the node's answer is too long")
            if time.monotonic() >= deadline:
                self.close()
                raise NodeTimeoutError("the node took too long for its answer")
        return b"".join(pieces)

    def _finish(self) -> None:
        """The body is complete: give the connection back if it can be used again."""
        if self._is_open and self._is_kept and not self._connection.has_surplus:
            self._is_open = False
            self._release(self._connection)
        else:
            self.close()

    def close(self) -> None:
        """Drop the connection, unless the body is complete. Idempotent."""
        if self._is_open:
            self._is_open = False
            self._connection.close()


def parse_head(head: bytes) -> tuple[int, int, dict[str, str]]:
    """Split a response head (without its final empty line).

    Returns (minor version, status, headers with names in lower case). Raises:
    NodeProtocolError for anything outside the grammar of RFC 9112 section 4.
    """
    text = head.decode("latin-1")
    match = _STATUS_LINE.match(text)
    if not match:
        raise NodeProtocolError("the node does not speak HTTP/1.1")
    fields = _NEXT_FIELD.findall(text, match.end())
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
