"""The promises: what a client may believe of an answer, whatever the nodes do."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest
from fakes import FakeDiscovery, FakeDisk, FakeNode
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from cluster import MAX_ATTEMPTS, Cluster, Download
from errors import (
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
    NotSupportedError,
    PreconditionError,
)
from hashing import Ranker
from membership import Membership
from nodes import Node, NodeSpec, ObjectInfo, ObjectName, Stamp
from nodes.absent import AbsentNode

NAME = ObjectName("store", "abc")
SILENT = NodeTimeoutError("silent")


class Bytes:
    """A body: in memory, or a stream that can be read once."""

    def __init__(self, data: bytes, is_stream: bool = False, missing: int = 0) -> None:
        self.length = len(data) + missing
        self._data = data
        self._is_stream = is_stream
        self._missing = missing
        self.reads = 0

    def chunks(self) -> Iterable[bytes]:
        self.reads += 1
        yield self._data
        if self._missing:
            raise BodyError("too short")

    def can_restart(self) -> bool:
        return not (self._is_stream and self.reads)


class World:
    """A cluster over fake nodes; `home` and `others` as the key's ranking has them."""

    def __init__(self, count: int = 3) -> None:
        self.disks: dict[str, FakeDisk] = {}
        self.discovery = FakeDiscovery()
        membership = Membership(
            self.discovery,
            self._build,
            60.0,
            first_list_seconds=5.0,
            first_pause_seconds=0.01,
        )
        self.now_ns = 1_000
        self.membership = membership
        self.specs: dict[str, NodeSpec] = {}
        self.show(*(f"node-{number}" for number in range(1, count + 1)))
        membership.snapshot()
        self.cluster = Cluster(membership, lambda: self.now_ns)
        ranked = membership.snapshot().ranked(NAME.hash_key)
        self.home, *self.others = [self.disks[member.name] for member in ranked]
        self.names = [member.name for member in ranked]

    def _build(self, spec: NodeSpec) -> Node:
        if spec.endpoint is None:
            return AbsentNode(spec.name, spec.weight)
        return FakeNode(spec, self.disks.setdefault(spec.name, FakeDisk()))

    def show(self, *names: str, **changes: str) -> None:
        """Let discovery show exactly these, from its next question on."""
        for name in names:
            spec = self.specs.get(name) or NodeSpec(name, f"http://{name}")
            self.specs[name] = replace(spec, **changes)
        self.discovery.specs = [self.specs[name] for name in names]

    def read(self, name: ObjectName = NAME) -> bytes:
        return read(self.cluster.get(name))

    def asked(self) -> list[list[str]]:
        return [disk.calls for disk in (self.home, *self.others)]


def read(download: Download) -> bytes:
    try:
        return b"".join(iter(download.content.read, b""))
    finally:
        download.content.close()


@pytest.fixture
def world() -> World:
    return World()


# Reading.


def test_nothing_but_the_home_is_asked_if_it_has_it(world: World) -> None:
    world.home.put(NAME, b"here")
    assert world.read() == b"here"
    assert world.cluster.head(NAME).member.name == world.names[0]
    assert world.asked() == [["get", "head"], [], []]


def test_an_object_is_found_on_any_node(world: World) -> None:
    for disk in world.others:
        disk.put(NAME, b"there")
        assert world.read() == b"there"
        disk.objects.clear()


def test_not_found_only_if_all_said_so(world: World) -> None:
    with pytest.raises(NoSuchKeyError):
        world.read()
    with pytest.raises(NoSuchKeyError):
        world.cluster.head(NAME)
    assert world.asked() == [["get", "head"], ["head", "head"], ["head", "head"]]


@pytest.mark.parametrize("silent", [0, 1, 2])
def test_one_silent_node_makes_it_unknown(world: World, silent: int) -> None:
    disks = [world.home, *world.others]
    disks[silent].failing = SILENT
    with pytest.raises(NodeTimeoutError) as caught:
        world.read()
    assert caught.value.node == world.names[silent]
    with pytest.raises(NodeError):  # and skipped, it still is unknown
        world.read()


def test_a_copy_elsewhere_is_not_believed_while_another_is_silent(
    world: World,
) -> None:
    """The silent one could have a newer."""
    world.others[0].put(NAME, b"maybe old")
    world.others[1].failing = SILENT
    with pytest.raises(NodeError):
        world.read()
    with pytest.raises(NodeError):
        world.cluster.head(NAME)


def test_a_node_that_vanished_makes_it_unknown(world: World) -> None:
    world.show(*world.names[:2])
    world.membership.refresh()
    with pytest.raises(NodeUnreachableError):
        world.read()


@pytest.mark.parametrize("newest", [0, 1])
def test_of_copies_elsewhere_the_newest_stamp_wins(world: World, newest: int) -> None:
    stamps = [Stamp(10, 1), Stamp(9, 2)]
    for disk, stamp in zip(world.others, stamps[:: 1 - 2 * newest], strict=True):
        disk.put(NAME, str(stamp).encode(), stamp)
    assert world.read() == b"10.1"


def test_stamps_are_compared_as_integers(world: World) -> None:
    for disk, stamp in zip(world.others, [Stamp(100, 0), Stamp(99, 9)], strict=True):
        disk.put(NAME, str(stamp).encode(), stamp)
    assert world.read() == b"100.0"


def test_an_object_without_a_stamp_is_the_oldest(world: World) -> None:
    world.others[0].put(NAME, b"foreign")
    world.others[1].put(NAME, b"ours", Stamp(1, 0))
    assert world.read() == b"ours"


def test_the_others_are_asked_in_parallel() -> None:
    """All questions are sent before an answer is awaited."""
    world = World(6)
    sent: list[int] = []
    for disk in world.others:
        disk.before["head"] = lambda: sent.append(
            sum(disk.calls.count("head") for disk in world.others)
        )
    with pytest.raises(NoSuchKeyError):
        world.read()
    assert sent == [5] * 5


def test_a_chooser_reads_a_part_of_what_it_saw(world: World) -> None:
    world.home.put(NAME, b"hello")

    def choose(info: ObjectInfo) -> tuple[int, int]:
        assert info.size == 5
        return (1, 3)

    download = world.cluster.get(NAME, choose)
    assert (read(download), download.byte_range) == (b"ell", (1, 3))


def test_what_a_chooser_raises_goes_through(world: World) -> None:
    world.home.put(NAME, b"hello")

    def refuse(info: ObjectInfo) -> None:
        raise BodyError("no")

    with pytest.raises(BodyError):
        world.cluster.get(NAME, refuse)


def overwrite_before_get(disk: FakeDisk, times: int) -> None:
    numbers = iter(range(times))

    def overwrite() -> None:
        for number in itertools.islice(numbers, 1):
            disk.put(NAME, f"version {number}".encode())

    disk.put(NAME, b"first")
    disk.before["get"] = overwrite


def test_an_object_that_changes_between_two_questions_is_read_anew(
    world: World,
) -> None:
    overwrite_before_get(world.home, MAX_ATTEMPTS - 1)
    download = world.cluster.get(NAME, lambda info: (0, info.size - 1))
    assert read(download) == b"version 1"


def test_an_object_that_keeps_changing_is_a_conflict(world: World) -> None:
    overwrite_before_get(world.home, MAX_ATTEMPTS)
    with pytest.raises(ConflictError):
        world.cluster.get(NAME, lambda info: (0, info.size - 1))


def test_an_object_deleted_between_two_questions_is_not_there(world: World) -> None:
    world.others[0].put(NAME, b"here")
    world.others[0].before["get"] = world.others[0].objects.clear
    with pytest.raises(NoSuchKeyError):
        world.read()


# Failing nodes.


def test_a_failing_home_is_not_asked_twice_and_comes_back(world: World) -> None:
    world.home.put(NAME, b"here")
    world.home.failing = SILENT
    with pytest.raises(NodeTimeoutError):
        world.read()
    with pytest.raises(NodeUnreachableError):
        world.read()
    with pytest.raises(NodeUnreachableError):
        world.cluster.put(NAME, Bytes(b"new"), {})
    assert world.home.calls.count("get") + world.home.calls.count("put") == 1
    world.home.failing = None
    member = world.membership.snapshot().members[world.names[0]]
    wait_until(lambda: not member.is_skipped)
    assert world.read() == b"here"


def wait_until(condition: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(2000):
        if condition():
            return
        pause.wait(0.005)
    pytest.fail("it did not happen")


def test_other_keys_are_served_meanwhile(world: World) -> None:
    world.home.failing = SILENT
    with pytest.raises(NodeError):
        world.read()
    keys = (ObjectName("store", str(number)) for number in itertools.count())
    ranked = world.membership.snapshot().ranked
    name = next(k for k in keys if ranked(k.hash_key)[0].name != world.names[0])
    world.cluster.put(name, Bytes(b"well"), {})
    assert world.read(name) == b"well"


@pytest.mark.parametrize("method", ["get", "head", "put", "delete"])
def test_no_nodes_says_why(method: str) -> None:
    discovery = FakeDiscovery()
    membership = Membership(discovery, lambda spec: pytest.fail("none"), 60.0)
    cluster = Cluster(membership)
    arguments = (Bytes(b""), {}) if method == "put" else ()
    with pytest.raises(NoNodesError, match="No storage node was found"):
        getattr(cluster, method)(NAME, *arguments)
    discovery.error = DiscoveryError("The daemon is away")
    membership.refresh()
    with pytest.raises(NoNodesError, match="The daemon is away"):
        getattr(cluster, method)(NAME, *arguments)
    assert cluster.problem() == "The daemon is away"
    assert cluster.states() == {}


def test_states(world: World) -> None:
    world.others[0].failing = NodeError("500")
    world.show(world.names[0], world.names[1])
    world.membership.refresh()
    states = world.cluster.states()
    assert states == dict(
        zip(world.names, ["up", "500", "the node is not running"], strict=True)
    )


# Keys that are no longer valid.


def renew_keys(world: World, disk: FakeDisk) -> None:
    """The next discovery shows new keys; the node takes no others."""
    disk.failures.append(NodeAccessError("403"))
    world.show(*world.names, secret_key="new")


@pytest.mark.parametrize("is_small", [True, False])
def test_refused_keys_are_looked_up_and_tried_once_more(
    world: World, is_small: bool
) -> None:
    world.home.put(NAME, b"here")
    renew_keys(world, world.home)
    assert world.read() == b"here"
    assert world.discovery.finds == 2
    renew_keys(world, world.home)
    world.show(*world.names, secret_key="newer")
    world.cluster.put(NAME, Bytes(b"new", is_stream=not is_small), {})
    renew_keys(world, world.home)
    world.cluster.delete(NAME)
    assert not world.home.objects


def test_refused_keys_that_are_still_the_same_are_an_error(world: World) -> None:
    world.home.put(NAME, b"here")
    world.home.failures.append(NodeAccessError("403"))
    with pytest.raises(NodeAccessError):
        world.read()
    assert world.home.calls.count("get") == 1


def test_new_keys_that_are_refused_too_are_an_error(world: World) -> None:
    renew_keys(world, world.home)
    world.home.failures.append(NodeAccessError("403"))
    with pytest.raises(NodeAccessError):
        world.read()
    assert world.home.calls.count("get") == 2


def test_a_consumed_stream_is_not_sent_again(world: World) -> None:
    renew_keys(world, world.home)
    world.home.failures.appendleft(None)  # the upload begins well
    body = Bytes(b"stream", is_stream=True)
    with pytest.raises(NodeAccessError):
        world.cluster.put(NAME, body, {})
    assert body.reads == 1
    world.cluster.put(NAME, Bytes(b"the next one has the new keys"), {})


def test_a_body_in_memory_is_sent_again(world: World) -> None:
    renew_keys(world, world.home)
    world.home.failures.appendleft(None)
    world.cluster.put(NAME, Bytes(b"small"), {})
    assert world.read() == b"small"


def test_keys_refused_by_another_node_than_the_home(world: World) -> None:
    world.others[1].put(NAME, b"there")
    renew_keys(world, world.others[0])
    assert world.read() == b"there"


# Writing.


def test_an_upload_goes_to_the_home_alone(world: World) -> None:
    copy = world.cluster.put(NAME, Bytes(b"hello"), {})
    assert copy.member.name == world.names[0]
    assert world.read() == b"hello"
    assert world.asked() == [["put", "abort", "get"], [], []]


def test_stamps_grow_even_if_the_clock_goes_back(world: World) -> None:
    stamps = []
    for now_ns in (1000, 1000, 5, 2000):
        world.now_ns = now_ns
        stamps.append(world.cluster.put(NAME, Bytes(b"x"), {}).info.stamp)
    assert [stamp.nanoseconds for stamp in stamps if stamp] == [1000, 1001, 1002, 2000]


def test_an_upload_that_is_short_is_aborted(world: World) -> None:
    world.home.put(NAME, b"old")
    with pytest.raises(BodyError):
        world.cluster.put(NAME, Bytes(b"ne", missing=1), {})
    assert world.home.calls == ["put", "abort"]
    assert world.read() == b"old"


@pytest.mark.parametrize("error", [SILENT, NodeFullError("x"), NodeError("x")])
def test_an_upload_that_fails_goes_nowhere_else(world: World, error: NodeError) -> None:
    """Where it isn't looked for first, it would hide behind an older copy."""
    world.home.failures.extend([None, error])
    with pytest.raises(type(error)) as caught:
        world.cluster.put(NAME, Bytes(b"hello"), {})
    assert caught.value.node == world.names[0]
    assert world.asked()[1:] == [[], []]


# Conditions.


def test_conditions_are_judged_by_the_home(world: World) -> None:
    first = world.cluster.put(NAME, Bytes(b"one"), {}, if_absent=True).info
    with pytest.raises(PreconditionError):
        world.cluster.put(NAME, Bytes(b"two"), {}, if_absent=True)
    with pytest.raises(PreconditionError):
        world.cluster.put(NAME, Bytes(b"two"), {}, if_match="0" * 32)
    world.cluster.put(NAME, Bytes(b"two"), {}, if_match=first.etag)
    assert world.read() == b"two"


def test_nothing_anywhere_matches_nothing(world: World) -> None:
    with pytest.raises(PreconditionError):
        world.cluster.put(NAME, Bytes(b"two"), {}, if_match="0" * 32)


def test_conditions_with_the_copy_elsewhere(world: World) -> None:
    world.others[1].put(NAME, b"there")
    info = world.cluster.head(NAME).info
    with pytest.raises(PreconditionError):
        world.cluster.put(NAME, Bytes(b"new"), {}, if_absent=True)
    with pytest.raises(PreconditionError):
        world.cluster.put(NAME, Bytes(b"new"), {}, if_match="0" * 32)
    with pytest.raises(NotSupportedError):
        world.cluster.put(NAME, Bytes(b"new"), {}, if_match=info.etag)
    assert "put" not in world.home.calls


@pytest.mark.parametrize("condition", [{"if_absent": True}, {"if_match": "0" * 32}])
def test_conditions_are_not_judged_while_a_node_is_silent(
    world: World, condition: dict[str, object]
) -> None:
    world.others[0].failing = SILENT
    with pytest.raises(NodeError):
        world.cluster.put(NAME, Bytes(b"new"), {}, **condition)
    assert "put" not in world.home.calls


# Deleting.


def test_a_delete_removes_every_copy(world: World) -> None:
    for disk in (world.home, *world.others):
        disk.put(NAME, b"copy")
    assert world.cluster.delete(NAME).name == world.names[0]
    with pytest.raises(NoSuchKeyError):
        world.read()
    world.cluster.delete(NAME)


def test_a_delete_needs_all_nodes_but_disturbs_only_those_that_have_it(
    world: World,
) -> None:
    world.others[1].put(NAME, b"there")
    world.cluster.delete(NAME)
    assert world.asked() == [["delete"], ["head"], ["head", "delete"]]


def test_a_delete_asks_the_others_first_and_the_home_last(world: World) -> None:
    order: list[str] = []
    for name, disk in zip(world.names, (world.home, *world.others), strict=True):
        disk.put(NAME, b"copy")
        disk.before["delete"] = lambda name=name: order.append(name)
    world.cluster.delete(NAME)
    assert order == [*world.names[1:], world.names[0]]


@pytest.mark.parametrize("silent", [0, 1])
def test_the_home_is_untouched_if_another_node_does_not_confirm(
    world: World, silent: int
) -> None:
    """Else an old copy would come back with the silent node."""
    world.home.put(NAME, b"new")
    world.others[silent].put(NAME, b"old")
    world.others[silent].failing = SILENT
    with pytest.raises(NodeError):
        world.cluster.delete(NAME)
    assert "delete" not in world.home.calls
    assert world.read() == b"new"


def test_a_node_known_but_gone_stops_a_delete(world: World) -> None:
    world.home.put(NAME, b"new")
    world.show(*world.names[:2])
    world.membership.refresh()
    with pytest.raises(NodeError):
        world.cluster.delete(NAME)
    assert world.read() == b"new"


def test_a_delete_that_stops_never_brings_back_an_older_copy(world: World) -> None:
    """Neither of the copies is at the home: nodes joined twice since the first."""
    newer, older = world.others
    older.put(NAME, b"older", Stamp(1, 0))
    newer.put(NAME, b"newer", Stamp(2, 0))
    older.before["delete"] = lambda: older.failures.append(NodeError("500"))
    with pytest.raises(NodeError):
        world.cluster.delete(NAME)
    older.before.clear()
    older.failures.clear()
    assert world.read() == b"newer"


# Anything in any order.

ABSENT = None
MOST_NODES = 5


def is_moving(name: ObjectName) -> bool:
    """Whether every node that joins becomes the key's home: the worst that happens."""
    names = [f"node-{number}" for number in range(1, MOST_NODES + 1)]
    ranked = Ranker(dict.fromkeys(names, 1.0)).rank(name.hash_key)
    return ranked == names[::-1]


MOVING = next(
    filter(is_moving, (ObjectName("store", f"{n}") for n in itertools.count()))
)


class ClusterMachine(RuleBasedStateMachine):
    """Nodes join, fall silent, vanish and return while objects come and go.

    `possible` is what a read of each key may return: the last acknowledged write, or
    one that failed later and may have happened after all.
    """

    KEYS = st.sampled_from([MOVING, NAME])
    NUMBERS = st.integers(min_value=0, max_value=5)

    def __init__(self) -> None:
        super().__init__()
        self.world = World(2)
        self.shown = ["node-1", "node-2"]
        self.possible: dict[ObjectName, set[bytes | None]] = {}
        self.counter = itertools.count()

    def teardown(self) -> None:
        for member in self.world.membership.snapshot().members.values():
            member.retire()

    def known(self, number: int) -> str:
        names = sorted(self.world.disks)
        return names[number % len(names)]

    @rule(name=KEYS)
    def put(self, name: ObjectName) -> None:
        body = f"version {next(self.counter)}".encode()
        before = self.possible.get(name, {ABSENT})
        try:
            self.world.cluster.put(name, Bytes(body), {})
        except NodeError:
            self.possible[name] = before | {body}
        else:
            self.possible[name] = {body}

    @rule(name=KEYS, is_absent=st.booleans())
    def put_conditionally(self, name: ObjectName, is_absent: bool) -> None:
        body = f"version {next(self.counter)}".encode()
        before = self.possible.get(name, {ABSENT})
        cluster = self.world.cluster
        try:
            if is_absent:
                cluster.put(name, Bytes(body), {}, if_absent=True)
            else:
                tag = cluster.head(name).info.etag
                cluster.put(name, Bytes(body), {}, if_match=tag)
        except PreconditionError:
            assert before != {ABSENT}
        except NoSuchKeyError:
            assert ABSENT in before
        except NotSupportedError:
            pass
        except NodeError:
            self.possible[name] = before | {body}
        else:
            assert not is_absent or ABSENT in before
            self.possible[name] = {body}

    @rule(name=KEYS)
    def delete(self, name: ObjectName) -> None:
        try:
            self.world.cluster.delete(name)
        except NodeError:
            self.possible[name] = self.possible.get(name, {ABSENT}) | {ABSENT}
        else:
            self.possible[name] = {ABSENT}

    @rule(name=KEYS, number=NUMBERS)
    def delete_with_a_failure(self, name: ObjectName, number: int) -> None:
        disk = self.world.disks[self.known(number)]
        disk.before["delete"] = lambda: disk.failures.append(NodeError("500"))
        self.delete(name)
        disk.before.clear()

    @rule(name=KEYS, is_looked_at=st.booleans())
    def get(self, name: ObjectName, is_looked_at: bool) -> None:
        choose = (lambda info: (0, info.size - 1)) if is_looked_at else None
        found: bytes | None = ABSENT
        try:
            found = read(self.world.cluster.get(name, choose))
        except NoSuchKeyError:
            pass
        except NodeError:
            return
        assert found in self.possible.get(name, {ABSENT})

    @precondition(lambda self: len(self.world.disks) < MOST_NODES)
    @rule()
    def join(self) -> None:
        """Behind an upload, so that a copy is left where it is no longer looked for."""
        self.put(MOVING)
        self.shown.append(f"node-{len(self.world.disks) + 1}")
        self.refresh()

    @rule(number=NUMBERS)
    def vanish(self, number: int) -> None:
        if self.known(number) in self.shown:
            self.shown.remove(self.known(number))
        self.refresh()

    @rule(number=NUMBERS)
    def come_back(self, number: int) -> None:
        if self.known(number) not in self.shown:
            self.shown.append(self.known(number))
        self.refresh()

    def refresh(self) -> None:
        self.world.show(*self.shown)
        self.world.membership.refresh()

    @rule(number=NUMBERS, is_lost=st.booleans())
    def fall_silent(self, number: int, is_lost: bool) -> None:
        disk = self.world.disks[self.known(number)]
        disk.failing = NodeError("broken") if is_lost else SILENT
        disk.commit_is_lost = is_lost

    @rule(number=NUMBERS)
    def fail_once(self, number: int) -> None:
        self.world.disks[self.known(number)].failures.append(NodeError("500"))

    @rule(number=NUMBERS)
    def recover(self, number: int) -> None:
        name = self.known(number)
        disk = self.world.disks[name]
        disk.failing = None
        disk.failures.clear()
        disk.commit_is_lost = False
        member = self.world.membership.snapshot().members[name]
        wait_until(lambda: not member.is_skipped)

    @rule()
    def all_is_well(self) -> None:
        self.shown = sorted(self.world.disks)
        self.refresh()
        for number in range(len(self.shown)):
            self.recover(number)

    @rule()
    def discovery_fails(self) -> None:
        self.world.discovery.error = DiscoveryError("away")
        self.world.membership.refresh()
        self.world.discovery.error = None


TestAnythingInAnyOrder = ClusterMachine.TestCase
TestAnythingInAnyOrder.settings = settings(
    max_examples=300, stateful_step_count=60, deadline=None
)


def test_every_error_of_a_node_has_an_answer() -> None:
    """Nothing but our own errors leaves the cluster for anything a node does."""
    world = World(2)
    for error in (SILENT, NodeFullError("x"), NodeAccessError("x"), NodeError("x")):
        world.home.failures.append(error)
        with pytest.raises(GatewayError):
            world.read()
        member = world.membership.snapshot().members[world.names[0]]
        wait_until(lambda member=member: not member.is_skipped)
