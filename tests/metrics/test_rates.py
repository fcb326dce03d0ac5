"""The rates of the last minute: of all answers, from samples that age."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from amazin.metrics.meters import Meters
from amazin.metrics.rates import LastMinute, Rates, Totals, totals


class Time:
    """A clock that stands still, and counts so much in each second."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.counted = Totals()

    def pass_by(self, seconds: float, requests: float = 0, failures: float = 0) -> None:
        """Let time pass, in which so much is counted."""
        self.now += seconds
        self.counted = Totals(
            self.counted.requests + requests, self.counted.failures + failures
        )


def test_of_the_first_second_nothing_is_known() -> None:
    time = Time()
    minute = LastMinute(lambda: time.counted, lambda: time.now)
    assert minute.rates() is None
    minute.sample()
    time.pass_by(0.5, requests=100)
    assert minute.rates() is None


def test_a_young_process_tells_how_young() -> None:
    time = Time()
    minute = LastMinute(lambda: time.counted, lambda: time.now)
    minute.sample()
    time.pass_by(4, requests=8, failures=2)
    assert minute.rates() == Rates(4, 2.0, 0.5, 0, 0)


def test_what_is_older_than_a_minute_does_not_count() -> None:
    time = Time()
    minute = LastMinute(lambda: time.counted, lambda: time.now)
    minute.sample()
    time.pass_by(1, requests=1_000_000)
    for _ in range(40):
        time.pass_by(5, requests=10)
        minute.sample()
    assert minute.rates() == Rates(60, 2.0, 0, 0, 0)


def test_samples_are_kept_at_most_every_few_seconds() -> None:
    time, reads = Time(), []

    def read() -> Totals:
        reads.append(time.now)
        return time.counted

    minute = LastMinute(read, lambda: time.now)
    for _ in range(100):
        minute.sample()
        time.pass_by(0.1)
    assert len(reads) == 2


def test_after_a_long_pause_there_is_no_rate_of_the_time_before() -> None:
    time = Time()
    minute = LastMinute(lambda: time.counted, lambda: time.now)
    minute.sample()
    time.pass_by(600, requests=600)
    assert minute.rates() is None


def test_all_apis_and_answers_are_added_up() -> None:
    registry = CollectorRegistry()
    meters = Meters(registry)
    meters.requests.labels("object", "GET", "200").inc(5)
    meters.requests.labels("objects", "PUT", "503").inc(2)
    meters.requests.labels("none", "GET", "404").inc(3)
    meters.received.inc(7)
    meters.sent.inc(11)
    assert totals(registry.collect()) == Totals(10, 2, 7, 11)


@pytest.mark.parametrize("status", ["499", "200", "304"])
def test_only_our_failures_are_failures(status: str) -> None:
    registry = CollectorRegistry()
    Meters(registry).requests.labels("object", "GET", status).inc()
    assert totals(registry.collect()).failures == 0
