"""One connection to a node: bytes sent, and received up to a mark or a deadline.

Knows of HTTP only that answers have heads, and that interim ones mean nothing.
"""

from __future__ import annotations

import re
import socket
import ssl
import time
from fcntl import ioctl
from termios import FIONREAD

from amazin.errors import NodeError, NodeProtocolError, NodeTimeoutError
from amazin.model.objects import CHUNK_BYTES

HEAD_BYTES = 64 * 1024
"""A response head, a chunk's size line or the trailers above this are refused."""
SLACK_SECONDS = 0.01
"""A time limit may be so much too long, if that saves a system call."""
_INTERIM_HEAD = re.compile(rb"HTTP/1\.1 1(?!01)[0-9]{2}[ \r]")
_NO_BYTES = bytes(4)


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
