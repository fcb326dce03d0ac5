"""Blobs by the SHA-1 of their bytes: `/upload` and `/fetch/{id}`.

The bytes of an id never change: a blob that is uploaded again is stored once, with the
headers of its first upload.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from functools import partial
from wsgiref.types import WSGIEnvironment

from amazin.access.grants import READ, WRITE
from amazin.api.addresses import of_blob
from amazin.api.content import DownloadBody, Shown, get_content, head_content
from amazin.api.services import BlobServices
from amazin.blobs.store import MAX_HEADER_BYTES, check_id
from amazin.cluster.uploads import Stored
from amazin.model.headers import MAX_METADATA_BYTES, METADATA_VALUE
from amazin.model.metadata_names import BLOB_METADATA
from amazin.model.objects import ObjectInfo
from amazin.web.bodies import stream_body
from amazin.web.headers import DEFAULT_TYPE, guessed_type, uploaded_headers
from amazin.web.messages import Request, Response, Route, json_response
from amazin.web.server_quirks import limit_slowness
from amazin.web.spool import SpoolRoom

MIME_TYPE = "X-Mime-Type"
"""The header with the content type of a blob; `Content-Type` is that of a form."""
_ACTIVE = re.compile(
    r"(?:message|multipart)/.*|.*(?:html|xml|xul|sgml|javascript|css|flash|wasm"
    r"|manifest).*"
)
"""Content types in which browsers find scripts, styles or other documents."""
_UPLOAD, _FETCH = re.compile("/upload"), re.compile(r"/fetch/([^/]*)")


def upload(
    request: Request,
    services: BlobServices,
    most_header_bytes: int = MAX_METADATA_BYTES,
) -> Response:
    """Store the body under its SHA-1; 200 with id and size."""
    headers = blob_headers(request.environ, most_header_bytes)
    body = stream_body(request.environ, services.settings.max_object_bytes)
    digest = hashlib.sha1(usedforsecurity=False)

    def hashed() -> Iterator[bytes]:
        for chunk in body.chunks():
            digest.update(chunk)
            yield chunk

    limit_slowness(request.environ, services.settings.spool_timeout)
    with closing(services.spool.spool(hashed(), body.length)) as spooled:
        blob_id = digest.hexdigest()
        request.node = services.blobs.put(blob_id, spooled, headers).member.name
        return stored(blob_id, spooled.length)


def fetch(request: Request, services: BlobServices, file: str) -> Response:
    """Send the blob, or the requested range of it."""
    blob_id, extension = parse_file(file)
    opened = partial(services.blobs.get, blob_id)
    response = get_content(request, opened, BLOB_METADATA, shown_as(blob_id, extension))
    body, has_length = response.body, response.length is not None
    if isinstance(body, DownloadBody) and not has_length and not can_break(request):
        return held(response, body, services.spool)
    return response


def head(request: Request, services: BlobServices, file: str) -> Response:
    """Send the headers of GET without a range."""
    blob_id, extension = parse_file(file)
    found = services.blobs.head(blob_id)
    info = shown_as(blob_id, extension)(found.info)
    return head_content(request, Stored(found.member, info), BLOB_METADATA)


FETCH_ROUTES = (
    Route("GET", _FETCH, fetch, READ, of_blob),
    Route("HEAD", _FETCH, head, READ, of_blob),
)
SERVER_UPLOAD_ROUTES = (
    Route(
        "POST",
        _UPLOAD,
        partial(upload, most_header_bytes=MAX_HEADER_BYTES),
        WRITE,
        of_blob,
    ),
)
"""The routes of a store that is made of blob servers."""
ROUTES = (Route("POST", _UPLOAD, upload, WRITE, of_blob), *FETCH_ROUTES)
"""The routes of a store that is a cluster."""


def can_break(request: Request) -> bool:
    """Whether a client can tell a broken answer without a length from a whole one."""
    protocol: str = request.environ.get("SERVER_PROTOCOL", "HTTP/1.0")
    return protocol != "HTTP/1.0"


def held(response: Response, body: DownloadBody, room: SpoolRoom) -> Response:
    """Read the whole body first, and return the response with its length.

    Raises: NodeError, if the bytes break off; HTTPError 507, if there is no space.
    """
    try:
        whole = room.spool(iter(body))
    finally:
        body.close()
    return Response(response.status, response.headers, whole, whole.length)


def blob_headers(environ: WSGIEnvironment, most_bytes: int) -> dict[str, str]:
    """Return the headers to store with a blob: X-... and the content type.

    Raises: HTTPError, as `uploaded_headers`.
    """
    plain = {**environ, "CONTENT_TYPE": DEFAULT_TYPE}
    found = uploaded_headers(plain, "", BLOB_METADATA, most_bytes)
    headers = {name: value for name, value in found.items() if name.startswith("X-")}
    return {"Content-Type": content_type(headers), **headers}


def content_type(headers: Mapping[str, str], extension: str = "") -> str:
    """Return the content type of a blob: `X-Mime-Type`, or that of an extension.

    Whoever makes a URL chooses the extension: none makes a type that browsers run.
    """
    given = headers.get(MIME_TYPE, "")
    if given and METADATA_VALUE.fullmatch(given):
        return given
    guessed = guessed_type(f"blob{extension}")
    return DEFAULT_TYPE if _ACTIVE.fullmatch(guessed) else guessed


def stored(blob_id: str, size: int) -> Response:
    """Return 200 with id and size, in the order that old clients expect."""
    return json_response(200, {"id": blob_id, "status": "OK", "size": size})


def parse_file(file: str) -> tuple[str, str]:
    """Return the id and the extension ("" without one). Raises: HTTPError 422."""
    blob_id, dot, extension = file.rpartition(".")
    return (check_id(blob_id), dot + extension) if dot else (check_id(file), "")


def shown_as(blob_id: str, extension: str) -> Shown:
    """Return what turns a node's object info into the client's: its ETag is the id."""

    def shown(info: ObjectInfo) -> ObjectInfo:
        headers = {
            name: info.headers[name] for name in info.headers if name[:2] == "X-"
        }
        headers["Content-Type"] = content_type(headers, extension)
        return replace(info, etag=blob_id, headers=headers)

    return shown
