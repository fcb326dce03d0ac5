"""The series of one process, and of all workers that share a folder."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from amazin.membership.snapshot import Snapshot
from amazin.membership.transitions import RosterView
from amazin.metrics.facts import Known
from amazin.metrics.metrics import Metrics
from amazin.web.messages import Request
from amazin.web.spool import SpoolRoom
from tests.support.app import make_environ
from tests.support.cleanup import closed_later
from tests.support.scrapes import those_of, values_of
from tests.support.waiting import await_that

KNOWN = Known(Snapshot({}, RosterView({}), ""), {}, None, None)
COUNTED = 2000
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def made(slot: str = "", folder: Path | str = "") -> Metrics:
    return closed_later(Metrics(slot, str(folder)))


def scraped(metrics: Metrics) -> dict[str, float]:
    text, _ = metrics.scrape(KNOWN, "")
    return values_of(text.decode())


def serve(metrics: Metrics, status: int = 200, count: int = 1) -> None:
    """Count requests as the gateway does."""
    for _ in range(count):
        metrics.requests.in_flight += 1
        request = Request("GET", "/", make_environ("GET", "/"), "1", "")
        metrics.requests.note_end(request, status, 0.0, 0.0, 10)


OK, SENT = "http_requests_total none GET 200", "http_sent_bytes_total"


def test_a_server_of_one_process_counts_for_itself(tmp_path: Path) -> None:
    metrics = made()
    serve(metrics, count=3)
    assert scraped(metrics)[OK] == 3
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_a_slot_is_not_used(tmp_path: Path) -> None:
    serve(made("", tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_two_applications_of_one_process_do_not_mix() -> None:
    first, second = made(), made()
    serve(first)
    assert OK not in scraped(second)


def test_each_worker_shows_what_all_of_them_counted(tmp_path: Path) -> None:
    first, second = made("1", tmp_path), made("2", tmp_path)
    serve(first, count=3)
    serve(second, count=4)
    assert scraped(first) == scraped(second)
    assert scraped(first)[OK] == 7
    assert scraped(first)[SENT] == 70
    assert scraped(first)["http_request_duration_seconds_count none GET"] == 7


def test_a_worker_goes_on_with_the_counters_of_the_one_before(tmp_path: Path) -> None:
    serve(made("1", tmp_path), count=3)
    files = {path.name for path in tmp_path.iterdir()}
    second = made("1", tmp_path)
    assert scraped(second)[OK] == 3
    serve(second, count=4)
    assert scraped(second)[OK] == 7
    assert {path.name for path in tmp_path.iterdir()} == files


def test_a_worker_shows_what_only_the_dead_one_counted(tmp_path: Path) -> None:
    serve(made("1", tmp_path), 404)
    assert scraped(made("1", tmp_path))["http_requests_total none GET 404"] == 1


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", "text/plain"),
        ("*/*", "text/plain"),
        ("text/html", "text/plain"),
        (OPENMETRICS, "application/openmetrics-text"),
        ("\x00,;q=", "text/plain"),
    ],
)
@pytest.mark.parametrize("slot", ["", "1"])
def test_the_text_is_of_the_type_that_is_wanted(
    tmp_path: Path, slot: str, accept: str, expected: str
) -> None:
    metrics = made(slot, tmp_path)
    serve(metrics)
    text, media_type = metrics.scrape(KNOWN, accept)
    assert media_type.startswith(expected)
    assert (b"# EOF" in text) is ("openmetrics" in expected)


def test_the_file_of_a_worker_that_begins_is_empty_for_a_moment(tmp_path: Path) -> None:
    metrics = made("1", tmp_path)
    serve(metrics)
    (tmp_path / "counter_2.db").touch()
    assert scraped(metrics)[OK] == 1
    metrics.start(closed_later(SpoolRoom(str(tmp_path), 1000)))
    (tmp_path / "counter_2.db").write_bytes(bytes(1 << 16))
    assert scraped(metrics)[OK] == 1


def test_the_series_of_a_node_are_made_once() -> None:
    metrics = made()
    assert metrics.node("node-1") is metrics.node("node-1")
    metrics.node("node-1").note("get", 0.1)
    metrics.node("node-2").note("get", 0.1)
    assert scraped(metrics)["node_requests_total node-1 get ok"] == 1


@pytest.mark.parametrize("slots", [[""], ["1", "2"]])
def test_what_lasts_is_sampled(tmp_path: Path, slots: list[str]) -> None:
    spool = closed_later(SpoolRoom(str(tmp_path), 1000))
    (tmp_path / "m").mkdir()
    every = [made(slot, tmp_path / "m") for slot in slots]
    for metrics in every:
        metrics.requests.in_flight = 2
        metrics.start(spool)
        metrics.start(spool)
    values = scraped(every[0])
    assert values["http_requests_in_flight"] == 2 * len(slots)
    assert values["spool_limit_bytes"] == 1000 * len(slots)
    assert values["spool_used_bytes"] == 0
    for slot in slots:
        assert values[f"worker_loop_lag_seconds {slot or '1'}"] >= 0
    every[0].requests.in_flight = 0
    expected = 2 * (len(slots) - 1)
    await_that(lambda: scraped(every[0])["http_requests_in_flight"] == expected)


def test_an_end_leaves_no_thread(tmp_path: Path) -> None:
    spool = closed_later(SpoolRoom(str(tmp_path), 1000))
    before = threading.active_count()
    metrics = Metrics()
    metrics.start(spool)
    metrics.close()
    metrics.close()
    assert threading.active_count() == before


def read_often(metrics: Metrics, is_over: Callable[[], bool]) -> None:
    last: dict[str, float] = {}
    while not is_over():
        values = {
            key: value
            for key, value in scraped(metrics).items()
            if key.partition(" ")[0].endswith(("_total", "_count", "_sum", "_bucket"))
        }
        assert all(values[key] >= value for key, value in last.items())
        last = values


def test_counters_only_grow_while_series_are_added(tmp_path: Path) -> None:
    first, second = made("1", tmp_path), made("2", tmp_path)
    over = threading.Event()

    def count() -> None:
        for number in range(COUNTED):
            serve(first, 200 + number % 50)
            first.node(f"node-{number % 50}").note("get", 0.1)
        over.set()

    thread = threading.Thread(target=count)
    thread.start()
    read_often(second, over.is_set)
    thread.join(20)
    requests = those_of(scraped(second), "http_requests_total")
    assert sum(requests.values()) == COUNTED
