"""Hostile clients, one kind at a time, as a process of its own.

`python -m bench.hostile_clients` reads an `Order` as JSON on one line, connects, says
`ready` (those that stall: once they do), and goes on until its standard input ends.
Then it writes how many bytes were taken. One thread; a connection that is closed is
opened again, unless it stalls.
"""

from __future__ import annotations

import json
import select
import selectors
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass

RECEIVE_BYTES = 256 * 1024
TURN_SECONDS = 0.2
CHUNKED = "Transfer-Encoding: chunked"


@dataclass(frozen=True, slots=True)
class Order:
    """Who connects, and where; `kind` is one of `KINDS`."""

    port: int
    kind: str
    connections: int = 6


@dataclass(frozen=True, slots=True)
class Kind:
    """What is sent: the start, the piece so many times, the end; then all again."""

    start: bytes
    piece: bytes
    pieces: int = sys.maxsize
    end: bytes = b""
    stalls: bool = False
    """Whether nothing is sent after the end, but the connection stays."""


def head(line: str, *headers: str) -> bytes:
    """Return the head of a request."""
    lines = (f"{line} HTTP/1.1", "Host: x", *headers)
    return "".join(f"{text}\r\n" for text in lines).encode() + b"\r\n"


def upload(line: str) -> Kind:
    """Return a body in chunks of one byte, without end."""
    return Kind(head(line, CHUNKED), b"1\r\nx\r\n" * 10_000)


BATCH_BYTES = 4 * 2**20
BATCH = head("POST /objects/delete", f"Content-Length: {BATCH_BYTES}")


def batch(start: bytes, piece: bytes) -> Kind:
    """Return whole batch deletes."""
    pieces, rest = divmod(BATCH_BYTES - len(start), len(piece))
    return Kind(BATCH + start, piece, pieces, piece[:rest])


def stalled(start: bytes, piece: bytes, pieces: int) -> Kind:
    """Return a batch delete that stops in the middle."""
    return Kind(BATCH + start, piece, pieces, stalls=True)


KINDS: Mapping[str, Kind] = {
    "pipelined requests": Kind(b"", head("GET /health") * 500),
    "pipelined errors": Kind(b"", head("GET /nothing") * 500),
    "long heads": Kind(
        b"", head("GET /health", *(f"X-{n}: {'x' * 8000}" for n in range(15)))
    ),
    "pipelined readiness": Kind(b"", head("GET /health/ready") * 500),
    "chunks of one byte": upload("PUT /object/chunks"),
    "refused chunks, 404": upload("PUT /nothing"),
    "refused chunks, 422": upload("PUT /object/not-an-id"),
    "uploads": Kind(
        head("PUT /object/flood", f"Content-Length: {64 * 2**20}"), b"x" * 2**20, 64
    ),
    "refused uploads": Kind(
        head("PUT /nothing", f"Content-Length: {2**31}"), b"x" * 2**20, 2**11
    ),
    "downloads": Kind(b"", head("GET /object/large") * 10),
    "lists of lists": batch(b'{"keys":[', b"[]," * 1000),
    "many short keys": batch(b'{"keys":[', b'"a",' * 1000),
    "one long key": batch(b'{"keys":["', b"a" * 2**16),
    "spaces": batch(b"", b" " * 2**16),
    "stalled lists": stalled(b'{"keys":[', b"[]," * 1000, 700),
    "stalled keys": stalled(b'{"keys":[', b'"%b",' % (b"k" * 1020), 990),
    "stalled spaces": stalled(b"", b" " * 2**16, 32),
    "stalled heads": Kind(
        head("GET /health", "X: " + "x" * 8000)[:-2], b"", 0, stalls=True
    ),
}


class HostileClient:
    """One connection; sends as much as is taken, and reads all answers."""

    def __init__(self, port: int, kind: Kind, selector: selectors.BaseSelector) -> None:
        self._port = port
        self._kind = kind
        self._selector = selector
        self.taken = 0
        self.is_still = False
        """Whether it has stopped in the middle, or was closed there."""
        self._connect()

    def _connect(self) -> None:
        self._sock = socket.create_connection(("127.0.0.1", self._port), 10)
        self._sock.setblocking(False)
        self._left, self._sent = memoryview(self._kind.start), 0
        events = selectors.EVENT_READ | selectors.EVENT_WRITE
        self._selector.register(self._sock, events, self)

    def move(self, events: int) -> None:
        """Send and receive what is possible now."""
        try:
            if events & selectors.EVENT_READ and not self._sock.recv(RECEIVE_BYTES):
                raise ConnectionResetError
            if events & selectors.EVENT_WRITE:
                self._send()
        except BlockingIOError:
            pass
        except OSError:
            self.close()
            self.is_still = self._kind.stalls
            if not self.is_still:
                self._connect()

    def _send(self) -> None:
        if not self._left:
            self._left = memoryview(self._next())
        if self._left:
            count = self._sock.send(self._left)
            self._left = self._left[count:]
            self.taken += count
        else:
            self.is_still = True
            self._selector.modify(self._sock, selectors.EVENT_READ, self)

    def _next(self) -> bytes:
        self._sent += 1
        if self._sent <= self._kind.pieces:
            return self._kind.piece
        if self._sent == self._kind.pieces + 1 and self._kind.end:
            return self._kind.end
        if self._kind.stalls:
            return b""
        self._sent = 0
        return self._kind.start or self._next()

    def close(self) -> None:
        """Break off. Idempotent."""
        if self._sock.fileno() >= 0:
            self._selector.unregister(self._sock)
            self._sock.close()


def move_all(selector: selectors.BaseSelector) -> None:
    """Let all clients send and receive what is possible now."""
    for key, events in selector.select(TURN_SECONDS):
        key.data.move(events)


def main() -> None:
    """Be the clients that standard input describes."""
    order = Order(**json.loads(sys.stdin.readline()))
    selector, kind = selectors.DefaultSelector(), KINDS[order.kind]
    clients = [
        HostileClient(order.port, kind, selector) for _ in range(order.connections)
    ]
    while kind.stalls and not all(client.is_still for client in clients):
        move_all(selector)
    print("ready", flush=True)
    while not select.select([sys.stdin], [], [], 0)[0]:
        move_all(selector)
    print(json.dumps({"taken": sum(client.taken for client in clients)}))
    for client in clients:
        client.close()


if __name__ == "__main__":
    main()
