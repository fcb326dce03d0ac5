"""Placement at scale: `python -m bench.placement`. No servers, no network.

What ranking the nodes costs, how evenly objects lie, and what moves when a node joins
or leaves. Everything that is compared is measured in turns; shown is the median of the
rounds, with the least and the greatest.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bench.processes import conclude, machine
from bench.scatter import SIZES, by_law, count_keys, count_moves, node_names
from bench.stats import markdown, over_rounds, span
from hashing import Ranker

NODE_COUNTS = (3, 10, 100, 1000)
SIMULATED_NODES = 1000
LAW_KEYS = (10_000_000, 1_000_000_000)
LAW_TRIALS = 1000
MEASURED_SECONDS = 0.02
"""How long one case is run in one round."""
KEYS = [f"store/{number:x}".encode() for number in range(2**30, 2**30 + 500)]

Rank = Callable[[bytes], object]


def main() -> int:
    """Measure, print, and maybe write JSON."""
    options = parse_options()
    result: dict[str, Any] = {"machine": machine(), "options": vars(options)}
    for name, part in PARTS.items():
        if options.only in (None, name):
            result[name] = part(options)
    conclude(result, options.json)
    print_all(result)
    return 0


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.placement")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--keys", type=int, default=10_000_000, help="that are ranked")
    parser.add_argument("--moved-keys", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", choices=PARTS, help="do one part")
    parser.add_argument("--json", metavar="FILE", help="write all figures there")
    return parser.parse_args()


# What a lookup costs


def measure_cost(options: argparse.Namespace) -> dict[str, Any]:
    """Return CPU seconds for a lookup, by case and number of nodes."""
    cases = {
        (title, count): rank
        for count in NODE_COUNTS
        for title, rank in cases_of(node_names(count)).items()
    }
    raw: dict[tuple[str, int], list[float]] = {case: [] for case in cases}
    for number in range(options.rounds):
        for case in list(cases)[:: 1 if number % 2 else -1]:
            raw[case].append(seconds_each(cases[case]))
    result: dict[str, Any] = {}
    for (title, count), values in raw.items():
        result.setdefault(title, {})[str(count)] = over_rounds(values)
    return result


def cases_of(names: Sequence[str]) -> dict[str, Rank]:
    """Return what is measured for these nodes."""
    rng = random.Random(1)
    equal = dict.fromkeys(names, 1.0)
    rankers = {
        "equal weights": Ranker(equal),
        "two weights": Ranker({name: 1.0 + int(name[-1]) % 2 for name in names}),
        "all weights different": Ranker({name: rng.uniform(1, 9) for name in names}),
        "three groups": Ranker(equal, {name: f"g{hash_of(name)}" for name in names}),
    }
    cases: dict[str, Rank] = {
        f"{title}, first {count}": first_of(ranker, count)
        for title, ranker in rankers.items()
        for count in (1, 3)
    }
    cases["equal weights, all"] = rankers["equal weights"].rank
    cases["equal weights, blake2b, first 1"] = blake2b_first(names)
    return cases


def first_of(ranker: Ranker, count: int) -> Rank:
    """Return what finds the first so many nodes."""
    first = ranker.first
    return lambda key: first(key, count)


def hash_of(name: str) -> int:
    """Return one of three groups."""
    return int(name.rpartition("-")[2]) % 3


def blake2b_first(names: Sequence[str]) -> Rank:
    """Return what finds the best node by a hash of the standard library."""
    blake2b = hashlib.blake2b
    prefixes = [name.encode() + b"/" for name in names]

    def rank(key: bytes) -> str:
        digests = [blake2b(p + key, digest_size=8).digest() for p in prefixes]
        return names[digests.index(max(digests))]

    return rank


def seconds_each(rank: Rank) -> float:
    """Return the CPU seconds of one lookup."""
    lookups = 0
    begin = now = time.thread_time()
    while now - begin < MEASURED_SECONDS:
        some = KEYS[lookups % len(KEYS) :][:20]
        for key in some:
            rank(key)
        lookups += len(some)
        now = time.thread_time()
    return (now - begin) / lookups


# The parts, and how they are printed


def simulate(options: argparse.Namespace) -> dict[str, Any]:
    """Rank every key."""
    return count_keys(SIMULATED_NODES, options.keys, options.workers)


def simulate_moves(options: argparse.Namespace) -> dict[str, Any]:
    """Rank every key, before and after."""
    return count_moves(SIMULATED_NODES, options.moved_keys, options.workers)


def draw_by_law(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Rank no key."""
    return [
        by_law(SIMULATED_NODES, keys, sizes, LAW_TRIALS)
        for keys in LAW_KEYS
        for sizes in SIZES
    ]


def print_all(result: Mapping[str, Any]) -> None:
    """Write all tables."""
    for name, show in TABLES.items():
        if name in result:
            print()
            show(result[name])


def print_cost(cost: Mapping[str, Any]) -> None:
    """Write what a lookup costs."""
    print("Microseconds for a lookup")
    rows = [
        (title, *(span(micro(found[str(count)])) for count in NODE_COUNTS))
        for title, found in cost.items()
    ]
    print(markdown(("", *(f"{count} nodes" for count in NODE_COUNTS)), rows))


def micro(found: Mapping[str, float]) -> dict[str, float]:
    """Return seconds as microseconds."""
    return {name: 1e6 * value for name, value in found.items()}


def print_balance(found: Mapping[str, Any]) -> None:
    """Write how evenly the ranked keys lie."""
    print(f"{found['keys']:,} keys ranked over {found['nodes']} nodes")
    shown = {
        "objects": found["balance"]
        | {"expected deviation": found["expected deviation"]}
    }
    shown |= {f"bytes, {title}": one for title, one in found["bytes"].items()}
    columns = ("max", "min", "deviation", "expected deviation")
    rows = [
        (title, *(f"{one[column]:.5f}" for column in columns))
        for title, one in shown.items()
    ]
    print(markdown(("by the mean", *columns), rows))
    print(f"chi-square {found['chi-square']:.0f}, chance of more {found['p']:.2f}")
    print("chi-squares of batches:", json.dumps(found.get("batches")))


def print_law(found: Sequence[Mapping[str, Any]]) -> None:
    """Write what the law says."""
    print(f"By the law alone, {LAW_TRIALS} draws: median (1 % - 99 %)")
    rows = [
        (
            f"{one['keys']:,}",
            one["sizes"],
            f"{one['deviation']:.5f}",
            *(
                f"{q['median']:.5f} ({q['1 %']:.5f}-{q['99 %']:.5f})"
                for q in (one["max"], one["min"])
            ),
        )
        for one in found
    ]
    print(markdown(("keys", "sizes", "deviation", "max/mean", "min/mean"), rows))


def print_moves(found: Mapping[str, Any]) -> None:
    """Write what moves."""
    print(f"{found['keys']:,} keys ranked again, {found['nodes']} nodes and one that")
    rows = []
    for name in ("joins", "leaves"):
        one = found[name]
        shares = [one["objects"], one["copies"], *list(one["bytes"].values())[1:]]
        cells = [f"{100 * share:.4f} %" for share in (one["expected"], *shares)]
        rows.append((name, *cells, str(one["strays"])))
    head = (
        "",
        "expected",
        "objects",
        "copies of two",
        *(f"bytes, {s.title}" for s in SIZES[1:]),
    )
    print(markdown((*head, "strays"), rows))


PARTS: dict[str, Callable[[argparse.Namespace], Any]] = {
    "cost": measure_cost,
    "balance": simulate,
    "law": draw_by_law,
    "moves": simulate_moves,
}
TABLES: dict[str, Callable[[Any], None]] = {
    "cost": print_cost,
    "balance": print_balance,
    "law": print_law,
    "moves": print_moves,
}


if __name__ == "__main__":
    raise SystemExit(main())
