"""Figures of several rounds: their middle, their spread, and how they are written."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence


def percentile(values: Iterable[float], share: float) -> float:
    """Return the value that so large a share is not above; 0.0 of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def over_rounds(values: Sequence[float]) -> dict[str, float]:
    """Return median, least and greatest of what was measured once a round."""
    return {
        "median": statistics.median(values),
        "min": min(values),
        "max": max(values),
    }


def span(found: Mapping[str, float], digits: int = 2) -> str:
    """Return a median, with least and greatest."""
    middle, least, most = (
        f"{found[name]:.{digits}f}" for name in ("median", "min", "max")
    )
    return f"{middle} ({least}-{most})"


def milli(found: Mapping[str, float]) -> str:
    """Return seconds as milliseconds."""
    return span({name: 1000 * value for name, value in found.items()})


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; its columns are as wide as what is in them."""
    lines = [list(head), *map(list, rows)]
    widths = [max(len(line[n]) for line in lines) for n in range(len(head))]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |"
        for line in lines
    )
