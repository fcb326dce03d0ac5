"""A copy whose bytes are lost: another is asked, and nothing is taken for deleted."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from amazin.cluster.large_objects import LargeObjectStore
from amazin.errors import LostCopyError, NodeError, NodeFullError, NoSuchKeyError
from amazin.model.bodies import HeldBody
from tests.support.fakes import FakeDisk
from tests.support.world import BROKEN, HEADERS, LONG, NAME, Bytes, Once, World


def whole(info: object) -> None:
    """Choose all of it."""


def choosers() -> list[Callable[[object], None] | None]:
    return [None, whole]


either_way = pytest.mark.parametrize("choose", choosers(), ids=["at once", "chosen"])


def read(world: World, choose: Callable[[object], None] | None = None) -> bytes:
    download = world.cluster.get(NAME, choose)
    try:
        return b"".join(iter(download.content.read, b""))
    finally:
        download.content.close()


def holders(world: World) -> list[FakeDisk]:
    """Return the disks that hold the object, best first."""
    names = world.roster.settled.home(NAME.hash_key)
    disks = [world.disks[name] for name in names]
    return [disk for disk in disks if NAME in disk.objects]


def stored(replicas: int, count: int = 3, body: bytes = b"hello") -> World:
    world = World(replicas, count)
    world.cluster.put(NAME, HeldBody(body), HEADERS)
    return world


@either_way
def test_the_only_copy_is_lost_for_get_and_head(
    choose: Callable[[object], None] | None,
) -> None:
    world = stored(1)
    holders(world)[0].damaged.add(NAME)
    for _ in range(2):
        with pytest.raises(LostCopyError):
            read(world, choose)
        with pytest.raises(LostCopyError):
            world.cluster.head(NAME)


@either_way
@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("lost", [0, 1])
def test_another_copy_is_read(
    choose: Callable[[object], None] | None, count: int, lost: int
) -> None:
    world = stored(2, count)
    holders(world)[lost].damaged.add(NAME)
    assert read(world, choose) == b"hello"
    stored_copy = world.cluster.head(NAME)
    assert not stored_copy.info.is_damaged
    assert stored_copy.info.size == 5


@either_way
def test_a_lost_copy_counts_as_an_answer(
    choose: Callable[[object], None] | None,
) -> None:
    world = stored(2)
    lost, held = holders(world)
    lost.damaged.add(NAME)
    for disk in world.disks.values():
        if disk not in (lost, held):
            disk.failing = BROKEN
    assert read(world, choose) == b"hello"
    world.cluster.head(NAME)


@either_way
def test_an_older_copy_is_never_read_instead(
    choose: Callable[[object], None] | None,
) -> None:
    world = stored(2)
    second = holders(world)[1]
    second.failing = BROKEN
    world.cluster.put(NAME, HeldBody(b"newer"), HEADERS)
    second.failing = None
    newer = [disk for disk in holders(world) if disk is not second]
    newer[0].damaged.add(NAME)
    assert read(world, choose) == b"newer"
    newer[1].damaged.add(NAME)
    with pytest.raises(LostCopyError):
        read(world, choose)
    with pytest.raises(LostCopyError):
        world.cluster.head(NAME)


def test_while_another_copy_may_be_on_a_node_that_is_away_it_is_not_lost() -> None:
    world = stored(2, 2)
    lost, held = holders(world)
    lost.damaged.add(NAME)
    held.failing = BROKEN
    with pytest.raises(NodeError) as raised:
        read(world)
    assert not isinstance(raised.value, LostCopyError)
    with pytest.raises(NodeError) as raised:
        world.cluster.head(NAME)
    assert not isinstance(raised.value, LostCopyError)


@pytest.mark.parametrize("replicas", [1, 2])
@pytest.mark.parametrize("lost", [1, 2])
def test_an_upload_replaces_lost_copies(replicas: int, lost: int) -> None:
    world = stored(replicas, 2)
    for disk in holders(world)[:lost]:
        disk.damaged.add(NAME)
    world.cluster.put(NAME, HeldBody(b"newer"), HEADERS)
    assert read(world) == b"newer"
    assert all(not disk.damaged for disk in world.disks.values())


def test_a_long_upload_replaces_lost_copies() -> None:
    world = stored(2, 2)
    for disk in holders(world):
        disk.damaged.add(NAME)
    world.cluster.put(NAME, Bytes(LONG, is_stream=True), HEADERS)
    assert read(world) == LONG


@pytest.mark.parametrize("replicas", [1, 2])
def test_an_object_whose_copies_are_lost_can_be_deleted(replicas: int) -> None:
    world = stored(replicas, 2)
    for disk in holders(world):
        disk.damaged.add(NAME)
    world.cluster.delete(NAME)
    with pytest.raises(NoSuchKeyError):
        world.cluster.head(NAME)


@pytest.mark.parametrize("replicas", [1, 2])
def test_what_is_stored_once_is_stored_again_where_it_is_lost(replicas: int) -> None:
    world = World(replicas, 2)
    objects = LargeObjectStore(world.cluster, 0)
    objects.put_once(NAME, HeldBody(b"hello"), HEADERS)
    holders(world)[0].damaged.add(NAME)
    objects.put_once(NAME, HeldBody(b"hello"), HEADERS)
    assert not holders(world)[0].damaged


@either_way
def test_an_overwrite_between_two_openings_is_read(
    choose: Callable[[object], None] | None,
) -> None:
    world = stored(2)
    lost, held = holders(world)
    lost.damaged.add(NAME)
    held.before["get"] = Once(lambda: world.put(b"newer"))
    assert read(world, choose) == b"newer"


@either_way
def test_what_is_deleted_between_two_openings_is_not_there(
    choose: Callable[[object], None] | None,
) -> None:
    world = stored(2)
    lost, held = holders(world)
    lost.damaged.add(NAME)
    held.before["get"] = Once(lambda: world.cluster.delete(NAME))
    with pytest.raises(NoSuchKeyError):
        read(world, choose)


@either_way
@pytest.mark.parametrize("replicas", [2, 3])
def test_a_whole_newer_copy_of_a_failed_upload_is_read(
    choose: Callable[[object], None] | None, replicas: int
) -> None:
    world = stored(replicas, replicas)
    first, second = world.ranked[:2]
    first.is_full = True
    with pytest.raises(NodeFullError):
        world.put(b"newer")
    first.damaged.add(NAME)
    for disk in world.ranked[2:]:
        disk.failing = BROKEN
    assert read(world, choose) == second.objects[NAME][1] == b"newer"
    assert world.cluster.head(NAME).info.etag == second.objects[NAME][0].etag


def test_a_lost_object_is_looked_for_twice() -> None:
    world = stored(2)
    for disk in holders(world):
        disk.damaged.add(NAME)
    world.forget_calls()
    with pytest.raises(LostCopyError):
        read(world)
    openings = [calls.count("get") for calls in world.calls()]
    assert openings == [3, 2, 1]


def test_what_may_be_on_a_node_that_is_away_is_not_lost_at_a_second_look() -> None:
    world = stored(3, 3)
    first, second, third = world.ranked
    second.is_full = True
    with pytest.raises(NodeFullError):
        world.put(b"newer")
    assert third.objects[NAME] == first.objects[NAME]
    first.damaged.add(NAME)
    third.failing = BROKEN
    with pytest.raises(NodeError) as raised:
        read(world)
    assert not isinstance(raised.value, LostCopyError)
