"""Zip files as streams: every field as the readers of streams and files want it."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stream_unzip import stream_unzip

from amazin.api.zip_stream import BLOCK_BYTES, ZipEntry, ZipStream

SECONDS = 784_111_777
"""Sun, 06 Nov 1994 08:49:37 GMT."""
GIB = 2**30
LIMIT = 2**32 - 1
MOST_BLOCKS = LIMIT // (BLOCK_BYTES + 5)
LONGEST = MOST_BLOCKS * BLOCK_BYTES + LIMIT % (BLOCK_BYTES + 5) - 5
"""The size of the largest file whose numbers have 32 bits."""


def zipped(*files: tuple[str, Sequence[bytes]], is_large: bool) -> bytes:
    """Return a zip file of files in these chunks."""
    stream, parts = ZipStream(), []
    for name, chunks in files:
        if is_large:
            size = sum(map(len, chunks))
            parts += list(stream.large(name, SECONDS, size, chunks))
        else:
            parts.append(stream.small(name, SECONDS, b"".join(chunks)))
    return b"".join([*parts, *stream.end()])


def streamed(data: bytes) -> list[tuple[str, bytes]]:
    """Return what somebody finds who reads only forwards, byte by byte."""
    found = stream_unzip(data[at : at + 1] for at in range(len(data)))
    return [(name.decode(), b"".join(chunks)) for name, _, chunks in found]


def from_file(data: bytes) -> list[tuple[str, bytes]]:
    """Return what somebody finds who begins with the directory."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return [(name, archive.read(name)) for name in archive.namelist()]


chunks = st.lists(st.binary(min_size=1, max_size=100), min_size=1, max_size=5)


@given(
    st.lists(st.tuples(st.text("aé/", min_size=1), chunks), unique_by=lambda f: f[0])
)
@pytest.mark.parametrize("is_large", [False, True])
def test_what_is_read(is_large: bool, files: list[tuple[str, list[bytes]]]) -> None:
    data = zipped(*files, is_large=is_large)
    expected = [(name, b"".join(pieces)) for name, pieces in files]
    assert from_file(data) == expected
    assert streamed(data) == expected


@pytest.mark.parametrize(
    "sizes",
    [
        [1],
        [BLOCK_BYTES],
        [BLOCK_BYTES + 1],
        [BLOCK_BYTES - 1, 1, 1],
        [1, BLOCK_BYTES],
        [2 * BLOCK_BYTES],
        [100_000, 100_000, 7],
    ],
)
def test_bytes_in_stored_blocks_are_compressed_ones(sizes: list[int]) -> None:
    pieces = [bytes([number + 1]) * size for number, size in enumerate(sizes)]
    data = zipped(("a", pieces), is_large=True)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        (entry,) = archive.infolist()
        assert archive.testzip() is None
    assert entry.compress_type == zipfile.ZIP_DEFLATED
    assert entry.compress_size == sum(sizes) + 5 * -(-sum(sizes) // BLOCK_BYTES)
    begin = 30 + len("a") + 9
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    assert inflate.decompress(data[begin:]) == b"".join(pieces)
    assert inflate.eof
    behind = inflate.unused_data[:16]
    fields = (b"PK\7\x08", entry.CRC, entry.compress_size, entry.file_size)
    assert behind == struct.pack("<4s3L", *fields)


def test_a_small_file_has_its_crc_and_size_in_front() -> None:
    data = zipped(("a", [b"a cat"]), is_large=False)
    fields = struct.unpack("<4s5H3L2H", data[:30])
    assert fields[:4] == (b"PK\3\4", 20, 0x800, 0)
    assert fields[6:] == (zlib.crc32(b"a cat"), 5, 5, 1, 9)
    assert data[30:40] == b"a" + struct.pack("<HHBl", 0x5455, 5, 1, SECONDS)
    assert data[40:45] == b"a cat"


@pytest.mark.parametrize("is_large", [False, True])
def test_who_lists_it_sees_time_and_permissions(is_large: bool) -> None:
    data = zipped(("a", [b"x"]), is_large=is_large)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        (entry,) = archive.infolist()
    assert entry.date_time == (1994, 11, 6, 8, 49, 36)
    assert (entry.create_system, entry.external_attr >> 16) == (3, 0o644)
    assert entry.flag_bits == (0x808 if is_large else 0x800)


# Above 4 GiB


@pytest.mark.parametrize(
    ("size", "is_64"),
    [
        (1, False),
        (2 * GIB, False),
        (LONGEST, False),
        (LONGEST + 1, True),
        (4 * GIB, True),
    ],
)
def test_sizes_have_64_bits_where_one_needs_them(size: int, is_64: bool) -> None:
    entry = ZipEntry(b"a", SECONDS, size, 5 * GIB, is_streamed=True)
    assert (entry.packed > LIMIT) == is_64
    _, version, *_, packed, raw, _, extra = struct.unpack(
        "<4s5H3L2H", entry.start()[:30]
    )
    assert len(entry.end()) == (24 if is_64 else 16)
    assert (version, extra) == ((45, 29) if is_64 else (20, 9))
    assert {packed, raw} == {LIMIT if is_64 else 0}


class Sparse(io.RawIOBase):
    """A file of which only the short pieces were kept; the rest is zeros."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        super().__init__()
        self._kept: list[tuple[int, bytes]] = []
        self.size = self._at = 0
        for piece in pieces:
            if len(piece) < 10_000:
                self._kept.append((self.size, piece))
            self.size += len(piece)

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at, self.size)[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int = -1) -> bytes:
        size = self.size - self._at if size < 0 else min(size, self.size - self._at)
        data = bytearray(size)
        for begin, piece in self._kept:
            for at in range(max(begin, self._at), begin + len(piece)):
                if at >= self._at + size:
                    break
                data[at - self._at] = piece[at - begin]
        self._at += size
        return bytes(data)


def zeros(size: int) -> Iterator[bytes]:
    """Yield so many."""
    piece = bytes(2**20)
    for _ in range(size // len(piece)):
        yield piece
    yield piece[: size % len(piece)]


def long_archive(sizes: dict[str, int]) -> Iterator[bytes]:
    """Yield an archive of such files, and of a small one behind them."""
    stream = ZipStream()
    for name, size in sizes.items():
        yield from stream.large(name, SECONDS, size, zeros(size))
    yield stream.small("last", SECONDS, b"a cat")
    yield from stream.end()


@pytest.mark.slow
def test_an_archive_of_more_than_4_gib() -> None:
    sizes = {"a": 3 * GIB, "b": 4 * GIB + 3}
    with zipfile.ZipFile(Sparse(long_archive(sizes))) as archive:  # type: ignore[call-overload]
        found = {entry.filename: entry for entry in archive.infolist()}
        assert {name: found[name].file_size for name in sizes} == sizes
        assert found["last"].header_offset > 4 * GIB
        assert archive.read("last") == b"a cat"


@pytest.mark.slow
def test_more_files_than_16_bits_can_count() -> None:
    stream = ZipStream()
    count = 2**16
    parts = [stream.small(f"{number}", SECONDS, b"") for number in range(count)]
    data = b"".join([*parts, *stream.end()])
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert len(archive.namelist()) == count
    end = struct.unpack("<4s4HLLH", data[-22:])
    assert end[:5] == (b"PK\5\6", 0, 0, 65535, 65535)
