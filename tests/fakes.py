"""Nodes in memory and lists of nodes by hand: for the rules, without a network."""

from __future__ import annotations

import hashlib
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from errors import NoSuchKeyError, PreconditionError
from nodes import CHUNK_BYTES, NodeSpec, ObjectInfo, ObjectName, Pending, Stamp, Upload

T = TypeVar("T")
PATIENCE_SECONDS = 10.0


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
    before: dict[str, Callable[[], object]] = field(default_factory=dict)
    """Called when the answer to this method is waited for."""
    commit_is_lost: bool = False
    """Whether an upload is stored, but the answer fails."""

    def answer(self, method: str) -> None:
        """Raise what the script says."""
        if method in self.before:
            self.before[method]()
        error = self.failures.popleft() if self.failures else None
        if error or self.failing:
            raise error or self.failing  # type: ignore[misc]

    def put(self, name: ObjectName, body: bytes, stamp: Stamp | None = None) -> None:
        """Store an object behind everybody's back."""
        modified_ns = stamp.nanoseconds if stamp else 1
        tag = hashlib.md5(body).hexdigest()
        info = ObjectInfo(len(body), tag, modified_ns, stamp)
        self.objects[name] = (info, body)


class FakePending(Generic[T]):
    """See `Pending`."""

    def __init__(self, disk: FakeDisk, method: str, work: Callable[[], T]) -> None:
        self._disk = disk
        self._method = method
        self._work = work
        self.is_cancelled = False

    def wait(self) -> T:
        self._disk.answer(self._method)
        return self._work()

    def cancel(self) -> None:
        self.is_cancelled = True


class FakeContent:
    """See `NodeObject`."""

    def __init__(self, info: ObjectInfo, body: bytes) -> None:
        self.info = info
        self._rest = body

    def read(self) -> bytes:
        piece, self._rest = self._rest[:CHUNK_BYTES], self._rest[CHUNK_BYTES:]
        return piece

    def close(self) -> None:
        self._rest = b""


class FakeUpload:
    """See `Upload`."""

    def __init__(
        self, disk: FakeDisk, name: ObjectName, judge: Callable[[], None], stamp: Stamp
    ) -> None:
        self._disk = disk
        self._name = name
        self._judge = judge
        self._stamp = stamp
        self._pieces: list[bytes] = []

    def write(self, chunk: bytes) -> None:
        self._pieces.append(chunk)

    def commit(self) -> ObjectInfo:
        if not self._disk.commit_is_lost:
            self._disk.answer("commit")
        self._judge()
        self._disk.put(self._name, b"".join(self._pieces), self._stamp)
        if self._disk.commit_is_lost:
            self._disk.answer("commit")
        return self._disk.objects[self._name][0]

    def abort(self) -> None:
        self._disk.calls.append("abort")


class FakeNode:
    """See `Node`: answers from a `FakeDisk`."""

    def __init__(self, spec: NodeSpec, disk: FakeDisk) -> None:
        self.name = spec.name
        self.weight = spec.weight
        self.spec = spec
        self.disk = disk
        self.is_closed = False

    def _ask(self, method: str, work: Callable[[], T]) -> FakePending[T]:
        self.disk.calls.append(method)
        return FakePending(self.disk, method, work)

    def _find(self, name: ObjectName) -> tuple[ObjectInfo, bytes]:
        try:
            return self.disk.objects[name]
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
            info, body = self._find(name)
            if if_match and if_match != info.etag:
                raise PreconditionError("changed")
            if byte_range:
                body = body[byte_range[0] : byte_range[1] + 1]
            return FakeContent(info, body)

        return self._ask("get", work)

    def start_head(self, name: ObjectName) -> Pending[ObjectInfo]:
        return self._ask("head", lambda: self._find(name)[0])

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
        def judge() -> None:
            found = self.disk.objects.get(name)
            if if_absent and found:
                raise PreconditionError("there is one")
            if if_match and (not found or found[0].etag != if_match):
                raise PreconditionError("another one")

        self.disk.calls.append("put")
        self.disk.answer("put")
        return FakeUpload(self.disk, name, judge, stamp)

    def start_delete(self, name: ObjectName) -> Pending[None]:
        return self._ask("delete", lambda: self.disk.objects.pop(name, None) and None)

    def start_check(self) -> Pending[object]:
        return self._ask("check", lambda: None)

    def list_objects(
        self, bucket: str, prefix: str = "", after: str = ""
    ) -> Iterator[tuple[str, ObjectInfo]]:
        for name in sorted(self.disk.objects):
            if name.bucket == bucket and name.key.startswith(prefix):
                yield name.key, self.disk.objects[name][0]

    def close(self) -> None:
        self.is_closed = True


class FakeDiscovery:
    """Says what it is told to; wakes up when told so."""

    def __init__(self, *specs: NodeSpec) -> None:
        self.specs: object = list(specs)
        self.error: Exception | None = None
        self.finds = 0
        self.waits = 0
        self.gate = threading.Event()
        self.gate.set()
        self._awake = threading.Semaphore(0)

    def find(self) -> list[NodeSpec]:
        assert self.gate.wait(PATIENCE_SECONDS)
        self.finds += 1
        if self.error:
            raise self.error
        return self.specs  # type: ignore[return-value]

    def wait(self, seconds: float) -> None:
        self.waits += 1
        self._awake.acquire()

    def wake(self) -> None:
        self._awake.release()
