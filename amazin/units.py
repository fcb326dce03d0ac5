"""Quantities as text: lengths of time, numbers of bytes, counts of things. Pure.

Source of `1h30m`, `500ms`: Go, package time, `ParseDuration`.
"""

from __future__ import annotations

import re
from fractions import Fraction

MOST_CHARACTERS = 64
_NANOSECONDS = {
    "ns": 1,
    "us": 10**3,
    "\u00b5s": 10**3,
    "\u03bcs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
_TERM = re.compile(r"([0-9]{1,18}\.?[0-9]{0,18}|\.[0-9]{1,18})([a-z\u00b5\u03bc]{1,2})")


def parse_duration(text: str) -> Fraction | None:
    """Return the duration in seconds; None if the text is invalid or negative."""
    unsigned = text.removeprefix("+")
    if not 1 <= len(unsigned) <= MOST_CHARACTERS:
        return None
    total, position = Fraction(0), 0
    while position < len(unsigned):
        term = _TERM.match(unsigned, position)
        if not term or term[2] not in _NANOSECONDS:
            return None
        total += Fraction("0" + term[1]) * _NANOSECONDS[term[2]]
        position = term.end()
    return total / 10**9


SIZE_UNITS = {
    "": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
    "TIB": 2**40,
}
MOST_SECONDS = 10**7
"""Longer times are taken for mistakes: sockets and timers refuse them."""


def duration(value: str) -> float:
    """Parse seconds: a number, or a duration as Go writes it (`1m30s`, `500ms`)."""
    if re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", value):
        return float(value)
    total = parse_duration(value)
    if total is None or total > MOST_SECONDS:
        raise ValueError("expected seconds: a number, or as 30s, 1m30s, 500ms")
    return float(total)


def seconds(value: str) -> float:
    """Parse a duration above 0."""
    try:
        found = duration(value)
    except ValueError:
        found = 0.0
    if not found:
        raise ValueError(
            "expected a number of seconds above 0, or as 30s, 1m30s, 500ms"
        )
    return found


def size(value: str) -> int:
    """Parse bytes: a whole number, or one with a unit."""
    match = re.fullmatch(r"([0-9]{1,18}) ?([A-Za-z]*)", value)
    if not match or match[2].upper() not in SIZE_UNITS:
        raise ValueError(
            "expected bytes: a whole number, or one with KB, MiB, GiB, ..."
        )
    return int(match[1]) * SIZE_UNITS[match[2].upper()]


def counted(count: int, noun: str) -> str:
    """Return a count with its noun: `1 copy`, `2 copies`."""
    if count == 1:
        return f"1 {noun}"
    return f"{count} {noun[:-1]}ies" if noun.endswith("y") else f"{count} {noun}s"
