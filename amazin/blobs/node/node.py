"""A blob server as a node: an old `sos` one, or ours.

The names of its objects are ids below `BLOB_BUCKET`. Bytes under an id never change,
so there are no stamps; nothing can be deleted.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, TypeVar

from amazin.blobs.node.answers import error_for, read_info
from amazin.blobs.node.client import BlobClient
from amazin.blobs.node.uploads import BlobPost, StreamedBlob, send_whole
from amazin.blobs.store import is_id
from amazin.errors import NodeProtocolError, NotSupportedError, PreconditionError
from amazin.model.headers import content_range
from amazin.model.json_stream import JsonStreamError, array_items
from amazin.model.node_specs import TimeLimits
from amazin.model.objects import (
    UNKNOWN_SIZE,
    Label,
    ObjectInfo,
    ObjectName,
)
from amazin.nodes.interface import NodeObject, Pending, Upload
from amazin.nodes.transport.response import Response

BLOB_BUCKET = "blobs"

T = TypeVar("T")

log = logging.getLogger("amazin.blobs")


class BlobNode:
    """One blob server."""

    def __init__(self, name: str, url: str, limits: TimeLimits) -> None:
        """Take where the server is; nothing is connected yet."""
        self.name = name
        self._client = BlobClient(url, limits)

    def start_get(
        self,
        name: ObjectName,
        *,
        byte_range: tuple[int, int] | None = None,
        if_match: str | None = None,
    ) -> Pending[NodeObject]:
        """See `Node`. The size of a blob may be unknown before its end."""
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
        """See `Node`. An old server tells no more than that there is a blob."""
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
        """Begin an upload of `length` bytes, or (None) of so many as will come.

        Only X-... headers are stored, and no label. Waiting for the commit raises
        PreconditionError where one of our servers holds other bytes; it changes
        nothing then. An old one replaces what it has.
        """
        refuse_match(if_match)
        return StreamedBlob(self._client, BlobPost(name.key, length, headers))

    def start_delete(
        self, name: ObjectName, *, if_match: str | None = None
    ) -> Pending[None]:
        """See `Node`. Raises: NotSupportedError, always."""
        raise NotSupportedError("A blob server deletes nothing")

    def make_bucket(self, bucket: str) -> None:
        """See `Node`. There is but one, which is always there."""

    def start_check(self) -> Pending[object]:
        """See `Node`."""
        return self._client.probe()

    def list_objects(
        self, bucket: str, prefix: str = "", after: str = ""
    ) -> Iterator[tuple[str, ObjectInfo]]:
        """See `Node`. Old servers tell the ids only."""
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

        What else an old server finds in its folder is left out, with one warning.

        Raises:
            NodeError, also in the middle: the server failed, or sent nonsense.
        """
        items = self._list("/blobs")
        yield from self._in_order((item, item) for item in items)

    def details(self) -> Iterator[tuple[str, int, str]] | None:
        """Yield (id, size, ETag) of all blobs; None if the server tells ids only.

        Raises: as `ids`, some at once.
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
        except JsonStreamError as exc:
            raise NodeProtocolError(f"the node's list of blobs has {exc}") from exc
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
    """See `NodeObject`: a download whose body owns the connection.

    A server that ignores ranges sends all; then what wasn't asked for is dropped.
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
        """How many bytes are to be dropped before the requested ones."""
        self._missing: int | None = None
        """How many of the requested bytes are still to come; None: all to the end."""
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
    """Return the path of a blob, whose id has to be a valid one."""
    return f"/blob/{name.key}"


def refuse_match(if_match: str | None) -> None:
    """Raise NotSupportedError if an upload has a condition that no server judges."""
    if if_match is not None:
        raise NotSupportedError("A blob server judges no If-Match of an upload")


def list_body(response: Response) -> Response:
    """Return the answer with a list in it. Raises: NodeError."""
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
    """Return what a list says of one blob, behind its id. Raises: NodeProtocolError."""
    if isinstance(item, dict):
        blob_id, size, etag = item.get("id"), item.get("size"), item.get("etag")
        if isinstance(blob_id, str) and isinstance(etag, str) and type(size) is int:
            return blob_id, (blob_id, size, etag)
    raise NodeProtocolError("the blob server's list has a strange entry")


def require_range(response: Response, byte_range: tuple[int, int] | None) -> None:
    """Raise NodeProtocolError unless a partial answer is what was asked for."""
    found = content_range(response.headers)
    if not byte_range or not found:
        raise NodeProtocolError("the blob server sent a part, unasked")
    if found[:2] != byte_range:
        raise NodeProtocolError("the blob server sent another range")
