"""The simulation of many nodes: what it counts, and the law that it is held against."""

from __future__ import annotations

import math
import random

import pytest

from bench.scatter import (
    BATCH_KEYS,
    SIZES,
    Moves,
    balance,
    batches,
    by_law,
    chance_of_more,
    chi_square,
    count_keys,
    count_moves,
    note,
    relative_deviation,
)

EQUAL = SIZES[0]


def test_every_key_is_in_one_batch() -> None:
    for keys in (1, BATCH_KEYS, 2 * BATCH_KEYS + 5):
        assert [n for batch in batches(keys) for n in batch] == list(range(keys))


def test_the_counts_of_ranked_keys_follow_the_law() -> None:
    found = count_keys(20, 20_000, 1)
    assert 0.0001 < found["p"] < 0.9999
    assert found["balance"]["deviation"] == pytest.approx(
        found["expected deviation"], rel=0.6
    )


def test_what_moves_is_the_share_of_one_node_and_only_its_own() -> None:
    found = count_moves(20, 10_000, 1)
    for name in ("joins", "leaves"):
        one = found[name]
        assert one["strays"] == 0
        assert abs(one["objects"] - one["expected"]) < 5 * one["expected deviation"]
        assert abs(one["copies"] - one["expected"]) < 5 * one["expected deviation"]


@pytest.mark.parametrize(
    ("old", "new", "strays"),
    [
        (["a", "b"], ["new", "a"], 0),
        (["a", "b"], ["a", "b"], 0),
        (["a", "b"], ["b", "a"], 1),
        (["a", "b"], ["a", "c"], 1),
        (["a", "b"], ["c", "new"], 2),
    ],
)
def test_what_moves_between_others_is_noticed(
    old: list[str], new: list[str], strays: int
) -> None:
    moves = Moves()
    note(moves, "new", old, new, [1.0] * len(SIZES))
    assert moves.strays == strays


@pytest.mark.parametrize("sizes", SIZES, ids=lambda sizes: sizes.title)
def test_the_moments_are_those_of_what_is_drawn(sizes: object) -> None:
    assert isinstance(sizes, type(EQUAL))
    rng = random.Random(7)
    drawn = [sizes.draw(rng) for _ in range(100_000)]
    mean, square, _ = sizes.moments
    assert sum(drawn) / len(drawn) == pytest.approx(mean, rel=0.03)
    assert sum(x * x for x in drawn) / len(drawn) == pytest.approx(square, rel=0.3)


@pytest.mark.parametrize(
    ("nodes", "most"), [(3, 1.0038), (10, 1.009), (100, 1.036), (1000, 1.137)]
)
def test_the_law_has_the_known_extremes(nodes: int, most: float) -> None:
    """The 99th percentile of max/mean at 10^6 keys, as balls in bins have it."""
    found = by_law(nodes, 10**6, EQUAL, 400)
    assert found["max"]["99 %"] - 1 == pytest.approx(most - 1, rel=0.15)


def test_the_chance_of_a_greater_chi_square_is_that_of_the_tables() -> None:
    for degrees, statistic, chance in ((99, 123.225, 0.05), (999, 1106.0, 0.0098)):
        assert chance_of_more(statistic, degrees) == pytest.approx(chance, rel=0.03)


def test_balance_is_by_the_mean() -> None:
    assert balance([1, 2, 3]) == pytest.approx(
        {"max": 1.5, "min": 0.5, "deviation": math.sqrt(2 / 3) / 2}
    )
    assert chi_square([1, 2, 3]) == 1.0
    assert relative_deviation(2, 100, EQUAL) == pytest.approx(0.1)
