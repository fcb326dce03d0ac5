"""The bucket API: buckets, and objects in them under any key, also with slashes.

A path without a bucket, with one segment, means the default bucket. This module has the
routes, and the handlers of whole buckets. A list that can't be completed breaks the
connection, see `web/streaming.py`. `model/stored_names.py` decides where buckets and
objects are stored.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from itertools import islice
from typing import Any

from amazin.access.grants import ANY, BUCKET, DELETE, LIST, OBJECTS, READ, WRITE, Place
from amazin.api.addresses import (
    LIST_PARAMETERS,
    bucket_of,
    checked_bucket,
    in_bucket,
    invalid_query,
    of_any_bucket,
    of_bucket,
    of_key,
    of_prefix,
    parameters,
)
from amazin.api.archive import get_archive
from amazin.api.bucket_objects import delete_object, get_object, head_object, put_object
from amazin.api.bulk_delete import delete_objects
from amazin.api.content import describe
from amazin.api.services import Services
from amazin.cluster.bucket_listing import Entry, list_keys
from amazin.errors import BucketNotFoundError
from amazin.model.stored_names import MARKERS, bucket_of_marker
from amazin.web.messages import Request, Response, Route, json_response
from amazin.web.streaming import json_array, streamed

JSON = (("Content-Type", "application/json"),)
_BUCKETS = re.compile("/buckets")
_BUCKET = re.compile("/buckets/([^/]*)")
_LIST = re.compile("/objects/(?:([^/]+)/)?list")
_BATCH = re.compile("/objects/(?:([^/]+)/)?delete")
_OBJECT = re.compile("/objects/(?:([^/]+)/)?(.*)", re.DOTALL)
_ARCHIVE = re.compile("/archive(?:/([^/]+))?")
_LIMIT = re.compile("[0-9]{1,18}")


def make_bucket(request: Request, services: Services, bucket: str) -> Response:
    """Make a bucket; 201 also if it exists."""
    services.buckets.make(checked_bucket(bucket))
    message = "Bucket ensured successfully"
    return json_response(201, {"message": message, "bucket": bucket})


def head_bucket(request: Request, services: Services, bucket: str) -> Response:
    """Answer 200 if the bucket exists."""
    if not services.buckets.is_there(checked_bucket(bucket)):
        raise BucketNotFoundError
    return Response(200, [*JSON])


def remove_bucket(request: Request, services: Services, bucket: str) -> Response:
    """Remove a bucket; 409 if it is not empty."""
    services.buckets.remove(checked_bucket(bucket))
    return Response(204)


def list_buckets(request: Request, services: Services) -> Response:
    """Send the names of all buckets, in order."""
    keys = (key for key, _ in services.objects.list(MARKERS))
    names = map(bucket_of_marker, keys)
    return streamed(JSON, json_array(filter(partial(may_use, request), names)))


def may_use(request: Request, bucket: str) -> bool:
    """Whether the principal may do anything in a bucket."""
    return request.principal.may(ANY, Place(OBJECTS, bucket, None))


def list_objects(request: Request, services: Services, bucket: str) -> Response:
    """Send the info of the bucket's objects, in the order of the keys."""
    bucket = bucket_of(services.settings, bucket)
    query = parameters(request, LIST_PARAMETERS)
    limit = as_limit(query.get("limit"))
    is_recursive = query.get("recursive", "true")
    if is_recursive not in ("true", "false"):
        raise invalid_query("recursive is true or false")
    entries = list_keys(
        services.objects,
        bucket,
        prefix=query.get("prefix", ""),
        after=query.get("after", ""),
        recursive=is_recursive == "true",
    )
    if not services.buckets.is_there(bucket):
        raise BucketNotFoundError
    return streamed(JSON, json_array(shown(islice(entries, limit))))


def as_limit(text: str | None) -> int | None:
    """Return the maximum number of entries; None: no limit. Raises: HTTPError 400."""
    if text is None:
        return None
    if not _LIMIT.fullmatch(text) or not int(text):
        raise invalid_query("limit is a whole number from 1 on")
    return int(text)


def shown(entries: Iterator[Entry]) -> Iterator[dict[str, Any]]:
    """Yield entries in the form of the JSON response."""
    for key, info in entries:
        if info is not None:
            yield describe(key, info, info.headers)
        else:  # a common prefix
            yield {
                "key": key,
                "size": 0,
                "last_modified": "0001-01-01T00:00:00Z",
                "content_type": "",
                "etag": "",
            }


ROUTES = (
    Route("GET", _BUCKETS, list_buckets, ANY, of_any_bucket),
    Route("HEAD", _BUCKETS, list_buckets, ANY, of_any_bucket),
    Route("POST", _BUCKET, make_bucket, BUCKET, of_bucket),
    Route("HEAD", _BUCKET, head_bucket, ANY, in_bucket),
    Route("DELETE", _BUCKET, remove_bucket, BUCKET, of_bucket),
    Route("GET", _LIST, list_objects, LIST, of_prefix),
    Route("HEAD", _LIST, list_objects, LIST, of_prefix),
    Route("POST", _BATCH, delete_objects, DELETE, in_bucket, takes_json=True),
    Route("PUT", _OBJECT, put_object, WRITE, of_key),
    Route("GET", _OBJECT, get_object, READ, of_key),
    Route("HEAD", _OBJECT, head_object, READ, of_key),
    Route("DELETE", _OBJECT, delete_object, DELETE, of_key),
    Route("GET", _ARCHIVE, get_archive, LIST, of_prefix),
    Route("HEAD", _ARCHIVE, get_archive, LIST, of_prefix),
)
