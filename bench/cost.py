"""What replicas cost while all nodes are well: requests to the nodes, and time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from bench.floor import measure_floor
from bench.load import BODY, Client, run_load
from bench.nodes import System
from bench.stats import over_rounds, percentile

COUNTED = 20
LARGE = bytes(512 * 1024)
"""Streamed to the nodes, not held in memory."""
METHODS = ("GET", "PUT")


def count_requests(system: System) -> dict[str, dict[str, float]]:
    """Return, by operation, the requests to nodes for one; all nodes are well."""
    client = Client(system.port)
    keys = [f"counted{n}" for n in range(COUNTED)]
    asked = {
        "PUT (new)": ("PUT", BODY, 201),
        "PUT (over another)": ("PUT", BODY, 201),
        "GET": ("GET", b"", 200),
        "HEAD": ("HEAD", b"", 200),
        "GET of a part": ("GET", b"", 206),
        "DELETE": ("DELETE", b"", 204),
        "GET (404)": ("GET", b"", 404),
        "PUT of 512 KiB": ("PUT", LARGE, 201),
    }
    result = {}
    for title, (method, body, expected) in asked.items():
        before = total(system)
        part = "Range: bytes=0-99\r\n" if expected == 206 else ""
        for key in keys:
            status = client.ask(method, key, body, part)
            if status != expected:
                raise RuntimeError(f"{title} was answered with {status}")
        sent = total(system)
        sent.subtract(before)
        result[title] = {name: n / COUNTED for name, n in sorted(sent.items()) if n}
    client.close()
    return result


def total(system: System) -> Counter[str]:
    """Return the requests to all nodes so far."""
    counts: Counter[str] = Counter()
    for proxy in system.proxies:
        counts.update(proxy.counts)
    return counts


def measure_round(
    system: System, method: str, keys: Sequence[str], seconds: float
) -> dict[str, float]:
    """Return latencies, and CPU per request, of one connection."""
    before = system.cpu_seconds()
    samples = run_load(system.port, method, keys, 1, seconds)
    after = system.cpu_seconds()
    bad = {sample.status for sample in samples} - {200, 201}
    if bad:
        raise RuntimeError(f"{method} was answered with {bad}, all nodes being well")
    latencies = [sample.seconds for sample in samples]
    return {
        "p50": percentile(latencies, 0.50),
        "p99": percentile(latencies, 0.99),
        "requests": len(samples),
        "gateway_cpu": (after[0] - before[0]) / len(samples),
        "nodes_cpu": (after[1] - before[1]) / len(samples),
    }


def measure_latency(
    systems: Mapping[int, System], keys: Sequence[str], rounds: int, seconds: float
) -> dict[str, Any]:
    """Return latencies by method and replicas; rounds interleaved, order turning."""
    raw: dict[str, dict[int, list[dict[str, float]]]] = {
        method: {replicas: [] for replicas in systems} for method in METHODS
    }
    floor: list[dict[str, float]] = []
    for number in range(rounds):
        floor.append(measure_floor(systems[2], keys))
        order = list(systems)[:: 1 if number % 2 else -1]
        for method in METHODS:
            for replicas in order:
                found = measure_round(systems[replicas], method, keys, seconds)
                raw[method][replicas].append(found)
    result = {method: summarise(raw[method]) for method in METHODS}
    result["nodes alone"] = {
        name: over_rounds([one[name] for one in floor]) for name in floor[0]
    }
    return result


def summarise(rounds: Mapping[int, list[dict[str, float]]]) -> dict[str, Any]:
    """Return medians over rounds, and p50 as a multiple of that of one copy."""
    result: dict[str, Any] = {}
    single = [one["p50"] for one in rounds[1]]
    for replicas, found in rounds.items():
        ratios = [one["p50"] / base for one, base in zip(found, single, strict=True)]
        result[str(replicas)] = {
            name: over_rounds([one[name] for one in found]) for name in found[0]
        } | {"ratio": over_rounds(ratios)}
    return result
