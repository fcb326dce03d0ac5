"""Two gateways over real nodes that fail, and a Prometheus: its numbers are true.

They are held against what the clients counted.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.gateway_process import GatewayProcess, nodes_setting
from tests.support.paths import PROJECT
from tests.support.prometheus import (
    RULES,
    TOKEN,
    PrometheusServer,
    Query,
    board_queries,
    copied,
)
from tests.support.servers import MinioServer, find_binary
from tests.support.waiting import PATIENCE_SECONDS, await_that

pytestmark = pytest.mark.integration

KEYS = [f"key{n}" for n in range(12)]
BODY = bytes(10_000)
EMPTY = {"Alerts A", "Broken and denied A"}
"""Queries of the board without an answer: nothing fires, no response broke off."""
ACCESS = {
    "anonymous": [{"allow": ["read", "write", "delete"], "ids": True}],
    "principals": {
        "prometheus": {
            "tokens": [{"sha256": hashlib.sha256(TOKEN.encode()).hexdigest()}],
            "grants": [{"allow": ["metrics"]}],
        }
    },
}


class Clients:
    """Ask the gateways in turns, and count the answers."""

    def __init__(self, gateways: list[GatewayProcess]) -> None:
        self.gateways = gateways
        self.counts: Counter[tuple[str, str]] = Counter()
        """By method and status."""
        self._next = cycle(gateways)

    def ask(self, method: str, keys: list[str]) -> set[int]:
        """Ask for each of the keys; returns the statuses."""
        statuses = set()
        for key in keys:
            body = BODY if method == "PUT" else None
            answer = next(self._next).ask(method, f"/object/{key}", body)
            self.counts[method, f"{answer.status}"] += 1
            statuses.add(answer.status)
        return statuses

    def failed(self) -> int:
        """Return how many answers were 5xx."""
        return sum(n for (_, status), n in self.counts.items() if status >= "500")


class Lab:
    """All that runs."""

    def __init__(
        self,
        settings: dict[str, str],
        nodes: list[MinioServer],
        clients: Clients,
        prometheus: PrometheusServer,
    ) -> None:
        self.settings = settings
        self.nodes = nodes
        self.clients = clients
        self.prometheus = prometheus

    def number(self, query: str) -> float:
        """Return the number that a query has now; 0.0: none."""
        samples = self.prometheus.query(query)
        return float(samples[0]["value"][1]) if samples else 0.0

    def counted(self) -> Counter[tuple[str, str]]:
        """Return the answers by method and status, as Prometheus has them."""
        query = 'sum by (method, status) (amazin_http_requests_total{api="object"})'
        return Counter(
            {
                (one["metric"]["method"], one["metric"]["status"]): int(
                    float(one["value"][1])
                )
                for one in self.prometheus.query(query)
            }
        )

    def firing(self) -> set[tuple[str, str]]:
        """Return the alerts that fire, and for which node."""
        alerts = self.prometheus.ask("alerts")["alerts"]
        return {
            (one["labels"]["alertname"], one["labels"].get("node", ""))
            for one in alerts
            if one["state"] == "firing"
        }


@pytest.fixture(scope="module")
def lab(
    new_minio: Callable[[], MinioServer], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Lab]:
    """Three nodes, two gateways of two workers, and a Prometheus that scrapes them."""
    folder = tmp_path_factory.mktemp("scraped")
    nodes = [new_minio() for _ in range(3)]
    for node in nodes:
        node.start()
    specs = [node.spec(f"node-{n}") for n, node in enumerate(nodes, 1)]
    access = folder / "access.yaml"
    access.write_text(yaml.safe_dump(ACCESS))
    settings = {
        "DISCOVERY": "static",
        "NODES": nodes_setting(specs),
        "REPLICAS": "2",
        "WORKERS": "2",
        "REFRESH_SECONDS": "1",
        "ACCESS_FILE": f"{access}",
    }
    with ExitStack() as stack:
        gateways = [
            stack.enter_context(GatewayProcess(folder, settings)) for _ in range(2)
        ]
        targets = [f"127.0.0.1:{gateway.port}" for gateway in gateways]
        config = hurried(copied(folder / "config", targets))
        binary = find_binary("PROMETHEUS", "prometheus")
        prometheus = PrometheusServer(binary, folder / "data", config)
        stack.callback(prometheus.stop)
        prometheus.start()
        yield Lab(settings, nodes, Clients(gateways), prometheus)


def hurried(config: Path) -> Path:
    """Have each alert fire after two seconds; returns the configuration."""
    rules = config.parent / RULES.name
    whole = yaml.safe_load(rules.read_text())
    for rule in whole["groups"][0]["rules"]:
        rule["for"] = "2s"
    rules.write_text(yaml.safe_dump(whole))
    return config


def repair(settings: dict[str, str]) -> None:
    """Run `amazin repair`."""
    subprocess.run(
        [sys.executable, "-m", "amazin.cli", "repair"],
        env={**os.environ, **settings, "ACCESS_FILE": ""},
        cwd=PROJECT,
        check=True,
        capture_output=True,
        timeout=PATIENCE_SECONDS,
    )


@pytest.fixture(scope="module")
def history(lab: Lab) -> Lab:
    """The lab after one node was killed, then another was frozen, and both came back.

    What Prometheus says meanwhile is asserted on the way.
    """
    clients, nodes = lab.clients, lab.nodes
    assert clients.ask("PUT", KEYS) <= {200, 201}
    clients.ask("GET", [*KEYS, "nowhere"])
    for gateway in clients.gateways:
        assert gateway.ask("GET", "/metrics").status == 401
    repair(lab.settings)
    await_that(lambda: lab.number("sum(amazin_node_up)") == 6)
    nodes[1].kill()
    clients.ask("GET", KEYS * 2)
    await_that(lambda: ("AmazinNodeDown", "node-2") in lab.firing())
    assert lab.number("count(max by (node) (amazin_node_up) == 0)") == 1
    nodes[2].freeze()
    try:
        assert clients.ask("GET", KEYS[:4]) & {503}
        await_that(lambda: lab.number('sum(amazin_node_up{node="node-3"})') == 0)
        clients.ask("PUT", KEYS[:2])
        ratio = 'sum(rate(amazin_http_requests_total{status=~"5.."}[10s]))'
        await_that(lambda: lab.number(ratio) > 0)
    finally:
        nodes[2].thaw()
    nodes[1].start()
    await_that(lambda: lab.number("sum(amazin_node_up)") == 6)
    await_that(lambda: not any(name == "AmazinNodeDown" for name, _ in lab.firing()))
    assert clients.ask("DELETE", KEYS[:3]) == {204}
    await_that(lambda: lab.number("count(amazin_node_bytes)") == 2 * len(nodes))
    await_that(lambda: lab.counted().total() >= clients.counts.total())
    return lab


def test_answers_are_those_that_clients_got(history: Lab) -> None:
    assert history.counted() == history.clients.counts


def test_quorum_failures_are_the_refusals_that_clients_got(history: Lab) -> None:
    refused = history.number("sum(amazin_quorum_failures_total)")
    assert refused == history.clients.failed() > 0


def test_failovers_are_some_of_the_reads_while_a_node_was_away(history: Lab) -> None:
    failovers = history.number("sum(amazin_read_failovers_total)")
    assert 0 < failovers <= history.clients.counts["GET", "200"]


def test_bytes_are_those_that_clients_sent_and_got(history: Lab) -> None:
    counts = history.clients.counts
    stored = counts["PUT", "200"] + counts["PUT", "201"]
    received = history.number("sum(amazin_http_received_bytes_total)")
    assert stored <= received / len(BODY) <= stored + counts["PUT", "503"]
    to_nodes = history.number("sum(amazin_node_sent_bytes_total)")
    assert to_nodes >= 2 * stored * len(BODY)
    from_nodes = history.number("sum(amazin_node_received_bytes_total)")
    assert from_nodes >= counts["GET", "200"] * len(BODY)


@pytest.mark.parametrize(
    ("node", "result"), [("node-2", "broken"), ("node-3", "silent")]
)
def test_nodes_have_the_results_of_how_they_failed(
    history: Lab, node: str, result: str
) -> None:
    by_result = "sum by (node, result) (amazin_node_requests_total)"
    found = {
        (one["metric"]["node"], one["metric"]["result"])
        for one in history.prometheus.query(by_result)
    }
    assert (node, result) in found
    assert ("node-1", result) not in found


def test_nodes_hold_what_repair_counted(history: Lab) -> None:
    held = 'sum(max by (node) (amazin_node_objects{kind="objects"}))'
    size = "sum(max by (node) (amazin_node_bytes))"
    assert history.number(held) == 2 * len(KEYS)
    assert history.number(size) == 2 * len(KEYS) * len(BODY)


def test_refused_scrapes_are_counted(history: Lab) -> None:
    denied = 'sum(amazin_access_denied_total{reason="NoCredentials"})'
    assert history.number(denied) == len(history.clients.gateways)


@pytest.mark.parametrize("query", board_queries(), ids=lambda query: query.owner)
def test_each_query_of_the_board_has_an_answer(history: Lab, query: Query) -> None:
    samples: list[Any] = history.prometheus.query(query.text)
    assert samples or query.owner in EMPTY
