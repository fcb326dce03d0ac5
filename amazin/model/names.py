"""Which names buckets and objects may have. Pure.

`stored_names.py` decides under which names nodes store them.
"""

from __future__ import annotations

import re

MAX_KEY_BYTES = 1024
RESERVED_KEY = "list"
"""No object of a bucket may have this key: GET of it lists the bucket."""
RESERVED_BUCKETS = frozenset({"store", "blobs", "amazin-system"})
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_REFUSED_BUCKET = re.compile(
    r".*(?:\.\.|\.-|-\.).*|[0-9]+(?:\.[0-9]+){3}"
    r"|(?:xn--|sthree-|amzn-s3-demo-).*"
    r"|.*(?:-s3alias|--ol-s3|\.mrap|--x-s3|--table-s3)"
)


def check_bucket(bucket: str) -> None:
    """Raises: ValueError, which says why no bucket may have this name."""
    if not _BUCKET.fullmatch(bucket) or _REFUSED_BUCKET.fullmatch(bucket):
        raise ValueError(
            "A bucket's name is 3 to 63 lower-case letters, digits, dots and hyphens, "
            "as Amazon S3 allows it"
        )
    if bucket in RESERVED_BUCKETS:
        raise ValueError("This bucket is reserved; choose another name")


def check_key(key: str) -> None:
    """Raises: ValueError, which says why no object may have this key."""
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        raise ValueError("A key is UTF-8") from None
    if not 1 <= size <= MAX_KEY_BYTES:
        raise ValueError(f"A key is 1 to {MAX_KEY_BYTES} bytes of UTF-8")


def printable(text: str) -> str:
    """Return the text on one line, with unprintable characters escaped."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode()
        for char in text
    )
