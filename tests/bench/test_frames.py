"""How long the way of a request is: a budget of calls, and of node requests exactly."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from tests.support.paths import PROJECT

BUDGET = {
    "GET 1 KiB, r=1": (85, 95, 1),
    "PUT 1 KiB, r=1": (140, 140, 1),
    "GET 1 KiB, r=2": (150, 165, 2),
    "PUT 1 KiB, r=2": (300, 300, 4),
    "PUT 1 KiB in a bucket, r=2": (400, 430, 6),
}
"""By kind of request: calls of functions at most, without metrics and with them; and
node requests."""


@pytest.mark.parametrize("metrics", [False, True])
def test_requests_keep_to_their_budget_of_calls_and_node_requests(
    *, metrics: bool
) -> None:
    options = [] if metrics else ["--without-metrics"]
    done = subprocess.run(
        [sys.executable, "-m", "bench.frames", *options],
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": PROJECT.as_posix()},
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
    )
    lines = re.findall(r"^(.+?)  +([0-9]+) +([0-9]+)$", done.stdout, re.MULTILINE)
    measured = {title: (int(frames), int(asked)) for title, frames, asked in lines}
    assert measured.keys() == BUDGET.keys()
    for title, (without, counting, asked) in BUDGET.items():
        frames, found = measured[title]
        assert 20 < frames <= (counting if metrics else without), title
        assert found == asked, title
