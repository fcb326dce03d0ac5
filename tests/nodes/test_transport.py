"""What our HTTP/1.1 connection accepts, and that it accepts nothing else."""

from __future__ import annotations

import fcntl
import resource
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from amazin.errors import (
    NodeError,
    NodeProtocolError,
    NodeTimeoutError,
    NodeUnreachableError,
)
from amazin.model.objects import CHUNK_BYTES
from amazin.nodes.transport.connection import (
    HEAD_BYTES,
    MAX_INTERIM_RESPONSES,
    Connection,
    NoAnswerError,
)
from amazin.nodes.transport.pool import (
    IDLE_SECONDS,
    MAX_IDLE_CONNECTIONS,
    ConnectionPool,
)
from amazin.nodes.transport.response import (
    CHUNKS_AT_ONCE,
    MAX_FIELDS,
    SMALL_BYTES,
    Response,
    parse_head,
)
from tests.support.examples import examples
from tests.support.paths import PROJECT
from tests.support.peers import RESET, STAY_SILENT, TAKE_REQUEST, Peer, Step, answer

ASK = b"GET / HTTP/1.1\r\nHost: peer\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
SECONDS = 5.0


@contextmanager
def pool_of(peer: Peer) -> Iterator[ConnectionPool]:
    with closing(ConnectionPool(peer.endpoint, SECONDS)) as pool:
        yield pool


def ask(
    pool: ConnectionPool, method: str = "GET", seconds: float = SECONDS
) -> Response:
    connection = pool.take()
    response = Response(connection, method, pool.give_back)
    try:
        connection.send(ASK, SECONDS)
        response.receive_head(time.monotonic() + seconds)
    except BaseException:
        response.close()
        raise
    return response


def fetch(data: bytes, method: str = "GET") -> tuple[int, bytes]:
    """Return status and body of what a peer sends before it closes."""
    return fetch_played([data], method)


def fetch_played(steps: Sequence[Step], method: str = "GET") -> tuple[int, bytes]:
    with Peer([TAKE_REQUEST, *steps]) as peer, pool_of(peer) as pool:
        response = ask(pool, method)
        return response.status, response.read_all(SECONDS, 2**30)


def receive(data: bytes, method: str = "GET") -> tuple[int, bytes, bool]:
    """Feed bytes without a thread: status, body, and whether the end can be trusted."""
    ours, theirs = socket.socketpair()
    theirs.sendall(data)
    theirs.close()
    with closing(Connection(ours)) as connection:
        response = Response(connection, method, lambda connection: None)
        response.receive_head(time.monotonic() + SECONDS)
        is_delimited = response.is_delimited
        return response.status, response.read_all(SECONDS, 2**30), is_delimited


# Good answers.


@pytest.mark.parametrize(
    ("data", "body"),
    [
        (answer(body=b"hello"), b"hello"),
        (answer(body=b""), b""),
        (b"HTTP/1.1 200\r\ncontent-LENGTH:\t2 \t\r\n\r\nhi", b"hi"),
        (b"HTTP/1.1 200 \xe9t\xe9\r\nContent-Length: 2\r\n\r\nhi", b"hi"),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil close", b"until close"),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", b"hi"),
        (CHUNKED + b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
        (CHUNKED + b"1\r\nh\r\n0004;a=b\r\nello\r\n0\r\n\r\n", b"hello"),
        (
            CHUNKED + b"A \r\n0123456789\r\n000\r\nX-Sum: 1\r\nY: 2\r\n\r\n",
            b"0123456789",
        ),
        (CHUNKED + b"0\r\n\r\n", b""),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + answer(body=b"x"), b"x"),
        (b"HTTP/1.1 103 Hints\r\nLink: <a>\r\n\r\n" * 3 + answer(body=b"x"), b"x"),
    ],
)
def test_reads_every_kind_of_body(data: bytes, body: bytes) -> None:
    assert fetch(data) == (200, body)


@pytest.mark.parametrize(
    ("method", "data", "status"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n", 200),
        ("HEAD", CHUNKED, 200),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", 204),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n", 304),
    ],
)
def test_some_answers_have_no_body_and_keep_the_connection(
    method: str, data: bytes, status: int
) -> None:
    with (
        Peer([TAKE_REQUEST, data, TAKE_REQUEST, answer()]) as peer,
        pool_of(peer) as pool,
    ):
        response = ask(pool, method)
        assert (response.status, response.read(SECONDS)) == (status, b"")
        assert ask(pool).status == 200


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_pieces_may_be_cut_anywhere(size: int) -> None:
    data = (
        b"HTTP/1.1 100 Continue\r\n\r\n" + CHUNKED + b"5\r\nhello\r\n"
        b"B;x\r\n \r\n0\r\n\r\nend\r\n0\r\nTrailer: 1\r\n\r\n"
    )
    ours, theirs = socket.socketpair()
    with closing(theirs), closing(Connection(ours)) as connection:
        response = Response(connection, "GET", lambda connection: None)
        pieces = [data[at : at + size] for at in range(0, len(data), size)]
        sender = threading.Thread(target=lambda: [*map(theirs.sendall, pieces)])
        sender.start()
        response.receive_head(time.monotonic() + SECONDS)
        assert response.read_all(SECONDS) == b"hello \r\n0\r\n\r\nend"
        sender.join(SECONDS)


def test_headers_of_one_name_are_joined() -> None:
    head = b"HTTP/1.1 200 OK\r\nVary: a\r\nX:\r\nvary:b\r\nY: \xfc\r\nServer: s p "
    headers = {"vary": "a, b", "x": "", "y": "ü", "server": "s p"}
    assert parse_head(head) == (1, 200, headers)


def test_a_large_body_comes_in_pieces() -> None:
    body = bytes(3 * CHUNK_BYTES + 17)
    steps = [TAKE_REQUEST, answer(body=body)]
    with Peer(steps) as peer, pool_of(peer) as pool:
        response = ask(pool)
        sizes = []
        while piece := response.read(SECONDS):
            sizes.append(len(piece))
        assert sum(sizes) == len(body)
        assert max(sizes) <= CHUNK_BYTES


def pieces_of(chunks: bytes) -> list[bytes]:
    """Return what the reads of a chunked body give, all of which has arrived."""
    ours, theirs = socket.socketpair()
    with closing(Connection(ours)) as connection:
        sender = threading.Thread(target=theirs.sendall, args=(CHUNKED + chunks,))
        sender.start()
        response = Response(connection, "GET", lambda connection: None)
        response.receive_head(time.monotonic() + SECONDS)
        pieces = list(iter(lambda: response.read(SECONDS), b""))
        sender.join(SECONDS)
    theirs.close()
    return pieces


def test_small_chunks_come_many_at_a_time() -> None:
    """Each piece becomes a system call for the client."""
    count = 20_000
    pieces = pieces_of(b"1\r\nx\r\n" * count + b"0\r\n\r\n")
    assert b"".join(pieces) == b"x" * count
    assert len(pieces) < 2 * count / CHUNKS_AT_ONCE + 20


def test_large_chunks_come_as_they_are() -> None:
    chunk = b"%x\r\n%b\r\n" % (SMALL_BYTES, bytes(SMALL_BYTES))
    pieces = pieces_of(3 * chunk + b"0\r\n\r\n")
    assert b"".join(pieces) == bytes(3 * SMALL_BYTES)


class OneByteSocket(socket.socket):
    """Receives a byte at a time."""

    def recv(self, size: int, flags: int = 0) -> bytes:
        return super().recv(1, flags)


def test_a_head_that_comes_by_the_byte_is_searched_once() -> None:
    head = b"HTTP/1.1 200 OK\r\nA: " + b"a" * (HEAD_BYTES - 200)
    ours, theirs = socket.socketpair()
    slow = OneByteSocket(fileno=ours.detach())
    with closing(theirs), closing(Connection(slow)) as connection:
        theirs.sendall(head + b"\r\n\r\nrest")
        found = connection.receive_until(b"\r\n\r\n", time.monotonic() + SECONDS)
        assert found == head
        assert connection.receive(time.monotonic() + SECONDS) == b"r"


# Malformed answers.

BAD_HEADS = {
    "other protocol": b"SSH-2.0-OpenSSH_9.2",
    "HTTP/2": b"HTTP/2 200 OK",
    "HTTP/1.2": b"HTTP/1.2 200 OK",
    "lower case": b"http/1.1 200 OK",
    "two digits": b"HTTP/1.1 20 OK",
    "four digits": b"HTTP/1.1 2000 OK",
    "status 0xx": b"HTTP/1.1 099 OK",
    "unicode digits": "HTTP/1.1 ٢٠٠ OK".encode(),
    "two spaces": b"HTTP/1.1  200 OK",
    "no status": b"HTTP/1.1",
    "control in reason": b"HTTP/1.1 200 O\x00K",
    "return in reason": b"HTTP/1.1 200 O\rK",
    "empty line first": b"\r\nHTTP/1.1 200 OK",
    "bare LF": b"HTTP/1.1 200 OK\nContent-Length: 0",
    "bare LF in value": b"HTTP/1.1 200 OK\r\nA: b\nContent-Length: 0",
    "bare CR in value": b"HTTP/1.1 200 OK\r\nA: b\rContent-Length: 0",
    "folded line": b"HTTP/1.1 200 OK\r\nA: b\r\n c",
    "space before colon": b"HTTP/1.1 200 OK\r\nContent-Length : 0",
    "space before name": b"HTTP/1.1 200 OK\r\n Content-Length: 0",
    "no colon": b"HTTP/1.1 200 OK\r\nContent-Length",
    "no name": b"HTTP/1.1 200 OK\r\n: 0",
    "name with bytes": b"HTTP/1.1 200 OK\r\nN\xe4me: 0",
    "NUL in value": b"HTTP/1.1 200 OK\r\nA: \x00",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2",
    "a length twice": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1",
    "two ETags": b'HTTP/1.1 200 OK\r\nETag: "a"\r\nETag: "b"',
    "list of lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1, 1",
    "negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -1",
    "signed length": b"HTTP/1.1 200 OK\r\nContent-Length: +1",
    "hex length": b"HTTP/1.1 200 OK\r\nContent-Length: 0x1",
    "empty length": b"HTTP/1.1 200 OK\r\nContent-Length:",
    "unicode length": b"HTTP/1.1 200 OK\r\nContent-Length: \xb2",
    "endless length": b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000,
    "length and chunked": CHUNKED[:-4] + b"\r\nContent-Length: 5",
    "length 0 and chunked": CHUNKED[:-4] + b"\r\nContent-Length: 0",
    "chunked twice": CHUNKED[:-4] + b"\r\nTransfer-Encoding: chunked",
    "gzip": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip",
    "gzip, chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked",
    "identity": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity",
    "empty coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding:",
    "chunked in 1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked",
    "101": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c",
    "too long": b"HTTP/1.1 200 OK\r\nA: " + b"a" * HEAD_BYTES,
    "too many headers": b"HTTP/1.1 200 OK" + b"\r\nA:" * (MAX_FIELDS + 1),
}


@pytest.mark.parametrize("head", BAD_HEADS.values(), ids=BAD_HEADS)
def test_refuses_a_malformed_head(head: bytes) -> None:
    with pytest.raises(NodeProtocolError):
        receive(head + b"\r\n\r\n" + b"0\r\n\r\n")


def test_refuses_a_head_without_end() -> None:
    endless = b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 20_000
    with pytest.raises(NodeProtocolError, match="too long"):
        fetch_played([endless[: HEAD_BYTES + 10], STAY_SILENT])


def test_refuses_endless_interim_answers() -> None:
    interim = b"HTTP/1.1 102 Processing\r\n\r\n" * MAX_INTERIM_RESPONSES
    with pytest.raises(NodeProtocolError, match="interim"):
        receive(interim + answer())


def test_refuses_endless_interim_answers_to_an_upload() -> None:
    ours, theirs = socket.socketpair()
    with closing(theirs), closing(Connection(ours)) as connection:
        theirs.sendall(b"HTTP/1.1 102 Processing\r\n\r\n" * MAX_INTERIM_RESPONSES)
        assert connection.has_input()
        with pytest.raises(NodeProtocolError, match="interim"):
            connection.skip_interim(SECONDS)


BAD_CHUNKS = {
    "no size": b"\r\nhello\r\n0\r\n\r\n",
    "no hex": b"g\r\nhello\r\n0\r\n\r\n",
    "negative": b"-5\r\nhello\r\n0\r\n\r\n",
    "0x": b"0x5\r\nhello\r\n0\r\n\r\n",
    "space before": b" 5\r\nhello\r\n0\r\n\r\n",
    "underscore": b"0_5\r\nhello\r\n0\r\n\r\n",
    "too large": b"f" * 16 + b"\r\nhello\r\n0\r\n\r\n",
    "bare LF": b"5\nhello\n0\n\n",
    "longer than said": b"4\r\nhello\r\n0\r\n\r\n",
    "shorter than said": b"6\r\nhello\r\n0\r\n\r\n",
    "no CRLF behind": b"5\r\nhello0\r\n\r\n",
    "LF behind": b"5\r\nhello\n0\r\n\r\n",
    "control in extension": b"5;\x00\r\nhello\r\n0\r\n\r\n",
    "long extension": b"5;" + b"a" * HEAD_BYTES + b"\r\nhello\r\n0\r\n\r\n",
    "bad trailer": b"5\r\nhello\r\n0\r\nno trailer\r\n\r\n",
    "folded trailer": b"5\r\nhello\r\n0\r\nA: b\r\n c\r\n\r\n",
    "many trailers": b"5\r\nhello\r\n0\r\n" + b"A: b\r\n" * MAX_FIELDS + b"\r\n",
    "no last chunk": b"5\r\nhello\r\n",
}


@pytest.mark.parametrize("chunks", BAD_CHUNKS.values(), ids=BAD_CHUNKS)
def test_refuses_malformed_chunks(chunks: bytes) -> None:
    with pytest.raises(NodeProtocolError):
        receive(CHUNKED + chunks)


WHOLE = {
    "length": answer(body=b"hello"),
    "chunked": CHUNKED + b"3\r\nhel\r\n2;a\r\nlo\r\n0\r\nA: b\r\n\r\n",
    "interim": b"HTTP/1.1 100 Continue\r\n\r\n" + answer(body=b"hello"),
}


@pytest.mark.parametrize("data", WHOLE.values(), ids=WHOLE)
@pytest.mark.parametrize("end", [(), (RESET,)], ids=["closed", "reset"])
def test_a_cut_at_any_byte_is_an_error(data: bytes, end: tuple[Step, ...]) -> None:
    for length in range(len(data)):
        with pytest.raises(NodeError) as caught:
            fetch_played([data[:length], *end] if length else [*end])
        if not end:  # a reset may overtake the bytes
            assert isinstance(caught.value, NoAnswerError) == (length == 0)


def test_an_end_in_the_middle_is_never_no_answer() -> None:
    """Who sees `NoAnswerError` may send the request again."""
    for data in (b"HTTP/1.1 100 Continue\r\n\r\n", CHUNKED, CHUNKED + b"1\r\na\r\n"):
        with pytest.raises(NodeProtocolError):
            fetch(data)


# Reuse.


def test_a_connection_is_used_again() -> None:
    steps = [TAKE_REQUEST, answer(body=b"one"), TAKE_REQUEST, CHUNKED + b"0\r\n\r\n"]
    with (
        Peer([*steps, TAKE_REQUEST, answer(body=b"three")]) as peer,
        pool_of(peer) as pool,
    ):
        assert [ask(pool).read_all(SECONDS) for _ in range(3)] == [
            b"one",
            b"",
            b"three",
        ]


@pytest.mark.parametrize(
    "first",
    [
        answer(headers=["Connection: close"]),
        answer(headers=["connection: Close, x"]),
        b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n",
        answer(body=b"") + b"surplus",
        answer(body=b"x") + answer(body=b"y"),
        CHUNKED + b"0\r\n\r\n\r\n",
    ],
)
def test_a_doubtful_connection_is_not_used_again(first: bytes) -> None:
    with (
        Peer([TAKE_REQUEST, first, STAY_SILENT], [TAKE_REQUEST, answer()]) as peer,
        pool_of(peer) as pool,
    ):
        ask(pool).read_all(SECONDS)
        assert ask(pool).read_all(SECONDS) == b""


def test_what_comes_late_is_not_the_next_answer() -> None:
    asked, sent = threading.Event(), threading.Event()
    late = [asked.wait, answer(body=b"smuggled"), sent.set, STAY_SILENT]
    scripts = [TAKE_REQUEST, answer(), *late], [TAKE_REQUEST, answer(body=b"right")]
    with Peer(*scripts) as peer, pool_of(peer) as pool:
        ask(pool)
        asked.set()
        assert sent.wait(SECONDS)
        assert ask(pool).read_all(SECONDS) == b"right"


def test_an_unread_body_ends_the_connection() -> None:
    first = [TAKE_REQUEST, answer(body=b"hello"), STAY_SILENT]
    with Peer(first, [TAKE_REQUEST, answer()]) as peer, pool_of(peer) as pool:
        response = ask(pool)
        response.close()
        response.close()
        assert response.read(SECONDS) == b""
        assert ask(pool).status == 200


def test_closing_a_finished_answer_leaves_the_connection_to_others() -> None:
    steps = [TAKE_REQUEST, answer(), TAKE_REQUEST, answer()]
    with Peer(steps) as peer, pool_of(peer) as pool:
        first = ask(pool)
        connection = pool.take()
        first.close()
        pool.give_back(connection)
        assert ask(pool).status == 200


def test_old_and_too_many_idle_connections_are_dropped() -> None:
    pool = ConnectionPool(urlsplit("http://127.0.0.1:1"), SECONDS)
    pairs = [socket.socketpair() for _ in range(MAX_IDLE_CONNECTIONS + 1)]
    for ours, _ in pairs:
        pool.give_back(Connection(ours))
    assert [theirs for _, theirs in pairs if is_closed(theirs)] == [pairs[-1][1]]
    connection = pool.take()
    connection.idle_since -= IDLE_SECONDS + 1
    pool.clear()
    pool.give_back(connection)
    connection.idle_since -= IDLE_SECONDS + 1
    with pytest.raises(NodeUnreachableError):
        pool.take()
    pool.close()
    for _, theirs in pairs:
        assert is_closed(theirs)
        theirs.close()


def test_what_nobody_takes_for_long_is_closed_though_others_are_used() -> None:
    pool = ConnectionPool(urlsplit("http://127.0.0.1:1"), SECONDS)
    pairs = [socket.socketpair() for _ in range(5)]
    for ours, _ in pairs:
        pool.give_back(Connection(ours))
    taken = [pool.take() for _ in pairs]
    for connection in reversed(taken):
        pool.give_back(connection)
    for connection in taken[2:]:
        connection.idle_since -= IDLE_SECONDS + 1
    pool.give_back(pool.take())
    assert [is_closed(theirs) for _, theirs in pairs] == [True] * 3 + [False] * 2
    pool.close()
    for _, theirs in pairs:
        theirs.close()


def is_closed(sock: socket.socket) -> bool:
    sock.setblocking(False)
    try:
        return sock.recv(1) == b""
    except BlockingIOError:
        return False


def test_a_closed_pool_keeps_nothing() -> None:
    with Peer([TAKE_REQUEST, answer(), STAY_SILENT]) as peer, pool_of(peer) as pool:
        connection = pool.take()
        pool.close()
        connection.send(ASK, SECONDS)
        response = Response(connection, "GET", pool.give_back)
        response.receive_head(time.monotonic() + SECONDS)


# Time.


def test_silence_ends_at_the_deadline() -> None:
    with Peer([TAKE_REQUEST, STAY_SILENT]) as peer, pool_of(peer) as pool:
        started = time.monotonic()
        with pytest.raises(NodeTimeoutError):
            ask(pool, seconds=0.1)
        assert 0.1 <= time.monotonic() - started < 1


def test_a_small_body_that_never_pauses_ends_at_the_deadline() -> None:
    """What is there is taken after a deadline, too; but not for ever."""
    ours, theirs = socket.socketpair()
    with closing(theirs), closing(Connection(ours)) as connection:
        theirs.sendall(CHUNKED + b"1\r\nx\r\n" * 9)
        assert connection.wait_readable(SECONDS)
        response = Response(connection, "GET", lambda connection: None)
        response.receive_head(time.monotonic() + SECONDS)
        with pytest.raises(NodeTimeoutError, match="took"):
            response.read_all(0)


def test_what_came_in_time_can_be_fetched_after_the_deadline() -> None:
    ours, theirs = socket.socketpair()
    with closing(theirs), closing(Connection(ours)) as connection:
        past = time.monotonic() - 1
        with pytest.raises(NodeTimeoutError):
            connection.receive(past)
        theirs.sendall(b"hello")
        assert connection.receive(past) == b"hello"
        with pytest.raises(NodeTimeoutError):
            connection.receive(past)
        theirs.shutdown(socket.SHUT_WR)
        assert connection.receive(past) == b""


# Whether something has come.


def test_silence_is_not_readable() -> None:
    ours, theirs = socket.socketpair()
    with closing(theirs), closing(Connection(ours)) as connection:
        assert not connection.wait_readable(0)
        assert not connection.wait_readable(-1)
        started = time.monotonic()
        assert not connection.wait_readable(0.1)
        assert 0.1 <= time.monotonic() - started < 1


def test_what_comes_is_readable_and_stays() -> None:
    ours, theirs = socket.socketpair()
    with closing(theirs), closing(Connection(ours)) as connection:
        sender = threading.Timer(0.05, theirs.sendall, (b"hello",))
        sender.start()
        for seconds in (SECONDS, SECONDS, 0):
            assert connection.wait_readable(seconds)
        sender.join(SECONDS)
        assert connection.receive(time.monotonic() + SECONDS) == b"hello"
        assert not connection.wait_readable(0)


def test_what_was_not_read_is_readable() -> None:
    ours, theirs = socket.socketpair()
    with closing(theirs), closing(Connection(ours)) as connection:
        theirs.sendall(b"a line\r\nhello")
        assert (
            connection.receive_until(b"\r\n", time.monotonic() + SECONDS) == b"a line"
        )
        assert connection.wait_readable(0)
        assert connection.receive(time.monotonic(), 2) == b"he"
        assert connection.wait_readable(SECONDS)
        assert connection.receive(time.monotonic()) == b"llo"
        assert not connection.wait_readable(0)


@pytest.mark.parametrize("end", [[], [RESET]], ids=["closed", "reset"])
def test_an_end_is_readable(end: list[Step]) -> None:
    with Peer([TAKE_REQUEST, *end]) as peer, pool_of(peer) as pool:
        connection = pool.take()
        connection.send(ASK, SECONDS)
        for seconds in (SECONDS, SECONDS, 0):
            assert connection.wait_readable(seconds)
        with pytest.raises(NoAnswerError):
            connection.await_answer(time.monotonic() + SECONDS)
        connection.close()


def test_many_open_files_are_no_obstacle() -> None:
    """`select` would refuse a descriptor above 1023."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 1200:
        pytest.skip("too few files may be opened")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 1200), hard))
    ours, theirs = socket.socketpair()
    high = socket.socket(fileno=fcntl.fcntl(ours, fcntl.F_DUPFD, 1100))
    try:
        with closing(ours), closing(theirs), closing(Connection(high)) as connection:
            assert not connection.wait_readable(0.01)
            theirs.sendall(b"x")
            assert connection.wait_readable(SECONDS)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


UNDER_GEVENT = """
from gevent import monkey; monkey.patch_all()
import gevent, socket, time
from amazin.nodes.transport.response import Connection

ours, theirs = socket.socketpair()
connection, ticks = Connection(ours), []

def tick():
    while True:
        ticks.append(time.monotonic())
        gevent.sleep(0.01)

ticker = gevent.spawn(tick)
assert not connection.wait_readable(0)
assert not connection.wait_readable(0.3)
gevent.spawn_later(0.1, theirs.sendall, b"x")
assert connection.wait_readable(10)
assert connection.wait_readable(0)
assert connection.receive(time.monotonic()) == b"x"
assert len(ticks) > 15, ticks
"""


def test_under_gevent_waiting_stops_nobody() -> None:
    command = [sys.executable, "-c", UNDER_GEVENT]
    subprocess.run(command, check=True, cwd=PROJECT, timeout=30)


FLOODED_UNDER_GEVENT = """
from gevent import monkey; monkey.patch_all()
import gevent, socket, sys, time
from amazin.nodes.transport.response import Connection, Response

data = sys.stdin.buffer.read()
ours, theirs = socket.socketpair()
gevent.spawn(theirs.sendall, data)
response, turns = Response(Connection(ours), "GET", lambda connection: None), []

def take_turns():
    while True:
        turns.append(1)
        gevent.sleep(0)

gevent.spawn(take_turns)
response.receive_head(time.monotonic() + 10)
count = len(turns)
assert response.read_all(10) == b"x" * 20_000
print(len(turns) - count)
"""


def test_under_gevent_a_flood_of_small_chunks_stops_nobody() -> None:
    data = CHUNKED + b"1\r\nx\r\n" * 20_000 + b"0\r\n\r\n"
    command = [sys.executable, "-c", FLOODED_UNDER_GEVENT]
    done = subprocess.run(
        command, input=data, check=True, cwd=PROJECT, timeout=30, capture_output=True
    )
    assert int(done.stdout) >= 20_000 / CHUNKS_AT_ONCE


@contextmanager
def dribbling(first: bytes, data: bytes) -> Iterator[Connection]:
    ours, theirs = socket.socketpair()
    stop = threading.Event()

    def play() -> None:
        theirs.sendall(first)
        for at in range(len(data)):
            if stop.wait(0.02):
                return
            theirs.sendall(data[at : at + 1])

    thread = threading.Thread(target=play)
    thread.start()
    with closing(Connection(ours)) as connection:
        yield connection
        stop.set()
        thread.join(SECONDS)
    theirs.close()


def test_a_head_that_dribbles_ends_at_the_deadline() -> None:
    with dribbling(b"", b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 1000) as connection:
        response = Response(connection, "GET", lambda connection: None)
        started = time.monotonic()
        with pytest.raises(NodeTimeoutError):
            response.receive_head(started + 0.2)
        assert time.monotonic() - started < 1


@pytest.mark.parametrize(
    ("first", "rest"),
    [
        (answer(body=b"")[:-5] + b"9999\r\n\r\n", b"x" * 9999),
        (CHUNKED, b"1\r\nx\r\n" * 1000),
        (CHUNKED, b"0\r\n" + b"A: b\r\n" * 1000),
    ],
)
def test_a_small_body_that_dribbles_ends_at_the_deadline(
    first: bytes, rest: bytes
) -> None:
    with dribbling(first, rest) as connection:
        response = Response(connection, "GET", lambda connection: None)
        response.receive_head(time.monotonic() + SECONDS)
        started = time.monotonic()
        with pytest.raises(NodeTimeoutError):
            response.read_all(0.2)
        assert time.monotonic() - started < 1


def test_a_late_head_can_be_waited_for_again() -> None:
    go, data = threading.Event(), answer(body=b"late")
    steps = [TAKE_REQUEST, data[:20], go.wait, data[20:]]
    with Peer(steps) as peer, pool_of(peer) as pool:
        connection = pool.take()
        connection.send(ASK, SECONDS)
        response = Response(connection, "GET", pool.give_back)
        for _ in range(2):
            with pytest.raises(NodeTimeoutError):
                response.receive_head(time.monotonic() + 0.05)
        go.set()
        response.receive_head(time.monotonic() + SECONDS)
        assert response.read_all(SECONDS) == b"late"


def test_a_peer_that_takes_nothing_ends_at_the_deadline() -> None:
    ours, theirs = socket.socketpair()
    with (
        closing(theirs),
        closing(Connection(ours)) as connection,
        pytest.raises(NodeTimeoutError),
    ):
        connection.send(bytes(2**24), 0.1)


# Connecting.


@pytest.mark.parametrize("host", ["127.0.0.1:1", "a" * 64 + ".invalid", "a..b"])
def test_no_connection_is_unreachable(host: str) -> None:
    pool = ConnectionPool(urlsplit(f"http://{host}"), 1.0)
    with pytest.raises(NodeUnreachableError):
        pool.take()


def test_a_peer_without_tls_is_unreachable_by_https() -> None:
    with Peer([b"HTTP/1.1 400 Bad Request\r\n\r\n"]) as peer:
        pool = ConnectionPool(urlsplit(f"https://127.0.0.1:{peer.port}"), 1.0)
        with pytest.raises(NodeUnreachableError):
            pool.take()


@pytest.fixture
def tls_pair(tmp_path: Path) -> Iterator[tuple[Connection, ssl.SSLSocket]]:
    """The two ends of an encrypted connection."""
    key, certificate = tmp_path / "key", tmp_path / "certificate"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=node"
    try:
        subprocess.run(
            [*command.split(), "-keyout", key, "-out", certificate],
            check=True,
            capture_output=True,
            timeout=60,
        )
    except FileNotFoundError:
        pytest.skip("no openssl to make a certificate with")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)
    client = ssl.create_default_context(cafile=certificate)
    client.check_hostname = False
    ours, theirs = socket.socketpair()
    ends: list[ssl.SSLSocket] = []
    thread = threading.Thread(
        target=lambda: ends.append(server.wrap_socket(theirs, server_side=True))
    )
    thread.start()
    with closing(Connection(client.wrap_socket(ours))) as connection:
        thread.join(SECONDS)
        with ends[0] as end:
            yield connection, end


def test_input_is_seen_under_tls_and_not_lost(
    tls_pair: tuple[Connection, ssl.SSLSocket],
) -> None:
    connection, end = tls_pair
    assert not connection.has_input()
    end.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
    assert connection.has_input()
    response = Response(connection, "GET", lambda connection: None)
    response.receive_head(time.monotonic() + SECONDS)
    assert response.read_all(SECONDS) == b"hi"
    assert not connection.has_input()
    end.close()
    assert connection.has_input()


def test_waiting_under_tls(tls_pair: tuple[Connection, ssl.SSLSocket]) -> None:
    """The server's session tickets are readable, but nothing to read."""
    connection, end = tls_pair
    started = time.monotonic()
    assert not connection.wait_readable(0.1)
    assert 0.1 <= time.monotonic() - started < 1
    with pytest.raises(NodeTimeoutError):
        connection.receive(started)
    end.sendall(b"hello")
    assert connection.wait_readable(SECONDS)
    for seconds in (SECONDS, 0):
        assert connection.wait_readable(seconds)
    assert connection.receive(time.monotonic() + SECONDS) == b"hello"
    assert not connection.wait_readable(0)
    end.close()
    assert connection.wait_readable(SECONDS)


# Anything at all.

TOKENS = (
    *(b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 ", b"HTTP/1.1 100 C\r\n\r\n", b"206 x\r\n"),
    *(b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"ETag: x\r\n"),
    *(b"Connection: close\r\n", b"\r\n", b"\n", b"5\r\nhello\r\n", b"0\r\n\r\n"),
    *(b"hello", b"0", b"\x00", b" ", b":", b";", b"\xff", b"-", b"HTTP/1.1 304 N\r\n"),
)
SOUP = st.lists(st.sampled_from(TOKENS) | st.binary(max_size=3)).map(b"".join)
METHODS = st.sampled_from(["GET", "HEAD", "PUT"])


@settings(max_examples=examples(4))
@given(SOUP | st.binary(), METHODS)
@example(b"", "GET")
def test_anything_is_an_answer_or_an_error(data: bytes, method: str) -> None:
    try:
        status, body, is_delimited = receive(data, method)
    except NodeError:
        return
    assert 200 <= status <= 999
    if not is_delimited:
        assert data.endswith(body)


@settings(max_examples=examples(4))
@given(st.binary() | SOUP)
def test_any_head_is_parsed_or_refused(head: bytes) -> None:
    try:
        _, _, headers = parse_head(head)
    except NodeProtocolError:
        return
    for name, value in headers.items():
        assert name == name.lower().strip()
        assert not set("\r\n\x00") & set(name + value)


@settings(max_examples=examples(4))
@given(
    st.sampled_from(sorted(WHOLE)),
    st.integers(min_value=0),
    st.integers(min_value=0),
    st.binary(max_size=4),
)
def test_a_changed_answer_is_never_a_wrong_whole_body(
    kind: str, start: int, length: int, inserted: bytes
) -> None:
    """A body that is accepted is what the changed bytes say, not a part of it."""
    data = WHOLE[kind]
    start %= len(data)
    changed = data[:start] + inserted + data[start + length % 4 :]
    try:
        _, body, is_delimited = receive(changed)
    except NodeError:
        return
    if is_delimited:
        assert body == by_the_book(changed)


def by_the_book(data: bytes) -> bytes:
    """Another reading of an answer that was accepted: slow and simple."""
    while True:
        head, _, rest = data.partition(b"\r\n\r\n")
        status = int(head.split(b" ")[1][:3])
        if status >= 200:
            break
        data = rest
    fields = dict(line.split(b":", 1) for line in head.lower().split(b"\r\n")[1:])
    if status in (204, 304):
        return b""
    if b"transfer-encoding" not in fields:
        length = int(fields[b"content-length"])
        assert len(rest) >= length
        return rest[:length]
    body = b""
    while True:
        line, _, rest = rest.partition(b"\r\n")
        size = int(line.split(b";")[0], 16)
        if not size:
            assert rest == b"\r\n" or b"\r\n\r\n" in rest or rest.startswith(b"\r\n")
            return body
        body += rest[:size]
        assert rest[size : size + 2] == b"\r\n"
        rest = rest[size + 2 :]
