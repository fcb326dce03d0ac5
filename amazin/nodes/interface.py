"""The interface of a storage node, whatever its kind.

`Node` separates the read and write rules (`cluster/`) from the kinds of node (`s3/`,
`folder/`). Calls have two halves, so that one thread can ask several nodes at once:
`start_...` sends a request, `wait` receives the response. A node does no placement, and
never retries a stream that was partly sent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol, TypeVar, runtime_checkable

from amazin.model.objects import Label, ObjectInfo, ObjectName

Answer = TypeVar("Answer", covariant=True)


class Pending(Protocol[Answer]):
    """A request that was sent. The caller must call one of `wait` and `cancel`."""

    def is_ready(self, timeout: float) -> bool:
        """Whether a response or a failure begins to arrive within `timeout` seconds.

        If so, `wait` takes hardly longer. May be called repeatedly, also with 0.
        """

    def wait(self) -> Answer:
        """Receive the response.

        Raises:
            NoSuchKeyError, PreconditionError: the node answered so.
            NodeError: the response is not usable, or there is none.
        """

    def cancel(self) -> None:
        """Abandon the request and release its resources. Idempotent."""


class NodeObject(Protocol):
    """An object being downloaded; owns its connection or file until closed."""

    info: ObjectInfo
    """Describes the whole object, also if only a range is read."""

    def read(self) -> bytes:
        """Return the next bytes, at most `CHUNK_BYTES`, or b"" after the last.

        Raises:
            NodeError: the node can't send the promised length.
        """

    def close(self) -> None:
        """Release the connection or file. Idempotent."""


class Upload(Protocol):
    """An object being uploaded; nothing is stored before `start_commit`."""

    def write(self, chunk: bytes) -> None:
        """Send the next bytes. Raises: NodeError."""

    def start_commit(self) -> Pending[ObjectInfo]:
        """Ask to store the object; exactly the announced length was written.

        May raise NodeError at once. Waiting raises:
            PreconditionError: `if_match` or `if_absent` does not hold.
            NodeError: it is unknown whether the object is stored.
        """

    def abort(self) -> None:
        """Store nothing and release everything. Idempotent, harmless after a commit."""


class Node(Protocol):
    """One storage node. Thread-safe; `start_...` may raise NodeError at once.

    All calls but `list_objects` raise NoSuchBucketError, a NodeError, if the bucket is
    missing: a node that had the bucket before has lost its disk.
    """

    name: str

    def start_get(
        self,
        name: ObjectName,
        *,
        byte_range: tuple[int, int] | None = None,
        if_match: str | None = None,
    ) -> Pending[NodeObject]:
        """Request an object, or its bytes first..last (inclusive, within it)."""

    def start_head(self, name: ObjectName) -> Pending[ObjectInfo]:
        """Request the info about an object."""

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
        """Ask to store an object that is in memory, of a few `CHUNK_BYTES` at most.

        `if_match` (an ETag) and `if_absent` are checked atomically. With `keeps_newer`,
        a stored object with a greater stamp and no older epoch stays, as if it had been
        written just after this one; S3 nodes can't do that, and keep the last upload. A
        condition may then also fail because the first attempt of the same upload
        succeeded.

        May raise NodeError at once. Waiting raises:
            PreconditionError: `if_match` or `if_absent` does not hold.
            NodeError: it is unknown whether the object is stored.
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
        """Begin an upload of `length` bytes, to be written chunk by chunk.

        The other arguments are those of `start_put`; conditions are checked at the
        commit.
        """

    def start_delete(
        self, name: ObjectName, *, if_match: str | None = None
    ) -> Pending[None]:
        """Ask to remove an object; it is no error if there is none.

        With `if_match` (an ETag), waiting raises PreconditionError if another version
        is stored; MinIO ignores it.
        """

    def make_bucket(self, bucket: str) -> None:
        """Make a bucket, unless it exists. Raises: NodeError."""

    def start_check(self) -> Pending[object]:
        """Send a cheap request that only a node that can be read answers.

        A node that knows that it takes no uploads answers with NodeRefusalError.
        """

    def list_objects(
        self, bucket: str, prefix: str = "", after: str = ""
    ) -> Iterator[tuple[str, ObjectInfo]]:
        """Yield (key, info) of keys that start with `prefix` and sort behind `after`.

        In the order of the keys' UTF-8 bytes, in constant memory. `info.headers` and
        `info.label` may be missing. A bucket that does not exist lists as empty. What a
        server lists is judged by `nodes/order.py`, which also ends what nobody waits
        for any more.
        """

    def close(self) -> None:
        """Close idle connections; transfers in progress continue."""


@runtime_checkable
class VerifyingNode(Protocol):
    """A node that verifies whatever it sends, and marks the copies that are damaged."""

    def note_lost(self) -> None:
        """Find and mark the copies whose bytes are gone, without reading the others.

        Raises: NodeError.
        """


@runtime_checkable
class TriedNode(Protocol):
    """A node of which can be found out by trying whether it takes uploads."""

    trial_seconds: float
    """How long the result of a trial counts, for its price."""

    def start_trial(self) -> Pending[object]:
        """Try to store something, and leave nothing of it.

        Waiting raises NodeError as an upload would.
        """


@runtime_checkable
class MeasuredNode(Protocol):
    """A node that tells how much room it has."""

    def free_bytes(self) -> int:
        """Return the space that is left for uploads. Raises: NodeError."""
