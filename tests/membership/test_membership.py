"""What a process knows of the nodes, whatever discovery and the nodes do."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextvars import copy_context
from dataclasses import replace
from typing import Any

import pytest

from amazin.cluster.cluster import Cluster
from amazin.errors import (
    DiscoveryError,
    LateError,
    NodeError,
    NodeReadOnlyError,
    NodeTimeoutError,
    NodeUnreachableError,
    NoSuchBucketError,
)
from amazin.membership.member import Member
from amazin.membership.membership import FRESH_SHARE, WAIT_REFRESHES, Membership
from amazin.membership.roster import NodeSet, Roster
from amazin.membership.snapshot import Snapshot
from amazin.membership.transitions import DesiredNodes, RosterView, settle
from amazin.model.node_specs import Discovery, NodeSpec
from amazin.model.objects import ROSTER_NAME, ObjectName
from amazin.nodes.build import AbsentNode
from amazin.nodes.interface import Node
from amazin.request_limits import request_deadline
from amazin.status.viewer import Viewer
from tests.support.cleanup import closed_later
from tests.support.fakes import FakeClock, FakeDiscovery, FakeDisk, FakeNode
from tests.support.forked import is_so_in_child
from tests.support.waiting import PATIENCE_SECONDS, await_that

A, B, C, D, E = (NodeSpec(name, f"http://{name}:9000") for name in "abcde")
REFRESH_SECONDS = 5.0
WAIT_SECONDS = WAIT_REFRESHES * REFRESH_SECONDS
FRESH_SECONDS = FRESH_SHARE * WAIT_SECONDS
THING = ObjectName("store", "abc")


class Builder:
    """Builds fake nodes, and remembers them."""

    def __init__(self, disks: dict[str, FakeDisk] | None = None) -> None:
        self.built: list[Node] = []
        self.specs: list[NodeSpec] = []
        self.disks = {} if disks is None else disks
        self.error: Exception | None = None
        self.before: Callable[[NodeSpec], object] = lambda spec: None

    def __call__(self, spec: NodeSpec) -> Node:
        self.before(spec)
        if self.error:
            raise self.error
        self.specs.append(spec)
        node: Node = AbsentNode(spec.name)
        if spec.endpoint:
            disk = self.disks.setdefault(spec.name, FakeDisk())
            node = FakeNode(spec, disk)
        self.built.append(node)
        return node


def follow(
    *specs: NodeSpec, is_watching: bool = False
) -> tuple[Membership, FakeDiscovery, Builder]:
    discovery, builder = FakeDiscovery(*specs), Builder()
    membership = new_membership(
        discovery, builder, first_pause_seconds=0.01, is_watching=is_watching
    )
    membership.snapshot()
    return membership, discovery, builder


def new_membership(
    discovery: Discovery, builder: Builder, seconds: float = 60.0, **options: Any
) -> Membership:
    return closed_later(Membership(discovery, builder, seconds, **options))


def endpoints(membership: Membership) -> dict[str, str | None]:
    members = membership.snapshot().members
    return {name: member.spec.endpoint for name, member in members.items()}


def check(member: Member) -> None:
    member.ask(lambda node: node.start_head(THING)).wait()


# Names.


def test_the_first_question_waits_for_the_first_list() -> None:
    membership, _, _ = follow(A, B, is_watching=True)
    assert endpoints(membership) == {"a": A.endpoint, "b": B.endpoint}
    assert membership.snapshot().problem == ""


def test_the_first_question_does_not_wait_for_ever() -> None:
    discovery = FakeDiscovery(A)
    discovery.gate.clear()
    membership = new_membership(discovery, Builder(), first_list_seconds=0.05)
    snapshot = membership.snapshot()
    assert not snapshot.members
    assert snapshot.problem
    discovery.gate.set()
    await_that(lambda: membership.snapshot().members)


def in_a_request(ask: Callable[[], Any], seconds: float = 0.05) -> Any:
    """Return the answer for a request that has so much time left."""
    context = copy_context()
    context.run(request_deadline.set, time.monotonic() + seconds)
    return context.run(ask)


def test_a_request_waits_for_the_first_list_no_longer_than_it_may_take() -> None:
    discovery = FakeDiscovery(A)
    discovery.gate.clear()
    membership = new_membership(discovery, Builder(), first_list_seconds=1e6)
    assert in_a_request(membership.snapshot).problem
    with pytest.raises(LateError):
        in_a_request(membership.fresh_snapshot)
    discovery.gate.set()
    assert membership.snapshot().members


def test_a_viewer_waits_for_the_first_list_no_longer_than_he_wants() -> None:
    discovery = FakeDiscovery(A)
    discovery.gate.clear()
    membership = new_membership(discovery, Builder(), first_list_seconds=1e6)
    viewer = Viewer(Cluster(membership))
    view = viewer.look()
    assert (view.nodes, bool(view.snapshot.problem)) == ([], True)
    discovery.gate.set()
    assert await_that(lambda: viewer.look().nodes)[0].name == "a"


@pytest.mark.parametrize("ask", ["fresh_snapshot", "bootstrap", "refresh"])
def test_a_request_does_not_wait_longer_than_it_may_for_slow_nodes(ask: str) -> None:
    discovery, clock = FakeDiscovery(A), FakeClock()
    membership = new_membership(
        discovery,
        Builder(),
        desired=DesiredNodes(1, {}),
        is_watching=False,
        clock=clock,
    )
    membership.snapshot()
    old = membership.bootstrap()
    assert membership.is_fresh(old)
    clock.now = old.fresh_until
    discovery.gate.clear()
    before = discovery.begun
    for _ in range(3):
        with pytest.raises(LateError):
            in_a_request(getattr(membership, ask))
    await_that(lambda: discovery.begun == before + 1)
    discovery.gate.set()  # what the first one began goes on for all
    await_that(lambda: membership.is_fresh(membership.snapshot()))
    assert in_a_request(membership.fresh_snapshot, PATIENCE_SECONDS).roster
    assert discovery.begun == before + 1


def test_nothing_is_asked_before_the_first_question() -> None:
    discovery = FakeDiscovery(A)
    new_membership(discovery, Builder())
    assert discovery.finds == 0


def test_a_closed_membership_reads_and_builds_nothing_more() -> None:
    membership, discovery, builder = follow(A)
    membership.close()
    before = discovery.finds, len(builder.built)
    membership.fresh_snapshot()
    membership.refresh()
    assert not membership.readmit("a")
    assert not membership.change(lambda roster: roster)
    assert (discovery.finds, len(builder.built)) == before


def test_where_no_cluster_was_formed_nothing_is_changed_and_none_is_formed() -> None:
    desired = DesiredNodes(1, {})
    discovery, builder = FakeDiscovery(A, B), Builder()
    membership = new_membership(discovery, builder, desired=desired, is_watching=False)
    membership.snapshot()
    assert not membership.change(lambda roster: roster)
    assert not membership.readmit("a")
    assert membership.snapshot().roster is None
    membership.bootstrap()
    assert membership.snapshot().roster is not None


def test_a_membership_that_is_closed_unused_keeps_nobody_waiting() -> None:
    membership = new_membership(FakeDiscovery(A), Builder(), first_list_seconds=1e6)
    membership.close()
    assert not membership.fresh_snapshot().members


def test_a_name_once_seen_stays_known_and_is_unreachable() -> None:
    membership, discovery, _ = follow(A, replace(B, weight=3.0))
    discovery.specs = [A]
    membership.refresh()
    gone = membership.snapshot().members["b"]
    assert (gone.spec.endpoint, gone.spec.weight) == (None, 3.0)
    for start in ("start_get", "start_head", "start_delete"):
        with pytest.raises(NodeUnreachableError):
            gone.ask(lambda node, start=start: getattr(node, start)(THING))
    with pytest.raises(NodeUnreachableError):
        gone.node.list_objects("store")
    gone.node.close()
    membership.refresh()
    assert membership.snapshot().members["b"] is gone


def test_a_name_comes_back() -> None:
    membership, discovery, _ = follow(A)
    discovery.specs = []
    membership.refresh()
    discovery.specs = [A]
    membership.refresh()
    assert endpoints(membership) == {"a": A.endpoint}


def test_an_equal_spec_keeps_the_same_node() -> None:
    membership, discovery, builder = follow(A, B)
    before = membership.snapshot().members
    discovery.specs = [replace(B), replace(A), C]
    membership.refresh()
    now = membership.snapshot().members
    assert (now["a"], now["b"]) == (before["a"], before["b"])
    assert len(builder.built) == 3


@pytest.mark.parametrize(
    "changes",
    [
        {"endpoint": "http://elsewhere:9000"},
        {"secret_key": "new"},
        {"weight": 2.0},
        {"identity": "another container"},
    ],
)
def test_a_changed_spec_replaces_the_node(changes: dict[str, object]) -> None:
    membership, discovery, builder = follow(A, B)
    before = membership.snapshot().members
    discovery.specs = [replace(A, **changes), B]
    membership.refresh()
    now = membership.snapshot().members
    assert now["a"] is not before["a"]
    assert now["b"] is before["b"]
    assert [node.is_closed for node in builder.built] == [True, False, False]


# Discovery that fails.


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (DiscoveryError("The daemon is away"), "The daemon is away"),
        (RuntimeError("/secret/path"), "Discovery failed with RuntimeError"),
    ],
)
def test_a_failing_discovery_keeps_the_last_list(
    error: Exception, problem: str
) -> None:
    membership, discovery, _ = follow(A)
    before = membership.snapshot().members["a"]
    discovery.error = error
    membership.refresh()
    assert membership.snapshot().members == {"a": before}
    assert membership.snapshot().problem == problem
    discovery.error = None
    membership.refresh()
    assert membership.snapshot().problem == ""


@pytest.mark.parametrize(
    "nonsense",
    [
        None,
        [A, None],
        ["a"],
        [A, replace(A, endpoint="http://other")],
        [replace(A, weight=-1.0)],
        [replace(A, weight=float("inf"))],
        [replace(A, weight=float("nan"))],
        [replace(A, weight="heavy")],
    ],
)
def test_a_nonsensical_list_keeps_the_last_one(nonsense: object) -> None:
    membership, discovery, _ = follow(A)
    before = membership.snapshot().members
    discovery.specs = nonsense
    membership.refresh()
    assert membership.snapshot().members == before
    assert membership.snapshot().problem


def test_a_list_of_which_a_node_cannot_be_built_keeps_the_last_one() -> None:
    membership, discovery, builder = follow(A)
    before = membership.snapshot().members
    builder.error = ValueError("no such kind of node")
    discovery.specs = [A, B]
    membership.refresh()
    assert membership.snapshot().members == before


def test_the_thread_survives_everything() -> None:
    membership, discovery, _ = follow(is_watching=True)
    for error in (DiscoveryError("x"), KeyError("x"), RecursionError("x")):
        discovery.error = error
        waits = discovery.waits
        discovery.wake()
        await_that(lambda waits=waits: discovery.waits > waits)
    discovery.error = None
    discovery.specs = [A]
    discovery.wake()
    await_that(lambda: membership.snapshot().members)


def test_the_thread_survives_a_node_with_a_bug() -> None:
    membership, discovery, builder = follow(A, is_watching=True)
    builder.disks["a"].failing = ZeroDivisionError("a bug")
    waits = discovery.waits
    discovery.wake()
    await_that(lambda: discovery.waits > waits)
    builder.disks["a"].failing = None
    discovery.specs = [A, B]
    discovery.wake()
    await_that(lambda: "b" in membership.snapshot().members)


class Sleepless(FakeDiscovery):
    """A discovery of which only `find` works."""

    def wait(self, seconds: float) -> None:
        self.waits += 1
        raise OSError("the wait is broken")


def test_a_discovery_that_cannot_wait_is_asked_now_and_then(
    caplog: pytest.LogCaptureFixture,
) -> None:
    discovery = Sleepless(A)
    new_membership(discovery, Builder(), 0.01).snapshot()
    await_that(lambda: discovery.finds > 2)
    assert caplog.text.count("can't wait for changes") == 1


class Plain:
    """The smallest discovery of one's own."""

    def __init__(self) -> None:
        self.finds = 0

    def find(self) -> list[NodeSpec]:
        self.finds += 1
        return [A]


def test_a_discovery_without_wait_is_asked_periodically() -> None:
    discovery = Plain()
    new_membership(discovery, Builder(), 0.01).snapshot()
    await_that(lambda: discovery.finds > 2)


def test_a_problem_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    membership, discovery, _ = follow(A)
    discovery.error = DiscoveryError("The daemon is away")
    for _ in range(3):
        membership.refresh()
    assert caplog.text.count("The daemon is away") == 1


def test_operators_see_more_of_a_problem_than_clients(
    caplog: pytest.LogCaptureFixture,
) -> None:
    membership, discovery, _ = follow(A)
    for detail in ("it is not at /socket", "it is at /socket, but deaf"):
        discovery.error = DiscoveryError("The daemon is away", detail)
        membership.refresh()
        membership.refresh()
        assert membership.snapshot().problem == "The daemon is away"
        assert caplog.text.count(detail) == 1
    assert "is away" not in caplog.text


def test_keys_are_never_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    keys = {"access_key": "AKID", "secret_key": "hush"}
    membership, discovery, _ = follow(replace(A, **keys))
    discovery.specs = [replace(A, **keys, weight=2.0)]
    membership.refresh()
    assert "node a changed" in caplog.text
    assert "hush" not in caplog.text
    assert "AKID" not in caplog.text


def test_of_many_that_want_a_fresh_list_one_reads_it() -> None:
    membership, discovery, _ = follow(A)
    discovery.gate.clear()
    finds = discovery.finds
    threads = run(*[membership.refresh] * 10)
    discovery.gate.set()
    join(threads)
    assert finds < discovery.finds <= finds + 10


# The roster.


class World:
    """Disks, and processes that look at them."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.disks: dict[str, FakeDisk] = {}

    def process(
        self, *specs: NodeSpec, desired: DesiredNodes | None = None, replicas: int = 2
    ) -> Process:
        return Process(self, specs, desired or DesiredNodes(replicas, {}))

    def passive(self, *specs: NodeSpec) -> Process:
        return Process(self, specs, None)

    def copy(self, name: str) -> Roster:
        return Roster.load(self.disks[name].objects[ROSTER_NAME][1], name)

    def down(self, names: str) -> None:
        for name in names:
            self.disks[name].failing = NodeError("down")

    def up(self, names: str) -> None:
        for name in names:
            self.disks[name].failing = None


class Process:
    """A membership with its discovery and its nodes."""

    def __init__(
        self, world: World, specs: Sequence[NodeSpec], desired: DesiredNodes | None
    ) -> None:
        self.discovery = FakeDiscovery(*specs)
        self.builder = Builder(world.disks)
        self.membership = new_membership(
            self.discovery,
            self.builder,
            REFRESH_SECONDS,
            desired=desired,
            clock=world.clock,
            is_watching=False,
        )
        self.membership.snapshot()

    def refresh(self) -> Snapshot:
        self.membership.refresh()
        return self.membership.snapshot()

    @property
    def is_fresh(self) -> bool:
        return self.membership.is_fresh(self.membership.snapshot())


def formed() -> tuple[World, Process]:
    world = World()
    process = world.process(A, B, C)
    process.membership.bootstrap()
    return world, process


def names_of(nodes: NodeSet | None) -> str:
    return "".join(sorted(nodes.names)) if nodes else ""


def test_nothing_is_formed_unless_something_is_to_be_stored() -> None:
    snapshot = World().process(A, B, C).refresh()
    assert snapshot.roster is None
    assert snapshot.is_empty


def test_a_cluster_is_formed_when_something_is() -> None:
    world, process = formed()
    snapshot = process.membership.snapshot()
    assert snapshot.roster
    assert names_of(snapshot.roster.settled) == "abc"
    assert [world.copy(name) for name in "abc"] == [snapshot.roster] * 3
    assert not snapshot.is_empty
    assert process.is_fresh


def test_to_form_a_cluster_that_is_there_changes_nothing() -> None:
    world, process = formed()
    before = world.copy("a")
    assert process.membership.bootstrap().roster == before
    assert world.process(A, B, C).membership.bootstrap().roster == before


def test_a_bootstrap_that_failed_is_not_made_up_for_later() -> None:
    world = World()
    process = world.process(A, B, C)
    world.down("c")
    assert process.membership.bootstrap().roster is None
    world.up("c")
    assert process.refresh().roster is None
    assert process.membership.bootstrap().roster


def test_without_desired_nodes_nothing_is_proposed_but_all_is_followed() -> None:
    world = World()
    passive = world.passive(A, B, C)
    assert passive.membership.bootstrap().roster is None
    world.process(A, B, C).membership.bootstrap()
    assert passive.refresh().roster == world.copy("a")
    world.disks["d"] = FakeDisk()
    passive.discovery.specs = [A, B, C, D]
    assert passive.refresh().roster == world.copy("a")
    assert world.copy("a").is_settled


def test_a_joiner_is_announced_and_opened_by_whoever_is_there() -> None:
    world, process = formed()
    process.discovery.specs = [A, B, C, D]
    assert process.refresh().roster == world.copy("d")
    assert not world.copy("d").is_open
    passive = world.passive(A, B, C, D)
    world.clock.now += WAIT_SECONDS
    assert passive.refresh().roster == world.copy("d")
    assert world.copy("d").is_open


def test_nothing_is_acted_on_so_long_that_a_set_is_opened_meanwhile() -> None:
    assert WAIT_SECONDS > FRESH_SECONDS


def test_a_node_that_discovery_does_not_show_is_known_and_absent() -> None:
    world, _ = formed()
    process = world.passive(A)
    assert NodeSpec("b", None) in process.builder.specs
    members = process.membership.snapshot().members
    assert [*members] == ["a", "b", "c"]
    assert isinstance(members["b"].node, AbsentNode)
    with pytest.raises(NodeUnreachableError):
        check(members["c"])
    process.discovery.specs = [A, B]
    assert process.refresh().members["b"].spec == B


def test_a_roster_is_never_shown_without_its_nodes() -> None:
    world, _ = formed()
    process = world.process()
    membership = process.membership
    shown: list[Snapshot] = []
    process.builder.before = lambda spec: shown.append(membership.snapshot())
    process.discovery.specs = [A]
    process.refresh()
    assert {"a", "b", "c"} == process.refresh().members.keys()
    assert shown
    assert all(s.view.names <= s.members.keys() for s in shown)


# How long it may be acted on.


def test_before_a_roster_was_seen_nothing_is_fresh() -> None:
    assert not World().process(A, B, C).is_fresh


def test_a_look_is_acted_on_for_a_while() -> None:
    world, process = formed()
    world.clock.now += FRESH_SECONDS - 0.1
    assert process.is_fresh
    world.clock.now += 0.1
    assert not process.is_fresh


def test_who_needs_a_fresh_one_has_it_refreshed() -> None:
    world, process = formed()
    finds = process.discovery.finds
    process.membership.fresh_snapshot()
    assert process.discovery.finds == finds
    world.clock.now += FRESH_SECONDS
    assert process.membership.is_fresh(process.membership.fresh_snapshot())
    assert process.discovery.finds == finds + 1


def test_the_time_counts_from_the_beginning_of_the_look() -> None:
    world, process = formed()

    def take_time() -> None:
        world.clock.now += 4.0

    world.disks["a"].before["get"] = take_time
    begun = world.clock.now
    assert process.refresh().fresh_until == begun + FRESH_SECONDS


def test_silent_nodes_make_nothing_fresh() -> None:
    world, process = formed()
    before = process.membership.snapshot()
    world.down("abc")
    world.clock.now += FRESH_SECONDS - 1.0
    now = process.refresh()
    assert (now.roster, now.fresh_until) == (before.roster, before.fresh_until)
    assert now.view.unreachable == {"a", "b", "c"}
    assert process.is_fresh
    world.clock.now += 1.0
    stale = process.membership.fresh_snapshot()
    assert not process.membership.is_fresh(stale)
    assert stale.roster == before.roster


def test_one_node_of_the_set_is_enough() -> None:
    world, process = formed()
    world.down("ab")
    world.clock.now += FRESH_SECONDS
    assert process.membership.is_fresh(process.membership.fresh_snapshot())


def drained() -> tuple[World, Process]:
    """Return a world in which `c` has left, and knows it."""
    world, process = formed()
    process.discovery.specs = [A, B, replace(C, weight=0.0)]
    process.refresh()
    world.clock.now += WAIT_SECONDS
    snapshot = process.refresh()
    assert snapshot.roster
    roster_store = process.membership.roster_store
    roster_store.decide(settle(snapshot.roster), snapshot.view, snapshot.members)
    assert process.refresh().roster == world.copy("c")
    assert world.copy("c").leaving == ()
    return world, process


def test_a_node_that_left_makes_nothing_fresh() -> None:
    world, process = drained()
    before = process.membership.snapshot()
    world.down("ab")
    world.clock.now += 1.0
    assert process.refresh().fresh_until == before.fresh_until
    late = world.passive(A, B, C)
    assert late.membership.snapshot().roster == before.roster
    assert not late.is_fresh


def test_clusters_that_meet_are_not_acted_on() -> None:
    world, process = formed()
    world.process(D, E).membership.bootstrap()
    world.down("d")
    process.discovery.specs = [A, B, C, D, E]
    snapshot = process.refresh()
    assert snapshot.roster is None
    assert snapshot.reason == "Too few nodes answer to know where objects are"


def test_they_become_one_when_all_are_there() -> None:
    world, process = formed()
    world.process(D, E).membership.bootstrap()
    process.discovery.specs = [A, B, C, D, E]
    united = process.refresh().roster
    assert united
    assert (united.settled, names_of(united.next)) == (None, "abcde")
    assert process.is_fresh


# Lost disks.


def test_a_node_that_lost_its_disk_is_refused() -> None:
    world, process = formed()
    world.disks["c"].wipe()
    snapshot = process.refresh()
    assert snapshot.lost == {"c"}
    assert [member.is_lost for member in snapshot.members.values()] == [0, 0, 1]
    calls = len(world.disks["c"].calls)
    with pytest.raises(NoSuchBucketError, match="lost its disk"):
        check(snapshot.members["c"])
    assert len(world.disks["c"].calls) == calls


def test_it_is_asked_again_once_it_was_filled() -> None:
    world, process = formed()
    world.disks["c"].wipe()
    snapshot = process.refresh()
    assert snapshot.roster
    world.disks["c"].put(THING, b"")
    process.membership.roster_store.readmit("c", snapshot.roster, snapshot.members)
    snapshot = process.refresh()
    assert not snapshot.lost
    check(snapshot.members["c"])


def test_with_all_disks_lost_nothing_is_formed_anew() -> None:
    world, process = formed()
    for disk in world.disks.values():
        disk.wipe()
    snapshot = process.membership.bootstrap()
    assert snapshot.lost == {"a", "b", "c"}
    assert not snapshot.is_empty
    assert not any(ROSTER_NAME in disk.objects for disk in world.disks.values())
    world.clock.now += FRESH_SECONDS
    process.membership.fresh_snapshot()
    assert not process.is_fresh


def test_a_lost_disk_stays_lost_under_a_new_address() -> None:
    world, process = formed()
    world.disks["c"].wipe()
    process.refresh()
    moved = replace(C, endpoint="http://elsewhere:9000")
    states: list[bool] = []

    def note() -> None:
        member = process.membership.snapshot().members["c"]
        assert member.spec == moved
        states.append(member.is_lost)

    world.disks["a"].before["look"] = note
    process.discovery.specs = [A, B, moved]
    process.refresh()
    assert process.membership.snapshot().members["c"].is_lost
    assert states
    assert all(states)


# What clients are told.


@pytest.mark.parametrize(
    ("view", "reason"),
    [
        (RosterView({}), "No storage node was found"),
        (
            RosterView({}, frozenset("a")),
            "Nothing is stored yet; a first upload needs REPLICAS nodes",
        ),
        (
            RosterView({}, frozenset("a"), unreachable=frozenset("b")),
            "Too few nodes answer to know where objects are",
        ),
        (
            RosterView({}, frozenset("a"), with_data=frozenset("a")),
            "The set of nodes is changing; try again in a moment",
        ),
    ],
)
def test_why_nodes_cannot_be_used(view: RosterView, reason: str) -> None:
    names = view.empty | view.unreachable
    members = {name: Member(A, AbsentNode(name)) for name in names}
    assert Snapshot(members, view, "").reason == reason


def test_nodes_that_answer_and_store_nothing_are_not_told_to_be_silent() -> None:
    world = World()
    world.disks["a"] = FakeDisk(refusal=NodeReadOnlyError("EROFS"))
    process = world.process(A, B)
    snapshot = process.membership.bootstrap()
    assert snapshot.roster is None
    assert snapshot.reason == (
        "The first upload needs all nodes, and not all store now (read-only)"
    )


def test_without_nodes_the_problem_is_told() -> None:
    assert (
        Snapshot({}, RosterView({}), "The daemon is away").reason
        == "The daemon is away"
    )


def test_fewer_nodes_than_replicas_are_the_reason_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = World()
    process = world.process(A, B, C, replicas=5)
    sentence = "REPLICAS is 5, but only 3 nodes were found"
    for _ in range(2):
        snapshot = process.membership.bootstrap()
        assert (snapshot.roster, snapshot.reason) == (None, sentence)
    assert snapshot.shortage == sentence
    warning = "REPLICAS=5 needs as many nodes: nothing is stored"
    assert caplog.messages.count(warning) == 1
    process.discovery.specs = [
        A,
        B,
        C,
        *(NodeSpec(n, f"http://{n}:9000") for n in "de"),
    ]
    assert process.membership.bootstrap().shortage == ""


@pytest.mark.parametrize(
    ("replicas", "spec", "shortage"),
    [
        (0, A, ""),
        (1, A, ""),
        (2, A, "REPLICAS is 2, but only 1 node was found"),
        (2, replace(A, weight=0.0), ""),  # nothing is known: another sentence says so
    ],
)
def test_a_shortage_of_nodes(replicas: int, spec: NodeSpec, shortage: str) -> None:
    members = {"a": Member(spec, AbsentNode("a"))}
    snapshot = Snapshot(members, RosterView({}), "", replicas=replicas)
    assert snapshot.shortage == shortage


# Many threads.


def run(*acts: Callable[[], object]) -> list[threading.Thread]:
    threads = [threading.Thread(target=act) for act in acts]
    for thread in threads:
        thread.start()
    return threads


def join(threads: Iterable[threading.Thread]) -> None:
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
        assert not thread.is_alive()


def test_who_forms_while_others_refresh_forms_all_the_same() -> None:
    world = World()
    process = world.process(A, B, C)
    reached, gate = threading.Event(), threading.Event()

    def pause() -> None:
        reached.set()
        assert gate.wait(PATIENCE_SECONDS)

    world.disks["a"].before["get"] = pause
    threads = run(process.membership.refresh)
    assert reached.wait(PATIENCE_SECONDS)
    results: list[Snapshot] = []
    threads += run(*[lambda: results.append(process.membership.bootstrap())] * 5)
    await_that(lambda: process.membership._may_bootstrap)
    gate.set()
    join(threads)
    assert [names_of(s.roster.settled) for s in results if s.roster] == ["abc"] * 5


def test_a_refresh_that_began_earlier_does_not_use_up_the_bootstrap() -> None:
    """It read a list that had too few nodes."""
    world = World()
    process = world.process(A)
    results: list[Snapshot] = []
    threads: list[threading.Thread] = []

    def bootstrap_meanwhile(spec: NodeSpec) -> None:
        process.builder.before = lambda spec: None
        process.discovery.specs = [A, B, C]
        threads.extend(run(lambda: results.append(process.membership.bootstrap())))
        await_that(lambda: process.membership._may_bootstrap)

    process.builder.before = bootstrap_meanwhile
    process.discovery.specs = [replace(A, secret_key="new")]
    process.membership.refresh()
    join(threads)
    assert [names_of(s.roster.settled) for s in results if s.roster] == ["abc"]


# Fork.


def test_a_forked_process_follows_by_itself() -> None:
    membership, discovery, builder = follow(A, is_watching=True)
    disk = builder.disks["a"]
    disk.failing = NodeTimeoutError("x")
    member = membership.snapshot().members["a"]
    with pytest.raises(NodeError):
        check(member)

    def follows() -> bool:
        discovery.specs = [B]
        discovery.gate.set()
        snapshot = membership.snapshot()
        is_new = snapshot.members["a"] is not member
        is_fresh = not snapshot.members["a"].is_skipped
        names = {name: m.spec.endpoint for name, m in snapshot.members.items()}
        return is_new and is_fresh and names == {"a": None, "b": B.endpoint}

    discovery.gate.clear()
    begun = discovery.begun
    refreshing = run(membership.refresh)  # it is in the middle of it
    await_that(lambda: discovery.begun > begun)
    assert is_so_in_child(follows)
    discovery.gate.set()
    join(refreshing)
    assert membership.snapshot().members["a"] is member


def test_a_forked_process_looks_for_itself() -> None:
    _, process = formed()
    membership = process.membership
    before = membership.snapshot()
    membership.reset_in_child()
    assert membership._snapshot.roster == before.roster
    assert not membership.is_fresh(membership._snapshot)
    now = membership.fresh_snapshot()
    assert membership.is_fresh(now)
    assert now.roster == before.roster
    assert all(now.members[name] is not before.members[name] for name in "abc")
    assert not any(node.is_closed for node in process.builder.built[:3])


def test_a_forked_process_forms_and_waits_like_any_other() -> None:
    world = World()
    process = world.process(A, B, C)
    process.membership.reset_in_child()
    assert process.membership.bootstrap().roster == world.copy("c")


def test_a_lost_disk_is_lost_to_a_forked_process_too() -> None:
    world, process = formed()
    world.disks["c"].wipe()
    process.refresh()
    process.membership.reset_in_child()
    assert process.membership.fresh_snapshot().members["c"].is_lost
