"""A folder on a full disk can be emptied, and says that it is full."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import pytest

from amazin.errors import NodeFullError
from amazin.model.objects import ObjectName
from amazin.nodes.folder.node import FolderNode
from amazin.nodes.folder.reserve import RESERVE_BYTES, Reserve
from tests.support.folder_node import fetch, put, store
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
