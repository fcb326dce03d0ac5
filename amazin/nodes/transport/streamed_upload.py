"""The part of streamed uploads that is the same for all kinds of servers."""

from __future__ import annotations

from contextlib import closing

from amazin.errors import NodeError, NodeProtocolError, NodeTimeoutError
from amazin.model.objects import ObjectInfo
from amazin.nodes.transport.connection import Connection
from amazin.nodes.transport.exchange import Interpret, send_again, send_first
from amazin.nodes.transport.response import Response
from amazin.nodes.transport.slow_exchange import Client, SlowExchange


class StreamedRequest:
    """A request whose body goes to the node as it comes, on a connection of its own.

    A stream can't be sent twice. So the caller should have received a response from the
    node just before, which shows that the connection works. If the connection ends
    nevertheless before any of the body was sent, the head is sent again on a new
    connection.
    """

    def __init__(
        self,
        client: Client,
        method: str,
        head: bytes,
        read_stored: Interpret[ObjectInfo],
    ) -> None:
        """Send the head. Raises: NodeError.

        `read_stored` returns what is stored; raises what the node says of the upload.
        """
        self._client = client
        self._method = method
        self._head = head
        self._read_stored = read_stored
        self._is_begun = False
        """Whether any of the body was sent."""
        self._pending: SlowExchange[ObjectInfo] | None = None
        self._is_over = False
        """Whether the connection is closed, or the commit's."""
        self._connection = send_first(client.pool, head, client.limits.answer)

    def _send_next(self, data: bytes) -> None:
        """Send the next bytes, unless the node has answered. Raises: as `_send`."""
        if self._connection.has_input() and not self._is_interim():
            self._resend_or_raise()
        self._is_begun = True
        self._send(data)

    def _is_interim(self) -> bool:
        """Whether only interim responses came. Raises: NodeError."""
        try:
            return self._connection.skip_interim(self._client.limits.answer)
        except NodeError:
            self.abort()
            raise

    def _resend_or_raise(self) -> None:
        """Handle an answer, or an end, that came before the end of the body."""
        old = self._connection
        if self._is_begun or not old.is_reused or not old.has_ended:
            self._raise_refusal()
        old.close()
        limits = self._client.limits
        self._connection = send_again(self._client.pool, self._head, limits.answer)

    def _send(self, data: bytes) -> None:
        """Send bytes of the body. Raises: NodeError, the node's own if it sent one."""
        try:
            self._connection.send(data, self._client.limits.transfer)
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

        exchange = self._exchange(judge)
        exchange.release = Connection.close
        exchange.wait()

    def _await_answer(self) -> SlowExchange[ObjectInfo]:
        """Hand the connection over to the commit."""
        self._is_over = True
        self._pending = self._exchange(self._read_stored)
        return self._pending

    def _exchange(self, interpret: Interpret[ObjectInfo]) -> SlowExchange[ObjectInfo]:
        return SlowExchange(self._client, self._connection, self._method, interpret)

    def abort(self) -> None:
        """See `Upload`."""
        if self._pending:
            self._pending.cancel()
        elif not self._is_over:
            self._is_over = True
            self._connection.close()
