"""Listings of an S3 server: nothing is left out, whatever the server makes of it."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amazin.errors import NodeError, NodePermissionError, NodeProtocolError
from amazin.model.node_specs import NodeSpec
from amazin.model.objects import Label, ObjectInfo, ObjectName, Stamp
from amazin.nodes.s3.client import S3Client
from amazin.nodes.s3.list_page import PAGE_BYTES, PAGE_KEYS
from amazin.nodes.s3.listing import list_objects, steps_behind
from tests.support.peers import TAKE_REQUEST, Peer, answer
from tests.support.s3_peers import (
    LIMITS,
    MODIFIED_NS,
    OBJECT,
    error,
    listing,
    playing,
    s3_answer,
)

Listed = tuple[str, ObjectInfo]
NAMES = st.lists(st.sampled_from(["a", "b", "/", " ", ".", "0", "\U0010ffff"]))


@given(st.sets(NAMES.map("".join), max_size=30), NAMES, NAMES)
def test_the_steps_make_one_listing(
    names: set[str], start: list[str], end: list[str]
) -> None:
    prefix, after = "".join(start), "".join(start + end)
    for place in (after, "".join(end)):
        steps = list(steps_behind(prefix, place))
        behind = {above[:-1] + "0" for above, _ in steps if above != prefix}
        ordered = sorted(names - behind, key=str.encode)
        wanted = [n for n in ordered if n.startswith(prefix) and n > place]
        found = [
            name
            for directory, last in steps
            for name in ordered
            if name.startswith(directory) and name.encode() > last.encode()
        ]
        assert found == wanted


def test_steps_go_up_from_the_place_to_the_prefix() -> None:
    assert list(steps_behind("a/", "a/b/c/d")) == [
        ("a/b/c/", "a/b/c/d"),
        ("a/b/", "a/b/c0"),
        ("a/", "a/b0"),
    ]
    assert list(steps_behind("", "a")) == [("", "a")]
    assert list(steps_behind("a", "")) == [("a", "")]
    assert list(steps_behind("a", "b")) == []


def query(line: str) -> dict[str, str]:
    """Return what a request line asks for."""
    found = parse_qs(urlsplit(line.split()[1]).query)
    return {name: values[0] for name, values in found.items()}


def listed(peer: Peer, prefix: str = "", after: str = "") -> list[Listed]:
    """Return what a listing of the peer's bucket gives."""
    client = S3Client(NodeSpec("node", peer.url, "AKID", "secret"), LIMITS)
    with closing(client.pool):
        return list(list_objects(client, "store", prefix, after))


def with_metadata(data: bytes, *metadata: tuple[str, str]) -> bytes:
    """Return a listing whose objects have this metadata, as MinIO writes it."""
    lines = "".join(f"<{name}>{value}</{name}>" for name, value in metadata)
    end = f"<UserMetadata>{lines}</UserMetadata></Contents>".encode()
    return data.replace(b"</Contents>", end)


def test_a_listing_tells_what_is_stored_with_objects() -> None:
    data = with_metadata(
        listing("a"),
        ("content-type", "text/plain"),
        ("X-Amz-Meta-Amazin-Stamp", "1700000000123456789.7.3.deleted"),
        ("X-Amz-Meta-X-Name", "a%20b"),
        ("X-Amz-Meta-Other", "x"),
    )
    with Peer([TAKE_REQUEST, s3_answer(body=data)]) as peer:
        found = listed(peer)
    assert query(peer.lines[0])["metadata"] == "true"
    label = Label(Stamp(1_700_000_000_123_456_789, 7), 3, True)
    headers = {"Content-Type": "text/plain", "X-Name": "a b"}
    info = ObjectInfo(5, "0123", label.stamp.nanoseconds, label, headers)
    assert found == [("a", info)]


def test_what_a_listing_does_not_tell_is_unknown() -> None:
    with Peer([TAKE_REQUEST, s3_answer(body=listing("a"))]) as peer:
        found = listed(peer)
    assert found == [("a", ObjectInfo(5, "0123", MODIFIED_NS, None, {}))]


def test_metadata_that_is_no_xml_is_left_out() -> None:
    first = with_metadata(listing("pb"), ("X-Amz-Meta-A!b", "x"))
    answers = [s3_answer(body=first), s3_answer(body=listing("pb", "pc"))]
    with Peer(*[[TAKE_REQUEST, data] for data in answers]) as peer:
        found = listed(peer, "p", "pa")
    assert [key for key, _ in found] == ["pb", "pc"]
    asked = [query(line) for line in peer.lines]
    assert [line["start-after"] for line in asked] == ["pa", "pa"]
    assert ["metadata" in line for line in asked] == [True, False]


def test_an_answer_that_is_no_xml_at_all_is_an_error() -> None:
    with (
        Peer(*[[TAKE_REQUEST, s3_answer(body=b"<a!b>")]] * 2) as peer,
        pytest.raises(NodeProtocolError),
    ):
        listed(peer)


def test_where_a_long_listing_ends_it_looks_again() -> None:
    keys = [f"a/{number:04}" for number in range(1000)]
    answers = [listing(*keys), listing("a/1000"), listing("a1")]
    scripts = [[TAKE_REQUEST, s3_answer(body=data)] for data in answers]
    with Peer(*scripts) as peer:
        found = listed(peer)
    assert [key for key, _ in found] == [*keys, "a/1000", "a1"]
    asked = [query(line) for line in peer.lines]
    places = [(line.get("prefix", ""), line.get("start-after", "")) for line in asked]
    assert places == [("", ""), ("a/", "a/0999"), ("", "a0")]


def test_requests_are_signed_for_the_nodes_region() -> None:
    spec = NodeSpec("node", "http://127.0.0.1:1", "AKID", "secret")
    client = S3Client(replace(spec, region="eu-x-1"), LIMITS)
    head = client.request_head("GET", ObjectName("store", "a"))
    assert b"/eu-x-1/s3/aws4_request" in head


def test_a_listing() -> None:
    data = listing("pb", "pc")
    with playing([TAKE_REQUEST, s3_answer(body=data)]) as (node, peer):
        found = list(node.list_objects("store", "p", "pa ü+"))
    assert found == [(key, ObjectInfo(5, "0123", MODIFIED_NS)) for key in ("pb", "pc")]
    assert query(peer.lines[0]) == {
        "encoding-type": "url",
        "list-type": "2",
        "max-keys": "1000",
        "metadata": "true",
        "prefix": "p",
        "start-after": "pa ü+",
    }


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (s3_answer(body=b"<not xml"), NodeProtocolError),
        (s3_answer(body=b"<Other/>"), NodeProtocolError),
        (s3_answer(body=b""), NodeProtocolError),
        (s3_answer(body=listing("a").replace(b"2023-", b"x")), NodeProtocolError),
        (s3_answer(body=listing("a").replace(b">5<", b">many<")), NodeProtocolError),
        (answer("200 OK", b"<html/>"), NodeProtocolError),
        (error("403 Forbidden", "AccessDenied"), NodePermissionError),
        (error("503 Service Unavailable", "SlowDown"), NodeError),
        (error("412 Precondition Failed", "PreconditionFailed"), NodeProtocolError),
        (error("404 Not Found", "NoSuchKey"), NodeProtocolError),
        (b"nonsense\r\n\r\n", NodeError),
        (OBJECT[:-3], NodeError),
    ],
)
def test_a_listing_that_fails_raises(data: bytes, kind: type[NodeError]) -> None:
    with playing([TAKE_REQUEST, data]) as (node, _), pytest.raises(kind):
        list(node.list_objects("store"))


def test_a_missing_bucket_lists_nothing() -> None:
    with playing([TAKE_REQUEST, error("404 Not Found", "NoSuchBucket")]) as (node, _):
        assert list(node.list_objects("store")) == []


# What a listing must not be.


def truncated(data: bytes, token: str = "next") -> bytes:
    """Return the page of a listing that goes on."""
    more = b"true</IsTruncated><NextContinuationToken>" + token.encode()
    return data.replace(
        b"false</IsTruncated>", more + b"</NextContinuationToken>" if token else more
    )


def fails(pages: Sequence[bytes], prefix: str = "", after: str = "") -> None:
    """Fail unless a listing of these pages, all of which are asked for, is refused."""
    scripts = [step for data in pages for step in (TAKE_REQUEST, s3_answer(body=data))]
    with Peer(scripts) as peer, pytest.raises(NodeProtocolError):
        listed(peer, prefix, after)


def test_pages_follow_one_another() -> None:
    pages = [truncated(listing("a", "b")), truncated(listing("c"), "t/2"), listing("d")]
    scripts = [step for data in pages for step in (TAKE_REQUEST, s3_answer(body=data))]
    with Peer(scripts) as peer:
        assert [key for key, _ in listed(peer)] == ["a", "b", "c", "d"]
    tokens = [query(line).get("continuation-token") for line in peer.lines]
    assert tokens == [None, "next", "t/2"]


def test_names_are_unescaped_if_the_server_says_so() -> None:
    page = listing("a+%C3%BC%2B")
    url = page.replace(b"<Name>", b"<EncodingType>url</EncodingType><Name>")
    with Peer([TAKE_REQUEST, s3_answer(body=page)]) as peer:
        assert listed(peer)[0][0] == "a+%C3%BC%2B"
    with Peer([TAKE_REQUEST, s3_answer(body=url)]) as peer:
        assert listed(peer)[0][0] == "a ü+"


PAGES = {
    "the same for ever": [truncated(listing("a"))] * 2,
    "the same keys": [truncated(listing("a", "b")), listing("b", "c")],
    "back again": [truncated(listing("a", "b")), listing("a")],
    "empty, but not the end": [truncated(listing())],
    "no token": [truncated(listing("a"), "")],
    "out of order": [listing("b", "a")],
    "twice": [listing("a", "a")],
    "a key without a name": [listing("")],
    "a negative size": [listing("a").replace(b">5<", b">-5<")],
    "more keys than asked": [listing(*map(str, range(100_000, 101_001)))],
    "entities": [b'<!DOCTYPE x [<!ENTITY a "aaaa">]>' + listing("&a;")],
    "a document type": [b'<!DOCTYPE x SYSTEM "http://x/">' + listing("a")],
    "too deep": [listing("<x>" * 9 + "</x>" * 9)],
    "cut off": [listing("a")[:-5]],
}


@pytest.mark.parametrize("pages", PAGES.values(), ids=PAGES)
def test_a_listing_that_can_not_be_right_is_refused(pages: list[bytes]) -> None:
    fails(pages)


def test_what_was_not_asked_for_is_refused() -> None:
    fails([listing("pb", "q")], "p", "pa")
    fails([listing("pa")], "p", "pa")


def test_an_encoded_list_is_refused() -> None:
    data = gzip.compress(listing("a"))
    script = [TAKE_REQUEST, s3_answer(body=data, headers=["Content-Encoding: gzip"])]
    with Peer(script) as peer, pytest.raises(NodeProtocolError, match="encoded"):
        listed(peer)


def test_where_a_page_would_be_too_long_fewer_keys_are_asked_for() -> None:
    """Names and metadata of legal objects can make a page longer than its bound.

    MinIO says at the end of a page that its keys are escaped.
    """
    long = "a+" * 1000
    keys = [f"{number:04}{long}" for number in range(PAGE_KEYS)]
    half = truncated(escaped(listing(*keys[: PAGE_KEYS // 2])))
    rest = escaped(listing(*keys[PAGE_KEYS // 2 :]))
    pages = [escaped(listing(*keys)), half, rest, listing()]
    first, *others = [[TAKE_REQUEST, s3_answer(body=page)] for page in pages]
    with Peer(first, [step for script in others for step in script]) as peer:
        found = [key for key, _ in listed(peer)]
    assert found == [key.replace("+", " ") for key in keys]
    asked = [query(line) for line in peer.lines]
    assert [question["max-keys"] for question in asked] == ["1000", *["500"] * 3]
    assert asked[2]["continuation-token"] == "next"


def test_a_single_key_that_makes_a_page_too_long_is_refused() -> None:
    page = s3_answer(body=b"<ListBucketResult>".ljust(PAGE_BYTES + 1))
    scripts = [[TAKE_REQUEST, page]] * 10  # 1000, 500, ... 1
    with Peer(*scripts) as peer, pytest.raises(NodeProtocolError, match="too long"):
        listed(peer)
    assert query(peer.lines[-1])["max-keys"] == "1"


def escaped(page: bytes) -> bytes:
    """Return a page whose server escapes keys, and says so behind them."""
    end = b"</ListBucketResult>"
    return page.replace(end, b"<EncodingType>url</EncodingType>" + end)
