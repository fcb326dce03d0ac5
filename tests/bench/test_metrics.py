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
    assert "| folder |" in cost_table({"folder": found})


def test_the_cost_is_that_within_a_round() -> None:
    found = {"false": [1e-4, 5e-4, 3e-4], "true": [1.1e-4, 5.3e-4, 3.2e-4]}
    assert costs(found)["median"] == pytest.approx(20)
