"""Exchanges that probe a silent node: when, whatever happened to the request."""

from __future__ import annotations

import time
from typing import Any

from amazin.model.node_specs import TimeLimits
from amazin.nodes.transport.connection import NoAnswerError
from amazin.nodes.transport.slow_exchange import SlowExchange
from tests.support.app import Said
from tests.support.peers import answer

LIMITS = TimeLimits(answer=10.0, transfer=100.0)


class DeadConnection:
    """Was kept, and its server has closed it."""

    is_reused = True

    def await_answer(self, deadline: float) -> None:
        raise NoAnswerError("closed")

    def close(self) -> None:
        """It is closed."""


class GoodConnection:
    """Has an answer, and notes when it was sent to and until when it was waited for."""

    is_reused = has_surplus = False
    sent_at = awaited_until = 0.0

    def send(self, data: bytes, timeout: float) -> None:
        self.sent_at = time.monotonic()

    def await_answer(self, deadline: float) -> None:
        self.awaited_until = deadline

    def receive_until(self, mark: bytes, deadline: float) -> bytes:
        return answer().removesuffix(mark)

    def close(self) -> None:
        """Nothing is open."""


class Client:
    """A client whose pool has one connection, and whose probes are counted."""

    limits = LIMITS

    def __init__(self, connection: GoodConnection) -> None:
        self.pool: Any = self
        self.connection = connection
        self.probes = 0

    def clear(self) -> None:
        """Nothing is kept."""

    def connect(self) -> GoodConnection:
        return self.connection

    def give_back(self, connection: object) -> None:
        assert connection is self.connection

    def probe(self, timeout: float) -> Said:
        self.probes += 1
        return Said(None)


def test_a_request_that_is_sent_again_has_all_the_time_before_a_probe() -> None:
    connection = GoodConnection()
    client, dead = Client(connection), DeadConnection()
    exchange: SlowExchange[int] = SlowExchange(
        client, dead, "PUT", lambda response: response.status, b"PUT"
    )
    assert exchange.wait() == 200
    assert connection.awaited_until >= connection.sent_at + LIMITS.answer / 2
    assert client.probes == 0
