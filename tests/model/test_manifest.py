"""What is said of objects in parts: a storage format, and arithmetic."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amazin.cluster import large_objects as chunked
from amazin.errors import NodeProtocolError
from amazin.model.headers import require_fit
from amazin.model.manifest import (
    MAX_MANIFEST_BYTES,
    MAX_PARTS,
    OWNER_HEADER,
    PARTS_HEADER,
    Outline,
    Span,
    as_whole,
    outline_of,
    owner_header,
    owner_of,
    refers_to,
)
from amazin.model.names import MAX_KEY_BYTES
from amazin.model.objects import CHUNK_BYTES, Label, ObjectInfo, ObjectName, Stamp
from amazin.model.stored_names import part_name, shown, stored_name, upload_of_part
from amazin.repair.orphan_parts import PART_NS

UPLOAD = "0123456789abcdef" * 2
MD5 = "d41d8cd98f00b204e9800998ecf8427e"
OUTLINE = Outline(UPLOAD, 100, 250, MD5)
MD5S = [hashlib.md5(bytes([n])).hexdigest() for n in range(3)]
TEXT = f"{UPLOAD}.100.250.{MD5}"
BODY = (
    f'{{"upload":"{UPLOAD}","part_bytes":100,"size":250,"md5":"{MD5}",'
    '"part_md5s":"k7iFrf4NoInN9jSQT9WfcVWlQAitG6WJqiENJinB30GeaIxYpUh7jq9pyeEAWtC/"}'
).encode()


def info(headers: dict[str, str]) -> ObjectInfo:
    return ObjectInfo(17, "abc", 5, Label(Stamp(5, 6)), headers)


def test_the_format_is_what_it_always_was() -> None:
    assert str(OUTLINE) == TEXT
    assert Outline.parse(TEXT) == OUTLINE
    assert OUTLINE.dump(MD5S) == BODY
    assert OUTLINE.load(BODY) == MD5S
    assert part_name(UPLOAD, 7) == ("store", f"-p/{UPLOAD}/000007")
    assert (PARTS_HEADER, OWNER_HEADER) == ("X-Amazin-Parts", "X-Amazin-Owner")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1.2.3.4",
        TEXT.upper(),
        f"{TEXT}\n",
        f" {TEXT}",
        TEXT.replace(".100.", ".0."),
        TEXT.replace(".100.", ".-1."),
        TEXT.replace(".100.", ".0100."),
        TEXT.replace(".250.", ".0."),
        TEXT.replace(".250.", ".1000001."),
        TEXT.replace("100", "\u0661\u0660\u0660"),
        TEXT[:-1],
    ],
)
def test_what_is_no_outline_is_none(text: str) -> None:
    assert Outline.parse(text) is None
    strange = info({PARTS_HEADER: text})
    assert outline_of(strange) is None
    assert as_whole(strange) is strange
    assert refers_to(strange, UPLOAD), "what can't be understood may need any part"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"\xff",
        BODY[:-1],
        BODY.replace(b"0123", b"3210", 1),
        BODY.replace(b'"k7iFr', b'"', 1),
        BODY.replace(b'"k7iF', b'"', 1),
        BODY.replace(b'"k7iF', b'"....', 1),
        BODY.replace(b'"part_md5s":"', b'"part_md5s":3,"":"'),
    ],
)
def test_a_manifest_that_is_damaged_is_not_believed(body: bytes) -> None:
    with pytest.raises(NodeProtocolError):
        OUTLINE.load(body)


def test_a_manifest_is_told_of_as_the_object_that_it_stands_for() -> None:
    stored = info({"X-Colour": "blue", PARTS_HEADER: TEXT})
    whole = as_whole(stored)
    assert (whole.size, whole.etag, whole.headers) == (250, MD5, {"X-Colour": "blue"})
    assert whole.version == stored.version
    plain = info({"X-Colour": "blue"})
    assert as_whole(plain) is plain
    assert refers_to(stored, UPLOAD)
    assert not refers_to(stored, UPLOAD[::-1])
    assert not refers_to(plain, UPLOAD)


def test_manifests_of_the_same_bytes_differ() -> None:
    one, other = (Outline.new(100, 250) for _ in range(2))
    assert str(one) != str(other)
    assert one.dump(MD5S) != other.dump(MD5S)


def test_the_largest_manifest_is_sent_in_one_piece() -> None:
    outline = Outline.new(5 * 2**30, 5 * 2**30 * MAX_PARTS)
    assert outline.count == MAX_PARTS
    body = outline.dump([MD5] * MAX_PARTS)
    assert len(body) <= MAX_MANIFEST_BYTES == CHUNK_BYTES
    assert Outline.parse(str(outline)) == outline
    require_fit({PARTS_HEADER: str(outline)})


def test_an_upload_ends_long_before_its_parts_may_go() -> None:
    assert 2 * chunked.LONGEST_UPLOAD_NS <= PART_NS


@given(st.integers(1, 10**12), st.integers(1, 10**12))
def test_there_are_never_too_many_parts(part_bytes: int, size: int) -> None:
    outline = Outline.new(part_bytes, size)
    assert outline.part_bytes >= part_bytes
    assert 1 <= outline.count <= MAX_PARTS
    assert Outline.parse(str(outline)) == outline


@given(st.integers(1, 60), st.integers(1, 200), st.data())
def test_spans_are_a_range_cut_at_the_borders_of_parts(
    part_bytes: int, size: int, data: Any
) -> None:
    first = data.draw(st.integers(0, size - 1))
    last = data.draw(st.integers(first, size - 1))
    outline = Outline(UPLOAD, part_bytes, size, MD5)
    spans = list(outline.spans(first, last))
    covered = [
        span.index * part_bytes + at
        for span in spans
        for at in range(span.first, span.last + 1)
    ]
    assert covered == list(range(first, last + 1))
    for span in spans:
        is_last = span.index == outline.count - 1
        own = size - part_bytes * span.index if is_last else part_bytes
        assert span.size == own
        assert 0 <= span.first <= span.last < own
        assert span.is_whole == (span.length == own)


def test_a_span_is_whole_or_not() -> None:
    assert Span(0, 0, 9, 10).is_whole
    assert not Span(0, 1, 9, 10).is_whole
    assert not Span(0, 0, 8, 10).is_whole


@pytest.mark.parametrize("key", ["a", "é/" * 340, "k" * MAX_KEY_BYTES, "%2F \t.."])
def test_a_part_says_whose_it_is_within_what_nodes_take(key: str) -> None:
    owner, _ = stored_name("b" * 63, key)
    header = owner_header(owner)
    assert owner_of(info(header)) == owner
    require_fit(header)


@pytest.mark.parametrize("text", ["", "=", "é", "____", "a"])
def test_a_part_that_does_not_say_whose_it_is_is_nobodys(text: str) -> None:
    assert owner_of(info({OWNER_HEADER: text})) is None
    assert owner_of(info({})) is None


def test_parts_are_known_by_their_names() -> None:
    assert upload_of_part(part_name(UPLOAD, 9_999)) == UPLOAD
    for key in (
        f"-p/{UPLOAD}",
        f"-p/{UPLOAD}/7",
        f"-p/{UPLOAD[1:]}/000001",
        f"-p/{UPLOAD}/000001/x",
        f"-p/{UPLOAD.upper()}/000001",
        "-p/",
        f"-o/p/{UPLOAD}/000001",
    ):
        assert upload_of_part(ObjectName("store", key)) is None
    assert shown(part_name(UPLOAD, 12)) == f"part 12 of upload {UPLOAD}"
    assert shown(ObjectName("store", "-p/x\n")) == "store/-p/x\\n"
    names = [part_name(UPLOAD, n).key for n in range(0, MAX_PARTS, 7)]
    assert names == sorted(names)
