"""A folder node as tests use it, also in processes of their own, which start fast."""

from __future__ import annotations

import hashlib
import os
import select
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

from amazin.errors import NodeError, NoSuchBucketError
from amazin.model.objects import CHUNK_BYTES, Label, ObjectInfo, ObjectName, Stamp
from amazin.nodes.folder.node import FolderNode
from tests.support.paths import PROJECT
from tests.support.waiting import PATIENCE_SECONDS

NAME = ObjectName("store", "abc")
OLD = Label(Stamp(1_700_000_000_123_456_789, 7))
NEW = Label(Stamp(1_700_000_001_000_000_000, 1), 5)


def store(
    node: FolderNode,
    body: bytes,
    name: ObjectName = NAME,
    label: Label | None = None,
    **conditions: object,
) -> ObjectInfo:
    """Make the bucket and store a body; see `put`."""
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


def fetch(node: FolderNode, name: ObjectName = NAME, **options: object) -> bytes:
    """Return an object's bytes."""
    found = node.start_get(name, **options).wait()
    with closing(found):
        return b"".join(iter(found.read, b""))


def content(folder: Path) -> list[Path]:
    """Return the content files."""
    return [path for path in (folder / "content").rglob("*") if path.is_file()]


def open_files(folder: Path) -> list[str]:
    """Return what this process has open below a folder."""
    links = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    targets = [str(link.readlink()) for link in links]
    return [target for target in targets if str(folder) in target]


def ask_index(folder: Path, question: str) -> list[tuple[object, ...]]:
    """Return what the index answers."""
    with closing(sqlite3.connect(folder / "index.sqlite")) as connection:
        return list(connection.execute(question))


def insert_copies(folder: Path, name: ObjectName, keys: list[str]) -> None:
    """Let many keys mean what one does: storing them would take long."""
    with closing(sqlite3.connect(folder / "index.sqlite")) as connection, connection:
        connection.executemany(
            "INSERT INTO objects SELECT bucket, ?, file, size, etag, stamp, headers,"
            " damaged, sums FROM objects WHERE bucket = ? AND key = ?",
            [(key.encode(), name.bucket.encode(), name.key.encode()) for key in keys],
        )


# What fails, and all that has to.


def every_operation(node: FolderNode) -> Iterator[Callable[[], object]]:
    """Yield all that a node can be asked to do."""
    yield lambda: fetch(node)
    yield lambda: node.start_head(NAME).wait()
    yield lambda: put(node, b"x")
    yield lambda: put(node, b"x", streams=True)
    yield lambda: node.start_delete(NAME).wait()
    yield lambda: node.start_check().wait()
    yield lambda: node.make_bucket("store")
    yield lambda: list(node.list_objects("store"))


def require_failures(node: FolderNode, kind: type[NodeError] = NodeError) -> None:
    """Fail unless every operation does."""
    for operation in every_operation(node):
        require_failure(operation, kind)


def require_failure(operation: Callable[[], object], kind: type[Exception]) -> None:
    """Fail unless this does."""
    try:
        operation()
    except kind:
        return
    raise AssertionError("it should have failed")


def _every_question_about_the_bucket(
    node: FolderNode,
) -> Iterator[Callable[[], object]]:
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


def require_missing_bucket(node: FolderNode) -> None:
    """Fail unless the node says that `store` was never made."""
    for question in _every_question_about_the_bucket(node):
        require_failure(question, NoSuchBucketError)
    assert list(node.list_objects("store")) == []
    node.start_check().wait()


# An index of version 1, which knew no buckets

_VERSION_1 = """
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
        connection.executescript(_VERSION_1)
        for bucket, key in names:
            body, file = key.encode(), os.urandom(16).hex()
            (folder / "content" / file[:2] / file).write_bytes(body)
            etag, stamp = hashlib.md5(body).hexdigest(), "1700000000123456789.7"
            connection.execute(
                "INSERT INTO objects VALUES (?, ?, ?, ?, ?, ?, ?)",
                (bucket.encode(), body, file, len(body), etag, stamp, '{"X-A": "b"}'),
            )


# Processes

MEET = "node.start_check().wait(); print('ready', flush=True); input()\n"
"""What processes begin with that `go` lets off at once."""


def start_python(folder: Path, script: str, *args: str) -> subprocess.Popen[bytes]:
    """Start a script in a process of its own, with `node`, and all that is here."""
    prelude = (
        "from tests.support.folder_node import *\n"
        f"node = FolderNode('node-1', Path({str(folder)!r}))\n"
    )
    return start("-c", prelude + script, *args)


def start(*arguments: str) -> subprocess.Popen[bytes]:
    """Start Python with these arguments; see `finish` and `kill`."""
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
    )


def finish(*processes: subprocess.Popen[bytes]) -> list[bytes]:
    """Wait until they end well; returns what each of them printed."""
    try:
        outputs = [one.communicate(timeout=PATIENCE_SECONDS)[0] for one in processes]
    finally:
        for process in processes:
            kill(process)
    assert [process.returncode for process in processes] == [0] * len(processes)
    return outputs


def kill(process: subprocess.Popen[bytes]) -> bytes:
    """End a process at once, if it runs; returns what it printed and nobody read."""
    process.kill()
    if process.stdout is None or process.stdout.closed:
        return b""
    return process.communicate(timeout=PATIENCE_SECONDS)[0]


def read_line(process: subprocess.Popen[bytes]) -> bytes:
    """Return the first line that a process prints."""
    assert process.stdout is not None
    assert select.select([process.stdout], [], [], PATIENCE_SECONDS)[0]
    return process.stdout.readline()


def resume(process: subprocess.Popen[bytes]) -> None:
    """Let a process go on that waits for a line."""
    assert process.stdin is not None
    process.stdin.write(b"\n")
    process.stdin.flush()


def go(*processes: subprocess.Popen[bytes]) -> None:
    """Let processes go on that have met."""
    for process in processes:
        assert read_line(process) == b"ready\n"
    for process in processes:
        resume(process)


def body_of(key: str, number: int) -> bytes:
    """Return what `overwrite` stores under a key."""
    return (f"{key} {number} " * 20_000)[: 100 + number * 7919 % 200_000].encode()


def overwrite(node: FolderNode, seed: int, count: int) -> None:
    """Store new objects under three keys by turns, and print what is stored."""
    for number in range(seed, seed + count):
        key = f"key{number % 3}"
        store(node, body_of(key, number), ObjectName("store", key))
        print(key, number, flush=True)


__all__ = [name for name in dir() if not name.startswith("_")]
"""Scripts use the imported names as well."""
