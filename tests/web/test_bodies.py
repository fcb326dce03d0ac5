"""Request bodies: counted, never trusted, spooled where their length is unknown."""

from __future__ import annotations

import logging
import math
import socket
import threading
import time
from collections.abc import Iterator
from errno import EIO, ENOSPC
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.http.body import Body, ChunkedReader, LengthReader
from gunicorn.http.unreader import IterUnreader, SocketUnreader

from amazin.errors import BodyError, HTTPError, LateError
from amazin.model.objects import CHUNK_BYTES
from amazin.web.bodies import (
    DRAIN_SILENCE_SECONDS,
    ChunkedBody,
    StreamedBody,
    drain,
    stream_body,
)
from amazin.web.framing import DEADLINE
from amazin.web.server_quirks import (
    LEAST_BYTES,
    MOST_PERIODS,
    PIECES_AT_ONCE,
    Pace,
    limit_reading,
    limit_slowness,
    pausing,
    timely,
)
from amazin.web.spool import SpoolRoom
from tests.support.app import BrokenInput, Input

MOST = 8 * 2**20
MIB = 2**20
ROOM = 4 * MIB
PATIENCE_SECONDS = 10.0
CHUNKED = {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True}


@pytest.fixture
def room(tmp_path: Path) -> Iterator[SpoolRoom]:
    """Room of 4 MiB, half of it for one body, that has to be there at the end."""
    room = SpoolRoom(str(tmp_path), ROOM)
    yield room
    assert largest_body(room) == ROOM // 2
    assert list(tmp_path.iterdir()) == []


def largest_body(room: SpoolRoom) -> int:
    """Find out how much room there is for one body, by taking it."""
    low, high = 0, 2 * ROOM
    while low < high:
        middle = (low + high + 1) // 2
        try:
            room.spool(iter([bytes(middle)])).close()
            low = middle
        except HTTPError:
            high = middle - 1
    return low


def chunks_of(stream: Input, limit: int = MIB, **environ: Any) -> Iterator[bytes]:
    """Return the pieces of a request's body, not read yet."""
    return iter(stream_body({"wsgi.input": stream, **environ}, limit).chunks())


# Framing


@pytest.mark.parametrize(
    ("environ", "status", "code"),
    [
        ({}, 411, "LengthRequired"),
        ({"CONTENT_LENGTH": ""}, 411, "LengthRequired"),
        ({"CONTENT_LENGTH": "-1"}, 400, "InvalidLength"),
        ({"CONTENT_LENGTH": "+1"}, 400, "InvalidLength"),
        ({"CONTENT_LENGTH": "abc"}, 400, "InvalidLength"),
        ({"CONTENT_LENGTH": "1.0"}, 400, "InvalidLength"),
        ({"CONTENT_LENGTH": "0x10"}, 400, "InvalidLength"),
        ({"CONTENT_LENGTH": "1_0"}, 400, "InvalidLength"),
        ({"CONTENT_LENGTH": "5, 5"}, 400, "InvalidLength"),
        ({"CONTENT_LENGTH": "5\n"}, 400, "InvalidLength"),
        ({"CONTENT_LENGTH": "\u0665"}, 400, "InvalidLength"),
        ({"CONTENT_LENGTH": "9" * 5000}, 400, "InvalidLength"),
        ({"CONTENT_LENGTH": str(MIB + 1)}, 413, "ObjectTooLarge"),
        ({"CONTENT_LENGTH": "9" * 500}, 413, "ObjectTooLarge"),
        ({**CHUNKED, "CONTENT_LENGTH": "5"}, 400, "AmbiguousLength"),
        ({**CHUNKED, "CONTENT_LENGTH": "0"}, 400, "AmbiguousLength"),
        ({**CHUNKED, "HTTP_TRANSFER_ENCODING": "gzip"}, 501, "NotSupported"),
        ({**CHUNKED, "HTTP_TRANSFER_ENCODING": "gzip, chunked"}, 501, "NotSupported"),
        ({**CHUNKED, "HTTP_TRANSFER_ENCODING": "identity"}, 501, "NotSupported"),
        ({**CHUNKED, "wsgi.input_terminated": False}, 411, "LengthRequired"),
    ],
    ids=str,
)
def test_bodies_that_are_refused_before_they_are_read(
    environ: dict[str, Any], status: int, code: str
) -> None:
    stream = Input(b"unread" * 10)
    with pytest.raises(HTTPError) as error:
        stream_body({"wsgi.input": stream, **environ}, MIB)
    assert (error.value.status, error.value.code) == (status, code)
    assert stream.was_read == 0


def test_many_small_chunks_are_read_with_pauses() -> None:
    count, pauses = 10 * PIECES_AT_ONCE, list[int]()

    def chunks() -> Iterator[bytes]:
        yield b"1\r\nx\r\n" * count
        yield b"0\r\n\r\n"

    parse = pausing(ChunkedReader.parse_chunked, lambda: pauses.append(1))
    reader = ChunkedReader(SimpleNamespace(), IterUnreader(chunks()))
    reader.parser = parse(reader, IterUnreader(chunks()))
    assert reader.read(CHUNK_BYTES) == b"x" * count
    assert len(pauses) == count / PIECES_AT_ONCE


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES, CHUNK_BYTES + 1, MIB])
def test_a_body_of_known_length_is_streamed(size: int) -> None:
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    stream = Input(data + b"the next request")
    environ = {"wsgi.input": stream, "CONTENT_LENGTH": str(size)}
    body = stream_body(environ, MIB)
    assert (body.length, stream.was_read) == (size, 0)
    chunks = list(body.chunks())
    assert b"".join(chunks) == data
    assert all(0 < len(chunk) <= CHUNK_BYTES for chunk in chunks)
    assert stream.was_read == size
    body.close()


def test_a_length_with_zeros_in_front_is_a_number() -> None:
    environ = {"wsgi.input": Input(b"12345"), "CONTENT_LENGTH": "0" * 50 + "5"}
    assert stream_body(environ, MIB).length == 5


def test_a_stream_can_restart_until_it_was_read() -> None:
    body = StreamedBody(Input(b"12345"), 5)
    assert body.can_restart()
    assert list(body.chunks()) == [b"12345"]
    assert not body.can_restart()
    assert StreamedBody(Input(), 0).can_restart()


@pytest.mark.parametrize("is_spooled", [False, True])
def test_a_body_that_ends_early_is_an_error(room: SpoolRoom, is_spooled: bool) -> None:
    chunks = chunks_of(Input(bytes(MIB - 1)), CONTENT_LENGTH=str(MIB))
    with pytest.raises(BodyError, match="ended 1 bytes before"):
        room.spool(chunks) if is_spooled else list(chunks)


class ServersOwnError(Exception):
    """As gunicorn's parser raises for a malformed chunk."""


@pytest.mark.parametrize(
    "error", [ConnectionResetError(), ValueError(), ServersOwnError()]
)
@pytest.mark.parametrize("framing", [{"CONTENT_LENGTH": str(MIB)}, CHUNKED])
def test_a_body_that_can_not_be_read_is_an_error(
    error: Exception, framing: dict[str, Any]
) -> None:
    with pytest.raises(BodyError) as raised:
        list(chunks_of(BrokenInput(bytes(300_000), error), **framing))
    assert raised.value.__cause__ is error


def test_a_body_that_stands_still_is_late() -> None:
    with pytest.raises(LateError, match="for too long"):
        list(chunks_of(BrokenInput(b"some", TimeoutError()), **CHUNKED))


# The spool


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES + 1, 2 * MIB])
def test_a_chunked_body_is_spooled_and_can_be_read_again(
    room: SpoolRoom, size: int
) -> None:
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    body = room.spool(chunks_of(Input(data), ROOM, **CHUNKED))
    assert (body.length, body.can_restart()) == (size, True)
    for _ in range(2):
        assert b"".join(body.chunks()) == data
    body.close()


def test_of_a_spooled_body_nothing_more_is_read(room: SpoolRoom) -> None:
    stream = Input(bytes(MIB) + b"the next request")
    body = room.spool(chunks_of(stream, CONTENT_LENGTH=str(MIB)))
    assert (stream.was_read, body.length) == (MIB, MIB)
    body.close()


def test_a_chunked_body_can_be_read_as_it_arrives() -> None:
    stream = Input(bytes(CHUNK_BYTES + 1))
    body = stream_body({"wsgi.input": stream, **CHUNKED}, MIB)
    assert (body.length, body.can_restart(), stream.was_read) == (-1, False, 0)
    assert [len(chunk) for chunk in body.chunks()] == [CHUNK_BYTES, 1]
    body.close()


def test_a_chunked_body_that_is_not_held_has_a_limit_too() -> None:
    stream = Input(bytes(MIB + 1))
    body = stream_body({"wsgi.input": stream, **CHUNKED}, MIB)
    with pytest.raises(HTTPError, match="bytes at most"):
        list(body.chunks())


def test_a_chunked_body_above_the_limit_is_413_and_gives_its_room_back(
    room: SpoolRoom,
) -> None:
    stream = Input(bytes(2 * MIB))
    with pytest.raises(HTTPError) as error:
        room.spool(chunks_of(stream, **CHUNKED))
    assert error.value.status == 413
    assert stream.was_read <= MIB + CHUNK_BYTES


def test_a_chunked_body_of_exactly_the_limit_is_taken(room: SpoolRoom) -> None:
    body = room.spool(chunks_of(Input(bytes(MIB)), **CHUNKED))
    assert body.length == MIB
    body.close()


def test_room_is_shared_and_given_back_once(room: SpoolRoom) -> None:
    first = room.spool(iter([bytes(ROOM // 2)]))
    with pytest.raises(HTTPError, match="send a Content-Length") as error:
        room.spool(iter([bytes(ROOM // 4), b"x"]))
    assert (error.value.status, error.value.code) == (507, "SpoolFull")
    second = room.spool(iter([bytes(ROOM // 4)]))
    second.close()
    second.close()
    assert largest_body(room) == ROOM // 4
    first.close()


def test_many_bodies_that_take_all_they_can_leave_room_for_another(
    room: SpoolRoom,
) -> None:
    bodies = []
    for _ in range(8):
        with pytest.raises(HTTPError):
            room.spool(iter([bytes(largest_body(room) + 1)]))
        bodies.append(room.spool(iter([bytes(largest_body(room))])))
    assert largest_body(room) == ROOM >> 9
    for body in bodies:
        body.close()


def test_a_body_of_known_length_that_does_not_fit_is_not_read(room: SpoolRoom) -> None:
    def unread() -> Iterator[bytes]:
        raise AssertionError("it was read")
        yield b""

    with pytest.raises(HTTPError) as error:
        room.spool(unread(), ROOM // 2 + 1)
    assert (error.value.status, error.value.code) == (507, "SpoolFull")
    assert "Content-Length" not in error.value.message
    room.spool(iter([bytes(ROOM // 2)]), ROOM // 2).close()


def test_an_upload_that_breaks_gives_its_room_back(room: SpoolRoom) -> None:
    def broken() -> Iterator[bytes]:
        yield bytes(MIB)
        raise BodyError("gone")

    with pytest.raises(BodyError):
        room.spool(broken())


def test_large_bodies_lie_in_the_folder_without_a_name(tmp_path: Path) -> None:
    body = SpoolRoom(str(tmp_path), ROOM).spool(iter([bytes(MIB)]))
    assert list(tmp_path.iterdir()) == []
    body.close()


@pytest.mark.parametrize(
    ("errno", "status", "code"), [(ENOSPC, 507, "SpoolFull"), (EIO, 503, "SpoolFailed")]
)
def test_a_disk_that_fails_is_told_from_a_full_one(
    room: SpoolRoom, errno: int, status: int, code: str
) -> None:
    def failing() -> Iterator[bytes]:
        yield b"first"
        raise OSError(errno, "hush")

    with pytest.raises(HTTPError) as error:
        room.spool(failing())
    assert (error.value.status, error.value.code) == (status, code)
    assert "hush" not in error.value.message


def test_a_missing_folder_is_told_to_the_operator_not_to_the_client(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    room = SpoolRoom(str(tmp_path / "missing"), ROOM)
    with caplog.at_level(logging.ERROR), pytest.raises(HTTPError) as error:
        room.spool(iter([bytes(MIB)]))
    assert (error.value.status, error.value.code) == (503, "SpoolFailed")
    assert "missing" not in error.value.message
    assert "SPOOL_DIR" in caplog.text


# Draining


class Socket:
    """The part of a socket that sets how long a read may take."""

    def __init__(self) -> None:
        self.timeouts: list[float | None] = [300.0]

    def gettimeout(self) -> float | None:
        return self.timeouts[-1]

    def settimeout(self, seconds: float | None) -> None:
        self.timeouts.append(seconds)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"CONTENT_LENGTH": "1000"}, 1000),
        ({"CONTENT_LENGTH": "0"}, 0),
        ({}, 0),
        ({"CONTENT_LENGTH": "many"}, 0),
        ({"CONTENT_LENGTH": str(MOST + 1)}, MOST),
        ({"CONTENT_LENGTH": "9" * 500}, MOST),
        (CHUNKED, MOST),
        ({**CHUNKED, "wsgi.input_terminated": False}, 0),
        # gunicorn says of every input that it ends by itself.
        ({"CONTENT_LENGTH": "1000", "wsgi.input_terminated": True}, 1000),
    ],
    ids=str,
)
def test_a_bounded_part_of_an_unwanted_body_is_read(
    environ: dict[str, Any], expected: int
) -> None:
    stream = Input(bytes(MOST + MIB))
    is_at_end = drain({"wsgi.input": stream, **environ}, MOST)
    assert stream.was_read == expected
    is_endless = expected == MOST or "many" in environ.values()
    is_endless |= environ.get("wsgi.input_terminated") is False
    assert is_at_end == (not is_endless)


def test_a_client_that_stopped_sending_is_not_waited_for() -> None:
    stream, sock = BrokenInput(bytes(10), TimeoutError()), Socket()
    drain({"wsgi.input": stream, "CONTENT_LENGTH": "99", "gunicorn.socket": sock})
    # What the server itself goes on to read is not waited for either.
    assert sock.timeouts == [300.0, DRAIN_SILENCE_SECONDS]


def test_a_body_that_failed_has_no_end_that_could_be_found() -> None:
    """gunicorn notes it; what follows on the connection can't be told from it."""
    stream = Input(b"")
    stream.failed = True  # type: ignore[attr-defined]
    assert not drain({"wsgi.input": stream, **CHUNKED})


def test_a_connection_that_goes_on_has_its_patience_again() -> None:
    sock = Socket()
    environ = {"CONTENT_LENGTH": "5", "gunicorn.socket": sock}
    drain({"wsgi.input": Input(b"12345"), **environ})
    assert sock.timeouts == [300.0, DRAIN_SILENCE_SECONDS, 300.0]


def test_what_was_read_is_not_waited_for_again() -> None:
    """Not every server ends a read where the body does."""
    stream = Input(b"123456789")
    environ = {"wsgi.input": stream, "CONTENT_LENGTH": "6"}
    body = stream_body(environ, 100)
    assert not isinstance(body, ChunkedBody)
    body.missing = 4
    stream.read(2)
    assert drain(environ)
    assert stream.was_read == 6
    assert drain({**environ, "amazin.body": StreamedBody(stream, 0)})
    assert stream.was_read == 6


@pytest.mark.parametrize("size", [0, 5])
def test_the_time_of_a_request_ends_with_it(size: int) -> None:
    """A connection that is kept is not cut off by what an upload on it had."""
    sock = Socket()
    environ = {
        "wsgi.input": Input(bytes(size)),
        "CONTENT_LENGTH": str(size),
        "gunicorn.socket": sock,
        DEADLINE: time.monotonic() + 60,
    }
    receive = timely(lambda unreader: b"next")
    assert b"".join(stream_body(environ, 100).chunks()) == bytes(size)
    limit_reading(environ, time.monotonic() - 1)
    with pytest.raises(TimeoutError):
        receive(SimpleNamespace(sock=sock))
    assert drain(environ)
    assert receive(SimpleNamespace(sock=sock)) == b"next"


class TimelyUnreader(SocketUnreader):
    """What gunicorn reads from in our workers."""

    chunk = timely(SocketUnreader.chunk)


class DribblingClient:
    """Sends a byte each 20 ms to what gunicorn reads from, for at most 5 s."""

    def __init__(self) -> None:
        self.sock, self._client = socket.socketpair()
        self.sock.settimeout(60.0)
        self.unreader = TimelyUnreader(self.sock)
        stream = Body(LengthReader(self.unreader, 10_000))
        self.environ = {
            "CONTENT_LENGTH": "10000",
            "gunicorn.socket": self.sock,
            "wsgi.input": stream,
        }
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._dribble)
        self._thread.start()

    def _dribble(self) -> None:
        for _ in range(250):
            self._client.send(b"x")
            if self._is_over.wait(0.02):
                return

    def close(self) -> None:
        self._is_over.set()
        self._thread.join(PATIENCE_SECONDS)
        self.sock.close()
        self._client.close()


@pytest.fixture
def dribbling() -> Iterator[DribblingClient]:
    client = DribblingClient()
    yield client
    client.close()


def test_a_body_that_dribbles_ends_at_the_deadline(dribbling: DribblingClient) -> None:
    begun = time.monotonic()
    dribbling.environ[DEADLINE] = begun + 0.3
    body = stream_body(dribbling.environ, 10_000)
    with pytest.raises(LateError):
        list(body.chunks())
    assert 0.3 <= time.monotonic() - begun < 3
    assert dribbling.sock.gettimeout() == 60.0


def test_draining_what_dribbles_ends(dribbling: DribblingClient) -> None:
    begun = time.monotonic()
    assert not drain(dribbling.environ, seconds=0.3)
    assert 0.3 <= time.monotonic() - begun < 3


def test_the_next_request_of_a_connection_has_its_own_time(
    dribbling: DribblingClient,
) -> None:
    limit_reading(dribbling.environ, time.monotonic() - 1)
    with pytest.raises(TimeoutError):
        dribbling.unreader.chunk()
    limit_reading(dribbling.environ, math.inf)
    assert set(dribbling.unreader.chunk()) == {ord("x")}


def test_a_held_body_that_dribbles_ends_soon(dribbling: DribblingClient) -> None:
    begun = time.monotonic()
    limit_slowness(dribbling.environ, 0.3)
    with pytest.raises(LateError, match="for too long"):
        list(stream_body(dribbling.environ, 10_000).chunks())
    assert 0.3 <= time.monotonic() - begun < 3
    assert not drain(dribbling.environ)
    assert set(dribbling.unreader.chunk()) == {ord("x")}  # the next request


def test_a_request_without_a_body_leaves_no_limit(dribbling: DribblingClient) -> None:
    del dribbling.environ["CONTENT_LENGTH"]
    limit_slowness(dribbling.environ, 0.0)
    assert set(dribbling.unreader.chunk()) == {ord("x")}


def periods_of(bytes_each: float, first: int = 0, most: int = 10_000) -> int:
    """Return for how many periods a client may send so much in each."""
    pace = Pace(60.0)
    pace.note(first, 0.0)
    for period in range(most):
        for _ in range(60):
            if pace.left <= 0:
                return period
            pace.note(int(bytes_each / 60), 1.0)
    return most


def test_a_held_body_must_bring_something_in_each_period() -> None:
    assert periods_of(0) == 1
    assert periods_of(LEAST_BYTES * 0.9) < 20
    assert periods_of(LEAST_BYTES * 1.1) > MOST_PERIODS


def test_a_held_body_that_came_fast_must_not_become_slow() -> None:
    gib = 2**30
    assert periods_of(LEAST_BYTES, gib) == 1
    assert 1 < periods_of(gib / MOST_PERIODS, gib) < 2 * MOST_PERIODS


def test_a_held_body_may_pause() -> None:
    pace = Pace(60.0)
    for _ in range(MOST_PERIODS):
        pace.note(100 * 2**20, 59.0)
        assert pace.left > 0
    pace.note(0, 61.0)
    assert pace.left <= 0


@pytest.mark.parametrize("error", [OSError(), ServersOwnError()])
def test_draining_never_fails(error: Exception) -> None:
    environ = {"wsgi.input": BrokenInput(b"", error), "CONTENT_LENGTH": "5"}
    assert drain(environ) is False
