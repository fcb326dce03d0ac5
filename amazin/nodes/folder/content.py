"""The content files of a folder node: their paths, and the removal of orphans.

All functions block, and raise OSError.
"""

from __future__ import annotations

import errno
import fcntl
import io
import os
import random
import re
import secrets
import sqlite3
import stat
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_SWEEP_SECONDS = 0.5
SHARDS = [f"{shard:02x}" for shard in range(256)]
_FILE = re.compile(r"[0-9a-f]{32}")
_OTHER_KINDS = (errno.ELOOP, errno.EISDIR, errno.ENXIO)
"""What systems say of a link, of a folder, and of a socket or device."""
_NO_TMPFILE = (errno.EISDIR, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOENT)
"""What file systems and kernels without nameless files say."""


class NoFileError(OSError):
    """What should be a content file is a link, a pipe, a device, a folder, outside."""


class Content:
    """Files `ab/<32 hex>` below a folder, in 256 subfolders, made when needed."""

    def __init__(self, path: Path) -> None:
        """Take the folder's path; nothing is read or made yet."""
        self.path = path
        self._durable: set[str] = set()
        """Subfolders that were synced to disk, as far as this process knows."""

    def path_of(self, file: str) -> Path:
        """Return the path of a content file.

        Raises: NoFileError, if a damaged index names something else.
        """
        if not isinstance(file, str) or not _FILE.fullmatch(file):
            raise NoFileError
        return self.path / file[:2] / file

    def new_path(self) -> Path:
        """Return the path for a new file, in a subfolder that is synced to disk."""
        path = self.path_of(secrets.token_hex(16))
        shard = path.parent.name
        if shard not in self._durable:
            self.make_folder(path.parent)
            sync_folder(self.path)
            self._durable.add(shard)
        return path

    @staticmethod
    def make_folder(path: Path) -> None:
        """Make a folder, unless there is one; it belongs to whom the one above does."""
        with suppress(FileExistsError):
            path.mkdir()
            give_to_owner(path)

    def free_bytes(self) -> int:
        """Return the space that is left for a process which is not root's."""
        found = os.statvfs(self.path.parent)  # the new folder has no `content` yet
        return found.f_bavail * found.f_frsize

    def require_readable(self) -> None:
        """Raises: OSError EACCES: no file can be read."""
        if not os.access(self.path, os.R_OK | os.X_OK, effective_ids=True):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    def require_writable(self) -> None:
        """Try to make a file, which leaves nothing. Raises: OSError."""
        require_writable(self.path)
        for shard in self.path.iterdir():
            require_writable(shard)
        make_nameless(self.path)

    def require_removable(self, file: str) -> None:
        """Raises: OSError: EROFS, EACCES: the file is there, and can't be removed."""
        with suppress(FileNotFoundError, NoFileError):
            require_writable(self.path_of(file).parent)

    def remove(self, file: str) -> None:
        """Remove a file. Raises: OSError: it can't be removed."""
        with suppress(FileNotFoundError, NoFileError):
            self.path_of(file).unlink()

    def discard(self, file: str) -> None:
        """Remove a file. If that fails, the sweep of a later start removes it."""
        with suppress(OSError):
            self.path_of(file).unlink()

    def has_files(self) -> bool:
        """Whether there is any content file."""
        shards = (self.path / shard for shard in SHARDS)
        return any(any(shard.iterdir()) for shard in shards if shard.is_dir())

    def missing(self, shard: str, files: Iterable[str]) -> set[str]:
        """Return which of these files of a subfolder are not there."""
        missing = set(files)
        with suppress(FileNotFoundError), os.scandir(self.path / shard) as entries:
            missing.difference_update(entry.name for entry in entries)
        return {file for file in missing if not self._has(file)}

    def _has(self, file: str) -> bool:
        with suppress(NoFileError):
            return self.path_of(file).exists()
        return False

    def sweep(self, connection: sqlite3.Connection, age_seconds: float) -> None:
        """Remove files that crashes left, as many as fit into the time limit.

        Each sweep starts at a random subfolder, so that sweeps of a big node cover all
        of it.
        """
        deadline = time.monotonic() + _SWEEP_SECONDS
        start = random.randrange(len(SHARDS))
        for shard in SHARDS[start:] + SHARDS[:start]:
            with suppress(OSError):  # it may be missing, or owned by another user
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
            # It may be gone, locked by an upload, or owned by another user.
            with suppress(OSError):
                _remove_orphan(connection, self.path_of(name), age_seconds)


def open_content(path: Path) -> io.FileIO:
    """Open a file for reading. Raises: NoFileError, OSError."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        file = io.FileIO(path, opener=lambda path, _: os.open(path, flags))
    except OSError as exc:
        raise NoFileError if exc.errno in _OTHER_KINDS else exc from None
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise NoFileError
    return file


def require_writable(path: Path) -> None:
    """Raises: OSError: EROFS, EACCES: this process can't change a file or a folder."""
    if os.statvfs(path).f_flag & os.ST_RDONLY:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))
    needed = os.W_OK | os.X_OK if path.is_dir() else os.W_OK
    if not os.access(path, needed, effective_ids=True):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))


def give_to_owner(path: Path) -> None:
    """Give what this process has made to the owner of its folder, with that mode.

    Root may work on the folders of a service that runs as somebody else, and others in
    those of their group: the service has to be able to change what they make there.
    """
    folder = path.parent.stat()
    if folder.st_uid == os.geteuid() and not folder.st_mode & stat.S_IWGRP:
        return
    mode = stat.S_IMODE(folder.st_mode)
    path.chmod(mode if path.is_dir() else mode & 0o666)
    with suppress(PermissionError):  # only root may
        os.chown(path, folder.st_uid, folder.st_gid)


def make_nameless(folder: Path) -> None:
    """Make a file that has no name, and so vanishes. Raises: OSError."""
    try:
        descriptor = os.open(folder, os.O_TMPFILE | os.O_WRONLY, 0o600)
    except OSError as exc:
        if exc.errno not in _NO_TMPFILE:
            raise
        path = folder / f"{secrets.token_hex(16)}.new"
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        path.unlink()
    os.close(descriptor)


def sync_folder(path: Path) -> None:
    """Sync a folder's directory entries to disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_orphan(
    connection: sqlite3.Connection, path: Path, age_seconds: float
) -> None:
    with open_content(path) as file:
        if time.time() - os.fstat(file.fileno()).st_mtime < age_seconds:
            return
        # An upload holds this lock until the index has the file, so query the index
        # again once the lock is taken.
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        known = "SELECT 1 FROM objects WHERE file = ?"
        if not connection.execute(known, (path.name,)).fetchone():
            path.unlink(missing_ok=True)
