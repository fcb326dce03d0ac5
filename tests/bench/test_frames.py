"""How long the way of a request is: a budget of calls, and of node requests exactly."""

from __future__ import annotations

import os
import re
import subprocess
import sys

from tests.support.paths import PROJECT

BUDGET = {
    "GET 1 KiB, r=1": (85, 1),
    "PUT 1 KiB, r=1": (140, 1),
    "GET 1 KiB, r=2": (150, 2),
    "PUT 1 KiB, r=2": (300, 4),
    "PUT 1 KiB in a bucket, r=2": (400, 6),
}
"""Calls of functions at most, and node requests, by kind of request."""


def test_requests_keep_to_their_budget_of_calls_and_node_requests() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench.frames"],
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
    for title, (most_frames, asked) in BUDGET.items():
        frames, found = measured[title]
        assert 20 < frames <= most_frames, title
        assert found == asked, title
