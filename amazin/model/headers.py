"""Which headers are stored with an object, and how large they may be. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

from amazin.errors import InvalidHeaderError, MetadataTooLargeError

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
"""Nodes add this prefix to the name of an X-... header, and count it."""
_STAMP_BYTES = len("x-amz-meta-amazin-stamp1234567890123456789.4294967295.") + 18
"""The share of the gateway's own stamp in the 2 KiB that nodes allow."""
KEPT = (
    "Content-Disposition",
    "Content-Encoding",
    "Content-Language",
    "Cache-Control",
    "Expires",
)
METADATA_NAME = re.compile(r"X-(?:[A-Za-z0-9-]*[A-Za-z0-9])")
METADATA_VALUE = re.compile(r"[\x20-\x7e\x80-\xff]*")


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
