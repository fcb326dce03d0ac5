"""Blobs in a folder of this machine: in a folder node, or in files of `sos`.

New blobs are objects of a `FolderNode`. The files of `sos` are served in place until
they are imported. The bytes of an id never change: an upload is committed only if the
id is absent, which the node checks for all processes that share the folder.
"""

from __future__ import annotations

import hashlib
import heapq
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from amazin.blobs.sos_folder import SosFolder
from amazin.blobs.store import BLOB_BUCKET
from amazin.blocking import BlockingCalls
from amazin.cluster.cluster import Chooser, Download
from amazin.cluster.uploads import Stored
from amazin.errors import (
    DifferentContentError,
    NodeError,
    NoSuchKeyError,
    PreconditionError,
    SettingsError,
)
from amazin.membership.member import Member, finish
from amazin.model.bodies import Body
from amazin.model.node_specs import NodeSpec
from amazin.model.objects import (
    UNKNOWN_SIZE,
    ByteRange,
    Label,
    ObjectInfo,
    ObjectName,
    Stamp,
)
from amazin.nodes.folder.calls import ask
from amazin.nodes.folder.node import FolderNode, FolderObject

_BATCH_IDS, _BATCH_DETAILS = 4096, 256


class Detail(NamedTuple):
    """One entry of the detailed list of blobs."""

    blob_id: str
    size: int
    """In bytes."""
    etag: str
    """The MD5 in hex; empty: unknown."""


class BlobFolder:
    """The blobs in a folder, as `Blobs`. Thread-safe."""

    def __init__(self, path: Path) -> None:
        """Open an existing folder. Raises: SettingsError: it can't hold blobs."""
        self.old = SosFolder(path)
        self.old.require_room()
        self.node = FolderNode("store", path)
        self._member = Member(NodeSpec("store", None), self.node)
        self._calls = BlockingCalls()
        try:
            self.node.make_bucket(BLOB_BUCKET)
        except NodeError as exc:
            raise SettingsError(f"{path} can't be used: {exc}") from exc

    def close(self) -> None:
        """End idle threads, and close the index."""
        self._calls.close()
        self._member.close()

    # Reading

    def get(self, blob_id: str, choose: Chooser | None = None) -> Download:
        """See `Blobs`."""
        byte_range: ByteRange | None = None
        if choose:
            byte_range = choose(self.head(blob_id).info)
        content = self._open(blob_id, byte_range)
        return Download(self._member, content, byte_range)

    def head(self, blob_id: str) -> Stored:
        """See `Blobs`."""
        return Stored(self._member, self._find(blob_id))

    def ids(self) -> Iterator[list[str]]:
        """Yield all ids in order, many at a time. Raises: NodeError."""
        # First the old ones: a blob that is imported meanwhile is in both lists.
        old = ask(self._calls, self.old.ids)
        keys = self.node.list_keys(BLOB_BUCKET)
        if not old:
            yield from keys
            return
        previous = ""
        batch = list[str]()
        for blob_id in heapq.merge(old, chain.from_iterable(keys)):
            if blob_id != previous:
                batch.append(blob_id)
            previous = blob_id
            if len(batch) == _BATCH_IDS:
                yield batch
                batch = []
        yield batch

    def details(self) -> Iterator[Detail]:
        """Yield all blobs in order. Raises: NodeError."""
        others = self._old_details(ask(self._calls, self.old.ids))
        ours = (
            Detail(key, info.size, info.etag)
            for key, info in self.node.list_objects(BLOB_BUCKET)
        )
        previous = ""
        for detail in heapq.merge(ours, others, key=lambda detail: detail.blob_id):
            if detail.blob_id != previous:
                yield detail
            previous = detail.blob_id

    def _old_details(self, ids: Sequence[str]) -> Iterator[Detail]:
        for first in range(0, len(ids), _BATCH_DETAILS):
            batch = ids[first : first + _BATCH_DETAILS]
            sizes = ask(self._calls, self.old.sizes, batch)
            for blob_id, size in zip(batch, sizes, strict=True):
                if size is not None:
                    yield Detail(blob_id, size, "")
                    continue
                with suppress(NoSuchKeyError):  # imported meanwhile, or removed
                    info = self.node.start_head(ObjectName(BLOB_BUCKET, blob_id)).wait()
                    yield Detail(blob_id, info.size, info.etag)

    def _look(self, blob_id: str) -> ObjectInfo:
        """Find a blob; may miss one that is imported at the same time."""
        with suppress(NoSuchKeyError):
            return self.node.start_head(ObjectName(BLOB_BUCKET, blob_id)).wait()
        return ask(self._calls, self.old.find, blob_id)

    def _find(self, blob_id: str) -> ObjectInfo:
        try:
            return self._look(blob_id)
        except NoSuchKeyError:  # it may have been imported between the two requests
            return self.node.start_head(ObjectName(BLOB_BUCKET, blob_id)).wait()

    def _open(self, blob_id: str, byte_range: ByteRange | None) -> FolderObject:
        name = ObjectName(BLOB_BUCKET, blob_id)
        with suppress(NoSuchKeyError):
            return self.node.start_get(name, byte_range=byte_range).wait()
        try:
            return ask(self._calls, self._open_old, blob_id, byte_range)
        except NoSuchKeyError:  # it may have been imported between the two requests
            return self.node.start_get(name, byte_range=byte_range).wait()

    def _open_old(self, blob_id: str, byte_range: ByteRange | None) -> FolderObject:
        info, path = self.old.find(blob_id), self.old.file_of(blob_id)
        try:
            return FolderObject(self._calls, path, info, byte_range)
        except FileNotFoundError:
            raise NoSuchKeyError("no such blob") from None

    # Writing

    def put(self, blob_id: str, body: Body, headers: Mapping[str, str]) -> Stored:
        """See `Blobs`. The length of the body may be unknown."""
        try:
            info = self._look(blob_id)  # if it misses one, the commit fails
            if not info.etag and ask(self._calls, self.old.is_damaged, blob_id):
                raise NoSuchKeyError("sos left a part of it")  # the new one is served
        except NoSuchKeyError:
            info = self._store(blob_id, body, headers)
        else:
            self._require_same(blob_id, info, measured(info, body))
        return Stored(self._member, info)

    def _store(
        self, blob_id: str, body: Body, headers: Mapping[str, str]
    ) -> ObjectInfo:
        length = None if body.length == UNKNOWN_SIZE else body.length
        name = ObjectName(BLOB_BUCKET, blob_id)
        label = new_label(time.time_ns())
        upload = self.node.start_upload(name, length, label, headers, if_absent=True)
        try:
            return finish(upload, body.chunks())
        except PreconditionError:  # another upload, or an import, was faster
            info = self._find(blob_id)
            self._require_same(blob_id, info, upload.written)
            return info

    def _require_same(
        self, blob_id: str, info: ObjectInfo, written: tuple[int, str]
    ) -> None:
        """Check that a stored blob has these bytes, by size and MD5.

        Raises: DifferentContentError: it has others; NodeError.
        """
        size, etag = written
        if size != info.size:
            raise DifferentContentError
        if not info.etag:
            try:
                if ask(self._calls, self.old.digest, blob_id) == written:
                    return
            except NodeError:
                info = self._find(blob_id)
                if not info.etag:
                    raise
        if etag != info.etag:
            raise DifferentContentError


def measured(info: ObjectInfo, body: Body) -> tuple[int, str]:
    """Read the body of a blob that is stored; return its size and its MD5 in hex.

    Raises: DifferentContentError: it is longer than the stored one; BodyError.
    """
    if body.length not in (info.size, UNKNOWN_SIZE):
        raise DifferentContentError
    size, digest = 0, hashlib.md5(usedforsecurity=False)
    for chunk in body.chunks():
        size += len(chunk)
        digest.update(chunk)
        if size > info.size:
            raise DifferentContentError
    return size, digest.hexdigest()


def new_label(modified_ns: int) -> Label:
    """Return the label of a blob first stored at this Unix time in nanoseconds."""
    return Label(Stamp(max(0, modified_ns), secrets.randbits(32)))


def quoted(ids: Iterable[str]) -> str:
    """Return ids as JSON strings with commas between them."""
    return ",".join([f'"{blob_id}"' for blob_id in ids])
