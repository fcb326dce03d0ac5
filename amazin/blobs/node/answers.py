"""The meaning of a blob server's responses, an old `sos` one or ours.

Sends nothing, and receives only the short bodies of commits.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from amazin.errors import (
    GatewayError,
    NodeAccessError,
    NodeError,
    NodeFullError,
    NodeProtocolError,
    NoSuchKeyError,
    PreconditionError,
)
from amazin.model.headers import content_range, read_modified
from amazin.model.metadata_names import BLOB_METADATA
from amazin.model.objects import UNKNOWN_SIZE, ObjectInfo
from amazin.nodes.transport.response import Response

ANSWER_SECONDS = 5.0
"""For the body of a commit's response."""
_ETAG = re.compile(r'"([\x21\x23-\x7e\x80-\xff]{1,128})"')


def error_for(status: int) -> GatewayError:
    """Return the error for a failed GET or HEAD."""
    if status == 404:
        return NoSuchKeyError("the server has no such blob")
    if status in (401, 403):
        return NodeAccessError(f"the blob server refused access ({status})")
    if status >= 500 or status in (408, 429):
        return NodeError(f"the blob server answered {status}")
    return NodeProtocolError(f"the blob server answered {status}")


def upload_error_for(status: int) -> GatewayError:
    """Return the error for a failed POST.

    An old server answers 500 if its disk is full.
    """
    if status == 409:
        return PreconditionError("the server holds other bytes under this id")
    if status in (500, 507):
        return NodeFullError(f"the blob server can't store it ({status})")
    if status == 404:
        return NodeProtocolError(f"the blob server answered {status}")
    return error_for(status)


def read_info(response: Response) -> ObjectInfo:
    """Return the info about a blob from the response to GET or HEAD.

    Raises:
        NoSuchKeyError: the server has no such blob.
        NodeError: no usable response.
    """
    if response.status not in (200, 206):
        raise error_for(response.status)
    headers = response.headers
    found = _ETAG.fullmatch(headers.get("etag", ""))
    return ObjectInfo(
        size=read_size(response, has_etag=found is not None),
        etag=found[1] if found else "",
        modified_ns=read_modified(headers) if "last-modified" in headers else 0,
        headers=blob_headers(headers),
    )


def read_size(response: Response, *, has_etag: bool) -> int:
    """Return the size of the whole blob in bytes, or UNKNOWN_SIZE.

    Old servers answer HEAD with a Content-Length that is not the size of the blob.
    """
    if found := content_range(response.headers):
        return found[2]
    length = response.headers.get("content-length")
    if length is None or (response.method == "HEAD" and not has_etag):
        return UNKNOWN_SIZE
    return int(length)


def blob_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the X-... headers of the blob; X-Mime-Type also as Content-Type."""
    stored = {
        name.title(): value
        for name, value in headers.items()
        if BLOB_METADATA.fullmatch(name)
    }
    if mime_type := stored.get("X-Mime-Type"):
        stored["Content-Type"] = mime_type
    return stored


def sent_headers(headers: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the headers to send with an upload: those that blob servers store."""
    return [item for item in headers.items() if BLOB_METADATA.fullmatch(item[0])]


def require_stored(response: Response, blob_id: str, size: int) -> None:
    """Check that a POST stored these bytes under this id.

    The status alone does not prove it: an old server, or a proxy in front of it, may
    answer 200 without having stored the blob.

    Raises:
        PreconditionError: other bytes are stored under the id; nothing was changed.
        NodeFullError: the disk is full; an old server may keep a part of the blob.
        NodeError: no usable response.
    """
    if response.status != 200:
        raise upload_error_for(response.status)
    try:
        answer = json.loads(response.read_all(ANSWER_SECONDS))
    except (ValueError, RecursionError) as exc:
        raise NodeProtocolError("the blob server did not confirm the upload") from exc
    expected = {"id": blob_id, "status": "OK", "size": size}
    if not isinstance(answer, dict) or any(
        answer.get(key) != value for key, value in expected.items()
    ):
        raise NodeProtocolError("the blob server confirmed something else")
