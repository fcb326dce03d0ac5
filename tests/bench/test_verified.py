"""The program that measures what verifying costs."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.verified import measure, misses, row

ROUNDS = 2


def test_it_measures_reads_and_gets(tmp_path: Path) -> None:
    found = measure(tmp_path, [1024], ROUNDS)
    assert list(found) == ["1024"]
    assert {len(values) for values in found["1024"].values()} == {ROUNDS}
    assert list(found["1024"]) == ["plain", "verified", "get"]
    assert len(row("1024", found["1024"])) == 6


@pytest.mark.parametrize(
    ("size", "verified", "is_missed"),
    [
        ("1024", 19e-6, False),
        ("1024", 21e-6, True),
        ("268435456", 0.0149, False),
        ("268435456", 0.0151, True),
    ],
)
def test_targets(size: str, verified: float, is_missed: bool) -> None:
    plain = 10e-6 if size == "1024" else 0.01
    found = {size: {"plain": [plain], "verified": [verified], "get": [0.1]}}
    assert bool(misses(found)) == is_missed
