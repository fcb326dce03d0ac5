"""A folder node in trouble: crashes, full disks, folders and indexes that are gone."""

from __future__ import annotations

import errno
import io
import os
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path

import pytest

from amazin.errors import (
    LostCopyError,
    NodeFullError,
    NodeUnreachableError,
)
from amazin.model.objects import ObjectName
from amazin.nodes.folder.node import FolderNode
from tests.support.folder_node import NAME, content, fetch, require_failures, store
from tests.support.waiting import PATIENCE_SECONDS

# What crashes leave is removed by age, and only that.


def make_orphan(folder: Path, age_seconds: float) -> Path:
    path = folder / "content" / "ab" / ("ab" + os.urandom(15).hex())
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"orphan")
    then = time.time() - age_seconds
    os.utime(path, (then, then))
    return path


def test_orphans_are_removed_by_age_when_the_node_is_opened(
    node: FolderNode, tmp_path: Path
) -> None:
    store(node, b"kept")
    (kept,) = content(tmp_path)
    os.utime(kept, (0, 0))
    old, young = make_orphan(tmp_path, 3700), make_orphan(tmp_path, 3500)
    foreign = tmp_path / "content" / "ab" / "README"
    foreign.touch()
    os.utime(foreign, (0, 0))
    with closing(FolderNode("node-1", tmp_path)) as other:
        other.start_check().wait()
    assert not old.exists()
    assert young.exists()
    assert foreign.exists()
    assert fetch(node) == b"kept"


def test_an_orphan_that_cannot_be_removed_is_left(
    node: FolderNode, tmp_path: Path
) -> None:
    store(node, b"kept")
    orphan = tmp_path / "content" / "ab" / ("ab" * 16)
    orphan.mkdir(parents=True)
    os.utime(orphan, (0, 0))
    with closing(FolderNode("node-1", tmp_path)) as other:
        assert fetch(other) == b"kept"
    assert orphan.exists()


# Trouble with the disk is said as a NodeError.


def test_a_full_disk_is_a_full_node_and_the_old_object_stays(
    tmp_path: Path, streams: bool
) -> None:
    def write(file: io.FileIO, data: memoryview) -> int:
        if file.tell() + len(data) > 1000:
            raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path))
        return file.write(data)

    with closing(FolderNode("node-1", tmp_path, write=write)) as node:
        store(node, b"old")
        with pytest.raises(NodeFullError) as caught:
            store(node, b"x" * 1001, streams=streams)
        assert str(tmp_path) not in str(caught.value)
        assert fetch(node) == b"old"
        assert len(content(tmp_path)) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_really_full_disk_is_a_full_node(tmp_path: Path) -> None:
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(tmp_path)]
    done = subprocess.run(mount, capture_output=True, timeout=PATIENCE_SECONDS)
    if done.returncode:
        pytest.skip("mounting is not allowed")
    try:
        with closing(FolderNode("node-1", tmp_path)) as node:
            store(node, b"old")
            with pytest.raises(NodeFullError):
                store(node, b"x" * 4_000_000)
            with pytest.raises(NodeFullError):  # by small ones: the index is full too
                for number in range(1000):
                    store(node, b"x" * 3000, ObjectName("store", f"key{number}"))
            assert fetch(node) == b"old"
            assert all(
                fetch(node, ObjectName("store", k))
                for k, _ in node.list_objects("store")
            )
    finally:
        unmount = ["umount", str(tmp_path)]
        subprocess.run(unmount, check=True, timeout=PATIENCE_SECONDS)


def test_a_missing_folder_is_unreachable_and_not_made(tmp_path: Path) -> None:
    with closing(FolderNode("node-1", tmp_path / "unmounted")) as node:
        require_failures(node, NodeUnreachableError)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_vanishes_is_unreachable_until_it_is_back(tmp_path: Path) -> None:
    folder, away = tmp_path / "node", tmp_path / "away"
    folder.mkdir()
    with closing(FolderNode("node-1", folder)) as node:
        store(node, b"x")
        folder.rename(away)
        require_failures(node, NodeUnreachableError)
        folder.mkdir()  # the mount point of a disk that is gone
        require_failures(node)
        assert list(folder.iterdir()) == []
        folder.rmdir()
        away.rename(folder)
        assert fetch(node) == b"x"


@pytest.mark.parametrize("is_running", [True, False])
def test_a_deleted_index_is_an_error_never_an_empty_node(
    tmp_path: Path, is_running: bool
) -> None:
    with closing(FolderNode("node-1", tmp_path)) as node:
        store(node, b"x")
        if is_running:
            (tmp_path / "index.sqlite").unlink()
            require_failures(node)
    for path in tmp_path.glob("index.sqlite*"):
        path.unlink()
    with closing(FolderNode("node-1", tmp_path)) as node:
        require_failures(node)
    assert len(content(tmp_path)) == 1


def test_an_index_swapped_for_another_is_an_error(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        folder.mkdir()
        with closing(FolderNode("node", folder)) as node:
            store(node, b"x")
    with closing(FolderNode("node", one)) as node:
        node.start_check().wait()
        (two / "index.sqlite").replace(one / "index.sqlite")
        require_failures(node)


@pytest.mark.parametrize("damage", ["garbage", "empty", "version", "other"])
def test_a_corrupt_or_unknown_index_is_an_error(tmp_path: Path, damage: str) -> None:
    with closing(FolderNode("node-1", tmp_path)) as node:
        store(node, b"x")
    index = tmp_path / "index.sqlite"
    if damage == "garbage":
        index.write_bytes(os.urandom(index.stat().st_size))
    elif damage == "empty":
        index.write_bytes(b"")
    else:
        statement = (
            "PRAGMA user_version = 99" if damage == "version" else "DROP TABLE objects"
        )
        with closing(sqlite3.connect(index)) as connection:
            connection.execute(statement)
    with closing(FolderNode("node-1", tmp_path)) as node:
        require_failures(node)


def require_lost(node: FolderNode) -> None:
    """Check that the node knows it has no whole copy, also without reading it."""
    for _ in range(2):
        with pytest.raises(LostCopyError):
            fetch(node)
        assert node.start_head(NAME).wait().is_damaged


def plant(kind: str, folder: Path, path: Path) -> None:
    """Let a content file be something else."""
    path.unlink()
    (folder / "secret").write_bytes(b"x")
    if kind == "link":
        path.symlink_to(folder / "secret")
    elif kind == "dangling":
        path.symlink_to(folder / "nowhere")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()


@pytest.mark.parametrize("kind", ["link", "dangling", "pipe", "folder"])
def test_content_that_is_no_file_is_refused_and_can_be_overwritten(
    node: FolderNode, tmp_path: Path, kind: str
) -> None:
    store(node, b"x")
    plant(kind, tmp_path, content(tmp_path)[0])
    require_lost(node)
    with closing(FolderNode("node-1", tmp_path, orphan_age_seconds=0)) as other:
        other.start_check().wait()  # no pipe holds it up
    store(node, b"y")
    assert fetch(node) == b"y"
    node.start_delete(NAME).wait()
    assert (tmp_path / "secret").read_bytes() == b"x"


@pytest.mark.parametrize(
    "file",
    [
        "../secret",
        "../../secret",
        "/etc/passwd",
        "",
        ".",
        "ab",
        "A" * 32,
        f"{'a' * 32}/",
        "ab/" + "a" * 29,
        b"a" * 32,
        b"\xff",
    ],
)
def test_a_damaged_index_names_no_file_outside(
    node: FolderNode, tmp_path: Path, file: str | bytes
) -> None:
    store(node, b"x")
    (tmp_path / "secret").write_bytes(b"x")
    with closing(sqlite3.connect(tmp_path / "index.sqlite")) as connection:
        connection.execute("UPDATE objects SET file = ?", (file,))
        connection.commit()
    require_lost(node)
    node.note_lost()
    node.start_delete(NAME).wait()
    assert list(node.list_objects("store")) == []
    assert (tmp_path / "secret").read_bytes() == b"x"


UNREADABLE = {
    "size": ["abc", -1, 5.5, b"x"],
    "etag": ["a\r\nX: y", b"\xff"],
    "headers": ["", "[1]", "5", "null", '{"Content-Type":5}', b"\xff"],
    "damaged": ["x"],
}


@pytest.mark.parametrize(
    ("column", "value"),
    [(column, value) for column, values in UNREADABLE.items() for value in values],
)
def test_an_entry_that_is_damaged_is_a_lost_copy(
    node: FolderNode, tmp_path: Path, column: str, value: object
) -> None:
    stored = store(node, b"x")
    with closing(sqlite3.connect(tmp_path / "index.sqlite")) as connection:
        connection.execute(f"UPDATE objects SET {column} = ?", (value,))
        connection.commit()
    require_lost(node)
    [(key, listed)] = node.list_objects("store")
    assert (key, listed.label) == (NAME.key, stored.label)
    store(node, b"y")
    assert fetch(node) == b"y"
    node.start_delete(NAME).wait()
    assert list(node.list_objects("store")) == []


def test_text_in_the_index_that_is_not_utf8_is_no_failure(
    node: FolderNode, tmp_path: Path
) -> None:
    store(node, b"x")
    with closing(sqlite3.connect(tmp_path / "index.sqlite")) as connection:
        connection.execute("UPDATE objects SET headers = CAST(x'ff' AS TEXT)")
        connection.commit()
    require_lost(node)


def test_checksums_that_are_none_are_made_anew(
    node: FolderNode, tmp_path: Path
) -> None:
    store(node, b"x")
    with closing(sqlite3.connect(tmp_path / "index.sqlite")) as connection:
        connection.execute("UPDATE objects SET sums = 5")
        connection.commit()
    assert fetch(node) == b"x"
