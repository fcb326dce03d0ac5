"""A folder on a full disk can be emptied, and says that it is full."""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import pytest

from amazin.errors import NodeFullError, PreconditionError
from amazin.model.objects import ROSTER_NAME, ObjectName
from amazin.nodes.folder.node import FolderNode
from amazin.nodes.folder.reserve import RESERVE_BYTES, Reserve
from tests.support.folder_node import NAME, fetch, put, store
from tests.support.small_disk import small_disk


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", 8) as path:
        yield path


def fill(node: FolderNode, size: int) -> list[ObjectName]:
    """Store objects until the disk is full; returns their names."""
    stored: list[ObjectName] = []
    body = os.urandom(size)
    with pytest.raises(NodeFullError):
        for number in range(10_000):
            name = ObjectName("store", f"key{number}")
            store(node, body, name)
            stored.append(name)
    return stored


def use_up(disk: Path) -> None:
    """Let another program take what is left of the disk."""
    with pytest.raises(OSError, match="No space"), (disk / "other").open("ab", 0) as it:
        while True:
            it.write(bytes(4096))


def is_full(node: FolderNode) -> bool:
    try:
        node.start_check().wait()
    except NodeFullError:
        return True
    return False


@pytest.mark.parametrize("size", [1_000_000, 20_000, 100])
@pytest.mark.parametrize("is_used_up", [False, True], ids=["", "by others"])
def test_every_object_can_be_deleted(disk: Path, size: int, is_used_up: bool) -> None:
    with closing(FolderNode("node-1", disk)) as node:
        names = fill(node, size)
        if is_used_up:
            use_up(disk)
        half = len(names) // 2
        for name in names[:half]:
            node.start_delete(name).wait()
    if is_used_up:  # what SQLite gave back as well
        use_up(disk)
    with closing(FolderNode("node-1", disk)) as node:  # after a restart
        assert len(fetch(node, names[-1])) == size
        for name in names[half:]:
            node.start_delete(name).wait()
        assert list(node.list_objects("store")) == []
        assert is_used_up or not is_full(node)


def test_the_freed_space_takes_new_objects(disk: Path) -> None:
    with closing(FolderNode("node-1", disk)) as node:
        first, second, *_ = fill(node, 1_000_000)
        assert is_full(node)
        for name in (first, second):
            node.start_delete(name).wait()
        assert not is_full(node)
        put(node, b"x" * 900_000, first)
        assert fetch(node, first) == b"x" * 900_000


def test_a_disk_that_reserves_nothing_is_used_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "not supported")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    with closing(FolderNode("node-1", tmp_path)) as node:
        store(node, b"x")
        assert not is_full(node)
        assert (tmp_path / "index.reserve").stat().st_size == RESERVE_BYTES


def test_uploads_never_use_the_reserve(disk: Path, streams: bool) -> None:
    with closing(FolderNode("node-1", disk)) as node:
        store(node, b"old")
        use_up(disk)
        (disk / "index.reserve").unlink()
        with pytest.raises(NodeFullError):
            put(node, b"new", streams=streams)
        assert fetch(node) == b"old"
        assert is_full(node)
        (disk / "other").unlink()
        put(node, b"new", streams=streams)
        assert (disk / "index.reserve").stat().st_size == RESERVE_BYTES


def test_what_fails_for_another_reason_leaves_the_reserve(tmp_path: Path) -> None:
    with closing(FolderNode("node-1", tmp_path)) as node:
        store(node, b"old")
        before = (tmp_path / "index.reserve").stat().st_ino
        assert not is_full(node)
        node.start_delete(ObjectName("store", "other")).wait()
        node.start_delete(ObjectName("store", "abc")).wait()
        assert (tmp_path / "index.reserve").stat().st_ino == before


@pytest.mark.parametrize("size", [300, 60_000])
def test_the_roster_is_recorded_on_a_full_disk(disk: Path, size: int) -> None:
    with closing(FolderNode("node-1", disk)) as node:
        store(node, b"first", ROSTER_NAME)
        names = fill(node, 20_000)
        use_up(disk)
        for name in (NAME, ROSTER_NAME._replace(key="room")):
            with pytest.raises(NodeFullError):
                put(node, bytes(size), name)
        for number in range(20):
            roster = bytes([number]) * size
            put(node, roster, ROSTER_NAME)
            assert fetch(node, ROSTER_NAME) == roster
        with pytest.raises(PreconditionError):
            put(node, b"late", ROSTER_NAME, if_match="another")
    with closing(FolderNode("node-1", disk)) as node:  # after a restart
        put(node, b"last", ROSTER_NAME)
        for name in names:
            node.start_delete(name).wait()
        assert fetch(node, ROSTER_NAME) == b"last"


def test_uploads_at_the_same_time_take_no_space_from_deletes(disk: Path) -> None:
    with closing(FolderNode("node-1", disk)) as node:
        names = fill(node, 10_000)
        use_up(disk)
        is_over = threading.Event()

        def upload() -> None:
            while not is_over.is_set():
                with suppress(NodeFullError):
                    put(node, bytes(200_000), ObjectName("store", "new"))

        def delete(name: ObjectName) -> None:
            node.start_delete(name).wait()

        with ThreadPoolExecutor(6) as pool:
            uploads = [pool.submit(upload) for _ in range(2)]
            try:
                list(pool.map(delete, names[:150]))
            finally:
                is_over.set()
            for done in uploads:
                done.result()
        left = {key for key, _ in node.list_objects("store")}
        assert left.isdisjoint(name.key for name in names[:150])


def test_any_number_of_uploads_may_fill_the_reserve_at_once(tmp_path: Path) -> None:
    path = tmp_path / "index.reserve"
    with path.open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_SH)
        Reserve(path).require()
        assert path.stat().st_size == RESERVE_BYTES
        os.truncate(path, 0)
        fcntl.flock(other, fcntl.LOCK_EX)  # as a delete that spends it
        with pytest.raises(OSError, match="being spent") as caught:
            Reserve(path).require()
    assert caught.value.errno == errno.ENOSPC


# An index of version 2, whose folder had no reserve, can't be upgraded on a full disk.


def make_version_2(disk: Path) -> None:
    """Turn a folder into what older programs have left."""
    with closing(sqlite3.connect(disk / "index.sqlite")) as connection:
        for column in ("damaged", "sums"):
            connection.execute(f"ALTER TABLE objects DROP COLUMN {column}")
        connection.execute("PRAGMA user_version = 2")
    (disk / "index.reserve").unlink()


@pytest.fixture
def old(disk: Path) -> Iterator[list[ObjectName]]:
    """The objects of a full folder of version 2, which another process has open."""
    names = [ObjectName("store", f"key{number}") for number in range(40)]
    with closing(FolderNode("node-1", disk)) as node:
        for name in names:
            store(node, bytes(100_000), name)
    make_version_2(disk)
    with closing(sqlite3.connect(disk / "index.sqlite")) as other:
        other.execute("SELECT 1 FROM objects").fetchone()
        use_up(disk)
        yield names


def version_of(disk: Path) -> int:
    with closing(sqlite3.connect(disk / "index.sqlite")) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        return int(version)


def test_a_full_folder_of_version_2_is_read(disk: Path, old: list[ObjectName]) -> None:
    with closing(FolderNode("node-1", disk)) as node:
        for _ in range(2):
            assert len(fetch(node, old[0])) == 100_000
            assert node.start_head(old[0]).wait().size == 100_000
            assert len(list(node.list_objects("store"))) == len(old)
        node.make_bucket("store")
        assert is_full(node)
        for body in (b"", b"new"):
            with pytest.raises(NodeFullError):
                put(node, body)
        assert version_of(disk) == 2
        (disk / "other").unlink()
        put(node, b"new")
        assert version_of(disk) == 3
        assert fetch(node) == b"new"


def test_all_of_a_full_folder_of_version_2_can_be_deleted(
    disk: Path, old: list[ObjectName]
) -> None:
    with closing(FolderNode("node-1", disk)) as node:
        for name in old:
            node.start_delete(name).wait()
        assert list(node.list_objects("store")) == []
        put(node, b"new", old[0])
        assert (fetch(node, old[0]), version_of(disk)) == (b"new", 3)


def test_a_delete_that_is_refused_frees_nothing_on_a_full_disk(
    disk: Path, old: list[ObjectName]
) -> None:
    with closing(FolderNode("node-1", disk)) as node:
        with pytest.raises(PreconditionError):
            node.start_delete(old[0], if_match="another").wait()
        node.start_delete(ObjectName("store", "missing")).wait()
        assert len(fetch(node, old[0])) == 100_000


def test_an_index_that_another_process_has_upgraded_is_read_as_it_is(
    disk: Path, old: list[ObjectName]
) -> None:
    with closing(FolderNode("node-1", disk)) as first:
        assert len(fetch(first, old[0])) == 100_000
        (disk / "other").unlink()
        with closing(FolderNode("node-1", disk)) as second:
            put(second, b"new", old[0])
        with closing(sqlite3.connect(disk / "index.sqlite")) as connection, connection:
            connection.execute("UPDATE objects SET damaged = 1")
        assert first.start_head(old[0]).wait().is_damaged


def test_who_spends_the_reserve_may_spend_it_again_meanwhile(tmp_path: Path) -> None:
    reserve, tries = Reserve(tmp_path / "index.reserve"), list[int]()

    def work() -> int:
        tries.append(len(tries))
        if len(tries) < 4:
            raise OSError(errno.ENOSPC, "no space")
        return len(tries)

    with pytest.raises(OSError, match="no space"):
        reserve.spend(lambda: reserve.spend(work), lambda: reserve.spend(lambda: None))
    assert tries == [0, 1]
