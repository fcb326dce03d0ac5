"""The promises, while nodes join: nothing is lost between two homes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from amazin.cluster.cluster import MAX_ATTEMPTS
from amazin.errors import (
    ConflictError,
    NodeError,
    NodePermissionError,
    NoNodesError,
    NoSuchKeyError,
)
from amazin.membership.transitions import forget
from amazin.model.objects import Stamp
from tests.support.fakes import FakeDisk, skip
from tests.support.world import (
    BROKEN,
    CHUNKS,
    FAR_FUTURE,
    HEADERS,
    LONG,
    NAME,
    NEVER_STORED,
    SILENT,
    Bytes,
    Once,
    World,
    any_read,
    any_replicas,
    copy_of,
    fail_at,
    has_tombstone,
    labels,
    stream,
    world_of,
    world_with,
)

# The first upload makes the cluster.


def test_a_node_that_stores_nothing_does_not_join() -> None:
    """A share of all writes would fail: its folder may belong to another user."""
    world = world_with(2)
    disk = FakeDisk(refusal=NodePermissionError("EACCES"))
    world.disks["new"] = disk
    world.show(*world.disks)
    world.membership.refresh()
    assert world.roster.next is None
    disk.refusal = None
    world.member(disk).tried_at = -math.inf
    world.membership.refresh()
    assert world.roster.next
    assert "new" in world.roster.next.names


@any_replicas
def test_the_first_upload_settles_the_set_of_nodes(replicas: int) -> None:
    world = World(replicas, max(3, replicas), is_formed=False)
    world.put(b"hello")
    assert world.roster.is_settled
    assert world.roster.settled
    assert world.roster.settled.replicas == replicas
    assert world.bodies().count(b"hello") == replicas
    assert world.read() == b"hello"


def test_there_is_no_first_upload_while_a_node_is_silent() -> None:
    world = World(1, is_formed=False)
    world.ranked[2].is_silent = True
    body = stream(*CHUNKS)
    with pytest.raises(NoNodesError):
        world.cluster.put(NAME, body, {})
    assert body.reads == 0
    assert not any(disk.objects for disk in world.ranked)


@any_replicas
def test_an_upload_by_what_was_seen_long_ago_looks_again_first(replicas: int) -> None:
    world = world_of(replicas)
    world.time += 100
    world.put(b"hello")
    assert world.read() == b"hello"
    for disk in world.ranked:
        disk.failing = BROKEN
    world.time += 100
    body = stream(*CHUNKS)
    with pytest.raises(NoNodesError):
        world.cluster.put(NAME, body, {})
    assert body.reads == 0


# Reading.


def test_where_the_whole_home_was_given_up_nothing_is_found_nor_deleted() -> None:
    world = world_with(1)
    best = world.names[0]
    world.show(*world.names[1:])
    world.record(forget(world.roster, {best}))
    placement = world.cluster.lookup.place(NAME).placement
    assert [len(quorum.members) for quorum in placement.quorums] == [0, 1]
    with pytest.raises(NoSuchKeyError):
        world.read()
    world.open()
    assert world.cluster.delete(NAME).name in world.names[1:]


@any_read
@any_replicas
def test_while_a_node_joins_what_was_stored_is_found(
    replicas: int, look: Callable[[World], object]
) -> None:
    world = world_with(replicas)
    world.announce()
    assert look(world) in (b"hello", 5)
    world.open()
    assert look(world) in (b"hello", 5)
    with pytest.raises(NoSuchKeyError):
        world.read(NEVER_STORED)


def test_a_quorum_of_each_home_is_asked_and_no_node_twice() -> None:
    world = world_with(2)
    world.announce()
    world.forget_calls()
    world.read()
    # Homes: 3 2 1 and 4 3 2; what writes go by is asked first.
    assert world.calls() == [["head"], ["get"], ["head"], []]
    world.open()
    world.forget_calls()
    world.read()
    assert world.calls() == [["get"], ["head", "get"], ["head"], []]


@pytest.mark.parametrize("failing", range(4))
def test_while_a_node_joins_any_other_may_fail(failing: int) -> None:
    world = world_with(2)
    world.join()
    world.ranked[failing].failing = SILENT
    assert world.read() == b"hello"
    with pytest.raises(NoSuchKeyError):
        world.read(NEVER_STORED)


def test_while_a_node_joins_both_homes_have_to_answer() -> None:
    world = world_with(1)
    world.join()
    world.ranked[0].failing = SILENT
    with pytest.raises(NodeError):
        world.read()
    world.recover(world.ranked[0])
    world.ranked[1].failing = SILENT
    with pytest.raises(NodeError):
        world.read()


@pytest.mark.parametrize("is_open", [False, True])
def test_outside_the_settled_home_only_what_was_brought_there_counts(
    is_open: bool,
) -> None:
    world = world_with(1)
    world.announce()
    if is_open:
        world.open()
    joined, settled = world.ranked[:2]
    coming = world.roster.next
    assert coming
    joined.put(NAME, b"left behind", Stamp(10**6, 0), coming.epoch - 1)
    assert world.read() == b"hello"
    joined.put(NAME, b"left behind, without any stamp")
    assert world.read() == b"hello"
    joined.put(NAME, b"brought there", Stamp(10**6, 0), coming.epoch)
    assert world.read() == b"brought there"
    settled.put(NAME, b"of any epoch", Stamp(10**7, 0), 0)
    assert world.read() == b"of any epoch"


def test_what_was_left_behind_may_hide_nothing() -> None:
    """Also if it is the only copy that answers before the one that counts."""
    world = world_with(1)
    world.join()
    world.ranked[0].put(NAME, b"left behind", Stamp(10**6, 0), 0)
    for disk in world.ranked[1:]:
        disk.objects.pop(NAME, None)
    with pytest.raises(NoSuchKeyError):
        world.read()
    assert world.ranked[0].opened[0].is_closed


@any_read
@any_replicas
def test_a_read_during_which_the_set_changes_is_done_anew(
    replicas: int, look: Callable[[World], object]
) -> None:
    """Somebody writes by the next set before the question to the old home ends."""
    world = world_with(replicas)
    world.announce()

    def change() -> None:
        world.open()
        world.put(b"the new one")

    act = Once(change)
    for disk in world.ranked:
        disk.before["get"] = disk.before["head"] = lambda: None
    first = world.ranked[1]
    first.before["get"] = first.before["head"] = lambda: act.is_done or act()
    assert look(world) in (b"the new one", 11)
    assert act.is_done
    assert all(content.is_closed for disk in world.ranked for content in disk.opened)


def test_a_set_that_keeps_changing_is_a_conflict() -> None:
    world = world_with(1)
    roster = world.roster

    def change() -> None:
        nonlocal roster
        roster = replace(roster, generation=roster.generation + 1)
        calls = {name: list(disk.calls) for name, disk in world.disks.items()}
        world.record(roster)
        for name, asked in calls.items():
            world.disks[name].calls[:] = asked

    world.ranked[0].before["head"] = change
    with pytest.raises(ConflictError):
        world.cluster.head(NAME)
    assert world.calls()[0].count("head") == MAX_ATTEMPTS


@any_read
def test_an_answer_that_comes_too_late_counts_by_a_fresh_look_only(
    look: Callable[[World], object],
) -> None:
    """Nodes took so long that the set may have changed; and now no one can say."""
    world = world_with(1)

    def stall() -> None:
        world.time += 100
        for disk in world.ranked[1:]:
            disk.failing = SILENT

    first = world.ranked[0]
    first.before["get"] = first.before["head"] = Once(stall)
    assert look(world) in (b"hello", 5)  # the home still confirms it

    def stall_for_good() -> None:
        world.time += 100
        for method in ("look", "get"):
            first.before[method] = lambda: first.failures.append(BROKEN)

    first.before["get"] = first.before["head"] = Once(stall_for_good)
    with pytest.raises(NoNodesError):
        look(world)


# Writing.


def test_while_a_node_is_announced_writes_go_by_the_settled_set() -> None:
    world = World(1)
    world.announce()
    world.put(b"hello")
    assert world.bodies() == [None, b"hello", None, None]
    assert world.read() == b"hello"
    world.open()
    assert world.read() == b"hello"


@any_replicas
def test_when_the_next_set_is_open_writes_go_by_it(replicas: int) -> None:
    world = world_of(replicas)
    world.put(b"old")
    world.join()
    world.put(b"new")
    coming = world.roster.next
    assert coming
    assert world.bodies()[:replicas] == [b"new"] * replicas
    epochs = [label.epoch for label in labels(world)[:replicas] if label]
    assert epochs == [coming.epoch] * replicas
    assert world.read() == b"new"


@any_replicas
def test_while_a_node_joins_a_stamp_is_greater_than_in_both_homes(
    replicas: int,
) -> None:
    world = world_of(replicas)
    world.ranked[0].put(NAME, b"old", FAR_FUTURE)
    for disk in world.ranked[1:replicas]:
        disk.put(NAME, b"old", FAR_FUTURE)
    world.join()
    world.put(b"new")
    assert world.read() == b"new"


@pytest.mark.parametrize("is_open", [False, True])
@any_replicas
def test_while_a_node_joins_a_delete_writes_tombstones(
    replicas: int, is_open: bool
) -> None:
    world = world_of(replicas)
    world.put(b"old")
    world.announce()
    if is_open:
        world.open()
    world.cluster.delete(NAME)
    home = world.ranked[not is_open :][:replicas]
    assert [has_tombstone(disk) for disk in home] == [True] * replicas
    with pytest.raises(NoSuchKeyError):
        world.read()
    world.put(b"new")
    assert world.read() == b"new"


@pytest.mark.parametrize("chunks", [CHUNKS, [b"hello"]], ids=["streamed", "small"])
@any_replicas
def test_an_upload_during_which_the_next_set_opens_is_brought_there(
    replicas: int, chunks: list[bytes]
) -> None:
    world = world_of(replicas)
    world.put(b"old")
    world.announce()
    body = stream(*chunks)
    for disk in world.ranked[1 : 1 + replicas]:
        disk.before["commit"] = Once(world.open) if disk is world.ranked[1] else skip
    stored = world.cluster.put(NAME, body, HEADERS)
    assert body.reads == len(chunks)
    etag = stored.info.etag
    copied = [c for disk in world.ranked for c in disk.opened if c.info.etag == etag]
    assert bool(copied) == (len(chunks) > 1)  # what is small is sent again
    coming = world.roster.next
    assert coming
    assert stored.info.label
    assert stored.info.label.epoch == coming.epoch
    home = world.ranked[:replicas]
    assert [copy_of(disk, stored.info) for disk in home] == [True] * replicas
    assert world.read() == b"".join(chunks)
    left = world.ranked[replicas].objects[NAME][0].label
    assert left
    assert left.stamp < stored.info.label.stamp


def test_what_the_new_home_can_not_take_is_not_acknowledged() -> None:
    world = World(1)
    world.announce()

    def change() -> None:
        world.open()
        fail_at(world.ranked[0], "put", BROKEN)

    world.ranked[1].before["commit"] = Once(change)
    with pytest.raises(NodeError):
        world.cluster.put(NAME, stream(*CHUNKS), {})


@any_replicas
def test_an_upload_after_which_no_node_confirms_the_set_is_not_acknowledged(
    replicas: int,
) -> None:
    world = world_of(replicas)

    def stall() -> None:
        world.time += 100
        for disk in world.ranked:
            for method in ("look", "get"):
                disk.before[method] = lambda disk=disk: disk.failures.append(BROKEN)

    world.ranked[0].before["commit"] = stall
    with pytest.raises(NoNodesError):
        world.cluster.put(NAME, stream(*CHUNKS), {})


def test_a_conditional_upload_during_which_the_set_changes_keeps_its_condition() -> (
    None
):
    """It held when the upload was stored; the copy is brought to the new home."""
    world = World(1)

    def change() -> None:
        world.announce()
        world.open()

    world.ranked[0].before["commit"] = Once(change)
    world.cluster.put(NAME, Bytes(*CHUNKS), {}, if_absent=True)
    assert world.bodies()[0] == LONG
    assert world.read() == LONG


def test_copies_are_made_from_any_that_is_left() -> None:
    """Of the copies of the first attempt one is overwritten by the second."""
    world = World(2)
    world.announce()
    world.ranked[1].before["commit"] = Once(world.open)
    # Home by the settled set: 3 2 1; by the next one: 4 3 2. The upload is on 3 and 2.
    fail_at(world.ranked[0], "put", BROKEN)
    second = world.ranked[2]
    second.before["get"] = lambda: second.failures.append(BROKEN)
    stored = world.cluster.put(NAME, stream(*CHUNKS), HEADERS)
    assert [copy_of(disk, stored.info) for disk in world.ranked] == [
        False,
        True,
        True,
        False,
    ]


def test_an_upload_to_a_node_that_loses_its_disk_meanwhile_is_done_again() -> None:
    world = World(2)
    first = world.ranked[0]

    def lose() -> None:
        first.wipe()
        world.membership.refresh()

    world.ranked[1].before["commit"] = Once(lose)
    stored = world.cluster.put(NAME, stream(*CHUNKS), HEADERS)
    holders = [copy_of(disk, stored.info) for disk in world.ranked]
    assert holders == [False, True, True]


# Nothing is settled.


def unsettled_world() -> World:
    """Return nodes with objects of another program, seen for the first time."""
    world = World(1, is_formed=False)
    world.ranked[2].put(NAME, b"left")
    world.membership.refresh()
    assert world.roster.settled is None
    assert not world.roster.is_open
    return world


def test_where_nothing_is_settled_writes_wait() -> None:
    world = unsettled_world()
    body = stream(*CHUNKS)
    with pytest.raises(NoNodesError, match="changing"):
        world.cluster.put(NAME, body, {})
    with pytest.raises(NoNodesError, match="changing"):
        world.cluster.delete(NAME)
    assert body.reads == 0
    assert world.read() == b"left"


def test_where_nothing_is_settled_writes_win_over_what_was_left() -> None:
    world = unsettled_world()
    world.open()
    assert world.read() == b"left"
    world.put(b"new")
    assert world.bodies() == [b"new", None, b"left"]
    assert world.read() == b"new"


def test_where_nothing_is_settled_a_delete_hides_what_was_left() -> None:
    world = unsettled_world()
    world.open()
    world.cluster.delete(NAME)
    assert has_tombstone(world.ranked[0])
    with pytest.raises(NoSuchKeyError):
        world.read()
    world.cluster.delete(NAME)


# Deleting.


def change_during_delete(world: World, act: Callable[[], object]) -> None:
    """Let the next set open while the home deletes, with something in its home."""

    def change() -> None:
        world.announce()
        world.open()
        act()

    world.ranked[0].before["delete"] = Once(change)


def test_a_delete_during_which_the_next_set_opens_is_done_by_it() -> None:
    """Another gateway has stored the object by the next set, unseen by this one."""
    world = World(1)
    world.put(b"old")

    def store() -> None:
        coming = world.roster.next
        assert coming
        world.ranked[0].put(NAME, b"new", FAR_FUTURE, coming.epoch)

    change_during_delete(world, store)
    world.cluster.delete(NAME)
    assert has_tombstone(world.ranked[0])
    with pytest.raises(NoSuchKeyError):
        world.read()


def test_a_delete_that_removed_all_before_the_next_set_opens_is_one() -> None:
    world = World(1)
    world.put(b"old")
    change_during_delete(world, skip)
    world.cluster.delete(NAME)
    assert world.bodies() == [None] * 4
    with pytest.raises(NoSuchKeyError):
        world.read()


# Two gateways.


def test_two_gateways_of_which_one_sees_the_change_later() -> None:
    """What one writes by the settled set the other finds, and the other way round."""
    world = World(2)
    late = World.beside(world, 2)
    world.announce()
    late.put(b"by the settled set")
    assert world.read() == b"by the settled set"
    world.time += 100
    world.membership.refresh()
    world.membership.refresh()
    assert world.roster.is_open
    world.put(b"by the next set")
    assert late.read() == b"by the next set"
