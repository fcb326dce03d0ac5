"""Whole files are verified once at a time, and hold up no small request."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from amazin.errors import LostCopyError, NodeBusyError
from amazin.nodes.folder.verifying import Verifier
from amazin.request_limits import request_deadline
from tests.support.folder_node import finish, start
from tests.support.waiting import PATIENCE_SECONDS, await_that

UNDER_GEVENT = """
from gevent import monkey; monkey.patch_all()
import os, sys, gevent
from pathlib import Path
from tests.support.folder_node import *
node, calls, (here, there) = FolderNode("node-1", Path(sys.argv[1])), [], os.pipe()
def verify():
    calls.append(1)
    return os.read(here, 1)
def ask(file):
    return gevent.spawn(node._verifier.run, file, verify)
first, second = ask("a"), ask("a")
others = [ask(number) for number in range(8)]
while len(calls) < 2:
    gevent.sleep(0.001)
store(node, b"small")
assert fetch(node) == b"small"
first.kill()
os.write(there, b"x" * 9)
assert second.get() == b"x"
gevent.joinall(others, raise_error=True)
assert len(calls) == 9
node.close()
"""


def test_who_asks_for_the_same_file_meanwhile_gets_the_same() -> None:
    verifier, begun, goes_on = Verifier(), threading.Event(), threading.Event()
    calls: list[str] = []

    def verify() -> bytes:
        calls.append("first")
        begun.set()
        assert goes_on.wait(PATIENCE_SECONDS)
        raise LostCopyError("lost")

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(verifier.run, "file", verify)
        assert begun.wait(PATIENCE_SECONDS)
        (running,) = verifier._running.values()
        second = pool.submit(verifier.run, "file", verify)
        await_that(lambda: len(vars(running)["_condition"]._waiters))
        assert verifier.run("other", lambda: b"sums") == b"sums"
        goes_on.set()
        for each in (first, second):
            with pytest.raises(LostCopyError):
                each.result(PATIENCE_SECONDS)
    assert len(calls) == 1
    assert verifier.run("file", lambda: b"again") == b"again"


def test_a_request_waits_no_longer_than_it_may() -> None:
    verifier, goes_on, calls = Verifier(), threading.Event(), list[str]()

    def verify() -> bytes:
        calls.append("first")
        assert goes_on.wait(PATIENCE_SECONDS)
        return b"sums"

    token = request_deadline.set(time.monotonic() + 0.01)
    for _ in range(2):
        with pytest.raises(NodeBusyError):
            verifier.run("file", verify)
    request_deadline.reset(token)
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(verifier.run, "file", verify)
        goes_on.set()
        assert other.result(PATIENCE_SECONDS) == b"sums"
    assert len(calls) == 1


def test_verifications_hold_up_no_small_request(tmp_path: Path) -> None:
    finish(start("-c", UNDER_GEVENT, str(tmp_path)))
