"""Uploads and downloads of one file.

A download is written to a partial file beside the target (`partial.py`), checked, and
then renamed, so the target is always a whole object.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Mapping
from contextlib import closing
from io import BufferedReader
from pathlib import Path
from typing import Protocol

from amazin.client.client import GatewayClient
from amazin.client.objects import StoredObject
from amazin.client.partial import Partial
from amazin.client.streams import ObjectStream, md5
from amazin.errors import (
    DamagedError,
    LocalError,
    ObjectChangedError,
)

RESTARTS = 5
"""How often a download starts again because the object changed or was damaged."""
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
        try:
            self._state = self._look()
            self.size = self._state[0] if self._has_size() else None
            """In bytes; None: known only at the end."""
        except OSError as exc:
            self._file.close()
            raise LocalError(f"It can't be read: {exc.strerror}") from exc

    def _has_size(self) -> bool:
        """Whether the size is known; files in /proc say 0 and are not empty."""
        size, _, mode = self._state
        return stat.S_ISREG(mode) and (size > 0 or not self._file.peek(1))

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
