"""The south side: what the gateway asks of a storage node, whatever its kind.

`Node` is the one seam between the read and write rules (`cluster/`) and the kinds
of node (`s3/`, `folder/`). Calls come in two halves, *start* and *wait*, so that
one thread can ask several nodes at once: `start_...` sends, `wait` receives.
A node does no retrying that could repeat a half-sent stream, and no placement.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol, TypeVar

from amazin.model.objects import Label, ObjectInfo, ObjectName

Answer = TypeVar("Answer", covariant=True)


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
        data: bytes,
        label: Label,
        headers: Mapping[str, str],
        *,
        if_match: str | None = None,
        if_absent: bool = False,
        keeps_newer: bool = False,
    ) -> Pending[ObjectInfo]:
        """Ask to store an object whose bytes are at hand, a few of `CHUNK_BYTES`.

        `if_match` (an ETag) and `if_absent` are judged atomically. With `keeps_newer`
        an object with a greater stamp, of no older epoch, stays, as if it had come a
        moment later; S3 nodes can't do that, and keep what arrives last. Then a
        condition that fails may also be due to a first try of this upload.

        May raise NodeError at once. Waiting raises:
            PreconditionError: `if_match` or `if_absent` does not hold.
            NodeError: whether it is stored is unknown.
        """

    def start_upload(
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
        """Begin an upload of `length` bytes, which come one chunk after the other.

        The rest as for `start_put`; conditions are judged at commit.
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
