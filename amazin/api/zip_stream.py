"""Writes a zip file that is sent while it is made, for all programs that read one.

A small file is stored, with CRC and size in front. The CRC of a large one is known only
at its end, and who reads a stream finds this end only if the file is compressed. So it
looks like that, but its bytes are unchanged: they are in DEFLATE's stored blocks. Sizes
have 64 bits where one needs them, and nowhere else: Java relies on it.

This is own code because no library writes such files. In a stream, Python's `zipfile`
has no CRC in front, and 64 bits from 2 GiB on; `stream-zip` has 64 bits for all that is
behind the first 4 GiB.

Source: APPNOTE.TXT 6.3.10 (PKWARE), sections 4.3 to 4.5; RFC 1951 section 3.2.4;
Info-ZIP's extra field 0x5455 for the time.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from struct import Struct

FIRST_SECOND, LAST_SECOND = 315_532_800, 2**31 - 1
"""1980 to 2038: the range of both formats of a file's time."""
BLOCK_BYTES = 2**16 - 1
"""The size of a stored block, if it isn't the last one."""
_MOST, _MOST_FILES = 2**32 - 1, 2**16 - 1
"""In 32 and 16 bits; these values say that the number is elsewhere, in 64."""
_STORED, _DEFLATED = 0, 8
_UTF8, _IS_STREAMED = 0x800, 0x8
_VERSION = 45
"""Of the format, since there are 64 bits."""
_MADE_BY = 3 << 8 | _VERSION
"""On Unix, so that permissions count."""
_MODE = 0o644 << 16
_PIECE_BYTES = 256 * 1024
_BLOCK = Struct("<BHH")
_TIME = Struct("<HHBl")
_LOCAL = Struct("<4s5H3L2H")
_BEHIND, _BEHIND_64 = Struct("<4s3L"), Struct("<4sLQQ")
_CENTRAL = Struct("<4s6H3L5H2L")
_END, _END_64, _PLACE_64 = Struct("<4s4HLLH"), Struct("<4sQHHLL4Q"), Struct("<4sLQL")


@dataclass(slots=True)
class ZipEntry:
    """What a zip file says about a file in it."""

    name: bytes
    seconds: int
    """When it was modified, as Unix time."""
    size: int
    offset: int
    """Where it begins."""
    crc: int = 0
    is_streamed: bool = False

    @property
    def packed(self) -> int:
        """The size of what the file is in."""
        blocks = -(-self.size // BLOCK_BYTES) if self.is_streamed else 0
        return self.size + blocks * _BLOCK.size

    def start(self) -> bytes:
        """Return what is in front of the file."""
        extra, sizes = self._time(), (self.crc, self.packed, self.size)
        if self.is_streamed:
            is_64 = self.packed > _MOST
            extra += long_numbers(0, 0) if is_64 else b""
            sizes = (0, _MOST, _MOST) if is_64 else (0, 0, 0)
        lengths = (len(self.name), len(extra))
        fields = _LOCAL.pack(b"PK\3\4", *self._common(), *sizes, *lengths)
        return fields + self.name + extra

    def end(self) -> bytes:
        """Return what is behind a streamed file."""
        layout = _BEHIND_64 if self.packed > _MOST else _BEHIND
        return layout.pack(b"PK\7\x08", self.crc, self.packed, self.size)

    def listed(self) -> bytes:
        """Return what is in the directory at the end of the zip file."""
        numbers = (self.size, self.packed, self.offset)
        long = [number for number in numbers if number >= _MOST]
        extra = self._time() + (long_numbers(*long) if long else b"")
        size, packed, offset = (min(number, _MOST) for number in numbers)
        fields = _CENTRAL.pack(
            *(b"PK\1\2", _MADE_BY, *self._common(), self.crc, packed, size),
            *(len(self.name), len(extra), 0, 0, 0, _MODE, offset),
        )
        return fields + self.name + extra

    def _common(self) -> tuple[int, int, int, int, int]:
        """Return version, flags, method, time and date."""
        year, month, day, hour, minute, second = time.gmtime(self.seconds)[:6]
        return (
            _VERSION if self.packed > _MOST else 20,
            _UTF8 | _IS_STREAMED if self.is_streamed else _UTF8,
            _DEFLATED if self.is_streamed else _STORED,
            hour << 11 | minute << 5 | second // 2,
            (year - 1980) << 9 | month << 5 | day,
        )

    def _time(self) -> bytes:
        return _TIME.pack(0x5455, 5, 1, self.seconds)


class ZipStream:
    """A zip file, whose directory is held in memory until its end."""

    def __init__(self) -> None:
        self._size = 0
        """How many bytes there are so far."""
        self._count = 0
        self._directory = bytearray()

    def small(self, name: str, seconds: int, data: bytes) -> bytes:
        """Return the next file: its bytes, and what is around them."""
        crc = zlib.crc32(data)
        entry = ZipEntry(name.encode(), seconds, len(data), self._size, crc)
        start = entry.start()
        self._note(entry, len(start))
        return start + data

    def large(
        self, name: str, seconds: int, size: int, chunks: Iterable[bytes]
    ) -> Iterator[bytes]:
        """Yield the next file, of `size` bytes: all chunks together."""
        entry = ZipEntry(name.encode(), seconds, size, self._size, is_streamed=True)
        start = entry.start()
        yield start
        stored = _StoredBlocks(size)
        for chunk in chunks:
            entry.crc = zlib.crc32(chunk, entry.crc)
            yield stored.wrapped(chunk)
        end = entry.end()
        yield end
        self._note(entry, len(start) + len(end))

    def end(self) -> Iterator[bytes]:
        """Yield the directory."""
        start, size = self._size, len(self._directory)
        for first in range(0, size, _PIECE_BYTES):
            yield bytes(self._directory[first : first + _PIECE_BYTES])
        count = self._count
        if max(start, size) >= _MOST or count >= _MOST_FILES:
            fields = (44, _MADE_BY, _VERSION, 0, 0, count, count, size, start)
            yield _END_64.pack(b"PK\6\6", *fields)
            yield _PLACE_64.pack(b"PK\6\7", 0, start + size, 1)
        counts = (min(count, _MOST_FILES),) * 2
        yield _END.pack(
            b"PK\5\6", 0, 0, *counts, min(size, _MOST), min(start, _MOST), 0
        )

    def _note(self, entry: ZipEntry, around: int) -> None:
        """Add a file to the directory; `around` it there are so many bytes."""
        self._size += entry.packed + around
        self._count += 1
        self._directory += entry.listed()


class _StoredBlocks:
    """Puts a file of known size into stored blocks of DEFLATE."""

    def __init__(self, size: int) -> None:
        self._missing = size
        """Bytes of blocks that have not begun."""
        self._open = 0
        """Bytes that the block still takes."""

    def wrapped(self, data: bytes) -> bytes:
        """Return the next bytes, with the heads of blocks in between."""
        pieces: list[bytes | memoryview] = []
        rest = memoryview(data)
        while rest:
            if not self._open:
                self._open = min(BLOCK_BYTES, self._missing)
                self._missing -= self._open
                length, is_last = self._open, not self._missing
                pieces.append(_BLOCK.pack(is_last, length, length ^ 0xFFFF))
            piece = rest[: self._open]
            self._open -= len(piece)
            rest = rest[len(piece) :]
            pieces.append(piece)
        return b"".join(pieces)


def long_numbers(*numbers: int) -> bytes:
    """Return the extra field that has numbers in 64 bits."""
    count = len(numbers)
    return Struct(f"<HH{count}Q").pack(1, 8 * count, *numbers)
