"""Normal requests while many slow clients are connected, and while none is."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.cells import KIB, MIB, Cell, Contender, fill, job_of, measure, run_client
from bench.client import Job
from bench.field import Cluster, in_turns
from bench.gateways import GTHREAD, GUNICORN
from bench.processes import beside, total_cpu
from bench.slow_clients import Crowd

BODY_KEY, BODY_BYTES = "dribbled", MIB
"""More than a gateway holds of an upload: it streams it to the node."""
NORMAL = Cell("GET 1 KiB, 16", {"GET": 1}, KIB, 16)
CALM_SHARE, CALM_STEP_SECONDS, CALM_SECONDS = 0.3, 0.5, 20.0
"""Connecting and leaving is work by itself. It is over when gateway and nodes use less
of a CPU, or after so long."""


def wait_until_calm(contender: Contender) -> float:
    """Wait until the crowd has come, or gone; returns CPUs that it keeps busy."""
    roots = [*contender.roots, *contender.node_roots]
    deadline = time.monotonic() + CALM_SECONDS
    while True:
        before = total_cpu(roots)
        time.sleep(CALM_STEP_SECONDS)
        share = (total_cpu(roots) - before) / CALM_STEP_SECONDS
        if share < CALM_SHARE or time.monotonic() > deadline:
            return share


@contextmanager
def crowded(contender: Contender, count: int) -> Iterator[dict[str, Any]]:
    """Have so many slow clients connected; the value is filled at the end."""
    path = contender.path
    crowd = Crowd(contender.port, count, path.format(key=BODY_KEY), path, BODY_BYTES)
    seen: dict[str, Any] = {}
    with beside("bench.slow_clients") as (_, orders, answers):
        orders.write(json.dumps(asdict(crowd)) + "\n")
        orders.flush()
        if answers.readline() != "ready\n":
            raise RuntimeError("the slow clients can't connect")
        seen["cpus"] = wait_until_calm(contender)
        yield seen
        orders.close()
        seen.update(json.loads(answers.readline()))


def measure_slow(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Return what normal requests found, by server, without and with slow clients."""
    servers = (GUNICORN, GTHREAD)
    result: dict[str, Any] = {
        s: {"without": [], "with": [], "slow": []} for s in servers
    }
    with ExitStack() as stack:
        cluster = Cluster(stack, folder / "slow")
        field = [cluster.add_gateway(server) for server in servers]
        fill(field[0], KIB)
        store_body(field[0])
        for number in range(options.rounds):
            for contender in in_turns(field, number):
                found = result[contender.name]
                job = job_of(NORMAL, contender, options.seconds)
                found["without"].append(measure(contender, job))
                with crowded(contender, options.slow_clients) as seen:
                    found["with"].append(measure(contender, job))
                found["slow"].append(seen)
                wait_until_calm(contender)
    return result


def store_body(contender: Contender) -> None:
    """Store what the slow clients download. Raises: RuntimeError."""
    job = Job(
        contender.port, contender.path, [BODY_KEY], BODY_BYTES, {"PUT": 1}, 1, each=1
    )
    if errors := run_client(job)["errors"]:
        raise RuntimeError(f"the object can't be stored: {errors}")
