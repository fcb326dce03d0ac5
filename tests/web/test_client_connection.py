"""What is seen of a client's connection, where the server gives it away."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from amazin.web.client_connection import (
    PATIENCE_SECONDS,
    end_limit,
    has_left,
    taken_by,
)
from tests.support.waiting import await_that

Ends = tuple[socket.socket, socket.socket]


@pytest.fixture
def connection() -> Iterator[Ends]:
    """Our end and the client's end of a TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname(), timeout=10)
        ours, _ = listener.accept()
    with ours, theirs:
        yield ours, theirs


def long_ago() -> float:
    """Return when a request began whose client needs patience no more."""
    return time.monotonic() - PATIENCE_SECONDS


def test_a_client_that_waits_is_there(connection: Ends) -> None:
    environ = {"gunicorn.socket": connection[0]}
    assert not has_left(environ, long_ago())
    connection[1].sendall(b"the next request")
    assert not has_left(environ, long_ago())


def test_a_client_that_closes_has_left_whatever_it_sent(connection: Ends) -> None:
    environ = {"gunicorn.socket": connection[0]}
    connection[1].sendall(b"the next request")
    connection[1].close()
    await_that(lambda: has_left(environ, long_ago()))


def test_who_ends_its_side_has_time_for_the_answer(connection: Ends) -> None:
    environ = {"gunicorn.socket": connection[0]}
    connection[1].shutdown(socket.SHUT_WR)
    await_that(lambda: has_left(environ, long_ago()))
    assert not has_left(environ, time.monotonic())


def test_what_is_not_known_is_no_reason_to_end() -> None:
    assert not has_left({}, 0.0)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert not has_left({"gunicorn.socket": ours}, 0.0)
    assert not has_left({"gunicorn.socket": ours}, 0.0)


@pytest.mark.parametrize("seconds", [0.1, -1.0])
def test_a_client_has_no_longer_than_the_request(
    connection: Ends, seconds: float
) -> None:
    ours, _ = connection
    ours.settimeout(300)
    environ = {"gunicorn.socket": ours}
    chunks = [bytes(2**24)] * 2
    for chunk in taken_by(time.monotonic() + seconds, chunks, environ):
        with pytest.raises(TimeoutError):
            ours.sendall(chunk)
    end_limit(environ)
    assert ours.gettimeout() == 300
    end_limit(environ)
    assert ours.gettimeout() == 300


def test_where_there_is_no_connection_there_is_no_limit() -> None:
    environ: dict[str, object] = {}
    assert list(taken_by(0.0, [b"a", b"b"], environ)) == [b"a", b"b"]
    end_limit(environ)
    assert environ == {}
