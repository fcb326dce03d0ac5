"""What the gateway is meant to reach, and whether it did.

Everything is compared with what was measured in the same round of the same run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.gateways import GRANIAN, GTHREAD, GUNICORN
from bench.stats import over_rounds, span

MET, UNCLEAR, MISSED = "met", "spread includes", "missed"
FAULTY, ABSENT = "errors", "not measured"
LIMITS = {GUNICORN: (230, 0.45), GRANIAN: (140, 0.65)}
"""CPU per small GET in us, and its rate as a multiple of nginx's."""
PROXIES, NODE = ("nginx", "haproxy"), "node"
DOUBLED = f"{GUNICORN} r=2"
OURS = (GUNICORN, GRANIAN, DOUBLED)
MIB = 1024 * 1024

Result = Mapping[str, Any]
Round = Mapping[str, Any]


@dataclass(frozen=True)
class Target:
    """A limit, and what each round came to."""

    work: str
    limit: float
    unit: str
    """What the figures are, or are multiples of."""
    values: Sequence[float]
    is_most: bool = False
    """Whether the limit is the most that is allowed; else the least."""
    digits: int = 2

    @property
    def verdict(self) -> str:
        """Met or missed in all rounds; else the spread includes the limit.

        A figure beside errors counts for nothing: it is not a number.
        """
        if not self.values:
            return ABSENT
        if any(map(math.isnan, self.values)):
            return FAULTY
        kept = [
            value <= self.limit if self.is_most else value >= self.limit
            for value in self.values
        ]
        if all(kept):
            return MET
        return UNCLEAR if any(kept) else MISSED

    @property
    def row(self) -> tuple[str, str, str, str]:
        """Work, target, what was measured, verdict."""
        sign = "<=" if self.is_most else ">="
        good = [value for value in self.values if not math.isnan(value)]
        measured = span(over_rounds(good), self.digits) if good else ""
        return self.work, f"{sign} {self.limit:g} {self.unit}", measured, self.verdict


def find_targets(result: Result) -> list[Target]:
    """Return the targets of all parts that were measured."""
    main = result.get("main", {})
    return [*small_targets(main), *large_targets(main), *other_targets(result)]


def figures(cells: Result, cell: str, name: str, figure: str) -> list[float]:
    """Return a figure of each round of the comparison; empty if it is not there."""
    return of_rounds(cells[cell].get(name, []), figure)


def of_rounds(rounds: Sequence[Round], figure: str) -> list[float]:
    """Return a figure of each round; not a number where there were errors."""
    return [math.nan if one["errors"] else one[figure] for one in rounds]


def paired(
    calculate: Callable[[float, float], float],
    first: Sequence[float],
    second: Sequence[float],
) -> list[float]:
    """Return what is calculated of two figures of each round, if both are there."""
    if not first or not second:
        return []
    return [calculate(a, b) for a, b in zip(first, second, strict=True)]


def ratios(first: Sequence[float], second: Sequence[float]) -> list[float]:
    """Return the first figures as multiples of the second, round by round."""
    return paired(lambda a, b: a / b if b else math.nan, first, second)


def small_targets(cells: Result) -> Iterator[Target]:
    """Yield the targets for objects of 1 KiB."""
    get, one, put = "GET 1 KiB, 16", "GET 1 KiB, 1", "PUT 1 KiB, 16"
    for server, (cpu_limit, rate_limit) in LIMITS.items() if get in cells else ():
        cpu = [1e6 * used for used in figures(cells, get, server, "cpu")]
        work = f"{get} connections, {server}"
        yield Target(work, cpu_limit, "us CPU a request", cpu, True, 0)
        rates = [figures(cells, get, name, "rate") for name in (server, "nginx")]
        yield Target(work, rate_limit, "x nginx", ratios(*rates))
    for server in LIMITS if one in cells else ():
        both = (figures(cells, one, name, "p50") for name in (server, "nginx"))
        more = paired(lambda a, b: 1e6 * (a - b), *both)
        unit = "us more than nginx, p50"
        yield Target(f"{one} connection, {server}", 200, unit, more, True, 0)
    for server in LIMITS if put in cells else ():
        rates = [figures(cells, put, name, "rate") for name in (server, NODE)]
        work = f"{put} connections, {server}"
        yield Target(work, 0.85, "x the node itself", ratios(*rates))
    for peer in set(cells.get(get, ())) - {*PROXIES, NODE, *OURS}:
        for server in LIMITS:
            rates = [figures(cells, get, name, "rate") for name in (server, peer)]
            yield Target(
                f"{get} connections, {server}", 2.5, f"x {peer}", ratios(*rates)
            )


def large_targets(cells: Result) -> Iterator[Target]:
    """Yield the targets for objects of 256 MiB."""
    for server in LIMITS:
        for method, limits in (
            ("GET", {"haproxy": 1.2, NODE: 0.85}),
            ("PUT", {NODE: 0.97}),
        ):
            for streams in (1, 4):
                cell = f"{method} 256 MiB, {streams}"
                if cell not in cells:
                    continue
                mine = figures(cells, cell, server, "rate")
                for name, limit in limits.items():
                    values = ratios(mine, figures(cells, cell, name, "rate"))
                    unit = f"x {name}" if name != NODE else "x the node itself"
                    yield Target(f"{cell}, {server}", limit, unit, values)


def other_targets(result: Result) -> Iterator[Target]:
    """Yield the targets of the other parts."""
    if memory := result.get("memory"):
        for server in OURS:
            loads = [v for k, v in memory.get(server, {}).items() if k != "idle"]
            peaks = [
                max(of_rounds(rounds, "peak")) / MIB
                for rounds in zip(*loads, strict=True)
            ]
            work = f"peak memory over idle, 16 streams, {server}"
            yield Target(work, 32, "MiB a process", peaks, True, 1)
    if slow := result.get("slow"):
        for server in (GUNICORN, GTHREAD, GRANIAN):
            states = slow.get(server, {})
            times = [of_rounds(states.get(s, []), "p99") for s in ("with", "without")]
            work = f"slow clients connected, p99 of others, {server}"
            yield Target(work, 2, "x without them", ratios(*times), True)
    if nodes := result.get("nodes"):
        for server in LIMITS:
            for cell in next(iter(nodes.values())):
                counts = nodes.get(server, {}).get(cell, {})
                rates = [of_rounds(counts.get(n, []), "rate") for n in ("100", "3")]
                work = f"100 nodes instead of 3, {cell}, {server}"
                yield Target(work, 0.95, "x", ratios(*rates))
