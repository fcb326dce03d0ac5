"""Objects in buckets: PUT, GET, HEAD, DELETE and copies.

An upload checks its bucket before it begins, and again before it is acknowledged;
`cluster/buckets.py` explains why. Reading an existing object never checks the bucket.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from urllib.parse import unquote_to_bytes

from amazin.access.grants import OBJECTS, READ, Place
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
from amazin.web.digests import require_claims
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
    """Send the object, or the requested range of it."""
    address = address_of(services.settings, bucket, key)
    fetch = partial(services.objects.get, address.name)
    try:
        return get_content(request, fetch, services.settings.metadata_headers)
    except NoSuchKeyError:
        raise_if_missing(services, address.bucket)
        raise


def head_object(
    request: Request, services: Services, bucket: str, key: str
) -> Response:
    """Send the headers of GET without a range.

    The bucket is not checked, because a 404 to HEAD has no body to say what is missing.
    """
    address = address_of(services.settings, bucket, key)
    copy = services.objects.head(address.name)
    return head_content(request, copy, services.settings.metadata_headers)


def delete_object(
    request: Request, services: Services, bucket: str, key: str
) -> Response:
    """Remove the object; 204 also if there was none."""
    address = address_of(services.settings, bucket, key)
    if not services.buckets.was_there(address.bucket):
        raise BucketNotFoundError
    return delete_content(request, services, address.name)


def copy_object(request: Request, services: Services, target: Address) -> Response:
    """Store a copy of another object, with its headers; 201 with the copy's info.

    The copy always has the source's headers, whatever headers the request has (as with
    S3's metadata directive COPY). One version is copied, and its bytes pass through the
    gateway. An object may be copied onto itself, which gives it a new time.
    """
    source = copied_address(request, services)
    request.require(READ, Place(OBJECTS, source.bucket, source.key))
    refuse_copy(request.environ, "X-Copy-Source-Range")
    conditions = Conditions(request.header).for_upload()
    if is_chunked(request.environ) or content_length(request.environ):
        raise invalid_source("A copy has no body")
    require_claims(request.environ, b"")
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
    """Return the headers to store with a copy. Raises: HTTPError 400, if too large."""
    headers = {"Content-Type": DEFAULT_TYPE, **info.headers}
    headers.pop(KEY_HEADER, None)
    headers |= target.headers
    require_fit(headers)
    return headers


class CopiedBody:
    """An object's open download as the body of an upload."""

    def __init__(self, content: NodeObject, deadline: float) -> None:
        """`deadline` is that of the request, on the monotonic clock."""
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
    """Return the object in X-Copy-Source: `/bucket/key`, percent-encoded.

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
    """Return the error for an invalid copy request."""
    return HTTPError(400, "InvalidCopy", message)


def require_bucket(services: Services, bucket: str) -> None:
    """Check that the bucket exists; make the default bucket if the settings say so.

    A bucket that was removed within the last seconds may pass. Raises:
    BucketNotFoundError.
    """
    buckets = services.buckets
    if not buckets.was_there(bucket):
        if not is_made_on_need(services, bucket):
            raise BucketNotFoundError
        buckets.make(bucket)


def require_bucket_still(services: Services, bucket: str) -> None:
    """Check again, after the object was stored, that the bucket exists now.

    Raises: HTTPError 404.
    """
    buckets = services.buckets
    if buckets.is_there(bucket):
        return
    if not is_made_on_need(services, bucket):
        message = "The bucket was removed meanwhile; the object may have been stored"
        raise HTTPError(404, "NoSuchBucket", message)
    buckets.make(bucket)


def is_made_on_need(services: Services, bucket: str) -> bool:
    """Whether an upload makes this bucket if it is missing."""
    settings = services.settings
    return settings.auto_create_default_bucket and bucket == settings.default_bucket


def raise_if_missing(services: Services, bucket: str) -> None:
    """Raises: BucketNotFoundError, if it is known that there is no such bucket."""
    try:
        is_there = services.buckets.was_there(bucket)
    except (NodeError, NoNodesError, ConflictError):
        return  # the caller then answers that there is no such object
    if not is_there:
        raise BucketNotFoundError
