"""Preconditions and ranges, as the tables of RFC 9110 sections 13 and 14 have them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from amazin.errors import HTTPError
from amazin.model.objects import ObjectInfo
from amazin.web.conditions import (
    Conditions,
    EntityTag,
    NotModified,
    last_modified,
    parse_tags,
    selected_range,
)
from amazin.web.dates import full_year, http_date, parse_date
from tests.support.app import an_object

IMF, RFC_850, ASCTIME = (
    "Sun, 06 Nov 1994 08:49:37 GMT",
    "Sunday, 06-Nov-94 08:49:37 GMT",
    "Sun Nov  6 08:49:37 1994",
)
EARLIER, LATER = "Sun, 06 Nov 1994 08:49:36 GMT", "Sun, 06 Nov 1994 08:49:38 GMT"
SECONDS = 784_111_777


def headers(given: dict[str, str]) -> Callable[[str], str | None]:
    """Return a lookup as `Request.header` is one."""
    return given.get


def judge(given: dict[str, str], info: ObjectInfo | None = None) -> int:
    """Return the status that these conditions lead to."""
    info = info or an_object()
    try:
        Conditions(headers(given)).check(info)
    except NotModified as answer:
        assert answer.info == info
        return 304
    except HTTPError as error:
        return error.status
    return 200


# Dates


@pytest.mark.parametrize("text", [IMF, RFC_850, ASCTIME, f" {IMF} "])
def test_three_forms_of_dates_are_read(text: str) -> None:
    assert parse_date(text) == SECONDS


@pytest.fixture
def far_east(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine that does not run in UTC."""
    with monkeypatch.context() as changes:
        changes.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("far_east")
def test_the_time_zone_of_the_machine_does_not_matter() -> None:
    assert [parse_date(text) for text in (IMF, RFC_850, ASCTIME)] == [SECONDS] * 3


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "0",
        "784111777",
        "1994-11-06T08:49:37Z",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 +0000",
        "Sun, 06 Nov 1994 08:49:37 PST",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "Sun, 31 Feb 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 24:00:00 GMT",
        "Sun, 06 Nov 1994 08:49:61 GMT",
        "Sun, 06 Nov 0000 08:49:37 GMT",
        "sun, 06 nov 1994 08:49:37 gmt",
        "Sun, ٠٦ Nov 1994 08:49:37 GMT",
        f"{IMF}, {IMF}",
        "x" * 5000,
    ],
)
def test_what_is_no_http_date_is_none(text: str) -> None:
    assert parse_date(text) is None


def test_a_leap_second_is_a_date() -> None:
    assert parse_date("Sat, 31 Dec 2016 23:59:60 GMT") == 1_483_228_799


def test_two_digits_of_a_year_lie_at_most_fifty_years_ahead() -> None:
    assert (full_year(94, 2026), full_year(26, 2026)) == (1994, 2026)
    assert (full_year(76, 2026), full_year(77, 2026)) == (2076, 1977)
    assert parse_date(RFC_850, current_year=lambda: 2094) == parse_date(
        "Sat, 06 Nov 2094 08:49:37 GMT"
    )


# Lists of tags


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        ('"a"', [EntityTag("a")]),
        ('""', [EntityTag("")]),
        ('W/"a"', [EntityTag("a", is_weak=True)]),
        ('"a", W/"b","c"', [EntityTag("a"), EntityTag("b", True), EntityTag("c")]),
        (' , "a" ,\t, "b" , ', [EntityTag("a"), EntityTag("b")]),
        ('"a,b"', [EntityTag("a,b")]),
        ('"\xe9!#~"', [EntityTag("\xe9!#~")]),
        ("*", None),
        (" * ", None),
    ],
)
def test_lists_of_tags(text: str, tags: list[EntityTag] | None) -> None:
    assert parse_tags(text) == tags


@pytest.mark.parametrize(
    "text",
    [
        "",
        ",",
        "a",
        '"a',
        'a"',
        '"a" "b"',
        'w/"a"',
        'W /"a"',
        '"a b"',
        '*, "a"',
        "**",
        '"a";q=1',
        '"a"\x00',
        '"a"' + "," * 50_000 + "x",
        '"' * 9999,
    ],
    ids=ascii,
)
def test_a_malformed_list_of_tags_is_400(text: str) -> None:
    with pytest.raises(HTTPError) as refusal:
        parse_tags(text)
    assert (refusal.value.status, refusal.value.code) == (400, "InvalidCondition")


# The order of RFC 9110 section 13.2.2. The object: ETag "abc", modified at IMF.


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({}, 200),
        ({"If-Match": '"abc"'}, 200),
        ({"If-Match": '"x", "abc"'}, 200),
        ({"If-Match": "*"}, 200),
        ({"If-Match": '"x"'}, 412),
        ({"If-Match": '""'}, 412),
        ({"If-Match": 'W/"abc"'}, 412),  # compared strongly
        ({"If-Match": '"ABC"'}, 412),
        ({"If-Match": "abc"}, 400),
        ({"If-None-Match": '"abc"'}, 304),
        ({"If-None-Match": 'W/"abc"'}, 304),  # compared weakly
        ({"If-None-Match": '"x" , W/"abc"'}, 304),
        ({"If-None-Match": "*"}, 304),
        ({"If-None-Match": '"x", "y"'}, 200),
        ({"If-None-Match": "abc"}, 400),
        ({"If-Modified-Since": IMF}, 304),
        ({"If-Modified-Since": RFC_850}, 304),
        ({"If-Modified-Since": ASCTIME}, 304),
        ({"If-Modified-Since": LATER}, 304),
        ({"If-Modified-Since": EARLIER}, 200),
        ({"If-Modified-Since": "yesterday"}, 200),
        ({"If-Modified-Since": ""}, 200),
        ({"If-Unmodified-Since": IMF}, 200),
        ({"If-Unmodified-Since": LATER}, 200),
        ({"If-Unmodified-Since": EARLIER}, 412),
        ({"If-Unmodified-Since": "tomorrow"}, 200),
        # A tag makes the date of its pair void.
        ({"If-Match": '"abc"', "If-Unmodified-Since": EARLIER}, 200),
        ({"If-Match": '"x"', "If-Unmodified-Since": LATER}, 412),
        ({"If-None-Match": '"x"', "If-Modified-Since": LATER}, 200),
        ({"If-None-Match": '"abc"', "If-Modified-Since": EARLIER}, 304),
        # 412 goes before 304, and both pairs count.
        ({"If-Match": '"x"', "If-None-Match": '"abc"'}, 412),
        ({"If-Match": '"abc"', "If-None-Match": '"abc"'}, 304),
        ({"If-Match": '"abc"', "If-None-Match": '"x"'}, 200),
        ({"If-Unmodified-Since": EARLIER, "If-None-Match": '"abc"'}, 412),
        ({"If-Unmodified-Since": LATER, "If-Modified-Since": LATER}, 304),
        ({"If-Match": '"abc"', "If-Modified-Since": LATER}, 304),
    ],
    ids=str,
)
def test_conditions_of_get_and_head(given: dict[str, str], status: int) -> None:
    assert judge(given) == status


@pytest.mark.parametrize(
    ("given", "is_conditional"),
    [({}, False), ({"If-Range": '"a"'}, False), ({"If-Match": ""}, True)]
    + [({name: IMF}, True) for name in ("If-Modified-Since", "If-Unmodified-Since")],
)
def test_which_requests_are_conditional(
    given: dict[str, str], is_conditional: bool
) -> None:
    assert bool(Conditions(headers(given))) == is_conditional


# Conditional uploads


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, (None, False)),
        ({"If-None-Match": "*"}, (None, True)),
        ({"If-None-Match": " * "}, (None, True)),
        ({"If-Match": '"abc"'}, ("abc", False)),
        ({"If-Match": ' "abc" ,'}, ("abc", False)),
    ],
    ids=str,
)
def test_conditions_of_an_upload(
    given: dict[str, str], expected: tuple[str | None, bool]
) -> None:
    assert Conditions(headers(given)).for_upload() == expected


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({"If-None-Match": '"abc"'}, 501),
        ({"If-None-Match": '"abc", "x"'}, 501),
        ({"If-Match": "*"}, 501),
        ({"If-Match": '"a", "b"'}, 501),
        ({"If-Match": 'W/"abc"'}, 501),
        ({"If-Match": '"abc"', "If-None-Match": "*"}, 501),
        ({"If-Modified-Since": IMF}, 501),
        ({"If-Unmodified-Since": IMF}, 501),
        ({"If-Match": '"abc"', "If-Unmodified-Since": IMF}, 501),
        ({"If-Match": '""'}, 412),  # never an upload without a condition
        ({"If-Match": "abc"}, 400),
        ({"If-Match": ""}, 400),
        ({"If-None-Match": ""}, 400),
    ],
    ids=str,
)
def test_conditions_of_an_upload_that_are_refused(
    given: dict[str, str], status: int
) -> None:
    with pytest.raises(HTTPError) as refusal:
        Conditions(headers(given)).for_upload()
    assert refusal.value.status == status


# Ranges


@pytest.mark.parametrize(
    ("text", "size", "expected"),
    [
        ("bytes=0-0", 10, (0, 0)),
        ("bytes=9-9", 10, (9, 9)),
        ("bytes=0-9", 10, (0, 9)),
        ("bytes=2-5", 10, (2, 5)),
        ("bytes=3-", 10, (3, 9)),
        ("bytes=0-", 10, (0, 9)),
        ("bytes=-1", 10, (9, 9)),
        ("bytes=-10", 10, (0, 9)),
        ("bytes=-11", 10, (0, 9)),
        ("bytes=5-10", 10, (5, 9)),
        (f"bytes=5-{'9' * 500}", 10, (5, 9)),
        (f"bytes=-{'9' * 500}", 10, (0, 9)),
        ("bytes=000-001", 10, (0, 1)),
        ("Bytes= 1-2 ", 10, (1, 2)),
        ("bytes=0-0", 1, (0, 0)),
        # What RFC 9110 lets a server ignore.
        ("bytes=0-1,3-4", 10, None),
        ("bytes=0-1,", 10, None),
        ("bytes=5-4", 10, None),
        ("bytes=-", 10, None),
        ("bytes=", 10, None),
        ("bytes=1", 10, None),
        ("bytes=a-b", 10, None),
        ("bytes=1-2x", 10, None),
        ("bytes=--1", 10, None),
        ("bytes=+1-2", 10, None),
        ("bytes=1 - 2", 10, None),
        ("bytes=1-2\n", 10, None),
        ("bytes=\u0661-\u0662", 10, None),
        ("bytes:1-2", 10, None),
        ("items=0-1", 10, None),
        ("0-1", 10, None),
        ("", 10, None),
        (f"bytes={'1' * 5000}-", 10, None),
        # An empty object: its last bytes are all it has, which is nothing.
        ("bytes=-1", 0, None),
    ],
    ids=lambda value: str(value)[:30],
)
def test_ranges(text: str, size: int, expected: tuple[int, int] | None) -> None:
    assert selected_range(headers({"Range": text}), an_object(size)) == expected


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("bytes=10-", 10),
        ("bytes=10-20", 10),
        (f"bytes={'9' * 500}-", 10),
        ("bytes=-0", 10),
        ("bytes=-0", 0),
        ("bytes=0-", 0),
        ("bytes=0-0", 0),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_range_outside_the_object_is_416_with_its_size(text: str, size: int) -> None:
    with pytest.raises(HTTPError) as refusal:
        selected_range(headers({"Range": text}), an_object(size))
    assert refusal.value.status == 416
    assert refusal.value.headers == (("Content-Range", f"bytes */{size}"),)


def test_without_a_range_it_is_the_whole_object() -> None:
    assert selected_range(headers({}), an_object(10)) is None


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ('"abc"', True),
        (' "abc" ', True),
        ('W/"abc"', False),
        ('"x"', False),
        ('"x", "abc"', False),
        ("*", False),
        ("abc", False),
        ("", False),
        (IMF, True),
        (RFC_850, True),
        (ASCTIME, True),
        (EARLIER, False),
        (LATER, False),  # exactly this version, not one since
        ("tomorrow", False),
    ],
)
def test_if_range(condition: str, holds: bool) -> None:
    given = {"Range": "bytes=1-2", "If-Range": condition}
    expected = (1, 2) if holds else None
    assert selected_range(headers(given), an_object(10)) == expected


def test_a_range_that_does_not_count_is_never_416() -> None:
    given = {"Range": "bytes=99-", "If-Range": '"x"'}
    assert selected_range(headers(given), an_object(10)) is None


def test_times_with_fractions_count_as_their_second() -> None:
    info = an_object(modified_ns=SECONDS * 10**9 + 999_999_999)
    Conditions(headers({"If-Unmodified-Since": IMF})).check(info)
    with pytest.raises(NotModified):
        Conditions(headers({"If-Modified-Since": IMF})).check(info)


# Dates of what was stored within this second

FRESH = an_object(modified_ns=4_070_908_800 * 10**9 + 5)
"""Stored in a second that is not over, as by a gateway whose clock is ahead."""
DATE = "Thu, 01 Jan 2099 00:00:00 GMT"
EARLIEST = "Sat, 28 Nov 2026 00:00:00 GMT"


def test_last_modified_is_over_and_not_later_than_the_date_of_the_response() -> None:
    before = int(time.time())
    assert before - 1 <= last_modified(FRESH) < int(time.time())
    assert last_modified(an_object()) == SECONDS


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({"If-Modified-Since": DATE}, 200),
        ({"If-Unmodified-Since": DATE}, 412),
        ({"If-Modified-Since": EARLIEST}, 200),
        ({"If-Unmodified-Since": EARLIEST}, 412),
        ({"If-None-Match": '"abc"', "If-Modified-Since": DATE}, 304),
    ],
)
def test_a_second_that_is_not_over_stands_for_no_version(
    given: dict[str, str], status: int
) -> None:
    assert judge(given, FRESH) == status


def test_no_range_goes_on_with_another_version_of_the_same_second() -> None:
    given = {"Range": "bytes=1-2"}
    for date in (DATE, http_date(last_modified(FRESH))):
        given["If-Range"] = date
        assert selected_range(headers(given), FRESH) is None
    given["If-Range"] = '"abc"'
    assert selected_range(headers(given), FRESH) == (1, 2)
