"""Calls that block: at once without gevent, in native threads under it."""

from __future__ import annotations

import subprocess
import sys
import threading
from contextlib import closing

import pytest

from amazin.blocking import BlockingCalls
from tests.support.paths import PROJECT
from tests.support.waiting import PATIENCE_SECONDS

UNDER_GEVENT = """
from gevent import monkey
monkey.patch_all()
import gevent, os, time
from amazin.blocking import BlockingCalls

native_ident = monkey.get_original("threading", "get_ident")
new_native_lock = monkey.get_original("_thread", "allocate_lock")
calls = BlockingCalls(2)

def threads():
    return len(os.listdir("/proc/self/task"))

def fail(text):
    raise KeyError(text)
"""


def under_gevent(program: str) -> str:
    """Run what follows in a process that gevent has patched; return its output."""
    done = subprocess.run(
        [sys.executable, "-c", UNDER_GEVENT + program],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_without_gevent_the_caller_makes_the_call() -> None:
    with closing(BlockingCalls()) as calls:
        assert calls.run(threading.get_ident) == threading.get_ident()
        assert calls.run(divmod, 7, 2) == (3, 1)
        with pytest.raises(ZeroDivisionError):
            calls.run(divmod, 7, 0)


def test_under_gevent_another_thread_makes_it_and_the_loop_goes_on() -> None:
    program = """
held = new_native_lock()
held.acquire()
gevent.spawn(held.release)  # runs only while the call lets the loop go on
assert calls.run(held.acquire, True, 10.0)
print(calls.run(native_ident) != native_ident(), calls.run(divmod, 7, 2))
"""
    assert under_gevent(program) == "True (3, 1)\n"


def test_under_gevent_no_more_threads_than_wanted_are_made() -> None:
    program = """
before = threads()
busy = [gevent.spawn(calls.run, time.sleep, 0.01) for _ in range(20)]
most = before
while not all(one.ready() for one in busy):
    gevent.sleep(0.001)
    most = max(most, threads())
print(most - before)
"""
    assert int(under_gevent(program)) in (1, 2)


def test_under_gevent_an_error_is_the_callers_and_printed_nowhere() -> None:
    program = """
try:
    calls.run(fail, "expected")
except KeyError as exc:
    print(exc.args)
"""
    assert under_gevent(program) == "('expected',)\n"


def test_closing_ends_the_threads_and_a_later_call_starts_new_ones() -> None:
    program = """
before = threads()
for _ in range(2):
    calls.run(divmod, 7, 2)
    assert threads() > before
    calls.close()
    calls.close()
    with gevent.Timeout(10):
        while threads() > before:
            gevent.sleep(0.01)
print("closed twice")
"""
    assert under_gevent(program) == "closed twice\n"


def test_a_forked_process_has_threads_of_its_own() -> None:
    program = """
calls.run(divmod, 7, 2)
child = os.fork()
if child == 0:
    with gevent.Timeout(10):
        is_so = calls.run(divmod, 9, 2) == (4, 1)
    calls.close()
    os._exit(0 if is_so else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), calls.run(divmod, 7, 2))
"""
    assert under_gevent(program) == "0 (3, 1)\n"
