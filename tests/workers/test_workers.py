"""Many tasks, a few threads: which are done, what ends it, and how."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from amazin.workers import Throttle, for_each
from tests.support.paths import PROJECT

PATIENCE_SECONDS = 30.0


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_every_task_is_done_once(threads: int) -> None:
    done = list[int]()
    for_each(done.append, iter(range(1000)), threads)
    assert sorted(done) == list(range(1000))


def test_tasks_are_done_at_the_same_time() -> None:
    barrier = threading.Barrier(3, timeout=PATIENCE_SECONDS)
    for_each(lambda _: barrier.wait(PATIENCE_SECONDS), range(6), 3)


@pytest.mark.parametrize("threads", [1, 2])
def test_the_first_error_of_the_work_ends_it(threads: int) -> None:
    done = list[int]()

    def work(number: int) -> None:
        if number == 3:
            raise ValueError("three")
        done.append(number)

    with pytest.raises(ValueError, match="three"):
        for_each(work, iter(range(10**9)), threads)
    assert len(done) < 100


@pytest.mark.parametrize("threads", [1, 2])
def test_an_error_of_the_tasks_ends_the_work(threads: int) -> None:
    def tasks() -> Iterator[int]:
        yield 1
        raise ValueError("broken off")

    with pytest.raises(ValueError, match="broken off"):
        for_each(list[int]().append, tasks(), threads)


def test_two_tasks_at_most_wait_for_two_threads() -> None:
    taken, done = list[int](), list[int]()
    has_waiting = threading.Event()

    def tasks() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            assert len(taken) - len(done) <= 5  # two are done, two wait, this one comes
            if len(taken) == 5:
                has_waiting.set()
            yield number

    def work(number: int) -> None:
        assert has_waiting.wait(PATIENCE_SECONDS)
        done.append(number)

    for_each(work, tasks(), 2)
    assert len(done) == 100


WORK_FOR_EVER = """
import os
import threading
from amazin.workers import for_each

def work(number):
    os.write(1, b"working\\n")  # a print may hold a lock when the process ends
    threading.Event().wait()

for_each(work, range(10), {threads})
"""


@pytest.mark.parametrize("threads", [1, 2])
def test_an_interruption_ends_the_process_whatever_is_being_done(threads: int) -> None:
    program = WORK_FOR_EVER.format(threads=threads)
    with subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            assert process.stdout
            assert process.stdout.readline().startswith(b"working")
            process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE_SECONDS) == -signal.SIGINT
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("rate", "piece"), [(None, 2**18), (10.0, 1024), (2**20, 2**18), (2**19, 2**17)]
)
def test_slow_transfers_have_small_pieces(rate: float | None, piece: int) -> None:
    assert Throttle(rate).piece(2**18) == piece


def test_bytes_are_spread_over_the_time_that_they_may_take() -> None:
    pauses: list[float] = []
    throttle = Throttle(1000.0, pauses.append)
    for _ in range(4):
        throttle.take(500)
    assert pauses == sorted(pauses)
    assert 1.4 < pauses[-1] <= 1.5
    Throttle(None, pauses.append).take(10**9)
    assert len(pauses) == 4
