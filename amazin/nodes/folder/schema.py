"""The tables of a folder's index, and what leads to them from those of older versions.

All functions block, and raise sqlite3.Error.
"""

from __future__ import annotations

import sqlite3

VERSION = 3
_BUCKETS = "CREATE TABLE buckets (name BLOB NOT NULL PRIMARY KEY) WITHOUT ROWID"
SCHEMA = f"""
    PRAGMA synchronous = FULL;
    CREATE TABLE node (id TEXT NOT NULL);
    CREATE TABLE objects (
        bucket BLOB NOT NULL,
        key BLOB NOT NULL,
        file TEXT NOT NULL,
        size INTEGER NOT NULL,
        etag TEXT NOT NULL,
        stamp TEXT NOT NULL,
        headers TEXT NOT NULL,
        damaged INTEGER NOT NULL DEFAULT 0,
        sums BLOB,
        PRIMARY KEY (bucket, key)
    ) WITHOUT ROWID;
    CREATE INDEX objects_by_file ON objects (file);
    {_BUCKETS};
    PRAGMA user_version = {VERSION};
    PRAGMA journal_mode = WAL;
"""
_UPGRADE_FROM_1 = (
    _BUCKETS,
    # Finds one bucket after the other: DISTINCT would read every row of a big index.
    """
    WITH RECURSIVE found (name) AS (
        SELECT min(bucket) FROM objects UNION ALL
        SELECT (SELECT min(bucket) FROM objects WHERE bucket > name)
        FROM found WHERE name IS NOT NULL
    )
    INSERT INTO buckets SELECT name FROM found WHERE name IS NOT NULL
    """,
    "PRAGMA user_version = 2",
)
_UPGRADE_FROM_2 = (
    "ALTER TABLE objects ADD COLUMN damaged INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE objects ADD COLUMN sums BLOB",
    "PRAGMA user_version = 3",
)
UPGRADES = {1: _UPGRADE_FROM_1, 2: _UPGRADE_FROM_2}
"""By the version from which they lead to the next."""
READABLE_VERSION = 2
"""An index of it can be read and deleted from where there is no space to upgrade it."""
_VIEW_OF_2 = """
    CREATE TEMP VIEW objects AS SELECT bucket, key, file, size, etag, stamp, headers,
    0 AS damaged, NULL AS sums FROM main.objects
"""


def version_of(connection: sqlite3.Connection) -> int:
    """Return the version of an index."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


def upgrade(connection: sqlite3.Connection) -> None:
    """Lead an index to the newest version, within a transaction."""
    # Another process may have been faster.
    while (version := version_of(connection)) != VERSION:
        for statement in UPGRADES[version]:
            connection.execute(statement)


def show_as_newest(connection: sqlite3.Connection) -> None:
    """Let this connection read the objects of a `READABLE_VERSION` as of the newest."""
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute(_VIEW_OF_2)
