"""A folder that can't be written to is read; what root makes belongs to the owner."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from amazin.errors import (
    NodeError,
    NodePermissionError,
    NodeReadOnlyError,
    NodeUnreadableError,
)
from amazin.model.objects import Label, ObjectName, Stamp
from amazin.nodes.folder.node import FolderNode
from tests.support.cleanup import closed_later
from tests.support.small_disk import read_only

NAME = ObjectName("store", "abc")
NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def new_node(path: Path) -> FolderNode:
    return closed_later(FolderNode("a", path))


def put(node: FolderNode, body: bytes, stamp: int, *, is_deleted: bool = False) -> None:
    label = Label(Stamp(stamp, 0), is_deleted=is_deleted)
    node.start_put(NAME, body, label, {}).wait()


def read(node: FolderNode) -> bytes:
    content = node.start_get(NAME).wait()
    try:
        return b"".join(iter(content.read, b""))
    finally:
        content.close()


def filled(path: Path) -> FolderNode:
    node = new_node(path)
    node.make_bucket("store")
    put(node, b"hello", 1)
    return node


@contextmanager
def as_nobody() -> Iterator[None]:
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A folder that other users can get to, as those of pytest are not."""
    path = Path(tempfile.mkdtemp(prefix="amazin-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def require_refused(node: FolderNode, kind: type[NodeError], cause: str) -> None:
    """It can be read, says why it stores nothing, and keeps what it has."""
    assert read(node) == b"hello"
    with pytest.raises(kind, match=cause):
        node.start_check().wait()
    with pytest.raises(kind, match=cause):
        put(node, b"new", 2)
    with pytest.raises(kind, match=cause):
        put(node, b"", 3, is_deleted=True)
    with pytest.raises(kind, match=cause):
        node.start_delete(NAME).wait()
    assert [key for key, _ in node.list_objects("store")] == ["abc"]
    assert read(node) == b"hello"


def require_well(node: FolderNode, path: Path) -> None:
    """It stores and deletes, and a check leaves nothing."""
    node.start_check().wait()  # SQLite makes its log
    before = sorted(path.rglob("*"))
    node.start_check().wait()
    assert sorted(path.rglob("*")) == before
    put(node, b"new", 4)
    assert read(node) == b"new"
    node.start_delete(NAME).wait()
    assert not files(path)


def files(path: Path) -> list[Path]:
    return [file for file in (path / "content").rglob("*") if file.is_file()]


def test_a_folder_that_becomes_read_only_is_read_and_used_again(tmp_path: Path) -> None:
    node = filled(tmp_path)
    with read_only(tmp_path):
        require_refused(node, NodeReadOnlyError, "EROFS")
    require_well(node, tmp_path)


def test_so_is_one_that_was_closed_before(tmp_path: Path) -> None:
    """SQLite has removed its log and its shared memory, and can't make them anew."""
    filled(tmp_path).close()
    assert not (tmp_path / "index.sqlite-wal").exists()
    node = new_node(tmp_path)
    with read_only(tmp_path):
        require_refused(node, NodeReadOnlyError, "EROFS")
    require_well(node, tmp_path)


@needs_root
def test_a_folder_of_another_user_is_read_and_says_so(open_path: Path) -> None:
    filled(open_path).close()
    with as_nobody():
        node = new_node(open_path)
        require_refused(node, NodePermissionError, "EACCES")
    for path in (open_path, *open_path.rglob("*")):
        os.chown(path, NOBODY, -1)
    with as_nobody():
        require_well(node, open_path)
        node.close()


@needs_root
def test_what_its_owner_changes_meanwhile_is_seen(open_path: Path) -> None:
    filled(open_path).close()
    with as_nobody():
        node = new_node(open_path)
        assert read(node) == b"hello"
    owner = new_node(open_path)
    for stamp in (2, 3):
        put(owner, b"%d" % stamp, stamp)
        with as_nobody():
            assert read(node) == b"%d" % stamp
    put(owner, b"last", 4)
    owner.close()
    with as_nobody():
        assert read(node) == b"last"
        node.close()


@needs_root
@pytest.mark.parametrize("suffix", ["-wal", "-shm"])
def test_files_beside_the_index_that_can_not_be_written_to_are_told(
    open_path: Path, suffix: str
) -> None:
    """Copied by root, or from a backup: SQLite reads the index, and changes nothing."""
    filled(open_path).close()
    for path in (open_path, *open_path.rglob("*")):
        os.chown(path, NOBODY, -1)
    other = open_path / f"index.sqlite{suffix}"
    other.touch(0o644)
    with as_nobody():
        node = new_node(open_path)
        for work in (node.start_check().wait, lambda: put(node, b"new", 2)):
            with pytest.raises(NodePermissionError, match="EACCES"):
                work()
    os.chown(other, NOBODY, -1)
    with as_nobody():
        require_well(node, open_path)
        node.close()


@needs_root
def test_a_delete_does_not_write_to_an_index_that_became_read_only(
    open_path: Path,
) -> None:
    """The system kills who writes to shared memory of a file that can't be changed."""
    for path in (open_path, *open_path.rglob("*")):
        os.chown(path, NOBODY, -1)
    with as_nobody():
        node = filled(open_path)
        os.seteuid(0)
        os.chown(open_path / "index.sqlite-shm", 0, 0)
        os.seteuid(NOBODY)
        with pytest.raises(NodePermissionError, match="EACCES"):
            node.start_delete(NAME).wait()
        assert read(node) == b"hello"
        node.close()


@needs_root
@pytest.mark.parametrize("is_root", [True, False])
def test_a_folder_that_can_not_be_read_says_so(open_path: Path, is_root: bool) -> None:
    filled(open_path).close()
    (open_path if is_root else open_path / "content").chmod(0o700)
    with as_nobody():
        node = new_node(open_path)
        with pytest.raises(NodeUnreadableError, match="EACCES"):
            node.start_check().wait()


@needs_root
def test_what_root_makes_belongs_to_the_owner_of_the_folder(open_path: Path) -> None:
    os.chown(open_path, NOBODY, NOBODY)
    open_path.chmod(0o2770)
    node = filled(open_path)
    made = sorted(open_path.rglob("*"))
    assert {path.name for path in made} >= {"content", "index.sqlite", "index.reserve"}
    for path in made:
        found = path.stat()
        assert (found.st_uid, found.st_gid) == (NOBODY, NOBODY), path
        mode = 0o2770 if path.is_dir() else 0o660
        assert stat.S_IMODE(found.st_mode) == mode, path
    with as_nobody():
        other = new_node(open_path)
        require_well(other, open_path)
        other.close()
    node.close()


@needs_root
def test_what_root_makes_is_as_writable_for_the_group_as_the_folder(
    open_path: Path,
) -> None:
    """A service that is only in the group of a folder of root's has to change it."""
    os.chown(open_path, 0, NOBODY)
    open_path.chmod(0o770)
    filled(open_path).close()
    for path in open_path.rglob("*"):
        found = path.stat()
        assert (found.st_uid, found.st_gid) == (0, NOBODY), path
        mode = 0o770 if path.is_dir() else 0o660
        assert stat.S_IMODE(found.st_mode) == mode, path


@needs_root
@pytest.mark.parametrize("is_tombstone", [False, True])
def test_no_delete_succeeds_whose_file_stays(
    open_path: Path, is_tombstone: bool
) -> None:
    os.chown(open_path, NOBODY, NOBODY)
    node = filled(open_path)
    (file,) = files(open_path)
    os.chown(file.parent, 0, 0)
    file.parent.chmod(0o755)
    with as_nobody():
        with pytest.raises(NodePermissionError, match="EACCES"):
            if is_tombstone:
                put(node, b"", 2, is_deleted=True)
            else:
                node.start_delete(NAME).wait()
        assert read(node) == b"hello"
        with pytest.raises(NodePermissionError, match="EACCES"):
            node.start_check().wait()
    assert file in files(open_path)
    os.chown(file.parent, NOBODY, NOBODY)
    with as_nobody():
        node.start_delete(NAME).wait()
        node.close()
    assert file not in files(open_path)
