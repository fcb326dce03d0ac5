"""The blob server's API: `/blobs`, `/blob/{id}`, `/alive`; the same as `sos` has."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from amazin.access.grants import LIST, OPEN, READ, WRITE
from amazin.api.addresses import of_blob
from amazin.api.blobs import blob_headers, content_type, stored
from amazin.api.content import get_content, head_content
from amazin.api.operations import health, require_free
from amazin.blobs.folder_store import BlobFolder, Detail, quoted
from amazin.blobs.store import MAX_HEADER_BYTES, check_id, is_sha1
from amazin.cluster.uploads import Stored
from amazin.model.digests import CheckedBody, Claim
from amazin.model.metadata_names import BLOB_METADATA
from amazin.model.objects import ObjectInfo
from amazin.settings.settings import Settings
from amazin.web.bodies import stream_body
from amazin.web.messages import Request, Response, Route
from amazin.web.spool import SpoolRoom
from amazin.web.streaming import Pieces, streamed

_BLOB, _ALIVE = re.compile(r"//?blob/([^/]*)"), re.compile("/alive")
_BLOBS = re.compile("//?blobs")
"""Old clients append the path to a URL that may end in a slash."""
_JSON = ("Content-Type", "application/json")


@dataclass(frozen=True)
class FolderServices:
    """The services of a blob server's handlers."""

    blobs: BlobFolder
    settings: Settings
    spool: SpoolRoom

    def start(self) -> None:
        """See `Served`."""

    def close(self) -> None:
        """See `Served`."""
        self.blobs.close()
        self.spool.close()


def list_blobs(request: Request, services: FolderServices) -> Response:
    """Send the ids of all blobs in order; with `?details` also size and ETag."""
    is_detailed = "details" in request.environ.get("QUERY_STRING", "").split("&")
    if is_detailed:
        texts: Iterable[str] = map(described, services.blobs.details())
    else:
        texts = map(quoted, services.blobs.ids())
    return streamed([_JSON], array_of(texts))


def post_blob(request: Request, services: FolderServices, blob_id: str) -> Response:
    """Store the body, unless the id is stored already; 200 with id and size.

    An id that looks like a SHA-1 must be that of the bytes.
    """
    check_id(blob_id)
    headers = blob_headers(request.environ, MAX_HEADER_BYTES)
    body = stream_body(request.environ, services.settings.max_object_bytes)
    if is_sha1(blob_id):
        body = CheckedBody(body, [Claim("The id", "sha1", bytes.fromhex(blob_id))])
    copy = services.blobs.put(blob_id, body, headers)
    request.node = copy.member.name
    return stored(blob_id, copy.info.size)


def get_blob(request: Request, services: FolderServices, blob_id: str) -> Response:
    """Send the blob, or the requested range of it.

    The response is bare, because `sos replicate` stores all X-... headers that it
    receives; `nosniff` does no harm there.
    """
    fetch = partial(services.blobs.get, check_id(blob_id))
    response = get_content(request, fetch, BLOB_METADATA, shown)
    response.is_bare = True
    return response


def head_blob(request: Request, services: FolderServices, blob_id: str) -> Response:
    """Send the headers of GET without a range."""
    copy = services.blobs.head(check_id(blob_id))
    info = shown(copy.info)
    return head_content(request, Stored(copy.member, info), BLOB_METADATA)


def alive(request: Request, services: object) -> Response:
    """Answer that the process is running."""
    return Response(200, [("Content-Type", "text/plain")], b"alive")


def with_liveness(settings: Settings, own: Sequence[Route]) -> Sequence[Route]:
    """Return these routes and those of liveness. Raises: SettingsError."""
    require_free(settings, own)
    live = re.compile(re.escape(settings.health_path))
    return [
        *own,
        *(
            Route(method, pattern, handler, OPEN)
            for pattern, handler in ((_ALIVE, alive), (live, health))
            for method in ("GET", "HEAD")
        ),
    ]


def routes(settings: Settings) -> Sequence[Route]:
    """Return the routes of a blob server. Raises: SettingsError."""
    own = [
        Route("GET", _BLOB, get_blob, READ, of_blob),
        Route("HEAD", _BLOB, head_blob, READ, of_blob),
        Route("POST", _BLOB, post_blob, WRITE, of_blob),
        Route("GET", _BLOBS, list_blobs, LIST, of_blob),
        Route("HEAD", _BLOBS, list_blobs, LIST, of_blob),
    ]
    return with_liveness(settings, own)


def shown(info: ObjectInfo) -> ObjectInfo:
    """Return the object info that clients see of a blob."""
    headers = {name: info.headers[name] for name in info.headers if name[:2] == "X-"}
    return replace(info, headers={"Content-Type": content_type(headers), **headers})


def described(detail: Detail) -> str:
    """Return one entry of the detailed list, as JSON."""
    return '{{"id":"{}","size":{},"etag":"{}"}}'.format(*detail)


def array_of(texts: Iterable[str]) -> Pieces:
    """Yield a JSON array of values that are JSON already; empty ones are left out."""
    separator = "["
    for text in texts:
        if text:
            yield f"{separator}{text}".encode()
            separator = ","
    yield b"[]" if separator == "[" else b"]"
