"""The facts: nodes, their roster, what repair has found, the access file."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from amazin.cluster.check_results import CheckResult
from amazin.cluster.repair_results import Copies, Left, RepairResult, RepairRun
from amazin.errors import NodeUnreachableError
from amazin.membership.member import Member
from amazin.membership.roster import NodeSet, Roster
from amazin.membership.snapshot import Snapshot
from amazin.membership.transitions import RosterView
from amazin.metrics.facts import Facts, Known
from amazin.model.node_specs import NodeSpec
from amazin.nodes.interface import Node
from amazin.release import release
from amazin.status.viewer import Findings
from tests.support.cleanup import closed_later
from tests.support.fakes import FakeDisk, FakeNode
from tests.support.scrapes import those_of, values_of

SECOND = 10**9


def member(name: str, endpoint: str | None = "http://x", weight: float = 1.0) -> Member:
    spec = NodeSpec(name, endpoint, weight=weight)
    node = cast(Node, FakeNode(spec, FakeDisk()))
    return closed_later(Member(spec, node, first_pause_seconds=600))


def snapshot_of(*members: Member, roster: Roster | None = None) -> Snapshot:
    by_name = {member.name: member for member in members}
    view = RosterView(dict.fromkeys(by_name, roster)) if roster else RosterView({})
    return Snapshot(by_name, view, "", replicas=2)


def roster_of(weights: dict[str, float], **options: Any) -> Roster:
    return Roster("cluster", 7, NodeSet(2, weights, epoch=1), **options)


def shown(
    snapshot: Snapshot, findings: Findings | None = None, **known: Any
) -> dict[str, float]:
    """Return what a scrape shows of this."""
    options = {"shares": {}, "is_access_file_good": None, **known}
    registry = CollectorRegistry()
    registry.register(Facts(Known(snapshot, findings=findings, **options)))
    return values_of(generate_latest(registry).decode())


def test_a_node_is_up_unless_it_is_skipped_lost_or_away() -> None:
    up, skipped, lost = member("a"), member("b"), member("c")
    skipped.note_failure(NodeUnreachableError("refused"))
    lost.is_lost = True
    away = member("d", None)
    values = shown(snapshot_of(up, skipped, lost, away))
    assert those_of(values, "node_up") == {"a": 1, "b": 0, "c": 0, "d": 0}


def test_a_weight_is_that_of_placement() -> None:
    members = member("a", weight=3), member("new", weight=5), member("gone", None)
    values = shown(snapshot_of(*members))
    assert those_of(values, "node_weight")["new"] == 5
    roster = roster_of({"a": 2.0, "gone": 1.0})
    values = shown(snapshot_of(*members, roster=roster))
    assert those_of(values, "node_weight") == {"a": 2, "new": 0, "gone": 1}


def test_a_node_that_was_forgotten_is_not_shown_unless_it_is_there() -> None:
    roster = roster_of({"a": 1.0, "b": 1.0}, forgotten=("b", "c"))
    members = member("a"), member("b", None), member("c")
    values = shown(snapshot_of(*members, roster=roster))
    assert those_of(values, "node_up") == {"a": 1, "c": 1}


def test_shares_are_those_that_are_known() -> None:
    assert not those_of(shown(snapshot_of()), "node_expected_ratio")
    values = shown(snapshot_of(member("a")), shares={"a": 0.25, "b": 0.75})
    assert those_of(values, "node_expected_ratio") == {"a": 0.25, "b": 0.75}


def test_before_a_roster_is_known() -> None:
    values = shown(snapshot_of(member("a")))
    assert values["roster_generation"] == values["roster_settled"] == 0
    assert values["roster_age_seconds"] == math.inf
    assert values["replicas"] == 2
    assert values["discovery_last_success_timestamp_seconds"] == 0


def test_the_roster_and_when_it_was_confirmed() -> None:
    roster = roster_of({"a": 1.0})
    known = snapshot_of(member("a"), roster=roster)
    known = replace(known, confirmed_at=time.monotonic() - 10, found_at=1234.5)
    values = shown(known)
    assert values["roster_generation"] == 7
    assert values["roster_settled"] == 1
    assert 10 <= values["roster_age_seconds"] < 100
    assert values["discovery_last_success_timestamp_seconds"] == 1234.5
    moving = replace(roster, next=NodeSet(3, {"a": 1.0}, epoch=2))
    values = shown(snapshot_of(member("a"), roster=moving))
    assert (values["roster_settled"], values["replicas"]) == (0, 3)


def test_a_moment_that_is_yet_to_come_is_no_age_below_zero() -> None:
    known = replace(snapshot_of(), confirmed_at=time.monotonic() + 100)
    assert shown(known)["roster_age_seconds"] == 0


def test_repair_that_could_not_be_read_is_not_shown() -> None:
    assert not [name for name in shown(snapshot_of()) if name.startswith("repair")]


def test_repair_that_never_ran_has_zeros() -> None:
    values = shown(snapshot_of(), Findings(None, None))
    found = {key: value for key, value in values.items() if key.startswith("repair")}
    assert len(found) == 9
    assert {*found.values()} == {0}
    assert not [name for name in values if name.startswith("node_objects")]


def test_what_the_last_run_found() -> None:
    # What it came upon is not what it left.
    run = RepairRun(5 * SECOND, 8 * SECOND, 100, under_replicated=7, misplaced=8)
    left = Left(under_replicated=1, misplaced=2, unrepairable=3)
    nodes = {"a": Copies(10, 2000, 4)}
    result = RepairResult(run, last=run, well_ns=4 * SECOND, nodes=nodes, left=left)
    check = CheckResult(1, damaged=5, mended=2)
    values = shown(snapshot_of(), Findings(result, check))
    assert {
        key.removeprefix("repair_"): value
        for key, value in values.items()
        if key.startswith("repair")
    } == {
        "running": 0,
        "last_run_timestamp_seconds": 5,
        "last_success_timestamp_seconds": 4,
        "duration_seconds": 3,
        "looked_at_objects": 100,
        "under_replicated_objects": 1,
        "misplaced_objects": 2,
        "unrepairable_objects": 3,
        "rotten_copies": 3,
    }
    assert values["node_objects objects a"] == nodes["a"].objects
    assert values["node_objects tombstones a"] == nodes["a"].tombstones
    assert those_of(values, "node_bytes") == {"all a": nodes["a"].bytes}


def test_a_run_that_goes_on_shows_the_findings_of_the_last_whole_one() -> None:
    now = time.time_ns()
    last = RepairRun(5 * SECOND, 8 * SECOND, objects=100)
    run = RepairRun(now - SECOND, objects=30)
    left = Left(misplaced=2)
    result = RepairResult(run, written_ns=now, last=last, left=left)
    values = shown(snapshot_of(), Findings(result, None))
    assert values["repair_running"] == 1
    assert values["repair_looked_at_objects"] == 30
    assert values["repair_misplaced_objects"] == 2
    assert values["repair_duration_seconds"] == 3


def test_a_first_run_that_goes_on_has_no_length_below_zero() -> None:
    now = time.time_ns()
    run = RepairRun(now - SECOND, objects=30)
    values = shown(snapshot_of(), Findings(RepairResult(run, written_ns=now), None))
    assert values["repair_duration_seconds"] == 0
    assert values["repair_looked_at_objects"] == 30


def test_a_run_that_was_killed_is_not_running() -> None:
    last = RepairRun(1, 2, objects=100)
    result = RepairResult(RepairRun(5 * SECOND, objects=30), 6 * SECOND, last)
    values = shown(snapshot_of(), Findings(result, None))
    assert values["repair_running"] == 0
    assert values["repair_looked_at_objects"] == 100


@pytest.mark.parametrize(("is_good", "shows"), [(None, None), (True, 1), (False, 0)])
def test_the_access_file(is_good: bool | None, shows: float | None) -> None:
    values = shown(snapshot_of(), is_access_file_good=is_good)
    assert values.get("access_file_last_reload_successful") == shows


def test_the_version() -> None:
    assert shown(snapshot_of())[f"build_info {release()}"] == 1


def test_names_of_nodes_may_be_anything() -> None:
    name = 'a"b\\c\nd'
    assert those_of(shown(snapshot_of(member(name))), "node_up") == {name: 1}
