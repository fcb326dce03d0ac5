"""Three questions of their own: many nodes, memory, and a second gateway."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from amazin.model.node_specs import NodeSpec
from bench import programs
from bench.cells import KIB, MIB, Cell, Contender, fill, job_of, keys_of, measure
from bench.client import Job
from bench.field import OBJECT_PATH, Cluster, add_proxies, in_turns
from bench.gateways import GUNICORN, make_gateway
from bench.nodes import gateway_settings, wait_until_ready, wait_until_settled
from bench.processes import MemoryWatch, beside
from tests.support.gateway_process import ask
from tests.support.ports import free_port

NODE_COUNTS = (3, 100)
STREAMS = 16
MEMORY_SIZES = (64 * KIB, 4 * MIB, 64 * MIB)
"""A test has the gateway pass on 5 GiB in constant memory."""
SMALL_CELLS = tuple(Cell(f"{m} 1 KiB, 16", {m: 1}, KIB, 16) for m in ("GET", "PUT"))


@contextmanager
def fake_nodes(count: int) -> Iterator[tuple[int, list[NodeSpec]]]:
    """Have nodes of almost no cost: the process that they are, and where they are."""
    with beside("bench.fake_nodes", str(count)) as (pid, _, output):
        ports = output.readline().split()
        yield (
            pid,
            [
                NodeSpec(
                    f"node-{n}", f"http://127.0.0.1:{port}", f"access{n}", "secret"
                )
                for n, port in enumerate(ports, 1)
            ],
        )


def measure_nodes(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Return rates by cell and number of nodes; the nodes are fakes."""
    result: dict[str, Any] = {}
    with ExitStack() as stack:
        field = []
        for count in NODE_COUNTS:
            pid, specs = stack.enter_context(fake_nodes(count))
            gateway = gateway_on(stack, folder, specs)
            wait_until_settled(gateway.port)
            fill(gateway, KIB)
            gateway.name, gateway.node_roots = str(count), [pid]
            field.append(gateway)
        for number in range(options.rounds):
            for cell in SMALL_CELLS:
                for contender in in_turns(field, number):
                    job = job_of(cell, contender, options.seconds)
                    rounds = result.setdefault(cell.name, {})
                    rounds.setdefault(contender.name, []).append(
                        measure(contender, job)
                    )
    return result


def gateway_on(stack: ExitStack, folder: Path, specs: list[NodeSpec]) -> Contender:
    """Start a gateway on nodes that run already."""
    gateway = make_gateway(folder, gateway_settings(specs, 1))
    stack.callback(gateway.stop)
    gateway.start()
    wait_until_ready(gateway.port)
    return Contender(GUNICORN, gateway.port, OBJECT_PATH, [gateway.process.pid])


def measure_memory(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Return, by contender and load, what each round found; `peak` is in bytes.

    Each starts anew in each round, so that nothing is left in it; so do the nodes,
    which clear what was removed up minutes later.
    """
    result: dict[str, Any] = {}
    for number in range(options.rounds):
        own = folder / f"memory-{number}"
        own.mkdir()
        for contender in one_by_one(own, options):
            watch_memory(contender, result.setdefault(contender.name, {}))
        shutil.rmtree(own)
    return result


def one_by_one(folder: Path, options: argparse.Namespace) -> Iterator[Contender]:
    """Yield contenders that were started just now; each is stopped after its turn."""
    with ExitStack() as stack:
        one, two = (Cluster(stack, folder / f"{n}-copies") for n in (1, 2))
        with one.apart():
            yield from add_proxies(one, options.left_out)
        with one.apart():
            yield one.add_gateway()
        with two.apart():
            yield two.add_gateway(replicas=2)


def watch_memory(contender: Contender, loads: dict[str, Any]) -> None:
    """Make loads of 16 streams, from small objects to large ones.

    What is uploaded is removed.
    """
    contender.watch = watch = MemoryWatch(contender.roots)
    loads.setdefault("idle", []).append(watch.idle())
    for size in MEMORY_SIZES:
        each = max(1, 4 * MIB // size)
        keys = keys_of(size, STREAMS)
        where = (contender.port, contender.path, keys, size)
        text = f"{size // MIB} MiB" if size >= MIB else f"{size // KIB} KiB"
        for method in ("PUT", "GET"):
            job = Job(*where, {method: 1}, STREAMS, each=each)
            found = measure(contender, job)
            loads.setdefault(f"{method} {text}", []).append(found)
        for key in keys:
            ask(contender.port, "DELETE", contender.path.format(key=key))


def measure_two(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Return rates of one and of two gateways behind HAProxy, by cell."""
    path = programs.find_program("haproxy")
    if path is None:
        options.left_out["haproxy"] = "not installed"
        return {}
    result: dict[str, Any] = {}
    with ExitStack() as stack:
        cluster = Cluster(stack, folder / "two")
        gateways = [cluster.add_gateway() for _ in range(2)]
        fill(gateways[0], KIB)
        field = [
            behind_haproxy(stack, path, cluster, gateways[:count], name)
            for count, name in ((1, "one"), (2, "two"))
        ]
        for number in range(options.rounds):
            for cell in SMALL_CELLS:
                for contender in in_turns(field, number):
                    job = job_of(cell, contender, options.seconds)
                    rounds = result.setdefault(cell.name, {})
                    rounds.setdefault(contender.name, []).append(
                        measure(contender, job)
                    )
    return result


def behind_haproxy(
    stack: ExitStack, path: str, cluster: Cluster, gateways: list[Contender], name: str
) -> Contender:
    """Start HAProxy, which asks these gateways in turns."""
    ports = [gateway.port for gateway in gateways]
    program = programs.haproxy(
        path, free_port(), ports, cluster.folder, programs.IN_TURNS
    )
    stack.callback(program.stop)
    program.start()
    roots = [root for gateway in gateways for root in gateway.roots]
    return Contender(
        name, program.port, OBJECT_PATH, [program.pid, *roots], cluster.roots
    )
