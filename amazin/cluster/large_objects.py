"""Large objects: stored in parts, with a manifest that lists them.

An upload above `chunk_bytes` is stored in parts of that size. Each part is an object of
its own, with a unique name and its own placement. The last step stores the manifest
under the object's name (`model/manifest.py`). Nothing is visible before; afterwards
reads, lists and conditions treat it as one object. Manifests are read also by gateways
that write none.

This module never removes parts: `repair` removes those of overwritten, deleted or
failed uploads a day later (`repair/orphan_parts.py`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial

from amazin.cluster.cluster import Chooser, Cluster, Download, require_single
from amazin.cluster.lookup import MAX_ATTEMPTS, require_home
from amazin.cluster.part_streams import JoinedObject, ManifestBody, PartBody, Pieces
from amazin.cluster.placement import differ
from amazin.cluster.uploads import Stored
from amazin.errors import (
    ConflictError,
    DifferentContentError,
    LostCopyError,
    NodeError,
    NodeProtocolError,
    NoNodesError,
    NoSuchKeyError,
    NotSupportedError,
    PreconditionError,
)
from amazin.membership.member import Member
from amazin.model.bodies import Body, digest_of
from amazin.model.headers import require_fit
from amazin.model.manifest import (
    MAX_MANIFEST_BYTES,
    PARTS_HEADER,
    Outline,
    Span,
    as_whole,
    new_upload_id,
    outline_of,
    owner_header,
    require_understood,
)
from amazin.model.objects import BUCKET, ByteRange, ObjectInfo, ObjectName
from amazin.model.stored_names import part_name
from amazin.nodes.interface import NodeObject

LONGEST_UPLOAD_NS = 12 * 3600 * 10**9
"""From the first part to the manifest. `repair` removes parts without a manifest after
twice this time, so the clocks of gateways and `repair` may differ by 12 hours."""


class LargeObjectStore:
    """The objects of a cluster as clients see them, however large they are."""

    def __init__(
        self,
        cluster: Cluster,
        chunk_bytes: int,
        clock_ns: Callable[[], int] = time.time_ns,
        new_upload_id: Callable[[], str] = new_upload_id,
    ) -> None:
        """`chunk_bytes`: 0 stores nothing in parts, but reads objects that are."""
        self._cluster = cluster
        self._lookup = cluster.lookup
        self._chunk_bytes = chunk_bytes
        self._clock_ns = clock_ns
        self._new_upload_id = new_upload_id
        self.delete = cluster.delete
        self.require_conditional = cluster.require_conditional

    # Reading

    def get(self, name: ObjectName, choose: Chooser | None = None) -> Download:
        """See `Cluster`. Parts are opened when they are needed."""
        choice = _Choice(choose) if choose else None
        download = self._cluster.get(name, choice)
        info = download.content.info
        if PARTS_HEADER not in info.headers:
            return download
        outline = outline_of(info)
        if outline is None:
            download.content.close()
            require_understood(info)
            return download
        md5s = outline.load(_read_manifest(download.content))
        byte_range = choice.byte_range if choice else None
        first, last = byte_range or (0, outline.size - 1)
        content = JoinedObject(
            as_whole(info),
            outline.spans(first, last),
            partial(self._open_part, outline, md5s),
        )
        return Download(download.member, content, byte_range)

    def head(self, name: ObjectName) -> Stored:
        """See `Cluster`."""
        stored = self._cluster.head(name)
        require_understood(stored.info)
        return Stored(stored.member, as_whole(stored.info))

    def holder(self, name: ObjectName) -> Member:
        """Return a node from which clients can read the object's bytes directly.

        Raises:
            NotSupportedError: there is none, because the object is stored in parts.
            Else as `get`.
        """
        stored = self._cluster.head(name)
        require_understood(stored.info)
        if outline_of(stored.info):
            raise NotSupportedError("The object lies in parts, on several nodes")
        return stored.member

    def list(
        self, prefix: str = "", after: str = ""
    ) -> Iterator[tuple[str, ObjectInfo]]:
        """See `Cluster`."""
        for key, info in self._cluster.list(prefix, after):
            yield key, as_whole(info)

    def _is_whole(self, info: ObjectInfo) -> bool:
        """Whether all parts of a stored object exist. Raises: as `get`."""
        outline = outline_of(info)
        if outline is None:
            return True
        try:
            for span in outline.spans(0, outline.size - 1):
                part = self._cluster.head(part_name(outline.upload_id, span.index))
                if part.info.size != span.size:
                    return False
        except (LostCopyError, NoSuchKeyError):
            return False
        return True

    def _open_part(
        self, outline: Outline, md5s: Sequence[str], span: Span
    ) -> NodeObject:
        """Open a part, or a range of it. Raises: NodeError."""
        byte_range = None if span.is_whole else (span.first, span.last)
        name = part_name(outline.upload_id, span.index)
        choose: Chooser | None = (lambda info: byte_range) if byte_range else None
        try:
            content = self._cluster.get(name, choose).content
        except NoSuchKeyError as exc:
            raise NodeError("a part of the object is not there") from exc
        except (NoNodesError, ConflictError) as exc:
            raise NodeError(str(exc)) from exc
        if (content.info.size, content.info.etag) != (span.size, md5s[span.index]):
            content.close()
            raise NodeProtocolError("a part of the object is not what was stored")
        return content

    # Writing

    def put(
        self,
        name: ObjectName,
        body: Body,
        headers: Mapping[str, str],
        *,
        if_match: str | None = None,
        if_absent: bool = False,
    ) -> Stored:
        """See `Cluster`.

        Also raises, for an object in parts:
            MetadataTooLargeError: the headers leave no space for the manifest's header.
            LateError: the upload took so long that its parts may have been removed.
        """
        if 0 < self._chunk_bytes < body.length and name.bucket == BUCKET:
            return self._put_parts(name, body, headers, if_match, if_absent)
        if if_match:
            return self._put_matching(name, body, headers, if_match)
        return self._cluster.put(name, body, headers, if_absent=if_absent)

    def put_once(
        self, name: ObjectName, body: Body, headers: Mapping[str, str]
    ) -> Stored:
        """Store an object whose name determines its bytes, unless it is stored already.

        A stored object keeps its headers. The body must be able to restart.

        Raises:
            DifferentContentError: other bytes have this name.
            BodyError, NodeError, NoNodesError: as `put`.
        """
        placed = self._lookup.place_for_write(name)
        found = self._lookup.find(name, is_write=True, placed=placed)
        try:
            info = as_whole(found.info)
        except NoSuchKeyError:
            return self.put(name, body, headers)
        if differ(found.copies):
            return self.put(name, body, info.headers)
        if info.size != body.length or not self._has_bytes_of(body, name, info.etag):
            raise DifferentContentError
        placement = found.placed.placement
        require_home(placement)
        home = {member.name for member in placement.home}
        copies = sum(
            node in home and not copy.is_damaged for node, copy in found.copies
        )
        if copies >= placement.replicas and self._is_whole(found.info):
            return Stored(found.member, info)
        return self.put(name, body, info.headers)

    def _has_bytes_of(self, body: Body, name: ObjectName, etag: str) -> bool:
        """Whether a stored object has the bytes of a body. Raises: as `get`.

        Two contents with one SHA-1 are known, of the same size.
        """
        _, md5 = digest_of(body.chunks(), "md5")
        if md5 == etag:
            return True
        with closing(self.get(name).content) as content:  # its ETag may be no MD5
            return digest_of(iter(content.read, b""), "md5")[1] == md5

    def _put_matching(
        self, name: ObjectName, body: Body, headers: Mapping[str, str], if_match: str
    ) -> Stored:
        """Store if the object's ETag, as clients see it, matches. Raises: as `put`."""
        for _ in range(MAX_ATTEMPTS):
            etag = self._stored_etag(name, if_match)
            try:
                return self._cluster.put(name, body, headers, if_match=etag)
            except PreconditionError:  # maybe another manifest of the same bytes
                if etag == if_match:
                    raise
        raise PreconditionError("the object keeps changing")

    def _stored_etag(self, name: ObjectName, etag: str) -> str:
        """Return the ETag that nodes have for the version with this ETag for clients.

        Raises: PreconditionError, if that is not the newest version.
        """
        try:
            info = self._cluster.head(name).info
        except NoSuchKeyError:
            return etag
        outline = outline_of(info)
        if outline is None:
            return etag
        if outline.md5 != etag:
            raise PreconditionError("the object has another ETag")
        return info.etag

    def _put_parts(
        self,
        name: ObjectName,
        body: Body,
        headers: Mapping[str, str],
        if_match: str | None,
        if_absent: bool,
    ) -> Stored:
        outline = Outline.new(self._chunk_bytes, body.length, self._new_upload_id)
        require_fit({**headers, PARTS_HEADER: str(outline)})
        self._refuse_early(name, if_match, if_absent)
        begin_ns = self._clock_ns()
        pieces = Pieces(body)
        md5s = [
            self._put_part(name, outline, span, pieces)
            for span in outline.spans(0, outline.size - 1)
        ]
        outline = replace(outline, md5=pieces.md5)
        stored_headers = {**headers, PARTS_HEADER: str(outline)}

        def is_late() -> bool:
            return self._clock_ns() - begin_ns > LONGEST_UPLOAD_NS

        manifest = ManifestBody(outline.dump(md5s), is_late)
        if if_match:
            stored = self._put_matching(name, manifest, stored_headers, if_match)
        else:
            stored = self._cluster.put(
                name, manifest, stored_headers, if_absent=if_absent
            )
        info = replace(stored.info, headers=stored_headers)
        return Stored(stored.member, as_whole(info))

    def _refuse_early(
        self, name: ObjectName, if_match: str | None, if_absent: bool
    ) -> None:
        """Raise the errors of the manifest's upload before any part is stored."""
        placed = self._lookup.place_for_write(name)
        if if_match or if_absent:
            require_single(placed.placement)
        found = self._lookup.find(name, is_write=True, placed=placed)
        try:
            etag = as_whole(found.info).etag
        except NoSuchKeyError:
            etag = ""
        if (if_absent and etag) or (if_match and if_match != etag):
            raise PreconditionError("the condition does not hold")

    def _put_part(
        self, owner: ObjectName, outline: Outline, span: Span, pieces: Pieces
    ) -> str:
        """Store the next part; return its MD5. Raises: as `Cluster.put`."""
        body = PartBody(pieces, span.size)
        name = part_name(outline.upload_id, span.index)
        stored = self._cluster.put(name, body, owner_header(owner))
        if stored.info.etag != body.md5:
            raise NodeProtocolError("a node stored other bytes than it was sent")
        return body.md5


class _Choice:
    """A chooser that gets the info of whole objects, and reads manifests entirely."""

    def __init__(self, choose: Chooser) -> None:
        self._choose = choose
        self.byte_range: ByteRange | None = None
        """The last result of the chooser."""

    def __call__(self, info: ObjectInfo) -> ByteRange | None:
        self.byte_range = self._choose(as_whole(info))
        return self.byte_range if outline_of(info) is None else None


def _read_manifest(content: NodeObject) -> bytes:
    """Return a manifest's body, and close it. Raises: NodeError."""
    with closing(content):
        if content.info.size > MAX_MANIFEST_BYTES:
            raise NodeProtocolError("a manifest is too large")
        return b"".join(iter(content.read, b""))
