"""Uploads and downloads over HTTP: the common part of the object and bucket APIs.

Knows no routes and no rules for names. Source: RFC 9110.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from typing import Any

from amazin.api.services import Services
from amazin.cluster.cluster import Chooser, Download
from amazin.cluster.uploads import Stored
from amazin.errors import NodeProtocolError, NoSuchKeyError
from amazin.model.bodies import ClosableBody
from amazin.model.headers import require_fit
from amazin.model.objects import UNKNOWN_SIZE, ByteRange, ObjectInfo, ObjectName
from amazin.nodes.interface import NodeObject
from amazin.web.bodies import stream_body
from amazin.web.conditions import (
    CONDITIONAL_HEADERS,
    Conditions,
    NotModified,
    last_modified,
    precondition_failed,
    selected_range,
    unsupported_condition,
)
from amazin.web.dates import http_date
from amazin.web.headers import returned_headers, uploaded_headers
from amazin.web.messages import Header, Request, Response, json_response, variable
from amazin.web.server_quirks import limit_slowness

_CONDITIONAL = [variable(name) for name in CONDITIONAL_HEADERS]
_SELECTING = [*_CONDITIONAL, variable("Range")]
_FRESHNESS = re.compile("Cache-Control|Expires")
"""The stored headers that 304 repeats."""
_NONE = re.compile(r"(?!)")
"""Matches no header."""
_NOTHING: Mapping[str, str] = {}
Shown = Callable[[ObjectInfo], ObjectInfo]
"""Turns a node's object info into the one that clients see."""


@dataclass(frozen=True, slots=True)
class Intent:
    """What an upload or a copy will store."""

    headers: dict[str, str]
    """To be stored with the object."""
    if_match: str | None
    if_absent: bool
    body: ClosableBody

    @property
    def is_conditional(self) -> bool:
        """Whether the client set a condition."""
        return bool(self.if_match) or self.if_absent


def intent_of(
    request: Request, services: Services, key: str, extra: Mapping[str, str] = _NOTHING
) -> Intent:
    """Check an upload before its body is read and before any node is asked.

    `key` suggests the content type if the client sends none; `extra` is stored with the
    object in addition to the client's headers.

    Raises: HTTPError 400, 411, 412, 413, 501; as `uploaded_headers`.
    """
    kept = services.settings.metadata_headers
    headers = uploaded_headers(request.environ, key, kept)
    if extra:
        headers |= extra
        require_fit(headers)
    condition: tuple[str | None, bool] = (None, False)
    if request.has_any(_CONDITIONAL):
        condition = Conditions(request.header).for_upload()
    body = stream_body(request.environ, services.settings.max_object_bytes)
    return Intent(headers, *condition, body)


def store(
    request: Request, services: Services, name: ObjectName, intent: Intent
) -> Stored:
    """Store the object, and close the body.

    A body of unknown length is spooled. So is a body with a condition, because a node
    may lock the key while a conditional upload arrives.

    Raises: as `SpoolRoom.spool` and `LargeObjectStore.put`.
    """
    body, is_conditional = intent.body, intent.is_conditional
    try:
        if is_conditional:  # before the body is read
            require_condition(services, name, intent)
        if is_conditional or body.length == UNKNOWN_SIZE:
            with closing(body):
                limit_slowness(request.environ, services.settings.spool_timeout)
                body = services.spool.spool(iter(body.chunks()), body.length)
        copy = services.objects.put(
            name,
            body,
            intent.headers,
            if_match=intent.if_match,
            if_absent=intent.if_absent,
        )
    finally:
        body.close()
    request.node = copy.member.name
    return copy


def require_condition(services: Services, name: ObjectName, intent: Intent) -> None:
    """Refuse what the object as it is now rules out. The node has the last word.

    Raises: HTTPError 412; as `Cluster.require_conditional` and `Cluster.head`.
    """
    services.objects.require_conditional(name)
    try:
        etag = services.objects.head(name).info.etag
    except NoSuchKeyError:
        holds = intent.if_absent
    else:
        holds = not intent.if_absent and etag in (intent.if_match, "")
    if not holds:
        raise precondition_failed()


def created(key: str, info: ObjectInfo, headers: Mapping[str, str]) -> Response:
    """Return 201 with the info of an object stored with these headers."""
    return json_response(201, describe(key, info, headers), validators(info))


def get_content(
    request: Request,
    fetch: Callable[[Chooser | None], Download],
    kept: re.Pattern[str],
    shown: Shown | None = None,
) -> Response:
    """Send the object, or the requested range of it.

    `fetch` opens it, as `Cluster.get` does; `kept` matches the names of its metadata;
    `shown` makes the object info that clients see.
    """
    if not request.has_any(_SELECTING):
        return send(request, fetch(None), kept, shown)
    conditions = Conditions(request.header)

    def choose(found: ObjectInfo) -> ByteRange | None:
        info = shown(found) if shown else found
        conditions.check(info)
        if info.size == UNKNOWN_SIZE:
            return None
        return selected_range(request.header, info)

    try:
        return send(request, fetch(choose), kept, shown)
    except NotModified as answer:
        return not_modified(answer.info)


def head_content(request: Request, copy: Stored, kept: re.Pattern[str]) -> Response:
    """Send the headers of GET without a range."""
    request.node = copy.member.name
    try:
        Conditions(request.header).check(copy.info)
    except NotModified as answer:
        return not_modified(answer.info)
    if copy.info.size == UNKNOWN_SIZE:
        return Response(200, object_headers(copy.info, kept), ())
    return Response(200, object_headers(copy.info, kept), b"", copy.info.size)


def delete_content(request: Request, services: Services, name: ObjectName) -> Response:
    """Remove the object; 204 also if there was none."""
    if Conditions(request.header):
        raise unsupported_condition()
    request.node = services.objects.delete(name).name
    return Response(204)


def send(
    request: Request,
    download: Download,
    kept: re.Pattern[str],
    shown: Shown | None = None,
) -> Response:
    """Return a response that streams an open object and closes it at its end."""
    request.node = download.member.name
    content, info = download.content, download.content.info
    if shown:
        info = shown(info)
    headers = object_headers(info, kept)
    status, length = 200, info.size
    if download.byte_range:
        first, last = download.byte_range
        size = "*" if info.size == UNKNOWN_SIZE else info.size
        status, length = 206, last - first + 1
        headers.append(("Content-Range", f"bytes {first}-{last}/{size}"))
    try:
        start = content.read()
    except BaseException:
        content.close()
        raise
    if length == UNKNOWN_SIZE:
        rest = iter(content.read, b"")
        chunks: Iterator[bytes] = chain((start,) if start else (), rest)
        return Response(status, headers, DownloadBody(chunks, content))
    if len(start) == length:
        content.close()
        return Response(status, headers, start)
    if not start or len(start) > length:
        content.close()
        raise NodeProtocolError("the node sent another number of bytes")
    chunks = exactly(start, content, length)
    return Response(status, headers, DownloadBody(chunks, content), length)


class DownloadBody:
    """The bytes of a download; owns the node's connection or file until closed."""

    def __init__(self, chunks: Iterator[bytes], content: NodeObject) -> None:
        self._chunks = chunks
        self._content = content

    def __iter__(self) -> Iterator[bytes]:
        """Yield them, once. Raises: NodeError, if they break off."""
        return self._chunks

    def close(self) -> None:
        """Release the node's connection or file."""
        self._content.close()


def exactly(start: bytes, content: NodeObject, length: int) -> Iterator[bytes]:
    """Yield `start`, and then the content: `length` bytes in all. Raises: NodeError."""
    missing, chunk = length, start
    while chunk:
        missing -= len(chunk)
        if missing < 0:
            break
        yield chunk
        chunk = content.read()
    if missing:
        raise NodeProtocolError("the node sent another number of bytes")


def not_modified(info: ObjectInfo) -> Response:
    """Return 304 with the headers that RFC 9110 section 15.4.5 requires."""
    headers = returned_headers(info.headers, _FRESHNESS)
    cached = [item for item in headers if _FRESHNESS.fullmatch(item[0])]
    return Response(304, [*validators(info), *cached])


def object_headers(info: ObjectInfo, kept: re.Pattern[str]) -> list[Header]:
    """Return the headers of a response to GET or HEAD of an object."""
    headers = [*returned_headers(info.headers, kept), *validators(info)]
    if info.size != UNKNOWN_SIZE:
        headers.append(("Accept-Ranges", "bytes"))
    return headers


def validators(info: ObjectInfo) -> list[Header]:
    """Return ETag and Last-Modified, as far as they are known."""
    found = [("ETag", f'"{info.etag}"')] if info.etag else []
    if info.modified_ns:
        found.append(("Last-Modified", http_date(last_modified(info))))
    return found


def describe(key: str, info: ObjectInfo, headers: Mapping[str, str]) -> dict[str, Any]:
    """Return an object's info as the JSON response has it; times as RFC 3339 in UTC."""
    modified = datetime.fromtimestamp(info.modified_ns / 10**9, UTC)
    _, content_type = returned_headers(headers, _NONE)[0]
    return {
        "key": key,
        "size": info.size,
        "last_modified": modified.isoformat().replace("+00:00", "Z"),
        "content_type": content_type,
        "etag": info.etag,
    }
