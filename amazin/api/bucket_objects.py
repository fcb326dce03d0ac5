"""Objects in buckets: stored, sent, removed and copied.

An upload looks for its bucket before it begins and again before it is acknowledged;
why, `buckets.py` says. Reading an object that is there never asks for the bucket.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from urllib.parse import unquote_to_bytes

from amazin.api.addresses import Address, address_of
from amazin.api.content import (
    Intent,
    created,
    delete_content,
    exactly,
    get_content,
    head_content,
    intent_of,
    store,
)
from amazin.api.services import Services
from amazin.errors import (
    BucketNotFoundError,
    ConflictError,
    HTTPError,
    NodeError,
    NoNodesError,
    NoSuchKeyError,
)
from amazin.model.headers import require_fit
from amazin.model.objects import ObjectInfo
from amazin.model.stored_names import KEY_HEADER
from amazin.nodes.interface import NodeObject
from amazin.web.conditions import Conditions
from amazin.web.framing import (
    DEADLINE,
    content_length,
    is_chunked,
    require_time,
    too_large,
)
from amazin.web.headers import DEFAULT_TYPE, refuse_copy
from amazin.web.messages import Request, Response

COPY_SOURCE = "X-Copy-Source"


def put_object(request: Request, services: Services, bucket: str, key: str) -> Response:
    """Store the body, or a copy of another object; 201 with the object's info."""
    address = address_of(services.settings, bucket, key)
    if request.header(COPY_SOURCE) is not None:
        return copy_object(request, services, address)
    intent = intent_of(request, services, address.key, address.headers)
    require_bucket(services, address.bucket)
    copy = store(request, services, address.name, intent)
    require_bucket_still(services, address.bucket)
    return created(address.key, copy.info, intent.headers)


def get_object(request: Request, services: Services, bucket: str, key: str) -> Response:
    """Send the object, or the range of it that was asked for."""
    address = address_of(services.settings, bucket, key)
    try:
        return get_content(request, partial(services.objects.get, address.name))
    except NoSuchKeyError:
        raise_if_missing(services, address.bucket)
        raise


def head_object(
    request: Request, services: Services, bucket: str, key: str
) -> Response:
    """Answer as GET without a range would, without the body.

    And without a look for the bucket: the answer could not tell of it.
    """
    address = address_of(services.settings, bucket, key)
    return head_content(request, services.objects.head(address.name))


def delete_object(
    request: Request, services: Services, bucket: str, key: str
) -> Response:
    """Remove the object; 204 also if there was none."""
    address = address_of(services.settings, bucket, key)
    if not services.buckets.was_there(address.bucket):
        raise BucketNotFoundError
    return delete_content(request, services, address.name)


def copy_object(request: Request, services: Services, target: Address) -> Response:
    """Store what another object holds, with its headers; 201 with the copy's info.

    Whatever headers the request brings, the copy has those of the source (as S3's
    metadata directive COPY). One version is copied, and the bytes pass through here:
    also onto itself, which gives the object a new time.
    """
    source = copied_address(request, services)
    refuse_copy(request.environ, "X-Copy-Source-Range")
    conditions = Conditions(request.header).for_upload()
    if is_chunked(request.environ) or content_length(request.environ):
        raise invalid_source("A copy has no body")
    require_bucket(services, target.bucket)
    try:
        content = services.objects.get(source.name).content
    except NoSuchKeyError:
        raise_if_missing(services, source.bucket)
        raise
    body = CopiedBody(content, request.environ.get(DEADLINE, math.inf))
    with closing(body):
        if body.length > services.settings.max_object_bytes:
            raise too_large(services.settings.max_object_bytes)
        headers = copied_headers(content.info, target)
        intent = Intent(headers, *conditions, body)
        copy = store(request, services, target.name, intent)
    require_bucket_still(services, target.bucket)
    return created(target.key, copy.info, intent.headers)


def copied_headers(info: ObjectInfo, target: Address) -> dict[str, str]:
    """Return what to store with a copy. Raises: HTTPError 400, if it is too much."""
    headers = {"Content-Type": DEFAULT_TYPE, **info.headers}
    headers.pop(KEY_HEADER, None)
    headers |= target.headers
    require_fit(headers)
    return headers


class CopiedBody:
    """An object being downloaded as the body of an upload."""

    def __init__(self, content: NodeObject, deadline: float) -> None:
        """The deadline of the request is on the monotonic clock."""
        self.length = content.info.size
        self._deadline = deadline
        self._content = content
        self._is_read = False

    def chunks(self) -> Iterator[bytes]:
        """See `Body`. Raises: NodeError, if there are fewer; LateError."""
        self._is_read = True
        for chunk in exactly(self._content.read(), self._content, self.length):
            require_time(self._deadline)
            yield chunk

    def can_restart(self) -> bool:
        """See `Body`."""
        return not self._is_read

    def close(self) -> None:
        """Release the node's connection or file. Idempotent."""
        self._content.close()


def copied_address(request: Request, services: Services) -> Address:
    """Return what X-Copy-Source names: `/bucket/key`, percent-encoded.

    Raises: HTTPError 400, or 422 as for a path.
    """
    text = request.header(COPY_SOURCE) or ""
    try:
        path = unquote_to_bytes(text.strip().encode("latin-1")).decode()
    except UnicodeError:
        raise invalid_source(f"{COPY_SOURCE} is not UTF-8") from None
    bucket, slash, key = path.removeprefix("/").partition("/")
    if not bucket or not slash:
        raise invalid_source(f"{COPY_SOURCE} is /bucket/key, percent-encoded")
    return address_of(services.settings, bucket, key)


def invalid_source(message: str) -> HTTPError:
    """Return the refusal of a copy."""
    return HTTPError(400, "InvalidCopy", message)


def require_bucket(services: Services, bucket: str) -> None:
    """Make the default bucket where that is wanted; else raise HTTPError 404.

    A bucket that was removed in the last seconds may pass.
    """
    buckets = services.buckets
    if not buckets.was_there(bucket):
        if not is_made_on_need(services, bucket):
            raise BucketNotFoundError
        buckets.make(bucket)


def require_bucket_still(services: Services, bucket: str) -> None:
    """As `require_bucket`, after the object was stored, and with a look right now."""
    buckets = services.buckets
    if buckets.is_there(bucket):
        return
    if not is_made_on_need(services, bucket):
        message = "The bucket was removed meanwhile; the object may have been stored"
        raise HTTPError(404, "NoSuchBucket", message)
    buckets.make(bucket)


def is_made_on_need(services: Services, bucket: str) -> bool:
    """Whether an upload makes this bucket."""
    settings = services.settings
    return settings.auto_create_default_bucket and bucket == settings.default_bucket


def raise_if_missing(services: Services, bucket: str) -> None:
    """Raise HTTPError 404 if it is known that there is no such bucket."""
    try:
        is_there = services.buckets.was_there(bucket)
    except (NodeError, NoNodesError, ConflictError):
        return  # but it is known that there is no such object
    if not is_there:
        raise BucketNotFoundError
