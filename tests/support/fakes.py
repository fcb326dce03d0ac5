"""Nodes in memory and lists of nodes by hand: for the rules, without a network."""

from __future__ import annotations

import hashlib
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

from amazin.errors import (
    LostCopyError,
    NodeError,
    NodeFullError,
    NodeTimeoutError,
    NoSuchBucketError,
    NoSuchKeyError,
    PreconditionError,
)
from amazin.model.node_specs import NodeSpec
from amazin.model.objects import (
    CHUNK_BYTES,
    DATA_BUCKETS,
    Label,
    ObjectInfo,
    ObjectName,
    Stamp,
)
from amazin.nodes.interface import Pending, Upload

T = TypeVar("T")
PATIENCE_SECONDS = 10.0


def skip() -> None:
    """Nothing happens."""


@dataclass
class FakeDisk:
    """What a node stores: outlives the `FakeNode`s that serve it."""

    objects: dict[ObjectName, tuple[ObjectInfo, bytes]] = field(default_factory=dict)
    failures: deque[BaseException | None] = field(default_factory=deque)
    """One for each coming question, None for a good answer; then all is well."""
    failing: BaseException | None = None
    """While set, every question fails like this."""
    calls: list[str] = field(default_factory=list)
    """The methods that were asked, in order."""
    cancelled: list[str] = field(default_factory=list)
    """Those that were given up; "" is the end of an upload."""
    before: dict[str, Callable[[], object]] = field(default_factory=dict)
    """Called when the answer to this method is waited for."""
    before_object: dict[tuple[str, ObjectName], Callable[[], object]] = field(
        default_factory=dict
    )
    """The same for a `get`, `head` or `commit` of one object."""
    commit_is_lost: bool = False
    """Whether an upload is stored, but the answer fails."""
    is_silent: bool = False
    """Whether no answer comes, until its time limit."""
    buckets: set[str] = field(default_factory=set)
    keeps_newer: bool = False
    """Whether it refuses an older stamp, as folder nodes do."""
    opened: list[FakeContent] = field(default_factory=list)
    """The downloads that began, in order."""
    lists_briefly: bool = False
    """Whether a listing tells no more than size and ETag."""
    breaks_at: int | None = None
    """Downloads fail when they come to this byte of the object."""
    piece_bytes: int = CHUNK_BYTES
    """A download is read in pieces of this size."""
    mangles: bool = False
    """Whether it stores other bytes than it is sent."""
    damaged: set[ObjectName] = field(default_factory=set)
    """Objects whose bytes are lost, as the node knows."""
    is_full: bool = False
    """Whether it refuses uploads, and takes deletes."""
    refusal: NodeError | None = None
    """While set, uploads and deletes fail like this."""
    frees_at_once: bool = False
    """Whether each delete makes room for an upload: MinIO takes minutes."""

    def answer(self, method: str) -> None:
        """Raise what the script says."""
        if method in self.before:
            self.before[method]()
        error = self.failures.popleft() if self.failures else None
        error = error or self.failing
        if isinstance(error, NodeError):
            error = copy(error)  # or another thread would change its node
            error.node = ""  # or one that failed before would have told it
        if error:
            raise error

    def require_writable(self) -> None:
        """Raise what an upload is refused with."""
        if self.is_full:
            raise NodeFullError("the node is full")
        if self.refusal:
            self.refusal.node = ""
            raise self.refusal

    def put(
        self, name: ObjectName, body: bytes, stamp: Stamp | None = None, epoch: int = 0
    ) -> None:
        """Store an object behind everybody's back."""
        self.store(name, body, Label(stamp, epoch) if stamp else None)

    def store(
        self,
        name: ObjectName,
        body: bytes,
        label: Label | None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Store an object, whatever was there."""
        modified_ns = label.stamp.nanoseconds if label else 1
        tag = hashlib.md5(body).hexdigest()
        info = ObjectInfo(len(body), tag, modified_ns, label, dict(headers or {}))
        self.buckets.add(name.bucket)
        self.objects[name] = (info, body)
        self.damaged.discard(name)

    def info_of(self, name: ObjectName) -> ObjectInfo:
        """Return what is known of an object."""
        return replace(self.objects[name][0], is_damaged=name in self.damaged)

    def wipe(self) -> None:
        """Replace it by an empty one."""
        self.objects.clear()
        self.damaged.clear()
        self.buckets.clear()

    @property
    def data(self) -> dict[ObjectName, tuple[ObjectInfo, bytes]]:
        """The objects of clients."""
        return {n: v for n, v in self.objects.items() if n.bucket in DATA_BUCKETS}


class FakePending(Generic[T]):
    """See `Pending`."""

    def __init__(self, disk: FakeDisk, method: str, work: Callable[[], T]) -> None:
        self._disk = disk
        self._method = method
        self._work = work
        self.is_cancelled = False
        self._polls = 0

    def is_ready(self, timeout: float) -> bool:
        self._polls += 1
        return not self._disk.is_silent or self._polls > 3

    def wait(self) -> T:
        if self._disk.is_silent:
            raise NodeTimeoutError("silent")
        self._disk.answer(self._method)
        return self._work()

    def cancel(self) -> None:
        self.is_cancelled = True
        self._disk.cancelled.append(self._method)


class FakeContent:
    """See `NodeObject`."""

    def __init__(
        self,
        info: ObjectInfo,
        body: bytes,
        byte_range: tuple[int, int] | None = None,
        breaks_at: int | None = None,
        piece_bytes: int = CHUNK_BYTES,
    ) -> None:
        self.info = info
        self.byte_range = byte_range
        self.is_closed = False
        self._body = body
        self._next, self._last = byte_range or (0, len(body) - 1)
        self._breaks_at = breaks_at
        self._piece_bytes = piece_bytes

    def read(self) -> bytes:
        assert not self.is_closed
        end = min(self._next + self._piece_bytes, self._last + 1)
        if self._breaks_at is not None and self._next < end:
            if self._breaks_at <= self._next:
                raise NodeError("the node broke the connection")
            end = min(end, self._breaks_at)
        piece, self._next = self._body[self._next : end], max(end, self._next)
        return piece

    def close(self) -> None:
        self.is_closed = True


class FakeUpload:
    """See `Upload`."""

    def __init__(
        self,
        disk: FakeDisk,
        name: ObjectName,
        length: int,
        judge: Callable[[], None],
        label: Label,
        headers: Mapping[str, str],
        keeps_newer: bool,
    ) -> None:
        self._disk = disk
        self._name = name
        self._length = length
        self._judge = judge
        self._label = label
        self._headers = dict(headers)
        self._keeps_newer = keeps_newer and disk.keeps_newer
        self._pieces: list[bytes] = []

    def write(self, chunk: bytes) -> None:
        self._disk.answer("write")
        self.take(chunk)

    def take(self, chunk: bytes) -> None:
        self._pieces.append(chunk)

    def start_commit(self) -> Pending[ObjectInfo]:
        return FakePending(self._disk, "", self._commit)

    def _commit(self) -> ObjectInfo:
        if not self._disk.commit_is_lost:
            self._disk.answer("commit")
        self._disk.before_object.get(("commit", self._name), skip)()
        self._judge()
        if self._name.key != "roster":
            self._disk.require_writable()
        body = b"".join(self._pieces)
        assert len(body) == self._length
        if self._disk.mangles:
            body = body[::-1]
        found = self._disk.objects.get(self._name)
        if not (
            self._keeps_newer
            and found
            and found[0].version[0] > self._label.stamp
            and found[0].epoch >= self._label.epoch
        ):
            self._disk.store(self._name, body, self._label, self._headers)
        if self._disk.commit_is_lost:
            self._disk.answer("commit")
        tag = hashlib.md5(body).hexdigest()
        nanoseconds = self._label.stamp.nanoseconds
        return ObjectInfo(len(body), tag, nanoseconds, self._label, self._headers)

    def abort(self) -> None:
        self._disk.calls.append("abort")


class FakeNode:
    """See `TriedNode`: answers from a `FakeDisk`."""

    trial_seconds = 30.0

    def __init__(self, spec: NodeSpec, disk: FakeDisk) -> None:
        self.name = spec.name
        self.spec = spec
        self.disk = disk
        self.is_closed = False

    def _ask(self, method: str, work: Callable[[], T]) -> FakePending[T]:
        self.disk.calls.append(method)
        return FakePending(self.disk, method, work)

    def _require_bucket(self, bucket: str) -> None:
        if bucket not in self.disk.buckets:
            raise NoSuchBucketError("NoSuchBucket")

    def _find(self, method: str, name: ObjectName) -> tuple[ObjectInfo, bytes]:
        self.disk.before_object.get((method, name), skip)()
        self._require_bucket(name.bucket)
        try:
            return self.disk.info_of(name), self.disk.objects[name][1]
        except KeyError:
            raise NoSuchKeyError("NoSuchKey") from None

    def start_get(
        self,
        name: ObjectName,
        *,
        byte_range: tuple[int, int] | None = None,
        if_match: str | None = None,
    ) -> Pending[FakeContent]:
        def work() -> FakeContent:
            info, body = self._find("get", name)
            if if_match and if_match != info.etag:
                raise PreconditionError("changed")
            if info.is_damaged:
                raise LostCopyError("damaged")
            disk = self.disk
            content = FakeContent(
                info, body, byte_range, disk.breaks_at, disk.piece_bytes
            )
            self.disk.opened.append(content)
            return content

        return self._ask("get", work)

    def start_head(self, name: ObjectName) -> Pending[ObjectInfo]:
        method = "head" if name.bucket in DATA_BUCKETS else "look"
        return self._ask(method, lambda: self._find("head", name)[0])

    def start_upload(
        self,
        name: ObjectName,
        length: int,
        label: Label,
        headers: Mapping[str, str],
        **conditions: Any,
    ) -> Upload:
        return self._begin(name, length, label, headers, **conditions)

    def start_put(
        self,
        name: ObjectName,
        data: bytes,
        label: Label,
        headers: Mapping[str, str],
        **conditions: Any,
    ) -> Pending[ObjectInfo]:
        upload = self._begin(name, len(data), label, headers, **conditions)
        upload.take(data)
        return upload.start_commit()

    def _begin(
        self,
        name: ObjectName,
        length: int,
        label: Label,
        headers: Mapping[str, str],
        *,
        if_match: str | None = None,
        if_absent: bool = False,
        keeps_newer: bool = False,
    ) -> FakeUpload:
        def judge() -> None:
            found = self.disk.objects.get(name)
            if if_absent and found:
                raise PreconditionError("there is one")
            if if_match and (not found or found[0].etag != if_match):
                raise PreconditionError("another one")

        self.disk.calls.append("put")
        self.disk.answer("put")
        self._require_bucket(name.bucket)
        return FakeUpload(self.disk, name, length, judge, label, headers, keeps_newer)

    def start_delete(
        self, name: ObjectName, *, if_match: str | None = None
    ) -> Pending[None]:
        def work() -> None:
            self._require_bucket(name.bucket)
            if self.disk.refusal:
                self.disk.require_writable()
            found = self.disk.objects.get(name)
            if found and if_match not in (None, found[0].etag):
                raise PreconditionError("another one")
            self.disk.damaged.discard(name)
            if self.disk.objects.pop(name, None) and self.disk.frees_at_once:
                self.disk.is_full = False

        return self._ask("delete", work)

    def make_bucket(self, bucket: str) -> None:
        if self.disk.is_silent:
            raise NodeTimeoutError("silent")
        self.disk.answer("bucket")
        self.disk.buckets.add(bucket)

    def start_check(self) -> Pending[object]:
        return self._ask("check", lambda: None)

    def start_trial(self) -> Pending[object]:
        return self._ask("trial", self.disk.require_writable)

    def list_objects(
        self, bucket: str, prefix: str = "", after: str = ""
    ) -> Iterator[tuple[str, ObjectInfo]]:
        if self.disk.is_silent:
            raise NodeTimeoutError("silent")
        self.disk.answer("list")
        for name in sorted(self.disk.objects):
            is_behind = name.key > after
            if name.bucket == bucket and name.key.startswith(prefix) and is_behind:
                self.disk.before.get("entry", skip)()
                if self.disk.failing:
                    raise self.disk.failing
                if name in self.disk.objects:
                    info = self.disk.info_of(name)
                    if self.disk.lists_briefly:
                        info = replace(info, label=None, headers={})
                    yield name.key, info

    def close(self) -> None:
        self.is_closed = True


def memory_nodes(count: int = 3) -> list[FakeNode]:
    """Return empty nodes with their buckets; one that fails is asked again at once."""
    names = [f"node-{number}" for number in range(1, count + 1)]
    # Without an endpoint a failure is not remembered: no probe, no thread.
    return [
        FakeNode(NodeSpec(name, None), FakeDisk(buckets={*DATA_BUCKETS}))
        for name in names
    ]


class FakeClock:
    """Stands still unless it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class FakeDiscovery:
    """Says what it is told to; wakes up when told so."""

    def __init__(self, *specs: NodeSpec) -> None:
        self.specs: object = list(specs)
        self.error: Exception | None = None
        self.begun = 0
        self.finds = 0
        self.waits = 0
        self.gate = threading.Event()
        self.gate.set()
        self._awake = threading.Semaphore(0)

    def find(self) -> list[NodeSpec]:
        self.begun += 1
        assert self.gate.wait(PATIENCE_SECONDS)
        self.finds += 1
        if self.error:
            raise self.error
        return self.specs  # type: ignore[return-value]

    def wait(self, seconds: float) -> None:
        self.waits += 1
        self._awake.acquire(timeout=PATIENCE_SECONDS)

    def wake(self) -> None:
        self._awake.release()
