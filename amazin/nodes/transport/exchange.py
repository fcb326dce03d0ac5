"""Requests over a pool's connections: one without a body, asked and answered.

The only retry is that of a request whose kept connection had died. Knows no kind of
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

T = TypeVar("T")


class Exchange(Generic[T]):
    """A request without a body, sent; it may be sent again on a new connection."""

    def __init__(
        self,
        pool: ConnectionPool,
        method: str,
        head: bytes,
        interpret: Callable[[Response], T],
        timeout: float,
    ) -> None:
        self._pool = pool
        self._method = method
        self._head = head
        self._interpret = interpret
        self._timeout = timeout
        self._deadline = time.monotonic() + timeout
        self._is_over = False
        """Whether the connection is the response's, or somebody else's again."""
        self._connection = send_first(pool, head, self._timeout)

    def is_ready(self, timeout: float) -> bool:
        """See `Pending`. It is ready at its time limit: then waiting fails at once."""
        if self._is_over:
            return True
        remaining = self._deadline - time.monotonic()
        is_readable = self._connection.wait_readable(min(timeout, remaining))
        return is_readable or remaining <= timeout

    def wait(self) -> T:
        """See `Pending`."""
        self._is_over = True
        try:
            response = self._receive(self._connection)
        except NoAnswerError:
            if not self._connection.is_reused:
                raise
            self._deadline = time.monotonic() + self._timeout
            again = send_again(self._pool, self._head, self._timeout)
            response = self._receive(again)
        try:
            return self._interpret(response)
        except BaseException:
            response.close()
            raise

    def _receive(self, connection: Connection) -> Response:
        response = Response(connection, self._method, self._pool.give_back)
        try:
            response.receive_head(self._deadline)
        except BaseException:
            response.close()
            raise
        return response

    def cancel(self) -> None:
        """See `Pending`."""
        if not self._is_over:
            self._is_over = True
            self._connection.close()


def send_first(pool: ConnectionPool, data: bytes, timeout: float) -> Connection:
    """Send on a kept connection, on a new one if that one is dead."""
    connection = pool.take()
    try:
        return _send(connection, data, timeout)
    except NodeTimeoutError:
        raise
    except NodeError:
        if not connection.is_reused:
            raise
        return send_again(pool, data, timeout)


def send_again(pool: ConnectionPool, data: bytes, timeout: float) -> Connection:
    """Send on a new connection; those kept are as old as the dead one: drop them."""
    pool.clear()
    return send_on_new(pool, data, timeout)


def send_on_new(pool: ConnectionPool, data: bytes, timeout: float) -> Connection:
    """Send on a new connection."""
    return _send(pool.connect(), data, timeout)


def _send(connection: Connection, data: bytes, timeout: float) -> Connection:
    try:
        connection.send(data, timeout)
    except NodeError:
        connection.close()
        raise
    return connection
