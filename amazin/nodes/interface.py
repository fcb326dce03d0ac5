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

BUCKET = "store"
"""Where nodes keep what clients store."""
DATA_BUCKETS = (BUCKET,)
"""Buckets for objects; every node that takes part has them."""

UNKNOWN_SIZE = -1
"""Size of a blob on a server that tells it only by the end of its bytes."""

_LABEL = re.compile(
    r"([0-9]{1,19})\.([0-9]{1,10})(?:\.([0-9]{1,18}))?(\.deleted)?", re.ASCII
)
"""Nanoseconds up to the year 2286, 32 random bits, the epoch, and a mark."""
Answer = TypeVar("Answer", covariant=True)


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """How long a node may take, in seconds."""

    connect: float = 1.0
    answer: float = 5.0
    """For the first byte of the answer to GET, HEAD and DELETE."""
    transfer: float = 30.0
    """Between two pieces of a body, and for storing an upload."""


class ObjectName(NamedTuple):
    """Where an object lives: bucket and key, the same on every node."""

    bucket: str
    key: str

    @property
    def hash_key(self) -> bytes:
        """The bytes that placement hashes: `bucket/key` in UTF-8."""
        return f"{self.bucket}/{self.key}".encode()


class Stamp(NamedTuple):
    """The version of an object: greater is newer (compared as integers)."""

    nanoseconds: int
    tie_break: int


class Label(NamedTuple):
    """What a gateway writes on each copy that it stores."""

    stamp: Stamp
    epoch: int = 0
    """Number of the set of nodes under which the copy was placed here."""
    is_deleted: bool = False
    """Whether it is a tombstone: the object was deleted."""

    def __str__(self) -> str:
        deleted = ".deleted" if self.is_deleted else ""
        return "{}.{}.{}{}".format(*self.stamp, self.epoch, deleted)

    @classmethod
    def parse(cls, text: str) -> Label | None:
        """Read what `str` wrote; None for anything else."""
        match = _LABEL.fullmatch(text)
        if not match or int(match[1]) >= 2**63:
            return None
        stamp = Stamp(int(match[1]), int(match[2]))
        return cls(stamp, int(match[3] or 0), bool(match[4]))


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One stored copy, without its bytes."""

    size: int
    etag: str
    """The body's MD5 in hex, without quotes."""
    modified_ns: int
    """Unix time in nanoseconds: of the stamp, else the node's own Last-Modified."""
    label: Label | None = None
    """None for objects that something else than a gateway wrote: older than any."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """To be given back on download: Content-Type, X-..., names as in `X-Some-Name`."""

    @property
    def version(self) -> tuple[Stamp, int]:
        """What orders copies of one key, newest greatest."""
        return (self.label.stamp if self.label else Stamp(0, 0), self.modified_ns)

    @property
    def epoch(self) -> int:
        """See `Label`; 0 without one."""
        return self.label.epoch if self.label else 0

    @property
    def is_deleted(self) -> bool:
        """Whether this is a tombstone."""
        return self.label is not None and self.label.is_deleted


class Pending(Protocol[Answer]):
    """A question that was sent; one of `wait` and `cancel` must be called."""

    def is_ready(self, timeout: float) -> bool:
        """Whether, within `timeout` seconds, the answer or a failure begins to arrive.

        Then `wait` takes hardly longer. May be called repeatedly, also with 0.
        """

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
    """An object being uploaded; nothing is stored before `start_commit`."""

    def write(self, chunk: bytes) -> None:
        """Send the next bytes. Raises: NodeError."""

    def start_commit(self) -> Pending[ObjectInfo]:
        """Ask to store the object: exactly the announced length was written.

        May raise NodeError at once. Waiting raises:
            PreconditionError: `if_match` or `if_absent` does not hold.
            NodeError: whether it is stored is unknown.
        """

    def abort(self) -> None:
        """Store nothing and release everything. Idempotent, harmless after a commit."""


class Node(Protocol):
    """One storage node. Thread-safe; `start_...` may raise NodeError at once.

    Everything but `list_objects` raises NoSuchBucketError, a NodeError, where the
    bucket is missing: a node that once had it has lost its disk.
    """

    name: str

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
        label: Label,
        headers: Mapping[str, str],
        *,
        if_match: str | None = None,
        if_absent: bool = False,
        keeps_newer: bool = False,
    ) -> Upload:
        """Begin an upload of `length` bytes.

        `if_match` (an ETag) and `if_absent` are judged atomically at commit. With
        `keeps_newer` an object with a greater stamp, of no older epoch, stays, as if it
        had come a moment later; S3 nodes can't do that, and keep what arrives last.
        Then a condition that fails may also be due to a first try of this upload.
        """

    def start_delete(
        self, name: ObjectName, *, if_match: str | None = None
    ) -> Pending[None]:
        """Remove an object; that there was none is success too.

        `if_match` (an ETag) raises PreconditionError where another is stored; but
        MinIO ignores it.
        """

    def make_bucket(self, bucket: str) -> None:
        """Make a bucket; that it is there already is fine. Raises: NodeError."""

    def start_check(self) -> Pending[object]:
        """Ask something cheap that only a node able to serve answers."""

    def list_objects(
        self, bucket: str, prefix: str = "", after: str = ""
    ) -> Iterator[tuple[str, ObjectInfo]]:
        """Yield (key, info) of keys that start with `prefix` and sort behind `after`.

        In the order of the keys' UTF-8 bytes, in constant memory. `info.headers` and
        `info.label` may be missing. A bucket that does not exist is an empty one.
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
    """Its share of the objects; 0: it gets no new ones, and `repair` empties it."""
    group: str = ""
    """The mirror set that it belongs to; "" is one, too."""
    identity: str = ""
    """Changes when the node behind the name is another one (a container's id)."""
    region: str = "us-east-1"
    """What requests to an S3 server are signed for."""
