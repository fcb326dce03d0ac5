"""Stored names: one key's only, in the keys' order, never above another; any key."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amazin.model.names import RESERVED_BUCKETS, check_bucket, check_key
from amazin.model.objects import ROSTER_NAME, ObjectName
from amazin.model.stored_names import (
    FORMS,
    HEX,
    LONG,
    MARKERS,
    PLAIN,
    Form,
    bases,
    bucket_of_marker,
    marker_name,
    room_behind,
    shown,
    stored_name,
)
from tests.support.hostile_keys import KEYS, PIECES, TEXTS, cut, is_taken

BUCKET = "photos"
BASE = f"-o/{BUCKET}/"
LONGEST_BUCKET = "b" * 63


@st.composite
def relatives(draw: st.DrawFn) -> tuple[str, str]:
    """Return two keys, often one of them the other with something behind it."""
    key = draw(KEYS)
    place = draw(st.integers(0, len(key)))
    other = cut(key[:place] + draw(st.sampled_from(PIECES)) + draw(KEYS | st.just("")))
    return key, other


def name_of(key: str, bucket: str = BUCKET) -> str:
    return stored_name(bucket, key)[0].key


def key_of(name: str, headers: Mapping[str, str], bucket: str = BUCKET) -> str | None:
    for base, form in bases(bucket):
        if name.startswith(base):
            return form.decode(name[len(base) :], headers)
    return None


def form_of(name: str) -> Form:
    return FORMS[name.split("/")[2]]


# The three promises.


@given(KEYS, st.sampled_from([BUCKET, LONGEST_BUCKET]))
def test_a_stored_name_is_one_keys_only(key: str, bucket: str) -> None:
    name, headers = stored_name(bucket, key)
    assert name.bucket == "store"
    assert key_of(name.key, headers, bucket) == key


@given(relatives())
def test_names_of_one_form_sort_as_their_keys_do(keys: tuple[str, str]) -> None:
    low, high = sorted(keys, key=str.encode)
    names = [name_of(low), name_of(high)]
    if form_of(names[0]) is not form_of(names[1]) or low == high:
        return
    if form_of(names[0]) is LONG:
        names = [name.rpartition("/")[0] for name in names]
        same = low.encode()[:360] == high.encode()[:360]
        assert (names[0] == names[1]) if same else (names[0] < names[1])
    else:
        assert names[0].encode() < names[1].encode()


@given(relatives())
def test_no_name_is_a_directory_above_another(keys: tuple[str, str]) -> None:
    names = {name_of(key) for key in keys} | {name_of(keys[0] + "/" + keys[1])}
    names |= {marker_name(BUCKET).key, marker_name(BUCKET + ".x").key, "id12"}
    for name in names:
        assert not any(other.startswith(name + "/") for other in names)


# What nodes take.


@given(KEYS, st.sampled_from([BUCKET, LONGEST_BUCKET]))
def test_every_node_takes_a_name(key: str, bucket: str) -> None:
    name = name_of(key, bucket)
    assert is_taken(name)
    assert len(name.encode()) <= 1024
    assert not re.search("[\x00-\x1f\x7f\ufffe\uffff]", name)
    *directories, last = name.split("/")
    assert last.endswith(" ")
    for directory in directories:
        assert not directory.endswith((" ", "__XLDIR__"))
        assert directory not in ("", "xl.meta", "xl.json", ".sgwtmp")
    assert all(len(segment.encode()) <= 255 for segment in name.split("/"))


@given(KEYS.filter(lambda key: len(key) > 9), KEYS)
def test_no_name_leaves_its_bucket(key: str, other: str) -> None:
    assert name_of(key).startswith(BASE)
    assert name_of(other, "other").startswith("-o/other/")


# The format, pinned.

GOLDEN = {
    "a": "k/a ",
    "a/b": "k/a/b ",
    "a ": "k/a  ",
    " a": "k/ a ",
    "...": "k/... ",
    "é/%2F+?#&.txt": "k/é/%2F+?#&.txt ",
    "k" * 254: "k/" + "k" * 254 + " ",
    "k" * 255: "x/" + "6b" * 120 + "/" + "6b" * 120 + "/" + "6b" * 15 + " ",
    "a/": "x/612f ",
    "/a": "x/2f61 ",
    "a//b": "x/612f2f62 ",
    "a /b": "x/61202f62 ",
    ".": "x/2e ",
    "..": "x/2e2e ",
    "a/ ../b": "x/612f202e2e2f62 ",
    "a\\..": "x/615c2e2e ",
    "a/\u2003.": "x/612fe280832e ",
    "\n": "x/0a ",
    "xl.meta/a": "x/786c2e6d6574612f61 ",
    "a__XLDIR__": "x/615f5f584c4449525f5f ",
    "[minio_cache:": "x/5b6d696e696f5f63616368653a ",
}


@pytest.mark.parametrize(("key", "text"), GOLDEN.items())
def test_names_are_a_storage_format(key: str, text: str) -> None:
    assert stored_name(BUCKET, key) == (ObjectName("store", BASE + text), {})


def test_a_key_that_fits_nowhere_is_stored_in_a_header() -> None:
    name, headers = stored_name(BUCKET, "a" * 1000)
    text = ("61" * 120 + "/") * 3
    assert name.key == f"{BASE}z/{text}{sha_of_a()} "
    assert headers == {"X-Amazin-Key": "YWFh" * 333 + "YQ=="}


def sha_of_a() -> str:
    import hashlib

    return hashlib.sha256(b"a" * 1000).hexdigest()


def test_the_longest_names_of_each_form() -> None:
    room = 1024 - len(f"-o/{LONGEST_BUCKET}/k/ ")
    plain = ("d" * 99 + "/") * 10
    assert form_of(name_of(plain[:room], LONGEST_BUCKET)) is PLAIN
    assert form_of(name_of(plain[: room + 1], LONGEST_BUCKET)) is LONG
    assert form_of(name_of("\0" * 475, LONGEST_BUCKET)) is HEX
    assert form_of(name_of("\0" * 476, LONGEST_BUCKET)) is LONG
    assert len(name_of(plain[:room], LONGEST_BUCKET)) == 1024


# What is asked of a listing.


@given(relatives(), TEXTS, st.integers(0, 40))
def test_a_prefix_keeps_all_keys_that_begin_with_it(
    keys: tuple[str, str], other: str, size: int
) -> None:
    for prefix in (keys[0][:size], keys[0], other):
        try:
            prefix.encode()
        except UnicodeEncodeError:
            continue
        for base, form in bases(BUCKET):
            room = room_behind(base)
            asked = form.prefix(prefix, room)
            assert asked is None or is_taken(base + asked)
            for key in keys:
                text = form.encode(key, room)
                if text is not None and key.startswith(prefix):
                    assert asked is not None
                    assert text.startswith(asked)


@given(relatives(), TEXTS, st.integers(0, 40))
def test_a_floor_is_below_all_keys_from_there_on(
    keys: tuple[str, str], other: str, size: int
) -> None:
    for key in (*keys, keys[0][:size], other):
        first = key.encode(errors="surrogatepass")
        for start in (first, first + b"\0", first[:-1] + b"0"):
            for base, form in bases(BUCKET):
                room = room_behind(base)
                floor = form.floor(start, room)
                assert is_taken(base + floor)
                for found in keys:
                    text = form.encode(found, room)
                    if text is not None and found.encode() >= start:
                        assert text.encode() > floor.encode()


def test_floors_are_near() -> None:
    for key in ("a/b", "a/", "a", "é", "."):
        below = [key[:-1], key[:-1] + " ", key[:-1] + "!", key[:-1] + ","]
        floor = PLAIN.floor(key.encode(), 900)
        for other in below:
            text = PLAIN.encode(other, 900)
            assert text is None or text.encode() <= floor.encode() or other == key


# What may have a name.

GOOD_BUCKETS = ["abc", "a.b", "a-b", "0a1", "b" * 63, "1.2.3.4.5", "xn-a", "a1.2.3.b"]
BAD_BUCKETS = [
    *[
        "",
        "ab",
        "b" * 64,
        "ABC",
        "a_b",
        "a b",
        "a/b",
        ".ab",
        "ab.",
        "-ab",
        "ab-",
        "abc\n",
    ],
    *["a..b", "a.-b", "a-.b", "1.2.3.4", "999.999.999.999", "äbc", "\u0661bc"],
    *["xn--abc", "sthree-a", "amzn-s3-demo-a", "a-s3alias", "a--ol-s3", "a.mrap"],
    *["a--x-s3", "a--table-s3"],
]


def refusal(check: Callable[[str], None], name: str) -> str:
    """Return why there may be no such name; empty: there may."""
    try:
        check(name)
    except ValueError as exc:
        return str(exc)
    return ""


@pytest.mark.parametrize("bucket", GOOD_BUCKETS)
def test_buckets_that_may_be(bucket: str) -> None:
    assert refusal(check_bucket, bucket) == ""


@pytest.mark.parametrize("bucket", [*BAD_BUCKETS, *sorted(RESERVED_BUCKETS)])
def test_buckets_that_may_not_be(bucket: str) -> None:
    assert "bucket" in refusal(check_bucket, bucket)


def test_the_buckets_of_the_nodes_are_reserved() -> None:
    assert {"store", "blobs", ROSTER_NAME.bucket} == RESERVED_BUCKETS


@given(KEYS)
def test_any_key_may_be(key: str) -> None:
    assert refusal(check_key, key) == ""


@pytest.mark.parametrize("key", ["", "k" * 1025, "é" * 513, "\ud800", "a\udfff"])
def test_keys_that_may_not_be(key: str) -> None:
    assert "key" in refusal(check_key, key)


# Markers, and people.


def test_a_marker_tells_its_bucket() -> None:
    name = marker_name(BUCKET)
    assert name == ObjectName("store", "-b/photos")
    assert name.key.startswith(MARKERS)
    assert bucket_of_marker(name.key) == BUCKET


SHOWN = {
    ObjectName("store", "id12"): "store/id12",
    ObjectName("store", "-"): "store/-",
    ObjectName("store", "-o/"): "store/-o/",
    ObjectName("store", "-o/photos/x/zz "): "store/-o/photos/x/zz ",
    ObjectName("store", "-o/photos/z/zz "): "photos/... (zz )",
    marker_name(BUCKET): "bucket photos",
    stored_name(BUCKET, "a/b c")[0]: "photos/a/b c",
    stored_name(BUCKET, "a//b\n")[0]: "photos/a//b\\n",
    stored_name(BUCKET, "a" * 1000)[0]: f"photos/{'a' * 360}... ({sha_of_a()[:12]})",
    ObjectName("amazin-system", "roster"): "amazin-system/roster",
}


@pytest.mark.parametrize(("name", "text"), SHOWN.items())
def test_what_people_are_shown(name: ObjectName, text: str) -> None:
    assert shown(name) == text


@given(KEYS)
def test_what_is_shown_is_one_line(key: str) -> None:
    assert shown(stored_name(BUCKET, key)[0]).isprintable()
