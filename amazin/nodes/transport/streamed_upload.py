"""The common part of all uploads that stream their body to a node."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import closing

from amazin.errors import NodeError, NodeProtocolError, NodeTimeoutError
from amazin.model.node_specs import TimeLimits
from amazin.model.objects import ObjectInfo
from amazin.nodes.transport.connection import Connection
from amazin.nodes.transport.exchange import Interpret, send_again, send_first
from amazin.nodes.transport.pool import ConnectionPool
from amazin.nodes.transport.response import Response
from amazin.nodes.transport.slow_exchange import SlowExchange


class StreamedRequest(ABC):
    """A request whose body is sent piece by piece on a connection of its own.

    A stream can't be sent twice. So the caller should have received a response from the
    node just before, which shows that the connection works. If the connection ends
    nevertheless before any of the body was sent, the head is sent again on a new
    connection.
    """

    _read_stored: Interpret[ObjectInfo]
    """Returns the info about what is stored; raises the error that the node
    answered."""

    def __init__(self, pool: ConnectionPool, head: bytes, limits: TimeLimits) -> None:
        """Send the head. Raises: NodeError."""
        self._pool = pool
        self._head = head
        self._limits = limits
        self._is_begun = False
        """Whether any of the body was sent."""
        self._pending: SlowExchange[ObjectInfo] | None = None
        self._is_over = False
        """Whether the connection is closed, or belongs to the commit."""
        self._connection = send_first(pool, head, limits.answer)

    @abstractmethod
    def _exchange(
        self, connection: Connection, interpret: Interpret[ObjectInfo]
    ) -> SlowExchange[ObjectInfo]:
        """Return the exchange for the request that was sent on the connection."""

    def _send_next(self, data: bytes) -> None:
        """Send the next bytes, unless the node has answered. Raises: as `_send`."""
        if self._connection.has_input() and not self._is_interim():
            self._resend_or_raise()
        self._is_begun = True
        self._send(data)

    def _is_interim(self) -> bool:
        """Whether only interim responses arrived. Raises: NodeError."""
        try:
            return self._connection.skip_interim(self._limits.answer)
        except NodeError:
            self.abort()
            raise

    def _resend_or_raise(self) -> None:
        """Handle input before the body's end: send the head again, or raise."""
        old = self._connection
        if self._is_begun or not old.is_reused or not old.has_ended:
            self._raise_refusal()
        old.close()
        self._connection = send_again(self._pool, self._head, self._limits.answer)

    def _send(self, data: bytes) -> None:
        """Send bytes of the body. Raises: NodeError, the node's own if it sent one."""
        try:
            self._connection.send(data, self._limits.transfer)
        except NodeTimeoutError:
            self.abort()
            raise
        except NodeError:
            self._raise_refusal()

    def _raise_refusal(self) -> None:
        """Raise the error with which the node ended the upload early.

        The connection has an unfinished body on it, so it is not used again.
        """
        self._is_over = True

        def judge(response: Response) -> ObjectInfo:
            with closing(response):
                self._read_stored(response)
            raise NodeProtocolError("the node answered before the upload was complete")

        exchange = self._exchange(self._connection, judge)
        exchange.release = Connection.close
        exchange.wait()

    def _await_answer(self) -> SlowExchange[ObjectInfo]:
        """Hand the connection over to the commit."""
        self._is_over = True
        self._pending = self._exchange(self._connection, self._read_stored)
        return self._pending

    def abort(self) -> None:
        """See `Upload`."""
        if self._pending:
            self._pending.cancel()
        elif not self._is_over:
            self._is_over = True
            self._connection.close()
