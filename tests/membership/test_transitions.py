"""Which step comes next: small, in order, and never one that hides what is stored."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amazin.errors import RosterError
from amazin.membership.roster import NodeSet, Roster, newest
from amazin.membership.transitions import (
    DesiredNodes,
    RosterView,
    arbiter,
    bootstrap,
    forget,
    settle,
    step,
)


def nodes(names: str, replicas: int = 2, epoch: int = 0) -> NodeSet:
    return NodeSet(replicas, dict.fromkeys(names, 1.0), epoch=epoch)


ABC = nodes("abc", epoch=1)
ABCD = nodes("abcd", epoch=3)

NEW = Roster("x", 1, None, ABC, is_new=True)
SETTLED = Roster("x", 2, ABC)
ANNOUNCED = Roster("x", 3, ABC, ABCD)
OPEN = replace(ANNOUNCED, generation=4, is_open=True)
UNSETTLED = Roster("x", 3, None, ABCD)
OTHER = Roster("w", 7, nodes("st", epoch=1))


def seen(roster: Roster, names: str = "", **others: str) -> RosterView:
    """Return what is seen when all holders, or just some, have their copy."""
    holders = names or roster.holders
    answers = {kind: frozenset(those) for kind, those in others.items()}
    return RosterView(dict.fromkeys(holders, roster), **answers)


def outline(roster: Roster | None) -> tuple[object, ...]:
    """Return what decides where objects are looked for."""
    assert roster
    sets = (roster.settled, roster.next, roster.is_open)
    return (roster.generation, *sets, roster.forgotten, roster.leaving)


# What is seen.


def test_nothing_is_seen_on_nodes_that_hold_nothing() -> None:
    view = RosterView({}, frozenset("ab"), unreachable=frozenset("c"))
    assert view.roster is None
    assert (view.rosters, view.names, view.outdated) == ([], frozenset(), [])
    assert not (view.is_confirmed or view.is_recorded or view.lost)


def test_the_newest_copy_is_the_roster() -> None:
    view = RosterView({"a": ANNOUNCED, "b": SETTLED, "c": SETTLED})
    assert view.roster == ANNOUNCED
    assert view.names == set("abcd")
    assert not view.is_recorded


def test_of_several_clusters_none_is_the_roster() -> None:
    view = RosterView({"a": SETTLED, "s": OTHER})
    assert view.roster is None
    assert view.rosters == [OTHER, SETTLED]
    assert view.names == set("abcst")
    assert (view.outdated, view.is_confirmed, view.is_recorded) == ([], False, False)


def test_it_is_recorded_when_all_holders_have_it() -> None:
    assert seen(ANNOUNCED).is_recorded
    assert not seen(ANNOUNCED, "abc").is_recorded
    assert not RosterView(dict.fromkeys("abc", ANNOUNCED) | {"d": SETTLED}).is_recorded


def test_nobody_waits_for_forgotten_nodes() -> None:
    assert seen(replace(ANNOUNCED, forgotten=("b",)), "acd").is_recorded


def test_leaving_nodes_have_to_learn_of_it() -> None:
    roster = replace(SETTLED, leaving=("z",))
    assert not seen(roster, "abc").is_recorded
    assert seen(roster, "abcz").is_recorded


def test_any_node_of_the_sets_confirms_it() -> None:
    assert all(seen(ANNOUNCED, name).is_confirmed for name in "abcd")


def test_a_leaving_node_confirms_nothing() -> None:
    assert not seen(replace(SETTLED, leaving=("z",)), "z").is_confirmed


def test_nodes_that_held_data_and_are_empty_are_lost() -> None:
    assert seen(SETTLED, "ab", empty="cd").lost == {"c"}
    assert seen(OPEN, "abc", empty="d").lost == {"d"}


def test_nodes_that_still_join_are_not_lost() -> None:
    assert seen(ANNOUNCED, "abc", empty="d").lost == frozenset()
    assert seen(NEW, "a", empty="bc").lost == frozenset()


def test_nodes_that_held_data_before_all_was_unsettled_can_be_lost() -> None:
    view = seen(SETTLED, empty="d", with_data="d")
    later = step(view, nodes("abcd"), has_waited=False)
    assert later
    assert seen(later, "ac", empty="bd").lost == {"b"}


def test_nodes_of_any_of_several_clusters_can_be_lost() -> None:
    assert RosterView({"a": SETTLED, "s": OTHER}, frozenset("bt")).lost == set("bt")


def test_who_answers_without_the_newest_copy_is_outdated() -> None:
    view = RosterView(
        {"b": ANNOUNCED, "c": SETTLED}, frozenset("de"), unreachable=frozenset("a")
    )
    assert view.outdated == ["c", "d"]


def test_who_lost_its_disk_is_not_outdated() -> None:
    assert seen(ANNOUNCED, "ab", empty="cd").outdated == ["d"]


def test_a_forgotten_node_that_is_back_is_told() -> None:
    roster = replace(ANNOUNCED, forgotten=("b",))
    copies = dict.fromkeys("acd", roster) | {"b": SETTLED}
    assert RosterView(copies).outdated == ["b"]


def test_an_absorbed_cluster_is_brought_the_new_one() -> None:
    both = Roster("u", 8, None, nodes("abcst", epoch=8), absorbed=("w", "x"))
    copies = dict.fromkeys("abc", SETTLED) | {"s": both, "t": OTHER}
    assert RosterView(copies).outdated == ["a", "b", "c", "t"]


# Where a step is decided.


@pytest.mark.parametrize(
    ("old", "new", "name"),
    [
        (None, NEW, "a"),
        (NEW, SETTLED, "a"),
        (SETTLED, Roster("x", 3, ABC, nodes("0abc")), "a"),
        (Roster("x", 3, ABC, nodes("0abc")), OPEN, "a"),
        (Roster("x", 3, nodes("bc"), ABC), SETTLED, "b"),
        (SETTLED, forget(SETTLED, {"a"}), "b"),
        (forget(SETTLED, {"a"}), OPEN, "b"),
        (forget(SETTLED, {"a"}), SETTLED, "b"),
        (OPEN, forget(OPEN, {"a", "b"}), "c"),
        (UNSETTLED, replace(UNSETTLED, is_open=True), "a"),
    ],
)
def test_a_step_is_decided_on_the_first_node_of_the_oldest_set(
    old: Roster | None, new: Roster, name: str
) -> None:
    assert arbiter(old, new) == name


def test_a_forgotten_node_decides_nothing_later_either() -> None:
    given_up = forget(SETTLED, {"a"})
    assert arbiter(given_up, replace(given_up, is_open=True)) == "b"


def test_with_all_of_the_oldest_set_forgotten_the_next_one_decides() -> None:
    announced = Roster("x", 3, ABC, nodes("abcdef", epoch=3))
    given_up = forget(announced, set("abc"))
    assert arbiter(announced, given_up) == "d"
    assert arbiter(given_up, replace(given_up, is_open=True)) == "d"


# The first roster.


def unused(names: str, **others: str) -> RosterView:
    answers = {kind: frozenset(those) for kind, those in others.items()}
    return RosterView({}, frozenset(names), **answers)


def test_empty_nodes_become_a_cluster() -> None:
    roster = bootstrap(unused("abc"), nodes("abc"), "x")
    assert roster == Roster("x", 1, None, ABC, is_new=True)


def test_nodes_without_a_share_learn_of_it() -> None:
    roster = bootstrap(unused("abcz"), nodes("abc"), "x")
    assert roster
    assert roster.leaving == ("z",)
    assert roster.holders == set("abcz")


def test_objects_of_others_may_lie_anywhere() -> None:
    roster = bootstrap(unused("abc", with_data="b"), nodes("abc"), "x")
    assert roster == Roster("x", 1, None, ABC)


@pytest.mark.parametrize(
    ("view", "wanted"),
    [
        (unused("ab", unreachable="c"), nodes("ab")),
        (RosterView({"c": SETTLED}, frozenset("ab")), nodes("ab")),
        (unused("a"), nodes("a")),
        (unused(""), nodes("", 1)),
    ],
    ids=["an unreachable node", "a roster", "too few", "none"],
)
def test_there_is_no_first_roster_with(view: RosterView, wanted: NodeSet) -> None:
    assert bootstrap(view, wanted, "x") is None


def test_a_new_cluster_is_settled_when_all_nodes_know_of_it() -> None:
    settled = Roster("x", 2, ABC)
    assert step(seen(NEW), ABC, has_waited=False) == settled
    assert step(seen(NEW, "ab", empty="c"), ABC, has_waited=True) is None
    assert step(seen(NEW, "ab", unreachable="c"), ABC, has_waited=True) is None


def test_a_cluster_of_filled_nodes_is_opened_like_any_change() -> None:
    first = replace(NEW, is_new=False)
    assert step(seen(first), ABC, has_waited=False) is None
    opened = replace(first, generation=2, is_open=True)
    assert step(seen(first), ABC, has_waited=True) == opened


# Changes.


@pytest.mark.parametrize("has_waited", [False, True])
def test_a_settled_set_that_is_as_wanted_stays(has_waited: bool) -> None:
    assert step(seen(SETTLED), replace(ABC, epoch=0), has_waited) is None


@pytest.mark.parametrize(
    "wanted",
    [
        nodes("abcd"),
        nodes("ab"),
        nodes("abc", replicas=3),
        replace(ABC, weights={"a": 2.0, "b": 1.0, "c": 1.0}),
        replace(ABC, groups={"a": "east"}),
        replace(ABC, group_weights={"east": 2.0}),
    ],
)
def test_a_wanted_set_is_announced(wanted: NodeSet) -> None:
    later = step(seen(replace(SETTLED, leaving=("z",))), wanted, has_waited=False)
    assert later == Roster("x", 3, ABC, replace(wanted, epoch=3))


def test_nodes_that_left_and_know_it_are_dropped() -> None:
    left = replace(SETTLED, leaving=("z",))
    assert step(seen(left), ABC, has_waited=False) == replace(
        SETTLED, generation=SETTLED.generation + 1
    )
    assert step(seen(left, "abc", empty="z"), ABC, has_waited=False) is None


def test_a_set_of_too_few_nodes_is_not_announced() -> None:
    assert step(seen(SETTLED), nodes("abc", replicas=4), has_waited=True) is None
    assert step(seen(SETTLED), nodes("a"), has_waited=True) is None


def test_a_joiner_with_objects_unsettles() -> None:
    view = seen(SETTLED, empty="d", with_data="d")
    later = step(view, nodes("abcd"), has_waited=False)
    assert outline(later) == (3, None, ABCD, False, (), ())


def test_who_is_dropped_at_that_moment_is_asked_all_the_same() -> None:
    view = seen(SETTLED, empty="d", with_data="d")
    later = step(view, nodes("abd"), has_waited=False)
    target = nodes("abd", epoch=3)
    assert outline(later) == (3, None, target, False, (), ("c",))


def test_a_filled_node_that_is_not_wanted_unsettles_nothing() -> None:
    view = seen(SETTLED, empty="d", with_data="d")
    assert step(view, ABC, has_waited=True) is None
    later = step(view, nodes("ab"), has_waited=True)
    assert later == Roster("x", 3, ABC, nodes("ab", epoch=3))


@pytest.mark.parametrize("roster", [ANNOUNCED, UNSETTLED])
def test_what_was_announced_is_opened_after_a_while(roster: Roster) -> None:
    assert step(seen(roster), nodes("xyz"), has_waited=False) is None
    opened = replace(roster, generation=4, is_open=True)
    assert step(seen(roster), nodes("xyz"), has_waited=True) == opened


@pytest.mark.parametrize("roster", [OPEN, replace(UNSETTLED, is_open=True)])
def test_an_open_set_waits_for_its_repair(roster: Roster) -> None:
    assert step(seen(roster), nodes("xyz"), has_waited=True) is None


def test_without_a_roster_there_is_no_step() -> None:
    assert step(unused("abc"), ABC, has_waited=True) is None


def test_repair_settles_what_is_open() -> None:
    drained = Roster("x", 4, ABCD, nodes("abc", epoch=3), is_open=True)
    assert settle(drained) == Roster("x", 5, nodes("abc", epoch=3), leaving=("d",))
    assert settle(OPEN) == Roster("x", 5, ABCD)


def test_with_what_is_settled_the_forgotten_are_forgotten() -> None:
    given_up = replace(forget(SETTLED, {"c"}), is_open=True)
    assert settle(given_up) == Roster("x", 4, nodes("ab", epoch=3))


def test_nodes_that_left_long_ago_go_on_being_told() -> None:
    united = replace(UNSETTLED, is_open=True, leaving=("z",))
    assert settle(united).leaving == ("z",)


@pytest.mark.parametrize("roster", [SETTLED, ANNOUNCED, NEW, UNSETTLED])
def test_there_is_nothing_to_settle_but_what_is_open(roster: Roster) -> None:
    with pytest.raises(RosterError):
        settle(roster)


# Giving nodes up.


def test_a_settled_node_is_forgotten() -> None:
    later = forget(replace(SETTLED, leaving=("z",)), {"c"})
    assert later == Roster(
        "x", 3, ABC, nodes("ab", epoch=3), forgotten=("c",), leaving=("z",)
    )
    assert later.holders == set("abz")


def test_a_joiner_is_forgotten_without_a_trace() -> None:
    assert forget(ANNOUNCED, {"d"}) == Roster("x", 4, ABC)


def test_a_joiner_is_forgotten_and_the_rest_of_the_change_stays() -> None:
    heavier = {"a": 2.0, "b": 1.0, "c": 1.0}
    announced = replace(ANNOUNCED, next=NodeSet(2, heavier | {"d": 1.0}, epoch=3))
    later = forget(announced, {"d"})
    assert later.settled == ABC
    assert later.next == NodeSet(2, heavier, epoch=4)
    assert "d" not in later.names


def test_a_settled_node_is_forgotten_while_another_joins() -> None:
    assert forget(ANNOUNCED, {"a"}) == Roster(
        "x", 4, ABC, nodes("bcd", epoch=4), forgotten=("a",)
    )


@pytest.mark.parametrize("name", ["a", "d"])
def test_from_an_open_set_on_everybody_else_is_asked(name: str) -> None:
    left = "abcd".replace(name, "")
    later = forget(OPEN, {name})
    target = nodes(left, epoch=5)
    assert outline(later) == (5, None, target, False, (name,), ())
    assert later.holders == set(left)


def test_a_node_drained_but_not_empty_yet_is_asked_on() -> None:
    drained = Roster("x", 4, ABCD, nodes("abc", epoch=3), is_open=True)
    later = forget(drained, {"c"})
    assert (later.settled, later.leaving) == (None, ("d",))
    assert later.holders == set("abd")


@pytest.mark.parametrize("is_open", [False, True])
def test_with_nothing_settled_a_node_is_forgotten(is_open: bool) -> None:
    unsettled = replace(UNSETTLED, is_open=is_open, leaving=("z",))
    later = forget(unsettled, {"b"})
    assert later.next == nodes("acd", epoch=4)
    assert (later.settled, later.is_open, later.leaving) == (None, False, ("z",))
    assert later.holders == set("acdz")


def test_a_leaving_node_is_forgotten() -> None:
    assert forget(replace(SETTLED, leaving=("y", "z")), {"z"}) == replace(
        SETTLED, generation=3, leaving=("y",)
    )
    unsettled = forget(replace(UNSETTLED, leaving=("y", "z")), {"z"})
    assert unsettled.holders == set("abcdy")


def test_one_after_the_other_can_be_forgotten() -> None:
    first = forget(SETTLED, {"c"})
    again = forget(Roster("x", 2, ABCD), {"d"})
    assert forget(again, {"c"}).forgotten == ("c", "d")
    assert forget(again, {"c"}).next == nodes("ab", epoch=4)
    assert forget(first, {"c"}).next == nodes("ab", epoch=4)


def test_a_new_cluster_can_do_without_a_node_that_fell_silent() -> None:
    later = forget(NEW, {"a"})
    assert later.next == nodes("bc", epoch=2)
    assert later.holders == set("bc")


def test_who_is_not_known_is_not_forgotten() -> None:
    with pytest.raises(RosterError, match="unknown: y, z"):
        forget(SETTLED, {"a", "z", "y"})


@pytest.mark.parametrize("roster", [SETTLED, NEW, ANNOUNCED, OPEN, UNSETTLED])
def test_too_few_nodes_are_never_left(roster: Roster) -> None:
    with pytest.raises(RosterError, match="1 nodes would be left for 2 replicas"):
        forget(roster, set(roster.newest.names) - {"a"})


# Clusters that meet.


BOTH = RosterView(dict.fromkeys("abc", SETTLED) | dict.fromkeys("st", OTHER))


def test_two_clusters_become_one() -> None:
    united = step(BOTH, ABC, has_waited=False)
    assert united
    assert united.next == nodes("abcst", epoch=8)
    assert (united.settled, united.generation, united.is_open) == (None, 8, False)
    assert united.absorbed == ("w", "x")
    assert not united.is_new
    assert newest([SETTLED, OTHER, united]) == [united]


def test_clusters_wait_for_each_others_last_node() -> None:
    for name in "abcst":
        copies = {n: r for n, r in BOTH.copies.items() if n != name}
        for view in (RosterView(copies, frozenset(name)), RosterView(copies)):
            assert step(view, ABC, has_waited=True) is None


def test_nobody_waits_for_a_forgotten_node_of_either() -> None:
    given_up = replace(ANNOUNCED, next=nodes("abd", epoch=3), forgotten=("c",))
    copies = dict.fromkeys("abd", given_up) | dict.fromkeys("st", OTHER)
    united = step(RosterView(copies), ABC, has_waited=False)
    assert united
    assert united.names == set("abdst")


def test_whoever_held_anything_is_asked() -> None:
    drained = Roster("x", 4, ABCD, nodes("ab", epoch=3), is_open=True, leaving=("z",))
    copies = dict.fromkeys("abcdz", drained) | dict.fromkeys("st", OTHER)
    united = step(RosterView(copies), ABC, has_waited=False)
    assert united
    assert united.newest.names == set("abst")
    assert united.leaving == ("c", "d", "z")


def test_settings_of_both_are_kept_and_the_greater_count_of_replicas() -> None:
    east = NodeSet(3, {"s": 2.0, "t": 1.0}, {"s": "east"}, {"east": 2.0})
    copies = dict.fromkeys("abc", SETTLED) | dict.fromkeys(
        "st", replace(OTHER, settled=east)
    )
    united = step(RosterView(copies), ABC, has_waited=False)
    weights = {"a": 1.0, "b": 1.0, "c": 1.0, "s": 2.0, "t": 1.0}
    assert united
    assert united.next == NodeSet(3, weights, {"s": "east"}, {"east": 2.0}, 8)


def test_clusters_without_data_unite_without_repair() -> None:
    other = replace(NEW, cluster="w", next=nodes("st", epoch=1))
    copies = dict.fromkeys("abc", NEW) | dict.fromkeys("st", other)
    united = step(RosterView(copies), ABC, has_waited=False)
    assert united
    assert united.is_new
    settled = step(seen(united), ABC, has_waited=False)
    assert settled
    assert settled.settled == united.next


def test_a_cluster_that_absorbed_others_is_absorbed_with_them() -> None:
    united = replace(OTHER, absorbed=("t", "u"))
    copies = dict.fromkeys("abc", SETTLED) | dict.fromkeys("st", united)
    again = step(RosterView(copies), ABC, has_waited=False)
    assert again
    assert set(again.absorbed) == set("tuwx")


def test_gateways_that_unite_different_clusters_hide_none() -> None:
    second = replace(OTHER, cluster="y")
    third = Roster("z", 2, nodes("mn", epoch=1))
    ours = dict.fromkeys("abc", SETTLED)
    one = step(RosterView(ours | dict.fromkeys("st", second)), ABC, has_waited=False)
    other = step(RosterView(ours | dict.fromkeys("mn", third)), ABC, has_waited=False)
    assert one
    assert other
    assert RosterView({"s": one, "m": other}).names == set("abcstmn")


# Any sequence of steps.

POOL = "abcdef"
some = st.sets(st.sampled_from(POOL)).map(frozenset)
wanted_sets = st.builds(
    NodeSet,
    replicas=st.integers(1, 3),
    weights=st.dictionaries(st.sampled_from(POOL), st.sampled_from([1.0, 2.0])),
)


def holding_data(roster: Roster) -> set[str]:
    """Return where acknowledged objects may lie."""
    if roster.is_new:
        return set()
    if roster.settled is None:
        return set(roster.holders)
    opened = roster.next.names if roster.next and roster.is_open else set()
    return set(roster.settled.names | opened)


def looked_at(roster: Roster) -> set[str]:
    """Return where objects are looked for."""
    if roster.settled is None:
        return set(roster.holders)
    return set().union(*(nodes.names for nodes in roster.sets))


def check_any(old: Roster, new: Roster) -> None:
    assert (new.cluster, new.generation) == (old.cluster, old.generation + 1)
    assert new.sets
    for coming in new.sets:
        assert len(coming.weights) >= coming.replicas or coming == old.settled
        assert coming in old.sets or coming.epoch == new.generation
    assert newest([old, new]) == [new]
    given_up = {*old.forgotten, *new.forgotten}
    assert holding_data(old) - given_up <= looked_at(new) | set(new.leaving)
    assert Roster.load(new.dump("a"), "a") == new


def check_step(old: Roster, new: Roster, view: RosterView, has_waited: bool) -> None:
    check_any(old, new)
    if new.is_open:
        assert has_waited
        assert new == replace(old, generation=new.generation, is_open=True)
    elif new.settled != old.settled and new.settled is not None:
        assert old.is_new
        assert view.is_recorded
        assert new.settled == old.next
    if new.settled is None or new.next is not None:
        assert holding_data(old) <= looked_at(new) | set(old.forgotten)


def draw_view(data: st.DataObject, roster: Roster) -> RosterView:
    missing = data.draw(some)
    away = data.draw(some)
    holders = roster.holders - missing - away
    empty = frozenset(POOL) - holders - away
    with_data = (empty - roster.names) & data.draw(some)
    return RosterView(dict.fromkeys(holders, roster), empty, with_data, away)


def take_step(data: st.DataObject, roster: Roster) -> Roster:
    view, has_waited = draw_view(data, roster), data.draw(st.booleans())
    new = step(view, data.draw(wanted_sets), has_waited)
    if new is None:
        return roster
    check_step(roster, new, view, has_waited)
    return new


def take_settle(data: st.DataObject, roster: Roster) -> Roster:
    try:
        new = settle(roster)
    except RosterError:
        assert not roster.is_open
        return roster
    assert roster.is_open
    assert (new.settled, new.next, new.forgotten) == (roster.next, None, ())
    assert new.holders == roster.holders
    assert arbiter(roster, new) in roster.holders
    check_any(roster, new)
    return new


def take_forget(data: st.DataObject, roster: Roster) -> Roster:
    names = data.draw(some)
    try:
        new = forget(roster, names)
    except RosterError:
        return roster
    check_any(roster, replace(new, forgotten=tuple({*new.forgotten, *names})))
    assert not new.is_open
    assert new.settled in (roster.settled, None)
    assert not names & new.newest.names
    assert not names & new.holders
    assert arbiter(roster, new) not in names
    return new


@given(st.data())
def test_whatever_happens_no_object_gets_out_of_sight(data: st.DataObject) -> None:
    with_data = data.draw(st.sampled_from(["", "a"]))
    roster = bootstrap(unused("abc", with_data=with_data), nodes("abc"), "x")
    assert roster
    for _ in range(data.draw(st.integers(1, 20))):
        take = data.draw(st.sampled_from([take_step, take_settle, take_forget]))
        roster = take(data, roster)


@given(wanted_sets, st.permutations(list(POOL)))
def test_everybody_sees_the_same_in_the_same_copies(
    wanted: NodeSet, order: list[str]
) -> None:
    copies = {"a": SETTLED, "b": ANNOUNCED, "c": OTHER, "d": SETTLED}
    turned = {name: copies[name] for name in order if name in copies}
    for one, other in itertools.pairwise([RosterView(copies), RosterView(turned)]):
        assert one.rosters == other.rosters
        assert one.outdated == other.outdated
        assert step(one, wanted, True) == step(other, wanted, True)


# What a gateway's settings ask for.

Offer = tuple[str, float, str]


def offers(names: str, weight: float = 1.0, group: str = "") -> list[Offer]:
    return [(name, weight, group) for name in names]


def test_at_first_all_that_is_shown_is_wanted() -> None:
    desired = DesiredNodes(2, {"east": 2.0, "west": 1.0})
    wanted = desired.wanted(None, [("a", 1.0, ""), ("b", 2.0, "east"), ("c", 0.0, "")])
    assert wanted == NodeSet(2, {"a": 1.0, "b": 2.0}, {"b": "east"}, {"east": 2.0})


def test_what_is_as_wanted_stays() -> None:
    assert DesiredNodes(2, {}).wanted(ABC, offers("abc")) == ABC


def test_a_new_node_is_welcome() -> None:
    wanted = DesiredNodes(2, {}).wanted(ABC, offers("abcd"))
    assert wanted == nodes("abcd", epoch=1)


def test_a_new_node_without_a_weight_is_not() -> None:
    offered = [*offers("abc"), ("d", 0.0, "")]
    assert DesiredNodes(2, {}).wanted(ABC, offered) == ABC


def test_nodes_that_are_not_shown_stay() -> None:
    east = replace(ABC, groups={"c": "east"})
    assert DesiredNodes(2, {}).wanted(east, offers("a")) == east
    assert DesiredNodes(2, {}).wanted(east, []) == east


@pytest.mark.parametrize(
    ("offer", "wanted"),
    [
        (("a", 2.0, ""), NodeSet(2, {"a": 2.0, "b": 1.0, "c": 1.0}, epoch=1)),
        (("a", 1.0, "east"), replace(ABC, groups={"a": "east"})),
        (("a", 0.0, ""), nodes("bc", epoch=1)),
        (("a", 0.0, "east"), nodes("bc", epoch=1)),
    ],
)
def test_a_change_of_one_node_leaves_the_others(offer: Offer, wanted: NodeSet) -> None:
    assert DesiredNodes(2, {}).wanted(ABC, [offer, *offers("bc")]) == wanted


def test_a_node_leaves_its_group() -> None:
    east = replace(ABC, groups={"a": "east", "b": "east"})
    wanted = DesiredNodes(2, {}).wanted(east, offers("a"))
    assert wanted == replace(ABC, groups={"b": "east"})


def test_replicas_and_the_weights_of_groups_are_wanted_too() -> None:
    wanted = DesiredNodes(3, {"east": 2.0}).wanted(ABC, offers("abc"))
    assert wanted == replace(ABC, replicas=3, group_weights={"east": 2.0})


def test_a_change_is_asked_for_until_it_is_made() -> None:
    desired = DesiredNodes(3, {})
    for _ in range(3):
        wanted = desired.wanted(ABC, offers("ab", 2.0))
        assert wanted == NodeSet(3, {"a": 2.0, "b": 2.0, "c": 1.0}, epoch=1)


HEAVY = NodeSet(3, {"a": 2.0, "b": 1.0, "c": 1.0}, {"b": "east"}, {"east": 5.0})


def test_what_another_gateway_changed_later_prevails() -> None:
    desired = DesiredNodes(2, {})
    assert desired.wanted(ABC, offers("abc")) == ABC
    assert desired.wanted(HEAVY, offers("abc")) == HEAVY


def test_what_is_desired_anew_is_asked_for_again() -> None:
    desired = DesiredNodes(2, {})
    desired.wanted(ABC, offers("abc"))
    desired.wanted(HEAVY, offers("abc"))
    wanted = desired.wanted(HEAVY, offers("abc", 4.0))
    assert wanted.weights == {"a": 4.0, "b": 4.0, "c": 4.0}
    assert wanted.replicas == 3


def test_what_is_desired_anew_and_then_as_before_is_asked_for_again() -> None:
    desired = DesiredNodes(2, {})
    desired.wanted(ABC, offers("abc"))
    desired.wanted(HEAVY, [("a", 2.0, "")])
    assert desired.wanted(HEAVY, [("a", 1.0, "")]).weights == ABC.weights


def test_a_drained_node_stays_away_and_may_come_back() -> None:
    desired = DesiredNodes(2, {})
    desired.wanted(ABC, offers("abc"))
    assert desired.wanted(ABC, offers("c", 0.0)).names == set("ab")
    without = nodes("ab", epoch=3)
    assert desired.wanted(without, offers("c", 0.0)) == without
    assert desired.wanted(without, offers("c")).names == set("abc")


def test_a_node_brought_back_by_another_gateway_is_not_drained_again() -> None:
    desired = DesiredNodes(2, {})
    desired.wanted(nodes("ab"), offers("c", 0.0))
    assert desired.wanted(ABC, offers("c", 0.0)) == ABC


def test_where_no_set_is_known_nothing_is_changed_yet() -> None:
    desired = DesiredNodes(2, {})
    desired.wanted(None, [*offers("ab"), *offers("c", 0.0)])
    assert desired.wanted(ABC, [*offers("ab"), *offers("c", 0.0)]).names == set("ab")


@given(wanted_sets, wanted_sets)
def test_a_change_that_was_made_is_never_asked_for_again(
    one: NodeSet, other: NodeSet
) -> None:
    """Two gateways that disagree come to rest, whoever was first."""
    gateways = [
        (
            DesiredNodes(nodes.replicas, {}),
            [(n, w, "") for n, w in nodes.weights.items()],
        )
        for nodes in (one, other)
    ]
    current = ABC
    for _ in range(3):
        for desired, offered in gateways:
            current = desired.wanted(current, offered)
            assert desired.wanted(current, offered) == current
    for desired, offered in gateways:
        assert desired.wanted(current, offered) == current
