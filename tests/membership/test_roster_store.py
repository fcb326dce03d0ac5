"""Several gateways, one roster: whoever is first, all see the same in the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest

from amazin.errors import NodeError, NodeTimeoutError
from amazin.membership.member import Member
from amazin.membership.roster import NodeSet, Roster
from amazin.membership.roster_store import MAX_BYTES, ROSTER_NAME, RosterStore, describe
from amazin.membership.transitions import DesiredNodes, RosterView, forget, settle, step
from amazin.model.node_specs import NodeSpec
from amazin.model.objects import DATA_BUCKETS, ObjectName
from tests.support.fakes import FakeClock, FakeDisk, FakeNode

WAIT_SECONDS = 20.0
THING = ObjectName("store", "abc")


class Gateway:
    """A roster_store, with the nodes that it knows."""

    def __init__(
        self,
        disks: Mapping[str, FakeDisk],
        clock: FakeClock,
        desired: DesiredNodes | None,
        **weights: float,
    ) -> None:
        # Without an endpoint, so that a node that fails is asked again at once.
        self.specs = [
            NodeSpec(name, None, weight=weights.get(name, 1.0)) for name in disks
        ]
        self.members = {
            spec.name: Member(spec, FakeNode(spec, disks[spec.name]))
            for spec in self.specs
        }
        self.roster_store = RosterStore(desired, WAIT_SECONDS, clock)

    def follow(self, may_bootstrap: bool = False) -> RosterView:
        return self.roster_store.follow(self.members, self.specs, may_bootstrap)

    def bootstrap(self) -> RosterView:
        return self.follow(may_bootstrap=True)

    def decide(self, new: Roster) -> bool:
        return self.roster_store.decide(new, self.follow(), self.members)


class World:
    """Disks, and gateways that look at them."""

    def __init__(self, names: str = "abc") -> None:
        self.disks = {name: FakeDisk() for name in names}
        self.clock = FakeClock()

    def gateway(self, names: str = "", replicas: int = 2, **weights: float) -> Gateway:
        return self._gateway(names, DesiredNodes(replicas, {}), weights)

    def passive(self, names: str = "") -> Gateway:
        return self._gateway(names, None, {})

    def _gateway(
        self, names: str, desired: DesiredNodes | None, weights: Mapping[str, float]
    ) -> Gateway:
        disks = {name: self.disks[name] for name in names or self.disks}
        return Gateway(disks, self.clock, desired, **weights)

    def add(self, names: str) -> None:
        self.disks.update({name: FakeDisk() for name in names})

    def copy(self, name: str) -> Roster | None:
        found = self.disks[name].objects.get(ROSTER_NAME)
        return Roster.load(found[1], name) if found else None

    def copies(self, names: str = "") -> list[Roster | None]:
        return [self.copy(name) for name in names or self.disks]

    def agreed(self, names: str = "") -> Roster:
        """Return the roster that all nodes hold."""
        first, *others = self.copies(names)
        assert first
        assert all(other == first for other in others)
        return first

    def down(self, names: str) -> None:
        for name in names:
            self.disks[name].failing = NodeError("down")

    def up(self, names: str) -> None:
        for name in names:
            self.disks[name].failing = None

    def store(self, name: str, roster: Roster) -> None:
        self.disks[name].put(ROSTER_NAME, roster.dump(name))


def settled(names: str = "abc") -> World:
    world = World(names)
    world.gateway().bootstrap()
    assert world.agreed().is_settled
    return world


def announced() -> tuple[World, Gateway]:
    """Return a world in which a node `d` joins, and a gateway that saw it recorded."""
    world = settled()
    world.add("d")
    gateway = world.gateway()
    gateway.follow()
    assert world.agreed().next
    return world, gateway


def opened() -> tuple[World, Gateway]:
    world, gateway = announced()
    world.clock.now += WAIT_SECONDS
    gateway.follow()
    assert world.agreed().is_open
    return world, gateway


def names_of(nodes: NodeSet | None) -> str:
    return "".join(sorted(nodes.names)) if nodes else ""


def once(act: Callable[[], object]) -> Callable[[], object]:
    """Return a hook that acts at its first call."""
    acts = [act]
    return lambda: acts.pop()() if acts else None


# The first roster.


def test_nothing_is_made_unless_it_is_asked_for() -> None:
    world = World()
    view = world.gateway().follow()
    assert view.empty == set("abc")
    assert world.copies() == [None, None, None]
    assert not any(disk.buckets for disk in world.disks.values())


def test_empty_nodes_become_a_cluster_at_once() -> None:
    world = World()
    view = world.gateway(b=2.0).bootstrap()
    weights = {"a": 1.0, "b": 2.0, "c": 1.0}
    assert world.agreed() == view.roster
    assert view.roster
    assert view.roster.settled == NodeSet(2, weights, epoch=1)
    assert (view.is_confirmed, view.is_recorded) == (True, True)


def test_every_node_has_the_buckets() -> None:
    world = settled()
    for disk in world.disks.values():
        assert disk.buckets == {*DATA_BUCKETS, ROSTER_NAME.bucket}


def test_each_cluster_has_its_own_name() -> None:
    assert settled().agreed().cluster != settled().agreed().cluster


def test_nodes_with_objects_become_a_cluster_unasked() -> None:
    world = World()
    world.disks["b"].put(THING, b"")
    gateway = world.gateway()
    view = gateway.follow()
    assert view.roster == world.agreed()
    assert (view.roster.settled, view.roster.is_new) == (None, False)
    assert not view.roster.is_open
    world.clock.now += WAIT_SECONDS
    assert gateway.follow().roster == world.agreed()
    assert world.agreed().is_open


def test_a_node_that_cannot_be_listed_counts_as_silent() -> None:
    world = World()
    world.disks["b"].before["list"] = fail
    view = world.gateway().follow()
    assert view.unreachable == {"b"}
    assert not view.copies


def fail() -> None:
    raise NodeError("failed")


@pytest.mark.parametrize("silence", ["down", "is_silent"])
def test_no_cluster_is_made_while_a_node_is_silent(silence: str) -> None:
    world = World()
    if silence == "down":
        world.down("c")
    world.disks["c"].is_silent = silence == "is_silent"
    view = world.gateway().bootstrap()
    assert view.unreachable == {"c"}
    assert world.copies() == [None, None, None]


def test_no_cluster_is_made_of_too_few_nodes() -> None:
    world = World("a")
    assert world.gateway().bootstrap().roster is None
    assert world.copies() == [None]


def test_a_cluster_that_was_seen_is_not_made_anew() -> None:
    world = World()
    gateway = world.gateway()
    gateway.bootstrap()
    for disk in world.disks.values():
        disk.wipe()
    assert gateway.bootstrap().empty == set("abc")
    assert world.copies() == [None, None, None]


def test_nodes_without_weight_learn_of_it() -> None:
    world = World()
    world.gateway(c=0.0).bootstrap()
    assert names_of(world.agreed().settled) == "ab"
    assert world.copy("c") == world.agreed()


def test_a_first_roster_that_a_node_missed_is_completed() -> None:
    world = World()
    world.disks["c"].before["bucket"] = fail
    assert world.gateway().bootstrap().roster
    assert world.copy("c") is None
    assert world.copy("a").is_new
    del world.disks["c"].before["bucket"]
    world.passive().follow()
    assert names_of(world.agreed().settled) == "abc"


# Races.

MOMENTS = [
    (name, method) for name in "abc" for method in ("get", "bucket", "put", "commit")
]


@pytest.mark.parametrize(("name", "method"), MOMENTS)
def test_two_gateways_form_one_cluster(name: str, method: str) -> None:
    world = World()
    one, other = world.gateway(), world.gateway(a=2.0)
    world.disks[name].before[method] = once(other.bootstrap)
    one.bootstrap()
    for gateway in (one, other, one, other):
        assert gateway.follow()
    assert one.follow().roster == other.follow().roster == world.agreed()
    # What the one that lost desires may have been announced since.
    assert names_of(world.agreed().settled) == "abc"


@pytest.mark.parametrize(
    ("name", "method"), [(n, m) for n in "abc" for m in ("get", "put", "commit")]
)
@pytest.mark.parametrize("joins", [False, True])
def test_of_two_desired_sets_one_comes_first(
    name: str, method: str, joins: bool
) -> None:
    world = settled()
    one, other = world.gateway(a=2.0), world.gateway(a=4.0)
    if joins:
        world.add("d")
        other = world.gateway()
    world.disks[name].before[method] = once(other.follow)
    one.follow()
    rosters = [gateway.follow().roster for gateway in (one, other, one)]
    roster = rosters[2]
    assert roster
    assert rosters[1] == roster == world.agreed(names_of(roster.next))
    assert (roster.generation, roster.is_open) == (3, False)
    assert roster.settled == NodeSet(2, {"a": 1.0, "b": 1.0, "c": 1.0}, epoch=1)
    assert roster.next in (
        NodeSet(2, {"a": 2.0, "b": 1.0, "c": 1.0}, epoch=3),
        NodeSet(2, {"a": 4.0, "b": 1.0, "c": 1.0}, epoch=3),
        NodeSet(2, dict.fromkeys("abcd", 1.0), epoch=3),
    )


@pytest.mark.parametrize(
    ("name", "method"), [(n, m) for n in "abcd" for m in ("get", "put", "commit")]
)
def test_two_gateways_open_a_set_once(name: str, method: str) -> None:
    world, one = announced()
    other = world.gateway()
    other.follow()
    world.clock.now += WAIT_SECONDS
    world.disks[name].before[method] = once(other.follow)
    one.follow()
    assert one.follow().roster == other.follow().roster == world.agreed()
    assert (world.agreed().generation, world.agreed().is_open) == (4, True)


def test_who_lost_a_race_is_told_so() -> None:
    world = settled()
    one, other = world.gateway(a=2.0), world.gateway(a=4.0)
    view = look(one)
    new = step(view, NodeSet(2, {"a": 2.0, "b": 1.0}), has_waited=False)
    assert new
    other.follow()
    assert not one.roster_store.decide(new, view, one.members)
    assert world.agreed().next == NodeSet(2, {"a": 4.0, "b": 1.0, "c": 1.0}, epoch=3)


def look(gateway: Gateway) -> RosterView:
    """See what is there without taking a step."""
    return gateway.roster_store.follow(gateway.members, [], may_bootstrap=False)


def test_clusters_that_gateways_made_of_parts_become_one() -> None:
    world = World("abcd")
    world.gateway("ab").bootstrap()
    world.gateway("cd").bootstrap()
    one, other = world.gateway(), world.gateway()
    one.follow()
    assert one.follow().roster == other.follow().roster == world.agreed()
    united = world.agreed()
    assert (united.settled, names_of(united.next)) == (None, "abcd")
    assert not united.is_open
    world.clock.now += WAIT_SECONDS
    assert one.follow().roster == world.agreed()
    assert world.agreed().is_open


def test_gateways_with_different_views_form_clusters_that_meet() -> None:
    world = World()
    one, other = world.gateway("ab"), world.gateway("bc")
    world.disks["a"].before["commit"] = once(other.bootstrap)
    one.bootstrap()
    assert world.gateway().follow().roster == world.agreed()
    assert names_of(world.agreed().newest) == "abc"


# A step that was begun.


def test_a_step_whose_gateway_died_is_finished_by_another() -> None:
    world = settled()
    view = look(dead := world.gateway())
    new = step(view, NodeSet(2, {"a": 3.0, "b": 1.0, "c": 1.0}), has_waited=False)
    assert new
    assert dead.roster_store.decide(new, view, dead.members)
    assert world.copies() == [new, view.roster, view.roster]
    assert world.passive().follow().is_recorded
    assert world.agreed() == new


def test_a_step_whose_answer_was_lost_counts() -> None:
    world = settled()
    disk = world.disks["a"]
    disk.commit_is_lost = True
    disk.before["commit"] = once(fail)
    world.gateway(a=3.0).follow()
    assert world.agreed().generation == 3


def test_a_node_that_refuses_its_copy_keeps_nobody_from_the_others() -> None:
    world = settled("abcd")
    world.disks["b"].before["commit"] = fail
    world.gateway(a=3.0).follow()
    assert [roster.generation for roster in world.copies() if roster] == [3, 2, 3, 3]


def test_a_change_is_opened_when_it_was_on_all_nodes_for_a_while() -> None:
    world, gateway = announced()
    world.clock.now += WAIT_SECONDS - 0.1
    gateway.follow()
    assert not world.agreed().is_open
    assert not gateway.roster_store.has_waited(world.agreed())
    world.clock.now += 0.1
    assert gateway.roster_store.has_waited(world.agreed())
    gateway.follow()
    assert world.agreed().is_open


def test_a_gateway_that_has_just_started_waits_too() -> None:
    world, _ = announced()
    world.clock.now += 10 * WAIT_SECONDS
    late = world.gateway()
    late.follow()
    assert not world.agreed().is_open


def test_the_wait_begins_when_the_last_node_was_seen() -> None:
    """A slow look may see the first node's copy long before the last one's."""
    world = settled()
    world.add("d")
    gateway = world.gateway()

    def take_time() -> None:
        world.clock.now += 10.0

    world.disks["d"].before["get"] = take_time
    gateway.follow()
    del world.disks["d"].before["get"]
    seen_at = world.clock.now
    world.clock.now = seen_at + WAIT_SECONDS - 0.1
    gateway.follow()
    assert not world.agreed().is_open


@pytest.mark.parametrize("name", "bcd")
def test_nothing_is_opened_while_a_node_has_not_learned_of_it(name: str) -> None:
    world = settled()
    world.add("d")
    gateway = world.gateway()
    world.disks[name].before["commit"] = lambda: world.down(name) or fail()
    gateway.follow()
    world.clock.now += 10 * WAIT_SECONDS
    assert name in gateway.follow().unreachable
    assert not any(roster and roster.is_open for roster in world.copies())
    del world.disks[name].before["commit"]
    world.up(name)
    gateway.follow()
    assert not world.agreed().is_open
    world.clock.now += WAIT_SECONDS
    gateway.follow()
    assert world.agreed().is_open


def test_what_is_open_stays_so_while_nodes_are_away() -> None:
    world, gateway = announced()
    world.clock.now += WAIT_SECONDS
    world.down("d")
    gateway.follow()
    assert world.agreed("abc").is_open
    world.up("d")
    assert gateway.follow().is_recorded


def test_a_drained_node_learns_that_it_is_not_used_any_more() -> None:
    world = settled()
    gateway = world.gateway(c=0.0)
    gateway.follow()
    world.clock.now += WAIT_SECONDS
    roster = gateway.follow().roster
    assert roster
    assert gateway.decide(settle(roster))
    gateway.follow()
    assert (names_of(world.agreed().settled), world.agreed().leaving) == ("ab", ())


def test_a_forgotten_node_that_is_back_learns_of_it() -> None:
    world = settled()
    gateway = world.gateway()
    before = world.agreed()
    world.down("a")
    assert gateway.decide(forget(before, {"a"}))
    gateway.follow()
    world.up("a")
    gateway.follow()
    assert world.agreed().forgotten == ("a",)
    world.clock.now += WAIT_SECONDS
    gateway.follow()
    assert world.agreed().is_open


# What a look costs.


def test_only_copies_that_changed_are_read_and_what_all_say_is_held_once() -> None:
    world = settled()
    gateway = world.gateway()
    seen = gateway.follow().copies
    assert len(set(map(id, seen.values()))) == 1
    forget_calls(world)
    assert gateway.follow().copies == seen
    assert [disk.calls for disk in world.disks.values()] == [["look"]] * 3
    newer = replace(world.agreed(), generation=9)
    world.store("b", newer)
    forget_calls(world)
    assert gateway.follow().copies["b"] == newer
    first, second, third = (disk.calls for disk in world.disks.values())
    assert second[:2] == ["look", "get"]
    assert "get" not in first[:1] + third[:1]


def forget_calls(world: World) -> None:
    for disk in world.disks.values():
        disk.calls.clear()


# Nodes that fail.


def test_a_node_that_does_not_tell_its_roster_is_skipped() -> None:
    world = settled()
    gateway = world.gateway()
    spec = NodeSpec("b", "http://b")
    silent = Member(spec, FakeNode(spec, world.disks["b"]), 60.0)
    gateway.members["b"] = silent
    world.disks["b"].failing = NodeTimeoutError("silent")
    gateway.follow()
    assert silent.is_skipped
    silent.retire()


def test_a_wiped_node_is_lost_and_gets_no_copy() -> None:
    world = settled()
    gateway = world.gateway()
    world.disks["c"].wipe()
    for _ in range(3):
        view = gateway.follow()
        assert (view.lost, view.outdated) == ({"c"}, [])
    assert world.copy("c") is None
    assert not world.disks["c"].buckets


def test_nothing_is_opened_while_a_disk_is_lost() -> None:
    world = settled()
    world.disks["c"].wipe()
    gateway = world.gateway(b=2.0)
    gateway.follow()
    world.clock.now += WAIT_SECONDS
    gateway.follow()
    assert (world.agreed("ab").generation, world.agreed("ab").is_open) == (3, False)
    assert world.copy("c") is None


def test_a_node_that_was_filled_again_is_readmitted() -> None:
    world = settled()
    gateway = world.gateway()
    world.disks["c"].wipe()
    roster = gateway.follow().roster
    assert roster
    assert not gateway.roster_store.readmit(
        "c", roster, gateway.members
    )  # nothing is there
    world.disks["c"].buckets.add("store")
    assert gateway.roster_store.readmit("c", roster, gateway.members)
    assert not gateway.follow().lost
    assert world.agreed() == roster


def test_a_joiner_that_is_wiped_is_told_again() -> None:
    world, gateway = announced()
    world.disks["d"].wipe()
    gateway.follow()
    assert world.copy("d") == world.agreed()


def test_a_wiped_node_of_an_open_set_is_lost() -> None:
    world, gateway = opened()
    world.disks["d"].wipe()
    assert gateway.follow().lost == {"d"}
    assert world.copy("d") is None


@pytest.mark.parametrize("how", ["down", "wiped"])
def test_without_the_deciding_node_nothing_changes(
    how: str, caplog: pytest.LogCaptureFixture
) -> None:
    world = settled()
    before = world.agreed()
    if how == "down":
        world.down("a")
    else:
        world.disks["a"].wipe()
    gateway = world.gateway(b=2.0)
    for _ in range(3):
        assert gateway.follow().roster == before
    assert world.copies("bc") == [before, before]
    assert caplog.text.count("can't change while a is away") == 1


def test_a_node_that_was_away_is_brought_the_newest() -> None:
    world = settled()
    world.down("c")
    world.gateway(b=2.0).follow()
    world.up("c")
    assert world.copy("c").generation == 2
    assert world.passive().follow().is_recorded
    assert world.agreed().generation == 3


GARBAGE = [b"", b"{}", b"[" * 100_000, b"x" * (MAX_BYTES + 1)]


def test_a_node_is_brought_the_newest_though_a_due_step_can_not_be_taken() -> None:
    world = settled()
    newer = replace(world.agreed(), generation=world.agreed().generation + 1)
    for name in "ab":
        world.store(name, newer)
    world.add("d")  # which is to join
    world.down("a")  # which decides
    view = world.gateway().follow()
    assert world.copies("bc") == [newer, newer]
    assert view.is_confirmed


@pytest.mark.parametrize("data", GARBAGE, ids=["empty", "none", "deep", "long"])
def test_a_node_whose_copy_cannot_be_read_is_silent(
    data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    world = settled()
    world.disks["c"].put(ROSTER_NAME, data)
    gateway = world.gateway(b=2.0)
    for _ in range(3):
        view = gateway.follow()
        assert (view.unreachable, view.lost) == ({"c"}, frozenset())
    assert world.disks["c"].objects[ROSTER_NAME][1] == data
    assert caplog.text.count("node c can't be used") == 1


def test_a_node_with_the_disk_of_another_is_silent() -> None:
    world = settled()
    world.disks["c"].objects = dict(world.disks["b"].objects)
    assert world.gateway().follow().unreachable == {"c"}


def test_disks_that_changed_places_are_noticed_at_once() -> None:
    world = settled()
    gateway = world.gateway()
    gateway.follow()
    objects = world.disks["b"].objects
    world.disks["b"].objects = world.disks["c"].objects
    world.disks["c"].objects = objects
    assert gateway.follow().unreachable == set("bc")


def test_with_all_nodes_silent_nothing_is_known() -> None:
    world = settled()
    gateway = world.gateway()
    gateway.follow()
    world.down("abc")
    view = gateway.bootstrap()
    assert (view.roster, view.unreachable) == (None, set("abc"))


# DesiredNodes.


def test_a_node_that_does_not_answer_does_not_join() -> None:
    world = settled()
    world.add("d")
    world.down("d")
    world.gateway().follow()
    assert world.agreed("abc").is_settled


def test_a_node_with_objects_unsettles_when_it_joins() -> None:
    world = settled()
    world.add("d")
    world.disks["d"].put(THING, b"")
    assert world.gateway().follow().roster == world.agreed()
    assert (world.agreed().settled, names_of(world.agreed().next)) == (None, "abcd")


def test_a_node_is_drained_while_it_is_away() -> None:
    world = settled()
    world.down("c")
    world.gateway(c=0.0).follow()
    assert names_of(world.agreed("ab").next) == "ab"


def test_one_change_at_a_time() -> None:
    world, gateway = announced()
    other = world.gateway(a=5.0)
    before = world.agreed()
    other.follow()
    assert world.agreed() == before
    world.clock.now += WAIT_SECONDS
    roster = gateway.follow().roster
    assert roster
    assert gateway.decide(settle(roster))
    other.follow()
    assert world.agreed().newest.weights["a"] == 5.0


def test_two_gateways_that_disagree_come_to_rest() -> None:
    world = settled()
    gateways = [world.gateway(a=2.0), world.gateway(a=4.0)]
    for _ in range(4):
        for gateway in gateways:
            gateway.follow()
            world.clock.now += WAIT_SECONDS
            roster = gateway.follow().roster
            assert roster
            if roster.is_open:
                assert gateway.decide(settle(roster))
    assert (world.agreed().is_settled, world.agreed().generation) == (True, 8)


# Without desired.


def test_without_desired_nodes_nothing_is_bootstrapped() -> None:
    world = World()
    world.disks["a"].put(THING, b"")
    world.passive().bootstrap()
    assert world.copies() == [None, None, None]


def test_without_desired_nodes_nothing_is_announced_or_united() -> None:
    world = settled("ab")
    before = world.agreed()
    world.add("cd")
    world.passive().follow()
    assert world.copies() == [before, before, None, None]
    world.gateway("cd").bootstrap()
    copies = world.copies()
    world.passive().follow()
    assert world.copies() == copies


def test_without_desired_nodes_what_others_announced_is_carried_on() -> None:
    world, _ = announced()
    passive = world.passive()
    passive.follow()
    world.clock.now += WAIT_SECONDS
    passive.follow()
    assert world.agreed().is_open


# What an operator reads.


@pytest.mark.parametrize(
    ("roster", "text"),
    [
        (
            Roster("x", 2, NodeSet(2, {"b": 1.5, "a": 1.0})),
            "generation 2; settled a, b (1.5) with 2 replicas",
        ),
        (
            Roster("x", 3, NodeSet(1, {"a": 1.0}), NodeSet(1, {"b": 2.0})),
            "generation 3; settled a with 1 replicas; next b (2) with 1 replicas; "
            "announced",
        ),
        (
            Roster("x", 4, None, NodeSet(1, {"b": 1.0}), is_open=True),
            "generation 4; next b with 1 replicas; open",
        ),
    ],
)
def test_a_roster_is_described_on_one_line(roster: Roster, text: str) -> None:
    assert describe(roster) == text


def test_a_change_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "amazin.roster")
    announced()
    assert "the set of nodes changes: generation 3" in caplog.text
    assert "; announced" in caplog.text
