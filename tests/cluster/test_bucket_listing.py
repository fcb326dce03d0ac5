"""Listings of a bucket: as a sorted list of its keys would be, and never far ahead."""

from __future__ import annotations

import random
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amazin.cluster.bucket_listing import (
    MAX_SKIPPED_KEYS,
    SORTED_IN_MEMORY,
    Entry,
    list_keys,
)
from amazin.cluster.sorting import SortedRows
from amazin.errors import HTTPError, NodeError, NodeProtocolError, NoSuchKeyError
from amazin.model.objects import ObjectInfo, ObjectName
from amazin.model.stored_names import marker_name, stored_name
from tests.support.hostile_keys import KEYS, PIECES, TEXTS, cut, expected, is_taken

BUCKET = "photos"
OTHERS = {
    marker_name(BUCKET).key: ObjectInfo(1, "marker", 0),
    "id12": ObjectInfo(2, "id", 0),
    **{
        f"-o/{BUCKET}/{rest}": ObjectInfo(3, "foreign", 0)
        for rest in ("k/a", "x/6 ", "x/61 ")
    },
    stored_name("other", "a")[0].key: ObjectInfo(4, "other", 0),
    stored_name("photos.x", "a")[0].key: ObjectInfo(5, "other", 0),
}
"""What lies beside a bucket's objects, and names that no key has."""


class Found(NamedTuple):
    info: ObjectInfo


class MemorySource:
    """Stored names in memory; counts what is read, and refuses what MinIO does."""

    def __init__(self, keys: Iterable[str], tells_headers: bool = True) -> None:
        self.objects = dict(OTHERS)
        for number, key in enumerate(keys):
            name, headers = stored_name(BUCKET, key)
            self.objects[name.key] = ObjectInfo(number, "etag", 0, None, headers)
        self.tells_headers = tells_headers
        self.reads = self.lists = self.heads = 0
        self.gone: set[str] = set()
        """Names that were deleted since they were listed."""
        self._order = sorted((name.encode(), name) for name in self.objects)

    def list(self, prefix: str, after: str) -> Iterator[tuple[str, ObjectInfo]]:
        assert is_taken(prefix)
        assert is_taken(after)
        assert len(prefix.encode()) <= 1024
        assert not after or after.startswith(prefix)
        self.lists += 1
        place = bisect_left(self._order, (prefix.encode(), prefix))
        if after:
            place = max(place, bisect_right(self._order, (after.encode(), after)))
        for index in range(place, len(self._order)):
            name = self._order[index][1]
            if not name.startswith(prefix):
                return
            self.reads += 1
            info = self.objects[name]
            yield name, (info if self.tells_headers else ObjectInfo(info.size, "", 0))

    def head(self, name: ObjectName) -> Found:
        self.heads += 1
        if name.key in self.gone:
            raise NoSuchKeyError("no such object")
        return Found(self.objects[name.key])


def listed(source: MemorySource, *asked: str, recursive: bool = True) -> list[str]:
    entries = list_keys(source, BUCKET, *asked, recursive=recursive)
    return [entry.key for entry in entries]


SMALL = st.lists(st.sampled_from(["a", "b", "/", ".", " ", "\0", "-", "\U0010ffff"]))
SMALL_KEYS = SMALL.map("".join).filter(bool)
LONG_KEYS = st.builds(
    lambda start, end: cut("k" * start + "/" + end * 700),
    st.sampled_from([0, 359, 360, 361, 500]),
    SMALL_KEYS,
)
SETS = st.sets(SMALL_KEYS, max_size=30) | st.sets(KEYS | LONG_KEYS, max_size=12)


@given(SETS, st.data(), st.booleans(), st.booleans())
def test_a_listing_is_what_a_sorted_list_gives(
    keys: set[str], data: st.DataObject, recursive: bool, tells_headers: bool
) -> None:
    parts = sorted({key[:size] for key in keys for size in (1, 2, 3, 360, 999)})
    some = st.sampled_from([*parts, ""]) | SMALL.map("".join) | TEXTS
    prefix, after = data.draw(some), data.draw(st.just("") | some)
    source = MemorySource(keys, tells_headers)
    found = list(list_keys(source, BUCKET, prefix, after, recursive))
    assert [e.key for e in found] == expected(keys, prefix, after, recursive)
    for entry in found:
        if not recursive and "/" in entry.key[len(prefix) :]:
            assert entry.info is None
        else:
            info = source.objects[stored_name(BUCKET, entry.key)[0].key]
            assert entry.info
            assert entry.info.size == info.size


@given(st.sets(SMALL_KEYS, min_size=1, max_size=30), st.booleans())
def test_pages_make_the_whole(keys: set[str], recursive: bool) -> None:
    source = MemorySource(keys)
    whole = listed(source, recursive=recursive)
    paged: list[str] = []
    while page := list(
        islice(list_keys(source, BUCKET, "", paged[-1] if paged else "", recursive), 2)
    ):
        paged += [entry.key for entry in page]
    assert paged == whole


def test_hostile_neighbours_are_in_order() -> None:
    keys = [
        "a",
        "a ",
        "a  ",
        "a /b",
        "a!",
        "a-",
        "a.",
        "a/",
        "a/.",
        "a/b",
        "a//b",
        "a0",
    ]
    keys += ["", "a\0", "a\x1f", "a\x7f", "aé", "a\ufffe", "."][1:]
    assert listed(MemorySource(keys)) == expected(keys, "", "")
    shallow = expected(keys, "", "", recursive=False)
    assert listed(MemorySource(keys), recursive=False) == shallow
    assert "a/" in shallow
    assert "a /" in shallow


# How much is read.


def many(count: int, start: str = "a/") -> list[str]:
    return [f"{start}{number:06}" for number in range(count)]


def test_the_first_entry_needs_a_row_of_each_stream() -> None:
    source = MemorySource([*many(5000), "x//y"])
    assert next(list_keys(source, BUCKET)) == Entry("a/000000", source_info(source))
    assert source.reads <= 3 + len(OTHERS)


def source_info(source: MemorySource) -> ObjectInfo:
    return source.objects[stored_name(BUCKET, "a/000000")[0].key]


def test_behind_a_common_prefix_it_goes_on_without_reading_it() -> None:
    keys = [*many(10_000), *many(10_000, "b/"), *many(3, "a-"), "b", "c/1", "c/2", "d"]
    source = MemorySource(keys)
    wanted = ["a-000000", "a-000001", "a-000002", "a/", "b", "b/", "c/", "d"]
    assert listed(source, recursive=False) == wanted
    assert source.reads <= 3 * MAX_SKIPPED_KEYS


def test_a_place_within_a_common_prefix_is_not_read() -> None:
    source = MemorySource([*many(10_000), "b"])
    assert listed(source, "", "a/000007", recursive=False) == ["b"]
    assert listed(source, "", "a/", recursive=False) == ["b"]
    assert listed(source, "a/0", "a/009998") == ["a/009999"]
    assert source.reads <= 10


@pytest.mark.parametrize(
    "after", ["a/\0", "a/0\n", "a//b", "a/.", "a/./x", "a/xl.meta"]
)
def test_a_hostile_place_is_near(after: str) -> None:
    keys = [*many(1000, "A/"), *many(1000, "a!"), *many(1000), "a/xl.metb", "b"]
    source = MemorySource(keys)
    wanted = expected(keys, "", after)
    assert [e.key for e in islice(list_keys(source, BUCKET, "", after), 1)] == wanted[
        :1
    ]
    assert source.reads <= 10


def test_dot_files_are_found_without_reading_what_is_below() -> None:
    source = MemorySource([*many(5000, "!"), ".a", "..b", "./c", ".", *many(5000, "x")])
    assert listed(source, ".") == [".", "..b", "./c", ".a"]
    assert listed(source, "..") == ["..b"]
    assert source.reads <= 20


def test_what_can_not_be_is_not_asked_for() -> None:
    source = MemorySource(["a"])
    for prefix in ("\ud800", "k" * 1025):
        assert listed(source, prefix) == []
    assert listed(source, "a", "b") == []
    assert source.lists == 0


# Long keys.


def long_keys(count: int) -> list[str]:
    keys = [f"{'d/' * 300}{number:06}{'/e' * 205}" for number in range(count)]
    random.Random(1).shuffle(keys)
    return keys


@pytest.mark.parametrize("tells_headers", [True, False])
def test_more_long_keys_with_one_beginning_than_are_held(tells_headers: bool) -> None:
    keys = long_keys(2 * SORTED_IN_MEMORY + 100)
    source = MemorySource([*keys, "a", "e"], tells_headers)
    assert listed(source) == sorted([*keys, "a", "e"])
    after = sorted(keys)[1234]
    assert listed(source, "", after) == [*sorted(keys)[1235:], "e"]
    assert listed(source, after[:1000]) == [after]


@pytest.mark.parametrize(("tells_headers", "recursive"), [(True, True), (False, False)])
def test_each_long_key_is_read_once_however_many_begin_alike(
    tells_headers: bool, recursive: bool
) -> None:
    """Twice as many take twice as much, also if the listing starts again and again."""
    for count in (2 * SORTED_IN_MEMORY, 4 * SORTED_IN_MEMORY):
        start = "d/" * 300
        keys = [
            f"{start}{number // (MAX_SKIPPED_KEYS + 1):03}/{number:06}{'e' * 410}"
            for number in range(count)
        ]
        source = MemorySource(keys, tells_headers)
        found = listed(source, start, recursive=recursive)
        assert found == expected(set(keys), start, "", recursive)
        assert source.reads <= len(keys) + 100
        assert source.heads <= len(keys)


def test_where_a_list_can_not_be_sorted_it_fails() -> None:
    rows = SortedRows([(b"a", 1)])
    rows.close()
    with pytest.raises(HTTPError, match="sorted"):
        list(rows.rows(b""))


def test_long_keys_elsewhere_are_not_looked_at() -> None:
    source = MemorySource([*long_keys(100), "x" * 1000], tells_headers=False)
    assert listed(source, "x") == ["x" * 1000]
    assert (source.heads, source.lists) == (1, 3)


def test_long_keys_that_are_deleted_meanwhile_are_left_out() -> None:
    keys = sorted(long_keys(3))
    source = MemorySource(keys, tells_headers=False)
    source.gone.add(stored_name(BUCKET, keys[1])[0].key)
    assert listed(source) == [keys[0], keys[2]]


def test_a_long_key_without_its_header_is_no_shorter_listing() -> None:
    source = MemorySource(long_keys(1))
    (name,) = [name for name in source.objects if name.startswith(f"-o/{BUCKET}/z/")]
    source.objects[name] = ObjectInfo(1, "etag", 0)
    with pytest.raises(NodeProtocolError):
        listed(source)


# Failures.


class FailingSource(MemorySource):
    """Fails after so many rows."""

    rows_left = 0

    def list(self, prefix: str, after: str) -> Iterator[tuple[str, ObjectInfo]]:
        for row in super().list(prefix, after):
            if not self.rows_left:
                raise NodeError("the node broke")
            self.rows_left -= 1
            yield row


def test_a_source_that_fails_in_the_middle_fails_the_listing() -> None:
    source = FailingSource(["a", "b", "c", "x//"])
    source.rows_left = 5
    entries = list_keys(source, BUCKET)
    assert next(entries).key == "a"
    with pytest.raises(NodeError):
        list(entries)


PIECES_OF_KEYS = [piece for piece in PIECES if len(piece) < 30]


@pytest.mark.parametrize("seed", range(3))
def test_a_thousand_hostile_keys(seed: int) -> None:
    chosen = random.Random(seed)
    keys = {
        cut("".join(chosen.choices(PIECES, k=chosen.randint(1, 6))))
        for _ in range(1000)
    }
    source = MemorySource(keys, tells_headers=bool(seed))
    for _ in range(100):
        prefix, after = (
            "".join(chosen.choices(PIECES_OF_KEYS, k=chosen.randint(0, 3)))
            for _ in range(2)
        )
        recursive = chosen.random() < 0.5
        after = (prefix + after) if chosen.random() < 0.5 else after
        wanted = expected(keys, prefix, after, recursive)
        assert listed(source, prefix, after, recursive=recursive) == wanted
