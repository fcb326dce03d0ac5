"""What the server's processes share, tried on processes that are no servers."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from amazin.serving.processes import STOP_SIGNALS
from tests.support.paths import PROJECT

FORKING_MASTER = """
import os, signal, sys, time
from amazin.serving.processes import let_forks_stop

number = int(sys.argv[1])
signal.signal(number, lambda *_: None)
let_forks_stop()
for _ in range(20):
    if (child := os.fork()) == 0:
        time.sleep(20)
        os._exit(0)
    os.kill(child, number)  # as a rule before it runs
    _, status = os.waitpid(child, 0)
    print(os.WTERMSIG(status))
os.kill(os.getpid(), number)
print("goes on")
"""


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_worker_that_is_told_to_stop_before_it_runs_ends(
    number: signal.Signals,
) -> None:
    result = subprocess.run(
        [sys.executable, "-c", FORKING_MASTER, str(int(number))],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert result.stdout.split("\n") == [str(int(number))] * 20 + ["goes on", ""]
