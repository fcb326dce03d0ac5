"""What repair did and found is kept on the nodes, and shown to whoever asks."""

from __future__ import annotations

import threading

import pytest

from amazin.cluster.cluster import Cluster
from amazin.cluster.repair_results import (
    MOST_PROBLEMS,
    SILENT_NS,
    Left,
    RepairResult,
    RepairRun,
    read_repair,
)
from amazin.errors import NodeError, NodeProtocolError
from amazin.model.bodies import HeldBody
from amazin.model.objects import ObjectName
from amazin.model.stored_names import REPAIR_NAME, marker_name, shown
from amazin.repair.journal import Journal
from amazin.repair.report import Options, Report
from amazin.repair.schedule import Job, run
from tests.support.world import BROKEN, HEADERS, World

NAMES = [ObjectName("store", f"key{number:02}") for number in range(10)]
LONG = b"longer than the longest of tombstones is, so that nothing has to be asked...."


def world_with(replicas: int = 2) -> World:
    world = World(replicas)
    for name in NAMES:
        world.cluster.put(name, HeldBody(LONG), HEADERS)
    return world


def repair(world: World, **options: bool) -> Report:
    job = Job(world.membership, Options(workers=1, **options), 0.1)
    return run(job, world.membership.fresh_snapshot(), job.options)


def stored(world: World) -> RepairResult:
    found = read_repair(world.cluster)
    assert found
    return found


def test_a_run_is_told_with_what_lies_on_the_nodes() -> None:
    world = world_with()
    world.cluster.put(marker_name("photos"), HeldBody(b"{}"), HEADERS)
    held = {name: len(disk.objects) for name, disk in world.disks.items()}
    assert repair(world).is_well
    found = stored(world)
    assert found.last == found.run
    assert (found.run.objects, found.run.is_whole, found.run.is_well) == (
        11,
        True,
        True,
    )
    assert 0 < found.run.began_ns <= found.counted_ns <= found.written_ns
    assert found.well_ns == found.run.ended_ns > 0
    assert sum(node.objects for node in found.nodes.values()) == 2 * len(NAMES)
    assert sum(node.markers for node in found.nodes.values()) == 2
    # The roster is an object of the nodes, too, of another bucket.
    assert {n: c.copies for n, c in found.nodes.items()} == {
        name: count - roster_count(world, name) for name, count in held.items()
    }


def roster_count(world: World, name: str) -> int:
    return sum(key.bucket != "store" for key in world.disks[name].objects)


def test_the_report_counts_as_no_object_and_is_repaired_as_one() -> None:
    world = world_with()
    assert repair(world).objects == 10
    [holder, *_] = [d for d in world.disks.values() if REPAIR_NAME in d.objects]
    del holder.objects[REPAIR_NAME]
    report = repair(world)
    assert (report.objects, report.copies, report.under_replicated) == (10, 1, 1)
    found = stored(world)
    assert sum(node.objects for node in found.nodes.values()) == 2 * len(NAMES)
    assert [name.key for name in NAMES] == [
        key for key, _ in world.cluster.list() if not key.startswith("-")
    ]


def test_a_dry_run_writes_nothing() -> None:
    world = world_with()
    repair(world, is_dry_run=True)
    assert read_repair(world.cluster) is None


def test_too_few_copies_and_wrong_places_are_told_apart() -> None:
    world = world_with()
    scarce, misplaced = NAMES[3], NAMES[5]
    [one, _] = [d for d in world.disks.values() if scarce in d.objects]
    del one.objects[scarce]
    [other] = [d for d in world.disks.values() if misplaced not in d.objects]
    [holder, _] = [d for d in world.disks.values() if misplaced in d.objects]
    other.objects[misplaced] = holder.objects[misplaced]
    del holder.objects[misplaced]
    report = repair(world)
    found = stored(world).run
    assert (report.under_replicated, report.misplaced) == (1, 1)
    assert (found.under_replicated, found.misplaced, found.waiting) == (1, 1, 0)
    assert report.left == stored(world).left == Left()
    assert found.is_well
    again = repair(world)
    assert (again.under_replicated, again.misplaced) == (0, 0)


def test_what_a_run_can_not_mend_is_left_until_another_does() -> None:
    world = world_with()
    [one, _] = [d for d in world.disks.values() if NAMES[3] in d.objects]
    del one.objects[NAMES[3]]
    for disk in world.disks.values():
        disk.before_object["get", NAMES[3]] = lambda: raise_(BROKEN)
    report = repair(world)
    assert report.under_replicated == 1
    assert report.left == stored(world).left == Left(under_replicated=1, waiting=1)
    for disk in world.disks.values():
        disk.before_object.clear()
    assert repair(world).under_replicated == 1
    assert stored(world).left == Left()
    assert NAMES[3] in one.objects


def test_a_run_that_did_not_look_at_all_keeps_what_is_left() -> None:
    world = world_with()
    [one, _] = [d for d in world.disks.values() if NAMES[3] in d.objects]
    del one.objects[NAMES[3]]
    for disk in world.disks.values():
        disk.before_object["get", NAMES[3]] = lambda: raise_(BROKEN)
    repair(world)
    first = stored(world)
    one.before["list"] = lambda: raise_(BROKEN)
    assert not repair(world).is_whole
    found = stored(world)
    assert found.run.began_ns > first.run.began_ns
    assert (found.left, found.counted_ns) == (first.left, first.counted_ns)


def test_what_can_not_be_repaired_keeps_the_last_success() -> None:
    world = world_with()
    repair(world)
    first = stored(world)
    for disk in world.disks.values():
        disk.before_object["head", NAMES[3]] = lambda: raise_(BROKEN)
    [one, _] = [d for d in world.disks.values() if NAMES[3] in d.objects]
    del one.objects[NAMES[3]]
    assert not repair(world).is_well
    found = stored(world)
    assert (found.run.waiting, found.run.is_well) == (1, False)
    assert found.left == Left(waiting=1)  # nobody knows what is with it
    assert found.run.problems == ["Objects that need another run: 1"]
    assert found.well_ns == first.well_ns < found.run.ended_ns


def raise_(error: Exception) -> None:
    raise error


def test_a_run_is_told_while_it_runs() -> None:
    world = world_with()
    repair(world)
    before = stored(world)
    has_written, goes_on = threading.Event(), threading.Event()
    pauses = iter([lambda: False, lambda: bool(has_written.set()) or goes_on.wait(30)])
    journal = Journal(world.cluster, sleep=lambda: next(pauses)())
    journal.report = Report(objects=7, problems=["a"] * 100)
    with journal:
        assert has_written.wait(30)
        found = stored(world)
        goes_on.set()
    assert (found.run.objects, found.run.ended_ns) == (7, 0)
    assert len(found.run.problems) <= MOST_PROBLEMS
    assert (found.last, found.nodes) == (before.last, before.nodes)
    assert found.is_running(found.written_ns)
    assert not found.is_running(found.written_ns + SILENT_NS)
    assert not before.is_running(before.written_ns)


def test_a_report_that_can_not_be_stored_is_no_failure(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = world_with()
    for disk in world.disks.values():
        disk.before_object["commit", REPAIR_NAME] = lambda: raise_(NodeError("no room"))
    assert repair(world).is_well
    assert "the report of the repair can't be stored: no room" in caplog.text
    assert read_repair(world.cluster) is None


@pytest.mark.parametrize("body", [b"garbage", b'{"format": 2}'])
def test_what_another_program_wrote_is_passed_over(body: bytes) -> None:
    world = world_with()
    Cluster(world.membership).put(REPAIR_NAME, HeldBody(body), HEADERS)
    assert repair(world).is_well
    assert stored(world).run.objects == 10


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{}", b'{"format": 1}', b'{"format": 1, "run": 3}', b"\xff"]
)
def test_a_report_that_is_none_is_refused(data: bytes) -> None:
    with pytest.raises(NodeProtocolError):
        RepairResult.load(data)


def test_the_stored_form_is_read_back() -> None:
    result = RepairResult(RepairRun(1), last=RepairRun(2, 3))
    assert RepairResult.load(result.dump()) == result
    assert RepairResult.load(b'{"format": 2}') is None
    assert shown(REPAIR_NAME) == "the report of repair"
