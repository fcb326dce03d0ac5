"""The south side: what the gateway asks of a storage node, whatever its kind.

`Node` is the one seam between the read and write rules (`cluster.py`) and the kinds
of node (`s3.py`, `folder.py`). Calls come in two halves, *start* and *wait*, so that
one thread can ask several nodes at once: `start_...` sends, `wait` receives.
A node does no retrying that could repeat a half-sent stream, and no placement.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, TypeVar

CHUNK_BYTES = 256 * 1024
"""Size of one read of a body; below 64 KiB the system calls dominate."""

_STAMP = re.compile(r"([0-9]{1,19})\.([0-9]{1,10})")
"""Nanoseconds up to the year 2286, and 32 random bits."""
Answer = TypeVar("Answer", covariant=True)


class ObjectName(NamedTuple):
    """Where an object lives: bucket and key, the same on every node."""

    bucket: str
    key: str

    @property
    def hash_key(self) -> bytes:
        """The bytes that placement hashes: `bucket/key` in UTF-8."""
        return f"{self.bucket}/{self.key}".encode()


class Stamp(NamedTuple):
    """The version of a stored copy: greater is newer (compared as integers)."""

    nanoseconds: int
    tie_break: int

    def __str__(self) -> str:
        return f"{self.nanoseconds}.{self.tie_break}"

    @classmethod
    def parse(cls, text: str) -> Stamp | None:
        """Read what `str` wrote; None for anything else."""
        match = _STAMP.fullmatch(text)
        return cls(int(match[1]), int(match[2])) if match else None


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One stored copy, without its bytes."""

    size: int
    etag: str
    """The body's MD5 in hex, without quotes."""
    modified_ns: int
    """Unix time in nanoseconds: of the stamp, else the node's own Last-Modified."""
    stamp: Stamp | None = None
    """None for objects that something else than a gateway wrote: older than any."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """To be given back on download: Content-Type, X-..., names as in `X-Some-Name`."""

    @property
    def version(self) -> tuple[Stamp, int]:
        """What orders copies of one key, newest greatest."""
        return (self.stamp or Stamp(0, 0), self.modified_ns)


class Pending(Protocol[Answer]):
    """A question that was sent; one of `wait` and `cancel` must be called."""

    def wait(self) -> Answer:
        """Receive the answer.

        Raises:
            NoSuchKeyError, PreconditionError: the node answered so.
            NodeError: no usable answer.
        """

    def cancel(self) -> None:
        """Give up: release what the question holds. Idempotent."""


class NodeObject(Protocol):
    """An object being downloaded; owns its connection or file until closed."""

    info: ObjectInfo
    """Of the whole object, also when only a range of it is read."""

    def read(self) -> bytes:
        """Return the next bytes, at most `CHUNK_BYTES`, or b"" after the last.

        Raises:
            NodeError: the promised length can't be met.
        """

    def close(self) -> None:
        """Release the connection or file. Idempotent."""


class Upload(Protocol):
    """An object being uploaded; nothing is stored before `commit` returns."""

    def write(self, chunk: bytes) -> None:
        """Send the next bytes. Raises: NodeError."""

    def commit(self) -> ObjectInfo:
        """Store the object: exactly the announced length was written.

        Raises:
            PreconditionError: `if_match` or `if_absent` does not hold.
            NodeError: whether it is stored is unknown.
        """

    def abort(self) -> None:
        """Store nothing and release everything. Idempotent, harmless after commit."""


class Node(Protocol):
    """One storage node. Thread-safe; `start_...` may raise NodeError at once."""

    name: str
    weight: float

    def start_get(
        self,
        name: ObjectName,
        *,
        byte_range: tuple[int, int] | None = None,
        if_match: str | None = None,
    ) -> Pending[NodeObject]:
        """Ask for an object, or for its bytes first..last (inclusive, within it)."""

    def start_head(self, name: ObjectName) -> Pending[ObjectInfo]:
        """Ask for what is known of an object."""

    def start_put(
        self,
        name: ObjectName,
        length: int,
        stamp: Stamp,
        headers: Mapping[str, str],
        *,
        if_match: str | None = None,
        if_absent: bool = False,
    ) -> Upload:
        """Begin an upload of `length` bytes; the bucket is made on first need.

        `if_match` (an ETag) and `if_absent` are judged atomically at commit.
        """

    def start_delete(self, name: ObjectName) -> Pending[None]:
        """Remove an object; that there was none is success too."""

    def start_check(self) -> Pending[object]:
        """Ask something cheap that only a node able to serve answers."""

    def list_objects(
        self, bucket: str, prefix: str = "", after: str = ""
    ) -> Iterator[tuple[str, ObjectInfo]]:
        """Yield (key, info) of keys that start with `prefix` and sort behind `after`.

        In the order of the keys' UTF-8 bytes, in constant memory. `info.headers` and
        `info.stamp` may be missing. A bucket that does not exist is an empty one.
        """

    def close(self) -> None:
        """Drop idle connections; transfers that run go on."""


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """What discovery says of one node; equal specs are served by one `Node`."""

    name: str
    """The stable name that placement hashes; survives restarts and new addresses."""
    endpoint: str | None
    """`http://host:port`, `https://...` or `file:///folder`; None: known, but down."""
    access_key: str = field(default="", repr=False)
    secret_key: str = field(default="", repr=False)
    weight: float = 1.0
    identity: str = ""
    """Changes when the node behind the name is another one (a container's id)."""
