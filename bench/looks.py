"""What many nodes cost a gateway's worker: `python -m bench.looks`. Loopback only.

A worker reads the roster on every node again and again, in the background, and places
keys by it. The nodes are small fakes (`bench/fake_nodes.py`); what they cost
themselves is not counted.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from amazin.cluster.lookup import Lookup
from amazin.membership.membership import Membership
from amazin.membership.roster import Roster
from amazin.membership.transitions import DesiredNodes
from amazin.model.node_specs import NodeSpec, TimeLimits
from amazin.model.objects import ObjectName
from amazin.nodes.build import node_builder
from bench.extras import fake_nodes
from bench.processes import conclude, machine
from bench.stats import markdown, over_rounds, span

NODE_COUNTS = (3, 100, 1000)
FORM_ATTEMPTS = 20
PLACED = 2000
REFRESH_SECONDS = 5.0
CONNECTIONS = [0]
"""How many were begun by this process."""
NAMES = [ObjectName("store", f"k{number}") for number in range(PLACED)]


class Fixed:
    """A discovery that always says the same."""

    def __init__(self, specs: Sequence[NodeSpec]) -> None:
        self._specs = specs

    def find(self) -> Sequence[NodeSpec]:
        """See `Discovery`."""
        return self._specs


def main() -> int:
    """Measure, print, and maybe write JSON."""
    options = parse_options()
    sys.addaudithook(count_connection)
    result: dict[str, Any] = {"machine": machine(), "options": vars(options)}
    for count in options.nodes:
        with fake_nodes(count) as (_, specs):
            result[str(count)] = measure(specs, options)
    conclude(result, options.json)
    print_all({count: result[str(count)] for count in options.nodes})
    return 0


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.looks")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--nodes", type=int, nargs="+", default=NODE_COUNTS)
    parser.add_argument("--replicas", type=int, default=1)
    parser.add_argument("--json", metavar="FILE", help="write all figures there")
    return parser.parse_args()


def measure(specs: Sequence[NodeSpec], options: argparse.Namespace) -> dict[str, Any]:
    """Form a cluster of these nodes; returns what following and placing cost."""
    build, desired = node_builder(TimeLimits()), DesiredNodes(options.replicas, {})
    forming = Membership(Fixed(specs), build, REFRESH_SECONDS, desired)
    form(forming)

    def follower() -> Membership:
        return Membership(
            Fixed(specs), build, REFRESH_SECONDS, desired, is_watching=False
        )

    following = follower()
    first = look(following.refresh)
    looks = [look(following.refresh) for _ in range(options.rounds)]
    roster = following.snapshot().roster
    if roster is None or not roster.is_settled:
        raise RuntimeError("the nodes are no settled cluster")
    lookup = Lookup(following)
    place = [place_cost(lookup) for _ in range(options.rounds)]
    return {
        "roster": measure_roster(roster, options.rounds),
        "first look": first,
        "look": {name: over_rounds([one[name] for one in looks]) for name in first},
        "memory": memory_of(follower),
        "place": over_rounds(place),
        "fresh": over_rounds([fresh_cost(following) for _ in range(options.rounds)]),
    }


def form(membership: Membership) -> None:
    """Make empty nodes a cluster. Raises: RuntimeError."""
    for _ in range(FORM_ATTEMPTS):
        roster = membership.bootstrap().roster
        if roster is not None and roster.is_settled:
            return
    raise RuntimeError("the nodes do not become a cluster")


def look(refresh: Callable[[], None]) -> dict[str, float]:
    """Look at all nodes once; returns seconds, and connections made and kept."""
    made = CONNECTIONS[0]
    begin, cpu = time.perf_counter(), time.process_time()
    refresh()
    return {
        "seconds": time.perf_counter() - begin,
        "cpu": time.process_time() - cpu,
        "connections made": CONNECTIONS[0] - made,
        "open files": len(list(Path("/proc/self/fd").iterdir())),
    }


def count_connection(event: str, _: object) -> None:
    """Notice that a connection begins; see `sys.addaudithook`."""
    if event == "socket.connect":
        CONNECTIONS[0] += 1


def memory_of(follower: Callable[[], Membership]) -> int:
    """Return the bytes that are held for the nodes after a look."""
    gc.collect()
    tracemalloc.start()
    try:
        following = follower()
        following.refresh()
        gc.collect()
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


def place_cost(lookup: Lookup) -> float:
    """Return the CPU seconds in which a request learns where its key lies."""
    begin = time.thread_time()
    for name in NAMES:
        lookup.place(name)
    return (time.thread_time() - begin) / PLACED


def fresh_cost(membership: Membership) -> float:
    """Return the CPU seconds of asking whether the roster may be acted on."""
    begin = time.thread_time()
    for _ in NAMES:
        membership.fresh_snapshot()
    return (time.thread_time() - begin) / PLACED


def measure_roster(roster: Roster, rounds: int) -> dict[str, Any]:
    """Return how long a copy is, and the CPU seconds of reading and writing one."""
    name = min(roster.names)
    data = roster.dump(name)
    loads, dumps = [], []
    for _ in range(rounds):
        times = [time.thread_time()]
        Roster.load(data, name)
        times.append(time.thread_time())
        roster.dump(name)
        times.append(time.thread_time())
        loads.append(times[1] - times[0])
        dumps.append(times[2] - times[1])
    return {
        "bytes": len(data),
        "load": over_rounds(loads),
        "dump": over_rounds(dumps),
    }


def print_all(found: Mapping[int, Mapping[str, Any]]) -> None:
    """Write the table: a line a figure, a column a number of nodes."""
    rows: list[tuple[str, Callable[[Mapping[str, Any]], str]]] = [
        ("roster, bytes", lambda one: str(one["roster"]["bytes"])),
        ("reading it, ms", lambda one: times(one["roster"]["load"], 1e3)),
        ("first look: CPU, s", lambda one: f"{one['first look']['cpu']:.3f}"),
        ("look: CPU, ms", lambda one: times(one["look"]["cpu"], 1e3)),
        ("look: time, ms", lambda one: times(one["look"]["seconds"], 1e3)),
        ("look: connections made", lambda one: times(one["look"]["connections made"])),
        ("open files after it", lambda one: times(one["look"]["open files"])),
        ("memory for the nodes, MiB", lambda one: f"{one['memory'] / 2**20:.1f}"),
        ("place of a key, us", lambda one: times(one["place"], 1e6)),
        ("of this `fresh_snapshot`, us", lambda one: times(one["fresh"], 1e6)),
    ]
    head = ("", *(f"{count} nodes" for count in found))
    print(
        markdown(
            head, [(t, *(show(one) for one in found.values())) for t, show in rows]
        )
    )


def times(found: Mapping[str, float], factor: float = 1.0) -> str:
    """Return a median, with least and greatest, in another unit."""
    digits = 2 if factor > 1 else 0
    return span({name: factor * value for name, value in found.items()}, digits)


if __name__ == "__main__":
    raise SystemExit(main())
