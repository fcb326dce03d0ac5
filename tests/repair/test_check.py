"""A check: every copy is read, what is damaged is replaced, and it can be stopped."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from amazin.cluster.check_results import CheckResult, read_result
from amazin.cluster.repair_results import Left
from amazin.errors import LostCopyError, NodeBusyError, NodeError, NodeProtocolError
from amazin.model.bodies import HeldBody
from amazin.model.objects import CHUNK_BYTES, ObjectName
from amazin.model.stored_names import CHECK_NAME, shown
from amazin.repair.report import Options, Report, one_line
from amazin.repair.run import Repair
from tests.support.fakes import FakeDisk
from tests.support.world import BROKEN, HEADERS, World

NAMES = [ObjectName("store", f"key{number:02}") for number in range(10)]
LONG = bytes(range(256)) * (2 * CHUNK_BYTES // 256)


def world_with(replicas: int = 2, body: bytes = b"hello") -> World:
    world = World(replicas)
    for name in NAMES:
        world.cluster.put(name, HeldBody(body), HEADERS)
    return world


def check(world: World, **options: object) -> Report:
    settings = Options(workers=1, is_check=True, **options)
    return Repair(world.membership, settings, lambda: world.now_ns).run()


def holders(world: World, name: ObjectName = NAMES[4]) -> list[FakeDisk]:
    return [disk for disk in world.disks.values() if name in disk.objects]


def rot(disk: FakeDisk, name: ObjectName = NAMES[4]) -> None:
    """Change the bytes of a copy on a node that verifies nothing."""
    info, body = disk.objects[name]
    disk.objects[name] = (info, bytes([body[0] ^ 1]) + body[1:])


def body_of(disk: FakeDisk, name: ObjectName = NAMES[4]) -> bytes:
    return disk.objects[name][1]


@pytest.mark.parametrize("body", [b"hello", LONG])
def test_bytes_that_are_not_those_of_the_etag_are_replaced(body: bytes) -> None:
    world = world_with(2, body)
    rot(holders(world)[0])
    report = check(world)
    assert report.is_well
    assert (report.checked, report.damaged, report.mended) == (20, 1, 1)
    assert report.checked_bytes == 20 * len(body)
    assert [body_of(disk) for disk in holders(world)] == [body, body]


def test_a_damaged_copy_in_the_wrong_place_goes() -> None:
    world = world_with(1)
    info, body = holders(world)[0].objects[NAMES[4]]
    [wrong, *_] = [d for d in world.disks.values() if NAMES[4] not in d.objects]
    wrong.store(NAMES[4], body, info.label)
    rot(wrong)
    report = check(world)
    assert report.is_well, report.problems
    assert (report.damaged, report.removals) == (1, 1)


def test_a_plain_run_spreads_no_damaged_copy() -> None:
    world = world_with(2)
    first, second = holders(world)
    rot(first)
    del second.objects[NAMES[4]]
    report = Repair(world.membership, Options(workers=1), lambda: world.now_ns).run()
    assert (report.copies, report.failures) == (0, 1)
    assert NAMES[4] not in second.objects


def test_what_a_node_can_not_send_is_replaced() -> None:
    world = world_with()
    disk = holders(world)[0]
    times = iter([BROKEN, BROKEN])

    def fail() -> None:
        if error := next(times, None):
            raise error

    disk.before_object["get", NAMES[4]] = fail
    report = check(world)
    assert report.is_well
    assert (report.damaged, report.mended) == (1, 1)


def test_a_passing_failure_is_no_damage() -> None:
    world = world_with()
    times = iter([BROKEN])

    def fail() -> None:
        if error := next(times, None):
            raise error

    holders(world)[0].before_object["get", NAMES[4]] = fail
    report = check(world)
    assert report.is_well
    assert (report.damaged, report.copies) == (0, 0)


@pytest.mark.parametrize("fails", [[0, 1], [0], [1]])
def test_what_a_busy_node_does_not_send_is_not_damaged(fails: list[int]) -> None:
    world = world_with()
    errors = iter(NodeBusyError("503") if at in fails else BROKEN for at in range(2))

    def fail() -> None:
        if error := next(errors, None):
            raise error

    holders(world)[0].before_object["get", NAMES[4]] = fail
    report = check(world)
    result = read_result(world.cluster)
    assert result
    assert (report.damaged, report.copies, result.unread) == (0, 0, 1)


def test_what_no_node_has_whole_is_told_and_left() -> None:
    world = world_with(2)
    for disk in holders(world):
        rot(disk)
    before = [body_of(disk) for disk in holders(world)]
    report = check(world)
    assert not report.is_well
    assert (report.damaged, report.mended, report.lost) == (2, 0, 1)
    assert report.left == Left(unrepairable=1, waiting=1)
    assert [body_of(disk) for disk in holders(world)] == before
    result = read_result(world.cluster)
    assert result
    assert (result.lost, result.lost_names) == (1, ["store/key04"])


def test_an_etag_that_is_no_md5_tells_nothing() -> None:
    world = world_with(1)
    [disk] = holders(world)
    info, body = disk.objects[NAMES[4]]
    disk.objects[NAMES[4]] = (replace(info, etag="abc-3"), body)
    assert check(world).damaged == 0


def test_the_result_is_kept_on_the_nodes() -> None:
    world = world_with()
    rot(holders(world)[0])
    check(world)
    result = read_result(world.cluster)
    assert result
    assert (result.copies, result.damaged, result.mended, result.lost) == (20, 1, 1, 0)
    assert result.size == 100
    assert result.ended_ns
    assert result.is_whole


def test_a_dry_run_keeps_nothing() -> None:
    world = world_with()
    rot(holders(world)[0])
    report = check(world, is_dry_run=True)
    assert (report.checked, report.damaged, report.copies) == (20, 1, 1)
    assert read_result(world.cluster) is None


class StoppedError(Exception):
    """Ctrl-C."""


def stop(world: World, name: ObjectName) -> None:
    """Let the check be stopped where it reads this key."""

    def raise_it() -> None:
        raise StoppedError

    for disk in world.disks.values():
        disk.before_object["get", name] = raise_it


@pytest.fixture
def stopped() -> Iterator[World]:
    """A check that was stopped in the middle."""
    world = world_with()
    stop(world, NAMES[6])
    with pytest.raises(StoppedError):
        check(world)
    for disk in world.disks.values():
        disk.before_object.clear()
    yield world


def test_what_was_stopped_goes_on_where_it_was(stopped: World) -> None:
    result = read_result(stopped.cluster)
    assert result
    assert (result.after, result.copies, result.ended_ns) == ("key05", 12, 0)
    rot(holders(stopped, NAMES[2])[0], NAMES[2])
    rot(holders(stopped, NAMES[7])[0], NAMES[7])
    report = check(stopped)
    assert report.is_well
    assert report.has_resumed
    assert (report.checked, report.damaged, report.mended) == (8, 1, 1)
    result = read_result(stopped.cluster)
    assert result
    assert (result.copies, result.damaged, result.mended) == (20, 1, 1)
    assert result.ended_ns


def test_what_came_to_its_end_begins_anew(stopped: World) -> None:
    check(stopped)
    report = check(stopped)
    assert not report.has_resumed
    assert report.checked == 20 + 2  # with the result itself


def test_a_plain_run_between_changes_nothing(stopped: World) -> None:
    before = read_result(stopped.cluster)
    Repair(stopped.membership, Options(workers=1), lambda: stopped.now_ns).run()
    assert read_result(stopped.cluster) == before


def test_several_at_once_go_on_behind_what_all_have_done() -> None:
    world = world_with()
    settings = Options(workers=4, is_check=True)
    gate = threading.Event()
    for disk in world.disks.values():
        disk.before_object["get", NAMES[1]] = gate.set
    report = Repair(world.membership, settings, lambda: world.now_ns).run()
    assert gate.is_set()
    assert report.checked == 20
    result = read_result(world.cluster)
    assert result
    assert result.after == NAMES[-1].key


def test_a_result_that_can_not_be_stored_or_read_is_no_failure(
    stopped: World, caplog: pytest.LogCaptureFixture
) -> None:
    for disk in stopped.disks.values():
        if CHECK_NAME in disk.objects:
            disk.store(CHECK_NAME, b"garbage", disk.objects[CHECK_NAME][0].label)
    report = check(stopped)
    assert report.checked == 20 + 2
    assert "the check begins anew" in caplog.text


def test_a_copy_on_a_node_that_fails_is_not_read_and_told() -> None:
    world = world_with()
    holders(world)[0].before_object["get", NAMES[4]] = lambda: raise_(
        NodeProtocolError("nonsense")
    )
    holders(world)[0].before_object["head", NAMES[4]] = lambda: raise_(BROKEN)
    report = check(world)
    assert not report.is_well
    assert report.failures == 1
    result = read_result(world.cluster)
    assert result
    assert result.unread == 1


def test_a_missing_copy_is_made_although_another_can_not_be_read() -> None:
    world = World(3)
    world.cluster.put(NAMES[4], HeldBody(b"hello"), HEADERS)
    first, _, third = world.ranked
    del third.objects[NAMES[4]]
    first.before_object["get", NAMES[4]] = lambda: raise_(NodeBusyError("503"))
    report = check(world)
    assert body_of(third) == b"hello"
    assert (report.copies, report.failures) == (1, 1)


def test_a_copy_that_can_not_be_read_is_told_beside_a_damaged_one() -> None:
    world = World(3)
    world.cluster.put(NAMES[4], HeldBody(b"hello"), HEADERS)
    first, second, _ = world.ranked
    rot(second)
    first.before_object["get", NAMES[4]] = lambda: raise_(NodeBusyError("503"))
    report = check(world)
    assert body_of(second) == b"hello"
    assert (report.mended, report.failures) == (1, 1)


def raise_(error: Exception) -> None:
    raise error


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"format": 1, "x": 1}', b"\xff"])
def test_a_result_that_is_none_is_refused(data: bytes) -> None:
    with pytest.raises(NodeError):
        CheckResult.load(data)


def test_a_result_of_a_newer_program_is_no_error() -> None:
    assert CheckResult.load(b'{"format": 2}') is None


def test_what_is_said_of_a_check() -> None:
    report = Report(objects=2, checked=3, checked_bytes=15, is_whole=True)
    said = "looked at 2 objects: read 3 copies (15 bytes), 0 damaged or gone"
    assert one_line(report) == said
    report.has_resumed = True
    assert "going on with an earlier check" in one_line(report)
    assert shown(CHECK_NAME) == "the result of the last check"


def after_first(error: Exception) -> Callable[[], None]:
    """Return what raises the error, but not at its first call."""
    errors = iter([None])

    def act() -> None:
        if later := next(errors, error):
            raise later

    return act


@pytest.mark.parametrize("lost", [0, 1])
def test_what_a_node_that_fails_may_have_whole_is_not_lost(lost: int) -> None:
    world = World(3)
    name = NAMES[4]
    world.cluster.put(name, HeldBody(b"hello"), HEADERS)
    *others, third = world.ranked
    del third.objects[name]
    others[lost].before_object["get", name] = after_first(LostCopyError("damaged"))
    others[1 - lost].before_object["get", name] = after_first(BROKEN)
    report = check(world)
    result = read_result(world.cluster)
    assert result
    assert (report.failures, result.lost, result.lost_names) == (1, 0, [])
