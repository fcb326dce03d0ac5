"""What the answers of a blob server mean, an old `sos` one or ours. Pure.

Nothing is sent here, and of bodies only the short ones of commits are received.
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
from amazin.model.headers import content_range
from amazin.model.metadata_names import BLOB_METADATA
from amazin.model.objects import UNKNOWN_SIZE, ObjectInfo
from amazin.nodes.s3.answers import read_modified
from amazin.nodes.transport.response import Response

ANSWER_SECONDS = 5.0
_ETAG = re.compile(r'"([\x21\x23-\x7e\x80-\xff]{1,128})"')


def error_for(status: int) -> GatewayError:
    """Return what an answer to GET or HEAD means that is no success."""
    if status == 404:
        return NoSuchKeyError("the server has no such blob")
    if status in (401, 403):
        return NodeAccessError(f"the blob server refused access ({status})")
    if status >= 500 or status in (408, 429):
        return NodeError(f"the blob server answered {status}")
    return NodeProtocolError(f"the blob server answered {status}")


def upload_error_for(status: int) -> GatewayError:
    """Return what an answer to POST means that is no success.

    An old server says 500 when its disk is full.
    """
    if status == 409:
        return PreconditionError("the server holds other bytes under this id")
    if status in (500, 507):
        return NodeFullError(f"the blob server can't store it ({status})")
    if status == 404:
        return NodeProtocolError(f"the blob server answered {status}")
    return error_for(status)


def read_info(response: Response) -> ObjectInfo:
    """Read a blob's properties from the answer to GET or HEAD.

    Raises:
        NoSuchKeyError: the server answered so.
        NodeError: no usable answer.
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
    """Return the size of the whole blob; UNKNOWN_SIZE if the answer doesn't tell it.

    The lengths that old servers' answers to HEAD may have are not of the blob.
    """
    if found := content_range(response.headers):
        return found[2]
    length = response.headers.get("content-length")
    if length is None or (response.method == "HEAD" and not has_etag):
        return UNKNOWN_SIZE
    return int(length)


def blob_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return what the blob was uploaded with: X-... headers, and the type of those."""
    stored = {
        name.title(): value
        for name, value in headers.items()
        if BLOB_METADATA.fullmatch(name)
    }
    if mime_type := stored.get("X-Mime-Type"):
        stored["Content-Type"] = mime_type
    return stored


def sent_headers(headers: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return what to send with an upload so that `blob_headers` gives it back."""
    return [item for item in headers.items() if BLOB_METADATA.fullmatch(item[0])]


def require_stored(response: Response, blob_id: str, size: int) -> None:
    """Return if a POST stored these bytes under this id.

    The status alone is not trusted: an old server, or what stands in front of it, may
    say 200 and mean something else.

    Raises:
        PreconditionError: other bytes have this id; nothing was changed.
        NodeFullError: it has no room; an old server may keep a part of the blob.
        NodeError: no usable answer.
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
