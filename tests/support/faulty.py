"""Proxies in front of storage servers that fail as they are told to.

One fault is a short function: it has the request's head, and may pass the request on,
send as much of the answer as it likes, and break, close or hold the connection.
"""

from __future__ import annotations

import re
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol, Self

from tests.support.memory_s3 import Answer, Request, answer, error
from tests.support.ports import free_port

PATIENCE_SECONDS = 10.0
PIECE_BYTES = 2**16
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
OBJECTS = frozenset(("GET", "PUT", "HEAD", "DELETE"))
KINDS = OBJECTS | {"list"}


class Backend(Protocol):
    """What stands behind a proxy."""

    def exchange(self, request: Request, body: Iterable[bytes]) -> Answer:
        """Answer a request; what `body` raises goes through, nothing is stored."""


class Server:
    """A real server behind a proxy."""

    def __init__(self, port: int) -> None:
        self._port = port

    def exchange(self, request: Request, body: Iterable[bytes]) -> Answer:
        """See `Backend`."""
        line, _, fields = request.head.partition(b"\r\n")
        with socket.create_connection(("127.0.0.1", self._port)) as sock:
            sock.settimeout(PATIENCE_SECONDS)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            sock.sendall(line + b"\r\nConnection: close\r\n" + fields)
            for piece in body:
                sock.sendall(piece)
            raw = b"".join(iter(lambda: sock.recv(PIECE_BYTES), b""))
        head, mark, rest = raw.partition(b"\r\n\r\n")
        head = head.replace(b"\r\nConnection: close", b"")
        return Answer(head + mark, rest)


class Broken(Exception):  # noqa: N818
    """The connection is over."""


class Exchange:
    """One request on its way through a proxy: what a fault can act on."""

    def __init__(
        self, proxy: FaultyProxy, sock: socket.socket, request: Request, rest: bytes
    ) -> None:
        self.request = request
        self.unread = rest
        """Received behind the request's head."""
        self._proxy = proxy
        self._socket = sock
        self._missing = request.length

    def forward(self, cut: int | None = None) -> Answer:
        """Pass the request on; with `cut` the client is broken off so early."""
        return self._proxy.backend.exchange(self.request, self._body(cut))

    def _body(self, cut: int | None) -> Iterator[bytes]:
        left = self._missing if cut is None else cut
        while left:
            limit = min(left, PIECE_BYTES)
            piece, self.unread = self.unread[:limit], self.unread[limit:]
            piece = piece or self._socket.recv(limit)
            if not piece:
                raise Broken
            left -= len(piece)
            self._missing -= len(piece)
            yield piece
        if cut is not None:
            self.reset()

    def take_body(self) -> None:
        """Receive what a client sends, for nobody."""
        for _ in self._body(None):
            pass

    def send(self, data: bytes) -> None:
        """Send bytes to the client."""
        self._socket.sendall(data)

    def reset(self) -> None:
        """Break the connection."""
        option = _RESET_ON_CLOSE
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, option)
        raise Broken

    def close(self) -> None:
        """End the connection in good order."""
        raise Broken

    def stall(self) -> None:
        """Say nothing until the client has closed."""
        self._socket.settimeout(PATIENCE_SECONDS)
        while self._socket.recv(PIECE_BYTES):
            pass
        raise Broken

    def pause(self, seconds: float) -> None:
        """Let time go by."""
        self._proxy.is_over.wait(seconds)


Act = Callable[[Exchange], object]


@dataclass(frozen=True)
class Fault:
    """What goes wrong, and with which kinds of requests it can."""

    name: str
    act: Act
    kinds: frozenset[str] = KINDS
    is_slow: bool = False
    """Whether a time limit has to end it, which had better be short."""
    is_harmless: bool = False
    """Whether nobody should notice."""

    def __str__(self) -> str:
        return self.name.replace(" ", "-")


class FaultyProxy:
    """Listens on a port of its own; a thread for each connection."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.port = free_port()
        self.is_over = threading.Event()
        self.hits = 0
        """How many requests met a fault."""
        self._faults: list[tuple[Fault, Callable[[Request], bool]]] = []
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener: socket.socket | None = None
        self._is_accepting = True

    def __enter__(self) -> Self:
        self._listen_anywhere()
        return self

    def __exit__(self, *error: object) -> None:
        self.is_over.set()
        self.refuse()
        for thread in self._threads:
            thread.join(PATIENCE_SECONDS)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def fail(
        self, fault: Fault, aim: Callable[[Request], bool] = lambda request: True
    ) -> None:
        """Let all requests that `aim` accepts meet a fault."""
        self._faults.append((fault, aim))

    def heal(self) -> None:
        """Let all be well again."""
        self._faults.clear()
        self._is_accepting = True
        if self._listener is None:
            self._listen()

    def refuse(self) -> None:
        """Refuse connections, and break those that are open."""
        listener, self._listener = self._listener, None
        if listener:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        self.cut()

    def reset_new_ones(self) -> None:
        """Accept connections and break them at once."""
        self._is_accepting = False
        self.cut()

    def cut(self) -> None:
        """End all open connections."""
        with self._lock:
            for sock in self._open:
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def _listen_anywhere(self) -> None:
        """Listen on the first port that really is free: others look for one, too."""
        for _ in range(20):
            with suppress(OSError):
                self._listen()
                return
            self.port = free_port()
        self._listen()

    def _listen(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=4096)
        self._start(self._accept, self._listener)

    def _start(self, target: Callable[[socket.socket], None], sock: object) -> None:
        thread = threading.Thread(target=target, args=(sock,), daemon=True)
        thread.start()
        self._threads = [t for t in self._threads if t.is_alive()] + [thread]

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            if not self._is_accepting:
                self.hits += 1
                option = _RESET_ON_CLOSE
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, option)
                sock.close()
                continue
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._open.add(sock)
            self._start(self._serve, sock)

    def _serve(self, sock: socket.socket) -> None:
        rest = b""
        try:
            while head := receive_head(sock, rest):
                rest = self._serve_one(sock, *head)
        except (Broken, OSError):
            pass
        finally:
            with self._lock:
                self._open.discard(sock)
            sock.close()

    def _serve_one(self, sock: socket.socket, head: bytes, rest: bytes) -> bytes:
        exchange = Exchange(self, sock, Request.parse(head), rest)
        fault = self._fault_for(exchange.request)
        if fault:
            self.hits += 1
            fault.act(exchange)
        else:
            exchange.send(exchange.forward().raw)
        return exchange.unread

    def _fault_for(self, request: Request) -> Fault | None:
        for fault, aim in self._faults:
            if request.kind in fault.kinds and aim(request):
                return fault
        return None


def receive_head(sock: socket.socket, data: bytes) -> tuple[bytes, bytes] | None:
    """Return a request's head and what came behind it; None: the client closed."""
    while b"\r\n\r\n" not in data:
        more = sock.recv(PIECE_BYTES)
        if not more:
            return None
        data += more
    head, mark, rest = data.partition(b"\r\n\r\n")
    return head + mark, rest


# Faults. What is passed on has been done, whatever is answered.


def refuse_request(exchange: Exchange) -> None:
    exchange.reset()


def cut_in_body(exchange: Exchange) -> None:
    exchange.forward(exchange.request.length // 2)


def cut_at_last_byte(exchange: Exchange) -> None:
    exchange.forward(max(0, exchange.request.length - 1))


def up_to(where: str, found: Answer) -> bytes:
    """Return the beginning of an answer."""
    ends = {
        "nowhere": 0,
        "status line": 8,
        "head": len(found.head) // 2,
        "body": len(found.head) + len(found.body) // 2 if found.body else -1,
        "last byte": -1,
    }
    return found.raw[: ends[where]]


def broken_answer(where: str, end: Act) -> Act:
    """Return a fault: the request is done, and the answer ends early."""

    def act(exchange: Exchange) -> None:
        exchange.send(up_to(where, exchange.forward()))
        end(exchange)

    return act


def late(seconds: float) -> Act:
    """Return a fault: the answer comes late."""

    def act(exchange: Exchange) -> None:
        found = exchange.forward()
        exchange.pause(seconds)
        exchange.send(found.raw)

    return act


def wrong_length(surplus: int) -> Act:
    """Return a fault: Content-Length says more, or less, than there is."""

    def act(exchange: Exchange) -> None:
        found = exchange.forward()
        length = f"Content-Length: {max(0, len(found.body) + surplus)}\r\n".encode()
        head = re.sub(rb"Content-Length: [0-9]+\r\n", length, found.head)
        exchange.send(head + found.body)
        exchange.close()

    return act


def instead(make: Callable[[str], Answer]) -> Act:
    """Return a fault: nothing is done, and something else is answered."""

    def act(exchange: Exchange) -> None:
        exchange.take_body()
        exchange.send(make(exchange.request.method).raw)

    return act


def early(exchange: Exchange) -> None:
    """The request is refused before its body came."""
    exchange.send(error(503, "SlowDown", has_more=False).raw)
    exchange.stall()


def page(method: str, has_id: bool = False) -> Answer:
    """Return what a web server may answer, in good XML."""
    text = b"<html><body>It works!</body></html>"
    fields = [f"Content-Length: {len(text)}", "Content-Type: text/html"]
    return answer(200, b"" if method == "HEAD" else text, fields, has_id=has_id)


def noise(method: str) -> Answer:
    """Return what is no HTTP at all."""
    return Answer(b"\x16\x03\x01 SSH-2.0-dropbear\r\n\r\n", b"")


def errors(status: int, code: str) -> Act:
    """Return a fault: a status with its XML."""
    return instead(lambda method: error(status, code, method))


ANSWER_SECONDS, TRANSFER_SECONDS = 1.5, 2.25
"""Short time limits for slow faults."""
JUST_WITHIN, JUST_BEYOND = ANSWER_SECONDS / 3, 1.3 * ANSWER_SECONDS
PUT_ONLY = frozenset(("PUT",))

QUICK_FAULTS = [
    Fault("request reset in its head", refuse_request),
    Fault("request reset in its body", cut_in_body, PUT_ONLY),
    Fault("request reset at its last byte", cut_at_last_byte, PUT_ONLY),
    Fault("done but answer lost", broken_answer("nowhere", Exchange.reset)),
    Fault(
        "answer reset in its status line", broken_answer("status line", Exchange.reset)
    ),
    Fault("answer reset in its head", broken_answer("head", Exchange.reset)),
    Fault("answer reset in its body", broken_answer("body", Exchange.reset)),
    Fault("answer reset at its last byte", broken_answer("last byte", Exchange.reset)),
    Fault("closed without an answer", broken_answer("nowhere", Exchange.close)),
    Fault("half a head", broken_answer("head", Exchange.close)),
    Fault("half a body", broken_answer("body", Exchange.close)),
    Fault("length too long", wrong_length(+7), frozenset(("PUT", "list"))),
    Fault("500", errors(500, "InternalError")),
    Fault("503", errors(503, "SlowDownRead")),
    Fault("507", errors(507, "XMinioStorageFull")),
    Fault("503 before the body came", early, PUT_ONLY),
    Fault("200 of a web server", instead(page)),
    Fault(
        "200 that says nothing", instead(lambda m: page(m, True)), KINDS - {"DELETE"}
    ),
    Fault("no HTTP", instead(noise)),
]
SLOW_FAULTS = [
    Fault("silent", Exchange.stall, is_slow=True),
    Fault("done but silent", broken_answer("nowhere", Exchange.stall), is_slow=True),
    Fault("silent in its head", broken_answer("head", Exchange.stall), is_slow=True),
    Fault("silent in its body", broken_answer("body", Exchange.stall), is_slow=True),
    Fault("just in time", late(JUST_WITHIN), is_slow=True, is_harmless=True),
    Fault("just too late", late(JUST_BEYOND), OBJECTS, is_slow=True),
]
LIES = [
    Fault("length of an object too long", wrong_length(+7), frozenset(("GET",))),
    Fault("length of an object too short", wrong_length(-7), frozenset(("GET",))),
]
LISTING_TOO_SHORT = Fault("listing too short", wrong_length(-7), frozenset(("list",)))
REFUSED = Fault("refused", refuse_request)
RESET_AT_ONCE = Fault("reset at once", refuse_request)
FAULTS = [REFUSED, RESET_AT_ONCE, *QUICK_FAULTS, *SLOW_FAULTS]
