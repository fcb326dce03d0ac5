"""Many slow clients, half uploading, half downloading, as a process of its own.

`python -m bench.slow_clients` reads a `Crowd` as JSON on one line, connects them all,
says `ready`, and goes on until its standard input ends; then it writes how many are
still there, and how many downloads have begun. One thread, woken some times a second.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

TURNS = 50
"""So many turns in a second; in each one a share of the clients moves."""
RECEIVE_BUFFER_BYTES = 4096
"""What the kernel takes for a client that reads slowly."""
SEGMENT_BYTES = 1460
"""As on a real line: on loopback the server's kernel would take megabytes at once."""


@dataclass(frozen=True, slots=True)
class Crowd:
    """Who connects."""

    port: int
    count: int
    download: str
    """Path of an object that is larger than what the kernel takes of it."""
    upload: str
    """Path with `{key}` in it."""
    upload_bytes: int
    bytes_per_second: int = 1024


class SlowClient:
    """One connection; dribbles a body up or down."""

    def __init__(self, crowd: Crowd, number: int) -> None:
        self._pace = crowd.bytes_per_second
        self._is_upload = number % 2 == 0
        self.is_served = False
        """Whether some of an answer came; an upload's bytes may lie in the kernel."""
        self.is_broken = False
        self._sock = socket.socket()
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT_BYTES)
        self._sock.settimeout(10)
        self._sock.connect(("127.0.0.1", crowd.port))
        if self._is_upload:
            path = crowd.upload.format(key=f"slow{number}")
            line = f"PUT {path} HTTP/1.1\r\nContent-Length: {crowd.upload_bytes}"
        else:
            line = f"GET {crowd.download} HTTP/1.1"
        self._sock.sendall(f"{line}\r\nHost: slow\r\n\r\n".encode())
        self._sock.setblocking(False)

    def move(self) -> None:
        """Send or receive one second's bytes, as far as the other side is there."""
        if self.is_broken:
            return
        try:
            if self._is_upload:
                self._sock.send(bytes(self._pace))
            elif self._sock.recv(self._pace):
                self.is_served = True
            else:
                self.is_broken = True
        except BlockingIOError:
            return
        except OSError:
            self.is_broken = True

    def close(self) -> None:
        """Break off."""
        self._sock.close()


def dribble(clients: list[SlowClient]) -> Iterator[None]:
    """Let all move once a second, for ever; yields after each turn."""
    start, turn = time.monotonic(), 0
    while True:
        for client in clients[turn % TURNS :: TURNS]:
            client.move()
        turn += 1
        time.sleep(max(0.0, start + turn / TURNS - time.monotonic()))
        yield


def main() -> None:
    """Be the crowd that standard input describes."""
    crowd = Crowd(**json.loads(sys.stdin.readline()))
    clients = [SlowClient(crowd, number) for number in range(crowd.count)]
    print("ready", flush=True)
    for _ in dribble(clients):
        if select.select([sys.stdin], [], [], 0)[0]:
            break
    there = [client for client in clients if not client.is_broken]
    served = sum(client.is_served for client in there)
    print(json.dumps({"there": len(there), "downloads": served}))
    for client in clients:
        client.close()


if __name__ == "__main__":
    main()
