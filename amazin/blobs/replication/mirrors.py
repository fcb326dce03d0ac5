"""The blob servers of a group during replication, and transfers between them.

A transfer stores a blob completely or not at all, only if its SHA-1 is right, and only
if the target has no copy. `work.py` decides what is copied.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import NamedTuple, Protocol

from amazin.blobs.replication.lists import Lister
from amazin.blobs.store import BLOB_BUCKET, is_sha1
from amazin.errors import (
    GatewayError,
    NodeError,
    NodeFullError,
    NoSuchKeyError,
    PreconditionError,
)
from amazin.model.bodies import digest_of
from amazin.model.objects import UNKNOWN_SIZE, Label, ObjectInfo, ObjectName, Stamp
from amazin.nodes.interface import NodeObject, Pending, Upload

PATIENCE = 3
"""Failures in a row after which a server is probed, or counts as full."""


class MirrorServer(Lister, Protocol):
    """The requests that replication sends to a blob server; see `Node`."""

    def start_get(self, name: ObjectName) -> Pending[NodeObject]:
        """Send a GET of a blob."""

    def start_head(self, name: ObjectName) -> Pending[ObjectInfo]:
        """Send a HEAD of a blob."""

    def start_put(
        self, name: ObjectName, data: bytes, label: Label, headers: Mapping[str, str]
    ) -> Pending[ObjectInfo]:
        """Store a small blob; PreconditionError: the id has other bytes."""

    def start_upload(
        self,
        name: ObjectName,
        length: int | None,
        label: Label,
        headers: Mapping[str, str],
    ) -> Upload:
        """Begin an upload; PreconditionError at the commit: the id has other bytes."""

    def start_check(self) -> Pending[object]:
        """Ask whether the server is alive."""

    def close(self) -> None:
        """Close idle connections."""


class SourceError(GatewayError):
    """The source's copy can't be read."""


class DamagedSourceError(SourceError):
    """The SHA-1 of the source's bytes is not the id."""


class TargetError(GatewayError):
    """The target refused the upload, or failed during it."""


class DifferentError(TargetError):
    """The target has other bytes under the id, which stay."""


class IsThereError(GatewayError):
    """Another client stored the blob on the target meanwhile."""


class Mirror:
    """One server of a group, and whether it is used in this run. Thread-safe."""

    def __init__(self, url: str, server: MirrorServer) -> None:
        self.url = url
        self.server = server
        self.is_old = True
        """Whether it may be an old server: a second upload replaces a blob there."""
        self.reason = ""
        """Why the server is left out; empty: it is used."""
        self.undone = 0
        """Copies not made because the server was left out or full."""
        self._failures = 0
        self._refusals = 0
        self._lock = threading.Lock()

    @property
    def is_full(self) -> bool:
        """Whether the last uploads were all refused because the disk is full."""
        return self._refusals >= PATIENCE

    def leave_out(self, error: GatewayError) -> None:
        """Use the server no more in this run."""
        with self._lock:
            self.reason = self.reason or str(error)

    def note_success(self, *, is_upload: bool = False) -> None:
        """Note that a request succeeded."""
        with self._lock:
            self._failures = 0
            if is_upload:
                self._refusals = 0

    def note_failure(self, error: NodeError) -> None:
        """Count a failure; after `PATIENCE` in a row, probe the server."""
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
        """Count a copy from or to the server that is left for another run."""
        with self._lock:
            self.undone += 1

    def open(self, blob_id: str) -> NodeObject:
        """Open a blob; the caller closes it. Raises: SourceError."""
        with self._as_source():
            return self.server.start_get(ObjectName(BLOB_BUCKET, blob_id)).wait()

    def chunks(self, content: NodeObject) -> Iterator[bytes]:
        """Yield the bytes of an open blob. Raises: SourceError."""
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
        """Turn errors of an upload to the server into TargetError."""
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
        """Check that an old server has no copy, which an upload would replace.

        Raises: IsThereError, TargetError.
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
    """The size in bytes and the SHA-1 in hex of a copy."""

    size: int
    sha1: str


def read_digest(mirror: Mirror, blob_id: str) -> Digest:
    """Read a copy; return its digest. Raises: SourceError."""
    with closing(mirror.open(blob_id)) as content:
        return Digest(*digest_of(mirror.chunks(content), "sha1"))


class BlobTransfer:
    """Copies one blob from one server to another."""

    def __init__(
        self,
        blob_id: str,
        source: Mirror,
        target: Mirror,
        on_begin: Callable[[], object],
        on_sent: Callable[[int], object],
    ) -> None:
        """`on_begin` is called before the upload, `on_sent` with each piece's size.

        After an error, `on_sent` is called with minus the bytes sent.
        """
        self._blob_id = blob_id
        self._source = source
        self._target = target
        self._on_begin = on_begin
        self._on_sent = on_sent
        self._upload: Upload | None = None
        self._sent = 0

    def run(self) -> None:
        """Copy the blob completely, or store nothing.

        Raises:
            SourceError, DamagedSourceError: another source may succeed.
            TargetError, DifferentError: no source can succeed now.
            IsThereError: the target has the blob.
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
        """Send the blob; the last piece only if the SHA-1 is right."""
        sha1, held = hashlib.sha1(usedforsecurity=False), b""
        for chunk in self._source.chunks(content):
            sha1.update(chunk)
            if held:
                self._write(self._upload or self._begin(content.info), held)
            held = chunk
        if is_sha1(self._blob_id) and sha1.hexdigest() != self._blob_id:
            raise DamagedSourceError("its bytes have another SHA-1")
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
    """Return a label with the current time; blob servers don't store it."""
    return Label(Stamp(time.time_ns(), 0))
