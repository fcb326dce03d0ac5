"""Lengths of time in the words of Go: `1h30m`, `500ms`. Pure, and exact.

Source: Go, package time, `ParseDuration`.
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
    """Return the seconds; None if it is no duration, or a negative one."""
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
