"""`/status` says how the cluster is; it neither waits for a node nor lists one."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest

from amazin.api.services import Services
from amazin.api.status import ROUTES
from amazin.cluster.cluster import Cluster
from amazin.cluster.repair_results import RepairResult, RepairRun, write_repair
from amazin.errors import NodeFullError
from amazin.membership.membership import Membership
from amazin.metrics.metrics import Metrics
from amazin.metrics.rates import Rates
from amazin.model.bodies import HeldBody
from amazin.model.objects import ObjectName
from amazin.nodes.interface import Node
from amazin.repair.report import Options
from amazin.repair.schedule import Job, run
from amazin.settings.settings import Settings
from amazin.status.refreshed import Refreshed
from amazin.status.viewer import Viewer
from amazin.web.spool import SpoolRoom
from gateway import Gateway
from tests.support.app import FixedMembership, call, make_app
from tests.support.world import HEADERS, World


def app_of(world: World) -> Any:
    return make_app(membership=world.membership)


def test_a_new_cluster() -> None:
    found = call(make_app(), "GET", "/status").json
    assert set(found["gateway"]) == {"version", "uptimeSeconds", "workers"}
    assert [node["name"] for node in found["nodes"]] == ["node-1", "node-2", "node-3"]
    assert {node["state"] for node in found["nodes"]} == {"up"}
    assert {node["due"] for node in found["nodes"]} == {1 / 3}
    assert found["roster"]["isSettled"]
    assert (found["repair"], found["check"]) == (None, None)
    assert found["problems"] == []
    assert found["rates"] is None


def test_what_all_workers_did_in_the_last_minute() -> None:
    class Counting:
        def rates(self) -> Rates:
            return Rates(59.96, 2.345, 0.5, 1000, 0)

    services = Services(
        Cluster(FixedMembership({})),
        Settings(),
        SpoolRoom("", 1000),
        metrics=cast("Metrics", Counting()),
    )
    app = Gateway(ROUTES, services)
    assert call(app, "GET", "/status").json["rates"] == {
        "seconds": 60.0,
        "requests": 2.35,
        "failures": 0.5,
        "receivedBytes": 1000,
        "sentBytes": 0,
    }


def test_what_repair_found_is_shown_with_what_lies_on_the_nodes() -> None:
    world = World(2)
    for number in range(6):
        name = ObjectName("store", f"key{number}")
        world.cluster.put(name, HeldBody(b"hello"), HEADERS)
    job = Job(world.membership, Options(workers=1), 0.1)
    run(job, world.membership.fresh_snapshot(), job.options)
    found = call(app_of(world), "GET", "/status").json
    assert sum(node["objects"] for node in found["nodes"]) == 12
    assert sum(node["bytes"] for node in found["nodes"]) == 60
    assert sum(node["share"] for node in found["nodes"]) == pytest.approx(1)
    last = found["repair"]["last"]
    assert (last["objects"], last["isWell"], last["waiting"]) == (6, True, 0)
    assert found["repair"]["left"] == {
        "underReplicated": 0,
        "misplaced": 0,
        "unrepairable": 0,
        "waiting": 0,
    }
    assert found["repair"]["lastSuccess"] == last["ended"]
    assert found["repair"]["progress"] is None
    assert not found["repair"]["isRunning"]


def test_a_run_that_goes_on_is_shown_beside_the_last_one() -> None:
    world = World(2)
    last = RepairRun(1, 2 * 10**9, objects=9)
    now = RepairRun(3 * 10**9, objects=4)
    result = RepairResult(now, time.time_ns(), last)
    write_repair(world.cluster, result)
    repair = call(app_of(world), "GET", "/status").json["repair"]
    assert repair["isRunning"]
    assert repair["progress"]["objects"] == 4
    assert (repair["expectedObjects"], repair["last"]["objects"]) == (9, 9)
    assert repair["progress"]["began"] == "1970-01-01T00:00:03Z"


def test_a_node_that_is_not_up_says_why() -> None:
    full = FrozenNode("node-1")
    full.goes_on.set()
    found = call(make_app([cast(Node, full)]), "GET", "/status").json
    [node] = found["nodes"]
    assert (node["state"], node["cause"]) == ("full", "thawed")


class FrozenNode:
    """A node whose checks hang, as on a disk that does not answer."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.goes_on = threading.Event()
        self.checks = 0

    def start_check(self) -> Any:
        self.checks += 1
        self.goes_on.wait(60)
        raise NodeFullError("thawed")

    start_head = start_get = lambda self, *args, **options: self.start_check()

    def close(self) -> None:
        """Nothing is open."""


def test_fifty_viewers_of_a_frozen_node_are_answered_and_check_it_once() -> None:
    node = FrozenNode("node-1")
    app = make_app([cast(Node, node)])
    try:
        began = time.monotonic()
        with ThreadPoolExecutor(50) as pool:
            answers = list(
                pool.map(lambda _: call(app, "GET", "/status").json, range(50))
            )
        took = time.monotonic() - began
        for found in answers:
            assert found["nodes"][0]["cause"] == "the node is silent"
            assert found["repair"] is None
        # One check, and one request for what repair found.
        assert node.checks == 2
        assert took < 5
    finally:
        node.goes_on.set()


def test_what_repair_found_is_for_metrics_too() -> None:
    world = World(1)
    services = Services(world.cluster, Settings(), SpoolRoom("nowhere", 0))
    found = services.viewer.findings(30)
    assert found
    assert (found.repair, found.check, found.rotten) == (None, None, 0)
    write_repair(world.cluster, RepairResult(RepairRun(1)))
    assert services.viewer.findings(30) == found  # for a while


def test_what_can_not_be_read_anew_is_shown_with_its_age() -> None:
    now = [0.0]
    answers = iter([1])

    def call_() -> int:
        return next(answers)  # the second call fails

    value = Refreshed(call_, 5.0, lambda: now[0])
    value.begin()
    assert value.wait(30) == 1
    for seconds in (4.0, 6.0):
        now[0] = seconds
        value.begin()
        assert value.wait(30) == 1
        assert value.age_seconds == seconds


def test_nobody_waits_longer_than_he_wants() -> None:
    membership = FixedMembership([cast(Node, node := FrozenNode("a"))])
    viewer = Viewer(Cluster(cast(Membership, membership)))
    try:
        assert viewer.findings(0.01) is None
    finally:
        node.goes_on.set()


def test_who_waits_never_meets_a_thread_that_has_not_begun(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refreshed = Refreshed(lambda: 1, 100)
    start = threading.Thread.start

    def start_late(thread: threading.Thread) -> None:
        """Let another one wait before the thread begins, as gevent does."""
        refreshed.wait(0)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_late)
    refreshed.begin()
    assert refreshed.wait(30) == 1
