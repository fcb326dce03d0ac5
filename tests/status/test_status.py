"""What `amazin status` shows of the nodes, on real folders and on scripted nodes."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from io import StringIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from amazin.cli.status_view import (
    LESS_IMPORTANT,
    as_json,
    as_table,
    balance,
    fitting_table,
    remarks,
    repair_lines,
    sentence,
)
from amazin.cluster.cluster import Cluster
from amazin.cluster.repair_results import (
    Left,
    RepairResult,
    RepairRun,
    read_repair,
    write_repair,
)
from amazin.errors import NodeError
from amazin.membership.member import Member
from amazin.membership.membership import Membership
from amazin.membership.roster import NodeSet, Roster
from amazin.membership.states import CHECK_SECONDS, check
from amazin.membership.transitions import DesiredNodes
from amazin.model.bodies import HeldBody
from amazin.model.node_specs import NodeSpec
from amazin.model.objects import ROSTER_NAME, Label, ObjectName, Stamp
from amazin.model.stored_names import PARTS, marker_name
from amazin.nodes.build import node_builder
from amazin.repair.report import Options
from amazin.repair.schedule import Job
from amazin.repair.schedule import run as run_repair
from amazin.settings.settings import Settings
from amazin.status.counts import Count, Counting
from amazin.status.nodes import (
    NodeStatus,
    due_shares,
    role,
    statuses,
)
from amazin.status.observer import Counted, Observer, Status
from tests.support.cleanup import closed_later
from tests.support.fakes import FakeDiscovery, FakeDisk, FakeNode
from tests.support.gateway_process import nodes_setting
from tests.support.lab import KEYS, Lab, read_terminal, run
from tests.support.servers import MinioServer
from tests.support.waiting import PATIENCE_SECONDS
from tests.support.world import World

HOUR_NS = 3600 * 10**9


def shown(lab: Lab, *options: str) -> dict[str, Any]:
    """Return what `amazin status --json` prints; by default it counts."""
    found: dict[str, Any] = json.loads(
        lab.amazin("status", "--json", *(options or ["--count"])).stdout
    )
    return found


def by_name(found: dict[str, Any], field: str) -> dict[str, Any]:
    return {node["node"]: node[field] for node in found["nodes"]}


def rows(output: str) -> dict[str, list[str]]:
    """Return the cells of each row of the table, by the first."""
    lines = output.splitlines()[1:]
    cells = [re.split("  +", line.strip()) for line in lines if "  " in line]
    return {row[0]: row[1:] for row in cells}


# A cluster as it is


def test_each_node_has_what_lies_on_it(tmp_path: Path) -> None:
    lab = Lab(tmp_path, replicas=2)
    lab.put(*KEYS)
    result = lab.amazin("status", "--count")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines()[0] == (
        "3 nodes: 3 up. 2 copies of each object. The set of nodes is settled."
    )
    held = {name: len(keys) for name, keys in lab.held().items()}
    table = rows(result.stdout)
    assert {name: int(table[name][3]) for name in held} == held
    for name, count in held.items():
        assert table[name][:3] == ["up", "1", "settled"]
        counted = [f"{5 * count} bytes", "0", "0", *percents(count)]
        assert table[name][4:9] == counted
        assert re.fullmatch(r"[\d.]+ (kB|MB|GB|TB|PB)", table[name][9])
        assert table[name][10:] == [f"file://{tmp_path}/{name}"]
    assert table["total"] == ["40", "200 bytes", "0", "0"]
    assert re.search(r"^Balance: from -\d.*%.*to \+\d.*placement", result.stdout, re.M)


def percents(count: int) -> list[str]:
    """Return share and due of one of three nodes with so many of 40 copies."""
    return [f"{count / 40:.1%}", "33.3%"]


def test_json_says_the_same(tmp_path: Path) -> None:
    lab = Lab(tmp_path, replicas=2)
    lab.put(*KEYS)
    found = shown(lab)
    assert found["is_well"]
    assert (found["replicas"], found["is_settled"], found["problems"]) == (2, True, [])
    held = {name: len(keys) for name, keys in lab.held().items()}
    counts = by_name(found, "count")
    assert {name: count["objects"] for name, count in counts.items()} == held
    assert by_name(found, "share") == {n: count / 40 for n, count in held.items()}
    assert by_name(found, "due") == dict.fromkeys(held, 1 / 3)
    addresses = {name: f"file://{tmp_path}/{name}" for name in held}
    assert by_name(found, "address") == addresses
    assert found["total"] == {
        "objects": 40,
        "bytes": 200,
        "tombstones": 0,
        "markers": 0,
        "parts": 0,
        "damaged": 0,
    }


def test_what_is_no_object_is_counted_apart(tmp_path: Path) -> None:
    lab = Lab(tmp_path, replicas=2)
    lab.put("a", "b", marker_name("photos").key, f"{PARTS}0123/000001")
    lab.delete("a")
    total_ = shown(lab)["total"]
    assert {key: total_[key] for key in ("objects", "tombstones")} == {
        "objects": 2,
        "tombstones": 2,
    }
    assert (total_["markers"], total_["parts"]) == (2, 2)
    cells = rows(lab.amazin("status", "--count").stdout)["total"]
    assert (cells[0], cells[2:]) == ("2", ["2", "4"])


def test_where_nothing_is_stored_all_is_well(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    result = lab.amazin("status", "--count")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("3 nodes: 3 up. Nothing is stored yet.\n")
    assert shown(lab)["replicas"] is None


def test_nothing_is_counted_unless_it_is_asked_for(tmp_path: Path) -> None:
    lab = Lab(tmp_path, replicas=2)
    lab.put(*KEYS)
    found = shown(lab, "--fast")
    assert found["is_well"]
    assert set(by_name(found, "count").values()) == {None}
    assert (found["total"], found["repair"]) == (None, None)
    result = lab.amazin("status")
    table = rows(result.stdout)
    assert table["node-1"][:4] == ["up", "1", "settled", "33.3%"]
    assert "total" not in table
    assert "`amazin repair` has not run yet" in result.stdout
    assert lab.amazin("status", "--fast").stdout == result.stdout
    assert lab.amazin("status", "--fast", "--count").exit_code == 2


def test_what_repair_counted_and_left_is_shown_without_a_listing() -> None:
    world = World(2)
    for number in range(6):
        world.cluster.put(ObjectName("store", f"k{number}"), HeldBody(b"hello"), {})
    later = repaired(world) + 3 * HOUR_NS + 10**9
    for disk in world.disks.values():
        disk.before["list"] = lambda: (_ for _ in ()).throw(NodeError("listed"))
    observer = Observer(world.membership, None, clock_ns=lambda: later)
    found = observer.look()
    assert found.is_well
    assert sum(count.count.objects for count in found.counted.values()) == 12
    ages = [count.age_seconds or 0 for count in found.counted.values()]
    assert ages == pytest.approx([3 * 3600] * len(world.disks), rel=0.01)
    assert any(line.startswith("Balance: ") for line in remarks(found))
    assert remarks(found)[1:] == [
        "Last repair, ended 3 hours ago: looked at 6 objects, made 0 copies (0 bytes); "
        "0 had too few copies, 0 were misplaced.",
        "Left when all objects were looked at, 3 hours ago: 0 with too few copies, "
        "0 misplaced, 0 without a whole copy, 0 waiting for another run.",
    ]
    told = as_json(found)["repair"]
    assert told["left"] == asdict(Left())
    assert (told["last"]["objects"], told["age_seconds"]) == (6, 3 * 3600 + 1)


def test_what_repair_left_is_a_problem_and_misplaced_objects_are_none() -> None:
    world = World(2)
    world.put(b"hello")
    ended = repaired(world)
    result = read_repair(world.cluster)
    assert result
    for left, is_well in (
        (Left(misplaced=3), True),
        (Left(under_replicated=1), False),
        (Left(unrepairable=1, waiting=1), False),
    ):
        write_repair(world.cluster, replace(result, left=left))
        assert Observer(world.membership, None).look().is_well == is_well
    assert Observer(world.membership, None).look().problems == [
        "The last repair left 0 objects with too few copies, 1 without a whole one, "
        "1 waiting for another run: `amazin repair` goes on"
    ]
    begun = RepairResult(RepairRun(ended, objects=2), ended, result.last)
    assert [line.split(",")[0] for line in repair_lines(begun, ended)] == [
        "A repair runs; it has looked at 2 of about 1 objects.",
        "Last repair",
    ]
    assert next(repair_lines(begun, ended + HOUR_NS)).endswith("not come to its end.")


def repaired(world: World) -> int:
    """Repair all objects; return when the run ended, in nanoseconds."""
    job = Job(world.membership, Options(workers=1), 0.1)
    run_repair(job, world.membership.fresh_snapshot(), job.options)
    result = read_repair(world.cluster)
    assert result and result.last
    return result.last.ended_ns


# Nodes that are not well


def test_a_node_that_is_away_is_named_and_the_others_are_counted(
    tmp_path: Path,
) -> None:
    lab = Lab(tmp_path, replicas=2)
    lab.put(*KEYS)
    held = {name: len(keys) for name, keys in lab.held().items()}
    lab.take_away("node-2")
    result = lab.amazin("status", "--count")
    assert result.exit_code == 1
    assert result.stdout.startswith("3 nodes: 2 up, 1 unreachable.")
    assert (
        result.stderr.splitlines()[-1] == "node-2: unreachable: the folder is not there"
    )
    assert "Balance" not in result.stdout
    found = shown(lab)
    assert not found["is_well"]
    assert by_name(found, "state")["node-2"] == "unreachable"
    assert by_name(found, "count")["node-2"] is None
    assert by_name(found, "count")["node-1"]["objects"] == held["node-1"]
    assert set(by_name(found, "share").values()) == {None}
    assert rows(result.stdout)["node-2"] == [
        *("unreachable", "1", "settled", "?", "33.3%"),
        f"file://{tmp_path}/node-2",
    ]


def test_a_node_that_lost_its_disk_is_named(tmp_path: Path) -> None:
    lab = Lab(tmp_path, replicas=2)
    lab.put(*KEYS)
    lab.wipe("node-3")
    result = lab.amazin("status", "--count")
    assert result.exit_code == 1
    assert "1 lost" in result.stdout.splitlines()[0]
    last = result.stderr.splitlines()[-1]
    assert last.startswith(
        "node-3: lost: it answers with an empty disk; `amazin repair`"
    )
    found = shown(lab)
    assert by_name(found, "state")["node-3"] == "lost"
    assert by_name(found, "count")["node-3"]["objects"] == 0
    assert by_name(found, "share")["node-3"] == 0


def test_a_node_whose_index_is_garbage_is_not_well(tmp_path: Path) -> None:
    lab = Lab(tmp_path, replicas=2)
    lab.put(*KEYS)
    for file in lab.path("node-1").glob("index.sqlite*"):
        file.write_bytes(b"garbage" * 1000)
    result = lab.amazin("status", "--count")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith("node-1: ")
    assert by_name(shown(lab), "state")["node-1"] == "failing"


def test_too_few_nodes_to_know_anything_are_told(tmp_path: Path) -> None:
    lab = Lab(tmp_path, replicas=2)
    lab.put("abc")
    for name in list(lab.specs):
        lab.path(name).rename(tmp_path / f"{name} away")
    result = lab.amazin("status", "--count")
    assert result.exit_code == 1
    assert result.stdout.startswith(
        "3 nodes: 3 unreachable. Too few nodes answer to know where objects are.\n"
    )


def test_where_no_node_is_found_nothing_is_well(tmp_path: Path) -> None:
    environ = {"DISCOVERY": "docker", "DOCKER_HOST": f"unix://{tmp_path}/no.sock"}
    result = run("status", environ=environ)
    assert result.exit_code == 1
    assert result.stdout.startswith("No storage node was found.\n")
    assert result.stderr.splitlines()[-1] == (
        "The list of nodes can't be read: The Docker daemon does not answer"
    )
    found = json.loads(run("status", "--json", environ=environ).stdout)
    assert (found["is_well"], found["nodes"]) == (False, [])


def test_a_node_without_a_copy_of_the_roster_that_can_be_read_is_unusable() -> None:
    world = World(2)
    world.disks["node-2"].store(ROSTER_NAME, b"garbage", Label(Stamp(9, 0)))
    world.membership.refresh()
    found = {n.name: n for n in statuses(world.membership.snapshot(), {})}
    assert found["node-2"].state == "unusable"
    assert "can't be read" in found["node-2"].problem
    assert [n for n, status in found.items() if not status.is_well] == ["node-2"]


def test_what_a_node_says_itself_is_told_of_one_that_is_unusable() -> None:
    world = World(2)
    world.put(b"hello")
    world.disks["node-2"].is_full = True
    world.disks["node-2"].store(ROSTER_NAME, b"garbage", Label(Stamp(9, 0)))
    world.member(world.disks["node-2"]).tried_at = -math.inf
    found = Observer(world.membership, None).look()
    assert found.problems == ["node-2: full: the node is full"]


def test_a_silent_node_is_not_waited_for() -> None:
    class Silent(FakeNode):
        def start_check(self) -> Any:
            return pending

    class Pending:
        asked_for, is_cancelled = 0.0, False

        def is_ready(self, timeout: float) -> bool:
            self.asked_for = timeout
            return False

        def cancel(self) -> None:
            self.is_cancelled = True

    pending = Pending()
    spec = NodeSpec("a", "http://a:1")
    failure = check(Member(spec, Silent(spec, FakeDisk())))
    assert (str(failure), failure and failure.state) == (
        "the node is silent",
        "unreachable",
    )
    assert (pending.asked_for, pending.is_cancelled) == (CHECK_SECONDS, True)


def test_a_full_node_is_shown_as_full() -> None:
    world = World(2)
    world.put(b"hello")
    world.disks["node-2"].is_full = True
    world.member(world.disks["node-2"]).tried_at = -math.inf
    found = Observer(world.membership, None).look()
    assert [node.state for node in found.nodes] == ["up", "full", "up"]
    (problem,) = found.problems
    assert problem == "node-2: full: the node is full"


def test_a_node_that_can_not_be_listed_is_not_well() -> None:
    world = World(2)
    world.put(b"hello")
    world.disks["node-2"].before["list"] = lambda: (_ for _ in ()).throw(
        NodeError("the disk has a bad sector")
    )
    counting = closed_later(Counting(world.membership.snapshot().members.get))
    observer = Observer(world.membership, counting)
    observer.look()
    assert counting.wait(PATIENCE_SECONDS)
    found = observer.look()
    assert not found.is_well
    assert found.problems == [
        "node-2: its objects can't be counted: the disk has a bad sector"
    ]
    assert balance(found) == ""


# The roster


@pytest.fixture
def changing(tmp_path: Path) -> Lab:
    """Four nodes with objects; discovery wants to change them, and no gateway knows."""
    lab = Lab(tmp_path, replicas=2, nodes=4)
    lab.put(*KEYS)
    lab.add("node-5")
    lab.add("node-2", weight=0)
    lab.add("node-3", weight=2)
    return lab


def test_what_is_to_change_is_shown_before_and_meanwhile(changing: Lab) -> None:
    lab = changing
    assert by_name(shown(lab, "--fast"), "roster") == {
        "node-1": "settled",
        "node-2": "to be drained",
        "node-3": "weight 1 to 2",
        "node-4": "settled",
        "node-5": "new",
    }
    lab.membership.refresh()
    result = lab.amazin("status")
    assert result.exit_code == 0
    assert "The set of nodes is changing" in result.stdout
    found = shown(lab, "--fast")
    assert by_name(found, "roster") == {
        "node-1": "settled",
        "node-2": "draining",
        "node-3": "weight 1 to 2",
        "node-4": "settled",
        "node-5": "joining",
    }
    due = by_name(found, "due")
    assert due["node-2"] == 0
    assert due["node-1"] < 0.27 < 0.3 < due["node-3"]


def test_what_has_changed_is_shown(changing: Lab) -> None:
    lab = changing
    lab.membership.refresh()
    assert lab.amazin("repair").exit_code == 0
    found = shown(lab)
    assert by_name(found, "roster")["node-2"] == "drained"
    assert by_name(found, "count")["node-2"]["objects"] == 0
    assert by_name(found, "weight") == {
        "node-1": 1,
        "node-2": 0,
        "node-3": 2,
        "node-4": 1,
        "node-5": 1,
    }


def test_a_node_that_was_given_up_is_nobodys_trouble(tmp_path: Path) -> None:
    lab = Lab(tmp_path, replicas=2, nodes=4)
    lab.put(*KEYS)
    lab.take_away("node-2")
    assert lab.amazin("forget", "--yes", "node-2").exit_code == 0
    result = lab.amazin("status", "--count")
    assert result.exit_code == 0
    assert rows(result.stdout)["node-2"][:3] == ["unreachable", "1", "forgotten"]


def test_folders_tell_their_free_space_while_they_can_be_read(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.put("a")
    lab.take_away("node-2")
    found = by_name(shown(lab, "--fast"), "free_bytes")
    is_known = {name: free is not None for name, free in found.items()}
    assert is_known == {"node-1": True, "node-2": False, "node-3": True}
    left = shutil.disk_usage(tmp_path).free
    assert found["node-1"] == pytest.approx(left, rel=0.5)


def test_free_space_that_no_node_tells_has_no_column() -> None:
    found = Observer(World(1).membership, None).look()
    assert {node.free_bytes for node in found.nodes} == {None}
    assert "free" not in [str(column.header) for column in as_table(found).columns]


def test_fewer_nodes_than_replicas_are_a_problem(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    sentence = "REPLICAS is 5, but only 3 nodes were found"
    for _ in range(2):
        result = run("status", environ={**lab.environ, "REPLICAS": "5"})
        assert (result.exit_code, result.stderr) == (1, sentence + "\n")
        lab.put("a")  # with one copy: then there is a roster
    assert lab.amazin("status", "--count").exit_code == 0


def test_what_is_due_follows_the_roster() -> None:
    world = World(1, 2)
    observer = Observer(world.membership, None)
    assert [node.due for node in observer.look().nodes] == [1 / 2, 1 / 2]
    world.join()
    assert [node.due for node in observer.look().nodes] == [1 / 3, 1 / 3, 1 / 3]


def nodes_of(replicas: int, weights: dict[str, float], **groups: str) -> NodeSet:
    return NodeSet(replicas, weights, groups)


A, B = {"a": 1.0, "b": 1.0}, {"a": 1.0, "b": 2.0}


@pytest.mark.parametrize(
    ("spec", "settled", "coming", "expected"),
    [
        (NodeSpec("a", "http://a"), nodes_of(1, A), None, "settled"),
        (NodeSpec("a", None, weight=7), nodes_of(1, A), None, "settled"),
        (NodeSpec("b", "http://b", weight=2), nodes_of(1, A), None, "weight 1 to 2"),
        (NodeSpec("b", "http://b", group="g"), nodes_of(1, A), None, "group '' to 'g'"),
        (
            NodeSpec("b", "http://b", weight=3, group="g"),
            nodes_of(1, A),
            nodes_of(1, B, b="g"),
            "weight 1 to 2, group '' to 'g'",
        ),
        (NodeSpec("c", "http://c"), nodes_of(1, A), None, "new"),
        (NodeSpec("c", "http://c", weight=0), nodes_of(1, A), None, "drained"),
        (NodeSpec("b", None), nodes_of(1, A), nodes_of(1, {"a": 1.0}), "draining"),
        (NodeSpec("b", "http://b"), nodes_of(1, {"a": 1.0}), nodes_of(1, A), "joining"),
        (NodeSpec("a", "http://a"), None, nodes_of(1, A), "joining"),
    ],
)
def test_what_the_roster_says_of_a_node(
    spec: NodeSpec, settled: NodeSet | None, coming: NodeSet | None, expected: str
) -> None:
    assert role(spec, Roster("x", 1, settled, coming)) == expected
    assert role(spec, None) == ""


# What placement gives


def test_equal_nodes_are_due_the_same() -> None:
    assert due_shares(nodes_of(2, dict.fromkeys("abcd", 3.0))) == dict.fromkeys(
        "abcd", 0.25
    )


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        (nodes_of(1, {"a": 1.0, "b": 3.0}), {"a": 0.25, "b": 0.75}),
        (nodes_of(2, {"a": 1.0, "b": 3.0}), {"a": 0.5, "b": 0.5}),
        (
            nodes_of(1, {"a": 1.0, "b": 1.0, "c": 1.0}, c="own"),
            {"a": 0.25, "b": 0.25, "c": 0.5},
        ),
        (
            NodeSet(1, {"a": 1.0, "b": 1.0}, {"b": "own"}, {"own": 3.0}),
            {"a": 0.25, "b": 0.75},
        ),
        # Of two copies b has nearly always one; the other three share what is left.
        (nodes_of(2, {"a": 1.0, "b": 100.0, "c": 1.0, "d": 1.0}), {"b": 0.5}),
    ],
)
def test_other_nodes_are_due_what_placement_gives(
    nodes: NodeSet, expected: dict[str, float]
) -> None:
    found = due_shares(nodes)
    assert sum(found.values()) == pytest.approx(1)
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=0.01)


def test_a_thousand_nodes_are_no_trouble() -> None:
    weights = {f"node-{number}": 1.0 + number % 3 for number in range(1000)}
    start = time.monotonic()
    assert len(due_shares(nodes_of(3, weights))) == 1000
    assert time.monotonic() - start < PATIENCE_SECONDS


# Watching


def test_what_is_watched_is_shown_again_and_again(tmp_path: Path) -> None:
    lab = Lab(tmp_path, replicas=2)
    lab.put(*KEYS)
    arguments = ("status", "--watch", "0.1", "--json", "--count")
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with lab.start(*arguments, **pipes) as process:
        rounds = (json.loads(line) for line in process.stdout or ())
        counted = next(r for r in rounds if by_name(r, "share")["node-1"] is not None)
        assert counted["total"]["objects"] == 40
        lab.take_away("node-2")
        away = next(r for r in rounds if not r["is_well"])
        assert away["problems"] == ["node-2: unreachable: the folder is not there"]
        assert by_name(away, "count")["node-2"] == by_name(counted, "count")["node-2"]
        ages = [by_name(next(rounds), "count_age_seconds")["node-2"] for _ in range(3)]
        assert all(first < second for first, second in pairwise(ages))
        lab.bring_back("node-2")
        assert next(r for r in rounds if r["is_well"])
        process.send_signal(signal.SIGINT)
        process.stdout.close() if process.stdout else None
        assert process.wait(PATIENCE_SECONDS) == 0


def test_ctrl_c_ends_watching_quietly(tmp_path: Path) -> None:
    lab = Lab(tmp_path, replicas=2)
    lab.put(*KEYS)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with lab.start("status", "--watch", **pipes) as process:
        assert process.stdout
        assert process.stdout.readline().startswith(b"3 nodes: 3 up.")
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_SECONDS) == 0
        assert process.stderr
        assert process.stderr.read() == b""


def test_a_terminal_shows_the_table_in_its_place(tmp_path: Path) -> None:
    lab = Lab(tmp_path, replicas=2)
    lab.put(*KEYS)
    ours, theirs = os.openpty()
    with lab.start(
        "status", "--count", "--watch", "0.05", stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        seen = ""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while "200 bytes" not in seen and time.monotonic() < deadline:
            seen += os.read(ours, 65536).decode()
        process.send_signal(signal.SIGINT)
        seen += read_terminal(ours)
        assert process.wait(PATIENCE_SECONDS) == 0
    assert "Traceback" not in seen
    assert seen.count("\x1b[?25l") == seen.count("\x1b[?25h") == 1
    assert "\x1b[1A" in seen


def status_of(count: Count) -> Status:
    """Return three nodes with these counts, the second of which is away."""
    names = [f"amazin-node-{number}" for number in (1, 2, 3)]
    nodes = [NodeStatus(name, "up", "", 1.0, "", "settled", 1 / 3) for name in names]
    nodes[1] = replace(nodes[1], state="no permission", problem="refused")
    counted = dict.fromkeys(names, Counted(count, 12.3))
    roster = Roster("x", 1, nodes_of(2, dict.fromkeys(names, 1.0)))
    return Status(nodes, counted, roster, "Settled.", True, "")


@pytest.mark.parametrize(
    ("width", "kept", "left_out"),
    [
        (120, [*LESS_IMPORTANT[:5], "objects", "roster"], []),
        (100, ["objects", "share", "due", "counted"], ["internal"]),
        (80, ["objects", "share", "state"], ["internal", "deleted", "weight", "due"]),
        (60, ["objects", "share", "state"], ["counted", "roster"]),
    ],
)
def test_a_narrow_terminal_shows_what_matters_most(
    width: int, kept: list[str], left_out: list[str]
) -> None:
    status = status_of(Count(1_234_567, 20, 3, 10, 123_456_789_012, 1.0))
    output = StringIO()
    console = Console(file=output, width=width)
    console.print(fitting_table(status, console))
    head, *others = output.getvalue().splitlines()
    assert set(kept) <= set(head.split())
    assert set(left_out).isdisjoint(head.split())
    assert len(others) == 4
    assert all("1,234,567" in line for line in others[:3])
    assert others[1].startswith("amazin-node-2  no permission  ")


def test_a_balanced_cluster_is_said_to_be_one() -> None:
    status = status_of(Count(100, ended_at=1.0))
    assert balance(status) == (
        "Balance: from +0.0% (amazin-node-1) to +0.0% (amazin-node-3) of what "
        "placement gives."
    )
    status.counted["amazin-node-3"] = Counted(Count(200), 1.0)
    assert balance(status).startswith("Balance: from -25.0% (amazin-node-1) to +50.0%")
    status.counted["amazin-node-3"] = Counted(Count(200), None)
    assert balance(status) == ""


@pytest.mark.parametrize("value", ["0", "soon", "1w", ""])
def test_a_rhythm_that_is_none(tmp_path: Path, value: str) -> None:
    result = Lab(tmp_path).amazin("status", f"--watch={value}")
    assert result.exit_code == 2
    assert "Invalid value for '--watch'" in result.stderr


# Real servers


@pytest.fixture
def servers(new_minio: Callable[[], MinioServer]) -> Iterator[list[MinioServer]]:
    """Five of them, with objects, of which one was deleted, and a bucket."""
    servers = [new_minio() for _ in range(5)]
    for server in servers:
        server.start()
    membership = Membership(
        FakeDiscovery(*specs_of(servers)),
        node_builder(Settings().node_limits),
        0.2,
        DesiredNodes(2, {}),
        is_watching=False,
        least_wait_seconds=0.0,
    )
    cluster = Cluster(membership)
    for number in range(60):
        name = ObjectName("store", f"key{number}")
        cluster.put(name, HeldBody(b"x" * number), {})
    cluster.put(marker_name("photos"), HeldBody(b"amazin"), {})
    cluster.delete(ObjectName("store", "key1"))
    for member in membership.snapshot().members.values():
        member.retire()
    yield servers
    for server in servers:
        server.stop()


def specs_of(servers: list[MinioServer]) -> list[NodeSpec]:
    return [server.spec(f"node-{n}") for n, server in enumerate(servers, 1)]


def seen(servers: list[MinioServer]) -> dict[str, Any]:
    """Return what `amazin status --json` prints, and how it ended."""
    environ = {
        "DISCOVERY": "static",
        "NODES": nodes_setting(specs_of(servers)),
        "REFRESH_SECONDS": "0.2",
    }
    result = run("status", "--json", "--count", environ=environ)
    found: dict[str, Any] = json.loads(result.stdout)
    assert result.exit_code == (0 if found["is_well"] else 1)
    return found


@pytest.mark.integration
def test_real_nodes_are_counted(servers: list[MinioServer]) -> None:
    found = seen(servers)
    assert found["is_well"], found["problems"]
    assert found["total"]["objects"] == 2 * 59
    assert (found["total"]["markers"], found["total"]["tombstones"]) == (2, 2)
    assert sum(by_name(found, "share").values()) == pytest.approx(1)


@pytest.mark.integration
def test_a_dead_and_a_frozen_node_are_not_waited_for(
    servers: list[MinioServer],
) -> None:
    servers[0].kill()
    servers[1].freeze()
    start = time.monotonic()
    found = seen(servers)
    assert time.monotonic() - start < PATIENCE_SECONDS
    assert list(by_name(found, "state").values()) == [
        "unreachable",
        "unreachable",
        "up",
        "up",
        "up",
    ]
    assert by_name(found, "count")["node-3"]["objects"] > 0
    assert by_name(found, "problem")["node-2"] == "the node is silent"


@pytest.mark.integration
def test_a_real_node_that_lost_its_disk_is_named(servers: list[MinioServer]) -> None:
    servers[2].kill()
    shutil.rmtree(servers[2].folder)
    servers[2].start()
    found = seen(servers)
    assert by_name(found, "state")["node-3"] == "lost"
    assert len(found["problems"]) == 1


def test_the_sentence_of_a_cluster() -> None:
    world = World(1, 1)
    assert sentence(Observer(world.membership, None).look()) == (
        "1 node: 1 up. 1 copy of each object. The set of nodes is settled."
    )


def test_the_last_check_is_shown(tmp_path: Path) -> None:
    lab = Lab(tmp_path, replicas=2)
    lab.put("abc", "xyz")
    assert shown(lab)["check"] is None
    path = lab.content_files("abc")[0]
    path.write_bytes(b"abd")
    assert lab.amazin("repair", "--check").exit_code == 0
    found = shown(lab)
    assert (found["check"]["damaged"], found["check"]["mended"]) == (1, 1)
    assert found["is_well"]
    said = lab.amazin("status").stdout
    assert re.search(
        r"Check of all copies, begun 20.*Z, ended 20.*Z: 4 copies \(12 bytes\) read, "
        r"1 damaged or gone, 1 mended, 0 objects lost\.",
        " ".join(said.split()),
    )


def test_an_object_that_a_check_found_lost_is_a_problem(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.put("abc", "xyz")
    lab.content_files("abc")[0].write_bytes(b"abd")
    assert lab.amazin("repair", "--check").exit_code == 1
    found = lab.amazin("status", "--count")
    assert found.exit_code == 1
    assert "The last check found no whole copy of: store/abc" in found.stderr
    assert "1 copy damaged or gone" in found.stderr
