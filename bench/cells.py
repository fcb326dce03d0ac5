"""What load is made, and what one load is found to cost."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.client import Job, encode
from bench.processes import MemoryWatch, total_cpu, trees
from tests.support.gateway_process import PROJECT

KIB, MIB = 1024, 1024 * 1024
LARGE = 256 * MIB
KEYS = {KIB: 300, 64 * KIB: 60, LARGE: 4}
"""How many objects of each size there are; a multiple of `FILL_STREAMS`, or fewer."""
FILL_STREAMS = 10
WARM_SECONDS = 0.4
"""Before the time of each load of small objects."""
MOST_SECONDS = 1800.0
"""After so much more the client hangs."""


@dataclass(frozen=True)
class Cell:
    """One kind of load."""

    name: str
    shares: Mapping[str, float]
    size: int
    connections: int
    each: int = 0
    """So many requests on each connection; 0: as many as go into the time."""

    @property
    def is_large(self) -> bool:
        """Whether MB/s say more than requests."""
        return self.size >= MIB


CELLS = (
    *(
        Cell(f"{method} 1 KiB, {count}", {method: 1}, KIB, count)
        for method in ("GET", "HEAD", "PUT")
        for count in (1, 16, 64)
    ),
    Cell("GET 64 KiB, 16", {"GET": 1}, 64 * KIB, 16),
    Cell("90 % GET, 10 % PUT, 1 KiB, 16", {"GET": 0.9, "PUT": 0.1}, KIB, 16),
    Cell("GET 256 MiB, 1", {"GET": 1}, LARGE, 1, each=2),
    Cell("GET 256 MiB, 4", {"GET": 1}, LARGE, 4, each=1),
    Cell("PUT 256 MiB, 1", {"PUT": 1}, LARGE, 1, each=2),
    Cell("PUT 256 MiB, 4", {"PUT": 1}, LARGE, 4, each=1),
)


@dataclass
class Contender:
    """Something that is asked for objects, and the processes that it keeps busy."""

    name: str
    port: int
    path: str
    """With `{key}` in it."""
    roots: Sequence[int] = ()
    """Its own processes; what they started counts as well."""
    node_roots: Sequence[int] = ()
    """Those of the nodes behind it."""
    watch: MemoryWatch | None = field(default=None, repr=False)
    """Its memory, once it has idled."""


def keys_of(size: int, count: int = 0) -> list[str]:
    """Return the keys of the objects of a size."""
    return [f"of{size}n{n}" for n in range(count or KEYS[size])]


def run_client(job: Job) -> dict[str, Any]:
    """Make a load, in a process of its own; see `bench.client`."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.client"],
        input=encode(job),
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=job.warm_seconds + job.seconds + MOST_SECONDS,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def job_of(cell: Cell, contender: Contender, seconds: float) -> Job:
    """Return a cell as work for the client."""
    return Job(
        contender.port,
        contender.path,
        keys_of(cell.size),
        cell.size,
        dict(cell.shares),
        cell.connections,
        0.0 if cell.each else seconds,
        0.0 if cell.each else WARM_SECONDS,
        cell.each,
        random.randrange(2**32),
    )


def measure(
    contender: Contender, job: Job, run: Callable[[Job], dict[str, Any]] = run_client
) -> dict[str, Any]:
    """Make a load; returns what the client found, and CPU seconds per answer."""
    pids = set(trees(contender.roots))
    if contender.watch:
        contender.watch.reset()
    before = total_cpu(contender.roots), total_cpu(contender.node_roots)
    found = run(job)
    after = total_cpu(contender.roots), total_cpu(contender.node_roots)
    answers = max(1, found["answers"])
    found["cpu"] = (after[0] - before[0]) / answers
    found["nodes_cpu"] = (after[1] - before[1]) / answers
    found["client_cpu"] /= answers
    if contender.watch:
        found["peak"] = contender.watch.peak_over_idle()
        if set(trees(contender.roots)) != pids:
            found["errors"]["another process, whose memory was not watched"] = 1
    return found


def fill(contender: Contender, size: int) -> None:
    """Store the objects of a size through it. Raises: RuntimeError."""
    keys = keys_of(size)
    streams = min(FILL_STREAMS, len(keys))
    each = len(keys) // streams
    found = run_client(
        Job(contender.port, contender.path, keys, size, {"PUT": 1}, streams, each=each)
    )
    if found["errors"] or found["answers"] != len(keys):
        raise RuntimeError(f"{contender.name} can't be filled: {found['errors']}")
