"""The object API: `/object/{id}`, one flat space of ids in the bucket `store`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from api import (
    Header,
    Request,
    Response,
    Route,
    Services,
    json_response,
    variable,
)
from api.bodies import open_body
from api.conditions import (
    CONDITIONAL_HEADERS,
    Conditions,
    NotModified,
    modified_seconds,
    selected_range,
    unsupported_condition,
)
from api.dates import http_date
from api.metadata import returned_headers, uploaded_headers
from cluster import Download
from downloads import ByteRange
from errors import HTTPError, NodeProtocolError
from nodes import NodeObject, ObjectInfo, ObjectName

BUCKET = "store"
_ID = re.compile(r"[A-Za-z0-9]{1,32}")
_PATH = re.compile(r"/object/([^/]*)")
_SELECTING = [variable(name) for name in (*CONDITIONAL_HEADERS, "Range")]


def put_object(request: Request, services: Services, object_id: str) -> Response:
    """Store the body; 201 with the object's info."""
    name = object_name(object_id)
    headers = uploaded_headers(request.environ, object_id)
    if_match, if_absent = Conditions(request.header).for_upload()
    limit = services.settings.max_object_bytes
    is_conditional = bool(if_match) or if_absent
    body = open_body(request.environ, limit, services.spool, whole=is_conditional)
    try:
        copy = services.cluster.put(
            name, body, headers, if_match=if_match, if_absent=if_absent
        )
    finally:
        body.close()
    request.node = copy.member.name
    info = copy.info
    return json_response(201, describe(name, info, headers), validators(info))


def get_object(request: Request, services: Services, object_id: str) -> Response:
    """Send the object, or the range of it that was asked for."""
    name = object_name(object_id)
    if not request.has_any(_SELECTING):
        return send(request, services.cluster.get(name))
    conditions = Conditions(request.header)

    def choose(info: ObjectInfo) -> ByteRange | None:
        conditions.check(info)
        return selected_range(request.header, info)

    try:
        return send(request, services.cluster.get(name, choose))
    except NotModified as answer:
        return not_modified(answer.info)


def head_object(request: Request, services: Services, object_id: str) -> Response:
    """Answer as GET without a range would, without the body."""
    copy = services.cluster.head(object_name(object_id))
    request.node = copy.member.name
    try:
        Conditions(request.header).check(copy.info)
    except NotModified as answer:
        return not_modified(answer.info)
    return Response(200, object_headers(copy.info), b"", copy.info.size)


def delete_object(request: Request, services: Services, object_id: str) -> Response:
    """Remove the object; 204 also if there was none."""
    name = object_name(object_id)
    if Conditions(request.header):
        raise unsupported_condition()
    request.node = services.cluster.delete(name).name
    return Response(204)


ROUTES = (
    Route("PUT", _PATH, put_object),
    Route("GET", _PATH, get_object),
    Route("HEAD", _PATH, head_object),
    Route("DELETE", _PATH, delete_object),
)


def object_name(object_id: str) -> ObjectName:
    """Return where the object of this id lives. Raises: HTTPError 422."""
    if not _ID.fullmatch(object_id):
        message = "An id is 1 to 32 letters or digits (A-Z, a-z, 0-9)"
        raise HTTPError(422, "InvalidId", message)
    return ObjectName(BUCKET, object_id)


def send(request: Request, download: Download) -> Response:
    """Return a response that streams an open object and closes it at its end."""
    request.node = download.member.name
    content, info = download.content, download.content.info
    headers = object_headers(info)
    status, length = 200, info.size
    if download.byte_range:
        first, last = download.byte_range
        status, length = 206, last - first + 1
        headers.append(("Content-Range", f"bytes {first}-{last}/{info.size}"))
    try:
        start = content.read()
    except BaseException:
        content.close()
        raise
    if len(start) == length:
        content.close()
        return Response(status, headers, start)
    if not start or len(start) > length:
        content.close()
        raise NodeProtocolError("the node sent another number of bytes")
    return Response(status, headers, DownloadBody(start, content, length), length)


class DownloadBody:
    """The bytes of a download; owns the node's connection or file until closed."""

    def __init__(self, start: bytes, content: NodeObject, length: int) -> None:
        self._start = start
        self._content = content
        self._missing = length

    def __iter__(self) -> Iterator[bytes]:
        """Yield exactly the promised length. Raises: NodeError, if it can't be met."""
        chunk = self._start
        while chunk:
            self._missing -= len(chunk)
            if self._missing < 0:
                break
            yield chunk
            chunk = self._content.read()
        if self._missing:
            raise NodeProtocolError("the node sent another number of bytes")

    def close(self) -> None:
        """Release the node's connection or file."""
        self._content.close()


def not_modified(info: ObjectInfo) -> Response:
    """Return 304 with what RFC 9110 section 15.4.5 wants in it."""
    kept = ("Cache-Control", "Expires")
    headers = [item for item in returned_headers(info.headers) if item[0] in kept]
    return Response(304, [*validators(info), *headers])


def object_headers(info: ObjectInfo) -> list[Header]:
    """Return the headers of an answer that carries, or could carry, the object."""
    return [
        *returned_headers(info.headers),
        *validators(info),
        ("Accept-Ranges", "bytes"),
    ]


def validators(info: ObjectInfo) -> list[Header]:
    """Return ETag and Last-Modified."""
    modified = http_date(modified_seconds(info))
    return [("ETag", f'"{info.etag}"'), ("Last-Modified", modified)]


def describe(
    name: ObjectName, info: ObjectInfo, headers: dict[str, str]
) -> dict[str, Any]:
    """Return an object's info as JSON shows it; times are RFC 3339 in UTC."""
    modified = datetime.fromtimestamp(info.modified_ns / 10**9, UTC)
    return {
        "key": name.key,
        "size": info.size,
        "last_modified": modified.isoformat().replace("+00:00", "Z"),
        "content_type": headers["Content-Type"],
        "etag": info.etag,
    }
