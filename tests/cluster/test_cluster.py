"""The promises: what a client may believe of a read, whatever the nodes do."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from amazin.cluster.cluster import MAX_ATTEMPTS
from amazin.errors import (
    BodyError,
    ConflictError,
    DiscoveryError,
    GatewayError,
    NodeAccessError,
    NodeError,
    NodeFullError,
    NodeTimeoutError,
    NodeUnreachableError,
    NoNodesError,
    NoSuchKeyError,
)
from amazin.membership.states import State
from amazin.model.objects import CHUNK_BYTES, ObjectInfo, ObjectName, Stamp
from tests.support.fakes import FakeDisk
from tests.support.waiting import await_that
from tests.support.world import (
    BROKEN,
    LONG,
    NAME,
    NEVER_STORED,
    READS,
    SILENT,
    Bytes,
    Once,
    World,
    any_read,
    any_replicas,
    read,
    whole,
    world_with,
)

# One copy.


def test_with_one_replica_nothing_but_the_home_is_asked() -> None:
    world = world_with(1)
    assert world.read() == b"hello"
    assert world.calls() == [["get"], [], []]
    assert world.cluster.head(NAME).member.name == world.names[0]
    assert world.calls() == [["head"], [], []]
    assert read(world.cluster.get(NAME, whole)) == b"hello"
    assert world.calls() == [["head", "get"], [], []]


def test_with_one_replica_the_home_alone_says_that_there_is_none() -> None:
    world = World(1)
    for disk in world.ranked[1:]:
        disk.put(NAME, b"left behind", Stamp(10**20, 0))
    for look in READS.values():
        with pytest.raises(NoSuchKeyError):
            look(world)
    assert world.calls() == [["get", "head", "head"], [], []]


@any_read
def test_with_one_replica_a_dead_home_is_never_a_missing_object(
    look: Callable[[World], object],
) -> None:
    world = world_with(1)
    world.ranked[0].failing = SILENT
    for _ in range(2):  # the second time it is skipped
        with pytest.raises(NodeError) as caught:
            look(world)
        assert caught.value.node == world.names[0]
    assert world.calls()[1:] == [[], []]


def test_with_one_replica_a_lost_disk_is_never_a_missing_object() -> None:
    world = world_with(1)
    world.ranked[0].wipe()
    for _ in range(2):  # the second time it is known
        for request in (world.cluster.get, world.cluster.head, world.cluster.delete):
            with pytest.raises(NodeError):
                request(NAME)
        with pytest.raises(NodeError):
            world.put(b"new")
        world.membership.refresh()


def test_with_one_replica_a_dead_node_takes_its_own_keys_only() -> None:
    world = world_with(1)
    world.ranked[0].failing = SILENT
    keys = (ObjectName("store", str(number)) for number in itertools.count())
    settled = world.roster.settled
    assert settled
    name = next(k for k in keys if settled.home(k.hash_key) != world.names[:1])
    with pytest.raises(NoSuchKeyError):
        world.read(name)
    world.cluster.put(name, Bytes(b"well"), {})
    assert world.read(name) == b"well"


# Several copies.


def test_a_read_asks_as_many_nodes_as_needed_and_fetches_the_object_once() -> None:
    world = world_with(2)
    assert world.read() == b"hello"
    assert world.calls() == [["get"], ["head"], []]
    world.cluster.head(NAME)
    assert world.calls() == [["head"], ["head"], []]
    world.cluster.get(NAME, whole).content.close()
    assert world.calls() == [["head", "get"], ["head"], []]


def test_with_three_replicas_three_of_five_are_asked() -> None:
    world = world_with(3)
    assert world.read() == b"hello"
    assert world.calls() == [["get"], ["head"], ["head"], [], []]


def test_with_as_many_nodes_as_replicas_one_answer_is_enough() -> None:
    world = World(2, 2)
    world.put(b"hello")
    world.forget_calls()
    assert world.read() == b"hello"
    assert world.calls() == [["get"], []]


def test_all_questions_are_sent_before_an_answer_is_awaited() -> None:
    world = world_with(3)
    sent: list[int] = []
    for disk in world.ranked:
        for method in ("get", "head"):
            disk.before[method] = lambda: sent.append(sum(map(len, world.calls_now())))
    world.read()
    assert sent == [3, 3, 3]


@any_read
@pytest.mark.parametrize("newest", [0, 1])
def test_the_newest_version_wins_whichever_node_has_it(
    newest: int, look: Callable[[World], object]
) -> None:
    world = World(2)
    world.ranked[newest].put(NAME, b"new one", Stamp(10, 1))
    world.ranked[1 - newest].put(NAME, b"old", Stamp(9, 2))
    world.ranked[2].put(NAME, b"old", Stamp(9, 2))
    assert look(world) in (b"new one", 7)
    assert all(content.is_closed for disk in world.ranked for content in disk.opened)


def test_an_answer_that_is_not_the_newest_is_closed_unread() -> None:
    world = World(2)
    world.ranked[0].put(NAME, b"old", Stamp(9, 0))
    world.ranked[1].put(NAME, b"new", Stamp(10, 0))
    download = world.cluster.get(NAME)
    assert world.ranked[0].opened[0].is_closed
    assert download.member.name == world.names[1]
    assert read(download) == b"new"


def test_stamps_are_compared_as_integers() -> None:
    world = World(2)
    for disk, stamp in zip(
        world.ranked[:2], [Stamp(99, 9), Stamp(100, 0)], strict=True
    ):
        disk.put(NAME, str(stamp.nanoseconds).encode(), stamp)
    assert world.read() == b"100"


def test_an_object_without_a_stamp_is_older_than_any_with_one() -> None:
    world = World(2)
    world.ranked[0].put(NAME, b"foreign")
    world.ranked[1].put(NAME, b"ours", Stamp(0, 1))
    assert world.read() == b"ours"


# Nodes that fail.


@any_read
@pytest.mark.parametrize("error", [SILENT, BROKEN, NodeAccessError("403")])
@pytest.mark.parametrize("failing", [0, 1, 2])
def test_of_two_replicas_any_node_may_fail(
    failing: int, error: NodeError, look: Callable[[World], object]
) -> None:
    world = world_with(2)
    world.ranked[failing].failing = error
    for _ in range(2):  # the second time it is skipped
        assert look(world) in (b"hello", 5)
        with pytest.raises(NoSuchKeyError):
            world.read(NEVER_STORED)


@any_read
@pytest.mark.parametrize("failing", list(itertools.combinations(range(5), 2)), ids=str)
def test_of_three_replicas_any_two_nodes_may_fail(
    failing: tuple[int, int], look: Callable[[World], object]
) -> None:
    world = world_with(3)
    for number in failing:
        world.ranked[number].failing = SILENT
    assert look(world) in (b"hello", 5)


@any_read
@pytest.mark.parametrize("failing", list(itertools.combinations(range(3), 2)), ids=str)
def test_with_too_many_failing_nodes_it_can_not_be_told(
    failing: tuple[int, int], look: Callable[[World], object]
) -> None:
    world = world_with(2)
    for number in failing:
        world.ranked[number].failing = SILENT
    for _ in range(2):
        with pytest.raises(NodeError):
            look(world)
        with pytest.raises(NodeError):
            world.read(NEVER_STORED)


def test_what_was_written_while_a_node_was_away_is_found_while_another_is() -> None:
    for away, later in itertools.permutations(range(3), 2):
        world = world_with(2, b"old")
        world.ranked[away].failing = SILENT
        world.put(b"new")
        world.recover(world.ranked[away])
        world.ranked[later].failing = SILENT
        assert world.read() == b"new"


def test_a_failing_node_is_not_asked_again_until_it_is_back() -> None:
    world = world_with(2)
    world.ranked[0].failing = SILENT
    for _ in range(3):
        assert world.read() == b"hello"
    assert world.calls()[0] == ["get"]
    world.recover(world.ranked[0])
    assert world.read() == b"hello"
    assert world.calls()[0] == ["get"]


def test_a_node_that_was_seen_and_fails_to_deliver_has_a_second() -> None:
    world = world_with(2)
    for disk in world.ranked:
        disk.before["get"] = lambda disk=disk: disk.failures.append(BROKEN)
        assert read(world.cluster.get(NAME, whole)) == b"hello"
        disk.before.clear()


def test_a_copy_that_nobody_asked_about_is_better_than_none() -> None:
    """The node that has a copy, and was asked, can't deliver it."""
    world = world_with(2)
    first, second, third = world.ranked
    third.objects = dict(second.objects)
    del first.objects[NAME]
    second.before["get"] = lambda: second.failures.append(BROKEN)
    assert read(world.cluster.get(NAME, whole)) == b"hello"
    assert world.read() == b"hello"


def test_a_node_that_lost_its_disk_is_a_failing_one() -> None:
    world = world_with(2)
    world.ranked[0].wipe()
    assert world.read() == b"hello"
    with pytest.raises(NoSuchKeyError):
        world.read(NEVER_STORED)
    world.membership.refresh()
    world.forget_calls()
    assert world.read() == b"hello"
    assert world.calls() == [[], ["get"], ["head"]]


def test_an_empty_disk_that_is_noticed_during_a_read_is_no_answer() -> None:
    """It said that there is no such object before anyone knew that it lost it."""
    world = world_with(2)
    first, second, third = world.ranked
    first.wipe()
    first.buckets.add("store")
    second.failing = BROKEN
    third.before["head"] = Once(world.membership.refresh)
    with pytest.raises(NodeError):
        world.read()


def test_a_node_that_vanished_is_a_failing_one() -> None:
    world = world_with(1)
    world.show(*world.names[1:])
    world.membership.refresh()
    with pytest.raises(NodeUnreachableError):
        world.read()


@pytest.mark.parametrize(
    "error", [SILENT, NodeFullError("x"), NodeAccessError("x"), BROKEN], ids=str
)
def test_nothing_but_our_own_errors_leaves_the_cluster(error: NodeError) -> None:
    world = world_with(1)
    world.ranked[0].failures.append(error)
    with pytest.raises(GatewayError):
        world.read()


# Nodes that are silent.


@any_read
def test_after_a_while_of_silence_the_next_node_is_asked(
    look: Callable[[World], object],
) -> None:
    world = world_with(2)
    world.ranked[0].is_silent = True
    assert look(world) in (b"hello", 5)
    world.forget_calls()
    assert look(world) in (b"hello", 5)
    assert world.calls()[0] == []  # it is skipped


@any_read
def test_two_silent_nodes_of_three_make_it_unknown(
    look: Callable[[World], object],
) -> None:
    world = world_with(2)
    for disk in world.ranked[:2]:
        disk.is_silent = True
    with pytest.raises(NodeTimeoutError):
        look(world)


def test_a_silent_node_is_waited_for_if_there_is_no_other() -> None:
    world = world_with(1)
    world.ranked[0].is_silent = True
    with pytest.raises(NodeTimeoutError):
        world.read()


def test_a_silent_and_a_failing_node_make_it_unknown() -> None:
    world = world_with(2)
    world.ranked[0].is_silent = True
    world.ranked[1].failing = BROKEN
    with pytest.raises(NodeError):
        world.read()


# Choosers.


@any_replicas
def test_a_chooser_reads_a_part_of_what_it_saw(replicas: int) -> None:
    world = world_with(replicas)

    def choose(info: ObjectInfo) -> tuple[int, int]:
        assert info.size == 5
        return (1, 3)

    download = world.cluster.get(NAME, choose)
    assert (read(download), download.byte_range) == (b"ell", (1, 3))


@any_replicas
def test_what_a_chooser_raises_goes_through(replicas: int) -> None:
    def refuse(info: ObjectInfo) -> None:
        raise BodyError("no")

    world = world_with(replicas)
    with pytest.raises(BodyError):
        world.cluster.get(NAME, refuse)
    assert not any("get" in calls for calls in world.calls())


def overwrite_before_get(world: World, times: int) -> None:
    """Let a newer version come between the look and the download."""
    numbers = iter(range(times))

    def overwrite() -> None:
        for number in itertools.islice(numbers, 1):
            stamp = Stamp(10**6 + number, 0)
            for disk in world.ranked:
                disk.put(NAME, f"version {number}".encode(), stamp)

    for disk in world.ranked:
        disk.before["get"] = overwrite


@any_replicas
def test_an_object_that_changes_after_the_look_is_looked_at_again(
    replicas: int,
) -> None:
    world = world_with(replicas)
    overwrite_before_get(world, MAX_ATTEMPTS - 1)
    assert read(world.cluster.get(NAME, whole)) == b"version 1"


@any_replicas
def test_an_object_that_keeps_changing_is_a_conflict(replicas: int) -> None:
    world = world_with(replicas)
    overwrite_before_get(world, MAX_ATTEMPTS)
    with pytest.raises(ConflictError):
        world.cluster.get(NAME, whole)


@any_replicas
def test_an_object_deleted_after_the_look_is_not_there(replicas: int) -> None:
    world = world_with(replicas)
    delete = Once(lambda: [disk.objects.pop(NAME, None) for disk in world.ranked])
    for disk in world.ranked:
        disk.before["get"] = delete
    with pytest.raises(NoSuchKeyError):
        world.cluster.get(NAME, whole)


# Downloads that break.


@pytest.mark.parametrize("breaks_at", [0, 1, CHUNK_BYTES, CHUNK_BYTES + 7])
@pytest.mark.parametrize("choose", [None, lambda info: (1, info.size - 2)])
def test_a_download_goes_on_from_another_copy(
    breaks_at: int, choose: Callable[[ObjectInfo], tuple[int, int]] | None
) -> None:
    world = world_with(2, LONG)
    world.ranked[0].breaks_at = breaks_at
    expected = LONG[1:-1] if choose else LONG
    assert read(world.cluster.get(NAME, choose)) == expected
    first, last = (
        choose(world.cluster.head(NAME).info) if choose else (0, len(LONG) - 1)
    )
    (resumed,) = world.ranked[1].opened
    assert resumed.byte_range == (max(first, breaks_at), last)
    (broken,) = world.ranked[0].opened
    assert broken.is_closed
    assert resumed.is_closed


def test_a_download_never_goes_on_from_another_version() -> None:
    world = world_with(2, LONG)
    world.ranked[0].breaks_at = 10
    download = world.cluster.get(NAME)
    for disk in world.ranked[1:]:
        disk.put(NAME, LONG, Stamp(10**6, 0))  # the same bytes, so the same ETag
    with pytest.raises(NodeError, match="broke"):
        read(download)
    assert all(content.is_closed for disk in world.ranked for content in disk.opened)


def test_a_download_that_every_copy_breaks_raises() -> None:
    world = world_with(2, LONG)
    for disk in world.ranked:
        disk.breaks_at = CHUNK_BYTES + 7
    with pytest.raises(NodeError, match="broke"):
        world.read()


def test_with_one_replica_a_broken_download_stays_broken() -> None:
    world = world_with(1, LONG)
    world.ranked[0].breaks_at = 10
    with pytest.raises(NodeError, match="broke"):
        world.read()
    assert world.calls() == [["get"], [], []]


# Nothing is stored yet.


@any_replicas
@any_read
def test_before_the_first_upload_nothing_is_there(
    look: Callable[[World], object], replicas: int
) -> None:
    world = World(replicas, is_formed=False)
    with pytest.raises(NoSuchKeyError):
        look(world)
    assert not any(disk.objects for disk in world.ranked)


@any_read
def test_while_a_node_is_silent_it_is_not_known_whether_anything_is_stored(
    look: Callable[[World], object],
) -> None:
    world = World(2, is_formed=False)
    world.ranked[1].is_silent = True
    with pytest.raises(NoNodesError, match="Too few nodes answer"):
        look(world)


def test_objects_that_another_program_left_are_found_on_any_node() -> None:
    world = World(1, is_formed=False)
    world.ranked[2].put(NAME, b"left")
    world.ranked[1].put(ObjectName("store", "other"), b"left, too")
    world.membership.refresh()
    assert world.read() == b"left"
    assert world.roster.settled is None
    world.ranked[1].failing = BROKEN
    with pytest.raises(NodeError):  # it could have a newer one
        world.read()


@any_read
@any_replicas
def test_while_no_node_confirms_the_roster_nothing_is_told(
    look: Callable[[World], object], replicas: int
) -> None:
    world = world_with(replicas)
    for disk in world.ranked:
        disk.failing = BROKEN
    world.time += 100
    with pytest.raises(NoNodesError):
        look(world)


@any_replicas
def test_what_was_seen_long_ago_is_looked_at_again_first(replicas: int) -> None:
    world = world_with(replicas)
    world.time += 100
    assert world.read() == b"hello"
    assert all("look" in disk.calls for disk in world.ranked)


@pytest.mark.parametrize("method", ["get", "head", "put", "delete"])
def test_no_nodes_says_why(method: str) -> None:
    world = World(1, 0, is_formed=False)
    arguments = (Bytes(b""), {}) if method == "put" else ()
    with pytest.raises(NoNodesError, match="No storage node was found"):
        getattr(world.cluster, method)(NAME, *arguments)
    world.discovery.error = DiscoveryError("The daemon is away")
    world.membership.refresh()
    with pytest.raises(NoNodesError, match="The daemon is away"):
        getattr(world.cluster, method)(NAME, *arguments)
    assert world.cluster.snapshot().problem == "The daemon is away"
    assert world.cluster.states() == {}


def test_states() -> None:
    world = World()
    world.ranked[1].failing = BROKEN
    world.show(*world.names[:2])
    world.membership.refresh()
    assert world.cluster.states() == {
        world.names[0]: State("up", "", can_read=True),
        world.names[1]: State("failing", "500", can_read=False),
        world.names[2]: State(
            "unreachable", "the node is not found, or not running", can_read=False
        ),
    }


def test_a_node_whose_state_is_silence_is_skipped() -> None:
    world = World()
    disk = world.ranked[1]
    disk.failing = SILENT
    assert world.cluster.states()[world.names[1]].cause == "silent"
    assert world.member(disk).is_skipped
    world.recover(disk)


# Keys that are no longer valid.


def renew_keys(world: World, disk: FakeDisk, key: str = "new") -> None:
    """The next discovery shows new keys; the node takes no others."""
    disk.failures.append(NodeAccessError("403"))
    world.show(*world.disks, secret_key=key)


@any_read
def test_refused_keys_are_looked_up_and_tried_once_more(
    look: Callable[[World], object],
) -> None:
    world = world_with(1)
    finds = world.discovery.finds
    renew_keys(world, world.ranked[0])
    assert look(world) in (b"hello", 5)
    assert world.discovery.finds == finds + 1


def test_refused_keys_that_are_still_the_same_are_an_error() -> None:
    world = world_with(1)
    world.ranked[0].failures.append(NodeAccessError("403"))
    with pytest.raises(NodeAccessError):
        world.cluster.head(NAME)
    assert world.calls()[0].count("head") == 1


def test_new_keys_that_are_refused_too_are_an_error() -> None:
    world = world_with(1)
    world.ranked[0].before["head"] = lambda: renew_keys(world, world.ranked[0], "no")
    with pytest.raises(NodeAccessError):
        world.cluster.head(NAME)
    assert world.calls()[0].count("head") == 2


def test_keys_refused_by_one_node_of_several_do_not_matter() -> None:
    world = world_with(2)
    world.ranked[0].failures.append(NodeAccessError("403"))
    assert world.read() == b"hello"


def test_keys_refused_by_too_many_nodes_are_looked_up() -> None:
    world = world_with(2)
    for disk in world.ranked[:2]:
        renew_keys(world, disk)
    assert world.read() == b"hello"


# A member that is skipped is probed in the background.


def test_probing_ends_with_the_nodes_recovery() -> None:
    world = world_with(1)
    world.ranked[0].failing = SILENT
    with pytest.raises(NodeTimeoutError):
        world.read()
    with pytest.raises(NodeUnreachableError):
        world.read()
    world.ranked[0].failing = None
    await_that(lambda: not world.member(world.ranked[0]).is_skipped)
    assert world.read() == b"hello"
