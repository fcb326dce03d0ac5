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
    """See `Exchange`.

    A slow disk may be slow; a frozen node shall not. So a node that is silent for
    half of the time limit of an answer is asked something easy beside it, and has the
    other half for that.
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
        self._patience = limits.answer / 2
        self._patient_until = 0.0
        self._be_patient()
        self._ask = client.probe
        self._probe: Pending[object] | None = None
        self._failure: NodeError | None = None

    def is_ready(self, timeout: float) -> bool:
        """See `Pending`.

        May take longer by the time limit of connecting, if the node is gone.
        """
        until = time.monotonic() + timeout
        while not self._is_over and self._failure is None:
            moment = min(until, self._patient_until)
            if self._connection.wait_readable(moment - time.monotonic()):
                return True
            if time.monotonic() < self._patient_until:
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
        self._be_patient()

    def _be_patient(self) -> None:
        self._patient_until = min(time.monotonic() + self._patience, self._deadline)

    def _receive_head(self, response: Response) -> None:
        while self._failure is None:
            try:
                response.receive_head(self._patient_until)
                return
            except NodeTimeoutError:
                self._probe_node()
        raise self._failure

    def _probe_node(self) -> None:
        """Ask again whether the node lives; raises if the last time it didn't say."""
        if time.monotonic() >= self._deadline:
            raise NodeTimeoutError("the node was silent for too long")
        if self._probe:
            self._probe.wait()
        self._probe = self._ask(self._patience)
        self._be_patient()

    def cancel(self) -> None:
        """See `Pending`."""
        super().cancel()
        if self._probe:
            self._probe.cancel()
