"""Blobs in a folder of this machine: a folder node, and what `sos` left beside it.

Ours are objects of a `FolderNode`; those of sos are served where they lie until they
are imported. An id that has bytes keeps them: a blob is stored only where there is
none, which the node judges at the commit, for all processes that share the folder.
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

BUCKET = "blobs"
"""The node's bucket of blobs."""
_BATCH_IDS, _BATCH_DETAILS = 4096, 256


class Detail(NamedTuple):
    """A line of the detailed list; without an ETag if none is known."""

    blob_id: str
    size: int
    etag: str


class BlobFolder:
    """The blobs in a folder, which must exist: `Blobs`. Thread-safe."""

    def __init__(self, path: Path) -> None:
        """Open the folder. Raises: SettingsError, if it can't hold blobs."""
        self.old = SosFolder(path)
        self.old.require_room()
        self.node = FolderNode("store", path)
        self._member = Member(NodeSpec("store", None), self.node)
        self._calls = BlockingCalls()
        try:
            self.node.make_bucket(BUCKET)
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
        old = ask(self._calls, self.old.ids)  # first: what is imported now is in both
        keys = self.node.list_keys(BUCKET)
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
            for key, info in self.node.list_objects(BUCKET)
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
                with suppress(NoSuchKeyError):  # imported meanwhile, or gone
                    info = self.node.start_head(ObjectName(BUCKET, blob_id)).wait()
                    yield Detail(blob_id, info.size, info.etag)

    def _look(self, blob_id: str) -> ObjectInfo:
        """Find a blob. One that is imported at this moment may be missed."""
        with suppress(NoSuchKeyError):
            return self.node.start_head(ObjectName(BUCKET, blob_id)).wait()
        return ask(self._calls, self.old.find, blob_id)

    def _find(self, blob_id: str) -> ObjectInfo:
        try:
            return self._look(blob_id)
        except NoSuchKeyError:  # or it was imported between the two questions
            return self.node.start_head(ObjectName(BUCKET, blob_id)).wait()

    def _open(self, blob_id: str, byte_range: ByteRange | None) -> FolderObject:
        name = ObjectName(BUCKET, blob_id)
        with suppress(NoSuchKeyError):
            return self.node.start_get(name, byte_range=byte_range).wait()
        try:
            return ask(self._calls, self._open_old, blob_id, byte_range)
        except NoSuchKeyError:  # or it was imported between the two questions
            return self.node.start_get(name, byte_range=byte_range).wait()

    def _open_old(self, blob_id: str, byte_range: ByteRange | None) -> FolderObject:
        info, path = self.old.find(blob_id), self.old.file_of(blob_id).resolve()
        try:
            return FolderObject(self._calls, path, info, byte_range)
        except FileNotFoundError:
            raise NoSuchKeyError("no such blob") from None

    # Writing

    def put(self, blob_id: str, body: Body, headers: Mapping[str, str]) -> Stored:
        """See `Blobs`. The length of the body may be unknown."""
        try:
            info = self._look(blob_id)  # the commit finds what was missed
            if not info.etag and ask(self._calls, self.old.is_damaged, blob_id):
                raise NoSuchKeyError("sos left a part of it")  # what is stored hides it
        except NoSuchKeyError:
            info = self._store(blob_id, body, headers)
        else:
            self._require_same(blob_id, info, measured(info, body))
        return Stored(self._member, info)

    def _store(
        self, blob_id: str, body: Body, headers: Mapping[str, str]
    ) -> ObjectInfo:
        length = None if body.length == UNKNOWN_SIZE else body.length
        name = ObjectName(BUCKET, blob_id)
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
        """Raises: DifferentContentError, if a blob has other bytes; NodeError."""
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
    """Read a body that is not to be stored; returns its size and its MD5 in hex.

    Raises: DifferentContentError, once it is longer than what is stored; BodyError.
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
    """Return the label of a blob that was first stored at this Unix time."""
    return Label(Stamp(max(0, modified_ns), secrets.randbits(32)))


def quoted(ids: Iterable[str]) -> str:
    """Return ids as the inside of a JSON array."""
    return ",".join([f'"{blob_id}"' for blob_id in ids])
