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
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import SplitResult

from errors import (
    NodeError,
    NodeProtocolError,
    NodeTimeoutError,
    NodeUnreachableError,
)
from nodes import CHUNK_BYTES

HEAD_BYTES = 64 * 1024
"""A response head, a chunk's size line or the trailers above this are refused."""
MAX_INTERIM_RESPONSES = 8
MAX_IDLE_CONNECTIONS = 64
IDLE_SECONDS = 15.0
"""Idle connections older than this are not used again; servers drop them later."""

_STATUS_LINE = re.compile(
    rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: [^\x00-\x08\x0a-\x1f]*)?"
)
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([^\x00-\x08\x0a-\x1f\x7f]*)")
_LENGTH = re.compile(r"[0-9]{1,18}")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\x00-\x08\x0a-\x1f\x7f]*)?")
_SINGLETONS = frozenset(
    ("content-length", "content-range", "etag", "transfer-encoding")
)


class NoAnswerError(NodeError):
    """The node closed the connection before the first byte of its answer."""


@contextmanager
def translated_errors() -> Iterator[None]:
    """Turn what a socket raises into what a node did."""
    try:
        yield
    except TimeoutError as exc:
        raise NodeTimeoutError("the node was silent for too long") from exc
    except OSError as exc:
        raise NodeError(f"the connection to the node broke: {exc.strerror}") from exc


class Connection:
    """One connection to a node; used by one thread at a time."""

    __slots__ = ("_buffer", "_socket", "idle_since", "is_reused")

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._buffer = b""
        self.idle_since = 0.0
        self.is_reused = False

    def send(self, data: bytes, timeout: float) -> None:
        """Send all of `data` within `timeout` seconds.

        Raises:
            NodeError: how much arrived is unknown.
        """
        with translated_errors():
            self._socket.settimeout(timeout)
            self._socket.sendall(data)

    def receive(self, deadline: float) -> bytes:
        """Return received bytes, at most `CHUNK_BYTES`; b"" at the connection's end.

        `deadline` is on the monotonic clock.
        """
        if self._buffer:
            data, self._buffer = self._buffer, b""
            return data
        with translated_errors():
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise TimeoutError
            self._socket.settimeout(remaining)
            return self._socket.recv(CHUNK_BYTES)

    def receive_until(self, mark: bytes, deadline: float) -> bytes:
        """Return the bytes in front of `mark`, and drop the mark.

        Raises:
            NoAnswerError: the connection's end, with nothing before it.
            NodeTimeoutError: nothing is lost, it may be called again.
            NodeProtocolError: no mark within `HEAD_BYTES`.
        """
        try:
            data = self.receive(deadline)
        except NodeTimeoutError:
            raise
        except NodeError as exc:
            raise NoAnswerError(str(exc)) from exc
        if not data:
            raise NoAnswerError("the node closed the connection without an answer")
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
        if self._buffer:
            return True
        if isinstance(self._socket, ssl.SSLSocket):
            return False
        self._socket.settimeout(0)
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True

    @property
    def has_surplus(self) -> bool:
        """Whether bytes were received that nobody asked for."""
        return bool(self._buffer)

    def close(self) -> None:
        """Close it. Idempotent."""
        self._socket.close()


class Response:
    """A node's answer: status, headers, and a body that owns the connection.

    Header names are in lower case; of several of one name the values are joined.
    """

    def __init__(
        self, connection: Connection, method: str, release: Callable[[Connection], None]
    ) -> None:
        self._connection = connection
        self._is_open = True
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
        if encoding is not None and (length or encoding.lower() != "chunked"):
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
        if not self._is_open:
            return b""
        try:
            return self._read_some(time.monotonic() + timeout)
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
        else:
            if self._line(deadline):
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
            size += len(line)
            if size > HEAD_BYTES or not _FIELD.fullmatch(line):
                raise NodeProtocolError("the node sent malformed trailers")
        return False

    def _line(self, deadline: float) -> bytes:
        return self._connection.receive_until(b"\r\n", deadline)

    def read_all(self, timeout: float, limit: int = HEAD_BYTES) -> bytes:
        """Return the whole body of a small answer. Raises: NodeError, if not small."""
        pieces, size = [], 0
        while data := self.read(timeout):
            pieces.append(data)
            size += len(data)
            if size > limit:
                self.close()
                raise NodeProtocolError("the node's answer is too long")
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
    status_line, *lines = head.split(b"\r\n")
    match = _STATUS_LINE.fullmatch(status_line)
    if not match:
        raise NodeProtocolError("the node does not speak HTTP/1.1")
    headers: dict[str, str] = {}
    for line in lines:
        found = _FIELD.fullmatch(line)
        if not found:
            raise NodeProtocolError("the node sent a malformed header")
        name, value = found[1].decode().lower(), found[2].decode("latin-1").strip(" \t")
        if name in headers:
            if name in _SINGLETONS and headers[name] != value:
                raise NodeProtocolError(f"the node sent two different {name}")
            if name not in _SINGLETONS:
                headers[name] += ", " + value
        else:
            headers[name] = value
    return int(match[1]), int(match[2]), headers


class ConnectionPool:
    """Opens connections to one endpoint and keeps the idle ones. Thread-safe."""

    def __init__(self, endpoint: SplitResult, connect_timeout: float) -> None:
        self._is_tls = endpoint.scheme == "https"
        self._host = endpoint.hostname or ""
        self._port = endpoint.port or (443 if self._is_tls else 80)
        self._connect_timeout = connect_timeout
        self._idle: deque[Connection] = deque()
        self._is_closed = False

    def take(self) -> Connection:
        """Return the connection that was used last, or a new one.

        Raises:
            NodeUnreachableError: no connection, so nothing was sent.
        """
        oldest = time.monotonic() - IDLE_SECONDS
        while self._idle:
            try:
                connection = self._idle.pop()
            except IndexError:  # another thread took it
                break
            if connection.idle_since >= oldest and not connection.has_surplus:
                connection.is_reused = True
                return connection
            connection.close()
        return self.connect()

    def connect(self) -> Connection:
        """Open a new connection. Raises: NodeUnreachableError."""
        try:
            sock = socket.create_connection(
                (self._host, self._port), self._connect_timeout
            )
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._is_tls:
                context = ssl.create_default_context()
                sock = context.wrap_socket(sock, server_hostname=self._host)
        except OSError as exc:
            raise NodeUnreachableError("no connection to the node") from exc
        return Connection(sock)

    def give_back(self, connection: Connection) -> None:
        """Keep a connection whose last answer is complete for the next request."""
        if self._is_closed or len(self._idle) >= MAX_IDLE_CONNECTIONS:
            connection.close()
        else:
            connection.idle_since = time.monotonic()
            self._idle.append(connection)

    def clear(self) -> None:
        """Close the idle connections: one of them turned out to be dead."""
        while self._idle:
            try:
                self._idle.pop().close()
            except IndexError:  # another thread took it
                break

    def close(self) -> None:
        """Keep no connection from now on; those in use go on."""
        self._is_closed = True
        self.clear()
