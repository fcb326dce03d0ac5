"""Answers without a length: when they begin, how they break, what they hold."""

from __future__ import annotations

import json
import re
import tracemalloc
from collections.abc import Generator, Iterator

import pytest

from amazin.access.grants import READ
from amazin.api.services import Services
from amazin.errors import NodeError
from amazin.web.messages import Request, Response, Route
from amazin.web.streaming import (
    PIECE_BYTES,
    PIECE_SECONDS,
    START_BYTES,
    Pieces,
    json_array,
    streamed,
)
from tests.support.app import call, make_app


def counting(values: int, error: Exception | None = None) -> Iterator[str]:
    """Yield so many texts of 100 bytes, then raise."""
    for number in range(values):
        yield f"{number:0100}"
    if error:
        raise error


class Watched:
    """A generator of pieces, and whether it was closed."""

    def __init__(self, *pieces: bytes) -> None:
        self.is_closed = False
        self.pieces = self._run(pieces)

    def _run(self, pieces: tuple[bytes, ...]) -> Generator[bytes, None, None]:
        try:
            yield from pieces
        finally:
            self.is_closed = True


def stopped() -> float:
    """Tell the time of a clock that stands."""
    return 0.0


def body_of(response: Response) -> Iterator[bytes]:
    """Return the pieces of an answer that is streamed."""
    assert not isinstance(response.body, bytes)
    return iter(response.body)


@pytest.mark.parametrize("values", [[], [1], ["a", {"b": 'é"'}, None]])
def test_an_array_is_json(values: list[object]) -> None:
    assert json.loads(b"".join(json_array(values))) == values


def test_what_is_small_is_answered_whole() -> None:
    response = streamed([("A", "b")], json_array(["x", "y"]))
    assert response == Response(200, [("A", "b")], b'["x","y"]')


def test_what_fails_early_is_an_error_and_not_an_answer() -> None:
    with pytest.raises(NodeError):
        streamed([], json_array(counting(10, NodeError("away"))))


def test_what_fails_late_breaks_and_does_not_close_the_array() -> None:
    response = streamed([], json_array(counting(1000, NodeError("away"))), stopped)
    pieces = body_of(response)
    sent = bytearray(next(pieces))
    assert START_BYTES <= len(sent) < START_BYTES + 200
    with pytest.raises(NodeError):
        for piece in pieces:
            sent += piece
    assert sent.startswith(b'["000')
    assert not sent.endswith(b"]")


def test_what_breaks_is_raised_to_the_server() -> None:
    def handler(request: Request, services: Services) -> Response:
        values = counting(1000, NodeError("away"))
        return streamed([("Content-Type", "application/json")], json_array(values))

    app = make_app([], routes=[Route("GET", re.compile("/x"), handler, READ)])
    with pytest.raises(NodeError):
        call(app, "GET", "/x")


def test_later_pieces_are_worth_a_system_call() -> None:
    response = streamed([], json_array(counting(5000)), stopped)
    start, *pieces, _ = body_of(response)
    assert len(start) < START_BYTES + 200
    assert len(pieces) > 3
    for piece in pieces:
        assert PIECE_BYTES <= len(piece) < PIECE_BYTES + 200


class SlowValues:
    """Values that take their time, and the clock that shows it."""

    def __init__(self, *seconds: float) -> None:
        self.now = 1000.0
        self.taken = 0
        self.pieces = json_array(self._run(seconds))

    def _run(self, seconds: tuple[float, ...]) -> Iterator[int]:
        for number, pause in enumerate(seconds):
            self.now += pause
            self.taken += 1
            yield number


def test_slow_values_do_not_keep_the_client_waiting() -> None:
    half, long = 0.6 * PIECE_SECONDS, 2 * PIECE_SECONDS
    values = SlowValues(half, half, long, half, half, half)
    response = streamed([], values.pieces, lambda: values.now)
    assert values.taken == 2
    assert [*body_of(response)] == [b"[0,1", b",2", b",3,4", b",5]"]


def test_one_value_is_known_before_the_status_however_slow_it_is() -> None:
    values = SlowValues(100 * PIECE_SECONDS, 0.0)
    response = streamed([], values.pieces, lambda: values.now)
    assert values.taken == 1
    assert [*body_of(response)] == [b"[0", b",1]"]


def test_what_is_fast_enough_is_answered_whole() -> None:
    values = SlowValues(*[PIECE_SECONDS / 4] * 3)
    response = streamed([], values.pieces, lambda: values.now)
    assert response.body == b"[0,1,2]"


def test_who_goes_away_leaves_nothing_open() -> None:
    watched = Watched(bytes(START_BYTES), b"more")
    response = streamed([], watched.pieces)
    assert not watched.is_closed
    response.body.close()  # type: ignore[union-attr]
    assert watched.is_closed


def test_a_failure_at_the_start_leaves_nothing_open() -> None:
    closed: list[bool] = []

    def pieces() -> Pieces:
        try:
            yield b"x"
            raise NodeError("away")
        finally:
            closed.append(True)

    with pytest.raises(NodeError):
        streamed([], pieces())
    assert closed == [True]


def test_memory_does_not_grow_with_the_number_of_entries() -> None:
    response = streamed([], json_array(counting(60_000)), stopped)
    pieces = body_of(response)
    next(pieces)
    tracemalloc.start()
    size = sum(map(len, pieces))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size > 6_000_000
    assert peak < 1_000_000
