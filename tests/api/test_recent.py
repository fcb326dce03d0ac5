"""A value is asked for once while it is recent, however many want it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from amazin.api.recent import Recent
from tests.support.fakes import FakeClock


def test_a_value_is_kept_until_it_is_too_old() -> None:
    clock, values = FakeClock(), iter("abc")
    recent = Recent(lambda: next(values), 1.0, clock)
    assert [recent.get(), recent.get()] == ["a", "a"]
    clock.now += 0.9
    assert recent.get() == "a"
    clock.now += 0.1
    assert [recent.get(), recent.get()] == ["b", "b"]


def test_a_failure_is_not_kept() -> None:
    outcomes = iter([False, True])

    def call() -> str:
        if not next(outcomes):
            raise OSError
        return "value"

    recent = Recent(call, 1.0, FakeClock())
    with pytest.raises(OSError):
        recent.get()
    assert recent.get() == "value"


def test_who_comes_during_the_call_waits_for_it() -> None:
    has_begun, may_end, calls = threading.Event(), threading.Event(), []

    def call() -> int:
        has_begun.set()
        assert may_end.wait(10)
        calls.append(1)
        return len(calls)

    recent = Recent(call, 1.0, FakeClock())
    with ThreadPoolExecutor(4) as crowd:
        found = [crowd.submit(recent.get) for _ in range(4)]
        assert has_begun.wait(10)
        may_end.set()
        assert [value.result(10) for value in found] == [1] * 4
