"""A server on loopback that plays a script, well or badly behaved, to its end."""

from __future__ import annotations

import re
import socket
import struct
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from enum import Enum
from types import TracebackType
from typing import NamedTuple, Self
from urllib.parse import SplitResult, urlsplit

PATIENCE_SECONDS = 10.0
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)


class Act(Enum):
    """What a peer can do besides sending bytes."""

    TAKE_REQUEST = "receive a whole request"
    TAKE_HEAD = "receive a request's head, leave its body"
    STAY_SILENT = "wait until the client has closed"
    RESET = "break the connection"


Step = bytes | Act | threading.Event | Callable[[], object]
"""Bytes are sent; an event is waited for; a callable is called, to tell someone."""
TAKE_REQUEST, TAKE_HEAD = Act.TAKE_REQUEST, Act.TAKE_HEAD
STAY_SILENT, RESET = Act.STAY_SILENT, Act.RESET


class Request(NamedTuple):
    """A request as it came."""

    head: bytes
    body: bytes

    @property
    def line(self) -> str:
        """Method and path."""
        return self.head.decode("latin-1").partition(" HTTP/1.1\r\n")[0]


class Peer:
    """Takes as many connections as there are scripts, and closes each at its end.

    Connections are served at once, each by its own thread. Leaving the context fails
    if a script wasn't played to its end, or could not be played.
    """

    def __init__(self, *scripts: Sequence[Step]) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(PATIENCE_SECONDS)
        self.port: int = self._listener.getsockname()[1]
        self.requests: list[Request] = []
        self._errors: list[Exception] = []
        self._unplayed = [list(script) for script in scripts]
        self.ended = threading.Semaphore(0)
        """Is released when a connection was closed."""
        self._thread = threading.Thread(target=self._accept)
        self._is_over = threading.Event()
        self._open: list[socket.socket] = []

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def endpoint(self) -> SplitResult:
        """Where it listens, for a pool."""
        return urlsplit(self.url)

    @property
    def lines(self) -> list[str]:
        """Method and path of all requests that came."""
        return [request.line for request in self.requests]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._give_up()
        self._thread.join(PATIENCE_SECONDS)
        if kind is not None:
            return
        assert not self._errors, self._errors
        assert not any(self._unplayed), f"not played: {self._unplayed}"

    def _give_up(self) -> None:
        """Accept no connection any more, and break those that are open."""
        self._is_over.set()
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        threads = []
        with self._listener:
            self._listener.settimeout(0.05)
            for script in self._unplayed:
                connection = self._next_connection()
                if connection is None:
                    break
                self._open.append(connection)
                thread = threading.Thread(target=self._play, args=(connection, script))
                thread.start()
                threads.append(thread)
        for thread in threads:
            thread.join(PATIENCE_SECONDS)

    def _next_connection(self) -> socket.socket | None:
        for _ in range(int(PATIENCE_SECONDS / 0.05)):
            if self._is_over.is_set():
                return None
            try:
                return self._listener.accept()[0]
            except TimeoutError:
                continue
        return None

    def _play(self, connection: socket.socket, script: list[Step]) -> None:
        connection.settimeout(PATIENCE_SECONDS)
        with connection:
            try:
                while script:
                    self._act(connection, script[0])
                    script.pop(0)
            except Exception as exc:  # noqa: BLE001 - reported when the context ends
                self._errors.append(exc)
        self.ended.release()

    def _act(self, connection: socket.socket, step: Step) -> None:
        if isinstance(step, bytes):
            connection.sendall(step)
        elif step is Act.TAKE_REQUEST or step is Act.TAKE_HEAD:
            request = receive_request(connection, step is Act.TAKE_REQUEST)
            self.requests.append(request)
        elif step is Act.STAY_SILENT:
            discard_all(connection)
        elif step is Act.RESET:
            option = struct.pack("ii", 1, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, option)
        elif isinstance(step, threading.Event):
            assert step.wait(PATIENCE_SECONDS), "nobody lets it go on"
        elif callable(step):
            step()


def receive_request(connection: socket.socket, with_body: bool) -> Request:
    """Receive one request; fails if the client sends less."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += receive_exactly(connection, 1)
    found = _LENGTH.search(head)
    length = int(found[1]) if found and with_body else 0
    return Request(head, receive_exactly(connection, length))


def receive_exactly(connection: socket.socket, size: int) -> bytes:
    """Receive so many bytes; fails at the connection's end."""
    data = bytearray()
    while len(data) < size:
        more = connection.recv(min(size - len(data), 2**16))
        if not more:
            raise EOFError(f"the client closed after {len(data)} of {size} bytes")
        data += more
    return bytes(data)


def discard_all(connection: socket.socket) -> None:
    """Receive until the client has closed, or broken, the connection."""
    try:
        while connection.recv(2**16):
            pass
    except ConnectionError:
        pass


def answer(
    status: str = "200 OK", body: bytes = b"", headers: Sequence[str] = ()
) -> bytes:
    """Return an answer with a length."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


ALIVE = answer(body=b"alive", headers=["Connection: close"])


class SameAnswer:
    """A blob server that gives one answer, whatever is asked, but `/alive`."""

    def __init__(self, answer: bytes, alive: bytes = ALIVE) -> None:
        self._answer = answer
        self._alive = alive
        self.heads: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        with suppress(OSError), self._listener:
            while True:
                sock = self._listener.accept()[0]
                with sock, suppress(OSError):
                    sock.settimeout(5.0)
                    self._serve(sock)

    def _serve(self, sock: socket.socket) -> None:
        data = b""
        while b"\r\n\r\n" not in data:
            data += sock.recv(65536)
        head, _, rest = data.partition(b"\r\n\r\n")
        if head.startswith(b"GET /alive"):
            sock.sendall(self._alive)
            return
        self.heads.append(head)
        if head.startswith(b"POST"):
            length = re.search(rb"Content-Length: ([0-9]+)", head)
            while length and len(rest) < int(length[1]):
                rest += sock.recv(65536)
        sock.sendall(self._answer)
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(65536):
            pass

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(PATIENCE_SECONDS)
