"""What a folder node promises, checked on real files, processes and signals."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from amazin.errors import (
    NodeError,
    NodeFullError,
    NodeUnreachableError,
    NoSuchBucketError,
    NoSuchKeyError,
    PreconditionError,
)
from amazin.model.objects import CHUNK_BYTES, Label, ObjectInfo, ObjectName, Stamp
from amazin.nodes.folder import content as folder_content
from amazin.nodes.folder import uploads as folder_uploads
from amazin.nodes.folder.node import FolderNode
from tests.support.paths import PROJECT

NAME = ObjectName("store", "abc")
OLD = Label(Stamp(1_700_000_000_123_456_789, 7))
NEW = Label(Stamp(1_700_000_001_000_000_000, 1), 5)
HYPOTHESIS = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[FolderNode]:
    node = FolderNode("node-1", tmp_path)
    node.make_bucket("store")
    yield node
    node.close()


def store(
    node: FolderNode,
    body: bytes,
    name: ObjectName = NAME,
    label: Label | None = None,
    **conditions: object,
) -> ObjectInfo:
    node.make_bucket(name.bucket)
    return put(node, body, name, label, **conditions)


def put(
    node: FolderNode,
    body: bytes,
    name: ObjectName = NAME,
    label: Label | None = None,
    *,
    streams: bool = False,
    **conditions: object,
) -> ObjectInfo:
    """Store a body as a cluster does, small ones whole; or stream it in any case."""
    label = label or Label(Stamp(time.time_ns(), 0))
    headers = {"Content-Type": "text/plain", "X-Name": "ä"}
    if len(body) <= CHUNK_BYTES and not streams:
        return node.start_put(name, body, label, headers, **conditions).wait()
    upload = node.start_upload(name, len(body), label, headers, **conditions)
    try:
        for start in range(0, len(body), CHUNK_BYTES):
            upload.write(body[start : start + CHUNK_BYTES])
        return upload.start_commit().wait()
    finally:
        upload.abort()


any_way = pytest.mark.parametrize("streams", [False, True], ids=["whole", "streamed"])


def fetch(node: FolderNode, name: ObjectName = NAME, **options: object) -> bytes:
    found = node.start_get(name, **options).wait()
    with closing(found):
        return b"".join(iter(found.read, b""))


def content(folder: Path) -> list[Path]:
    return [path for path in (folder / "content").rglob("*") if path.is_file()]


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
    node: FolderNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mia"
    path.write_bytes(b"a cat")
    os.utime(path, (0, 0))
    real = folder_uploads.sync_folder

    def sweep_meanwhile(folder: Path) -> None:
        FolderNode("other", tmp_path).start_check().wait()
        real(folder)

    monkeypatch.setattr(folder_uploads, "sync_folder", sweep_meanwhile)
    node.adopt(NAME, path, OLD, {})
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
    FolderNode("other", tmp_path).start_check().wait()
    assert content(tmp_path) == []
    assert path.read_bytes() == b"a cat"


def test_keys_alone_are_listed_in_order(
    node: FolderNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("amazin.nodes.folder.node._BATCH_KEYS", 2)
    for key in ("b", "a", "ä", "a/b", "c"):
        store(node, b"", ObjectName("store", key))
    store(node, b"", ObjectName("zzz", "another"))
    found = list(node.list_keys("store"))
    assert found == [["a", "a/b"], ["b", "c"], ["ä"]]
    assert list(node.list_keys("none")) == []


def python(folder: Path, script: str, *args: str) -> subprocess.Popen[bytes]:
    """Start `script` in a process of its own, with this file's helpers at hand."""
    prelude = f"import sys; sys.path.insert(0, {str(PROJECT)!r})\n"
    if "gevent" in script:
        prelude += "from gevent import monkey; monkey.patch_all()\n"
    prelude += (
        "from tests.nodes.test_folder import *\n"
        f"node = FolderNode('node-1', Path({str(folder)!r}))\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", prelude + script, *args],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
    )


def finish(*processes: subprocess.Popen[bytes]) -> list[bytes]:
    outputs = [process.communicate(timeout=30)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes)
    return outputs


MEET = "node.start_check().wait(); print('ready', flush=True); input()\n"
"""What processes begin with that `go` lets off at once."""


def go(*processes: subprocess.Popen[bytes]) -> None:
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.flush()


# What is stored comes back.


@any_way
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


def test_a_question_is_ready_at_once_and_may_be_cancelled(node: FolderNode) -> None:
    store(node, b"x")
    delete = node.start_delete(NAME)
    for question in (delete, node.start_get(NAME), node.start_check()):
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


@any_way
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
    writer.join()


# Conditions are judged at the commit.


@any_way
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


@any_way
def test_what_arrives_last_is_kept_whatever_its_stamp(
    node: FolderNode, streams: bool
) -> None:
    store(node, b"new", label=NEW)
    store(node, b"from a slower clock", label=OLD, streams=streams)
    assert fetch(node) == b"from a slower clock"


STAMPS = [Stamp(5, 9), Stamp(9, 1), Stamp(9, 2), Stamp(10, 1)]


@pytest.mark.parametrize("stored", STAMPS)
@pytest.mark.parametrize("new", STAMPS)
@any_way
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


@any_way
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


@any_way
def test_commits_in_any_order_leave_the_greatest_stamp(
    node: FolderNode, tmp_path: Path, streams: bool
) -> None:
    stamps = [Stamp(9 + number // 3, number % 3) for number in range(24)]
    for _ in range(5):
        random.shuffle(stamps)
        gate = threading.Barrier(len(stamps))

        def commit(stamp: Stamp, gate: threading.Barrier = gate) -> None:
            gate.wait()
            body, label = repr(stamp).encode(), Label(stamp)
            store(node, body, label=label, keeps_newer=True, streams=streams)

        threads = [threading.Thread(target=commit, args=(stamp,)) for stamp in stamps]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
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


@any_way
@pytest.mark.parametrize("condition", ["if_absent=True", f"if_match={'0' * 32!r}"])
def test_of_racing_processes_one_wins(
    node: FolderNode, tmp_path: Path, condition: str, streams: bool
) -> None:
    rounds, racers = 15, 4
    etag = hashlib.md5(b"start").hexdigest()
    if "if_match" in condition:
        condition = f"if_match={etag!r}"
        for turn in range(rounds):
            store(node, b"start", ObjectName("store", f"key{turn}"), OLD)
    script = (
        f"{MEET}for turn in range({rounds}):\n"
        "    name = ObjectName('store', f'key{turn}')\n"
        "    try:\n"
        "        store(node, sys.argv[1].encode(), name, NEW, "
        f"{condition}, streams={streams})\n"
        "        print(turn)\n"
        "    except PreconditionError:\n"
        "        pass\n"
        "node.close()\n"
    )
    processes = [python(tmp_path, script, f"racer{racer}") for racer in range(racers)]
    go(*processes)
    outputs = finish(*processes)
    winners = sorted(int(turn) for output in outputs for turn in output.split())
    assert winners == list(range(rounds))
    for racer, output in enumerate(outputs):
        for turn in output.split():
            name = ObjectName("store", f"key{int(turn)}")
            assert fetch(node, name) == f"racer{racer}".encode()


# Listings and hostile keys.


@HYPOTHESIS
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
    info = store(node, b"abc", ObjectName("store", "key"))
    with closing(sqlite3.connect(tmp_path / "index.sqlite")) as connection, connection:
        connection.executemany(
            "INSERT INTO objects SELECT bucket, ?, file, size, etag, stamp, headers"
            " FROM objects WHERE key = CAST('key' AS BLOB)",
            [(f"many/{number:05}".encode(),) for number in range(1500)],
        )
    found = list(node.list_objects("store", "many/"))
    assert found == [(f"many/{number:05}", info) for number in range(1500)]


@HYPOTHESIS
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
        indexes = {path for path in files if path.name.startswith("index.sqlite")}
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


def open_files(folder: Path) -> list[str]:
    links = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    targets = [str(link.readlink()) for link in links]
    return [target for target in targets if str(folder) in target]


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


def test_lost_content_is_an_error(node: FolderNode, tmp_path: Path) -> None:
    store(node, b"x")
    content(tmp_path)[0].unlink()
    with pytest.raises(NodeError):
        fetch(node)


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
    node: FolderNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(node, b"kept")
    make_orphan(tmp_path, 3700)

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "not yours")

    monkeypatch.setattr(folder_content, "_remove_orphan", refuse)
    with closing(FolderNode("node-1", tmp_path)) as other:
        assert fetch(other) == b"kept"


def test_an_upload_in_another_process_is_no_orphan_however_old(tmp_path: Path) -> None:
    script = (
        "node.make_bucket('store')\n"
        "upload = node.start_upload(NAME, 4, NEW, {}); upload.write(b'slow')\n"
        "print('ready', flush=True); input()\n"
        "upload.start_commit().wait(); node.close()\n"
    )
    process = python(tmp_path, script)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    (path,) = content(tmp_path)
    os.utime(path, (0, 0))
    with closing(FolderNode("node-1", tmp_path, orphan_age_seconds=0)) as node:
        node.start_check().wait()
        process.stdin and process.stdin.write(b"\n")
        finish(process)
        assert fetch(node) == b"slow"


# Trouble with the disk is said as a NodeError.


@any_way
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
    if subprocess.run(mount, capture_output=True).returncode:
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
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_a_file_size_limit_is_an_error_and_the_old_object_stays(
    node: FolderNode, tmp_path: Path
) -> None:
    store(node, b"old")
    script = (
        "import resource\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))\n"
        "try:\n"
        "    store(node, b'x' * 1_000_000)\n"
        "except NodeError as exc:\n"
        "    print(exc)\n"
        "node.close()\n"
    )
    assert finish(python(tmp_path, script)) == [b"the folder failed: EFBIG\n"]
    assert fetch(node) == b"old"
    assert len(content(tmp_path)) == 1


def every_operation(node: FolderNode) -> Iterator[object]:
    yield lambda: fetch(node)
    yield lambda: node.start_head(NAME).wait()
    yield lambda: put(node, b"x")
    yield lambda: put(node, b"x", streams=True)
    yield lambda: node.start_delete(NAME).wait()
    yield lambda: node.start_check().wait()
    yield lambda: node.make_bucket("store")
    yield lambda: list(node.list_objects("store"))


def test_a_missing_folder_is_unreachable_and_not_made(tmp_path: Path) -> None:
    with closing(FolderNode("node-1", tmp_path / "unmounted")) as node:
        for operation in every_operation(node):
            with pytest.raises(NodeUnreachableError):
                operation()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_vanishes_is_unreachable_until_it_is_back(tmp_path: Path) -> None:
    folder, away = tmp_path / "node", tmp_path / "away"
    folder.mkdir()
    with closing(FolderNode("node-1", folder)) as node:
        store(node, b"x")
        folder.rename(away)
        for operation in every_operation(node):
            with pytest.raises(NodeUnreachableError):
                operation()
        folder.mkdir()  # the mount point of a disk that is gone
        for operation in every_operation(node):
            with pytest.raises(NodeError):
                operation()
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
            for operation in every_operation(node):
                with pytest.raises(NodeError):
                    operation()
    for path in tmp_path.glob("index.sqlite*"):
        path.unlink()
    with closing(FolderNode("node-1", tmp_path)) as node:
        for operation in every_operation(node):
            with pytest.raises(NodeError):
                operation()
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
        for operation in every_operation(node):
            with pytest.raises(NodeError):
                operation()


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
            "PRAGMA user_version = 3" if damage == "version" else "DROP TABLE objects"
        )
        with closing(sqlite3.connect(index)) as connection:
            connection.execute(statement)
    with closing(FolderNode("node-1", tmp_path)) as node:
        for operation in every_operation(node):
            with pytest.raises(NodeError):
                operation()


def test_processes_that_meet_in_an_empty_folder_fill_it_once(tmp_path: Path) -> None:
    script = (
        "for turn in range(20):\n"
        "    store(node, b'x', ObjectName('store', f'{sys.argv[1]}-{turn}'))\n"
        "node.close()\n"
    )
    finish(*(python(tmp_path, script, str(number)) for number in range(4)))
    with closing(FolderNode("node-1", tmp_path)) as node:
        assert len(list(node.list_objects("store"))) == 80
    assert not list(tmp_path.glob("*.new*"))


# Buckets tell an emptied folder from one that lacks an object.


def every_question_about_the_bucket(node: FolderNode) -> Iterator[object]:
    yield node.start_get(NAME).wait
    yield node.start_get(NAME, if_match="0" * 32).wait
    yield node.start_head(NAME).wait
    yield node.start_delete(NAME).wait
    yield node.start_delete(NAME, if_match="0" * 32).wait
    for streams in (False, True):
        send = partial(put, node, b"x", streams=streams)
        yield send
        yield partial(send, keeps_newer=True)
        yield partial(send, if_match="0" * 32)


def check_bucket_is_missing(node: FolderNode) -> None:
    for question in every_question_about_the_bucket(node):
        with pytest.raises(NoSuchBucketError):
            question()
    assert list(node.list_objects("store")) == []
    node.start_check().wait()


def test_a_bucket_is_missing_until_it_is_made(tmp_path: Path) -> None:
    with closing(FolderNode("node-1", tmp_path)) as node:
        check_bucket_is_missing(node)
        node.make_bucket("Store")
        node.make_bucket("stor")
        check_bucket_is_missing(node)
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
        script = "check_bucket_is_missing(node); node.close()"
        finish(python(tmp_path, script))
        check_bucket_is_missing(node)
        store(node, b"back")
        assert fetch(node) == b"back"


# An index of version 1 (it knew no buckets) is upgraded where it lies.

VERSION_1 = """
    CREATE TABLE node (id TEXT NOT NULL);
    CREATE TABLE objects (
        bucket BLOB NOT NULL,
        key BLOB NOT NULL,
        file TEXT NOT NULL,
        size INTEGER NOT NULL,
        etag TEXT NOT NULL,
        stamp TEXT NOT NULL,
        headers TEXT NOT NULL,
        PRIMARY KEY (bucket, key)
    ) WITHOUT ROWID;
    CREATE INDEX objects_by_file ON objects (file);
    INSERT INTO node VALUES ('first');
    PRAGMA user_version = 1;
    PRAGMA journal_mode = WAL;
"""


def make_version_1(folder: Path, *names: ObjectName) -> None:
    """Fill a folder as version 1 did: each object's body is its key."""
    for shard in range(256):
        (folder / "content" / f"{shard:02x}").mkdir(parents=True)
    with closing(sqlite3.connect(folder / "index.sqlite")) as connection, connection:
        connection.executescript(VERSION_1)
        for bucket, key in names:
            body, file = key.encode(), os.urandom(16).hex()
            (folder / "content" / file[:2] / file).write_bytes(body)
            etag, stamp = hashlib.md5(body).hexdigest(), "1700000000123456789.7"
            connection.execute(
                "INSERT INTO objects VALUES (?, ?, ?, ?, ?, ?, ?)",
                (bucket.encode(), body, file, len(body), etag, stamp, '{"X-A": "b"}'),
            )


def ask_index(folder: Path, question: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(folder / "index.sqlite")) as connection:
        return list(connection.execute(question))


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
            check_bucket_is_missing(node)
    for question in (
        "SELECT type, name, sql FROM sqlite_master ORDER BY name",
        "PRAGMA user_version",
        "PRAGMA journal_mode",
        "SELECT name FROM buckets",
    ):
        assert ask_index(old, question) == ask_index(new, question)


def test_processes_upgrade_an_index_once(tmp_path: Path) -> None:
    rounds = 10
    for turn in range(rounds):
        make_version_1(tmp_path / f"old{turn}", NAME)
    script = (
        f"{MEET}for turn in range({rounds}):\n"
        "    folder = Path(sys.argv[1]) / f'old{turn}'\n"
        "    with closing(FolderNode('node-1', folder)) as old:\n"
        "        assert fetch(old) == b'abc'\n"
        "        put(old, b'x', ObjectName('store', sys.argv[2]))\n"
        "node.close()\n"
    )
    meeting = tmp_path / "meeting"
    meeting.mkdir()
    processes = [python(meeting, script, str(tmp_path), racer) for racer in "pqr"]
    go(*processes)
    finish(*processes)
    for turn in range(rounds):
        with closing(FolderNode("node-1", tmp_path / f"old{turn}")) as node:
            keys = [key for key, _ in node.list_objects("store")]
            assert keys == ["abc", "p", "q", "r"]


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
        second.join()
        assert bodies == [b"abc"]


def test_an_upgrade_that_fails_changes_nothing(tmp_path: Path) -> None:
    make_version_1(tmp_path, NAME)
    with closing(sqlite3.connect(tmp_path / "index.sqlite")) as connection:
        connection.execute("ALTER TABLE objects RENAME TO elsewhere")
        with closing(FolderNode("node-1", tmp_path)) as node:
            for operation in every_operation(node):
                with pytest.raises(NodeError):
                    operation()
            tables = "SELECT 1 FROM sqlite_master WHERE name = 'buckets'"
            assert ask_index(tmp_path, tables) == []
            assert ask_index(tmp_path, "PRAGMA user_version") == [(1,)]
            connection.execute("ALTER TABLE elsewhere RENAME TO objects")
            assert fetch(node) == b"abc"


# Processes, forks and kill -9.


def test_a_node_used_before_a_fork_works_on_both_sides(tmp_path: Path) -> None:
    script = (
        "store(node, b'parent')\n"
        "child = os.fork()\n"
        "store(node, b'x', ObjectName('store', 'child' if not child else 'parent'))\n"
        "assert fetch(node) == b'parent'\n"
        "node.close()\n"
        "assert not child or os.waitpid(child, 0)[1] == 0\n"
    )
    finish(python(tmp_path, script))
    with closing(FolderNode("node-1", tmp_path)) as node:
        keys = [key for key, _ in node.list_objects("store")]
        assert keys == ["abc", "child", "parent"]


WRITER = """
def body(key, number):
    return (f"{key} {number} " * 20_000)[: 100 + number * 7919 % 200_000].encode()

def overwrite(seed, count):
    for number in range(seed, seed + count):
        key = f"key{number % 3}"
        store(node, body(key, number), ObjectName("store", key))
        print(key, number, flush=True)
"""


def check_whole(node: FolderNode, key: str) -> int:
    """Return the number in a writer's object, of which every byte is right."""
    scope: dict[str, object] = {}
    exec(WRITER, scope)
    with closing(node.start_get(ObjectName("store", key)).wait()) as found:
        data = b"".join(iter(found.read, b""))
    assert hashlib.md5(data).hexdigest() == found.info.etag
    name, number = data.split()[:2]
    assert name == key.encode()
    assert data == scope["body"](key, int(number))  # type: ignore[operator]
    return int(number)


def test_acknowledged_objects_survive_kill_9_whole(tmp_path: Path) -> None:
    acknowledged: dict[str, int] = {}
    chance = random.Random()
    for turn in range(16):
        seed = turn * 100_000
        script = WRITER + f"overwrite({seed}, 50_000)"
        process = python(tmp_path, script)
        assert process.stdout is not None
        lines = [process.stdout.readline()]
        time.sleep(chance.random() * 0.1)  # the random moment
        process.send_signal(signal.SIGKILL)
        lines += process.communicate()[0].splitlines(keepends=True)
        for line in lines:
            if line.endswith(b"\n"):
                key, number = line.decode().split()
                acknowledged[key] = int(number)
        with closing(FolderNode("node-1", tmp_path)) as node:
            found = {key: check_whole(node, key) for key in acknowledged}
        # The one write that was not acknowledged may have happened.
        late = {key for key in found if found[key] != acknowledged[key]}
        assert len(late) <= 1
        assert all(found[key] - acknowledged[key] > 0 for key in late)
        acknowledged = found
    with closing(FolderNode("node-1", tmp_path, orphan_age_seconds=0)) as node:
        node.start_check().wait()
        assert len(content(tmp_path)) == len(list(node.list_objects("store")))
    with closing(sqlite3.connect(tmp_path / "index.sqlite")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_processes_that_write_the_same_keys_leave_whole_objects(
    node: FolderNode, tmp_path: Path
) -> None:
    scripts = [f"{WRITER}overwrite({n}, 60); node.close()" for n in (0, 1000, 2000)]
    finish(*(python(tmp_path, script) for script in scripts))
    for key in ("key0", "key1", "key2"):
        check_whole(node, key)
    assert len(content(tmp_path)) == 3


# Under gevent the event loop goes on.

GEVENT = """
import gevent
delays = []
def tick():
    while True:
        before = time.perf_counter()
        gevent.sleep(0.005)
        delays.append(time.perf_counter() - before - 0.005)

def work(number):
    name, data = ObjectName("store", f"key{number}"), bytes([number]) * 12_000_000
    for _ in range(2):
        store(node, data, name)
        assert fetch(node, name) == data
        store(node, b"shared", NAME)
        try:
            node.start_head(ObjectName("store", "missing")).wait()
        except NoSuchKeyError:
            pass

ticker = gevent.spawn(tick)
gevent.sleep(0.05)
gevent.joinall([gevent.spawn(work, number) for number in range(12)], raise_error=True)
gevent.sleep(0.02)  # the last delay counts too
def goes_on(pending, abort, data):
    # A commit whose greenlet is killed while another process holds the write lock.
    other = sqlite3.connect(Path(sys.argv[1]) / "index.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    commit = gevent.spawn(pending.wait)
    gevent.sleep(0.3)
    commit.kill()
    abort()
    other.execute("ROLLBACK")
    other.close()
    deadline = time.time() + 5
    while fetch(node) != data and time.time() < deadline:
        gevent.sleep(0.01)
    return fetch(node) == data

upload = node.start_upload(NAME, 5, Label(Stamp(time.time_ns(), 0)), {})
upload.write(b"going")
assert goes_on(upload.start_commit(), upload.abort, b"going")
small = node.start_put(NAME, b"small", Label(Stamp(time.time_ns(), 0)), {})
assert goes_on(small, small.cancel, b"small")
node.close()
assert not node._index._idle
print(len(delays), max(delays))
"""


def test_under_gevent_nothing_stops_the_event_loop(tmp_path: Path) -> None:
    (output,) = finish(python(tmp_path, GEVENT, str(tmp_path)))
    count, longest = output.split()
    assert int(count) > 20
    assert float(longest) < 0.5
    with closing(FolderNode("node-1", tmp_path)) as node:
        for number in range(12):
            assert fetch(node, ObjectName("store", f"key{number}")) == (
                bytes([number]) * 12_000_000
            )


def test_close_closes_every_connection(tmp_path: Path) -> None:
    node = FolderNode("node-1", tmp_path)
    threads = [
        threading.Thread(target=store, args=(node, b"x", ObjectName("store", str(n))))
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert open_files(tmp_path)
    node.close()
    node.close()
    assert open_files(tmp_path) == []
    assert fetch(node, ObjectName("store", "1")) == b"x"
    assert open_files(tmp_path) == []
