"""What the gateway is meant to reach, and whether it did.

Everything is compared with what was measured in the same round of the same run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.gateways import GRANIAN, GUNICORN
from bench.stats import over_rounds, span

MET, UNCLEAR, MISSED = "met", "spread includes", "missed"
LIMITS = {GUNICORN: (230, 0.45), GRANIAN: (140, 0.65)}
"""CPU per small GET in us, and its rate as a multiple of nginx's."""
MIB = 1024 * 1024

Result = Mapping[str, Any]


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
        """Met or missed in all rounds; else the spread includes the limit."""
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
        measured = span(over_rounds(self.values), self.digits)
        return self.work, f"{sign} {self.limit:g} {self.unit}", measured, self.verdict


def find_targets(result: Result) -> list[Target]:
    """Return the targets of all parts that were measured."""
    found = [*small_targets(result), *large_targets(result), *other_targets(result)]
    return [target for target in found if target.values]


def figures(result: Result, cell: str, name: str, figure: str) -> list[float]:
    """Return a figure of each round; empty if it was not measured."""
    rounds = result.get("main", {}).get(cell, {}).get(name, [])
    return [one[figure] for one in rounds]


def ratios(first: Sequence[float], second: Sequence[float]) -> list[float]:
    """Return the first figures as multiples of the second, round by round."""
    return [a / b for a, b in zip(first, second, strict=False) if b]


def small_targets(result: Result) -> Iterator[Target]:
    """Yield the targets for objects of 1 KiB."""
    get, one, put = "GET 1 KiB, 16", "GET 1 KiB, 1", "PUT 1 KiB, 16"
    for server, (cpu_limit, rate_limit) in LIMITS.items():
        cpu = [1e6 * used for used in figures(result, get, server, "cpu")]
        work = f"{get} connections, {server}"
        yield Target(work, cpu_limit, "us CPU a request", cpu, True, 0)
        rates = [figures(result, get, name, "rate") for name in (server, "nginx")]
        yield Target(work, rate_limit, "x nginx", ratios(*rates))
    for server in LIMITS:
        mine, nginx = (figures(result, one, n, "p50") for n in (server, "nginx"))
        more = [1e6 * (a - b) for a, b in zip(mine, nginx, strict=False)]
        unit = "us more than nginx, p50"
        yield Target(f"{one} connection, {server}", 200, unit, more, True, 0)
    for server in LIMITS:
        rates = [figures(result, put, name, "rate") for name in (server, "node")]
        work = f"{put} connections, {server}"
        yield Target(work, 0.85, "x the node itself", ratios(*rates))


def large_targets(result: Result) -> Iterator[Target]:
    """Yield the targets for objects of 256 MiB."""
    for server in LIMITS:
        for method, limits in (
            ("GET", {"haproxy": 1.2, "node": 0.85}),
            ("PUT", {"node": 0.97}),
        ):
            for streams in (1, 4):
                cell = f"{method} 256 MiB, {streams}"
                mine = figures(result, cell, server, "rate")
                for name, limit in limits.items():
                    values = ratios(mine, figures(result, cell, name, "rate"))
                    unit = f"x {name}" if name != "node" else "x the node itself"
                    yield Target(f"{cell}, {server}", limit, unit, values)


def other_targets(result: Result) -> Iterator[Target]:
    """Yield the targets of the other parts."""
    for server, found in result.get("memory", {}).items():
        peaks = [one["peak"] / MIB for title, one in found.items() if title != "idle"]
        work = f"peak memory over idle, 16 streams, {server}"
        yield Target(work, 32, "MiB a process", [max(peaks)], True, 1)
    for server, found in result.get("slow", {}).items():
        times = [[one["p99"] for one in found[k]] for k in ("with", "without")]
        work = f"1000 slow clients, p99 of others, {server}"
        yield Target(work, 2, "x without them", ratios(*times), True)
    for server, cells in result.get("nodes", {}).items():
        for cell, found in cells.items():
            rates = [[one["rate"] for one in found[count]] for count in ("100", "3")]
            work = f"100 nodes instead of 3, {cell}, {server}"
            yield Target(work, 0.95, "x", ratios(*rates))
