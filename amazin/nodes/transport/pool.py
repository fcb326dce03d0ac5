"""A pool of connections to one endpoint; idle ones are kept for the next request."""

from __future__ import annotations

import socket
import ssl
import struct
import time
from collections import deque
from contextlib import suppress
from urllib.parse import SplitResult

from amazin.errors import NodeUnreachableError
from amazin.nodes.transport.connection import Connection
from amazin.request_limits import request_deadline

MAX_IDLE_CONNECTIONS = 64
IDLE_SECONDS = 15.0
"""Connections idle for longer are not used again; servers close them later than
this."""
FRESH_SECONDS = 1.0
"""After a shorter idle time the node has hardly closed it: only the use will show
it."""
MIN_SECONDS = 0.01
"""For connecting, however late the request is: 0 would mean not to wait."""
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""SO_LINGER: closing resets the connection, also when this process dies.

If a connection ended orderly in the middle of an upload, versitygw would store the
received part as the whole object. No connection is closed while its response is needed.
"""


class ConnectionPool:
    """Opens connections to one endpoint and keeps the idle ones. Thread-safe."""

    def __init__(self, endpoint: SplitResult, connect_timeout: float) -> None:
        is_tls = endpoint.scheme == "https"
        self._host = endpoint.hostname or ""
        self._port = endpoint.port or (443 if is_tls else 80)
        self._connect_timeout = connect_timeout
        self._tls = ssl.create_default_context() if is_tls else None
        self._idle: deque[Connection] = deque()
        self._is_closed = False

    def take(self) -> Connection:
        """Return the connection that was used last, or a new one.

        Connections that the node has closed, or on which it sent something unasked, are
        dropped.

        Raises:
            NodeUnreachableError: no connection, so nothing was sent.
        """
        now = time.monotonic()
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return self.connect()
            idle_seconds = now - connection.idle_since
            if (idle_seconds < FRESH_SECONDS and not connection.has_bytes()) or (
                idle_seconds <= IDLE_SECONDS and not connection.has_input()
            ):
                connection.is_reused = True
                return connection
            connection.close()

    def connect(self) -> Connection:
        """Open a new connection. Raises: NodeUnreachableError."""
        left = max(MIN_SECONDS, request_deadline.get() - time.monotonic())
        seconds = min(self._connect_timeout, left)
        try:
            sock = socket.create_connection((self._host, self._port), seconds)
        except (OSError, UnicodeError) as exc:  # UnicodeError: an invalid host name
            raise NodeUnreachableError("no connection to the node") from exc
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            if self._tls:
                sock = self._tls.wrap_socket(sock, server_hostname=self._host)
        except OSError as exc:
            sock.close()
            raise NodeUnreachableError("no connection to the node") from exc
        return Connection(sock)

    def give_back(self, connection: Connection) -> None:
        """Keep a connection for the next request; its last response is complete."""
        if self._is_closed or len(self._idle) >= MAX_IDLE_CONNECTIONS:
            connection.close()
        else:
            connection.idle_since = now = time.monotonic()
            self._idle.append(connection)
            # `take` prefers the newest connections, so the oldest are unused for long.
            with suppress(IndexError):  # another thread took the last one
                while self._idle[0].idle_since < now - IDLE_SECONDS:
                    self._idle.popleft().close()

    def clear(self) -> None:
        """Close the idle connections, because one of them was dead."""
        with suppress(IndexError):
            while True:
                self._idle.pop().close()

    def close(self) -> None:
        """Keep no connection from now on; those in use continue."""
        self._is_closed = True
        self.clear()
