"""The content files of a folder node: where they lie, and which nobody needs.

Everything here blocks, and raises OSError.
"""

from __future__ import annotations

import fcntl
import os
import random
import re
import secrets
import sqlite3
import time
from contextlib import suppress
from pathlib import Path

_SWEEP_SECONDS = 0.5
_SHARDS = [f"{shard:02x}" for shard in range(256)]
_FILE = re.compile(r"[0-9a-f]{32}")


class Content:
    """Files `ab/<32 hex>` below a folder, in 256 folders that are made when needed."""

    def __init__(self, path: Path) -> None:
        """Only takes note of the folder."""
        self.path = path
        self._durable: set[str] = set()
        """Folders that this process knows to be on the disk."""

    def path_of(self, file: str) -> Path:
        """Return where a file lies."""
        return self.path / file[:2] / file

    def new_path(self) -> Path:
        """Return where a new file may be made: in a folder that is on the disk."""
        path = self.path_of(secrets.token_hex(16))
        shard = path.parent.name
        if shard not in self._durable:
            path.parent.mkdir(exist_ok=True)
            sync_folder(self.path)
            self._durable.add(shard)
        return path

    def discard(self, file: str) -> None:
        """Remove a file; if that fails, a later start of the node does it."""
        with suppress(OSError):
            self.path_of(file).unlink()

    def has_files(self) -> bool:
        """Whether anything lies there."""
        shards = (self.path / shard for shard in _SHARDS)
        return any(any(shard.iterdir()) for shard in shards if shard.is_dir())

    def sweep(self, connection: sqlite3.Connection, age_seconds: float) -> None:
        """Remove what crashes left; of a big node a part each time, begun anywhere."""
        deadline = time.monotonic() + _SWEEP_SECONDS
        start = random.randrange(len(_SHARDS))
        for shard in _SHARDS[start:] + _SHARDS[:start]:
            with suppress(OSError):  # it may be missing, or somebody else's
                self._sweep_shard(connection, shard, age_seconds)
            if time.monotonic() > deadline:
                return

    def _sweep_shard(
        self, connection: sqlite3.Connection, shard: str, age_seconds: float
    ) -> None:
        with os.scandir(self.path / shard) as entries:
            names = {entry.name for entry in entries if _FILE.fullmatch(entry.name)}
        known = "SELECT file FROM objects WHERE file >= ? AND file < ?"
        names.difference_update(
            file for (file,) in connection.execute(known, (shard, shard + "g"))
        )
        for name in names:
            with suppress(OSError):  # it is gone, an upload's, or somebody else's
                _remove_orphan(connection, self.path_of(name), age_seconds)


def sync_folder(path: Path) -> None:
    """Put a folder's list of names on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_orphan(
    connection: sqlite3.Connection, path: Path, age_seconds: float
) -> None:
    with path.open("rb", buffering=0) as file:
        if time.time() - os.fstat(file.fileno()).st_mtime < age_seconds:
            return
        # An upload holds this lock until its key means the file: ask again behind it.
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        known = "SELECT 1 FROM objects WHERE file = ?"
        if not connection.execute(known, (path.name,)).fetchone():
            path.unlink(missing_ok=True)
