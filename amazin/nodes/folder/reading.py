"""Reads content files, and gives out no byte that is not verified. Blocks."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from amazin.blocking import BlockingCalls
from amazin.errors import LostCopyError, NodeError
from amazin.model.objects import ObjectInfo
from amazin.nodes.folder.calls import ask
from amazin.nodes.folder.content import open_content
from amazin.nodes.folder.sums import BLOCK_BYTES, is_block, measure

Lose = Callable[[str], LostCopyError]
"""Notes that a copy is lost, and in which way; returns the error to raise."""
_UNREADABLE = (errno.EIO, errno.EBADMSG, errno.EUCLEAN)
"""What systems say of bytes that a disk can't read, or reads wrong."""


class FolderObject:
    """A `NodeObject`: a content file, or a range of it, that is read once.

    It is read in whole blocks, and each is verified before a byte of it is given out.
    """

    def __init__(
        self,
        calls: BlockingCalls,
        path: Path,
        info: ObjectInfo,
        byte_range: tuple[int, int] | None,
        sums: bytes | None,
        lose: Lose,
    ) -> None:
        """`sums`: None if nothing is known that the bytes could be verified against."""
        self.info = info
        self._calls = calls
        self._sums = sums
        self._lose = lose
        first, last = byte_range or (0, info.size - 1)
        if not 0 <= first <= last + 1 <= info.size:
            raise NodeError("the object does not have these bytes")
        self._left = last + 1 - first
        self._block, self._skip = divmod(first, BLOCK_BYTES)
        self._ahead = b""
        self._file = open_content(path)
        try:
            if os.fstat(self._file.fileno()).st_size != info.size:
                raise lose("has another size")
            self._file.seek(self._block * BLOCK_BYTES)
            self._read_ahead()
        except BaseException:
            self._file.close()
            raise

    def read(self) -> bytes:
        """Return the next bytes, or b"" after the last. Raises: NodeError."""
        if not self._ahead:
            ask(self._calls, self._read_ahead)
        chunk, self._ahead = self._ahead, b""
        return chunk

    def close(self) -> None:
        """Close the file. Idempotent."""
        self._file.close()

    def _read_ahead(self) -> None:
        if not self._left:
            return
        block = self._next_block()
        self._ahead = block[self._skip : self._skip + self._left]
        self._left -= len(self._ahead)
        self._block += 1
        self._skip = 0

    def _next_block(self) -> bytes:
        size = min(BLOCK_BYTES, self.info.size - self._block * BLOCK_BYTES)
        with losing(self._lose):
            block = self._file.read(size)
        is_right = self._sums is None or is_block(block, self._block, self._sums)
        if len(block) != size or not is_right:
            raise self._lose(f"is damaged in block {self._block}")
        return block


@contextmanager
def losing(lose: Lose) -> Iterator[None]:
    """Turn the error of a disk that can't read some bytes into that of a lost copy."""
    try:
        yield
    except OSError as exc:
        if exc.errno in _UNREADABLE:
            raise lose("can't be read from the disk") from exc
        raise


def verified_sums(path: Path, lose: Lose, algorithm: str, expected: str) -> bytes:
    """Read a whole file, and return its checksums.

    Raises:
        LostCopyError: its digest is not the expected one.
        OSError: it can't be read, or is gone.
    """
    with losing(lose), open_content(path) as file:
        sums, digest = measure(file, algorithm)
    if digest != expected:
        raise lose("is damaged")
    return sums
