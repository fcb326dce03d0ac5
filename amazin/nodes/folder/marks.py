"""Marks in the index: which content files are whole, and which are damaged or gone.

All functions block, and raise sqlite3.Error.
"""

from __future__ import annotations

import sqlite3

from amazin.model.objects import ObjectName


def note_damage(
    connection: sqlite3.Connection, name: ObjectName, file: str, damaged_at: int
) -> None:
    """Note when a content file was found damaged or gone, if the key still has it."""
    connection.execute(
        "UPDATE objects SET damaged = ? WHERE bucket = ? AND key = ? AND file = ?",
        (damaged_at, name.bucket.encode(), name.key.encode(), file),
    )


def note_whole(
    connection: sqlite3.Connection, name: ObjectName, file: str, sums: bytes
) -> None:
    """Note that a content file is whole, and its sums, if the key still has it."""
    connection.execute(
        "UPDATE objects SET damaged = 0, sums = ?"
        " WHERE bucket = ? AND key = ? AND file = ?",
        (sums, name.bucket.encode(), name.key.encode(), file),
    )


def find_files(
    connection: sqlite3.Connection, shard: str
) -> dict[str, tuple[bytes, bytes]]:
    """Return the content files in a subfolder that keys have, and whose they are."""
    found = connection.execute(
        "SELECT file, bucket, key FROM objects WHERE file >= ? AND file < ?",
        (shard, shard + "g"),
    )
    return {file: (bucket, key) for file, bucket, key in found}
