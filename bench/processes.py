"""What processes cost: CPU time and memory of a process and all it started. Linux."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from tests.support.gateway_process import PROJECT

RESET_PEAK = "5"
"""Source: proc(5), /proc/pid/clear_refs."""


def tree(root: int) -> list[int]:
    """Return the ids of a process and all it started; empty if it has ended."""
    found = [root]
    for pid in found:  # grows on the way
        with suppress(OSError):
            for task in Path(f"/proc/{pid}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
    return [pid for pid in found if Path(f"/proc/{pid}").exists()]


def trees(roots: Iterable[int]) -> list[int]:
    """Return the ids of these processes and all they started."""
    return [pid for root in roots for pid in tree(root)]


def cpu(pid: int) -> float:
    """Return the CPU time of a process, user and system, all its threads, in seconds.

    It is what utime and stime in /proc/PID/stat add up to, but not rounded to 10 ms:
    the process's CPU clock (Linux: `~pid << 3`, 2 for the scheduler's count).
    """
    return time.clock_gettime(~pid << 3 | 2)


def ended_children_cpu(pid: int) -> float:
    """Return the CPU time of what a process started, and that has ended, in seconds.

    cutime and cstime in /proc/PID/stat: proc(5). Counted to 10 ms, when one has ended.
    """
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")


def total_cpu(roots: Iterable[int]) -> float:
    """Return the CPU time of these processes and all they started, in seconds."""
    used = 0.0
    for pid in trees(roots):
        with suppress(OSError):  # it has just ended
            used += cpu(pid) + ended_children_cpu(pid)
    return used


def memory(pid: int, field: str) -> int:
    """Return VmRSS (now) or VmHWM (the peak) of a process, in bytes; 0: it ended."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
    return 0


class MemoryWatch:
    """The memory of processes, compared with what they had when idle."""

    def __init__(self, roots: Iterable[int]) -> None:
        """Take processes that idle."""
        self._idle = {pid: memory(pid, "VmRSS") for pid in trees(roots)}
        self.reset()

    def reset(self) -> None:
        """Forget the peaks up to now."""
        for pid in self._idle:
            with suppress(OSError):
                Path(f"/proc/{pid}/clear_refs").write_text(RESET_PEAK)

    def peak_over_idle(self) -> int:
        """Return by how much the process that grew most exceeded its idle size, bytes.

        Since the last reset; of those that were there at the beginning.
        """
        grown = [memory(pid, "VmHWM") - idle for pid, idle in self._idle.items()]
        return max(0, *grown) if grown else 0

    def idle(self) -> int:
        """Return the idle size of the largest, bytes."""
        return max(self._idle.values(), default=0)


@contextmanager
def beside(module: str, *arguments: str) -> Iterator[tuple[int, TextIO, TextIO]]:
    """Run one of our modules: its process id, standard input and standard output.

    It ends when its standard input does.
    """
    with subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=PROJECT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("no pipes")
        yield process.pid, process.stdin, process.stdout
        process.stdin.close()


def conclude(result: dict[str, Any], path: str | None) -> None:
    """Note how busy the machine is in the end; write all as JSON, if to a path."""
    result["machine"]["load_after"] = os.getloadavg()[0]
    if path:
        Path(path).write_text(json.dumps(result, indent=1) + "\n")


def cpu_model() -> str:
    """Return what the CPUs call themselves."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def machine() -> dict[str, Any]:
    """Return what the figures depend on."""
    return {
        "date": time.strftime("%Y-%m-%d"),
        "cpus": len(os.sched_getaffinity(0)),
        "cpu": cpu_model(),
        "python": platform.python_version(),
        "system": platform.system() + " " + platform.release(),
        "load_before": os.getloadavg()[0],
    }
