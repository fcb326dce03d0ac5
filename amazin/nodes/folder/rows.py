"""The entries of a folder's index: what it holds of each key, and the buckets.

All functions block, and raise sqlite3.Error.
"""

from __future__ import annotations

import json
import sqlite3
from typing import NamedTuple

from amazin.errors import NodeError, NoSuchBucketError
from amazin.model.objects import Label, ObjectInfo, ObjectName

_COLUMNS = "key, file, size, etag, stamp, headers, damaged"
_WITH_SUMS = f"{_COLUMNS}, sums"


class Row(NamedTuple):
    """The index entry of one key."""

    key: str
    file: str
    info: ObjectInfo
    damaged_at: int = 0
    """Unix time at which the content was last found damaged or gone; 0: it was not."""
    sums: bytes | None = None
    """See `sums.py`. None: not made yet, or not asked for."""


def find(
    connection: sqlite3.Connection, name: ObjectName, *, has_sums: bool = False
) -> Row | None:
    """Return the index entry of an object, or None; with its sums if asked to.

    Raises: NodeError: the index is damaged.
    """
    columns = _WITH_SUMS if has_sums else _COLUMNS
    found = connection.execute(
        f"SELECT {columns} FROM objects WHERE bucket = ? AND key = ?",
        (name.bucket.encode(), name.key.encode()),
    ).fetchone()
    row = found and _row(*found)
    if row and row.key != name.key:  # the search took a wrong turn
        raise NodeError("the folder's index is damaged")
    return row


def find_all(
    connection: sqlite3.Connection, bucket: str, first: bytes, end: bytes, limit: int
) -> list[Row]:
    """Return the objects with first <= key < end, in order of the keys' bytes."""
    found = connection.execute(
        f"SELECT {_COLUMNS} FROM objects"
        " WHERE bucket = ? AND key >= ? AND key < ? ORDER BY key LIMIT ?",
        (bucket.encode(), first, end, limit),
    )
    return [_row(*columns) for columns in found]


def find_keys(
    connection: sqlite3.Connection, bucket: str, first: bytes, end: bytes, limit: int
) -> list[str]:
    """Return the keys with first <= key < end, in order of their bytes.

    Without those whose content is known to be damaged or gone.
    """
    found = connection.execute(
        "SELECT key FROM objects WHERE damaged = 0"
        " AND bucket = ? AND key >= ? AND key < ? ORDER BY key LIMIT ?",
        (bucket.encode(), first, end, limit),
    )
    return [key.decode() for (key,) in found]


def put(
    connection: sqlite3.Connection,
    name: ObjectName,
    file: str,
    info: ObjectInfo,
    sums: bytes,
) -> None:
    """Map the key to `file`, replacing an older entry."""
    values = (file, info.size, info.etag, str(info.label), json.dumps(info.headers))
    connection.execute(
        "INSERT OR REPLACE INTO objects"
        " (bucket, key, file, size, etag, stamp, headers, sums)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (name.bucket.encode(), name.key.encode(), *values, sums),
    )


def remove(connection: sqlite3.Connection, name: ObjectName) -> None:
    """Remove the entry of a key."""
    connection.execute(
        "DELETE FROM main.objects WHERE bucket = ? AND key = ?",
        (name.bucket.encode(), name.key.encode()),
    )


def make_bucket(connection: sqlite3.Connection, bucket: str) -> None:
    """Make a bucket; nothing is written if it exists."""
    if not _has_bucket(connection, bucket):
        connection.execute(
            "INSERT OR IGNORE INTO buckets VALUES (?)", (bucket.encode(),)
        )


def require_bucket(connection: sqlite3.Connection, bucket: str) -> None:
    """Raises: NoSuchBucketError, if the bucket was never made."""
    if not _has_bucket(connection, bucket):
        raise NoSuchBucketError("the folder has no such bucket")


def _has_bucket(connection: sqlite3.Connection, bucket: str) -> bool:
    known = "SELECT 1 FROM buckets WHERE name = ?"
    return connection.execute(known, (bucket.encode(),)).fetchone() is not None


def _row(
    key: bytes,
    file: str,
    size: int,
    etag: str,
    label_text: str,
    headers: str,
    damaged_at: int,
    sums: bytes | None = None,
) -> Row:
    """Return an entry; one that makes no sense is that of a lost copy."""
    label = Label.parse(label_text) if isinstance(label_text, str) else None
    modified_ns = label.stamp.nanoseconds if label else 0
    try:
        kept, is_lost = json.loads(headers), damaged_at > 0
        is_readable = (
            isinstance(size, int)
            and size >= 0
            and etag.isprintable()
            and {str, *map(type, kept.values())} == {str}
        )
        info = ObjectInfo(size, etag, modified_ns, label, kept, is_lost)
    except (AttributeError, TypeError, ValueError):
        is_readable = False
    if not is_readable:
        # Its stamp counts: without it an older version elsewhere would be the newest.
        info = ObjectInfo(0, "", modified_ns, label, {}, is_damaged=True)
        damaged_at = (isinstance(damaged_at, int) and damaged_at) or 1
    sums = sums if isinstance(sums, bytes) else None
    return Row(key.decode(), file, info, damaged_at, sums)
