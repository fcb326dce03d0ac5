"""Exchanges: a request on a pool's connection, and its response.

The only retry is that of a request whose kept connection was dead. Knows no kind of
node and no Node protocol.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Generic, TypeVar

from amazin.errors import NodeError, NodeTimeoutError
from amazin.nodes.transport.connection import Connection, NoAnswerError
from amazin.nodes.transport.pool import ConnectionPool
from amazin.nodes.transport.response import Response
from amazin.request_limits import request_deadline

T = TypeVar("T")
Interpret = Callable[[Response], T]
"""Turns a response into a value, which may own the connection from then on."""


class Exchange(Generic[T]):
    """See `Pending`: a request that was sent, and its future response."""

    def __init__(
        self,
        pool: ConnectionPool,
        connection: Connection,
        method: str,
        interpret: Interpret[T],
        timeout: float,
        request: bytes = b"",
    ) -> None:
        """Take the connection on which the request was sent.

        `request` is the whole request if it may be sent again on a new connection, in
        case that a kept connection is dead; else b"".
        """
        self._pool = pool
        self._connection = connection
        self._method = method
        self._interpret = interpret
        self._timeout = timeout
        self._request = request if connection.is_reused else b""
        self._deadline = min(time.monotonic() + timeout, request_deadline.get())
        self.release: Callable[[Connection], None] = pool.give_back
        """Is called with the connection when the response is complete."""
        self._is_over = False
        """Whether the exchange no longer owns the connection."""

    def is_ready(self, timeout: float) -> bool:
        """See `Pending`. Also true at the time limit, when `wait` fails at once."""
        if self._is_over:
            return True
        remaining = self._deadline - time.monotonic()
        is_readable = self._connection.wait_readable(min(timeout, remaining))
        return is_readable or remaining <= timeout

    def wait(self) -> T:
        """See `Pending`."""
        self._is_over = True
        response = Response(self._connection, self._method, self.release)
        try:
            try:
                self._receive_head(response)
            except NoAnswerError:
                if not self._request:
                    raise
                response.close()
                response = self._repeat()
            return self._interpret(response)
        except BaseException:
            response.close()
            raise

    def _repeat(self) -> Response:
        """Send the request again; return the response after its head was received."""
        connection = send_again(self._pool, self._request, self._timeout)
        self._begin(connection)
        response = Response(connection, self._method, self.release)
        try:
            self._receive_head(response)
        except BaseException:
            response.close()
            raise
        return response

    def _begin(self, connection: Connection) -> None:
        """Wait on this connection from now on."""
        self._connection = connection
        until = time.monotonic() + self._timeout
        self._deadline = min(until, request_deadline.get())

    def _receive_head(self, response: Response) -> None:
        response.receive_head(self._deadline)

    def cancel(self) -> None:
        """See `Pending`."""
        if not self._is_over:
            self._is_over = True
            self._connection.close()


def send_first(pool: ConnectionPool, request: bytes, timeout: float) -> Connection:
    """Send on a kept connection, or on a new one if the kept connection is dead."""
    connection = pool.take()
    try:
        connection.send(request, timeout)
    except NodeTimeoutError:
        connection.close()
        raise
    except NodeError:
        connection.close()
        if not connection.is_reused:
            raise
        return send_again(pool, request, timeout)
    return connection


def send_again(pool: ConnectionPool, request: bytes, timeout: float) -> Connection:
    """Send on a new connection; close the kept ones, which are probably dead too."""
    pool.clear()
    return send_on_new(pool, request, timeout)


def send_on_new(pool: ConnectionPool, request: bytes, timeout: float) -> Connection:
    """Send on a new connection."""
    connection = pool.connect()
    try:
        connection.send(request, timeout)
    except NodeError:
        connection.close()
        raise
    return connection
