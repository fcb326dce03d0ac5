"""No byte leaves a folder node that is not what was stored."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from amazin.blocking import BlockingCalls
from amazin.errors import LostCopyError, NoSuchKeyError
from amazin.model.objects import CHUNK_BYTES, ObjectInfo, ObjectName
from amazin.nodes.folder.node import RECHECK_SECONDS, FolderNode
from amazin.nodes.folder.reading import FolderObject, losing
from amazin.nodes.folder.sums import BLOCK_BYTES, BlockSums, is_block
from tests.support.fakes import FakeClock
from tests.support.folder_node import (
    NAME,
    NEW,
    OLD,
    ask_index,
    content,
    fetch,
    make_version_1,
    put,
    store,
)

LONG = os.urandom(3 * BLOCK_BYTES + 5)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def node(tmp_path: Path, clock: FakeClock) -> Iterator[FolderNode]:
    with closing(FolderNode("node-1", tmp_path, clock=clock)) as node:
        node.make_bucket("store")
        yield node


def flip(folder: Path, position: int) -> None:
    """Change one byte of the only content file."""
    [path] = content(folder)
    with path.open("r+b") as file:
        file.seek(position)
        byte = file.read(1)
        file.seek(position)
        file.write(bytes([byte[0] ^ 1]))


def is_marked(node: FolderNode) -> bool:
    return node.start_head(NAME).wait().is_damaged


# The checksums


@pytest.mark.parametrize("size", [0, 1, BLOCK_BYTES, BLOCK_BYTES + 1])
@pytest.mark.parametrize("piece", [1000, BLOCK_BYTES, 10 * BLOCK_BYTES])
def test_checksums_do_not_depend_on_the_pieces(size: int, piece: int) -> None:
    sums = BlockSums()
    for start in range(0, size, piece):
        sums.update(LONG[start : min(size, start + piece)])
    whole = sums.digest()
    assert len(whole) == 8 * -(-size // BLOCK_BYTES)
    for number in range(len(whole) // 8):
        block = LONG[number * BLOCK_BYTES : min(size, (number + 1) * BLOCK_BYTES)]
        assert is_block(block, number, whole)
        assert not is_block(block + b"x", number, whole)


def test_the_checksums_are_a_storage_format() -> None:
    sums = BlockSums()
    sums.update(b"hello")
    assert sums.digest().hex() == "9555e8555c62dcfd"


# Reading


@pytest.mark.parametrize("size", [0, 1, BLOCK_BYTES, len(LONG)])
def test_what_is_whole_is_read(node: FolderNode, size: int) -> None:
    store(node, LONG[:size])
    assert fetch(node) == LONG[:size]
    assert not is_marked(node)


@pytest.mark.parametrize(
    ("first", "last"),
    [
        (0, 0),
        (5, BLOCK_BYTES - 1),
        (BLOCK_BYTES, BLOCK_BYTES),
        (BLOCK_BYTES - 1, 2 * BLOCK_BYTES),
        (3 * BLOCK_BYTES + 4, 3 * BLOCK_BYTES + 4),
        (1, len(LONG) - 1),
    ],
)
def test_a_range_is_read_in_verified_blocks(
    node: FolderNode, first: int, last: int
) -> None:
    store(node, LONG)
    with closing(node.start_get(NAME, byte_range=(first, last)).wait()) as found:
        pieces = list(iter(found.read, b""))
    assert b"".join(pieces) == LONG[first : last + 1]
    assert all(len(piece) <= CHUNK_BYTES for piece in pieces)


@pytest.mark.parametrize("position", [0, 7, BLOCK_BYTES - 1])
def test_a_bad_first_block_is_found_before_the_first_byte(
    node: FolderNode, tmp_path: Path, position: int
) -> None:
    store(node, LONG)
    flip(tmp_path, position)
    with pytest.raises(LostCopyError):
        node.start_get(NAME).wait()
    with pytest.raises(LostCopyError):
        node.start_get(NAME, byte_range=(100, 101)).wait()
    assert is_marked(node)


def test_a_bad_block_in_the_middle_ends_the_download(
    node: FolderNode, tmp_path: Path
) -> None:
    store(node, LONG)
    flip(tmp_path, 2 * BLOCK_BYTES)
    found = node.start_get(NAME).wait()
    with closing(found):
        assert found.read() + found.read() == LONG[: 2 * BLOCK_BYTES]
        for _ in range(2):
            with pytest.raises(LostCopyError):
                found.read()
    assert is_marked(node)


def test_only_what_is_read_is_verified(node: FolderNode, tmp_path: Path) -> None:
    store(node, LONG)
    flip(tmp_path, 2 * BLOCK_BYTES)
    assert fetch(node, byte_range=(0, 9)) == LONG[:10]


@pytest.mark.parametrize("size", [0, 1, len(LONG) + 1])
def test_content_of_another_size_is_lost_for_get_and_head(
    node: FolderNode, tmp_path: Path, size: int
) -> None:
    store(node, LONG)
    os.truncate(content(tmp_path)[0], size)
    assert is_marked(node)
    with pytest.raises(LostCopyError):
        fetch(node)


def test_content_that_is_gone_is_lost_for_get_and_head(
    node: FolderNode, tmp_path: Path
) -> None:
    info = store(node, b"x", label=OLD)
    content(tmp_path)[0].unlink()
    found = node.start_head(NAME).wait()
    assert found.is_damaged
    assert (found.version, found.etag) == (info.version, info.etag)
    with pytest.raises(LostCopyError):
        fetch(node)
    [(_, listed)] = node.list_objects("store")
    assert listed.is_damaged


def test_a_disk_that_can_not_read_some_bytes_has_lost_them() -> None:
    def lose(reason: str) -> LostCopyError:
        return LostCopyError(reason)

    with pytest.raises(LostCopyError), losing(lose):
        raise OSError(errno.EIO, "a bad sector")
    with pytest.raises(OSError, match="no memory"), losing(lose):
        raise OSError(errno.ENOMEM, "no memory")


# What is marked


def test_a_lost_copy_is_marked_for_every_process(
    node: FolderNode, tmp_path: Path
) -> None:
    store(node, b"hello")
    flip(tmp_path, 0)
    with pytest.raises(LostCopyError):
        fetch(node)
    with closing(FolderNode("other", tmp_path)) as other:
        assert is_marked(other)
        [(_, listed)] = other.list_objects("store")
        assert listed.is_damaged


def test_a_lost_copy_is_told_once(
    node: FolderNode, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store(node, b"hello")
    flip(tmp_path, 0)
    for _ in range(3):
        with pytest.raises(LostCopyError):
            fetch(node)
    assert caplog.messages == ["the copy of store/abc on node-1 is damaged in block 0"]


@pytest.mark.parametrize("conditions", [{}, {"if_match": "etag"}])
def test_an_upload_replaces_a_lost_copy(
    node: FolderNode, tmp_path: Path, streams: bool, conditions: dict[str, str]
) -> None:
    info = store(node, b"hello", label=OLD)
    flip(tmp_path, 0)
    with pytest.raises(LostCopyError):
        fetch(node)
    if conditions:
        conditions = {"if_match": info.etag}
    put(node, b"hello", label=OLD, streams=streams, keeps_newer=True, **conditions)
    assert fetch(node) == b"hello"
    assert not is_marked(node)
    assert len(content(tmp_path)) == 1


def test_a_lost_copy_can_be_deleted(node: FolderNode, tmp_path: Path) -> None:
    store(node, b"hello")
    content(tmp_path)[0].unlink()
    assert is_marked(node)
    node.start_delete(NAME).wait()
    with pytest.raises(NoSuchKeyError):
        node.start_head(NAME).wait()


def test_a_lost_copy_that_is_whole_again_is_read_after_a_while(
    node: FolderNode, tmp_path: Path, clock: FakeClock
) -> None:
    store(node, LONG)
    flip(tmp_path, 0)
    with pytest.raises(LostCopyError):
        fetch(node)
    flip(tmp_path, 0)
    clock.now += RECHECK_SECONDS - 1
    with pytest.raises(LostCopyError):
        fetch(node)
    clock.now += 2
    found = node.start_get(NAME).wait()
    found.close()
    assert not found.info.is_damaged
    assert not is_marked(node)


def test_a_lost_copy_is_looked_at_again_after_the_clock_was_set_back(
    node: FolderNode, tmp_path: Path, clock: FakeClock
) -> None:
    store(node, LONG)
    flip(tmp_path, 0)
    with pytest.raises(LostCopyError):
        fetch(node)
    flip(tmp_path, 0)
    clock.now -= 100
    node.start_get(NAME).wait().close()
    assert not is_marked(node)


def test_what_is_looked_at_again_is_verified_as_a_whole(
    node: FolderNode, tmp_path: Path, clock: FakeClock
) -> None:
    store(node, LONG)
    flip(tmp_path, len(LONG) - 1)
    with pytest.raises(LostCopyError):
        fetch(node)
    clock.now += RECHECK_SECONDS
    with pytest.raises(LostCopyError):
        node.start_get(NAME, byte_range=(0, 0)).wait()
    assert is_marked(node)


def test_a_folder_that_can_not_be_written_to_is_read(
    node: FolderNode, tmp_path: Path
) -> None:
    store(node, b"hello")
    flip(tmp_path, 0)
    (tmp_path / "index.sqlite").chmod(0o400)
    with (
        closing(FolderNode("other", tmp_path)) as other,
        pytest.raises(LostCopyError),
    ):
        fetch(other)


# What was stored before there were checksums


def forget_sums(folder: Path) -> None:
    """Let the objects be as old ones."""
    index = folder / "index.sqlite"
    with closing(sqlite3.connect(index)) as connection, connection:
        connection.execute("UPDATE objects SET sums = NULL")


def sums_of(folder: Path) -> object:
    return ask_index(folder, "SELECT sums FROM objects")[0][0]


@pytest.mark.parametrize("body", [b"", b"hello", LONG])
def test_old_objects_are_verified_as_a_whole(
    node: FolderNode, tmp_path: Path, body: bytes
) -> None:
    store(node, body)
    sums = sums_of(tmp_path)
    forget_sums(tmp_path)
    assert fetch(node) == body
    if len(body) > BLOCK_BYTES:
        assert sums_of(tmp_path) == sums
        rest = (BLOCK_BYTES, len(body) - 1)
        assert fetch(node, byte_range=rest) == LONG[BLOCK_BYTES:]


@pytest.mark.parametrize("body", [b"hello", LONG])
def test_an_old_object_that_is_damaged_anywhere_is_not_read(
    node: FolderNode, tmp_path: Path, body: bytes
) -> None:
    store(node, body)
    forget_sums(tmp_path)
    flip(tmp_path, len(body) - 1)
    with pytest.raises(LostCopyError):
        node.start_get(NAME, byte_range=(0, 0)).wait()
    assert is_marked(node)
    assert sums_of(tmp_path) is None


def test_an_index_of_the_first_version_is_read(tmp_path: Path) -> None:
    make_version_1(tmp_path, NAME)
    with closing(FolderNode("node-1", tmp_path)) as node:
        assert fetch(node) == b"abc"
        store(node, b"new", label=NEW)
        assert fetch(node) == b"new"
        flip(tmp_path, 0)
        with pytest.raises(LostCopyError):
            fetch(node)


def test_an_adopted_file_has_checksums(node: FolderNode, tmp_path: Path) -> None:
    path = tmp_path / "mia"
    path.write_bytes(LONG)
    node.adopt(NAME, path, OLD, {})
    path.unlink()
    assert fetch(node) == LONG
    flip(tmp_path, BLOCK_BYTES)
    with pytest.raises(LostCopyError):
        node.start_get(NAME, byte_range=(BLOCK_BYTES, BLOCK_BYTES)).wait()


def test_bytes_of_which_nothing_is_known_are_read_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "mia"
    path.write_bytes(LONG)
    info = ObjectInfo(len(LONG), "", 1)
    calls = BlockingCalls()
    with closing(FolderObject(calls, path, info, None, None, LostCopyError)) as found:
        assert b"".join(iter(found.read, b"")) == LONG


def test_what_is_known_of_a_body_is_its_own(node: FolderNode, tmp_path: Path) -> None:
    other = ObjectName("store", "other")
    store(node, b"hello")
    [first] = content(tmp_path)
    store(node, b"world", other)
    [second] = [path for path in content(tmp_path) if path != first]
    swapped = tmp_path / "swapped"
    first.rename(swapped)
    second.rename(first)
    swapped.rename(second)
    for name in (NAME, other):
        with pytest.raises(LostCopyError):
            fetch(node, name)
