"""Blob servers in memory, and replications over them."""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from amazin.blobs.replication.run import Options, Replication, Stage
from amazin.blobs.replication.work import Report
from amazin.errors import (
    NodeProtocolError,
    NodeUnreachableError,
    NoSuchKeyError,
    PreconditionError,
)
from amazin.model.objects import UNKNOWN_SIZE, Label, ObjectInfo, ObjectName

T = TypeVar("T")
PIECE = 4
A, B, C = "http://a:1", "http://b:2", "http://c:3"


def sha1(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


class Answered(Generic[T]):
    """A `Pending` that works when it is waited for."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work

    def is_ready(self, timeout: float) -> bool:
        return True

    def wait(self) -> T:
        return self._work()

    def cancel(self) -> None:
        pass


class Content:
    """See `NodeObject`."""

    def __init__(self, server: FakeServer, data: bytes, info: ObjectInfo) -> None:
        self.info = info
        self._server = server
        self._file = io.BytesIO(data)
        self.is_closed = False

    def read(self) -> bytes:
        self._server.before("read")
        if self._server.breaks_at <= self._file.tell():
            raise NodeProtocolError("the node's answer is cut off")
        return self._file.read(PIECE)

    def close(self) -> None:
        self.is_closed = True


class Upload:
    """See `Upload`."""

    def __init__(
        self,
        server: FakeServer,
        blob_id: str,
        length: int | None,
        headers: Mapping[str, str],
    ) -> None:
        self._server = server
        self._id = blob_id
        self._length = length
        self._headers = headers
        self._data = b""
        self.is_over = False

    def write(self, chunk: bytes) -> None:
        self._server.before("write")
        self.take(chunk)

    def take(self, chunk: bytes) -> None:
        self._data += chunk

    def start_commit(self) -> Answered[ObjectInfo]:
        return Answered(self._commit)

    def _commit(self) -> ObjectInfo:
        self._server.before("commit")
        self.is_over = True
        assert self._length in (None, len(self._data))
        self._server.store(self._id, self._data, self._headers)
        return ObjectInfo(len(self._data), "", 0)

    def abort(self) -> None:
        self.is_over = True


@dataclass
class FakeServer:
    """A blob server in memory."""

    is_old: bool = False
    shown_etag: str | None = None
    """What its detailed list says of every blob; None: the MD5."""
    blobs: dict[str, bytes] = field(default_factory=dict)
    headers: dict[str, Mapping[str, str]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    scripts: dict[str, Callable[[], object]] = field(default_factory=dict)
    """Called when this is asked, and may raise."""
    breaks_at: int = 10**9
    opened: list[Content] = field(default_factory=list)
    uploads: list[Upload] = field(default_factory=list)
    is_closed: bool = False

    def before(self, call: str) -> None:
        self.calls.append(call)
        if call in self.scripts:
            self.scripts[call]()

    def put(self, data: bytes, blob_id: str = "", **headers: str) -> str:
        blob_id = blob_id or sha1(data)
        self.blobs[blob_id] = data
        self.headers[blob_id] = headers
        return blob_id

    def store(self, blob_id: str, data: bytes, headers: Mapping[str, str]) -> None:
        if not self.is_old and blob_id in self.blobs:
            if self.blobs[blob_id] != data:
                raise PreconditionError("the server holds other bytes under this id")
            return
        self.blobs[blob_id] = data
        self.headers[blob_id] = headers

    def ids(self) -> Iterator[str]:
        self.before("list")
        yield from sorted(self.blobs)
        self.before("end of list")

    def details(self) -> Iterator[tuple[str, int, str]] | None:
        if self.is_old and self.blobs:
            return None
        return ((name, len(self.blobs[name]), self.etag(name)) for name in self.ids())

    def etag(self, blob_id: str) -> str:
        if self.shown_etag is not None:
            return self.shown_etag
        return md5(self.blobs[blob_id])

    def start_get(self, name: ObjectName) -> Answered[Content]:
        def work() -> Content:
            self.before("get")
            if name.key not in self.blobs:
                raise NoSuchKeyError("the server has no such blob")
            data = self.blobs[name.key]
            size = UNKNOWN_SIZE if self.is_old else len(data)
            info = ObjectInfo(size, "", 0, None, self.headers.get(name.key, {}))
            self.opened.append(Content(self, data, info))
            return self.opened[-1]

        return Answered(work)

    def start_head(self, name: ObjectName) -> Answered[ObjectInfo]:
        def work() -> ObjectInfo:
            self.before("head")
            if name.key not in self.blobs:
                raise NoSuchKeyError("the server has no such blob")
            return ObjectInfo(UNKNOWN_SIZE, "", 0)

        return Answered(work)

    def start_put(
        self, name: ObjectName, data: bytes, label: Label, headers: Mapping[str, str]
    ) -> Answered[ObjectInfo]:
        self.before("put")
        upload = Upload(self, name.key, len(data), headers)
        upload.take(data)
        return upload.start_commit()

    def start_upload(
        self,
        name: ObjectName,
        length: int | None,
        label: Label,
        headers: Mapping[str, str],
    ) -> Upload:
        self.before("put")
        self.uploads.append(Upload(self, name.key, length, headers))
        return self.uploads[-1]

    def start_check(self) -> Answered[None]:
        return Answered(lambda: self.before("check"))

    def close(self) -> None:
        self.is_closed = True


def raising(error: BaseException) -> Callable[[], object]:
    """Return a script that fails so, always."""

    def fail() -> object:
        raise error

    return fail


def dying_at(call: int, server: FakeServer) -> Callable[[], object]:
    """Return a script by which, from its n-th call on, nothing is answered."""
    calls = iter(range(1, 10**9))

    def maybe_die() -> None:
        if next(calls) >= call:
            dead = raising(NodeUnreachableError("no connection to the node"))
            names = ("get", "head", "put", "read", "write", "commit", "check", "list")
            server.scripts = dict.fromkeys(names, dead)
            dead()

    return maybe_die


class Run:
    """A replication of these servers, and what it said."""

    def __init__(
        self,
        servers: Mapping[str, FakeServer],
        *,
        groups: Mapping[str, Sequence[str]] | None = None,
        is_check: bool = False,
        jobs: int = 4,
        tell: Callable[[Stage], object] | None = None,
    ) -> None:
        self.blocks: list[list[str]] = []
        self.lock = threading.Lock()
        options = Options(jobs, is_check)
        run = Replication(lambda url: servers[url], options, self.say, tell)
        self.report: Report = run.run(groups or {"default": list(servers)})
        for server in servers.values():
            assert all(upload.is_over for upload in server.uploads)
            assert all(content.is_closed for content in server.opened)

    def say(self, lines: Sequence[str]) -> None:
        with self.lock:
            self.blocks.append(list(lines))

    @property
    def lines(self) -> list[str]:
        return [line for block in self.blocks for line in block]


class ManyBlobs(FakeServer):
    """Has so many small blobs, none in memory; takes others and forgets them."""

    def __init__(self, numbers: range) -> None:
        super().__init__()
        self._numbers = numbers

    def before(self, call: str) -> None:
        pass

    def ids(self) -> Iterator[str]:
        return (f"{number:08}" for number in self._numbers)

    def details(self) -> Iterator[tuple[str, int, str]]:
        return ((blob_id, 8, md5(b"")) for blob_id in self.ids())

    def start_get(self, name: ObjectName) -> Answered[Content]:
        info = ObjectInfo(8, "", 0)
        return Answered(lambda: Content(self, name.key.encode(), info))

    def start_upload(
        self,
        name: ObjectName,
        length: int | None,
        label: Label,
        headers: Mapping[str, str],
    ) -> Upload:
        return Upload(self, name.key, length, headers)

    def store(self, blob_id: str, data: bytes, headers: Mapping[str, str]) -> None:
        assert data == blob_id.encode()
