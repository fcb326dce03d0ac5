"""Which headers are stored with an object, and how large they may be. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from amazin.errors import (
    InvalidHeaderError,
    MetadataTooLargeError,
    NodeProtocolError,
)

NATIVE_HEADERS = (
    "Content-Type",
    "Content-Disposition",
    "Content-Encoding",
    "Content-Language",
    "Cache-Control",
)
"""Headers that S3 itself stores with an object; all others are stored as metadata. So
is Expires: MinIO drops a value that is no date, like the common 0."""
MAX_METADATA_BYTES = 2048
_PREFIX_BYTES = len("x-amz-meta-")
"""Nodes add so many bytes to the name of an X-... header, and count them."""
_STAMP_BYTES = len("x-amz-meta-amazin-stamp1234567890123456789.4294967295.") + 18
"""What the gateway's own stamp takes of the 2 KiB that nodes allow."""
KEPT = (*NATIVE_HEADERS[1:], "Expires")
"""Headers that are stored beside Content-Type and X-... headers."""
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})")
METADATA_NAME = re.compile(r"X-(?:[A-Za-z0-9-]*[A-Za-z0-9])")
METADATA_VALUE = re.compile(r"[\x20-\x7e\x80-\xff]*")


def content_range(headers: Mapping[str, str]) -> tuple[int, int, int] | None:
    """Return first byte, last byte and size from Content-Range; None: not given."""
    found = _CONTENT_RANGE.fullmatch(headers.get("content-range", ""))
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


def read_modified(headers: Mapping[str, str]) -> int:
    """Return Last-Modified as Unix time in nanoseconds. Raises: NodeProtocolError."""
    try:
        modified = parsedate_to_datetime(headers.get("last-modified", ""))
        return int(modified.timestamp()) * 10**9
    except (ValueError, OverflowError) as exc:
        raise NodeProtocolError("the node sent no usable Last-Modified") from exc


def require_fit(
    headers: Mapping[str, str], most_bytes: int = MAX_METADATA_BYTES
) -> None:
    """Check that these headers can be stored.

    Raises: InvalidHeaderError, MetadataTooLargeError.
    """
    size = _STAMP_BYTES
    for name, value in headers.items():
        is_plain = name in NATIVE_HEADERS
        is_name = name in KEPT or is_plain or METADATA_NAME.fullmatch(name)
        if not METADATA_VALUE.fullmatch(value) or not is_name:
            shown = ascii(name)[1:-1]
            raise InvalidHeaderError(
                f"The header {shown} has characters that can't be stored"
            )
        size += len(name)
        size += len(value) if is_plain else _PREFIX_BYTES + escaped_size(value)
    if size > most_bytes:
        most = f"{most_bytes // 1024} KiB"
        raise MetadataTooLargeError(
            f"The headers to be stored with the object have more than {most}"
        )


def escaped_size(value: str) -> int:
    """Return the size that nodes count: 1 for printable ASCII, 3 (`%XX`) otherwise."""
    return sum(1 if "!" <= char <= "~" and char != "%" else 3 for char in value)
