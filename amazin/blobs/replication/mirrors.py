"""The blob servers of a group as replication sees them, and one copy between two.

A copy becomes visible on a server whole or not at all, only with the bytes that its
name promises, and only where there is none. What is copied where:
`work.py`.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import NamedTuple, Protocol

from amazin.blobs.node.node import BLOB_BUCKET
from amazin.blobs.replication.lists import Lister
from amazin.blobs.store import is_sha1
from amazin.errors import (
    GatewayError,
    NodeError,
    NodeFullError,
    NoSuchKeyError,
    PreconditionError,
)
from amazin.model.bodies import digests_of
from amazin.model.objects import UNKNOWN_SIZE, Label, ObjectInfo, ObjectName, Stamp
from amazin.nodes.interface import NodeObject, Pending, Upload

PATIENCE = 3
"""Failures in a row after which a server is asked if it lives, or counts as full."""


class BlobServer(Lister, Protocol):
    """What is asked of a blob server; see `Node`."""

    def start_get(self, name: ObjectName) -> Pending[NodeObject]:
        """Ask for a blob."""

    def start_head(self, name: ObjectName) -> Pending[ObjectInfo]:
        """Ask whether there is a blob."""

    def start_put(
        self, name: ObjectName, data: bytes, label: Label, headers: Mapping[str, str]
    ) -> Pending[ObjectInfo]:
        """Ask to store a small blob; PreconditionError: there are other bytes."""

    def start_upload(
        self,
        name: ObjectName,
        length: int | None,
        label: Label,
        headers: Mapping[str, str],
    ) -> Upload:
        """Begin an upload; PreconditionError at its end: there are other bytes."""

    def start_check(self) -> Pending[object]:
        """Ask whether it lives."""

    def close(self) -> None:
        """Drop idle connections."""


class SourceError(GatewayError):
    """A copy can't be read."""


class WrongBytesError(SourceError):
    """The bytes of a copy have another SHA-1 than its id."""


class TargetError(GatewayError):
    """A server refused a copy, or failed while it was sent."""


class DifferentError(TargetError):
    """A server holds other bytes under the same id; they stay."""


class IsThereError(GatewayError):
    """A server received the blob from somebody else meanwhile."""


class Mirror:
    """One server of a group, and whether it can be used now. Thread-safe."""

    def __init__(self, url: str, server: BlobServer) -> None:
        self.url = url
        self.server = server
        self.is_old = True
        """Whether it may be an old one, which replaces what is uploaded again."""
        self.reason = ""
        """Why it is left out; empty: it is not left out."""
        self.undone = 0
        """Copies that were not made because it was left out, or full, by then."""
        self._failures = 0
        self._refusals = 0
        self._lock = threading.Lock()

    @property
    def is_full(self) -> bool:
        """Whether its last uploads were all refused because it is full."""
        return self._refusals >= PATIENCE

    def leave_out(self, error: GatewayError) -> None:
        """Send no more requests to it."""
        with self._lock:
            self.reason = self.reason or str(error)

    def note_success(self, *, is_upload: bool = False) -> None:
        """Note that a request succeeded."""
        with self._lock:
            self._failures = 0
            if is_upload:
                self._refusals = 0

    def note_failure(self, error: NodeError) -> None:
        """Count a failure; after some in a row ask whether it lives."""
        with self._lock:
            if isinstance(error, NodeFullError):
                self._refusals += 1
                return
            self._failures += 1
            if self._failures < PATIENCE or self.reason:
                return
        try:
            self.server.start_check().wait()
        except NodeError as exc:
            self.leave_out(exc)
        else:
            self.note_success()

    def note_undone(self) -> None:
        """Note that a copy from or to it is left for another run."""
        with self._lock:
            self.undone += 1

    def open(self, blob_id: str) -> NodeObject:
        """Open a blob; the caller closes it. Raises: SourceError."""
        with self._as_source():
            return self.server.start_get(ObjectName(BLOB_BUCKET, blob_id)).wait()

    def chunks(self, content: NodeObject) -> Iterator[bytes]:
        """Yield the bytes of what was opened. Raises: SourceError."""
        while chunk := self._read(content):
            yield chunk
        self.note_success()

    def _read(self, content: NodeObject) -> bytes:
        with self._as_source():
            return content.read()

    @contextmanager
    def _as_source(self) -> Iterator[None]:
        try:
            yield
        except (NodeError, NoSuchKeyError, PreconditionError) as exc:
            if isinstance(exc, NodeError):
                self.note_failure(exc)
            raise SourceError(str(exc)) from exc

    @contextmanager
    def as_target(self) -> Iterator[None]:
        """Raise the errors of an upload to it as TargetError."""
        try:
            yield
        except PreconditionError as exc:
            raise DifferentError(str(exc)) from exc
        except NodeFullError as exc:
            self.note_failure(exc)
            part = "; it may have kept a part, see --check" if self.is_old else ""
            raise TargetError(f"{exc}{part}") from exc
        except NodeError as exc:
            self.note_failure(exc)
            raise TargetError(str(exc)) from exc

    def refuse_if_there(self, blob_id: str) -> None:
        """Do nothing if an upload replaces nothing. Raises: IsThereError, TargetError.

        Ours see to that themselves.
        """
        if not self.is_old:
            return
        with self.as_target():
            try:
                self.server.start_head(ObjectName(BLOB_BUCKET, blob_id)).wait()
            except NoSuchKeyError:
                return
        raise IsThereError(f"{blob_id} is there")


class Digest(NamedTuple):
    """The size, the SHA-1 and the SHA-256 of a copy: two may have one SHA-1."""

    size: int
    sha1: str
    sha256: str


def read_digest(mirror: Mirror, blob_id: str) -> Digest:
    """Read a copy. Raises: SourceError."""
    with closing(mirror.open(blob_id)) as content:
        size, digests = digests_of(mirror.chunks(content), "sha1", "sha256")
        return Digest(size, *digests)


class Transfer:
    """One copy of a blob on its way from one server to another."""

    def __init__(
        self,
        blob_id: str,
        source: Mirror,
        target: Mirror,
        on_begin: Callable[[], object],
        on_sent: Callable[[int], object],
    ) -> None:
        """`on_begin` is called before the upload, `on_sent` with each piece's size."""
        self._blob_id = blob_id
        self._source = source
        self._target = target
        self._on_begin = on_begin
        self._on_sent = on_sent
        self._upload: Upload | None = None
        self._sent = 0

    def run(self) -> None:
        """Copy it, or nothing.

        Raises:
            SourceError, WrongBytesError: another source may do.
            TargetError, DifferentError: of no use with any source, now.
            IsThereError: there is nothing to do any more.
        """
        with closing(self._source.open(self._blob_id)) as content:
            try:
                self._stream(content)
            except BaseException:
                self._on_sent(-self._sent)
                raise
            finally:
                if self._upload:
                    self._upload.abort()

    def _stream(self, content: NodeObject) -> None:
        """Send all but the last piece; send that one only if the SHA-1 is right."""
        sha1, held = hashlib.sha1(usedforsecurity=False), b""
        for chunk in self._source.chunks(content):
            sha1.update(chunk)
            if held:
                self._write(self._upload or self._begin(content.info), held)
            held = chunk
        if is_sha1(self._blob_id) and sha1.hexdigest() != self._blob_id:
            raise WrongBytesError("its bytes have another SHA-1")
        self._target.refuse_if_there(self._blob_id)
        if self._upload:
            self._write(self._upload, held)
            with self._target.as_target():
                self._upload.start_commit().wait()
        else:
            self._put(held, content.info)
        self._target.note_success(is_upload=True)

    def _put(self, data: bytes, info: ObjectInfo) -> None:
        """Send a blob of one piece."""
        self._on_begin()
        name, label = ObjectName(BLOB_BUCKET, self._blob_id), new_label()
        with self._target.as_target():
            self._target.server.start_put(name, data, label, info.headers).wait()
        self._note_sent(len(data))

    def _begin(self, info: ObjectInfo) -> Upload:
        self._target.refuse_if_there(self._blob_id)
        self._on_begin()
        with self._target.as_target():
            self._upload = self._target.server.start_upload(
                ObjectName(BLOB_BUCKET, self._blob_id),
                None if info.size == UNKNOWN_SIZE else info.size,
                new_label(),
                info.headers,
            )
        return self._upload

    def _write(self, upload: Upload, chunk: bytes) -> None:
        with self._target.as_target():
            upload.write(chunk)
        self._note_sent(len(chunk))

    def _note_sent(self, size: int) -> None:
        self._sent += size
        self._on_sent(size)


def new_label() -> Label:
    """Return a label of now; blob servers keep none."""
    return Label(Stamp(time.time_ns(), 0))
