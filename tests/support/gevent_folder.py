"""A program: a folder node at work under gevent, whose event loop must go on.

Its argument is the folder. It prints how often the loop went round meanwhile, the
longest time that this took, and how long all took.
"""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import sqlite3  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable  # noqa: E402
from contextlib import closing, suppress  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import gevent  # noqa: E402

from amazin.errors import NoSuchKeyError  # noqa: E402
from amazin.model.objects import Label, ObjectName, Stamp  # noqa: E402
from amazin.nodes.folder.node import FolderNode  # noqa: E402
from tests.support.folder_node import NAME, fetch, store  # noqa: E402

WORKERS = 8
TICK_SECONDS = 0.005
PATIENCE_SECONDS = 10.0


def body_of(number: int) -> bytes:
    """Return what a worker stores under its key."""
    return bytes([number]) * 4_000_000


def name_of(number: int) -> ObjectName:
    """Return a worker's key."""
    return ObjectName("store", f"key{number}")


def tick(delays: list[float]) -> None:
    """Note how late the event loop comes round, for ever."""
    while True:
        before = time.perf_counter()
        gevent.sleep(TICK_SECONDS)
        delays.append(time.perf_counter() - before - TICK_SECONDS)


def work(node: FolderNode, number: int) -> None:
    """Store and read a large object, a shared one, and one that is not there."""
    for _ in range(2):
        store(node, body_of(number), name_of(number))
        assert fetch(node, name_of(number)) == body_of(number)
        store(node, b"shared", NAME)
        with suppress(NoSuchKeyError):
            node.start_head(ObjectName("store", "missing")).wait()


def require_commit(
    node: FolderNode,
    index: Path,
    pending: Any,
    abort: Callable[[], object],
    data: bytes,
) -> None:
    """Kill the greenlet of a commit while another process holds the write lock.

    It goes on in its thread.
    """
    with closing(sqlite3.connect(index, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        commit = gevent.spawn(pending.wait)
        gevent.sleep(0.3)  # it waits for the lock now
        commit.kill()
        abort()
        other.execute("ROLLBACK")
    deadline = time.monotonic() + PATIENCE_SECONDS
    while fetch(node) != data and time.monotonic() < deadline:
        gevent.sleep(0.01)
    assert fetch(node) == data


def main(folder: Path) -> None:
    """See the module."""
    node, delays = FolderNode("node-1", folder), [0.0]
    begun = time.perf_counter()
    ticker = gevent.spawn(tick, delays)
    workers = [gevent.spawn(work, node, number) for number in range(WORKERS)]
    gevent.joinall(workers, raise_error=True)
    gevent.sleep(4 * TICK_SECONDS)  # the last delay counts too
    seconds = time.perf_counter() - begun
    ticker.kill()
    index, label = folder / "index.sqlite", Label(Stamp(time.time_ns(), 0))
    upload = node.start_upload(NAME, 5, label, {})
    upload.write(b"going")
    require_commit(node, index, upload.start_commit(), upload.abort, b"going")
    small = node.start_put(NAME, b"small", label, {})
    require_commit(node, index, small, small.cancel, b"small")
    node.close()
    assert not node._index._idle
    print(len(delays), max(delays), seconds)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
