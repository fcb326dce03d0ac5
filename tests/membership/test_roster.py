"""The set of nodes as it is remembered: how many are asked, how it is stored, which
copy counts."""

from __future__ import annotations

import itertools
import json
from dataclasses import asdict, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amazin.errors import RosterError
from amazin.membership.roster import FORMAT, NodeSet, Roster, newest

THREE = NodeSet(2, {"a": 1.0, "b": 2.0, "c": 1.0}, {"a": "east"}, {"east": 3.0}, 1)
FOUR = NodeSet(2, {"a": 1.0, "b": 2.0, "c": 1.0, "d": 1.0}, epoch=3)

SETTLED = Roster("x", 2, THREE)
ANNOUNCED = Roster("x", 3, THREE, FOUR)
OPEN = replace(ANNOUNCED, generation=4, is_open=True)
UNSETTLED = Roster("x", 3, None, FOUR, leaving=("z",))
NEW = replace(UNSETTLED, generation=1, is_new=True)


def nodes(count: int, replicas: int) -> NodeSet:
    return NodeSet(replicas, {f"node-{number}": 1.0 for number in range(count)})


# How many nodes are a home, and how many of it a read needs.


@pytest.mark.parametrize(
    ("replicas", "count", "home_size", "read_count"),
    [
        (1, 1, 1, 1),
        (1, 2, 1, 1),
        (1, 9, 1, 1),
        (2, 1, 1, 1),
        (2, 2, 2, 1),
        (2, 3, 3, 2),
        (2, 4, 3, 2),
        (3, 1, 1, 1),
        (3, 2, 2, 1),
        (3, 3, 3, 1),
        (3, 4, 4, 2),
        (3, 5, 5, 3),
        (3, 9, 5, 3),
    ],
)
def test_sizes(replicas: int, count: int, home_size: int, read_count: int) -> None:
    few = nodes(count, replicas)
    assert len(few.home(b"store/abc")) == home_size
    assert few.read_count == read_count


@given(st.integers(1, 20), st.integers(1, 60))
def test_what_is_read_and_what_is_written_always_share_a_node(
    replicas: int, count: int
) -> None:
    few = nodes(count, replicas)
    home_size = len(few.home(b"store/abc"))
    assert replicas + few.read_count > home_size
    assert 1 <= few.read_count <= home_size
    if count >= replicas:
        assert replicas + few.read_count == home_size + 1


@given(st.integers(1, 6), st.integers(1, 12), st.binary())
def test_a_home_is_the_beginning_of_the_ranking(
    replicas: int, count: int, hash_key: bytes
) -> None:
    few = nodes(count, replicas)
    home = few.home(hash_key)
    assert home == few.ranker.rank(hash_key)[: len(home)]
    assert set(home) <= set(few.names)


def test_a_set_without_some_nodes_keeps_the_rest() -> None:
    less = THREE.without({"a", "nobody"})
    assert less == NodeSet(2, {"b": 2.0, "c": 1.0}, {}, {"east": 3.0}, 1)
    assert THREE.without(set()) == THREE


def test_the_epoch_does_not_matter_to_where_keys_lie() -> None:
    assert THREE.places_like(replace(THREE, epoch=9))


@pytest.mark.parametrize(
    "change",
    [
        {"replicas": 1},
        {"weights": {"a": 1.0, "b": 2.0}},
        {"weights": {"a": 1.0, "b": 2.0, "c": 1.5}},
        {"groups": {}},
        {"group_weights": {}},
    ],
)
def test_anything_else_does(change: dict[str, object]) -> None:
    assert not THREE.places_like(replace(THREE, **change))


# What a roster says.


@pytest.mark.parametrize(
    ("roster", "write_set"),
    [(SETTLED, THREE), (ANNOUNCED, THREE), (OPEN, FOUR), (UNSETTLED, None)],
)
def test_writes_go_by_the_next_set_when_it_is_open(
    roster: Roster, write_set: NodeSet | None
) -> None:
    assert roster.write_set == write_set


@pytest.mark.parametrize(
    ("roster", "sets"),
    [
        (SETTLED, (THREE,)),
        (ANNOUNCED, (THREE, FOUR)),
        (OPEN, (THREE, FOUR)),
        (UNSETTLED, (FOUR,)),
    ],
)
def test_sets(roster: Roster, sets: tuple[NodeSet, ...]) -> None:
    assert roster.sets == sets
    assert roster.newest == sets[-1]
    assert roster.is_settled == (roster is SETTLED)


@pytest.mark.parametrize(
    ("roster", "names"),
    [(SETTLED, "abc"), (ANNOUNCED, "abcd"), (OPEN, "abcd"), (UNSETTLED, "abcdz")],
)
def test_everybody_named_holds_a_copy_but_the_forgotten(
    roster: Roster, names: str
) -> None:
    assert roster.names == roster.holders == set(names)
    less = replace(roster, forgotten=("b",))
    assert less.names == set(names)
    assert less.holders == set(names) - {"b"}


@pytest.mark.parametrize(
    ("roster", "data_nodes"),
    [
        (SETTLED, "abc"),
        (replace(SETTLED, leaving=("z",)), "abc"),
        (ANNOUNCED, "abc"),
        (OPEN, "abcd"),
        (NEW, ""),
    ],
)
def test_the_data_nodes_are_those_that_hold_data(
    roster: Roster, data_nodes: str
) -> None:
    assert roster.data_nodes == set(data_nodes)


def test_with_nothing_settled_leaving_nodes_hold_data_too() -> None:
    assert replace(UNSETTLED, is_open=True).data_nodes == set("abcdz")


def test_a_forgotten_node_may_hold_what_is_still_looked_for_on_it() -> None:
    assert "a" in replace(ANNOUNCED, forgotten=("a",)).data_nodes


# The stored form.


def some_weights(low: float = 1e-6) -> st.SearchStrategy[dict[str, float]]:
    return st.dictionaries(
        st.text(min_size=1), st.floats(low, 1e9, allow_nan=False), min_size=1
    )


node_sets = st.builds(
    NodeSet,
    replicas=st.integers(1, 9),
    weights=some_weights(),
    groups=st.dictionaries(st.text(), st.text(min_size=1)),
    group_weights=some_weights(),
    epoch=st.integers(0, 2**60),
)
some_names = st.lists(st.text(min_size=1)).map(tuple)
rosters = st.builds(
    Roster,
    cluster=st.text(),
    generation=st.integers(1, 2**60),
    settled=st.none() | node_sets,
    next=node_sets,
    is_open=st.booleans(),
    is_new=st.booleans(),
    forgotten=some_names,
    leaving=some_names,
    absorbed=some_names,
)


@given(rosters, st.text(min_size=1))
def test_what_was_stored_is_read(roster: Roster, holder: str) -> None:
    data = roster.dump(holder)
    assert data.isascii()
    assert Roster.load(data, holder) == roster


@given(st.sampled_from([SETTLED, ANNOUNCED, OPEN, UNSETTLED, NEW]))
def test_every_state_is_read_as_it_was_stored(roster: Roster) -> None:
    assert Roster.load(roster.dump("a"), "a") == roster


def test_equal_rosters_are_stored_alike() -> None:
    turned = replace(THREE, weights=dict(reversed(THREE.weights.items())))
    assert replace(SETTLED, settled=turned).dump("a") == SETTLED.dump("a")


def test_the_copy_of_another_node_is_refused() -> None:
    with pytest.raises(RosterError, match="another node"):
        Roster.load(SETTLED.dump("a"), "b")


def test_an_unknown_format_is_refused() -> None:
    data = json.dumps({"format": FORMAT + 1, "holder": "a", "more": "to come"})
    with pytest.raises(RosterError, match="unknown format"):
        Roster.load(data.encode(), "a")


def stored(**changes: object) -> bytes:
    value = {"format": FORMAT, "holder": "a", **asdict(ANNOUNCED), **changes}
    return json.dumps(value).encode()


def without(field: str) -> bytes:
    value = json.loads(stored())
    del value[field]
    return json.dumps(value).encode()


def with_weights(weights: object) -> bytes:
    return stored(next={**asdict(FOUR), "weights": weights})


def test_the_stored_form_is_what_these_tests_take_it_for() -> None:
    assert Roster.load(stored(), "a") == ANNOUNCED


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe",
        b"{",
        b"null",
        b"1",
        b'"text"',
        b"[]",
        b"{}",
        b"[" * 100_000,
        stored()[:-1],
        *(without(name) for name in ("format", "holder", "cluster", "generation")),
        stored(more=1),
        stored(settled="abc"),
        stored(next=[1]),
        stored(next={"weights": {}}),
        stored(leaving=None),
    ],
    ids=lambda data: repr(data[:20]),
)
def test_what_is_no_roster_is_refused(data: bytes) -> None:
    with pytest.raises(RosterError):
        Roster.load(data, "a")


@pytest.mark.parametrize(
    "data",
    [
        stored(settled=None, next=None),
        stored(generation="3"),
        stored(cluster=7),
        stored(next={**asdict(FOUR), "replicas": "2"}),
        with_weights(["a"]),
        with_weights({"a": "heavy"}),
        with_weights({"a": 0}),
        with_weights({"a": float("nan")}),
    ],
    ids=[
        "no set",
        "generation",
        "cluster",
        "replicas",
        "no weights",
        "a word",
        "0",
        "nan",
    ],
)
def test_a_roster_that_nobody_could_work_with_is_refused(data: bytes) -> None:
    with pytest.raises(RosterError):
        Roster.load(data, "a")


# Which copy counts.


def test_of_no_copies_there_is_no_newest() -> None:
    assert newest([]) == []


def test_the_highest_generation_counts() -> None:
    assert newest([ANNOUNCED, SETTLED, OPEN, SETTLED]) == [OPEN]


def test_of_several_clusters_each_has_a_newest() -> None:
    other = replace(SETTLED, cluster="w", generation=9)
    assert newest([SETTLED, other, ANNOUNCED]) == [other, ANNOUNCED]


def test_an_absorbed_cluster_counts_no_more_however_new() -> None:
    other = replace(SETTLED, cluster="w", generation=9)
    both = Roster("u", 4, None, FOUR, absorbed=("w", "x"))
    assert newest([SETTLED, other, both]) == [both]


def test_an_older_generation_absorbs_too() -> None:
    both = Roster("u", 4, None, FOUR, absorbed=("w", "x"))
    later = replace(both, generation=5, settled=FOUR, next=None)
    assert newest([both, later, SETTLED]) == [later]


RIVALS = [
    OPEN,
    replace(OPEN, is_open=False, forgotten=("a",)),
    replace(OPEN, is_open=False, next=FOUR.without({"c"}), forgotten=("c",)),
    replace(SETTLED, cluster="w", generation=4),
    SETTLED,
]


def test_of_one_generation_everybody_takes_the_same() -> None:
    results = [newest(order) for order in itertools.permutations(RIVALS)]
    assert all(result == results[0] for result in results)
    assert len(results[0]) == 2


generations = st.builds(
    replace,
    st.sampled_from(RIVALS),
    cluster=st.sampled_from("wxy"),
    generation=st.integers(1, 3),
    absorbed=st.sampled_from([(), ("w",), ("w", "x")]),
)


@given(st.lists(generations, max_size=6), st.data())
def test_the_order_of_the_copies_never_matters(
    copies: list[Roster], data: st.DataObject
) -> None:
    turned = data.draw(st.permutations(copies))
    assert newest(turned) == newest(copies)
