"""Nodes as an operator writes them: every form, and errors that show no secret."""

from __future__ import annotations

import pytest

from amazin.errors import SettingsError
from amazin.model.node_specs import NodeSpec, as_name, as_weight, parse_list


def parse(*texts: str) -> list[NodeSpec]:
    return list(parse_list((f"entry {n}", text) for n, text in enumerate(texts, 1)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a=http://k:s@10.0.0.1:9000", NodeSpec("a", "http://10.0.0.1:9000", "k", "s")),
        (" a=http://k:s@host:9000/ ", NodeSpec("a", "http://host:9000", "k", "s")),
        ("a=https://k:s@Host", NodeSpec("a", "https://host:443", "k", "s")),
        ("a=http://k:s@host", NodeSpec("a", "http://host:80", "k", "s")),
        ("a=http://k:s@[::1]:9000", NodeSpec("a", "http://[::1]:9000", "k", "s")),
        ("a=http://k:s@h:1;weight=2", NodeSpec("a", "http://h:1", "k", "s", 2.0)),
        ("a=http://k:s@h:1; weight=.5", NodeSpec("a", "http://h:1", "k", "s", 0.5)),
        ("a=http://k:s@h:1;weight=0", NodeSpec("a", "http://h:1", "k", "s", 0.0)),
        ("a=http://k:s@h:1;group=b", NodeSpec("a", "http://h:1", "k", "s", 1.0, "b")),
        (
            "a=http://k:s@h:1; group=ä-1; weight=2",
            NodeSpec("a", "http://h:1", "k", "s", 2.0, "ä-1"),
        ),
        (
            "a=file:///a;weight=0.0;group=b",
            NodeSpec("a", "file:///a", weight=0.0, group="b"),
        ),
        ("a=http://k%40x:s%2F%3A=@h:1", NodeSpec("a", "http://h:1", "k@x", "s/:=")),
        ("a=http://k:%C3%A9@h:1", NodeSpec("a", "http://h:1", "k", "é")),
        ("a=file:///srv/a%20b", NodeSpec("a", "file:///srv/a%20b")),
        ("knoten-ä.1=file:///srv", NodeSpec("knoten-ä.1", "file:///srv")),
    ],
)
def test_an_entry_says_name_endpoint_keys_weight_and_group(
    text: str, expected: NodeSpec
) -> None:
    assert parse(text) == [expected]


@pytest.mark.parametrize(
    "text",
    [
        "http://k:TOPSECRET@h:1",
        "=http://k:TOPSECRET@h:1",
        "a b=http://k:TOPSECRET@h:1",
        "a/b=http://k:TOPSECRET@h:1",
        "a\x00=http://k:TOPSECRET@h:1",
        "a=k:TOPSECRET@h:1",
        "a=ftp://k:TOPSECRET@h:1",
        "a=http://TOPSECRET@h:1",
        "a=http://:TOPSECRET@h:1",
        "a=http://TOPSECRET:@h:1",
        "a=http://h:1",
        "a=http://k:TOPSECRET@:1",
        "a=http://k:TOPSECRET@h:0",
        "a=http://k:TOPSECRET@h:65536",
        "a=http://k:TOPSECRET@h:x",
        "a=http://k:TOP/SECRET@h:1",
        "a=http://k:TOP#SECRET@h:1",
        "a=http://k:TOP?SECRET@h:1",
        "a=http://k:TOP;SECRET@h:1",
        "a=http://k:TOPSECRET@h:1/path",
        "a=http://k:TOPSECRET@[::g]:1",
        "a=http://k:TOPSECRET@[::1:1",
        "a=http://k:TOPSECRET@h\uff03x:1",
        "a=http://k:TOPSECRET@h!:1",
        "a=http://k%0A:TOPSECRET@h:1",
        "a=http://k:TOPSECRET%FF@h:1",
        "a=http://k:TOPSECRET@h:1;weight",
        "a=http://k:TOPSECRET@h:1;weight=-1",
        "a=http://k:TOPSECRET@h:1;weight=nan",
        "a=http://k:TOPSECRET@h:1;weight=1;weight=1",
        "a=http://k:TOPSECRET@h:1;group=",
        "a=http://k:TOPSECRET@h:1;group=a/SECRET",
        "a=http://k:TOPSECRET@h:1;group=a;weight=1;group=a",
        "a=http://k:TOPSECRET@h:1;size=1",
        "a=http://k:TOPSECRET@h:1;",
        "a=file://TOPSECRET/folder",
        "a=file:///TOPSECRET?x",
    ],
)
def test_an_error_names_the_place_and_shows_no_secret(text: str) -> None:
    with pytest.raises(SettingsError, match=r"^entry 2: ") as caught:
        parse("z=http://k:s@z:1", text)
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a=http://k:s@other:1", "entry 2: two nodes have the name a"),
        ("b=http://k2:s2@H:1/", "entry 2: two names stand for one node"),
    ],
)
def test_names_and_nodes_are_listed_once(text: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        parse("a=http://k:s@h:1", text)


def test_nodes_come_by_name_and_blank_entries_are_skipped() -> None:
    specs = parse("b=file:///b", "", "  ", "a=file:///a")
    assert [spec.name for spec in specs] == ["a", "b"]


@pytest.mark.parametrize(
    "name", ["", "a/b", "a b", "a\n", "a=b", "a:b", "a@b", "\u200b"]
)
def test_unusable_names(name: str) -> None:
    assert as_name(name) is None


@pytest.mark.parametrize(
    ("text", "weight"),
    [("1", 1.0), ("0.25", 0.25), ("1000", 1000.0), ("0", 0.0), ("0.0", 0.0)]
    + [(bad, None) for bad in ("", ".", "-0", "-1", "1e3", "inf", "nan", "1 ", "٣")],
)
def test_weights(text: str, weight: float | None) -> None:
    assert as_weight(text) == weight
