"""A blob server as a node: an old `sos` one, or ours.

Its objects are blobs in the bucket `BLOB_BUCKET`; the keys are the ids. They have no
labels, because the bytes under an id never change. Nothing can be deleted.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, TypeVar

from amazin.blobs.node.answers import error_for, read_info
from amazin.blobs.node.client import BlobClient
from amazin.blobs.node.json_stream import array_items
from amazin.blobs.node.uploads import BlobPost, StreamedBlob, send_whole
from amazin.blobs.store import BLOB_BUCKET, is_id
from amazin.errors import NodeProtocolError, NotSupportedError, PreconditionError
from amazin.model.headers import content_range
from amazin.model.node_specs import TimeLimits
from amazin.model.objects import (
    UNKNOWN_SIZE,
    Label,
    ObjectInfo,
    ObjectName,
)
from amazin.nodes.interface import NodeObject, Pending, Upload
from amazin.nodes.transport.response import Response

T = TypeVar("T")

log = logging.getLogger("amazin.blobs")


class BlobNode:
    """One blob server, as a `Node`."""

    def __init__(self, name: str, url: str, limits: TimeLimits) -> None:
        """Open no connection yet."""
        self.name = name
        self._client = BlobClient(url, limits)

    def start_get(
        self,
        name: ObjectName,
        *,
        byte_range: tuple[int, int] | None = None,
        if_match: str | None = None,
    ) -> Pending[NodeObject]:
        """See `Node`. The size may be unknown until all bytes are read."""
        headers = []
        if byte_range:
            headers.append(("Range", "bytes={}-{}".format(*byte_range)))
        if if_match:
            headers.append(("If-Match", f'"{if_match}"'))
        timeout = self._client.limits.transfer

        def interpret(response: Response) -> NodeObject:
            if if_match and response.status == 412:
                raise PreconditionError("the server holds other bytes")
            content = BlobContent(response, byte_range, timeout)
            if if_match and content.info.etag not in ("", if_match):
                raise PreconditionError("the server holds other bytes")
            return content

        return self._client.ask_slowly("GET", blob_path(name), interpret, headers)

    def start_head(self, name: ObjectName) -> Pending[ObjectInfo]:
        """See `Node`. The info from an old server has neither size nor ETag."""
        return self._client.ask("HEAD", blob_path(name), read_info)

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
        """See `Node`, and `start_upload`."""
        refuse_match(if_match)
        return send_whole(self._client, name.key, data, headers)

    def start_upload(
        self,
        name: ObjectName,
        length: int | None,
        label: Label,
        headers: Mapping[str, str],
        *,
        if_match: str | None = None,
        if_absent: bool = False,
        keeps_newer: bool = False,
    ) -> Upload:
        """Begin an upload of `length` bytes; None: unknown, sent chunked.

        Only X-... headers are stored, and no label. The commit raises PreconditionError
        if a server of ours has other bytes under the id. An old server replaces its
        copy.
        """
        refuse_match(if_match)
        return StreamedBlob(self._client, BlobPost(name.key, length, headers))

    def start_delete(
        self, name: ObjectName, *, if_match: str | None = None
    ) -> Pending[None]:
        """See `Node`. Raises: NotSupportedError, always."""
        raise NotSupportedError("A blob server deletes nothing")

    def make_bucket(self, bucket: str) -> None:
        """See `Node`. Does nothing: `BLOB_BUCKET` always exists."""

    def start_check(self) -> Pending[object]:
        """See `Node`."""
        return self._client.probe()

    def list_objects(
        self, bucket: str, prefix: str = "", after: str = ""
    ) -> Iterator[tuple[str, ObjectInfo]]:
        """See `Node`. The lists of old servers have neither sizes nor ETags."""
        if bucket != BLOB_BUCKET:
            return
        found = self.details()
        if found is None:
            found = ((blob_id, UNKNOWN_SIZE, "") for blob_id in self.ids())
        for blob_id, size, etag in found:
            if blob_id.startswith(prefix) and blob_id > after:
                yield blob_id, ObjectInfo(size, etag, 0)

    def ids(self) -> Iterator[str]:
        """Yield the ids of all blobs in order, in constant memory.

        Other names that an old server lists are left out, with one warning.

        Raises:
            NodeError, also midway: the server failed, or its list is not valid.
        """
        items = self._list("/blobs")
        yield from self._in_order((item, item) for item in items)

    def details(self) -> Iterator[tuple[str, int, str]] | None:
        """Return an iterator over (id, size, ETag) of all blobs; None: an old server.

        Raises: as `ids`, also before the first entry.
        """
        items = self._list("/blobs?details")
        first = next(items, None)
        if isinstance(first, str):
            items.close()
            return None
        firsts = () if first is None else (first,)
        return self._in_order(map(detail, chain(firsts, items)))

    def _list(self, path: str) -> Generator[Any, None, None]:
        limits = self._client.limits
        response = self._client.ask_slowly("GET", path, list_body).wait()
        try:
            yield from array_items(chunks(response, limits.transfer))
        finally:
            response.close()

    def _in_order(self, items: Iterable[tuple[object, T]]) -> Iterator[T]:
        """Yield the values of valid ids, in order; warn once of an invalid one."""
        last, has_warned = "", False
        for blob_id, value in items:
            if not isinstance(blob_id, str):
                raise NodeProtocolError("the blob server sent no list of ids")
            if not is_id(blob_id):
                if not has_warned:
                    shown = ascii(blob_id[:80])
                    log.warning("%s lists %s, which is no blob", self.name, shown)
                has_warned = True
                continue
            if blob_id <= last:
                raise NodeProtocolError("the blob server's list is not in order")
            last = blob_id
            yield value

    def close(self) -> None:
        """See `Node`."""
        self._client.pool.close()

    def __repr__(self) -> str:
        return f"<BlobNode {self.name}: {self._client!r}>"


class BlobContent:
    """A download that owns its connection: a `NodeObject`.

    If the server ignores the range and sends all bytes, the others are dropped.
    """

    def __init__(
        self, response: Response, byte_range: tuple[int, int] | None, timeout: float
    ) -> None:
        self._response = response
        self._timeout = timeout
        self.info = read_info(response)
        if not response.is_delimited:
            raise NodeProtocolError("the blob server sent a body without an end")
        self._unasked = 0
        """The number of bytes to drop before the range."""
        self._missing: int | None = None
        """The number of bytes of the range still to come; None: all to the end."""
        if byte_range:
            first, last = byte_range
            self._missing = last - first + 1
            if response.status == 200:
                self._unasked = first
        if response.status == 206:
            require_range(response, byte_range)

    def read(self) -> bytes:
        """See `NodeObject`."""
        if self._missing == 0:
            self._response.close()
            return b""
        chunk = self._response.read(self._timeout)
        while chunk and self._unasked >= len(chunk):
            self._unasked -= len(chunk)
            chunk = self._response.read(self._timeout)
        chunk, self._unasked = chunk[self._unasked :], 0
        if self._missing is not None:
            chunk = chunk[: self._missing]
            self._missing -= len(chunk)
            if not chunk:
                raise NodeProtocolError("the blob is shorter than it should be")
        return chunk

    def close(self) -> None:
        """See `NodeObject`."""
        self._response.close()


def blob_path(name: ObjectName) -> str:
    """Return the path of a blob; the id must be valid."""
    return f"/blob/{name.key}"


def refuse_match(if_match: str | None) -> None:
    """Check that an upload has no If-Match. Raises: NotSupportedError."""
    if if_match is not None:
        raise NotSupportedError("A blob server judges no If-Match of an upload")


def list_body(response: Response) -> Response:
    """Return the response if it has a list in its body. Raises: NodeError."""
    if response.status == 404 or not response.is_delimited:
        raise NodeProtocolError("what answers there is no blob server")
    if response.status != 200:
        raise error_for(response.status)
    return response


def chunks(response: Response, timeout: float) -> Iterator[bytes]:
    """Yield the whole body. Raises: NodeError."""
    while chunk := response.read(timeout):
        yield chunk


def detail(item: Any) -> tuple[object, tuple[str, int, str]]:
    """Return (id, (id, size, ETag)) of a list's entry. Raises: NodeProtocolError."""
    if isinstance(item, dict):
        blob_id, size, etag = item.get("id"), item.get("size"), item.get("etag")
        if isinstance(blob_id, str) and isinstance(etag, str) and type(size) is int:
            return blob_id, (blob_id, size, etag)
    raise NodeProtocolError("the blob server's list has a strange entry")


def require_range(response: Response, byte_range: tuple[int, int] | None) -> None:
    """Check that a 206 has the requested range. Raises: NodeProtocolError."""
    found = content_range(response.headers)
    if not byte_range or not found:
        raise NodeProtocolError("the blob server sent a part, unasked")
    if found[:2] != byte_range:
        raise NodeProtocolError("the blob server sent another range")
