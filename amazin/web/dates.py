"""HTTP dates, parsed strictly: an invalid date is ignored, never guessed. Pure.

Source: RFC 9110 section 5.6.7.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache

_MONTHS = "Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec"
_MONTH_NAMES = _MONTHS.split("|")
_MONTH = rf"(?P<month>{_MONTHS})"
_TIME = r"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_DAY = f"(?:{'|'.join(_DAYS)})"
_LONG_DAY = "(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day"
_FORMS = (
    re.compile(
        rf"{_DAY}, (?P<day>[0-9]{{2}}) {_MONTH} (?P<year>[0-9]{{4}}) {_TIME} GMT"
    ),
    re.compile(
        rf"{_LONG_DAY}, (?P<day>[0-9]{{2}})-{_MONTH}-(?P<year>[0-9]{{2}}) {_TIME} GMT"
    ),
    re.compile(rf"{_DAY} {_MONTH} (?P<day>[0-9 ][0-9]) {_TIME} (?P<year>[0-9]{{4}})"),
)
"""The formats IMF-fixdate, RFC 850 and asctime."""


@lru_cache(1024)
def http_date(seconds: int) -> str:
    """Return Unix seconds as an HTTP date."""
    year, month, day, hour, minute, second, weekday, *_ = time.gmtime(seconds)
    return (
        f"{_DAYS[weekday]}, {day:02d} {_MONTH_NAMES[month - 1]} {year:04d} "
        f"{hour:02d}:{minute:02d}:{second:02d} GMT"
    )


def this_year() -> int:
    """Return the current year."""
    return datetime.now(UTC).year


def parse_date(text: str, current_year: Callable[[], int] = this_year) -> int | None:
    """Return an HTTP date as Unix seconds; None if it is malformed."""
    for form in _FORMS:
        if found := form.fullmatch(text.strip()):
            break
    else:
        return None
    year = int(found["year"])
    if len(found["year"]) == 2:
        year = full_year(year, current_year())
    month = _MONTH_NAMES.index(found["month"]) + 1
    day, hour, minute = int(found["day"]), int(found["hour"]), int(found["minute"])
    second = 59 if found["second"] == "60" else int(found["second"])  # a leap second
    try:
        moment = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None
    return int(moment.timestamp())


def full_year(two_digits: int, current_year: int) -> int:
    """Return the year for two digits: at most 50 years ahead, else in the past."""
    year = current_year - current_year % 100 + two_digits
    return year - 100 if year > current_year + 50 else year
