"""Placement is a storage format: pinned by golden vectors, fair, and minimal."""

from __future__ import annotations

import json
from collections import Counter
from decimal import Decimal, localcontext
from itertools import pairwise
from math import inf, nan, sqrt
from typing import Any

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from hashing import Ranker, weighted_score
from tests.support.paths import DATA

VECTORS = json.loads((DATA / "ranking.json").read_text())
GROUP_VECTORS = json.loads((DATA / "ranking_groups.json").read_text())
KEYS = [f"store/{number}".encode() for number in range(5_000)]
NAMES = [f"node-{number}" for number in range(1, 11)]
EQUAL = dict.fromkeys(NAMES, 1.0)
GROUPS = dict(zip(NAMES, "aaaabbbbcc", strict=True))

group_name = st.sampled_from(["", "a", "b", "c"])
some_group_weights = st.dictionaries(group_name, st.sampled_from([0.5, 1.0, 3.0]))


@pytest.fixture(params=[10_000, pytest.param(40_000, marks=pytest.mark.slow)])
def keys(request: pytest.FixtureRequest) -> list[bytes]:
    """Enough keys to see the share of each node."""
    return [f"store/{number}".encode() for number in range(request.param)]


def homes(keys: list[bytes], weights: dict[str, float]) -> list[str]:
    """Return the best node of each key."""
    ranker = Ranker(weights)
    return [ranker.rank(key)[0] for key in keys]


def best_groups(
    keys: list[bytes],
    weights: dict[str, float],
    groups: dict[str, str],
    group_weights: dict[str, float] | None = None,
) -> list[str]:
    """Return the best group of each key."""
    ranker = Ranker(weights, groups, group_weights or {})
    return [groups[ranker.rank(key)[0]] for key in keys]


def exact_score(digest: int, weight: float) -> Decimal:
    """Return the score by decimal arithmetic of 60 digits."""
    with localcontext(prec=60):
        uniform = (Decimal(digest >> 12) + Decimal("0.5")) / 2**52
        return -Decimal(weight) / uniform.ln()


def exact_ranking(weights: dict[str, float], key: str) -> list[str]:
    """Rank again, from the definition: no code and no shortcut of `hashing`."""

    def place(name: str) -> tuple[Decimal, int]:
        seed = xxhash.xxh3_64(name.encode("utf-8")).intdigest()
        digest = xxhash.xxh3_64(key.encode("utf-8"), seed=seed).intdigest()
        return -exact_score(digest, weights[name]), -digest

    return sorted(sorted(weights), key=place)


def exact_group_ranking(vector: dict[str, Any], key: str) -> list[str]:
    """The same with groups: a group is a name with `group/` before it."""
    members: dict[str, dict[str, float]] = {}
    for name, weight in vector["weights"].items():
        group = vector["groups"].get(name, "")
        members.setdefault(f"group/{group}", {})[name] = weight
    given = {f"group/{group}": w for group, w in vector["group_weights"].items()}
    ranking = exact_ranking(dict.fromkeys(members, 1.0) | given, key)
    return [
        name for group in ranking for name in exact_ranking(members.get(group, {}), key)
    ]


def assert_share(count: int, share: float, keys: list[bytes]) -> None:
    """Five standard deviations: a fair ranking passes, whatever the keys are."""
    deviation = sqrt(len(keys) * share * (1 - share))
    assert abs(count - len(keys) * share) < 5 * deviation


# The storage format


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["about"])
def test_rankings_never_change(vector: dict[str, Any]) -> None:
    ranker = Ranker(vector["weights"])
    for key, ranking in vector["rankings"].items():
        assert ranker.rank(key.encode()) == ranking


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["about"])
def test_the_golden_rankings_follow_from_the_definition(
    vector: dict[str, Any],
) -> None:
    for key, ranking in vector["rankings"].items():
        assert ranking == exact_ranking(vector["weights"], key)


@pytest.mark.parametrize("vector", GROUP_VECTORS, ids=lambda vector: vector["about"])
def test_rankings_of_groups_never_change(vector: dict[str, Any]) -> None:
    ranker = Ranker(vector["weights"], vector["groups"], vector["group_weights"])
    for key, ranking in vector["rankings"].items():
        assert ranker.rank(key.encode()) == ranking


@pytest.mark.parametrize("vector", GROUP_VECTORS, ids=lambda vector: vector["about"])
def test_the_golden_rankings_of_groups_follow_from_the_definition(
    vector: dict[str, Any],
) -> None:
    for key, ranking in vector["rankings"].items():
        assert ranking == exact_group_ranking(vector, key)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["about"])
@pytest.mark.parametrize("group", ["", "a"])
def test_a_single_group_ranks_as_none(vector: dict[str, Any], group: str) -> None:
    groups = dict.fromkeys(vector["weights"], group)
    ranker = Ranker(vector["weights"], groups, {"a": 3.0, "b": 5.0})
    for key, ranking in vector["rankings"].items():
        assert ranker.rank(key.encode()) == ranking


def test_the_hash_is_xxh3_as_its_specification_has_it() -> None:
    assert xxhash.xxh3_64_intdigest(b"") == 0x2D06800538D394C2
    assert xxhash.xxh3_64_intdigest(b"", 0x9E3779B185EBCA8D) == 0xA8A6B918B2F0364A


def test_scores_are_exact_to_the_last_digits() -> None:
    for digest in (0, 1, 4095, 4096, 2**63, 2**64 - 4097, 2**64 - 1):
        for weight in (0.1, 1, 3, 1000):
            score = weighted_score(digest, weight)
            assert score == pytest.approx(float(exact_score(digest, weight)), rel=1e-14)
            assert 0 < score < inf


def test_scores_grow_with_the_digest_and_with_the_weight() -> None:
    digests = [0, 2**20, 2**40, 2**63, 2**64 - 2**20, 2**64 - 1]
    scores = [weighted_score(digest, 1) for digest in digests]
    assert scores == sorted(set(scores))
    assert weighted_score(2**60, 2) == pytest.approx(2 * weighted_score(2**60, 1))


@pytest.mark.parametrize("last", [1.0, 0.5])
@pytest.mark.parametrize("length", [3, 40])
def test_ties_go_to_the_smaller_name(last: float, length: int) -> None:
    names = [f"{number:02}" for number in range(length)]
    weights = dict.fromkeys(reversed(names), 1.0) | {names[-1]: last}
    ranker = Ranker(weights)
    # The same seed for all: what two names with one hash would be.
    for nodes in (ranker._nodes, *(nodes for nodes, _ in ranker._equals)):
        nodes.seeds = [7] * len(nodes.seeds)
    assert ranker.rank(b"key") == names
    for count in range(length):
        assert ranker.first(b"key", count) == names[:count]


# The beginning of a ranking


def ranking_by_definition(weights: dict[str, float], key: bytes) -> list[str]:
    """Score every node and sort all."""

    def place(name: str) -> tuple[float, int, str]:
        digest = xxhash.xxh3_64_intdigest(key, xxhash.xxh3_64_intdigest(name.encode()))
        return -weighted_score(digest, weights[name]), -digest, name

    return sorted(weights, key=place)


def some_weights(most: int) -> st.SearchStrategy[dict[str, float]]:
    """Equal ones, few different ones, all different."""
    few = st.sampled_from([0.5, 1.0, 1.0000000000000002, 3.0])
    values = st.sampled_from([st.just(2.0), few, st.floats(0.001, 1000.0)])
    names = st.text("abcde-", min_size=1, max_size=5)
    return values.flatmap(lambda value: st.dictionaries(names, value, max_size=most))


@given(some_weights(40), st.binary(max_size=40))
def test_the_first_are_the_beginning_of_the_ranking(
    weights: dict[str, float], key: bytes
) -> None:
    ranker = Ranker(weights)
    ranking = ranker.rank(key)
    assert ranking == ranking_by_definition(weights, key)
    for count in range(len(weights) + 2):
        assert ranker.first(key, count) == ranking[:count]


@given(some_weights(25), st.binary(max_size=40), st.data())
def test_the_first_of_groups_are_the_beginning_of_the_ranking(
    weights: dict[str, float], key: bytes, data: st.DataObject
) -> None:
    some_groups = st.dictionaries(st.sampled_from(sorted(weights) or ["a"]), group_name)
    ranker = Ranker(weights, data.draw(some_groups), data.draw(some_group_weights))
    ranking = ranker.rank(key)
    assert sorted(ranking) == sorted(weights)
    for count in range(len(weights) + 2):
        assert ranker.first(key, count) == ranking[:count]


@pytest.mark.parametrize("vector", GROUP_VECTORS, ids=lambda vector: vector["about"])
def test_the_first_of_golden_rankings(vector: dict[str, Any]) -> None:
    ranker = Ranker(vector["weights"], vector["groups"], vector["group_weights"])
    for key, ranking in vector["rankings"].items():
        for count in range(len(ranking)):
            assert ranker.first(key.encode(), count) == ranking[:count]


@pytest.mark.parametrize("least", [0, 2**51, 2**52 - 2**16])
def test_scores_grow_with_every_step_of_the_fraction(least: int) -> None:
    """So of equal weights the greater digest wins, whether it is scored or not."""
    for weight in (0.3, 1.0, 700.0):
        steps = range(least, least + 2**16 - 1, 7)
        for step in steps:
            lower = weighted_score(step << 12, weight)
            assert lower <= weighted_score((step + 1) << 12, weight)


def test_how_many_is_a_whole_number() -> None:
    for weights in (EQUAL, {**EQUAL, "node-1": 2.0}):
        with pytest.raises(TypeError):
            Ranker(weights).first(b"key", 1.0)  # type: ignore[arg-type]


# Fairness


def test_every_node_gets_its_share_in_every_place(keys: list[bytes]) -> None:
    ranker = Ranker(EQUAL)
    rankings = [ranker.rank(key) for key in keys]
    for place in (0, 1, 9):
        for count in Counter(ranking[place] for ranking in rankings).values():
            assert_share(count, 1 / 10, keys)


@pytest.mark.parametrize("count", [2, 3, 100])
def test_the_fullest_node_has_little_more_than_the_mean(
    keys: list[bytes], count: int
) -> None:
    counts = Counter(homes(keys, {f"node-{number}": 1.0 for number in range(count)}))
    assert len(counts) == count
    for found in counts.values():
        assert_share(found, 1 / count, keys)
    mean = len(keys) / count
    assert max(counts.values()) / mean < 1 + 5 / sqrt(mean)


def test_the_second_choice_does_not_depend_on_the_first(keys: list[bytes]) -> None:
    ranker = Ranker(dict.fromkeys("abc", 1.0))
    counts = Counter(tuple(ranker.rank(key)) for key in keys)
    assert len(counts) == 6
    for found in counts.values():
        assert_share(found, 1 / 6, keys)


def test_a_node_gets_the_share_of_its_weight(keys: list[bytes]) -> None:
    counts = Counter(homes(keys, {"a": 1.0, "b": 2.0, "c": 5.0, "d": 0.5}))
    for name, weight in {"a": 1.0, "b": 2.0, "c": 5.0, "d": 0.5}.items():
        assert_share(counts[name], weight / 8.5, keys)


def test_names_and_keys_cannot_run_into_each_other() -> None:
    assert Ranker({"ab": 1.0, "a": 1.0}).rank(b"c") in (["a", "ab"], ["ab", "a"])
    same = sum(
        Ranker({"n": 1.0, "n1": 1.0}).rank(b"1" + key)
        == Ranker({"n": 1.0, "n1": 1.0}).rank(key)
        for key in KEYS[:2000]
    )
    assert 850 < same < 1150


# Minimal movement


def test_when_a_node_leaves_exactly_its_own_keys_move(keys: list[bytes]) -> None:
    before, after = homes(keys, EQUAL), homes(keys, dict.fromkeys(NAMES[:-1], 1.0))
    for old, new in zip(before, after, strict=True):
        assert (old == new) == (old != NAMES[-1])


def test_when_a_node_joins_its_share_moves_and_only_to_it(keys: list[bytes]) -> None:
    before, after = homes(keys, EQUAL), homes(keys, {**EQUAL, "new": 1.0})
    moved = [new for old, new in zip(before, after, strict=True) if old != new]
    assert set(moved) == {"new"}
    assert_share(len(moved), 1 / 11, keys)


def test_a_join_or_leave_keeps_the_order_of_all_others() -> None:
    small, large = Ranker(dict.fromkeys(NAMES[:-1], 1.0)), Ranker(EQUAL)
    for key in KEYS[:2000]:
        others = [name for name in large.rank(key) if name != NAMES[-1]]
        assert others == small.rank(key)


def test_a_greater_weight_moves_keys_to_that_node_only(keys: list[bytes]) -> None:
    before, after = homes(keys, EQUAL), homes(keys, {**EQUAL, "node-3": 2.0})
    moved = [new for old, new in zip(before, after, strict=True) if old != new]
    assert set(moved) == {"node-3"}
    assert_share(len(moved), 2 / 11 - 1 / 10, keys)


def test_a_smaller_weight_moves_keys_from_that_node_only(keys: list[bytes]) -> None:
    before, after = homes(keys, EQUAL), homes(keys, {**EQUAL, "node-3": 0.5})
    moved = [old for old, new in zip(before, after, strict=True) if old != new]
    assert set(moved) == {"node-3"}


def test_equal_weights_rank_alike_whatever_they_are() -> None:
    integers, twos = Ranker(EQUAL), Ranker(dict.fromkeys(NAMES, 2.0))
    scored = Ranker({**EQUAL, "heavy": 3.0})
    for key in KEYS[:5000]:
        ranking = integers.rank(key)
        assert twos.rank(key) == ranking
        assert [name for name in scored.rank(key) if name != "heavy"] == ranking


def test_the_order_in_which_nodes_are_named_does_not_matter() -> None:
    turned = Ranker(dict(reversed(EQUAL.items())))
    assert all(turned.rank(key) == Ranker(EQUAL).rank(key) for key in KEYS[:200])


# Groups


def test_within_a_group_the_order_is_that_of_the_group_alone() -> None:
    weights = {**EQUAL, "node-2": 3.0, "node-9": 0.5}
    ranker = Ranker(weights, GROUPS, {"b": 2.0})
    for group in "abc":
        members = [name for name in NAMES if GROUPS[name] == group]
        alone = Ranker({name: weights[name] for name in members})
        for key in KEYS[:2000]:
            ranking = ranker.rank(key)
            assert [name for name in ranking if name in members] == alone.rank(key)


def test_the_members_of_a_group_stand_together() -> None:
    ranker = Ranker(EQUAL, GROUPS)
    for key in KEYS[:2000]:
        groups = [GROUPS[name] for name in ranker.rank(key)]
        runs = [group for group, before in pairwise([*groups, ""]) if group != before]
        assert sorted(runs) == ["a", "b", "c"]


@pytest.mark.parametrize("weight", [0.1, 1.0, 100.0])
def test_a_node_that_joins_a_group_moves_no_key_between_groups(
    keys: list[bytes], weight: float
) -> None:
    before = best_groups(keys, EQUAL, GROUPS)
    assert before == best_groups(keys, {**EQUAL, "new": weight}, {**GROUPS, "new": "a"})
    only_first = {"node-1": 1.0, "node-5": weight, "node-9": 1.0}
    assert before == best_groups(keys, only_first, GROUPS)


def test_a_group_that_joins_takes_keys_and_moves_no_other(keys: list[bytes]) -> None:
    before = best_groups(keys, EQUAL, GROUPS)
    after = best_groups(keys, {**EQUAL, "new": 1.0}, {**GROUPS, "new": "d"})
    moved = [new for old, new in zip(before, after, strict=True) if old != new]
    assert set(moved) == {"d"}
    assert_share(len(moved), 1 / 4, keys)


def test_a_group_gets_the_share_of_its_weight_whoever_is_in_it(
    keys: list[bytes],
) -> None:
    counts = Counter(best_groups(keys, {**EQUAL, "node-1": 9.0}, GROUPS))
    for group in "abc":
        assert_share(counts[group], 1 / 3, keys)
    counts = Counter(best_groups(keys, EQUAL, GROUPS, {"a": 0.5, "c": 2.0}))
    for group, weight in {"a": 0.5, "b": 1.0, "c": 2.0}.items():
        assert_share(counts[group], weight / 3.5, keys)


def test_within_a_group_every_node_gets_the_share_of_its_weight(
    keys: list[bytes],
) -> None:
    weights = {**EQUAL, "node-10": 3.0}
    ranker = Ranker(weights, GROUPS)
    counts = Counter(ranker.rank(key)[0] for key in keys)
    for name in NAMES:
        members = [other for other in NAMES if GROUPS[other] == GROUPS[name]]
        share = weights[name] / sum(weights[member] for member in members)
        assert_share(counts[name], share / 3, keys)


def test_a_group_is_not_hashed_as_a_node_of_its_name(keys: list[bytes]) -> None:
    ranker = Ranker(dict.fromkeys("xyab", 1.0), dict(zip("xyab", "aabb", strict=True)))
    nodes = Ranker(dict.fromkeys("ab", 1.0))
    same = sum(
        (ranker.rank(key)[0] in "xy") == (nodes.rank(key)[0] == "a") for key in keys
    )
    assert_share(same, 1 / 2, keys)


def test_nodes_without_a_group_are_one() -> None:
    named = {name: group.replace("b", "") for name, group in GROUPS.items()}
    missing = {name: group for name, group in GROUPS.items() if group != "b"}
    for key in KEYS[:200]:
        assert Ranker(EQUAL, named).rank(key) == Ranker(EQUAL, missing).rank(key)


def test_strangers_among_groups_and_group_weights_change_nothing() -> None:
    ranker = Ranker(EQUAL, {**GROUPS, "gone": "d"}, {"d": 9.0})
    for key in KEYS[:200]:
        assert ranker.rank(key) == Ranker(EQUAL, GROUPS).rank(key)


# Edges


def test_no_nodes_rank_to_nothing() -> None:
    assert Ranker({}).rank(b"key") == []


@pytest.mark.parametrize("weight", [0.0, -1.0, inf, -inf, nan])
def test_a_weight_that_is_no_share_is_refused(weight: float) -> None:
    with pytest.raises(ValueError, match="'bad'"):
        Ranker({"good": 1.0, "bad": weight})
    with pytest.raises(ValueError, match="group 'bad'"):
        Ranker({"good": 1.0}, {}, {"bad": weight})


def test_a_name_that_is_not_unicode_is_refused() -> None:
    with pytest.raises(ValueError, match="surrogates"):
        Ranker({"\ud800": 1.0})
    with pytest.raises(ValueError, match="surrogates"):
        Ranker({"a": 1.0, "b": 1.0}, {"a": "\ud800"})
