"""Uploads and downloads of one file.

A download is written to a partial file beside the target, checked, and then renamed, so
the target is always a whole object. The name of the partial file is hidden and contains
the version. After an interruption it stays, and the next download continues it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import stat
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from io import BufferedReader
from pathlib import Path
from typing import Protocol

from amazin.client.client import GatewayClient
from amazin.client.http import PIECE_BYTES
from amazin.client.objects import StoredObject
from amazin.client.streams import Digest, ObjectStream, md5
from amazin.errors import (
    ClientError,
    DamagedError,
    LocalError,
    ObjectChangedError,
)

PARTIAL_SUFFIX = ".amazin-part"
RESTARTS = 5
"""How often a download starts again because the object changed or was damaged."""
MAX_NAME_BYTES = 120
"""The name of a partial file has the hash of a longer file name."""
UMASK = os.umask(0o077)
"""The umask of new files. Reading it sets it, so it is read before threads run."""
os.umask(UMASK)
PRIVATE_MODE = 0o600
"""The mode of a partial file; `mode_for` gives the mode of the complete file."""
_TAG = "[A-Za-z0-9-]{1,64}"


Show = Callable[[int, int | None], object]
"""Is called with the bytes transferred so far, and the size (None: unknown)."""


class Sink(Protocol):
    """The target of a download."""

    def write(self, data: bytes, /) -> object:
        """Write a piece."""


# Uploads


class SteadyFile:
    """A file to upload, which must not change while it is read.

    If it changed, `read` raises ClientError instead of returning the last piece.
    """

    def __init__(self, path: Path, show: Show) -> None:
        try:
            self._file: BufferedReader = path.open("rb")
        except OSError as exc:
            raise LocalError(f"It can't be read: {exc.strerror}") from exc
        self._show = show
        self._state = self._look()
        self.size = self._state[0] if self._has_size() else None
        """In bytes; None: known only at the end."""

    def _has_size(self) -> bool:
        """Whether the size is known; files in /proc say 0 and are not empty."""
        size, _, mode = self._state
        try:
            return stat.S_ISREG(mode) and (size > 0 or not self._file.peek(1))
        except OSError:
            return True  # `read` will raise the error

    def _look(self) -> tuple[int, int, int]:
        found = os.fstat(self._file.fileno())
        return found.st_size, found.st_mtime_ns, found.st_mode

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes."""
        piece = self._file.read(size)
        if self.size is None:
            return piece
        position = self._file.tell()
        is_end = not piece or position >= self.size
        if is_end and self._look() != self._state:
            raise LocalError("It changed while it was read")
        self._show(position, self.size)
        return piece

    def tell(self) -> int:
        """Return the position. Raises: OSError: the file can't be read again."""
        return self._file.tell()

    def seek(self, position: int, /) -> int:
        """Set the position. Raises: OSError: the file can't be read again."""
        return self._file.seek(position)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def upload(
    client: GatewayClient,
    path: Path,
    address: str,
    headers: Mapping[str, str],
    show: Show,
) -> StoredObject:
    """Store a file. Raises: ClientError."""
    with closing(SteadyFile(path, show)) as file:
        return client.put(address, file, file.size, headers)


def md5_of(path: Path) -> str:
    """Return the MD5 of a file's bytes. Raises: OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, md5).hexdigest()


def is_same(path: Path, stored: StoredObject) -> bool:
    """Whether an ordinary file has the bytes of an object. Raises: OSError."""
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    if not stat.S_ISREG(found.st_mode) or found.st_size != stored.size:
        return False
    return stored.has_md5 and md5_of(path) == stored.etag


# Downloads


class Partial:
    """The partial file of a download, locked.

    Raises: ClientError: another download has locked it. OSError.
    """

    def __init__(self, target: Path, etag: str) -> None:
        self._target = target
        self._path = target.with_name(partial_name(target.name, etag))
        self._fd = opened(self._path)
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
        """Rename the complete file to the target. Raises: ClientError, OSError."""
        with suppress(PermissionError):  # some file systems have no modes: FAT
            os.fchmod(self._fd, mode_for(self._target))
        os.fsync(self._fd)
        if not is_at(self._fd, self._path):
            raise ClientError("Its partial file was taken away")
        self._path.replace(self._target)

    def close(self) -> None:
        """Close and unlock the file; an empty one is removed."""
        if not self.size and is_at(self._fd, self._path):
            self.remove()
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
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            raise ClientError("Another download to this place is running") from None
        if is_at(fd, path):
            if is_new or is_ours(os.fstat(fd)):
                return fd
            path.unlink()
        os.close(fd)  # another process renamed or removed it just before


def open_or_create(path: Path) -> tuple[int, bool]:
    """Return a descriptor of a file, and whether the file is new. Raises: OSError."""
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
    while True:
        with suppress(FileExistsError):
            return os.open(path, flags | os.O_CREAT | os.O_EXCL, PRIVATE_MODE), True
        with suppress(FileNotFoundError):
            return os.open(path, flags | os.O_NONBLOCK), False


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


def is_at(fd: int, path: Path) -> bool:
    """Whether the descriptor and the path refer to the same file."""
    try:
        return os.path.samestat(os.fstat(fd), path.lstat())
    except FileNotFoundError:
        return False


def download(
    client: GatewayClient, address: str, target: Path, show: Show
) -> StoredObject:
    """Replace a file by a whole object; on an error the file stays as it is.

    Raises: ClientError, OSError.
    """
    damages = 0
    for _ in range(RESTARTS):
        try:
            return _download_once(client, address, target, show)
        except ObjectChangedError:
            continue
        except DamagedError:  # perhaps the partial file of an earlier run is damaged
            damages += 1
            if damages > 1:
                raise
    return _download_once(client, address, target, show)


def _download_once(
    client: GatewayClient, address: str, target: Path, show: Show
) -> StoredObject:
    with client.get(address) as stream:
        with closing(Partial(target, stream.info.etag)) as partial:
            try:
                complete(client, address, stream, partial, show)
            except (ObjectChangedError, DamagedError):
                partial.remove()
                raise
            partial.finish()
        return stream.info


def complete(
    client: GatewayClient,
    address: str,
    stream: ObjectStream,
    partial: Partial,
    show: Show,
) -> None:
    """Fetch the missing bytes of an object into a partial file.

    `stream` is an open download of the whole object, which is closed here.

    Raises: ClientError, OSError.
    """
    info = stream.info
    if partial.size > info.size:
        partial.clear()
    if not partial.size:
        copy(stream, partial, show)
        return
    stream.close()
    digest = partial.digest()
    if partial.size < info.size:
        copy(client.get(address, partial.size, info.etag, digest), partial, show)
    elif info.has_md5 and digest.hexdigest() != info.etag:
        raise DamagedError("What came before is damaged")


def copy(stream: ObjectStream, sink: Sink, show: Show) -> None:
    """Write a whole download to a sink."""
    with stream:
        show(stream.position, stream.info.size)
        for piece in stream:
            sink.write(piece)
            show(stream.position, stream.info.size)


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
                path.unlink()
                os.close(fd)
