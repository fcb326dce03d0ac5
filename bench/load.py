"""A small HTTP client on kept connections, and load of several of them.

Raw sockets: the client must not be what is measured. Only for answers with a
Content-Length. Latencies are from the first byte sent to the last one received.
"""

from __future__ import annotations

import math
import random
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

BODY = bytes(range(256)) * 4
"""1 KiB, the object of all small-object figures."""
RECEIVE_BYTES = 64 * 1024
LOST_SECONDS = 120.0
"""What is open so long after the end never ends."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One request; `status` 0 is a broken connection."""

    key: str
    status: int
    seconds: float
    is_late: bool = False
    """It ended after the time of the load that it belongs to."""


class Client:
    """One connection to a port of loopback, opened again when it breaks."""

    def __init__(self, port: int, timeout_seconds: float = 60.0) -> None:
        self._port = port
        self._timeout_seconds = timeout_seconds
        self._socket: socket.socket | None = None

    def ask(self, method: str, key: str, body: bytes = b"", headers: str = "") -> int:
        """Send one request; returns the answer's status. Raises: OSError."""
        if self._socket is None:
            self._socket = self._connect()
        length = f"Content-Length: {len(body)}\r\n" if method == "PUT" else ""
        head = (
            f"{method} /object/{key} HTTP/1.1\r\nHost: bench\r\n{length}{headers}\r\n"
        )
        try:
            self._socket.sendall(head.encode() + body)
            status, is_last = receive_answer(self._socket, method)
        except BaseException:
            self.close()
            raise
        if is_last:
            self.close()
        return status

    def sample(
        self, method: str, key: str, body: bytes = b"", deadline: float = math.inf
    ) -> Sample:
        """Send one request and take its time; it is late after the deadline."""
        start = time.perf_counter()
        try:
            status = self.ask(method, key, body)
        except OSError:
            status = 0
        end = time.perf_counter()
        return Sample(key, status, end - start, end > deadline)

    def _connect(self) -> socket.socket:
        address = ("127.0.0.1", self._port)
        sock = socket.create_connection(address, self._timeout_seconds)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def close(self) -> None:
        """Close the connection. Idempotent."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def receive_answer(sock: socket.socket, method: str) -> tuple[int, bool]:
    """Receive one answer; returns its status, and whether the connection ends.

    Raises: OSError.
    """
    data = b""
    while (end := data.find(b"\r\n\r\n")) < 0:
        data += receive_some(sock)
    head = data[:end].lower()
    status = int(head[9:12])
    if method != "HEAD" and status not in (204, 304):
        missing = content_length(head) - (len(data) - end - 4)
        while missing > 0:
            missing -= len(receive_some(sock))
    return status, b"\r\nconnection: close" in head


def receive_some(sock: socket.socket) -> bytes:
    """Return some bytes. Raises: OSError, also at the connection's end."""
    data = sock.recv(RECEIVE_BYTES)
    if not data:
        raise ConnectionResetError("the connection was closed")
    return data


def content_length(head: bytes) -> int:
    """Return the length that a head in lower case announces. Raises: OSError."""
    _, found, rest = head.partition(b"\r\ncontent-length:")
    if not found:
        raise OSError("an answer without Content-Length")
    return int(rest.split(b"\r\n", 1)[0])


def run_load(
    port: int,
    method: str,
    keys: Sequence[str],
    connections: int,
    seconds: float,
    during: Callable[[], None] | None = None,
) -> list[Sample]:
    """Send requests for random keys on so many connections, for so long.

    `during` is called in the middle of it. Uploads are of `BODY`.
    """
    deadline = time.perf_counter() + seconds
    samples: list[Sample] = []
    body = BODY if method == "PUT" else b""

    def work(seed: int) -> None:
        rng, client, own = random.Random(seed), Client(port), []
        while time.perf_counter() < deadline:
            own.append(client.sample(method, rng.choice(keys), body, deadline))
        client.close()
        samples.extend(own)

    threads = [
        threading.Thread(target=work, args=(seed,), daemon=True)
        for seed in random.sample(range(10**9), connections)
    ]
    for thread in threads:
        thread.start()
    if during:
        time.sleep(seconds / 2)
        during()
    await_end(threads, deadline + LOST_SECONDS)
    return samples


def await_end(threads: Sequence[threading.Thread], latest: float) -> None:
    """Wait for threads, until this moment. Raises: RuntimeError."""
    for thread in threads:
        thread.join(max(0.0, latest - time.perf_counter()))
        if thread.is_alive():
            raise RuntimeError("the load does not end: an answer never does")
