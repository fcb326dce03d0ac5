"""The object API: `/object/{id}`, one flat space of ids in the bucket `store`."""

from __future__ import annotations

import re
from functools import partial

from amazin.access.grants import DELETE, READ, WRITE
from amazin.api.addresses import by_id
from amazin.api.content import (
    created,
    delete_content,
    get_content,
    head_content,
    intent_of,
    store,
)
from amazin.api.services import Services
from amazin.errors import HTTPError
from amazin.model.objects import BUCKET, ObjectName
from amazin.web.headers import refuse_copy
from amazin.web.messages import Request, Response, Route

_ID = re.compile(r"[A-Za-z0-9]{1,32}")
_PATH = re.compile(r"/object/([^/]*)")


def put_object(request: Request, services: Services, object_id: str) -> Response:
    """Store the body; 201 with the object's info."""
    name = object_name(object_id)
    refuse_copy(request.environ, "X-Copy-Source", "X-Copy-Source-Range")
    intent = intent_of(request, services, object_id)
    copy = store(request, services, name, intent)
    return created(object_id, copy.info, intent.headers)


def get_object(request: Request, services: Services, object_id: str) -> Response:
    """Send the object, or the requested range of it."""
    fetch = partial(services.objects.get, object_name(object_id))
    return get_content(request, fetch, services.settings.metadata_headers)


def head_object(request: Request, services: Services, object_id: str) -> Response:
    """Send the headers of GET without a range."""
    copy = services.objects.head(object_name(object_id))
    return head_content(request, copy, services.settings.metadata_headers)


def delete_object(request: Request, services: Services, object_id: str) -> Response:
    """Remove the object; 204 also if there was none."""
    return delete_content(request, services, object_name(object_id))


ROUTES = (
    Route("PUT", _PATH, put_object, WRITE, by_id),
    Route("GET", _PATH, get_object, READ, by_id),
    Route("HEAD", _PATH, head_object, READ, by_id),
    Route("DELETE", _PATH, delete_object, DELETE, by_id),
)


def object_name(object_id: str) -> ObjectName:
    """Return the stored name of the object with this id. Raises: HTTPError 422."""
    if not _ID.fullmatch(object_id):
        message = "An id is 1 to 32 letters or digits (A-Z, a-z, 0-9)"
        raise HTTPError(422, "InvalidId", message)
    return ObjectName(BUCKET, object_id)
