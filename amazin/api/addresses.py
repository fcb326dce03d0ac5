"""Parses what a bucket API request addresses: bucket, key, query parameters.

Sends no request to nodes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple
from urllib.parse import parse_qsl

from amazin.access.grants import ANY_BUCKET, BLOBS, IDS, OBJECTS, Place
from amazin.errors import HTTPError
from amazin.model.names import RESERVED_KEY, check_bucket, check_key
from amazin.model.objects import ObjectName
from amazin.model.stored_names import stored_name
from amazin.settings.settings import Settings
from amazin.web.messages import Request

MAX_PARAMETERS = 100
LIST_PARAMETERS = ("prefix", "recursive", "limit", "after")
_SIGNING = "x-amz-"
"""Prefix of parameters that S3 tools add; `web/access.py` has verified them."""


class Address(NamedTuple):
    """An object as clients name it, and its stored name."""

    bucket: str
    key: str
    name: ObjectName
    headers: Mapping[str, str]
    """To be stored with the object, in addition to the client's headers."""


def bucket_of(settings: Settings, bucket: str) -> str:
    """Return the bucket in a path; "" stands for the default bucket.

    Raises: HTTPError 422.
    """
    return checked_bucket(bucket or settings.default_bucket)


def address_of(settings: Settings, bucket: str, key: str) -> Address:
    """Return the object in a path; without a bucket it is in the default bucket.

    Raises: HTTPError 422.
    """
    if not bucket and "/" not in key:  # a slash means that the bucket's name is empty
        bucket = settings.default_bucket
    checked_bucket(bucket)
    checked_key(key)
    return Address(bucket, key, *stored_name(bucket, key))


# Where actions take place, for access; nothing is checked


def of_key(request: Request, settings: Settings, groups: Sequence[str]) -> Place:
    """Return the object in a path of bucket and key."""
    bucket, key = groups
    if not bucket and "/" not in key:
        bucket = settings.default_bucket
    return Place(OBJECTS, bucket, key)


def of_bucket(request: Request, settings: Settings, groups: Sequence[str]) -> Place:
    """Return the whole bucket in a path."""
    return Place(OBJECTS, groups[0] or settings.default_bucket)


def in_bucket(request: Request, settings: Settings, groups: Sequence[str]) -> Place:
    """Return any place in the bucket in a path."""
    return Place(OBJECTS, groups[0] or settings.default_bucket, None)


def of_prefix(request: Request, settings: Settings, groups: Sequence[str]) -> Place:
    """Return the keys with the query's prefix. Raises: HTTPError 400."""
    prefix = parameters(request, LIST_PARAMETERS).get("prefix", "")
    return Place(OBJECTS, groups[0] or settings.default_bucket, prefix)


def of_any_bucket(request: Request, settings: Settings, groups: Sequence[str]) -> Place:
    """Return all buckets."""
    return ANY_BUCKET


def by_id(request: Request, settings: Settings, groups: Sequence[str]) -> Place:
    """Return the object with the id in a path."""
    return Place(IDS, "", groups[0])


def of_blob(request: Request, settings: Settings, groups: Sequence[str]) -> Place:
    """Return the blob with the id in a path, which may have none."""
    return Place(BLOBS, "", groups[0] if groups else "")


# Names


def checked_bucket(bucket: str) -> str:
    """Return a valid bucket name. Raises: HTTPError 422."""
    try:
        check_bucket(bucket)
    except ValueError as exc:
        raise HTTPError(422, "InvalidBucketName", str(exc)) from None
    return bucket


def checked_key(key: str) -> str:
    """Return a valid key of an object. Raises: HTTPError 422."""
    try:
        check_key(key)
    except ValueError as exc:
        raise HTTPError(422, "InvalidKey", str(exc)) from None
    if key == RESERVED_KEY:
        message = f"The key {RESERVED_KEY} is reserved: GET of it lists the bucket"
        raise HTTPError(422, "InvalidKey", message)
    return key


def parameters(request: Request, known: Collection[str]) -> dict[str, str]:
    """Return the query's parameters without those of a signature.

    Unknown and repeated parameters are refused, so that a misspelled one does not list
    or fetch more than was intended.

    Raises: HTTPError 400.
    """
    text: str = request.environ.get("QUERY_STRING", "")
    try:
        pairs = parse_qsl(
            text.encode("latin-1").decode("utf-8"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=MAX_PARAMETERS,
        )
    except UnicodeError:
        raise invalid_query("The query is not UTF-8") from None
    except ValueError:
        raise invalid_query("The query has too many parameters") from None
    given: dict[str, str] = {}
    for name, value in pairs:
        if name.lower().startswith(_SIGNING):
            continue
        if name not in known:
            raise invalid_query(f"The query may have {', '.join(sorted(known))}")
        if name in given:
            raise invalid_query(f"The query has {name} twice")
        given[name] = value
    return given


def invalid_query(message: str) -> HTTPError:
    """Return the error for an invalid query."""
    return HTTPError(400, "InvalidQuery", message)
