"""The clients of the chaos test: they write, read, and check every answer.

Each uses all gateways, mostly one; it moves on when that one is gone.
"""

from __future__ import annotations

import http.client
import random
import socket
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress

from tests.chaos.history import ABSENT, History, Version
from tests.chaos.replies import (
    TOKEN_HEADER,
    ByteRange,
    Reply,
    delete_problem,
    read_problem,
    upload_problem,
)
from tests.chaos.tally import Tally

KIB, MIB = 2**10, 2**20
ANSWER_SECONDS = 60.0
IDLE_SECONDS = 3.0
"""Older connections are not used again: gateways close them after 5."""
PIECE_BYTES = 256 * KIB
SLOW_PIECE_SECONDS = 0.03
METHODS = {"GET": 40, "HEAD": 10, "RANGE": 10, "PUT": 28, "CHUNKED": 3, "DELETE": 9}
"""What ordinary clients do, and how often; CHUNKED is a PUT without a length."""
SLOW_METHODS = {"GET": 80, "PUT": 15, "CHUNKED": 5}


class SmallWindow(http.client.HTTPConnection):
    """Takes so little at once that a long download is always under way."""

    def connect(self) -> None:
        """See `HTTPConnection`."""
        self.sock = socket.socket()
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * KIB)
        self.sock.settimeout(self.timeout)
        self.sock.connect((self.host, self.port))


class Session:
    """One client's connections, one to each gateway."""

    def __init__(self, *, is_slow: bool = False) -> None:
        self._is_slow = is_slow
        self._open: dict[int, http.client.HTTPConnection] = {}
        self._used: dict[int, float] = {}

    def exchange(
        self,
        port: int,
        method: str,
        key: str,
        body: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply | None:
        """Send one request; None if the connection broke before the answer's end."""
        connection = self._connection(port)
        try:
            _send(connection, method, f"/object/{key}", body, headers or {})
            response = connection.getresponse()
            data = self._read(response)
        except (OSError, http.client.HTTPException):
            connection.close()
            return None
        self._used[port] = time.monotonic()
        return Reply(response.status, response.headers, data)

    def close(self) -> None:
        """Close all connections."""
        for connection in self._open.values():
            connection.close()

    def _connection(self, port: int) -> http.client.HTTPConnection:
        if port not in self._open:
            kind = SmallWindow if self._is_slow else http.client.HTTPConnection
            self._open[port] = kind("127.0.0.1", port, timeout=ANSWER_SECONDS)
        elif time.monotonic() - self._used.get(port, 0) > IDLE_SECONDS:
            self._open[port].close()
        return self._open[port]

    def _read(self, response: http.client.HTTPResponse) -> bytes:
        if not self._is_slow:
            return response.read()
        pieces = []
        while piece := response.read(PIECE_BYTES):
            pieces.append(piece)
            time.sleep(SLOW_PIECE_SECONDS)
        if response.length:
            raise http.client.IncompleteRead(b"", response.length)
        return b"".join(pieces)


def _send(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: bytes | Iterable[bytes] | None,
    headers: Mapping[str, str],
) -> None:
    """Send a request; who is answered before its end still reads the answer."""
    with suppress(BrokenPipeError, ConnectionResetError):
        connection.request(method, path, body, dict(headers))
    if connection.sock is None:
        raise ConnectionRefusedError


class Client:
    """One thread's work: random operations on its keys until it is told to stop."""

    def __init__(
        self,
        name: str,
        keys: Sequence[str],
        ports: Sequence[int],
        history: History,
        tally: Tally,
        rng: random.Random,
        *,
        is_slow: bool = False,
    ) -> None:
        self._name = name
        self._keys = keys
        self._ports = ports
        self._home = rng.choice(ports)
        self._history = history
        self._tally = tally
        self._rng = rng
        self._is_slow = is_slow
        self._session = Session(is_slow=is_slow)
        self._tokens = 0
        self._last: Reply | None = None

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set."""
        table = SLOW_METHODS if self._is_slow else METHODS
        methods, weights = list(table), list(table.values())
        try:
            while not stop.is_set():
                key = self._rng.choice(self._keys)
                self.operate(self._rng.choices(methods, weights)[0], key)
                if self._last is None or self._last.status == 503:
                    stop.wait(self._rng.uniform(0.01, 0.05))
        finally:
            self.close()

    def close(self) -> None:
        """Close its connections."""
        self._session.close()

    def operate(self, method: str, key: str) -> None:
        """Do one operation, and judge it. Keys in upper case are never deleted."""
        if method == "DELETE" and key.isupper():
            method = "PUT"
        if method == "DELETE":
            self._delete(key)
        elif method in ("PUT", "CHUNKED"):
            self._put(method, key)
        else:
            self._read(method, key)

    def _put(self, method: str, key: str) -> None:
        self._tokens += 1
        version = Version.of(f"{self._name}n{self._tokens}", self._draw_size())
        body: bytes | Iterator[bytes] = version.body()
        if method == "CHUNKED":
            body = pieces_of(version.body())
        write = self._history.begin_write(key, version)
        headers = {TOKEN_HEADER: version.token}
        reply = self._exchange(method, key, body, headers)
        if reply is not None and reply.status == 201:
            self._history.acknowledge(write)
        else:
            self._history.fail(write)
        if reply is not None:
            self._report(method, key, upload_problem(version, key, reply))

    def _delete(self, key: str) -> None:
        write = self._history.begin_write(key, ABSENT)
        reply = self._exchange("DELETE", key)
        if reply is not None and reply.status == 204:
            self._history.acknowledge(write)
        else:
            self._history.fail(write)
        if reply is not None:
            self._report("DELETE", key, delete_problem(reply))

    def _read(self, method: str, key: str) -> None:
        byte_range = self._draw_range() if method == "RANGE" else None
        headers = {"Range": str(byte_range)} if byte_range else {}
        read = self._history.begin_read(key)
        reply = self._exchange(method, key, headers=headers)
        allowed = self._history.end_read(read)
        if reply is None:
            return
        problem = read_problem(
            allowed, reply, is_head=method == "HEAD", byte_range=byte_range
        )
        trail = self._history.tell(read) if problem else ()
        self._report(method, key, problem, trail)

    def _exchange(
        self,
        method: str,
        key: str,
        body: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply | None:
        """Send a request to one of the gateways, and count it."""
        is_home = self._rng.random() < 0.8
        port = self._home if is_home else self._rng.choice(self._ports)
        verb = {"RANGE": "GET", "CHUNKED": "PUT"}.get(method, method)
        begin = time.monotonic()
        reply = self._session.exchange(port, verb, key, body, headers)
        outcome = "broken" if reply is None else str(reply.status)
        self._tally.count(method, outcome, time.monotonic() - begin)
        if reply is None:
            others = [other for other in self._ports if other != port]
            self._home = self._rng.choice(others or [port])
        self._last = reply
        return reply

    def _report(
        self, method: str, key: str, problem: str, trail: Iterable[str] = ()
    ) -> None:
        if problem:
            self._tally.note_wrong(f"{method} {key}: {problem}", trail)

    def _draw_size(self) -> int:
        if self._is_slow:
            return self._rng.randint(8 * MIB, 16 * MIB)
        limits = ((0, 0), (1, 16 * KIB), (16 * KIB, 300 * KIB), (2 * MIB, 4 * MIB))
        return self._rng.randint(*self._rng.choices(limits, (5, 70, 22, 3))[0])

    def _draw_range(self) -> ByteRange:
        first = self._rng.choice((0, 1, self._rng.randint(0, 40 * KIB), None))
        last = self._rng.choice((0, 99, 20 * KIB))
        if first is None:
            return ByteRange(None, last + 1)
        return ByteRange(first, self._rng.choice((None, first + last)))


def pieces_of(data: bytes) -> Iterator[bytes]:
    """Yield it piece by piece, none of them empty."""
    for start in range(0, len(data), PIECE_BYTES):
        yield data[start : start + PIECE_BYTES]
