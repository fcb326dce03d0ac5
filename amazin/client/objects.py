"""The addresses, headers and descriptions of objects in requests to a gateway. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from amazin.client.http import Answer
from amazin.errors import ClientError
from amazin.model.headers import KEPT
from amazin.model.metadata_names import BLOB_METADATA
from amazin.model.names import RESERVED_KEY

KEPT_HEADERS = frozenset(("Content-Type", *KEPT))
_MD5 = re.compile(r"[0-9a-f]{32}")
_ETAG = re.compile(r'"([\x21\x23-\x7e]{1,200})"')
_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_OURS = frozenset(
    ("authorization", "connection", "content-length", "host", "transfer-encoding")
)


@dataclass(frozen=True)
class StoredObject:
    """The properties of an object, as a gateway gives them."""

    key: str
    size: int
    """In bytes."""
    last_modified: str
    """From lists and uploads: RFC 3339. From `get` and `head`: an HTTP date."""
    content_type: str
    etag: str
    """Without quotes; empty for a common prefix of several keys in a list."""

    @property
    def is_prefix(self) -> bool:
        """Whether this is a common prefix of several keys, not an object."""
        return not self.etag

    @property
    def has_md5(self) -> bool:
        """Whether the ETag has the form of an MD5."""
        return bool(_MD5.fullmatch(self.etag))


def path_of(address: str) -> str:
    """Return the path of an object. Raises: ClientError: the address is not valid."""
    bucket, slash, key = address.partition("/")
    if not slash:
        if not address:
            raise ClientError(
                "An address is an id, or a bucket and a key: photos/a.jpg"
            )
        return f"/object/{quoted(address)}"
    if not bucket or not key:
        raise ClientError(f"{address!r} is no address: photos/a.jpg is one")
    if key == RESERVED_KEY:
        raise ClientError(f"The key {RESERVED_KEY} is reserved: it can't be an object")
    return f"/objects/{quoted(bucket)}/{quoted(key, '/')}"


def quoted(text: str, safe: str = "") -> str:
    """Return text percent-encoded, also the dots of the segments `.` and `..`.

    Raises: ClientError: the text is not UTF-8.
    """
    try:
        segments = quote(text, safe=safe, errors="strict").split("/")
    except UnicodeEncodeError:
        raise ClientError(f"{text!a} is not UTF-8") from None
    dotted = {".": "%2E", "..": "%2E%2E"}
    return "/".join(dotted.get(segment, segment) for segment in segments)


def encoded(query: Mapping[str, str]) -> str:
    """Return a URL's query. Raises: ClientError: a value is not UTF-8."""
    try:
        return urlencode(query)
    except UnicodeEncodeError:
        raise ClientError("A prefix is UTF-8") from None


def checked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return headers as an upload sends them: their UTF-8 bytes as Latin-1.

    Raises: ClientError: a header can't be set, or has control characters.
    """
    for name, value in headers.items():
        if not _NAME.fullmatch(name) or name.lower() in _OURS:
            raise ClientError(f"{name!r} is no header that can be set")
        if not value.isprintable():
            raise ClientError(f"The value of the header {name} has control characters")
    return {name: value.encode().decode("latin-1") for name, value in headers.items()}


def copy_source(address: str) -> str:
    """Return the value of X-Copy-Source for an object. Raises: ClientError."""
    path = path_of(address)
    if "/" not in address:
        raise ClientError(f"{address!r} is an id: only objects of buckets are copied")
    return path.removeprefix("/objects")


def kept_headers(answer: Answer) -> dict[str, str]:
    """Return the headers of an answer that are kept with the object, as text."""
    return {
        name.title(): value.encode("latin-1", "replace").decode("utf-8", "replace")
        for name, value in answer.headers.items()
        if name.title() in KEPT_HEADERS or BLOB_METADATA.fullmatch(name)
    }


def info_of(address: str, answer: Answer, size: int) -> StoredObject:
    """Return an object's properties from response headers. Raises: ClientError."""
    etag = _ETAG.fullmatch(answer.headers.get("ETag", ""))
    if not etag:
        raise nonsense()
    return StoredObject(
        address.partition("/")[2] or address,
        size,
        answer.headers.get("Last-Modified", ""),
        answer.headers.get("Content-Type", ""),
        etag[1],
    )


def entry_of(fields: Any) -> StoredObject:
    """Return an object's properties from parsed JSON. Raises: ClientError."""
    try:
        names = ("key", "last_modified", "content_type", "etag")
        key, modified, kind, etag = (fields[name] for name in names)
        size = fields["size"]
        if not isinstance(size, int) or size < 0:
            raise nonsense()
        if not all(isinstance(text, str) for text in (key, modified, kind, etag)):
            raise nonsense()
        key.encode()
    except (TypeError, KeyError, UnicodeEncodeError):
        raise nonsense() from None
    return StoredObject(key, size, modified, kind, etag)


def as_size(text: str | None) -> int:
    """Read a Content-Length. Raises: ClientError."""
    if text is None or not re.fullmatch("[0-9]{1,18}", text):
        raise nonsense()
    return int(text)


def nonsense() -> ClientError:
    """Return the error for an answer that is not that of a gateway."""
    return ClientError("The answer makes no sense: is this the URL of a gateway?")
