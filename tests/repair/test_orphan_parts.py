"""`repair` removes the parts that no object needs, a day later, and no others."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import pytest

from amazin.cluster.large_objects import LONGEST_UPLOAD_NS
from amazin.errors import BodyError, NodeError, NoSuchKeyError, PreconditionError
from amazin.model.manifest import OWNER_HEADER, PARTS_HEADER, outline_of, owner_header
from amazin.model.objects import Label, ObjectName, Stamp
from amazin.model.stored_names import PARTS, part_name
from amazin.repair.orphan_parts import PART_NS
from amazin.repair.report import Options, Report, fields, summary, to_do
from amazin.repair.run import Repair
from tests.support.fakes import FakeDisk
from tests.support.large_objects import (
    BODY,
    OTHER,
    SMALL,
    CrashError,
    calm,
    chunked,
    crash_at,
    outline_on,
    stored_parts,
)
from tests.support.world import (
    A_LONG_TIME,
    BROKEN,
    NAME,
    Bytes,
    Once,
    World,
    act_at,
    any_replicas,
    read,
    stream,
    world_of,
)

HOUR_NS = 3600 * 10**9
DAY_NS = 24 * HOUR_NS


def collect(world: World, after_ns: int = DAY_NS + HOUR_NS, **options: bool) -> Report:
    """Run a repair so long after the present."""
    now_ns = world.now_ns + after_ns
    given = Options(workers=1, **options)
    return Repair(world.membership, given, lambda: now_ns).run()


def world_with_garbage(replicas: int = 1) -> World:
    """Return a world with a large object, and the parts of one that it replaced."""
    world = world_of(replicas)
    cluster = chunked(world)
    cluster.put(NAME, stream(OTHER), {})
    world.now_ns += 1000
    cluster.put(NAME, stream(BODY), {})
    return world


def needed(world: World, name: ObjectName = NAME) -> set[ObjectName]:
    """Return the parts that the object consists of."""
    outline = outline_on(world, name)
    return {part_name(outline.upload_id, index) for index in range(outline.count)}


@any_replicas
def test_parts_of_an_object_that_is_there_are_never_removed(replicas: int) -> None:
    world = world_of(replicas)
    chunked(world).put(NAME, stream(BODY), {})
    report = collect(world, 1000 * DAY_NS)
    assert report.is_well
    assert (report.parts, report.part_bytes, report.removals) == (0, 0, 0)
    assert stored_parts(world) == needed(world)
    assert read(chunked(world).get(NAME)) == BODY


@any_replicas
def test_parts_of_a_replaced_object_go_after_a_day(replicas: int) -> None:
    world = world_with_garbage(replicas)
    assert len(stored_parts(world)) == 6
    assert collect(world, DAY_NS - 1001).parts == 0
    assert len(stored_parts(world)) == 6
    report = collect(world)
    assert (report.parts, report.part_bytes) == (3, replicas * len(OTHER))
    assert report.is_well
    assert stored_parts(world) == needed(world)
    assert collect(world).parts == 0
    assert read(chunked(world).get(NAME)) == BODY


@any_replicas
def test_parts_of_a_deleted_object_go_after_a_day(replicas: int) -> None:
    world = world_of(replicas)
    cluster = chunked(world)
    cluster.put(NAME, stream(BODY), {})
    cluster.delete(NAME)
    assert collect(world, DAY_NS - HOUR_NS).parts == 0
    assert collect(world).parts == 3
    assert not stored_parts(world)


@any_replicas
def test_parts_of_an_upload_that_broke_off_go_after_a_day(replicas: int) -> None:
    world = world_of(replicas)
    cluster = chunked(world)
    cluster.put(NAME, stream(SMALL), {})
    with pytest.raises(BodyError):
        cluster.put(NAME, stream(BODY, missing=1), {})
    assert len(stored_parts(world)) == 2
    assert collect(world, DAY_NS - HOUR_NS).parts == 0
    assert collect(world).parts == 2
    assert not stored_parts(world)
    assert read(cluster.get(NAME)) == SMALL


def test_parts_of_a_put_on_condition_that_failed_go_too() -> None:
    world = World(1)
    cluster = chunked(world)
    cluster.put(NAME, stream(SMALL), {})
    body = Bytes(BODY)
    body.before = [lambda: cluster.put(NAME, stream(b"other"), {})]
    with pytest.raises(PreconditionError):
        cluster.put(NAME, body, {}, if_match=cluster.head(NAME).info.etag)
    assert len(stored_parts(world)) == 3
    assert collect(world).parts == 3


def test_each_part_is_as_old_as_its_own_stamp() -> None:
    world = World(1)

    def wait() -> None:
        world.now_ns += 3 * HOUR_NS

    body = stream(BODY[:1000], BODY[1000:2000], BODY[2000:], missing=1)
    body.before = [wait] * 3
    with pytest.raises(BodyError):
        chunked(world).put(NAME, body, {})
    assert len(stored_parts(world)) == 2
    assert collect(world, DAY_NS - 5 * HOUR_NS).parts == 1
    assert collect(world, DAY_NS - 2 * HOUR_NS).parts == 1
    assert not stored_parts(world)


def test_an_upload_that_goes_on_keeps_its_parts() -> None:
    """Repair runs between any two of its steps, at the latest time that is allowed."""
    world = World(2)
    cluster = chunked(world)
    cluster.put(NAME, stream(SMALL), {})
    reports = []

    def run() -> None:
        reports.append(collect(world, LONGEST_UPLOAD_NS))

    body = stream(*(BODY[at : at + 500] for at in range(0, len(BODY), 500)))
    body.before = [run] * 6
    cluster.put(NAME, body, {})
    assert [report.parts for report in reports] == [0] * 6
    assert read(cluster.get(NAME)) == BODY


# Nobody knows for sure.


@any_replicas
def test_while_a_node_is_away_nothing_is_removed(replicas: int) -> None:
    world = world_with_garbage(replicas)
    for disk in world.ranked:
        disk.is_silent = True
        report = collect(world)
        assert report.parts == 0
        assert not report.is_whole
        world.recover(disk)
    assert len(stored_parts(world)) == 6
    assert collect(world).parts == 3


def test_while_the_set_of_nodes_changes_nothing_is_removed() -> None:
    world = world_with_garbage(2)
    world.announce()
    assert collect(world).parts == 0
    world.open()
    world.time += A_LONG_TIME
    world.membership.refresh()
    report = collect(world)
    assert (report.parts, report.has_settled) == (0, True)
    assert report.is_well
    assert len(stored_parts(world)) == 6
    assert collect(world).parts == 3
    assert read(chunked(world).get(NAME)) == BODY


def test_while_any_object_is_not_in_its_place_nothing_is_removed() -> None:
    world = world_with_garbage(2)
    other = ObjectName("store", "other")
    world.cluster.put(other, Bytes(b"x" * 100), {})
    holders = [disk for disk in world.ranked if other in disk.data]
    del holders[0].objects[other]
    holders[0].before["put"] = refuse
    report = collect(world)
    assert (report.failures, report.parts) == (1, 0)
    calm(world)
    assert collect(world).parts == 3


def refuse(*_: object) -> None:
    raise NodeError("no")


def test_a_manifest_that_one_node_has_of_a_failed_upload_keeps_its_parts() -> None:
    """It may be the object from the next repair on."""
    world = World(2)
    cluster = chunked(world)
    cluster.put(NAME, stream(OTHER), {})
    target = [disk for disk in world.ranked if NAME in disk.data]
    others = [disk for disk in world.ranked if disk is not target[0]]
    for disk in others:
        disk.before_object["commit", NAME] = refuse
    with pytest.raises(NodeError):
        cluster.put(NAME, stream(BODY), {})
    for disk in others:
        disk.before_object.clear()
    new = outline_of(target[0].objects[NAME][0])
    assert new
    assert new.size == len(BODY)
    collect(world)
    parts = {part_name(new.upload_id, index) for index in range(3)}
    assert parts <= stored_parts(world)
    assert read(cluster.get(NAME)) == BODY
    assert stored_parts(world) == parts


def test_a_manifest_anywhere_keeps_its_parts() -> None:
    """Even where it does not belong: as long as a node has it, it may be needed."""
    world = world_of(1)
    cluster = chunked(world)
    cluster.put(NAME, stream(BODY), {})
    manifest = world.ranked[0].objects[NAME]
    cluster.put(NAME, stream(SMALL), {})
    last = world.ranked[-1]
    # After the objects were looked at, which would have removed it.
    act_at(last, "list", lambda: last.objects.update({NAME: manifest}), skip=1)
    assert collect(world).parts == 0
    assert last.objects[NAME] == manifest
    assert len(stored_parts(world)) == 3
    assert collect(world).parts == 3


def test_what_can_not_be_understood_keeps_its_parts() -> None:
    world = world_of(1)
    cluster = chunked(world)
    cluster.put(NAME, stream(BODY), {})
    info, body = world.ranked[0].objects[NAME]
    for text in ("", "v2:something", "x" * 300):
        strange = replace(info, headers={PARTS_HEADER: text})
        world.ranked[0].objects[NAME] = (strange, body)
        assert collect(world).parts == 0
    del world.ranked[0].objects[NAME]
    assert collect(world).parts == 3


def refuse_to_judge(disk: FakeDisk) -> None:
    disk.before_object["head", NAME] = refuse


def refuse_to_delete(disk: FakeDisk) -> None:
    disk.before["delete"] = refuse


@pytest.mark.parametrize(
    ("fail", "failures"), [(refuse_to_judge, 2), (refuse_to_delete, 1)]
)
def test_a_node_that_fails_meanwhile_keeps_what_it_may_know(
    fail: Callable[[FakeDisk], None], failures: int
) -> None:
    world = world_with_garbage(1)
    kept = stored_parts(world)
    for disk in world.disks.values():
        fail(disk)
    report = collect(world)
    assert (report.parts, report.failures) == (0, failures)
    assert not report.is_well
    assert report.problems == [f"Parts that need another run: {failures}"]
    assert stored_parts(world) == kept
    calm(world)
    assert collect(world).parts == 3


def test_a_listing_that_breaks_ends_the_collection() -> None:
    world = world_with_garbage(1)
    act_at(world.ranked[0], "list", refuse, skip=1)
    report = collect(world)
    assert report.parts == 0
    assert report.problems == ["Not all parts were looked at: no"]
    assert not report.is_well


def test_a_change_of_the_set_of_nodes_ends_the_collection() -> None:
    world = world_with_garbage(1)
    announce = Once(world.announce)
    for disk in world.ranked:
        disk.before["delete"] = announce
    report = collect(world)
    assert report.problems == ["Not all parts were looked at: the set of nodes changed"]
    assert report.parts == 1
    assert len(stored_parts(world)) == 5


# Dry runs, and reports.


def test_a_dry_run_counts_and_removes_nothing() -> None:
    world = world_with_garbage(2)
    report = collect(world, is_dry_run=True)
    assert (report.parts, report.part_bytes) == (3, 2 * len(OTHER))
    assert len(stored_parts(world)) == 6
    assert to_do(report) == "3 unused parts (5.1 kB) to remove"


def test_a_report_tells_of_parts() -> None:
    report = collect(world_with_garbage(1))
    assert summary(report) == "removed 3 unused parts (2.6 kB)"
    assert fields(report)["parts"] == 3
    assert fields(report)["part_bytes"] == len(OTHER)
    one = Report(parts=1, part_bytes=5)
    assert summary(one) == "removed 1 unused part (5 bytes)"


# What is strange.


@pytest.mark.parametrize(
    "headers", [{}, {OWNER_HEADER: "=="}, {OWNER_HEADER: ""}], ids=str
)
def test_parts_that_do_not_say_whose_they_are_stay(headers: dict[str, str]) -> None:
    world = World(1)
    name = part_name("ab" * 16, 0)
    home = world.membership.snapshot()
    roster = world.roster
    best = roster.newest.ranker.rank(name.hash_key)[0]
    assert best in home.members
    world.disks[best].store(name, b"part", Label(Stamp(1, 1), 1), headers)
    assert collect(world, 10 * DAY_NS).parts == 0
    assert name in world.disks[best].objects


def test_what_has_no_stamp_or_no_name_of_a_part_stays() -> None:
    world = World(1)
    named = part_name("ab" * 16, 0)
    others = [named, *(ObjectName("store", PARTS + key) for key in ("x", "ab/1"))]
    for name in others:
        best = world.roster.newest.ranker.rank(name.hash_key)[0]
        label = None if name is named else Label(Stamp(1, 1), 1)
        world.disks[best].store(name, b"part", label, owner_header(NAME))
    assert collect(world, 10 * DAY_NS).parts == 0
    assert stored_parts(world) == set(others)


def test_where_listings_tell_little_the_nodes_are_asked() -> None:
    world = world_with_garbage(2)
    for disk in world.disks.values():
        disk.lists_briefly = True
    assert collect(world, DAY_NS - HOUR_NS).parts == 0
    assert collect(world).parts == 3
    assert stored_parts(world) == needed(world)


def test_an_object_is_asked_for_once_however_many_parts_it_has() -> None:
    world = World(1)
    cluster = chunked(world, 256)
    cluster.put(NAME, stream(BODY), {})
    world.forget_calls()
    assert collect(world).is_well
    heads = [call for calls in world.calls() for call in calls if call == "head"]
    assert len(stored_parts(world)) == 10
    listings = 2 * len(world.disks)  # at whose end a node is asked for its bucket
    assert len(heads) == listings + 1
    cluster.delete(NAME)
    world.forget_calls()
    assert collect(world).parts == 10
    heads = [call for calls in world.calls() for call in calls if call == "head"]
    # and once more before each removal
    assert len(heads) == listings + 10 + len(world.disks)


def test_parts_of_two_owners_under_one_id_are_judged_each_by_its_own() -> None:
    world = World(1)
    cluster = chunked(world)
    cluster.put(NAME, stream(BODY), {})
    upload_id = outline_on(world).upload_id
    stray = part_name(upload_id, 9)
    best = world.roster.newest.ranker.rank(stray.hash_key)[0]
    label = Label(Stamp(1, 1), 1)
    world.disks[best].store(stray, b"x", label, owner_header(ObjectName("store", "q")))
    collect(world)
    assert needed(world) <= stored_parts(world)
    assert read(cluster.get(NAME)) == BODY


# Whatever happens.


@any_replicas
def test_after_a_crash_at_any_step_only_what_is_needed_stays(replicas: int) -> None:
    for step in range(200):
        world = world_of(replicas)
        cluster = chunked(world)
        cluster.put(NAME, stream(OTHER), {})
        happened = crash_at(world, step)
        with suppress(CrashError):
            cluster.put(NAME, stream(BODY), {})
        calm(world)
        assert collect(world, LONGEST_UPLOAD_NS).parts == 0
        before = read(cluster.get(NAME))
        report = collect(world, PART_NS + HOUR_NS)
        assert report.is_well
        assert read(cluster.get(NAME)) == before
        assert before in (OTHER, BODY)
        assert stored_parts(world) == needed(world)
        if not happened():
            return
    raise AssertionError("it never ended")


@any_replicas
def test_a_collection_that_ends_anywhere_harms_nothing_and_can_begin_anew(
    replicas: int,
) -> None:
    for step in range(200):
        world = world_with_garbage(replicas)
        with suppress(CrashError):
            seen = [0]

            def count(seen: list[int] = seen, step: int = step) -> None:
                seen[0] += 1
                if seen[0] > step:
                    raise CrashError

            for disk in world.disks.values():
                for method in ("head", "delete"):
                    disk.before[method] = count
            collect(world)
        is_over = seen[0] <= step
        calm(world)
        assert read(chunked(world).get(NAME)) == BODY
        assert collect(world).is_well
        assert stored_parts(world) == needed(world)
        if is_over:
            return
    raise AssertionError("it never ended")


def test_repair_brings_parts_and_manifests_where_they_belong() -> None:
    world = World(2)
    cluster = chunked(world, 300)
    cluster.put(NAME, stream(BODY), {})
    for disk in world.ranked:
        for name in list(disk.data)[::2]:
            if sum(name in other.data for other in world.ranked) == 2:
                del disk.objects[name]
    world.join()
    world.time += A_LONG_TIME
    world.membership.refresh()
    assert collect(world).has_settled
    assert read(cluster.get(NAME)) == BODY
    for name in [*needed(world), NAME]:
        home = world.roster.newest.ranker.rank(name.hash_key)[:2]
        assert all(name in world.disks[node].data for node in home)
    lost = world.ranked[0]
    lost.failing = BROKEN
    assert read(cluster.get(NAME)) == BODY


def test_a_listing_of_objects_never_shows_parts() -> None:
    world = world_with_garbage(1)
    listed = [key for key, _ in chunked(world).list() if not key.startswith("-")]
    assert listed == [NAME.key]
    with pytest.raises(NoSuchKeyError):
        chunked(world).head(ObjectName("store", PARTS))


def at_the_walk(disk: FakeDisk) -> None:
    disk.before["list"] = disk.wipe


def at_the_collection(disk: FakeDisk) -> None:
    act_at(disk, "list", disk.wipe, skip=1)


def at_the_judgement(disk: FakeDisk) -> None:
    disk.before_object["head", NAME] = disk.wipe


@pytest.mark.parametrize(
    "lose", [at_the_walk, at_the_collection, at_the_judgement], ids=lambda f: f.__name__
)
def test_a_node_whose_volume_goes_away_meanwhile_keeps_the_parts(
    lose: Callable[[FakeDisk], None],
) -> None:
    world = world_of(1)
    chunked(world).put(NAME, stream(BODY), {})
    disk = next(disk for disk in world.disks.values() if NAME in disk.data)
    objects, buckets = dict(disk.objects), set(disk.buckets)
    lose(disk)
    report = collect(world)
    assert disk.objects == {}
    assert (report.parts, report.is_well) == (0, False)
    disk.objects.update(objects)
    disk.buckets.update(buckets)
    world.time += A_LONG_TIME
    world.membership.refresh()
    assert read(chunked(world).get(NAME)) == BODY
