"""What a folder node promises, checked on real files, processes and signals."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import sqlite3
import threading
from contextlib import closing
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amazin.blocking import BlockingCalls
from amazin.errors import (
    NodeError,
    NodeUnreachableError,
    NoSuchKeyError,
    PreconditionError,
)
from amazin.model.objects import CHUNK_BYTES, Label, ObjectInfo, ObjectName, Stamp
from amazin.nodes.folder.calls import StartedCall
from amazin.nodes.folder.node import FolderNode
from tests.support.examples import examples
from tests.support.folder_node import (
    NAME,
    NEW,
    OLD,
    content,
    fetch,
    insert_copies,
    open_files,
    store,
)
from tests.support.waiting import PATIENCE_SECONDS, await_that

FEW = settings(max_examples=examples(0.4))
KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)


# Uploads of unknown length, and files that are adopted


@pytest.mark.parametrize("size", [0, 5, CHUNK_BYTES + 1])
def test_an_upload_of_unknown_length_is_as_long_as_what_was_written(
    node: FolderNode, size: int
) -> None:
    upload = node.start_upload(NAME, None, OLD, {})
    for start in range(0, size, CHUNK_BYTES):
        upload.write(bytes(min(CHUNK_BYTES, size - start)))
    etag = hashlib.md5(bytes(size)).hexdigest()
    assert upload.written == (size, etag)
    info = upload.start_commit().wait()
    assert (info.size, info.etag) == (size, etag)
    assert fetch(node) == bytes(size)
    assert node.start_head(NAME).wait() == info


def test_an_aborted_upload_of_unknown_length_leaves_nothing(
    node: FolderNode, tmp_path: Path
) -> None:
    upload = node.start_upload(NAME, None, OLD, {})
    upload.write(b"12345")
    upload.abort()
    assert content(tmp_path) == []
    with pytest.raises(NoSuchKeyError):
        node.start_head(NAME).wait()


def test_a_file_is_adopted_by_a_second_name(node: FolderNode, tmp_path: Path) -> None:
    path = tmp_path / "mia"
    path.write_bytes(b"a cat")
    info = node.adopt(NAME, path, OLD, {"X-Name": "Mia"})
    assert (info.size, info.etag) == (5, hashlib.md5(b"a cat").hexdigest())
    assert (info.label, info.headers) == (OLD, {"X-Name": "Mia"})
    [file] = content(tmp_path)
    assert file.samefile(path)
    path.unlink()
    assert fetch(node) == b"a cat"


def test_a_file_is_not_adopted_over_an_object(node: FolderNode, tmp_path: Path) -> None:
    store(node, b"12345")
    path = tmp_path / "mia"
    path.write_bytes(b"a cat")
    with pytest.raises(PreconditionError):
        node.adopt(NAME, path, NEW, {})
    assert fetch(node) == b"12345"
    assert len(content(tmp_path)) == 1
    assert path.read_bytes() == b"a cat"


def test_a_file_that_is_being_adopted_is_not_swept(
    node: FolderNode, tmp_path: Path
) -> None:
    path = tmp_path / "mia"
    path.write_bytes(b"a cat")
    os.utime(path, (0, 0))
    adopting = threading.Thread(target=node.adopt, args=(NAME, path, OLD, {}))
    with closing(sqlite3.connect(tmp_path / "index.sqlite")) as writer:
        writer.execute("BEGIN IMMEDIATE")
        adopting.start()
        await_that(lambda: content(tmp_path))
        with closing(FolderNode("other", tmp_path)) as other:
            other.start_check().wait()
        writer.execute("ROLLBACK")
    adopting.join(PATIENCE_SECONDS)
    path.unlink()
    assert fetch(node) == b"a cat"


def test_what_a_crash_left_of_an_adoption_is_swept(
    node: FolderNode, tmp_path: Path
) -> None:
    path = tmp_path / "mia"
    path.write_bytes(b"a cat")
    os.utime(path, (0, 0))
    node.start_check().wait()
    (tmp_path / "content" / "ab").mkdir()
    (tmp_path / "content" / "ab" / ("ab" * 16)).hardlink_to(path)
    with closing(FolderNode("other", tmp_path)) as other:
        other.start_check().wait()
    assert content(tmp_path) == []
    assert path.read_bytes() == b"a cat"


def test_keys_alone_are_listed_in_order(node: FolderNode, tmp_path: Path) -> None:
    for key in ("b", "a", "ä", "a/b", "c"):
        store(node, b"", ObjectName("store", key))
    store(node, b"", ObjectName("zzz", "another"))
    many = [f"b{number:05}" for number in range(9000)]
    insert_copies(tmp_path, ObjectName("store", "b"), many)
    batches = list(node.list_keys("store"))
    assert len(batches) > 2
    assert list(chain(*batches)) == ["a", "a/b", "b", *many, "c", "ä"]
    assert list(node.list_keys("none")) == []


# What is stored comes back.


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES, CHUNK_BYTES + 1, 1_000_000])
def test_an_object_comes_back_as_it_was_stored(
    node: FolderNode, size: int, streams: bool
) -> None:
    body = random.Random(size).randbytes(size)
    info = store(node, body, label=OLD, streams=streams)
    assert info == ObjectInfo(
        size,
        hashlib.md5(body).hexdigest(),
        OLD.stamp.nanoseconds,
        OLD,
        {"Content-Type": "text/plain", "X-Name": "ä"},
    )
    assert fetch(node) == body
    assert node.start_head(NAME).wait() == info


@pytest.mark.parametrize("epoch", [0, 1, 10**18 - 1])
@pytest.mark.parametrize("is_deleted", [False, True])
def test_a_label_comes_back(node: FolderNode, epoch: int, is_deleted: bool) -> None:
    label = Label(OLD.stamp, epoch, is_deleted)
    assert store(node, b"", label=label).label == label
    info = node.start_head(NAME).wait()
    assert (info.label, info.modified_ns) == (label, OLD.stamp.nanoseconds)
    assert [info.label for _, info in node.list_objects("store")] == [label]
    with closing(node.start_get(NAME).wait()) as found:
        assert found.info == info


def test_who_checks_a_folder_need_not_wait_for_a_disk_that_hangs() -> None:
    goes_on = threading.Event()
    check = StartedCall(BlockingCalls(), goes_on.wait)
    assert not check.is_ready(0)
    check.cancel()
    goes_on.set()
    assert check.is_ready(10)
    assert check.wait()


def test_a_check_raises_what_it_found(tmp_path: Path) -> None:
    with closing(FolderNode("a", tmp_path / "none")) as node:
        for _ in range(2):
            check = node.start_check()
            assert check.is_ready(10)
            with pytest.raises(NodeUnreachableError):
                check.wait()


def test_a_question_is_ready_at_once_and_may_be_cancelled(node: FolderNode) -> None:
    store(node, b"x")
    delete = node.start_delete(NAME)
    for question in (delete, node.start_get(NAME)):
        assert question.is_ready(0)
        question.cancel()
        question.cancel()
    assert fetch(node) == b"x"
    delete.wait()
    delete.cancel()
    with pytest.raises(NoSuchKeyError):
        fetch(node)


def test_an_object_outlives_its_node_value(tmp_path: Path) -> None:
    with closing(FolderNode("node-1", tmp_path)) as node:
        store(node, b"kept")
    with closing(FolderNode("node-1", tmp_path)) as node:
        assert fetch(node) == b"kept"


def test_an_overwrite_replaces_bytes_and_leaves_one_file(
    node: FolderNode, tmp_path: Path, streams: bool
) -> None:
    store(node, b"old" * 1000, streams=streams)
    store(node, b"new", streams=streams)
    assert fetch(node) == b"new"
    assert len(content(tmp_path)) == 1


def test_a_delete_removes_the_object_and_may_be_repeated(
    node: FolderNode, tmp_path: Path
) -> None:
    store(node, b"x")
    node.start_delete(NAME).wait()
    node.start_delete(NAME).wait()
    assert content(tmp_path) == []
    for ask in (node.start_get, node.start_head):
        with pytest.raises(NoSuchKeyError):
            ask(NAME).wait()


@pytest.mark.parametrize(
    ("first", "last"), [(0, 0), (4, 4), (999_999, 999_999), (10, 700_000), (0, 999_999)]
)
def test_a_range_gives_its_bytes_and_the_whole_objects_info(
    node: FolderNode, first: int, last: int
) -> None:
    body = random.Random(1).randbytes(1_000_000)
    info = store(node, body)
    assert fetch(node, byte_range=(first, last)) == body[first : last + 1]
    found = node.start_get(NAME, byte_range=(first, last)).wait()
    assert found.info == info
    found.close()
    found.close()


def test_a_range_outside_the_object_is_refused(node: FolderNode) -> None:
    store(node, b"12345")
    with pytest.raises(NodeError):
        fetch(node, byte_range=(2, 5))


def test_an_open_object_reads_on_after_overwrite_delete_and_close(
    node: FolderNode,
) -> None:
    body = os.urandom(3 * CHUNK_BYTES)
    store(node, body)
    with closing(node.start_get(NAME).wait()) as found:
        start = found.read()
        store(node, b"new")
        node.start_delete(NAME).wait()
        node.close()
        assert start + b"".join(iter(found.read, b"")) == body


def test_readers_during_overwrites_get_one_whole_version(node: FolderNode) -> None:
    bodies = [bytes([letter]) * 300_000 for letter in b"abc"]
    store(node, bodies[0])
    is_done = threading.Event()

    def overwrite() -> None:
        for turn in range(60):
            store(node, bodies[turn % 3])
        is_done.set()

    writer = threading.Thread(target=overwrite)
    writer.start()
    while not is_done.is_set():
        with closing(node.start_get(NAME).wait()) as found:
            body = b"".join(iter(found.read, b""))
            assert hashlib.md5(body).hexdigest() == found.info.etag
    writer.join(PATIENCE_SECONDS)


# Conditions are judged at the commit.


def test_if_match_holds_only_for_the_stored_etag(
    node: FolderNode, streams: bool
) -> None:
    with pytest.raises(PreconditionError):
        store(node, b"x", if_match="0" * 32, streams=streams)
    etag = store(node, b"one").etag
    assert fetch(node, if_match=etag) == b"one"
    store(node, b"two", if_match=etag, streams=streams)
    with pytest.raises(PreconditionError):
        store(node, b"three", if_match=etag, streams=streams)
    with pytest.raises(PreconditionError):
        fetch(node, if_match=etag)
    assert fetch(node) == b"two"


def test_if_absent_is_judged_at_the_commit(node: FolderNode, tmp_path: Path) -> None:
    upload = node.start_upload(NAME, 0, NEW, {}, if_absent=True)
    small = node.start_put(NAME, b"", NEW, {}, if_absent=True)
    store(node, b"first", label=OLD)
    for commit in (small, upload.start_commit()):
        with pytest.raises(PreconditionError):
            commit.wait()
    assert fetch(node) == b"first"
    assert len(content(tmp_path)) == 1


def test_what_arrives_last_is_kept_whatever_its_stamp(
    node: FolderNode, streams: bool
) -> None:
    store(node, b"new", label=NEW)
    store(node, b"from a slower clock", label=OLD, streams=streams)
    assert fetch(node) == b"from a slower clock"


STAMPS = [Stamp(5, 9), Stamp(9, 1), Stamp(9, 2), Stamp(10, 1)]


@pytest.mark.parametrize("stored", STAMPS)
@pytest.mark.parametrize("new", STAMPS)
def test_keeps_newer_keeps_an_object_with_a_greater_stamp(
    node: FolderNode, tmp_path: Path, stored: Stamp, new: Stamp, streams: bool
) -> None:
    # Neither the epoch nor a tombstone counts, and 10 is greater than 9.
    old_info = store(node, b"old", label=Label(stored, 8, True))
    info = store(node, b"new", label=Label(new, 3), keeps_newer=True, streams=streams)
    assert (info.etag, info.label) == (hashlib.md5(b"new").hexdigest(), Label(new, 3))
    assert fetch(node) == (b"old" if stored > new else b"new")
    assert node.start_head(NAME).wait() == (old_info if stored > new else info)
    assert len(content(tmp_path)) == 1


def test_keeps_newer_is_asked_after_the_conditions(
    node: FolderNode, tmp_path: Path, streams: bool
) -> None:
    send = partial(store, node, keeps_newer=True, streams=streams)
    etag = send(b"", label=OLD, if_absent=True).etag
    send(b"new", label=NEW, if_match=etag)
    for condition in ({"if_match": etag}, {"if_absent": True}):
        with pytest.raises(PreconditionError):
            send(b"old", label=OLD, **condition)
    send(b"old", label=OLD, if_match=hashlib.md5(b"new").hexdigest())
    assert fetch(node) == b"new"
    assert len(content(tmp_path)) == 1


def test_keeps_newer_replaces_what_has_no_readable_label(
    node: FolderNode, tmp_path: Path
) -> None:
    store(node, b"old", label=NEW)
    with closing(sqlite3.connect(tmp_path / "index.sqlite")) as connection, connection:
        connection.execute("UPDATE objects SET stamp = 'None'")
    assert node.start_head(NAME).wait().label is None
    store(node, b"new", label=OLD, keeps_newer=True)
    assert fetch(node) == b"new"


def test_commits_in_any_order_leave_the_greatest_stamp(
    node: FolderNode, tmp_path: Path, streams: bool
) -> None:
    stamps = [Stamp(9 + number // 3, number % 3) for number in range(24)]
    for _ in range(5):
        random.shuffle(stamps)
        gate = threading.Barrier(len(stamps), timeout=30)

        def commit(stamp: Stamp, gate: threading.Barrier = gate) -> None:
            gate.wait(PATIENCE_SECONDS)
            body, label = repr(stamp).encode(), Label(stamp)
            store(node, body, label=label, keeps_newer=True, streams=streams)

        threads = [threading.Thread(target=commit, args=(stamp,)) for stamp in stamps]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_SECONDS)
        assert fetch(node) == repr(max(stamps)).encode()
        assert node.start_head(NAME).wait().label == Label(max(stamps))
        assert len(content(tmp_path)) == 1
        node.start_delete(NAME).wait()


def test_a_delete_with_if_match_removes_only_that_object(
    node: FolderNode, tmp_path: Path
) -> None:
    node.start_delete(NAME, if_match="0" * 32).wait()
    etag = store(node, b"one").etag
    store(node, b"two")
    with pytest.raises(PreconditionError):
        node.start_delete(NAME, if_match=etag).wait()
    assert fetch(node) == b"two"
    question = node.start_delete(NAME, if_match=hashlib.md5(b"two").hexdigest())
    question.wait()
    question.wait()
    assert content(tmp_path) == []


# Listings and hostile keys.


@FEW
@given(st.sets(KEYS, max_size=20), st.text(max_size=3), KEYS)
def test_a_listing_is_in_order_of_utf8_bytes(
    tmp_path_factory: pytest.TempPathFactory, keys: set[str], prefix: str, after: str
) -> None:
    try:
        prefix.encode()
    except UnicodeEncodeError:
        prefix = ""
    folder = tmp_path_factory.mktemp("node")
    with closing(FolderNode("node-1", folder)) as node:
        for key in keys | {prefix + "z"}:
            store(node, b"", ObjectName("store", key))
        store(node, b"", ObjectName("other", "key"))
        ordered = sorted(keys | {prefix + "z"}, key=str.encode)
        wanted = [key for key in ordered if key.startswith(prefix)]
        assert [key for key, _ in node.list_objects("store", prefix)] == wanted
        wanted = [key for key in wanted if key.encode() > after.encode()]
        found = node.list_objects("store", prefix, after)
        assert [key for key, _ in found] == wanted
    shutil.rmtree(folder)


def test_a_prefix_ends_where_the_last_character_of_all_ends(node: FolderNode) -> None:
    last = "\U0010ffff"
    for key in ("a", last, last + last, last + "b", "\uffff"):
        store(node, b"", ObjectName("store", key))
    found = [key for key, _ in node.list_objects("store", last)]
    assert found == [last, last + "b", last + last]
    assert [key for key, _ in node.list_objects("store", last, last)] == found[1:]
    assert list(node.list_objects("nothing")) == []


def test_a_listing_goes_on_over_batches_and_says_what_head_says(
    node: FolderNode, tmp_path: Path
) -> None:
    name = ObjectName("store", "key")
    info = store(node, b"abc", name)
    insert_copies(tmp_path, name, [f"many/{number:05}" for number in range(1500)])
    found = list(node.list_objects("store", "many/"))
    assert found == [(f"many/{number:05}", info) for number in range(1500)]


@FEW
@given(
    st.one_of(
        KEYS,
        st.sampled_from(
            ["../../x", "..", ".", "/etc/passwd", "a/../../b", "\0", "x\0y", "k" * 5000]
        ),
        st.lists(st.sampled_from(["..", "/", "\0", ".", "a", "\\"])).map("".join),
    )
)
def test_no_key_leaves_the_folder(
    tmp_path_factory: pytest.TempPathFactory, key: str
) -> None:
    base = tmp_path_factory.mktemp("base")
    folder = base / "deep" / "node"
    folder.mkdir(parents=True)
    with closing(FolderNode("node-1", folder)) as node:
        for name in (ObjectName("store", key), ObjectName(key, key)):
            store(node, b"body", name)
            assert fetch(node, name) == b"body"
        files = {path for path in base.rglob("*") if path.is_file()}
        indexes = {path for path in files if path.name.startswith("index.")}
        assert files - indexes == set(content(folder))
        assert all(path.parent == folder for path in indexes)
    shutil.rmtree(base)


# Nothing is stored before a whole commit.


def test_an_aborted_upload_leaves_nothing(node: FolderNode, tmp_path: Path) -> None:
    store(node, b"kept")
    upload = node.start_upload(NAME, 6, NEW, {})
    upload.write(b"123456")
    assert fetch(node) == b"kept"
    upload.abort()
    upload.abort()
    assert len(content(tmp_path)) == 1
    for use in (upload.start_commit, lambda: upload.write(b"")):
        with pytest.raises(NodeError):
            use()


def test_an_abort_after_the_commit_is_harmless(node: FolderNode) -> None:
    upload = node.start_upload(NAME, 1, NEW, {})
    upload.write(b"x")
    upload.start_commit().wait()
    upload.abort()
    assert fetch(node) == b"x"


@pytest.mark.parametrize("ending", ["cancel", "abort"])
def test_a_commit_that_is_not_waited_for_leaves_nothing(
    node: FolderNode, tmp_path: Path, ending: str
) -> None:
    store(node, b"kept")
    upload = node.start_upload(NAME, 3, NEW, {})
    upload.write(b"new")
    commit = upload.start_commit()
    assert commit.is_ready(0)
    end = commit.cancel if ending == "cancel" else upload.abort
    end()
    end()
    for use in (commit.wait, upload.start_commit):
        with pytest.raises(NodeError):
            use()
    assert fetch(node) == b"kept"
    assert len(content(tmp_path)) == 1
    node.close()
    assert open_files(tmp_path) == []


def test_a_small_upload_that_is_not_waited_for_leaves_nothing(
    node: FolderNode, tmp_path: Path
) -> None:
    store(node, b"kept")
    pending = node.start_put(NAME, b"new", NEW, {})
    assert pending.is_ready(0)
    pending.cancel()
    pending.cancel()
    assert fetch(node) == b"kept"
    assert len(content(tmp_path)) == 1
    node.close()
    assert open_files(tmp_path) == []


@pytest.mark.parametrize("condition", [{"if_absent": True}, {"if_match": "0" * 32}])
def test_a_small_upload_that_is_refused_leaves_nothing(
    node: FolderNode, tmp_path: Path, condition: dict[str, Any]
) -> None:
    store(node, b"kept")
    with pytest.raises(PreconditionError):
        node.start_put(NAME, b"new", NEW, {}, **condition).wait()
    assert len(content(tmp_path)) == 1
    node.close()
    assert open_files(tmp_path) == []


def test_a_cancel_after_the_commit_is_harmless(node: FolderNode) -> None:
    commit = node.start_upload(NAME, 0, NEW, {}).start_commit()
    info = commit.wait()
    commit.cancel()
    with pytest.raises(NodeError):
        commit.wait()
    assert node.start_head(NAME).wait() == info


@pytest.mark.parametrize("body", [b"", b"12345", b"1234567"])
def test_fewer_or_more_bytes_than_announced_are_not_stored(
    node: FolderNode, tmp_path: Path, body: bytes
) -> None:
    upload = node.start_upload(NAME, 6, NEW, {})
    with pytest.raises(NodeError):
        upload.write(body)
        upload.start_commit().wait()
    upload.abort()
    assert content(tmp_path) == []
    with pytest.raises(NoSuchKeyError):
        fetch(node)


def test_content_shorter_than_its_size_is_an_error_never_an_early_end(
    node: FolderNode, tmp_path: Path
) -> None:
    store(node, b"x" * 3 * CHUNK_BYTES)
    with closing(node.start_get(NAME).wait()) as found:
        os.truncate(content(tmp_path)[0], CHUNK_BYTES + 1)
        with pytest.raises(NodeError):
            while found.read():
                pass
        with pytest.raises(NodeError):  # and again
            found.read()
    with pytest.raises(NodeError):
        fetch(node)


def test_close_closes_every_connection(tmp_path: Path) -> None:
    node = FolderNode("node-1", tmp_path)
    threads = [
        threading.Thread(target=store, args=(node, b"x", ObjectName("store", str(n))))
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    assert open_files(tmp_path)
    node.close()
    node.close()
    assert open_files(tmp_path) == []
    assert fetch(node, ObjectName("store", "1")) == b"x"
    assert open_files(tmp_path) == []
