"""The promises: what was acknowledged is there, and what was deleted is not."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest

from amazin.cluster.cluster import TOMBSTONE, TOMBSTONE_ETAG
from amazin.cluster.large_objects import LargeObjectStore
from amazin.errors import (
    BodyError,
    ConflictError,
    NodeAccessError,
    NodeError,
    NodeFullError,
    NodeProtocolError,
    NoNodesError,
    NoSuchKeyError,
    NotSupportedError,
    PreconditionError,
)
from amazin.model.objects import CHUNK_BYTES, Stamp
from amazin.repair.report import Options
from amazin.repair.run import Repair
from tests.support.fakes import FakeDisk
from tests.support.world import (
    BROKEN,
    CHUNKS,
    FAR_FUTURE,
    HEADERS,
    NAME,
    SILENT,
    Bytes,
    Once,
    World,
    any_replicas,
    copy_of,
    fail_at,
    has_tombstone,
    labels,
    put_tombstone,
    read,
    stream,
    world_of,
)

any_error = pytest.mark.parametrize(
    "error", [SILENT, NodeFullError("full"), BROKEN], ids=str
)


# What is sent.


def test_with_one_replica_an_upload_is_one_request_to_the_home() -> None:
    world = World(1)
    stored = world.cluster.put(NAME, Bytes(b"hello"), {})
    assert stored.member.name == world.names[0]
    assert world.calls() == [["put"], [], []]
    world.cluster.delete(NAME)
    assert world.calls() == [["delete"], [], []]


def test_with_two_replicas_a_look_comes_before_two_uploads() -> None:
    world = World(2)
    world.put(b"hello")
    assert world.calls() == [["head", "put"], ["head", "put"], []]
    assert world.bodies() == [b"hello", b"hello", None]


def test_with_three_replicas_there_are_three_copies() -> None:
    world = World(3, 5)
    world.put(b"hello")
    assert world.calls() == [["head", "put"]] * 3 + [[], []]
    assert world.bodies() == [b"hello"] * 3 + [None, None]


@any_replicas
def test_what_was_stored_comes_back_as_it_was(replicas: int) -> None:
    world = world_of(replicas)
    for body in (Bytes(), Bytes(b"hello"), stream(b"hello"), stream(*CHUNKS)):
        stored = world.cluster.put(NAME, body, HEADERS)
        download = world.cluster.get(NAME)
        assert download.content.info == stored.info
        assert stored.info.headers == HEADERS
        assert hashlib.md5(read(download)).hexdigest() == stored.info.etag
        assert len(set(labels(world))) == 1


@any_replicas
def test_a_long_body_is_read_once_a_chunk_at_a_time(replicas: int) -> None:
    """To all nodes at once: a chunk is sent to each before the next is read."""
    world = world_of(replicas)
    body = stream(*CHUNKS)
    writes: list[int] = []
    sent: list[int] = []
    for disk in world.ranked:
        disk.before["write"] = lambda: writes.append(body.reads)
    body.before = [lambda: sent.append(len(writes))] * len(CHUNKS)
    world.cluster.put(NAME, body, {})
    assert body.reads == len(CHUNKS)
    assert sent == [0, replicas, 2 * replicas]
    assert len(writes) == 3 * replicas


@pytest.mark.parametrize("is_stream", [True, False])
@pytest.mark.parametrize("size", [5, CHUNK_BYTES + 1])
def test_with_too_few_nodes_nothing_is_read_of_the_body(
    size: int, is_stream: bool
) -> None:
    for world in (World(3, 2, is_formed=False), shrunk_world()):
        body = Bytes(bytes(size), is_stream=is_stream)
        with pytest.raises(NoNodesError):
            world.cluster.put(NAME, body, {})
        assert body.reads == 0
        assert world.bodies() == [None, None]


def shrunk_world() -> World:
    """Return a cluster of two nodes that keeps three copies of each object."""
    world = World.beside(World(2, 2), None)
    settled = world.roster.settled
    assert settled
    roster = replace(
        world.roster,
        generation=world.roster.generation + 1,
        settled=replace(settled, replicas=3),
    )
    world.record(roster)
    return world


# Stamps.


@any_replicas
def test_stamps_grow_even_if_the_clock_goes_back(replicas: int) -> None:
    world = world_of(replicas)
    given = []
    for now_ns in (1000, 1000, 5, 2000):
        world.now_ns = now_ns
        info = world.cluster.put(NAME, Bytes(b"x"), {}).info
        assert info.label
        given.append(info.label.stamp.nanoseconds)
    assert given == [1000, 1001, 1002, 2000]


@pytest.mark.parametrize("holder", [0, 1])
def test_a_stamp_is_greater_than_any_that_was_seen(holder: int) -> None:
    """Another gateway's clock is far ahead."""
    world = World(2)
    world.ranked[holder].put(NAME, b"old", FAR_FUTURE)
    world.put(b"new")
    assert world.read() == b"new"
    for label in labels(world):
        assert label
        assert label.stamp.nanoseconds == FAR_FUTURE.nanoseconds + 1
    world.cluster.delete(NAME)
    with pytest.raises(NoSuchKeyError):
        world.read()


def test_with_one_replica_the_last_upload_wins_whatever_the_clocks_say() -> None:
    world = World(1)
    home = world.ranked[0]
    home.keeps_newer = True
    home.put(NAME, b"old", FAR_FUTURE)
    world.put(b"new")
    assert world.read() == b"new"


def test_an_upload_that_cannot_ask_a_read_quorum_is_not_begun() -> None:
    world = World(2)
    for disk in world.ranked[:2]:
        disk.failing = BROKEN
    body = stream(*CHUNKS)
    with pytest.raises(NodeError):
        world.cluster.put(NAME, body, {})
    assert (body.reads, world.bodies()) == (0, [None] * 3)


def test_a_long_upload_that_was_overtaken_is_refused_and_stores_nothing() -> None:
    """On a node it would take the place of what came later."""
    world = World(2)
    body = stream(*CHUNKS)
    body.before = [lambda: None, lambda: world.put(b"began later")]
    with pytest.raises(ConflictError):
        world.cluster.put(NAME, body, {})
    assert world.bodies() == [b"began later", b"began later", None]


@pytest.mark.parametrize("keeps_newer", [True, False])
def test_a_small_upload_that_was_overtaken_replaces_nothing_newer(
    keeps_newer: bool,
) -> None:
    world = World(2)
    for disk in world.ranked:
        disk.keeps_newer = keeps_newer
    world.put(b"old")
    later = iter([lambda: world.put(b"began later")])
    world.ranked[0].before["put"] = lambda: next(later, lambda: None)()
    stored = world.cluster.put(NAME, Bytes(b"overtaken"), {})
    assert stored.info.etag == hashlib.md5(b"overtaken").hexdigest()
    assert world.bodies()[:2] == [b"began later", b"began later"]


# Nodes that fail.


STEPS = {
    "look": ("head", 0),
    "beginning": ("put", 0),
    "first write": ("write", 0),
    "later write": ("write", 2),
    "commit": ("commit", 0),
}
any_body = pytest.mark.parametrize(
    "chunks", [CHUNKS, [b"hello"]], ids=["streamed", "small"]
)


@any_error
@pytest.mark.parametrize(
    ("chunks", "method", "skip"),
    [
        *[(CHUNKS, *step) for step in STEPS.values()],
        *[([b"hello"], method, 0) for method in ("head", "put", "commit")],
    ],
    ids=[*STEPS, "small, look", "small, beginning", "small, commit"],
)
@pytest.mark.parametrize("failing", [0, 1, 2])
def test_of_two_replicas_any_node_may_fail_at_any_moment(
    failing: int, chunks: list[bytes], method: str, skip: int, error: NodeError
) -> None:
    world = World(2)
    world.put(b"old")
    body = stream(*chunks)
    fail_at(world.ranked[failing], method, error, skip)
    stored = world.cluster.put(NAME, body, HEADERS)
    assert body.reads == len(chunks)
    complete = [disk for disk in world.ranked if copy_of(disk, stored.info)]
    assert len(complete) >= 2
    assert world.read() == b"".join(chunks)
    assert not any("delete" in calls for calls in world.calls())


@any_body
@pytest.mark.parametrize("mangling", [0, 1])
def test_an_upload_of_which_nodes_stored_different_bytes_is_not_acknowledged(
    mangling: int, chunks: list[bytes]
) -> None:
    """Which of them are right is not known: a person is told, and may store it anew."""
    world = World(2)
    world.put(b"old")
    world.ranked[mangling].mangles = True
    with pytest.raises(NodeProtocolError, match="stored different bytes"):
        world.cluster.put(NAME, stream(*chunks), {})
    world.ranked[mangling].mangles = False
    with pytest.raises(NodeProtocolError, match="not the same"):
        world.read()
    for is_dry_run in (True, False):
        options = Options(workers=1, is_dry_run=is_dry_run)
        report = Repair(world.membership, options, lambda: world.now_ns).run()
        assert (report.failures, report.copies, report.is_well) == (1, 0, False)
    world.put(b"new")
    assert world.read() == b"new"


def test_copies_that_differ_can_be_deleted_or_put_once() -> None:
    world = World(2)
    objects = LargeObjectStore(world.cluster, 0)
    for write in (
        world.cluster.delete,
        lambda name: objects.put_once(name, Bytes(b"once"), {}),
    ):
        world.ranked[0].mangles = True
        with pytest.raises(NodeProtocolError):
            world.put(b"torn")
        world.ranked[0].mangles = False
        write(NAME)
    assert world.read() == b"once"


@pytest.mark.parametrize(
    ("chunks", "method", "calls"),
    [
        (CHUNKS, "write", ["head put head get", "head put head"]),
        (CHUNKS, "commit", ["head put head get", "put head"]),
        ([b"hello"], "put", ["head put", "head put"]),
        ([b"hello"], "commit", ["head put", "head put"]),
    ],
    ids=["streamed-write", "streamed-commit", "small-put", "small-commit"],
)
def test_a_failed_node_is_replaced_by_the_next_of_the_home(
    chunks: list[bytes], method: str, calls: list[str]
) -> None:
    """What is small is sent again; the rest is copied from the good copy."""
    world = World(2)
    fail_at(world.ranked[0], method, BROKEN)
    stored = world.cluster.put(NAME, stream(*chunks), HEADERS)
    assert [copy_of(disk, stored.info) for disk in world.ranked] == [False, True, True]
    assert [" ".join(asked) for asked in world.calls()[1:]] == calls


@any_body
@pytest.mark.parametrize("failing", [0, 1, 2])
def test_of_two_replicas_any_answer_may_get_lost(
    failing: int, chunks: list[bytes]
) -> None:
    world = World(2)
    world.put(b"old")
    world.ranked[failing].commit_is_lost = True
    fail_at(world.ranked[failing], "commit", BROKEN)
    stored = world.cluster.put(NAME, stream(*chunks), HEADERS)
    assert sum(copy_of(disk, stored.info) for disk in world.ranked) >= 2
    assert world.read() == b"".join(chunks)


@any_body
def test_two_failed_nodes_of_five_are_replaced(chunks: list[bytes]) -> None:
    world = World(3, 5)
    first = "put" if len(chunks) == 1 else "write"
    fail_at(world.ranked[0], first, BROKEN, skip=len(chunks) // 2)
    fail_at(world.ranked[2], "commit", BROKEN)
    stored = world.cluster.put(NAME, stream(*chunks), HEADERS)
    holders = [copy_of(disk, stored.info) for disk in world.ranked]
    assert holders == [False, True, False, True, True]


@any_body
def test_two_failed_nodes_of_three_are_too_many(chunks: list[bytes]) -> None:
    world = World(2)
    world.put(b"old")
    for disk in world.ranked[1:]:
        fail_at(disk, "put", BROKEN)
    with pytest.raises(NodeError):
        world.cluster.put(NAME, stream(*chunks), {})
    assert not any("delete" in calls for calls in world.calls())


def test_a_good_copy_that_is_overwritten_meanwhile_is_not_copied() -> None:
    """What is asked for by its ETag is the copy that was made, or none."""
    world = World(2)
    fail_at(world.ranked[0], "commit", BROKEN)
    second = world.ranked[1]
    second.before["get"] = lambda: second.put(NAME, b"newer", FAR_FUTURE)
    with pytest.raises(NodeError):
        world.cluster.put(NAME, stream(*CHUNKS), {})
    assert world.bodies() == [None, b"newer", None]


def test_a_lost_answer_is_no_copy_but_may_be_one() -> None:
    world = World(2)
    for disk in world.ranked[:2]:
        disk.commit_is_lost = True
        fail_at(disk, "commit", BROKEN)
    with pytest.raises(NodeError):
        world.put(b"hello")
    world.recover(*world.ranked[:2])
    assert world.read() == b"hello"


@any_error
@any_body
def test_with_one_replica_a_failed_upload_goes_nowhere_else(
    error: NodeError, chunks: list[bytes]
) -> None:
    """Where it isn't looked for."""
    world = World(1)
    world.put(b"old")
    fail_at(world.ranked[0], "commit", error)
    with pytest.raises(type(error)) as caught:
        world.put(*chunks)
    assert caught.value.node == world.names[0]
    assert world.bodies() == [b"old", None, None]
    assert not any("delete" in calls for calls in world.calls())


@any_replicas
@any_body
def test_nodes_without_room_are_told_apart(replicas: int, chunks: list[bytes]) -> None:
    world = world_of(replicas)
    for disk in world.ranked:
        fail_at(disk, "commit", NodeFullError("full"))
    with pytest.raises(NodeFullError):
        world.put(*chunks)


@any_replicas
@pytest.mark.parametrize("chunks", [[b"ne"], CHUNKS], ids=["small", "streamed"])
def test_a_body_that_is_short_is_stored_nowhere(
    chunks: list[bytes], replicas: int
) -> None:
    world = world_of(replicas)
    world.put(b"old")
    world.forget_calls()
    before = [dict(disk.objects) for disk in world.ranked]
    with pytest.raises(BodyError):
        world.cluster.put(NAME, stream(*chunks, missing=1), {})
    assert [disk.objects for disk in world.ranked] == before
    assert not any("delete" in calls for calls in world.calls_now())
    began = [disk for disk in world.ranked if "put" in disk.calls]
    assert bool(began) == (chunks == CHUNKS), "what is small is read before"
    assert all("abort" in disk.calls for disk in began)


@any_body
@pytest.mark.parametrize("silent", [0, 1, 2])
def test_a_silent_node_is_one_that_fails(silent: int, chunks: list[bytes]) -> None:
    world = World(2)
    world.put(b"old")
    world.ranked[silent].is_silent = True
    world.cluster.put(NAME, stream(*chunks), {})
    assert world.read() == b"".join(chunks)
    world.ranked[silent].is_silent = False
    assert world.bodies().count(b"".join(chunks)) == 2


# Keys that are no longer valid.


def renew_keys(world: World, *disks: FakeDisk) -> None:
    """The next discovery shows new keys; the nodes take no others."""
    for disk in disks:
        disk.failures.append(NodeAccessError("403"))
    world.show(*world.disks, secret_key="new")


@any_body
@pytest.mark.parametrize("is_stream", [True, False])
def test_refused_keys_are_looked_up_and_tried_once_more(
    is_stream: bool, chunks: list[bytes]
) -> None:
    world = World(1)
    renew_keys(world, world.ranked[0])
    body = Bytes(*chunks, is_stream=is_stream)
    world.cluster.put(NAME, body, {})
    assert world.read() == b"".join(chunks)
    assert body.reads == len(chunks)


def test_keys_refused_for_a_delete_are_looked_up() -> None:
    world = World(1)
    world.put(b"hello")
    renew_keys(world, world.ranked[0])
    world.cluster.delete(NAME)
    assert world.bodies() == [None] * 3


def test_a_consumed_stream_is_not_sent_again() -> None:
    world = World(1)
    disk = world.ranked[0]
    disk.before["commit"] = Once(lambda: renew_keys(world, disk))
    body = stream(*CHUNKS)
    with pytest.raises(NodeAccessError):
        world.cluster.put(NAME, body, {})
    assert body.reads == len(CHUNKS)
    world.put(b"the next one has the new keys")


@pytest.mark.parametrize("replicas", [1, 2])
def test_a_body_in_memory_is_sent_again(replicas: int) -> None:
    """Also if only one of as many nodes as replicas refused the keys."""
    world = World(replicas, replicas)
    disk = world.ranked[-1]
    disk.before["commit"] = Once(lambda: renew_keys(world, disk))
    world.put(b"small")
    assert world.bodies() == [b"small"] * replicas


# Conditions.


@any_body
def test_conditions_are_judged_by_the_home(chunks: list[bytes]) -> None:
    world = World(1)
    first = world.cluster.put(NAME, Bytes(b"one"), {}, if_absent=True).info
    with pytest.raises(PreconditionError):
        world.cluster.put(NAME, Bytes(*chunks), {}, if_absent=True)
    with pytest.raises(PreconditionError):
        world.cluster.put(NAME, Bytes(*chunks), {}, if_match="0" * 32)
    assert world.read() == b"one"
    world.cluster.put(NAME, Bytes(*chunks), {}, if_match=first.etag)
    assert world.read() == b"".join(chunks)


def test_nothing_matches_nothing() -> None:
    world = World(1)
    with pytest.raises(PreconditionError):
        world.cluster.put(NAME, Bytes(b"two"), {}, if_match="0" * 32)


any_condition = pytest.mark.parametrize(
    "condition", [{"if_absent": True}, {"if_match": TOMBSTONE_ETAG}], ids=str
)


@any_condition
def test_conditions_of_a_node_that_fails_are_unknown(
    condition: Mapping[str, object],
) -> None:
    world = World(1)
    world.ranked[0].failing = SILENT
    with pytest.raises(NodeError):
        world.cluster.put(NAME, Bytes(b"new"), {}, **condition)  # type: ignore[arg-type]
    assert world.bodies() == [None] * 3


def joining_world() -> World:
    world = World(1)
    world.join()
    return world


def announcing_world() -> World:
    world = World(1)
    world.announce()
    return world


@any_condition
@pytest.mark.parametrize(
    "make", [lambda: World(2), joining_world, announcing_world], ids=["r=2", "a", "b"]
)
def test_conditions_need_one_replica_and_a_settled_set(
    make: Callable[[], World], condition: Mapping[str, object]
) -> None:
    world = make()
    with pytest.raises(NotSupportedError, match="REPLICAS=1"):
        world.cluster.put(NAME, Bytes(b"new"), {}, **condition)  # type: ignore[arg-type]
    assert not any(world.bodies())


def test_only_if_there_is_none_holds_where_it_was_deleted() -> None:
    world = World(1)
    put_tombstone(world.ranked[0])
    world.cluster.put(NAME, Bytes(b"new"), {}, if_absent=True)
    assert world.read() == b"new"


@any_body
def test_of_two_that_come_after_a_delete_one_wins(chunks: list[bytes]) -> None:
    world = World(1)
    home = world.ranked[0]
    put_tombstone(home)
    home.before["commit"] = Once(lambda: home.put(NAME, b"first", Stamp(600, 0)))
    with pytest.raises(PreconditionError):
        world.cluster.put(NAME, Bytes(*chunks), {}, if_absent=True)
    assert world.read() == b"first"


def test_what_was_deleted_matches_nothing() -> None:
    world = World(1)
    put_tombstone(world.ranked[0])
    with pytest.raises(PreconditionError):
        world.cluster.put(NAME, Bytes(b"new"), {}, if_match=TOMBSTONE_ETAG)
    assert has_tombstone(world.ranked[0])


# Deleting.


def test_the_etag_of_tombstones_is_that_of_their_body() -> None:
    body = b"".join(TOMBSTONE.chunks())
    assert hashlib.md5(body).hexdigest() == TOMBSTONE_ETAG
    assert len(body) == TOMBSTONE.length


@any_replicas
def test_what_was_deleted_is_not_there(replicas: int) -> None:
    world = world_of(replicas)
    world.put(b"hello")
    assert world.cluster.delete(NAME).name in world.names
    for look in (world.cluster.get, world.cluster.head):
        with pytest.raises(NoSuchKeyError):
            look(NAME)
    with pytest.raises(NoSuchKeyError):
        world.cluster.get(NAME, lambda info: pytest.fail("there is nothing to look at"))
    assert all(content.is_closed for disk in world.ranked for content in disk.opened)


@any_replicas
def test_what_was_deleted_can_be_stored_again(replicas: int) -> None:
    world = world_of(replicas)
    for body in (b"one", b"two"):
        world.put(body)
        assert world.read() == body
        world.cluster.delete(NAME)
    world.now_ns = 1
    world.put(b"three")
    assert world.read() == b"three"


def test_with_several_replicas_a_delete_writes_a_tombstone() -> None:
    world = World(2)
    world.put(b"hello")
    world.forget_calls()
    world.cluster.delete(NAME)
    assert [has_tombstone(disk) for disk in world.ranked] == [True, True, False]
    assert len(set(labels(world))) == 1
    assert not any("delete" in calls for calls in world.calls())


@any_replicas
def test_deleting_what_is_not_there_writes_nothing(replicas: int) -> None:
    world = world_of(replicas)
    world.cluster.delete(NAME)
    assert not any(disk.data for disk in world.ranked)
    world.put(b"hello")
    world.cluster.delete(NAME)
    before = [dict(disk.data) for disk in world.ranked]
    world.forget_calls()
    world.cluster.delete(NAME)
    assert [disk.data for disk in world.ranked] == before
    assert not any("put" in calls for calls in world.calls())


@pytest.mark.parametrize("failing", [0, 1, 2])
@pytest.mark.parametrize("later", [0, 1, 2])
def test_what_was_deleted_does_not_come_back_with_a_node(
    failing: int, later: int
) -> None:
    world = World(2)
    world.put(b"hello")
    world.ranked[failing].failing = BROKEN
    world.cluster.delete(NAME)
    world.recover(world.ranked[failing])
    world.ranked[later].failing = BROKEN
    with pytest.raises(NoSuchKeyError):
        world.read()


@pytest.mark.parametrize("method", ["head", "put", "commit"])
@pytest.mark.parametrize("failing", [0, 1, 2])
def test_a_delete_goes_on_whichever_node_fails(failing: int, method: str) -> None:
    world = World(2)
    world.put(b"hello")
    fail_at(world.ranked[failing], method, BROKEN)
    world.cluster.delete(NAME)
    with pytest.raises(NoSuchKeyError):
        world.read()


@pytest.mark.parametrize("holder", [0, 1])
@pytest.mark.parametrize("later", [0, 1, 2])
def test_a_delete_that_failed_half_way_is_finished_by_the_next(
    holder: int, later: int
) -> None:
    """One tombstone among two copies is not enough: its node may fail."""
    world = World(2)
    world.put(b"hello")
    put_tombstone(world.ranked[holder], 10**6)
    world.cluster.delete(NAME)
    world.ranked[later].failing = BROKEN
    with pytest.raises(NoSuchKeyError):
        world.read()


@any_replicas
def test_a_delete_that_too_few_nodes_confirm_fails(replicas: int) -> None:
    world = world_of(replicas)
    world.put(b"hello")
    for disk in world.ranked[:replicas]:
        disk.failing = BROKEN
    with pytest.raises(NodeError):
        world.cluster.delete(NAME)


def test_with_one_replica_an_unconfirmed_delete_fails() -> None:
    world = World(1)
    world.put(b"hello")
    world.ranked[0].failures.append(BROKEN)
    with pytest.raises(NodeError):
        world.cluster.delete(NAME)
    assert world.read() == b"hello"
