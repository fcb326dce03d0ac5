"""What the clients of the chaos test wrote, and what a read may therefore return.

A read may return any write that is not *superseded*. A write is superseded if another
one on the key began after it had ended, was acknowledged, and that before the read
began. Everything that overlaps is allowed, in any order. A delete is the write of
`ABSENT`, and so is the state before the first write. Pure: no HTTP, no processes.
"""

from __future__ import annotations

import hashlib
import math
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

BLOCK_BYTES = 1024
_FILLING = random.Random(0).randbytes(BLOCK_BYTES)
LINGER_SECONDS = 60.0
"""A failed write may still be on its way to a node for so long after its error: twice
what a gateway waits for a node to store something. Until then it counts as running."""
TRAIL = 24
"""So many of a key's last writes are kept for messages, whatever else is forgotten."""


@dataclass(frozen=True, slots=True)
class Version:
    """What one upload stores; its token makes it unlike all others."""

    token: str
    size: int
    etag: str

    @classmethod
    def of(cls, token: str, size: int) -> Version:
        """Return the version of this token, in so many bytes."""
        return cls(token, size, hashlib.md5(body_of(token, size)).hexdigest())

    def body(self) -> bytes:
        """Return its bytes."""
        return body_of(self.token, self.size)

    def __str__(self) -> str:
        return f"{self.token} ({self.size} bytes)" if self.token else "absent"


ABSENT = Version("", 0, "")


def body_of(token: str, size: int) -> bytes:
    """Return bytes that name the token and their own place in every block."""
    count = -(-size // BLOCK_BYTES)
    heads = (f"{token} {number} ".encode() for number in range(count))
    return b"".join((head + _FILLING)[:BLOCK_BYTES] for head in heads)[:size]


@dataclass(eq=False, slots=True)
class Write:
    """An upload or a delete; it ends never as long as it runs."""

    key: str
    version: Version
    begin: float
    end: float = math.inf
    outcome: str = "runs"

    @property
    def is_acknowledged(self) -> bool:
        """Whether its client was told that it is stored."""
        return self.outcome == "acknowledged"


@dataclass(eq=False, slots=True)
class Read:
    """A read that is under way."""

    key: str
    begin: float


def _first_write() -> Write:
    return Write("", ABSENT, -math.inf, -math.inf, "acknowledged")


@dataclass(slots=True)
class _Key:
    """What is known of one key; superseded writes are forgotten."""

    writes: list[Write] = field(default_factory=lambda: [_first_write()])
    reads: list[Read] = field(default_factory=list)
    trail: deque[Write] = field(default_factory=lambda: deque(maxlen=TRAIL))

    def allowed(self, begin: float) -> list[Write]:
        """Return the writes that a read begun then may return, in order of begin."""
        done = (write for write in self.writes if write.is_acknowledged)
        frontier = max(
            (write.begin for write in done if write.end < begin), default=-math.inf
        )
        return [write for write in self.writes if write.end >= frontier]

    def forget(self, now: float) -> None:
        """Drop what no read, running or to come, may return."""
        self.writes = self.allowed(
            min((read.begin for read in self.reads), default=now)
        )


class History:
    """The writes of all clients, on one monotonic clock. Thread-safe."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        linger_seconds: float = LINGER_SECONDS,
    ) -> None:
        self._clock = clock
        self._linger_seconds = linger_seconds
        self._keys: dict[str, _Key] = {}
        self._lock = threading.Lock()

    def begin_write(self, key: str, version: Version) -> Write:
        """Note that an upload, or a delete with `ABSENT`, is about to be sent."""
        with self._lock:
            write = Write(key, version, self._clock())
            known = self._keys.setdefault(key, _Key())
            known.writes.append(write)
            known.trail.append(write)
            return write

    def acknowledge(self, write: Write) -> None:
        """Note that the client was told of its success."""
        with self._lock:
            write.end = self._clock()
            write.outcome = "acknowledged"
            self._keys[write.key].forget(write.end)

    def fail(self, write: Write) -> None:
        """Note an error, or none at all: it may have happened, or happen soon."""
        with self._lock:
            write.end = self._clock() + self._linger_seconds
            write.outcome = "failed"

    def begin_read(self, key: str) -> Read:
        """Note that a read is about to be sent."""
        with self._lock:
            read = Read(key, self._clock())
            self._keys.setdefault(key, _Key()).reads.append(read)
            return read

    def end_read(self, read: Read) -> list[Version]:
        """Return what the answer may have been, latest begun last."""
        with self._lock:
            known = self._keys[read.key]
            allowed = [write.version for write in known.allowed(read.begin)]
            known.reads.remove(read)
            return allowed

    def touched(self) -> list[str]:
        """Return all keys that were ever touched, sorted."""
        with self._lock:
            return sorted(self._keys)

    def size(self) -> int:
        """Return how many writes are held for judging."""
        with self._lock:
            return sum(len(known.writes) for known in self._keys.values())

    def tell(self, read: Read) -> Iterator[str]:
        """Yield the key's last writes, one a line, in seconds since the read began."""
        with self._lock:
            trail = list(self._keys[read.key].trail)
        for write in trail:
            begin, end = write.begin - read.begin, write.end - read.begin
            if write.outcome == "failed":
                end -= self._linger_seconds
            yield f"{begin:+9.3f} to {end:+9.3f}  {write.outcome:12}  {write.version}"
