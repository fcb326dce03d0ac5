"""The partial file of a download: hidden, of one version, locked, and private.

It lies beside its target, whose place it takes when it is complete. After an
interruption it stays, and the next download continues it.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from amazin.client.http import PIECE_BYTES
from amazin.client.streams import Digest, md5
from amazin.errors import ClientError, LocalError

PARTIAL_SUFFIX = ".amazin-part"
MAX_NAME_BYTES = 120
"""The name of a partial file has the hash of a longer file name."""
UMASK = os.umask(0o077)
"""The umask of new files. Reading it sets it, so it is read before threads run."""
os.umask(UMASK)
PRIVATE_MODE = 0o600
"""The mode of a partial file; `mode_for` gives the mode of the complete file."""
NOT_SUPPORTED = (errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EINVAL)
"""What file systems say that have no locks, no modes or nothing to flush."""
NO_NEW_FILE = (errno.EACCES, errno.EPERM, errno.EROFS)
IN_PLACE = "a new file has to take its place; `get KEY - > FILE` needs none"
_TAG = "[A-Za-z0-9-]{1,64}"


class Partial:
    """The partial file of a download, locked where the file system has locks.

    Raises: ClientError: another download has locked it. LocalError, OSError.
    """

    def __init__(self, target: Path, etag: str) -> None:
        self._target = target
        self._path = target.with_name(partial_name(target.name, etag))
        try:
            self._fd = opened(self._path)
        except OSError as exc:
            if exc.errno in NO_NEW_FILE and os.access(target, os.W_OK):
                raise LocalError(f"{exc.strerror}; {IN_PLACE}") from exc
            raise
        self.size = os.fstat(self._fd).st_size

    def digest(self) -> Digest:
        """Return the MD5 of the file; move to its end."""
        found = md5()
        os.lseek(self._fd, 0, os.SEEK_SET)
        while piece := os.read(self._fd, PIECE_BYTES):
            found.update(piece)
        return found

    def write(self, data: bytes, /) -> None:
        """Add a piece."""
        left = memoryview(data)
        while left:
            left = left[os.write(self._fd, left) :]
        self.size += len(data)

    def clear(self) -> None:
        """Empty the file."""
        os.ftruncate(self._fd, 0)
        os.lseek(self._fd, 0, os.SEEK_SET)
        self.size = 0

    def remove(self) -> None:
        """Remove the file."""
        self._path.unlink(missing_ok=True)

    def finish(self) -> None:
        """Rename the complete file to the target. Raises: LocalError, OSError."""
        with suppress(OSError):  # some file systems have no modes: FAT, FUSE
            os.fchmod(self._fd, mode_for(self._target))
        with not_supported_here():
            os.fsync(self._fd)
        if not is_at(self._fd, self._path):
            raise LocalError("Its partial file was taken away")
        try:
            self._path.replace(self._target)
        except OSError as exc:  # a mount, a file that is protected
            self.remove()
            message = f"It can't be replaced: {exc.strerror}; {IN_PLACE}"
            raise LocalError(message) from exc

    def close(self) -> None:
        """Close and unlock the file; an empty one is removed."""
        try:
            if not self.size and is_at(self._fd, self._path):
                self.remove()
        finally:
            os.close(self._fd)


def partial_name(name: str, etag: str) -> str:
    """Return the name of the partial file for a version."""
    if not re.fullmatch(_TAG, etag):
        etag = hashlib.sha256(etag.encode()).hexdigest()
    return f"{partial_start(name)}{etag}{PARTIAL_SUFFIX}"


def partial_start(name: str) -> str:
    """Return the beginning of the names of all partial files of a file."""
    data = os.fsencode(name)
    if len(data) > MAX_NAME_BYTES:
        name = hashlib.sha256(data).hexdigest()
    return f".{name}."


def opened(path: Path) -> int:
    """Open and lock a partial file; return its descriptor.

    In a shared folder somebody may have planted a file of his own there, or a link to
    another one of ours: it is replaced, and nothing is written to it.

    Raises: ClientError, OSError.
    """
    while True:
        fd, is_new = open_or_create(path)
        with closed_on_error(fd, path if is_new else None):
            lock(fd)
            if is_at(fd, path):
                if is_new or is_ours(os.fstat(fd)):
                    return fd
                path.unlink()
        os.close(fd)  # another process renamed or removed it just before


@contextmanager
def closed_on_error(fd: int, new: Path | None) -> Iterator[None]:
    """If there is an error, close a descriptor, and remove the file if it is new."""
    try:
        yield
    except BaseException:
        os.close(fd)
        if new:
            with suppress(OSError):
                new.unlink()
        raise


@contextmanager
def not_supported_here() -> Iterator[None]:
    """Go on if a file system doesn't support what is tried. Raises: OSError."""
    try:
        yield
    except OSError as exc:
        if exc.errno not in NOT_SUPPORTED:
            raise


def lock(fd: int) -> None:
    """Lock a partial file, where the file system has locks.

    Two downloads of one version that don't know of each other write the same bytes to
    the same places, and one of them finds its file renamed.

    Raises: LocalError: another process has locked it. OSError.
    """
    try:
        with not_supported_here():
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise LocalError("Another download to this place is running") from None


def open_or_create(path: Path) -> tuple[int, bool]:
    """Return a descriptor of a file, and whether the file is new. Raises: OSError."""
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
    while True:
        with suppress(FileExistsError):
            return os.open(path, flags | os.O_CREAT | os.O_EXCL, PRIVATE_MODE), True
        try:
            return os.open(path, flags | os.O_NONBLOCK), False
        except FileNotFoundError:
            pass
        except OSError as exc:
            if exc.errno != errno.ELOOP:
                raise
            path.unlink(missing_ok=True)  # a symbolic link


def is_ours(found: os.stat_result) -> bool:
    """Whether a file is an ordinary one that only this user and this path have."""
    is_alone = stat.S_ISREG(found.st_mode) and found.st_nlink == 1
    return is_alone and found.st_uid == os.geteuid()


def mode_for(target: Path) -> int:
    """Return the mode of the file that will be replaced, or of a new one."""
    with suppress(FileNotFoundError):
        mode = target.lstat().st_mode
        if stat.S_ISREG(mode):
            return stat.S_IMODE(mode) & 0o777
    return 0o666 & ~UMASK


def sync_folder(folder: Path) -> None:
    """Write the names in a folder to its disk, where that can be done.

    Without it, a machine that loses power may forget a file that was just renamed.
    """
    with suppress(OSError):
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def is_at(fd: int, path: Path) -> bool:
    """Whether the descriptor and the path refer to the same file."""
    try:
        return os.path.samestat(os.fstat(fd), path.lstat())
    except FileNotFoundError:
        return False


def has_leftovers(folder: Path) -> bool:
    """Whether a folder has partial files. Raises: OSError."""
    return any(folder.glob(f".*{PARTIAL_SUFFIX}"))


def remove_leftovers(target: Path) -> None:
    """Remove the partial files of a target, except locked ones."""
    ours = re.escape(partial_start(target.name)) + _TAG + re.escape(PARTIAL_SUFFIX)
    for path in target.parent.glob(f".*{PARTIAL_SUFFIX}"):
        if re.fullmatch(ours, path.name):
            with suppress(ClientError, OSError):
                fd = opened(path)
                try:
                    path.unlink()
                finally:
                    os.close(fd)
