"""A full cluster can be emptied: deletes of nodes that refuse tombstones."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from amazin.errors import NodeError, NodeFullError, NoSuchKeyError
from amazin.membership.member import Member
from amazin.membership.states import TRIAL_SECONDS, try_uploads
from amazin.model.node_specs import NodeSpec
from amazin.model.objects import CHUNK_BYTES, Label, Stamp
from amazin.repair.report import Options
from amazin.repair.run import Repair
from tests.support.cleanup import closed_later
from tests.support.fakes import FakeDisk, FakeNode, FakePending
from tests.support.world import (
    BROKEN,
    NAME,
    Once,
    World,
    act_at,
    fail_at,
    has_tombstone,
    put_tombstone,
    world_of,
)

any_replicas = pytest.mark.parametrize("replicas", [1, 2, 3])
any_node = pytest.mark.parametrize("number", [0, 1, 2])


def full_world(replicas: int) -> World:
    """Return full nodes that hold the object."""
    world = world_of(replicas)
    world.put(b"hello")
    for disk in world.ranked:
        disk.is_full = True
    return world


def held(world: World) -> list[bool]:
    """Whether each node holds anything of the object, best node first."""
    return [NAME in disk.objects for disk in world.ranked]


def require_deleted(world: World) -> None:
    with pytest.raises(NoSuchKeyError):
        world.read()


@any_replicas
def test_full_nodes_give_the_space_of_a_deleted_object_back(replicas: int) -> None:
    world = full_world(replicas)
    assert world.cluster.delete(NAME).name in world.names
    assert not any(held(world))
    require_deleted(world)
    world.cluster.delete(NAME)
    for disk in world.ranked:
        disk.is_full = False
    world.put(b"again")
    assert world.read() == b"again"


@any_replicas
def test_so_do_they_while_the_set_of_nodes_changes(replicas: int) -> None:
    world = full_world(replicas)
    world.join()
    for disk in world.ranked:
        disk.is_full = True
    world.cluster.delete(NAME)
    assert not any(held(world))
    require_deleted(world)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("first", [0, 1, 2])
def test_some_full_nodes_give_it_back_too(first: int, count: int) -> None:
    world = World(2)
    world.put(b"hello")
    full = [world.ranked[(first + more) % 3] for more in range(count)]
    for disk in full:
        disk.is_full = True
    world.cluster.delete(NAME)
    assert not any(NAME in disk.objects for disk in full)
    require_deleted(world)
    for disk in world.ranked:
        disk.failing = BROKEN
        require_deleted(world)
        world.recover(disk)


@any_node
def test_what_a_full_node_holds_stays_while_another_is_down(number: int) -> None:
    """It could hold a copy, and bring it back."""
    world = full_world(2)
    world.ranked[number].failing = BROKEN
    before = held(world)
    with pytest.raises(NodeFullError):
        world.cluster.delete(NAME)
    assert held(world) == before
    world.recover(world.ranked[number])
    assert world.read() == b"hello"
    world.cluster.delete(NAME)
    require_deleted(world)


@any_node
def test_a_node_that_lost_its_disk_has_not_answered(number: int) -> None:
    world = full_world(2)
    world.ranked[number].wipe()
    with pytest.raises(NodeError):
        world.cluster.delete(NAME)
    assert held(world) != [False, False, False]


@any_node
@pytest.mark.parametrize("frees_at_once", [False, True])
def test_a_failed_removal_is_finished_by_the_next(
    number: int, frees_at_once: bool
) -> None:
    world = full_world(3)
    for disk in world.ranked:
        disk.frees_at_once = frees_at_once
    fail_at(world.ranked[number], "delete", BROKEN)
    with pytest.raises(NodeFullError):
        world.cluster.delete(NAME)
    world.recover(world.ranked[number])
    del world.ranked[number].before["delete"]
    world.cluster.delete(NAME)
    require_deleted(world)


def test_where_a_removal_makes_room_a_tombstone_does_for_a_node_that_failed() -> None:
    world = full_world(2)
    first, second, third = world.ranked
    first.frees_at_once, third.is_full = True, False
    fail_at(second, "delete", BROKEN)
    second.is_full = True
    third.failures.append(NodeFullError("full for a moment"))
    world.cluster.delete(NAME)
    assert [has_tombstone(disk) for disk in (first, third)] == [True, True]
    world.recover(second)
    require_deleted(world)


@any_replicas
def test_no_single_tombstone_remains(replicas: int) -> None:
    """Its stamp could be greater than that of a write which does not see it."""
    world = full_world(replicas)
    put_tombstone(world.ranked[0], 10**9)
    world.cluster.delete(NAME)
    assert not any(held(world))


@pytest.mark.parametrize(
    ("method", "skip"), [("head", 1), ("head", 2), ("commit", 0), ("delete", 0)]
)
@any_node
def test_what_is_stored_meanwhile_stays_however_slow_the_delete_is(
    number: int, method: str, skip: int
) -> None:
    world = full_world(2)
    newer = Label(Stamp(10**6, 0))
    overtake = Once(
        lambda: [disk.store(NAME, b"newer", newer) for disk in world.ranked[:2]]
    )
    act_at(world.ranked[number], method, overtake, skip)
    world.cluster.delete(NAME)
    if overtake.is_done:
        assert world.bodies() == [b"newer", b"newer", None]
    else:
        assert not any(held(world))


def test_copies_that_never_end_end_the_delete() -> None:
    world = full_world(2)
    disk = world.ranked[0]
    disk.before["head"] = lambda: disk.store(NAME, b"old", Label(Stamp(1, 0)))
    with pytest.raises(NodeFullError):
        world.cluster.delete(NAME)


def test_with_a_change_of_the_nodes_meanwhile_all_are_asked_again() -> None:
    world = full_world(2)
    world.ranked[0].before["delete"] = Once(world.announce)
    world.cluster.delete(NAME)
    assert not any(held(world))


@pytest.mark.parametrize("size", [CHUNK_BYTES, CHUNK_BYTES + 1])
def test_repair_copies_nothing_that_was_removed_while_it_read(size: int) -> None:
    world = World(2)
    world.put(bytes(size))
    first, second, third = world.ranked
    del second.objects[NAME]
    first.is_full = third.is_full = True
    options = Options(bytes_per_second=1e12)

    def remove() -> None:
        for disk in world.ranked:
            disk.objects.pop(NAME, None)

    first.before_object["get", NAME] = Once(
        lambda: setattr(first, "before", {"head": remove})
    )
    report = Repair(world.membership, options, lambda: world.now_ns).run()
    assert not any(held(world))
    assert report.copies == 0


# It shows.


def states_of(world: World) -> dict[str, str]:
    return {name: state.word for name, state in world.cluster.states().items()}


@pytest.mark.parametrize("frees", [lambda world: None, lambda world: world.put(b"x")])
def test_a_full_node_is_shown_as_full_until_it_takes_an_upload(
    frees: Callable[[World], None],
) -> None:
    world = World(1)
    world.ranked[0].is_full = True
    name = world.names[0]
    with pytest.raises(NodeFullError):
        world.put(b"more")
    assert world.cluster.states()[name].word == "full"
    world.ranked[0].is_full = False
    frees(world)
    world.member(world.ranked[0]).tried_at = -math.inf
    assert states_of(world) == dict.fromkeys(world.names, "up")


def test_a_node_that_is_down_is_not_shown_as_full() -> None:
    world = full_world(1)
    with pytest.raises(NodeFullError):
        world.put(b"more")
    world.ranked[0].failing = BROKEN
    assert states_of(world)[world.names[0]] == "failing"


def test_who_never_saw_a_full_node_finds_out() -> None:
    world = full_world(1)
    world.ranked[1].is_full = world.ranked[2].is_full = False
    other = World.beside(world, 1)
    assert states_of(other) == dict(zip(world.names, ["full", "up", "up"], strict=True))


def test_a_node_that_is_silent_to_a_trial_delays_nobody_for_long() -> None:
    class Silent(FakePending[object]):
        def is_ready(self, timeout: float) -> bool:
            assert timeout <= TRIAL_SECONDS
            return False

    class Node(FakeNode):
        def start_trial(self) -> FakePending[None]:
            return Silent(self.disk, "put", lambda: pytest.fail("waited for"))

    spec = NodeSpec("a", None)
    member = closed_later(Member(spec, Node(spec, FakeDisk())))
    try_uploads([member])
    assert not member.is_full
    assert member.tried_at == -math.inf
