"""Listings by the read rule: whole or refused, each key once, newest version."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import pytest

from amazin.cluster.cluster import TOMBSTONE
from amazin.cluster.listing import PROBE_KEY
from amazin.errors import NodeError, NodeProtocolError, NoNodesError
from amazin.model.objects import Label, ObjectInfo, ObjectName, Stamp
from tests.support.fakes import FakeDisk
from tests.support.world import (
    BROKEN,
    HEADERS,
    NAME,
    Bytes,
    Once,
    World,
    any_replicas,
    put_tombstone,
    stream,
    world_of,
)

KEYS = [f"{number:03d}" for number in range(40)]


def filled(replicas: int, keys: list[str] = KEYS) -> World:
    world = world_of(replicas)
    for key in keys:
        world.cluster.put(ObjectName("store", key), Bytes(key.encode()), HEADERS)
    world.forget_calls()
    return world


def listed(world: World, prefix: str = "", after: str = "") -> list[str]:
    return [key for key, _ in world.cluster.list(prefix, after)]


def holders(world: World, key: str) -> list[FakeDisk]:
    name = ObjectName("store", key)
    return [disk for disk in world.ranked if name in disk.objects]


@any_replicas
def test_each_key_is_listed_once_in_order(replicas: int) -> None:
    world = filled(replicas)
    assert listed(world) == KEYS
    assert listed(world, prefix="01") == [key for key in KEYS if key[:2] == "01"]
    assert listed(world, after="017") == KEYS[18:]
    assert listed(world, prefix="01", after="017") == ["018", "019"]
    assert listed(world, prefix="9") == []


def test_the_order_is_that_of_the_utf_8() -> None:
    keys = ["a", "a!", "a/b", "z", "\u00e9", "\uffee", "\U0001f600"]
    assert listed(filled(2, keys)) == sorted(keys, key=str.encode)


@any_replicas
def test_what_the_objects_are_is_known(replicas: int) -> None:
    infos = dict(filled(replicas).cluster.list(""))
    assert infos["007"].size == 3
    assert infos["007"].headers == HEADERS
    assert infos["007"].label


def test_where_nothing_was_ever_stored_nothing_is_listed() -> None:
    assert listed(World(1, is_formed=False)) == []
    assert listed(world_of(2)) == []


@any_replicas
def test_as_many_nodes_may_be_missing_as_replicas_cover(replicas: int) -> None:
    world = filled(replicas)
    for disk in world.ranked[: replicas - 1]:
        disk.failing = BROKEN
    assert listed(world) == KEYS
    world.ranked[-1].failing = BROKEN
    with pytest.raises(NodeError):
        listed(world)


@any_replicas
def test_a_disk_lost_a_moment_ago_is_no_empty_one(replicas: int) -> None:
    world = filled(replicas)
    for disk in world.ranked[: replicas - 1]:
        disk.wipe()
    assert listed(world) == KEYS
    world.ranked[-1].wipe()
    with pytest.raises(NodeError):
        listed(world)


def test_a_disk_lost_in_the_middle_is_noticed() -> None:
    world = filled(1)
    entries = world.cluster.list("")
    first = next(entries)
    for disk in world.ranked:
        disk.wipe()
    with pytest.raises(NodeError):
        list(entries)
    assert first[0] == "000"


def test_a_node_that_fails_in_the_middle_is_done_without() -> None:
    world = filled(2)
    entries = world.cluster.list("")
    found = [key for key, _ in islice(entries, 7)]
    world.ranked[0].failing = BROKEN
    found += [key for key, _ in entries]
    assert found == KEYS


def nonsense() -> None:
    raise NodeProtocolError("the node's list is not in order")


@pytest.mark.parametrize("turn", [0, 1, 2])
def test_a_node_that_lists_nonsense_is_done_without(turn: int) -> None:
    world = filled(2)
    world.ranked[turn].before["entry"] = nonsense
    assert listed(world) == KEYS


def test_where_every_node_is_needed_nonsense_ends_the_listing() -> None:
    world = filled(1)
    world.ranked[0].before["entry"] = nonsense
    with pytest.raises(NodeProtocolError):
        listed(world)
    assert len([call for call in world.ranked[0].calls if call == "list"]) <= 3


def test_a_second_one_ends_the_listing_with_an_error() -> None:
    world = filled(2)
    entries = world.cluster.list("")
    found = [key for key, _ in islice(entries, 7)]
    for disk in world.ranked[:2]:
        disk.failing = BROKEN
    with pytest.raises(NodeError):
        found += [key for key, _ in entries]
    assert found == KEYS[: len(found)]


def test_a_node_that_comes_and_goes_costs_no_key() -> None:
    world = filled(2)
    found = []
    entries = world.cluster.list("")
    for turn, (key, _) in enumerate(entries):
        found.append(key)
        for disk in world.ranked:
            disk.failing = None
        world.ranked[turn % 3].failing = BROKEN
    assert found == KEYS


@any_replicas
def test_deleted_objects_are_not_listed(replicas: int) -> None:
    world = filled(replicas)
    for key in KEYS[::2]:
        world.cluster.delete(ObjectName("store", key))
    assert listed(world) == KEYS[1::2]


def test_a_tombstone_on_one_node_counts() -> None:
    world = world_of(2)
    world.put(b"body")
    put_tombstone(world.ranked[1], nanoseconds=10**9)
    assert listed(world) == []


def test_the_newest_version_is_listed() -> None:
    world = filled(2, ["key"])
    old = holders(world, "key")[0].objects[ObjectName("store", "key")][0]
    missing = [disk for disk in world.ranked if disk not in holders(world, "key")]
    label = Label(Stamp(10**12, 0), old.epoch)
    missing[0].store(ObjectName("store", "key"), b"newer", label)
    ((_, info),) = world.cluster.list("")
    assert info.size == len(b"newer")


def test_what_lies_outside_of_a_home_is_not_listed() -> None:
    world = world_of(1)
    label = Label(Stamp(500, 0), 1)
    world.ranked[1].store(NAME, b"left behind", label)
    assert listed(world) == []
    world.put(b"body")
    assert [info.size for _, info in world.cluster.list("")] == [4]


def brief(world: World) -> Iterator[tuple[str, ObjectInfo]]:
    for disk in world.ranked:
        disk.lists_briefly = True
    return world.cluster.list("")


@any_replicas
def test_what_a_listing_does_not_tell_is_asked(replicas: int) -> None:
    world = filled(replicas)
    world.cluster.delete(ObjectName("store", "003"))
    infos = dict(brief(world))
    assert list(infos) == [key for key in KEYS if key != "003"]
    assert all(info.headers == HEADERS for info in infos.values())


def test_an_object_that_looks_like_a_tombstone_is_listed() -> None:
    world = world_of(2)
    world.put(b"".join(TOMBSTONE.chunks()))
    assert [key for key, _ in brief(world)] == [NAME.key]


@any_replicas
@pytest.mark.parametrize("is_open", [False, True])
def test_the_set_of_nodes_may_change_meanwhile(replicas: int, is_open: bool) -> None:
    world = filled(replicas)
    entries = world.cluster.list("")
    found = [key for key, _ in islice(entries, 7)]
    if is_open:
        world.join()
        world.cluster.put(ObjectName("store", "0300"), stream(b"new"), HEADERS)
    else:
        world.announce()
    found += [key for key, _ in entries]
    assert found == sorted([*KEYS, *(["0300"] if is_open else [])])


def test_while_it_changes_no_node_may_be_missing_for_one_copy() -> None:
    world = filled(1)
    world.join()
    assert listed(world) == KEYS
    world.ranked[0].failing = BROKEN
    with pytest.raises(NodeError):
        listed(world)


def test_a_roster_that_is_too_old_ends_it() -> None:
    world = filled(1)
    entries = world.cluster.list("")
    next(entries)
    world.time += 1000
    for disk in world.ranked:
        disk.failing = BROKEN
    with pytest.raises((NodeError, NoNodesError)):
        list(entries)


def test_it_reads_no_further_than_it_is_asked() -> None:
    world = filled(1)
    read = []
    for disk in world.ranked:
        disk.before["entry"] = lambda: read.append(1)
    entries = world.cluster.list("")
    next(entries)
    assert len(read) <= 2 * len(world.ranked)


def test_others_write_while_it_lists() -> None:
    world = filled(2)
    entries = world.cluster.list("")
    found = [key for key, _ in islice(entries, 10)]
    world.cluster.put(ObjectName("store", "0205"), Bytes(b"behind"), {})
    world.cluster.delete(ObjectName("store", "020"))
    found += [key for key, _ in entries]
    assert set(KEYS) - {"020"} <= set(found) <= {*KEYS, "0205"}
    assert found == sorted(set(found))


def test_the_probe_is_no_key_that_a_client_can_store() -> None:
    assert not PROBE_KEY.isalnum()


def test_only_so_many_nodes_are_asked_as_needed() -> None:
    world = filled(2)
    asked = []
    for disk in world.ranked:
        disk.before["list"] = lambda: asked.append(1)
    listed(world)
    assert len(asked) == 2


def test_a_node_that_fails_when_it_is_listed_first() -> None:
    world = filled(2)
    disk = world.ranked[0]
    disk.before["list"] = Once(lambda: setattr(disk, "failing", BROKEN))
    assert listed(world) == KEYS
