"""Checksums of a body's blocks: what a read of a content file is verified against.

They are a storage format: the xxh3-64 of each 256 KiB of the body, 8 bytes, one behind
the other. They find damage, and no forgery.
"""

from __future__ import annotations

import hashlib
import io
from functools import partial

from xxhash import xxh3_64, xxh3_64_digest

BLOCK_BYTES = 256 * 1024
_SUM_BYTES = 8


class BlockSums:
    """Makes the checksums of a body that comes in pieces of any length."""

    def __init__(self) -> None:
        self._sums = bytearray()
        self._block = xxh3_64()
        self._missing = BLOCK_BYTES
        """How many bytes the block is short of a whole one."""

    def update(self, piece: bytes) -> None:
        """Add the next bytes."""
        rest = memoryview(piece)
        while rest:
            part = rest[: self._missing]
            self._block.update(part)
            self._missing -= len(part)
            rest = rest[len(part) :]
            if not self._missing:
                self._end_block()

    def digest(self) -> bytes:
        """Return all checksums; nothing can be added afterwards."""
        if self._missing < BLOCK_BYTES:
            self._end_block()
        return bytes(self._sums)

    def _end_block(self) -> None:
        self._sums += self._block.digest()
        self._block.reset()
        self._missing = BLOCK_BYTES


def is_block(block: bytes, number: int, sums: bytes) -> bool:
    """Whether this is the block with this number, from 0, of the body."""
    start = number * _SUM_BYTES
    return xxh3_64_digest(block) == sums[start : start + _SUM_BYTES]


def measure(file: io.FileIO, algorithm: str = "md5") -> tuple[bytes, str]:
    """Read a file to its end; return the checksums, and a digest of it all in hex.

    Raises: OSError.
    """
    sums, digest = BlockSums(), hashlib.new(algorithm, usedforsecurity=False)
    for block in iter(partial(file.read, BLOCK_BYTES), b""):
        sums.update(block)
        digest.update(block)
    return sums.digest(), digest.hexdigest()
