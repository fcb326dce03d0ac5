"""One connection to a node: sends bytes, receives up to a mark or a deadline.

All it knows of HTTP is that responses have heads, and that interim responses are
ignored. Received bytes that are not read yet are in one buffer, and a read takes a
slice of it: a read costs the same however much is buffered.
"""

from __future__ import annotations

import math
import re
import socket
import ssl
import time
from fcntl import ioctl
from termios import FIONREAD

from amazin.blocking import pause
from amazin.errors import NodeError, NodeProtocolError, NodeTimeoutError
from amazin.model.objects import CHUNK_BYTES
from amazin.request_limits import request_deadline

HEAD_BYTES = 64 * 1024
"""A longer response head, chunk size line or trailer section is refused."""
MAX_INTERIM_RESPONSES = 8
"""More of them before a response, or between two pieces of an upload, are refused."""
RECEIPTS_AT_ONCE = 64
"""After receiving so often from one node it is the turn of other requests."""
SLACK_SECONDS = 0.01
"""A time limit may be longer by this, if that saves a system call."""
_INTERIM_HEAD = re.compile(rb"HTTP/1\.1 1(?!01)[0-9]{2}[ \r]")
_NO_BYTES = bytes(4)


class NoAnswerError(NodeError):
    """The node closed the connection before the first byte of its response.

    On a kept connection it most likely did so before it read the request.
    """


class Connection:
    """One connection to a node; used by one thread at a time."""

    __slots__ = (
        "_buffer",
        "_end",
        "_limit",
        "_receipts",
        "_socket",
        "_start",
        "idle_since",
        "is_reused",
    )

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._buffer = b""
        self._start = 0
        """Offset in the buffer; the bytes before it were read already."""
        self._end: NodeError | bool = False
        """True after the connection's end was received; the error if the connection
        broke."""
        self._limit = -1.0
        """The current timeout of the socket, in seconds."""
        self._receipts = 0
        """How often bytes were received."""
        self.idle_since = 0.0
        self.is_reused = False

    def send(self, data: bytes, timeout: float) -> None:
        """Send all of `data`; succeeds or fails within twice `timeout` seconds.

        The request's own deadline may end it earlier.

        Raises:
            NodeError: it is unknown how much arrived.
        """
        until = request_deadline.get()
        if until < math.inf:
            timeout = min(timeout, until - time.monotonic())
        if not 0 < timeout <= self._limit <= timeout + SLACK_SECONDS:
            self._set_limit(timeout)
        try:
            # Usually sends everything; gevent's sendall costs more.
            sent = self._socket.send(data)
            if sent < len(data):
                self._socket.sendall(memoryview(data)[sent:])
        except OSError as exc:
            raise translated(exc) from exc

    def receive(self, deadline: float, most: int = CHUNK_BYTES) -> bytes:
        """Return received bytes, at most `most`; b"" at the connection's end.

        `deadline` is on the monotonic clock; buffered bytes are returned even after it.
        """
        if self._start >= len(self._buffer):
            self._buffer = self._receive(deadline - time.monotonic())
            self._start = 0
        start, end = self._start, self._start + most
        if end >= len(self._buffer):
            data = self._buffer[start:] if start else self._buffer
            self._buffer, self._start = b"", 0
            return data
        self._start = end
        return self._buffer[start:end]

    def _receive(self, timeout: float) -> bytes:
        """Receive the bytes that follow the buffer, waiting up to `timeout` seconds."""
        if self._end:
            if isinstance(self._end, NodeError):
                raise self._end
            return b""
        if not 0 < timeout <= self._limit <= timeout + SLACK_SECONDS:
            self._set_limit(timeout)
        self._receipts += 1
        if not self._receipts % RECEIPTS_AT_ONCE:
            pause()  # a node may be as fast as we are, so that we never wait for it
        try:
            return self._socket.recv(CHUNK_BYTES)
        except OSError as exc:
            raise translated(exc) from exc

    def _set_limit(self, seconds: float) -> None:
        """Set the socket's timeout."""
        self._limit = max(0.0, seconds)
        self._socket.settimeout(self._limit)

    def receive_until(self, mark: bytes, deadline: float) -> bytes:
        """Return the bytes in front of `mark`, and drop the mark.

        Raises:
            NodeTimeoutError: nothing is lost; the call may be repeated.
            NodeProtocolError: no mark within `HEAD_BYTES`, or before the end.
        """
        end = self._buffer.find(mark, self._start)
        if end < 0:
            end = self._gather(mark, deadline)
        start = self._start
        if not 0 <= end - start <= HEAD_BYTES:
            raise NodeProtocolError("the node's answer has too long a head")
        self._start = end + len(mark)
        return self._buffer[start:end]

    def _gather(self, mark: bytes, deadline: float) -> int:
        """Receive until the buffer has the mark; return its place, -1: it is too far.

        Each byte is copied and searched once, however few arrive at a time.
        """
        held, end = bytearray(self._buffer[self._start :]), -1
        try:
            while end < 0 and len(held) <= HEAD_BYTES:
                more = self._receive(deadline - time.monotonic())
                if not more:
                    raise NodeProtocolError("the node's answer is cut off")
                searched = max(0, len(held) - len(mark) + 1)
                held += more
                end = held.find(mark, searched)
        finally:
            self._buffer, self._start = bytes(held), 0
        return end

    def has_input(self) -> bool:
        """Whether the node has sent something, or closed. Does not wait."""
        return self.wait_readable(0)

    def has_bytes(self) -> bool:
        """Whether bytes arrived, also of TLS itself. Cheap; doesn't notice a close."""
        return ioctl(self._socket.fileno(), FIONREAD, _NO_BYTES) != _NO_BYTES

    def wait_readable(self, timeout: float) -> bool:
        """Whether the node sends something, or closes, within `timeout` seconds.

        Received bytes stay in the buffer for `receive`.
        """
        if self._end or self._start < len(self._buffer):
            return True
        try:
            self._buffer, self._start = self._receive(timeout), 0
            self._end = not self._buffer
        except NodeTimeoutError:
            return False
        except NodeError as exc:
            self._end = exc
        return True

    def skip_interim(self, timeout: float) -> bool:
        """Drop interim responses from the buffer; return whether nothing else arrived.

        RFC 9110 section 15.2: they may arrive at any time, and can be ignored. The rest
        of a partly received one is waited for. Raises: as `receive_until`; also at more
        than `MAX_INTERIM_RESPONSES`.
        """
        deadline = time.monotonic() + timeout
        for _ in range(MAX_INTERIM_RESPONSES):
            if not _INTERIM_HEAD.match(self._buffer, self._start):
                return not self.has_surplus and not self._end
            self.receive_until(b"\r\n\r\n", deadline)
        raise NodeProtocolError("the node sent interim answers only")

    @property
    def has_ended(self) -> bool:
        """Whether the connection's end was received and no unread byte precedes it."""
        return bool(self._end) and not self.has_surplus

    def await_answer(self, deadline: float) -> None:
        """Wait for the first byte of a response.

        Raises:
            NoAnswerError: the connection ended without one.
            NodeTimeoutError: the call may be repeated.
        """
        if self._start < len(self._buffer):
            return
        try:
            self._buffer = self._receive(deadline - time.monotonic())
            self._start = 0
        except NodeTimeoutError:
            raise
        except NodeError as exc:
            raise NoAnswerError(str(exc)) from exc
        if not self._buffer:
            raise NoAnswerError("the node closed the connection without an answer")

    @property
    def has_surplus(self) -> bool:
        """Whether there are received bytes that were not read."""
        return self._start < len(self._buffer)

    def close(self) -> None:
        """Close the connection. Idempotent."""
        self._socket.close()


def translated(error: OSError) -> NodeError:
    """Return a socket's exception as a node error."""
    if isinstance(error, TimeoutError | BlockingIOError | ssl.SSLWantReadError):
        return NodeTimeoutError("the node was silent for too long")
    return NodeError(f"the connection to the node broke: {error.strerror}")
