"""The index of a folder node: buckets, and what older versions have left."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from amazin.errors import NoSuchBucketError, NoSuchKeyError
from amazin.model.objects import ObjectName
from amazin.nodes.folder.node import FolderNode
from tests.support.folder_node import (
    NAME,
    NEW,
    OLD,
    ask_index,
    content,
    fetch,
    finish,
    make_version_1,
    put,
    require_failures,
    require_missing_bucket,
    start_python,
    store,
)
from tests.support.waiting import PATIENCE_SECONDS


def test_a_bucket_is_missing_until_it_is_made(tmp_path: Path) -> None:
    with closing(FolderNode("node-1", tmp_path)) as node:
        require_missing_bucket(node)
        node.make_bucket("Store")
        node.make_bucket("stor")
        require_missing_bucket(node)
        node.make_bucket("store")
        node.make_bucket("store")
        with pytest.raises(NoSuchKeyError):
            fetch(node)
        put(node, b"x")
        node.make_bucket("store")
        assert fetch(node) == b"x"
    with closing(FolderNode("node-1", tmp_path)) as node:
        node.start_delete(NAME).wait()
        node.start_delete(NAME).wait()
        with pytest.raises(NoSuchKeyError):
            fetch(node)


def test_an_upload_to_a_missing_bucket_is_refused_before_its_body(
    tmp_path: Path,
) -> None:
    with closing(FolderNode("node-1", tmp_path)) as node:
        with pytest.raises(NoSuchBucketError):
            node.start_upload(NAME, 1, NEW, {})
        with pytest.raises(NoSuchBucketError):
            node.start_put(NAME, b"x", NEW, {}).wait()
        assert content(tmp_path) == []


def test_making_a_bucket_that_is_there_waits_for_no_writer(
    node: FolderNode, tmp_path: Path
) -> None:
    with closing(sqlite3.connect(tmp_path / "index.sqlite")) as connection:
        connection.execute("BEGIN IMMEDIATE")
        node.make_bucket("store")
        connection.execute("ROLLBACK")


@pytest.mark.parametrize("is_filled", [False, True])
def test_a_wiped_folder_has_no_buckets(tmp_path: Path, is_filled: bool) -> None:
    with closing(FolderNode("node-1", tmp_path)) as node:
        store(node, b"lost")
    shutil.rmtree(tmp_path / "content")
    for path in tmp_path.glob("index.sqlite*"):
        path.unlink()
    with closing(FolderNode("node-1", tmp_path)) as node:
        if is_filled:
            store(node, b"x", ObjectName("other", "abc"))
            # And the one that was lost is missed by other processes, too.
        script = "require_missing_bucket(node); node.close()"
        finish(start_python(tmp_path, script))
        require_missing_bucket(node)
        store(node, b"back")
        assert fetch(node) == b"back"


# An index of version 1 (it knew no buckets) is upgraded where it lies.


def test_an_index_of_version_1_keeps_its_objects_and_has_their_buckets(
    tmp_path: Path,
) -> None:
    names = [ObjectName(f"b{number % 3}", f"key{number}") for number in range(9)]
    names += [NAME, ObjectName("ä", "\0")]
    make_version_1(tmp_path, *names)
    for _ in range(2):
        with closing(FolderNode("node-1", tmp_path)) as node:
            for name in names:
                assert fetch(node, name) == name.key.encode()
                with pytest.raises(NoSuchKeyError):
                    fetch(node, ObjectName(name.bucket, "missing"))
            info = node.start_head(NAME).wait()
            assert (info.label, info.headers) == (OLD, {"X-A": "b"})
            with pytest.raises(NoSuchBucketError):
                fetch(node, ObjectName("b3", "key"))
    made = {bucket for (bucket,) in ask_index(tmp_path, "SELECT name FROM buckets")}
    assert made == {b"b0", b"b1", b"b2", b"store", "ä".encode()}
    with closing(FolderNode("node-1", tmp_path)) as node:
        put(node, b"new", keeps_newer=True)
        assert fetch(node) == b"new"


def test_an_upgraded_index_is_like_a_new_one(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    new.mkdir()
    make_version_1(old)
    for folder in (old, new):
        with closing(FolderNode("node-1", folder)) as node:
            require_missing_bucket(node)
    for question in (
        "SELECT type, name, replace(replace(sql, char(10), ''), ' ', '')"
        " FROM sqlite_master ORDER BY name",
        "PRAGMA user_version",
        "PRAGMA journal_mode",
        "SELECT name FROM buckets",
    ):
        assert ask_index(old, question) == ask_index(new, question)


def test_an_upgrade_that_comes_second_finds_it_done(tmp_path: Path) -> None:
    make_version_1(tmp_path, NAME)
    with (
        closing(FolderNode("node-1", tmp_path)) as node,
        closing(sqlite3.connect(tmp_path / "index.sqlite")) as first,
    ):
        first.isolation_level = None
        first.execute("BEGIN IMMEDIATE")
        first.execute("CREATE TABLE buckets (name BLOB PRIMARY KEY)")
        first.execute("INSERT INTO buckets VALUES (CAST('store' AS BLOB))")
        first.execute("PRAGMA user_version = 2")
        bodies: list[bytes] = []
        second = threading.Thread(target=lambda: bodies.append(fetch(node)))
        second.start()
        second.join(0.2)  # it waits for the write lock now
        assert second.is_alive()
        first.execute("COMMIT")
        second.join(PATIENCE_SECONDS)
        assert bodies == [b"abc"]


def test_an_upgrade_that_fails_changes_nothing(tmp_path: Path) -> None:
    make_version_1(tmp_path, NAME)
    with closing(sqlite3.connect(tmp_path / "index.sqlite")) as connection:
        connection.execute("ALTER TABLE objects RENAME TO elsewhere")
        with closing(FolderNode("node-1", tmp_path)) as node:
            require_failures(node)
            tables = "SELECT 1 FROM sqlite_master WHERE name = 'buckets'"
            assert ask_index(tmp_path, tables) == []
            assert ask_index(tmp_path, "PRAGMA user_version") == [(1,)]
            connection.execute("ALTER TABLE elsewhere RENAME TO objects")
            assert fetch(node) == b"abc"
