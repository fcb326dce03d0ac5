"""Counters of all workers, under load, while workers are killed and replaced."""

from __future__ import annotations

import http.client
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import pytest

from amazin.metrics.slots import MEMORY
from tests.support.gateway_process import GatewayProcess
from tests.support.scrapes import those_of, values_of
from tests.support.waiting import await_that

pytestmark = pytest.mark.slow

REQUESTS, CLIENTS, WORKERS = 20_000, 8, 2
KILLS_EVERY, RELOADS_EVERY, STOPS_EVERY = 4_000, 7_000, 5_000
"""Requests between two of each."""
GROWING = ("_total", "_bucket", "_count", "_sum")
KINDS = 4
"""Files of a slot. While workers are replaced there are twice as many slots."""


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[GatewayProcess]:
    """A gateway on folders with two workers."""
    settings = {"DISCOVERY": "folders", "DATA_DIR": str(tmp_path / "data")}
    settings |= {"WORKERS": str(WORKERS), "LOG_LEVEL": "error"}
    with GatewayProcess(tmp_path, settings) as gateway:
        assert gateway.ask("PUT", "/object/a", b"hello").status == 201
        yield gateway
        gateway.stop()


class Load:
    """Many requests by several clients, and what they were answered."""

    def __init__(self, gateway: GatewayProcess, requests: int) -> None:
        self.answered = Counter[str]()
        """By method and status, as in the series."""
        self.cut = 0
        """Requests of which it is not known whether they were answered."""
        self.is_over = threading.Event()
        self._gateway = gateway
        self._requests = requests
        self._lock = threading.Lock()

    @property
    def count(self) -> int:
        """The requests so far."""
        return self.answered.total() + self.cut

    def run(self) -> None:
        """Send them all."""
        try:
            with ThreadPoolExecutor(CLIENTS) as pool:
                list(pool.map(self._client, range(CLIENTS)))
        finally:
            self.is_over.set()

    def _client(self, number: int) -> None:
        dice = random.Random(number)
        connection = self._gateway.connect()
        for _ in range(self._requests // CLIENTS):
            method = dice.choice(("GET", "GET", "HEAD", "PUT", "DELETE"))
            key = "b" if method == "DELETE" else "a"
            body = b"hello" if method == "PUT" else None
            try:
                connection.request(method, f"/object/{key}", body)
                response = connection.getresponse()
                response.read()
                self._note(f"object {method} {response.status}")
            except (OSError, http.client.HTTPException):
                connection.close()
                self._note("")
        connection.close()

    def _note(self, key: str) -> None:
        with self._lock:
            self.answered[key] += bool(key)
            self.cut += not key


class Scrapes:
    """Scrapes of any worker, one after the other: no counter may go back."""

    def __init__(self, gateway: GatewayProcess) -> None:
        self.count = 0
        self.slowest = 0.0
        self.most_files = 0
        self.back: list[str] = []
        """What went back, in words."""
        self._gateway = gateway
        self._last: dict[str, float] = {}
        (self._folder,) = MEMORY.glob(f"amazin-metrics-{gateway.process.pid}-*")

    def run(self, load: Load) -> None:
        """Scrape until the load is over."""
        while not load.is_over.wait(0.02):
            # A worker that is killed breaks the connection.
            with suppress(OSError, http.client.HTTPException):
                self.look()

    def look(self) -> dict[str, float]:
        """Scrape once."""
        began = time.monotonic()
        answer = self._gateway.ask("GET", "/metrics")
        self.slowest = max(self.slowest, time.monotonic() - began)
        assert answer.status == 200, answer.body
        values = values_of(answer.body.decode())
        self.back += [
            f"{key}: {before} -> {values.get(key)}"
            for key, before in self._last.items()
            if values.get(key, -1.0) < before
        ]
        self._last = {
            key: value
            for key, value in values.items()
            if key.partition(" ")[0].endswith(GROWING)
        }
        self.most_files = max(self.most_files, len(list(self._folder.iterdir())))
        self.count += 1
        return values


class Trouble:
    """Kills, stops and replaces workers as the requests go on."""

    def __init__(self, gateway: GatewayProcess, kinds: dict[signal.Signals, int]):
        self.done = Counter[str]()
        self._gateway = gateway
        self._kinds = kinds
        self._next = dict(kinds)

    def run(self, load: Load) -> None:
        """Do so until the load is over."""
        while not load.is_over.wait(0.02):
            for kind, every in self._kinds.items():
                if load.count >= self._next[kind]:
                    self._next[kind] = load.count + every
                    self._send(kind)

    def _send(self, kind: signal.Signals) -> None:
        master, workers = self._gateway.process.pid, self._gateway.workers()
        with suppress(ProcessLookupError):
            if kind == signal.SIGHUP:
                os.kill(master, kind)
            elif workers:
                os.kill(workers[0], kind)
        self.done[kind.name] += 1


def descriptors(gateway: GatewayProcess) -> int:
    """Return the most descriptors of a counter's file that a worker has."""
    counts = [0]
    for pid in gateway.workers():
        links = Path(f"/proc/{pid}/fd").iterdir()
        targets = []
        for link in links:
            with suppress(OSError):
                targets.append(str(link.readlink()))
        counts.append(sum("amazin-metrics" in target for target in targets))
    return max(counts)


def play(
    gateway: GatewayProcess, requests: int, kinds: dict[signal.Signals, int]
) -> tuple[Load, Scrapes, Trouble]:
    """Send requests, scrape meanwhile, and make trouble."""
    load, scrapes = Load(gateway, requests), Scrapes(gateway)
    trouble = Trouble(gateway, kinds)
    with ThreadPoolExecutor(3) as pool:
        runs = [
            pool.submit(load.run),
            pool.submit(scrapes.run, load),
            pool.submit(trouble.run, load),
        ]
        for run in runs:
            run.result()
    return load, scrapes, trouble


def counted(scrapes: Scrapes) -> dict[str, float]:
    """Return what the gateway counted of objects."""
    found = those_of(scrapes.look(), "http_requests_total")
    return {key: value for key, value in found.items() if key.startswith("object ")}


def test_the_counters_are_what_the_clients_counted(gateway: GatewayProcess) -> None:
    load, scrapes, _ = play(gateway, REQUESTS // 4, {})
    load.answered["object PUT 201"] += 1  # before
    assert load.cut == 0
    # The last response is counted when it was sent.
    await_that(lambda: counted(scrapes) == load.answered)
    assert scrapes.back == []
    assert scrapes.most_files == KINDS * WORKERS


def test_no_counter_goes_back_while_workers_are_replaced(
    gateway: GatewayProcess,
) -> None:
    kinds = {
        signal.SIGKILL: KILLS_EVERY,
        signal.SIGHUP: RELOADS_EVERY,
        signal.SIGTERM: STOPS_EVERY,
    }
    before = descriptors(gateway)
    load, scrapes, trouble = play(gateway, REQUESTS, kinds)
    gateway.wait()
    await_that(lambda: len(gateway.workers()) == WORKERS)
    found = counted(scrapes)
    answered = load.answered.total() + 1
    print(
        f"{answered} answered, {load.cut} cut, {sum(found.values()):.0f} counted;",
        f"{scrapes.count} scrapes, slowest {scrapes.slowest:.3f} s;",
        f"{scrapes.most_files} files, {before} -> {descriptors(gateway)} descriptors;",
        dict(trouble.done),
    )
    assert scrapes.back == []
    assert scrapes.count > 20
    assert min(trouble.done.values()) >= 1
    # Of a worker that is killed: a response that was sent may not be counted any more.
    unsure = trouble.done["SIGKILL"] * CLIENTS
    assert answered - unsure <= sum(found.values()) <= answered + load.cut
    assert scrapes.most_files <= 2 * KINDS * WORKERS
    # A file that has doubled is mapped once more.
    assert descriptors(gateway) <= before + KINDS
    # It is shown once a second.
    await_that(lambda: scrapes.look()["http_requests_in_flight"] <= 1)
    with closing(gateway.connect()) as connection:
        connection.request("GET", "/health")
        assert connection.getresponse().read()


def test_a_reload_may_switch_metrics_on_and_off(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    settings = {"DISCOVERY": "folders", "DATA_DIR": str(tmp_path / "data")}
    settings |= {"WORKERS": str(WORKERS), "CONFIG": str(config)}
    config.write_text("metrics: false\n")
    with GatewayProcess(tmp_path, settings) as gateway:

        def workers() -> list[str]:
            """Return those that count; none, if a worker without metrics answers."""
            with suppress(OSError, http.client.HTTPException):
                answer = gateway.ask("GET", "/metrics")
                if answer.status == 200:
                    found = values_of(answer.body.decode())
                    return sorted(those_of(found, "worker_loop_lag_seconds"))
            return []

        assert workers() == []
        for count in (WORKERS, 0, WORKERS):
            is_on = "true" if count else "false"
            config.write_text(f"metrics: {is_on}\n")
            gateway.process.send_signal(signal.SIGHUP)
            await_that(lambda count=count: len(workers()) == count)
        gateway.stop()
