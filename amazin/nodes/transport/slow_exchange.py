"""Exchanges whose answer may take long, as long as the node answers probes."""

from __future__ import annotations

import time
from typing import Protocol, TypeVar

from amazin.errors import NodeError, NodeTimeoutError
from amazin.model.node_specs import TimeLimits
from amazin.nodes.interface import Pending
from amazin.nodes.transport.connection import Connection
from amazin.nodes.transport.exchange import Exchange, Interpret
from amazin.nodes.transport.pool import ConnectionPool
from amazin.nodes.transport.response import Response

T = TypeVar("T")


class Client(Protocol):
    """The client of one server: time limits, connections, and a probe."""

    limits: TimeLimits
    pool: ConnectionPool

    def probe(self, timeout: float) -> Pending[object]:
        """Send a request that any live server answers within so many seconds."""


class SlowExchange(Exchange[T]):
    """An `Exchange` that allows for a slow disk, but not for a frozen node.

    If the node is silent for half of its time limit for responses, a probe is sent on
    another connection, and the node has the other half to answer the probe.
    """

    def __init__(
        self,
        client: Client,
        connection: Connection,
        method: str,
        interpret: Interpret[T],
        request: bytes = b"",
    ) -> None:
        """See `Exchange`; the answer may take `limits.transfer` seconds."""
        limits = client.limits
        super().__init__(
            client.pool, connection, method, interpret, limits.transfer, request
        )
        self._probe_seconds = limits.answer / 2
        self._probe_at = 0.0
        self._schedule_probe()
        self._ask = client.probe
        self._probe: Pending[object] | None = None
        self._failure: NodeError | None = None

    def is_ready(self, timeout: float) -> bool:
        """See `Pending`.

        If the node is down, the call may exceed `timeout` by the connect timeout.
        """
        until = time.monotonic() + timeout
        while not self._is_over and self._failure is None:
            moment = min(until, self._probe_at)
            if self._connection.wait_readable(moment - time.monotonic()):
                return True
            if time.monotonic() < self._probe_at:
                return False
            try:
                self._probe_node()
            except NodeError as exc:
                self._failure = exc
        return True

    def wait(self) -> T:
        """See `Pending`."""
        try:
            return super().wait()
        finally:
            if self._probe:
                self._probe.cancel()

    def _begin(self, connection: Connection) -> None:
        super()._begin(connection)
        self._schedule_probe()

    def _schedule_probe(self) -> None:
        self._probe_at = min(time.monotonic() + self._probe_seconds, self._deadline)

    def _receive_head(self, response: Response) -> None:
        while self._failure is None:
            try:
                response.receive_head(self._probe_at)
                return
            except NodeTimeoutError:
                self._probe_node()
        raise self._failure

    def _probe_node(self) -> None:
        """Send the next probe. Raises: NodeError, if the last one has no answer."""
        if time.monotonic() >= self._deadline:
            raise NodeTimeoutError("the node was silent for too long")
        if self._probe:
            self._probe.wait()
        self._probe = self._ask(self._probe_seconds)
        self._schedule_probe()

    def cancel(self) -> None:
        """See `Pending`."""
        super().cancel()
        if self._probe:
            self._probe.cancel()
