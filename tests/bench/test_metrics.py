"""The program that measures what metrics cost."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.metrics import cost_table, costs, measure_cost, one_folder

ROUNDS = 2


def test_it_measures_gets_with_metrics_and_without(tmp_path: Path) -> None:
    with one_folder(tmp_path) as settings:
        found = measure_cost(tmp_path, settings, ROUNDS)
    assert list(found) == ["false", "true"]
    assert {len(values) for values in found.values()} == {ROUNDS}
    assert "| folder |" in cost_table({"folder": [found]})


def test_in_each_part_the_quietest_quarter_counts() -> None:
    without = [1e-4, 9e-4, 9e-4, 9e-4]
    part = {"false": without, "true": [cost + 2e-5 for cost in without]}
    assert costs([part] * 3) == pytest.approx([20] * 3)
