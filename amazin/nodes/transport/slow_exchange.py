"""Answers that may take long: of a slow disk, not of a frozen node."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Generic, TypeVar

from amazin.errors import NodeError, NodeTimeoutError
from amazin.model.node_specs import TimeLimits
from amazin.nodes.interface import Pending
from amazin.nodes.transport.connection import Connection, NoAnswerError
from amazin.nodes.transport.pool import ConnectionPool
from amazin.nodes.transport.response import Response

T = TypeVar("T")
Probe = Callable[[float], Pending[object]]
"""Asks a node something easy, to be answered in so many seconds."""


class LateAnswer:
    """The answer to a whole request that was sent just now.

    A slow disk may be slow; a frozen node shall not. So a node that is silent for
    half of the time limit of an answer is asked something easy beside it, and has the
    other half for that.
    """

    def __init__(
        self,
        pool: ConnectionPool,
        connection: Connection,
        method: str,
        limits: TimeLimits,
        probe: Probe,
        release: Callable[[Connection], None] | None = None,
    ) -> None:
        """`release` takes the connection after the answer, if not the pool."""
        now = time.monotonic()
        self._connection = connection
        self._response = Response(connection, method, release or pool.give_back)
        self._deadline = now + limits.transfer
        self._patience = limits.answer / 2
        self._patient_until = min(now + self._patience, self._deadline)
        self._ask = probe
        self._probe: Pending[object] | None = None
        self._failure: NodeError | None = None

    def is_ready(self, timeout: float) -> bool:
        """Whether it, or a failure, begins to arrive within `timeout` seconds.

        May take longer by the time limit of connecting, if the node is gone.
        """
        until = time.monotonic() + timeout
        while self._failure is None:
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

    def receive(self, interpret: Callable[[Response], T]) -> T:
        """Return what `interpret` makes of it, which may own the connection then.

        Raises: NodeError, or what `interpret` does.
        """
        try:
            self._receive_head()
            return interpret(self._response)
        except BaseException:
            self._response.close()
            raise
        finally:
            if self._probe:
                self._probe.cancel()

    def _receive_head(self) -> None:
        while self._failure is None:
            try:
                self._response.receive_head(self._patient_until)
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
        self._patient_until = min(time.monotonic() + self._patience, self._deadline)

    def close(self) -> None:
        """Release the connection, if it isn't yet. Idempotent."""
        self._response.close()
        if self._probe:
            self._probe.cancel()


class LateQuestion(Generic[T]):
    """See `Pending`: a whole request that was sent, and whose answer may take long."""

    def __init__(
        self,
        answer: LateAnswer,
        interpret: Callable[[Response], T],
        repeat: Callable[[], LateAnswer] | None = None,
    ) -> None:
        """`repeat` sends all of it again, where a kept connection may have died."""
        self._answer = answer
        self._interpret = interpret
        self._repeat = repeat
        self._is_over = False
        """Whether the connection is closed, or somebody else's again."""

    def is_ready(self, timeout: float) -> bool:
        """See `Pending`."""
        return self._is_over or self._answer.is_ready(timeout)

    def wait(self) -> T:
        """See `Pending`."""
        self._is_over = True
        try:
            return self._answer.receive(self._interpret)
        except NoAnswerError:
            if not self._repeat:
                raise
            return self._repeat().receive(self._interpret)

    def cancel(self) -> None:
        """See `Pending`."""
        if not self._is_over:
            self._is_over = True
            self._answer.close()
