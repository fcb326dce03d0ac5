"""Lengths of time, sizes and counts, as people write and read them."""

from __future__ import annotations

from fractions import Fraction

import pytest

from amazin.units import (
    MOST_CHARACTERS,
    MOST_SECONDS,
    counted,
    duration,
    parse_duration,
    seconds,
    size,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0s", 0),
        ("1h30m", 5400),
        ("500ms", Fraction(1, 2)),
        ("1.5h", 5400),
        (".5s", Fraction(1, 2)),
        ("1.s", 1),
        ("+2m", 120),
        ("1us", Fraction(1, 10**6)),
        ("1\u00b5s1\u03bcs", Fraction(2, 10**6)),
        ("1ns", Fraction(1, 10**9)),
    ],
)
def test_a_duration_is_read_exactly(text: str, expected: Fraction) -> None:
    assert parse_duration(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "+", "1", "-1s", "1d", "1 s", "s", ".s", "1s ", "\u0661s", "1e3s", "++1s"],
)
def test_what_is_no_duration_is_none(text: str) -> None:
    assert parse_duration(text) is None


def test_a_long_text_is_no_duration() -> None:
    assert parse_duration("1s" * (MOST_CHARACTERS // 2)) == MOST_CHARACTERS // 2
    assert parse_duration("1s" * (MOST_CHARACTERS // 2) + "1s") is None


@pytest.mark.parametrize(("text", "expected"), [("30", 30), ("0.5", 0.5), ("1m", 60)])
def test_seconds_are_a_number_or_a_duration(text: str, expected: float) -> None:
    assert duration(text) == seconds(text) == expected


def test_no_time_is_a_duration_but_no_seconds() -> None:
    assert duration("0") == duration("0s") == 0
    for text in ("0", "0s", "abc", "-1"):
        with pytest.raises(ValueError, match="above 0"):
            seconds(text)


def test_a_time_of_months_is_taken_for_a_mistake() -> None:
    assert duration(f"{MOST_SECONDS}s") == MOST_SECONDS
    for text in (f"{MOST_SECONDS + 1}s", "1234567", "inf", "nan"):
        with pytest.raises(ValueError, match="expected seconds"):
            duration(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0", 0), ("7", 7), ("1KB", 1000), ("1 KiB", 1024), ("5gib", 5 * 2**30)],
)
def test_a_size_is_bytes_or_has_a_unit(text: str, expected: int) -> None:
    assert size(text) == expected


@pytest.mark.parametrize("text", ["", "1.5MB", "-1", "1 XB", "1  KB", "KB", "\u0661"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected bytes"):
        size(text)


def test_counts_agree_with_their_nouns() -> None:
    found = [counted(count, noun) for noun in ("node", "copy") for count in (0, 1, 2)]
    assert found == ["0 nodes", "1 node", "2 nodes", "0 copies", "1 copy", "2 copies"]
