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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from amazin.blobs.sos_folder import SosFolder
from amazin.blobs.store import BLOB_BUCKET, is_sha1
from amazin.blobs.verified import Verdict, Verdicts
from amazin.blocking import BlockingCalls
from amazin.cluster.cluster import Chooser, Download
from amazin.cluster.uploads import Stored
from amazin.errors import (
    DifferentContentError,
    LostCopyError,
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
from amazin.nodes.folder.node import RECHECK_SECONDS, FolderNode
from amazin.nodes.folder.reading import FolderObject, verified_sums
from amazin.nodes.folder.sums import BLOCK_BYTES
from amazin.nodes.folder.verifying import Verifier

_BATCH_IDS, _BATCH_DETAILS = 4096, 256


class Detail(NamedTuple):
    """One entry of the detailed list of blobs."""

    blob_id: str
    size: int
    """In bytes."""
    etag: str
    """The MD5 in hex; empty: unknown."""


class BlobFolder:
    """The blobs in a folder, as `Blobs`. Thread-safe. `clock`: the Unix time."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        """Open an existing folder. Raises: SettingsError: it can't hold blobs."""
        self.old = SosFolder(path)
        self.old.require_room()
        self.node = FolderNode("store", path, clock=clock)
        spec = NodeSpec("store", path.absolute().as_uri())
        self._member = Member(spec, self.node)
        self._calls = BlockingCalls()
        self._clock = clock
        self._verifier = Verifier()
        self._verdicts = Verdicts()
        try:
            self.node.make_bucket(BLOB_BUCKET)
        except NodeError as exc:
            raise SettingsError(f"{path} can't be used: {exc}") from exc

    def close(self) -> None:
        """End idle threads, and close the index."""
        self._calls.close()
        self._verifier.calls.close()
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
        """See `Blobs`. Raises also LostCopyError, where `get` did."""
        info = self._find(blob_id)
        if info.is_damaged:  # it may be whole again
            with closing(self._open(blob_id, None)) as content:
                info = content.info
        return Stored(self._member, info)

    def ids(self) -> Iterator[list[str]]:
        """Yield all ids in order, many at a time. Raises: NodeError.

        Those of blobs that are known to be lost are missing: mirrors bring them again.
        """
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
        """Yield all blobs in order, as `ids`. Raises: NodeError."""
        others = self._old_details(ask(self._calls, self.old.ids))
        ours = (
            Detail(key, info.size, info.etag)
            for key, info in self.node.list_objects(BLOB_BUCKET)
            if not info.is_damaged
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
        info = ask(self._calls, self.old.find, blob_id)
        is_damaged = self._verdicts.of(blob_id, info).lost_at > 0
        return replace(info, is_damaged=is_damaged) if is_damaged else info

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
            return self._open_old(blob_id, byte_range)
        except NoSuchKeyError:  # it may have been imported between the two requests
            return self.node.start_get(name, byte_range=byte_range).wait()

    def _open_old(self, blob_id: str, byte_range: ByteRange | None) -> FolderObject:
        info = ask(self._calls, self.old.find, blob_id)
        sums = self._sums_of_old(blob_id, info)
        return ask(self._calls, self._open_file, blob_id, info, byte_range, sums)

    def _open_file(
        self,
        blob_id: str,
        info: ObjectInfo,
        byte_range: ByteRange | None,
        sums: bytes | None,
    ) -> FolderObject:
        path = self.old.file_of(blob_id).resolve()
        lose = partial(self._lose_old, blob_id, info)
        try:
            return FolderObject(self._calls, path, info, byte_range, sums, lose)
        except FileNotFoundError:
            raise NoSuchKeyError("no such blob") from None

    def _sums_of_old(self, blob_id: str, info: ObjectInfo) -> bytes | None:
        """Return the checksums of a blob that is whole; None: only its id says what.

        Raises: LostCopyError, NodeError.
        """
        verdict = self._verdicts.of(blob_id, info)
        if self._clock() - verdict.lost_at < RECHECK_SECONDS:
            raise LostCopyError("the blob was found damaged a moment ago")
        if not is_sha1(blob_id):
            return None
        if verdict.sums:
            return verdict.sums
        verify = partial(self._verify_old, blob_id, info)
        if info.size > BLOCK_BYTES:
            return self._verifier.run(blob_id, verify)
        return ask(self._calls, verify)

    def _is_damaged(self, blob_id: str, info: ObjectInfo) -> bool:
        try:
            self._sums_of_old(blob_id, info)
        except LostCopyError:
            return True
        return False

    def _verify_old(self, blob_id: str, info: ObjectInfo) -> bytes:
        path = self.old.file_of(blob_id).resolve()
        lose = partial(self._lose_old, blob_id, info)
        try:
            sums = verified_sums(path, lose, "sha1", blob_id)
        except FileNotFoundError:
            raise NoSuchKeyError("no such blob") from None
        self._verdicts.note(blob_id, info, Verdict(sums))
        return sums

    def _lose_old(self, blob_id: str, info: ObjectInfo, reason: str) -> LostCopyError:
        error = LostCopyError(f"the blob {blob_id} {reason}")
        error.is_news = not self._verdicts.of(blob_id, info).lost_at
        self._verdicts.note(blob_id, info, Verdict(lost_at=self._clock()))
        return error

    # Writing

    def put(self, blob_id: str, body: Body, headers: Mapping[str, str]) -> Stored:
        """See `Blobs`. The length of the body may be unknown."""
        with self._member.noting():
            return self._put(blob_id, body, headers)

    def _put(self, blob_id: str, body: Body, headers: Mapping[str, str]) -> Stored:
        try:
            info = self._look(blob_id)  # if it misses one, the commit fails
            if not info.etag and self._is_damaged(blob_id, info):
                raise NoSuchKeyError("sos left a part of it")  # the new one is served
        except NoSuchKeyError:
            info = self._store(blob_id, body, headers)
        else:
            if info.is_damaged and info.etag:
                return Stored(self._member, self._replace(blob_id, body, info))
            self._require_same(blob_id, info, measured(info, body))
        return Stored(self._member, info)

    def _replace(self, blob_id: str, body: Body, lost: ObjectInfo) -> ObjectInfo:
        """Store the bytes that were lost again, and no others; the headers stay."""
        name, label = ObjectName(BLOB_BUCKET, blob_id), lost.label or new_label(0)
        upload = self.node.start_upload(
            name, lost.size, label, lost.headers, if_match=lost.etag
        )

        def same() -> Iterator[bytes]:
            for chunk in body.chunks():
                if upload.written[0] + len(chunk) > lost.size:
                    raise DifferentContentError
                yield chunk
            if upload.written != (lost.size, lost.etag):
                raise DifferentContentError

        return finish(upload, same())

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
                digest = partial(self.old.digest, blob_id)
                if self._verifier.run((blob_id, "MD5"), digest) == written:
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
