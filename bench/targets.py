"""What the gateway is meant to reach, and whether it did.

Everything is compared with what was measured in the same round of the same run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.gateways import GTHREAD, GUNICORN
from bench.stats import over_rounds, span

MET, UNCLEAR, MISSED = "met", "spread includes", "missed"
FAULTY, ABSENT = "errors", "not measured"
PROXIES, NODE = ("nginx", "haproxy"), "node"
DOUBLED = f"{GUNICORN} r=2"
OURS = (GUNICORN, DOUBLED)
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
    if get in cells:
        work = f"{get} connections, {GUNICORN}"
        cpu = [1e6 * used for used in figures(cells, get, GUNICORN, "cpu")]
        yield Target(work, 230, "us CPU a request", cpu, True, 0)
        yield Target(work, 0.45, "x nginx", rate_ratios(cells, get, "nginx"))
    if one in cells:
        both = (figures(cells, one, name, "p50") for name in (GUNICORN, "nginx"))
        more = paired(lambda a, b: 1e6 * (a - b), *both)
        unit = "us more than nginx, p50"
        yield Target(f"{one} connection, {GUNICORN}", 200, unit, more, True, 0)
    if put in cells:
        work = f"{put} connections, {GUNICORN}"
        yield Target(work, 0.85, "x the node itself", rate_ratios(cells, put, NODE))
    for peer in set(cells.get(get, ())) - {*PROXIES, NODE, *OURS}:
        work = f"{get} connections, {GUNICORN}"
        yield Target(work, 2.5, f"x {peer}", rate_ratios(cells, get, peer))


def rate_ratios(cells: Result, cell: str, other: str) -> list[float]:
    """Return the gateway's rates as multiples of another's, round by round."""
    return ratios(*(figures(cells, cell, name, "rate") for name in (GUNICORN, other)))


def large_targets(cells: Result) -> Iterator[Target]:
    """Yield the targets for objects of 256 MiB."""
    for method, limits in (
        ("GET", {"haproxy": 1.2, NODE: 0.85}),
        ("PUT", {NODE: 0.97}),
    ):
        for streams in (1, 4):
            cell = f"{method} 256 MiB, {streams}"
            for name, limit in limits.items() if cell in cells else ():
                values = rate_ratios(cells, cell, name)
                unit = f"x {name}" if name != NODE else "x the node itself"
                yield Target(f"{cell}, {GUNICORN}", limit, unit, values)


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
        for server in (GUNICORN, GTHREAD):
            states = slow.get(server, {})
            times = [of_rounds(states.get(s, []), "p99") for s in ("with", "without")]
            work = f"slow clients connected, p99 of others, {server}"
            yield Target(work, 2, "x without them", ratios(*times), True)
    for cell, counts in result.get("nodes", {}).items():
        rates = [of_rounds(counts.get(n, []), "rate") for n in ("100", "3")]
        work = f"100 nodes instead of 3, {cell}, {GUNICORN}"
        yield Target(work, 0.95, "x", ratios(*rates))
