"""A lean HTTP client that keeps many connections busy, as a process of its own.

`python -m bench.client` reads a `Job` as JSON and writes what it found as JSON. One
thread on epoll, requests made beforehand: the client must not be what is measured. Each
answer's status and length are verified; what is wrong is counted as an error, never as
an answer. Latencies are from before the first byte sent to the last one received.
Answers have a Content-Length, or are small and come in chunks.
"""

from __future__ import annotations

import gc
import json
import random
import select
import socket
import sys
import time
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import cycle
from typing import Any

from bench.stats import percentile

RECEIVE_BYTES = 64 * 1024
PIECE_BYTES = 1024 * 1024
SMALL_BYTES = 4096
"""A body of this size goes out with its head: any socket has room for it."""
DRAWN = 4096
"""So many requests are drawn before the start, and then used in turns."""
GRACE_SECONDS = 5.0
"""So long after the end an answer may come; then it counts as an error."""
MOST_ERRORS = 1000
"""With so many the load is given up."""
GOOD = {"GET": (200,), "HEAD": (200,), "PUT": (200, 201, 204)}
IN_CHUNKS = -1
"""Instead of a length."""
MOST_CHUNKED_BYTES = 256 * 1024
"""Chunks are looked at only when they are all there."""


@dataclass(frozen=True, slots=True)
class Job:
    """What load to make. Either `seconds` or `each` is above 0."""

    port: int
    path: str
    """With `{key}` in it."""
    keys: Sequence[str]
    size: int
    """Of each object, in bytes."""
    shares: dict[str, float]
    """How often each method is used, together 1."""
    connections: int
    seconds: float = 0.0
    warm_seconds: float = 0.0
    """So long before them, answers are verified but not timed: a server that takes new
    connections slowly would show it in the latencies of a short load."""
    each: int = 0
    """So many requests on each connection; all keys in turns."""
    seed: int = 0


class Request:
    """A request that is ready to be sent, and what its answer has to be."""

    __slots__ = ("body_bytes", "data", "has_body", "length", "method")

    def __init__(self, job: Job, method: str, key: str) -> None:
        size = job.size if method == "PUT" else 0
        length = f"Content-Length: {size}\r\n" if method == "PUT" else ""
        path = job.path.format(key=key)
        head = f"{method} {path} HTTP/1.1\r\nHost: bench\r\n{length}\r\n".encode()
        is_small = size <= SMALL_BYTES
        self.method = method
        self.data = head + bytes(size) if is_small else head
        self.body_bytes = 0 if is_small else size
        """What is to be sent after `data`."""
        self.has_body = method != "HEAD"
        self.length = None if method == "PUT" else job.size
        """What the answer's Content-Length must be; None: anything."""


def plans(job: Job) -> list[Iterator[Request]]:
    """Return, for each connection, what is to be asked on it."""
    ready = {
        method: [Request(job, method, key) for key in job.keys] for method in job.shares
    }
    if job.each:
        (requests,) = ready.values()
        count = job.each * job.connections
        order = [requests[n % len(requests)] for n in range(count)]
        return [iter(order[n :: job.connections]) for n in range(job.connections)]
    rng = random.Random(job.seed)
    methods = rng.choices(list(job.shares), list(job.shares.values()), k=DRAWN)
    endless = cycle([rng.choice(ready[method]) for method in methods])
    return [endless] * job.connections


class BadAnswerError(Exception):
    """The answer is none, or not the one that was asked for; the message says why."""


def read_head(head: bytes, request: Request) -> tuple[int, bool]:
    """Return the answer's length, and whether the connection ends with it.

    Its length is `IN_CHUNKS` if they say so. Raises: BadAnswerError.
    """
    status = head[9:12]
    if not head.startswith(b"HTTP/1.") or not status.isdigit():
        raise BadAnswerError("not HTTP")
    if int(status) not in GOOD[request.method]:
        raise BadAnswerError(f"status {int(status)}")
    lower = head.lower()
    is_last = b"\r\nconnection: close" in lower
    _, found, rest = lower.partition(b"\r\ncontent-length:")
    if found:
        length = int(rest.split(b"\r\n", 1)[0])
    elif request.has_body and b"\r\ntransfer-encoding: chunked" in lower:
        return IN_CHUNKS, is_last
    elif status == b"204":
        length = 0
    else:
        raise BadAnswerError("no Content-Length")
    if request.length is not None and length != request.length:
        raise BadAnswerError(f"length {length}")
    return length, is_last


def read_chunks(data: bytes, request: Request) -> bool:
    """Whether these chunks are the whole body. Raises: BadAnswerError."""
    length = start = 0
    while (end := data.find(b"\r\n", start)) >= 0:
        size = int(data[start:end], 16)
        length += size
        start = end + 2 + size + 2
        if size or start > len(data):
            continue
        if start < len(data) or request.length not in (None, length):
            raise BadAnswerError(f"length {length} in chunks")
        return True
    if len(data) > MOST_CHUNKED_BYTES:
        raise BadAnswerError("too long for chunks")
    return False


class Stream:
    """One connection, and the request that is under way on it."""

    __slots__ = (
        "asked",
        "head",
        "is_last",
        "left",
        "missing",
        "request",
        "sock",
        "started",
    )

    def __init__(self, port: int, left: Iterator[Request]) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), GRACE_SECONDS)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.setblocking(False)
        self.left = left
        """What is to be asked on it."""
        self.request: Request
        self.asked = 0
        """How much of a large body is still to be sent."""
        self.head = b""
        self.missing = -1
        """How much of the answer's body has to come; -1: its head is not there."""
        self.is_last = False
        self.started = 0.0


class Load:
    """Keeps a job's connections busy, and counts."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._epoll = select.epoll()
        self._streams: dict[int, Stream] = {}
        self._space = memoryview(bytearray(PIECE_BYTES))
        self._zeros = memoryview(bytes(PIECE_BYTES))
        self._timed_from = self._deadline = 0.0
        self.untimed = 0
        self.latencies = array("d")
        self.errors: Counter[str] = Counter()

    def run(self) -> dict[str, Any]:
        """Do the job; returns what was found."""
        used = time.process_time()
        start = time.perf_counter()
        self._timed_from = start + self._job.warm_seconds
        self._deadline = self._timed_from + (self._job.seconds or 3600.0)
        end = start
        try:
            for left in plans(self._job):
                self._open(left)
            while self._streams and self.errors.total() < MOST_ERRORS:
                if not self._serve():
                    break
                end = time.perf_counter()
        except OSError as exc:
            self._count_lost(exc)
        self._give_up()
        seconds = max(0.0, end - self._timed_from)
        return self._result(seconds, time.process_time() - used)

    def _open(self, left: Iterator[Request]) -> None:
        stream = Stream(self._job.port, left)
        self._streams[stream.sock.fileno()] = stream
        self._epoll.register(stream.sock.fileno(), select.EPOLLIN)
        try:
            self._ask(stream)
        except OSError:
            self._close(stream)
            raise

    def _serve(self) -> bool:
        """Do what there is to do; False: the time is long over."""
        rest = self._deadline + GRACE_SECONDS - time.perf_counter()
        events = self._epoll.poll(max(0.0, rest))
        for fileno, event in events:
            stream = self._streams[fileno]
            try:
                if event & ~select.EPOLLOUT:
                    self._receive(stream)
                elif event & select.EPOLLOUT:
                    self._send(stream)
            except BlockingIOError:
                continue
            except (BadAnswerError, OSError) as exc:
                self._fail(stream, exc)
        return bool(events)

    def _ask(self, stream: Stream) -> None:
        """Send the next request; close the connection if there is none."""
        now = time.perf_counter()
        request = next(stream.left, None) if now < self._deadline else None
        if request is None:
            self._close(stream)
            return
        stream.request = request
        stream.started = now
        stream.asked = request.body_bytes
        stream.missing = -1
        stream.head = b""
        stream.sock.send(request.data)
        if stream.asked:
            both = select.EPOLLIN | select.EPOLLOUT
            self._epoll.modify(stream.sock.fileno(), both)

    def _send(self, stream: Stream) -> None:
        stream.asked -= stream.sock.send(self._zeros[: stream.asked])
        if not stream.asked:
            self._epoll.modify(stream.sock.fileno(), select.EPOLLIN)

    def _receive(self, stream: Stream) -> None:
        if stream.missing > 0:
            count = stream.sock.recv_into(self._space[: stream.missing])
            if not count:
                raise BadAnswerError("cut off")
            stream.missing -= count
        else:
            self._receive_head(stream)
        if stream.missing == 0:
            self._finish(stream)

    def _receive_head(self, stream: Stream) -> None:
        data = stream.sock.recv(RECEIVE_BYTES)
        if not data:
            raise BadAnswerError("closed")
        stream.head += data
        end = stream.head.find(b"\r\n\r\n")
        if end < 0:
            return
        length, stream.is_last = read_head(stream.head[: end + 2], stream.request)
        if stream.asked:
            raise BadAnswerError("answered early")
        if length == IN_CHUNKS:
            is_whole = read_chunks(stream.head[end + 4 :], stream.request)
            stream.missing = 0 if is_whole else -1
            return
        expected = length if stream.request.has_body else 0
        stream.missing = expected - (len(stream.head) - end - 4)
        if stream.missing < 0:
            raise BadAnswerError("too long")

    def _finish(self, stream: Stream) -> None:
        if stream.started < self._timed_from:
            self.untimed += 1
        else:
            self.latencies.append(time.perf_counter() - stream.started)
        if stream.is_last:
            self._reopen(stream)
        else:
            self._ask(stream)

    def _fail(self, stream: Stream, exc: Exception) -> None:
        self.errors[str(exc) if isinstance(exc, BadAnswerError) else "broken"] += 1
        self._reopen(stream)

    def _reopen(self, stream: Stream) -> None:
        """Go on with a new connection; if there is none to be had, without it."""
        left = self._close(stream)
        try:
            self._open(left)
        except OSError as exc:
            self._count_lost(exc)

    def _count_lost(self, exc: OSError) -> None:
        self.errors[f"connection: {exc.strerror or exc}"] += 1

    def _close(self, stream: Stream) -> Iterator[Request]:
        """Close a connection; returns what it still had to ask."""
        del self._streams[stream.sock.fileno()]
        stream.sock.close()
        return stream.left

    def _give_up(self) -> None:
        """Count what is still under way as errors; its time as it is so far."""
        for stream in list(self._streams.values()):
            self.errors["no answer"] += 1
            self.latencies.append(time.perf_counter() - stream.started)
            self._close(stream)
        self._epoll.close()

    def _result(self, seconds: float, cpu_seconds: float) -> dict[str, Any]:
        timed = len(self.latencies) - self.errors["no answer"]
        return {
            "answers": timed + self.untimed,
            "seconds": seconds,
            "rate": timed / seconds if seconds else 0.0,
            "p50": percentile(self.latencies, 0.50),
            "p99": percentile(self.latencies, 0.99),
            "client_cpu": cpu_seconds,
            "errors": {kind: n for kind, n in self.errors.items() if n},
        }


def encode(job: Job) -> str:
    """Return a job as the process reads it."""
    return json.dumps(asdict(job))


def main() -> None:
    """Do the job on standard input."""
    job = Job(**json.load(sys.stdin))
    gc.disable()
    json.dump(Load(job).run(), sys.stdout)


if __name__ == "__main__":
    main()
