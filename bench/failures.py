"""What replicas and failing nodes cost: `python -m bench.failures`.

Real MinIO servers and a gateway, all on this machine. Everything that is compared is
measured in the same run, in turns; what is shown is the median of the rounds, with the
least and the greatest.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench.cost import METHODS, count_requests, measure_latency
from bench.load import BODY, Client
from bench.nodes import System, find_minio
from bench.outage import measure_fall, measure_first_answers, measure_throughput
from bench.processes import conclude, machine
from bench.stats import milli, span

NODE_COUNTS = {1: 3, 2: 3, 3: 5}
"""Nodes by replicas: `2r-1`, but three at least."""
KINDS = ("killed", "frozen", "gone")
LIMIT = 1.35
"""What a GET of two copies may cost, as a multiple of one copy's."""


def main() -> int:
    """Measure, print, and maybe write JSON."""
    options = parse_options()
    result: dict[str, Any] = {"machine": machine(), "options": vars(options)}
    keys = [f"key{n}" for n in range(options.keys)]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        for name, measure in PARTS.items():
            if options.only in (None, name):
                result |= measure(folder, keys, options)
    conclude(result, options.json)
    print_all(result)
    return 0


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.failures")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of one load")
    parser.add_argument("--keys", type=int, default=300)
    parser.add_argument("--only", choices=PARTS, help="measure one part")
    parser.add_argument(
        "--distance-ms",
        type=float,
        default=0.0,
        help="by so much the nodes' answers come late while latency is measured",
    )
    parser.add_argument("--json", metavar="FILE", help="write all figures there")
    return parser.parse_args()


def started(stack: ExitStack, system: System) -> System:
    """Start a system, to be stopped with the stack."""
    stack.callback(system.stop)
    system.start()
    return system


def fill(system: System, keys: list[str]) -> System:
    """Store an object under each key."""
    client = Client(system.port)
    for key in keys:
        client.ask("PUT", key, BODY)
    client.close()
    return system


def measure_cost(
    folder: Path, keys: list[str], options: argparse.Namespace
) -> dict[str, Any]:
    """Measure with all nodes well; one cluster for each number of replicas."""
    binary = find_minio()
    counts = {}
    for replicas, nodes in NODE_COUNTS.items():
        with ExitStack() as stack:
            say(f"requests to nodes, r={replicas}")
            system = System(
                binary, folder / f"counted-{replicas}", replicas, nodes, is_counted=True
            )
            counts[str(replicas)] = count_requests(started(stack, system))
    with ExitStack() as stack:
        say("latency, all nodes well")
        systems = {}
        for replicas, nodes in NODE_COUNTS.items():
            system = System(
                binary,
                folder / f"timed-{replicas}",
                replicas,
                nodes,
                is_counted=False,
                delay_seconds=options.distance_ms / 1000,
            )
            systems[replicas] = fill(started(stack, system), keys)
        latency = measure_latency(systems, keys, options.rounds, options.seconds)
    return {"requests": counts, "latency": latency}


def measure_failures(
    folder: Path, keys: list[str], options: argparse.Namespace
) -> dict[str, Any]:
    """Measure with one of three nodes away; two copies of each object."""
    with ExitStack() as stack:
        system = System(find_minio(), folder / "failing", 2, 3, is_counted=False)
        fill(started(stack, system), keys)
        say("work with a dead node")
        work = measure_throughput(system, keys, options.rounds, options.seconds)
        say("first answer after a node's end")
        first = measure_first_answers(system, keys, options.rounds, KINDS)
        say("requests under way when a node goes")
        fall = measure_fall(system, keys, max(1, options.rounds // 2), KINDS)
    return {"work": work, "first_answer": first, "fall": fall}


def say(what: str) -> None:
    """Tell at a terminal what is going on."""
    if sys.stderr.isatty():
        print(f"... {what}", file=sys.stderr)


def print_all(result: Mapping[str, Any]) -> None:
    """Print all figures as tables."""
    print("machine:", ", ".join(f"{k} {v}" for k, v in result["machine"].items()))
    for name, show in TABLES.items():
        if name in result:
            show(result[name])


def print_requests(counts: Mapping[str, Any]) -> None:
    """Print how many requests the nodes get."""
    print("\nRequests to nodes for one of a client's")
    print(row("", *(f"r={replicas}" for replicas in counts)))
    for title in counts["1"]:
        cells = []
        for found in counts.values():
            parts = ", ".join(f"{n:g} {name}" for name, n in found[title].items())
            cells.append(f"{sum(found[title].values()):g}: {parts}")
        print(row(title, *cells))


def print_latency(latency: Mapping[str, Any]) -> None:
    """Print latencies on one connection."""
    print("\nOne connection, 1 KiB, all nodes well")
    print(row("", "p50 ms", "p99 ms", "p50 / r=1", "CPU ms gateway", "CPU ms nodes"))
    for method in METHODS:
        for replicas, found in latency[method].items():
            cells = [milli(found["p50"]), milli(found["p99"]), span(found["ratio"])]
            cells += [milli(found["gateway_cpu"]), milli(found["nodes_cpu"])]
            print(row(f"{method} r={replicas}", *cells))
    ratio = latency["GET"]["2"]["ratio"]["median"]
    verdict = "kept" if ratio <= LIMIT else "missed"
    for title, found in latency["nodes alone"].items():
        print(row(f"nodes: {title}", milli(found)))
    print(f"GET r=2 at most {LIMIT} x r=1: {verdict} ({ratio:.2f})")


def print_work(work: Mapping[str, Any]) -> None:
    """Print rates with all nodes alive and with one dead."""
    print("\n16 connections, 1 KiB, r=2, one of three nodes dead")
    print(row("", "requests/s", "errors", "p99 ms, others' keys", "p99 ms, its keys"))
    for method in ("GET", "PUT"):
        for state in ("alive", "dead"):
            found = work[f"{state} {method}"]
            cells = [span(found["rate"], 0), span(found["errors"], 0)]
            cells += [milli(found["off_p99"]), milli(found["on_p99"])]
            print(row(f"{method}, {state}", *cells))


def print_first_answers(first: Mapping[str, Any]) -> None:
    """Print how long the first good answer takes."""
    print("\nFrom a node's end to the first good answer for its keys, r=2")
    print(row("", "seconds", "no answer, of rounds", "errors", "ms, from then on"))
    for title, found in first.items():
        cells = [span(found["seconds"], 3) if found["seconds"] else "none"]
        cells.append(f"{found['unanswered']} of {found['rounds']}")
        cells.append(span(found["errors"], 0))
        cells.append(milli(found["next"]) if found["next"] else "none")
        print(row(title, *cells))


def print_fall(fall: Mapping[str, Any]) -> None:
    """Print what requests under way see."""
    print("\n16 connections, r=2, in the 4 s around a node's end")
    print(row("", "slowest s, others'", "slowest s, its keys", "over 1 s", "errors"))
    for title, found in fall.items():
        cells = [span(found["off_max"], 3), span(found["on_max"], 3)]
        cells += [span(found["over_1s"], 0), span(found["errors"], 0)]
        print(row(title, *cells))


def row(title: str, *cells: str) -> str:
    """Return one line of a table."""
    return f"{title:20}" + "".join(f"{cell:>26}" for cell in cells)


PARTS = {"cost": measure_cost, "failures": measure_failures}
TABLES = {
    "requests": print_requests,
    "latency": print_latency,
    "work": print_work,
    "first_answer": print_first_answers,
    "fall": print_fall,
}

if __name__ == "__main__":
    sys.exit(main())
