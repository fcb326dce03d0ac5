"""JSON that is read item by item: any cuts, any length, and nothing else than JSON."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amazin.model.json_stream import (
    ITEM_CHARACTERS,
    JsonStreamError,
    array_items,
    member_strings,
)

STEPS = [1, 2, 7, 1000]


def cut(text: str, step: int) -> list[bytes]:
    """Return a text in UTF-8, in pieces of this size."""
    data = text.encode()
    return [data[i : i + step] for i in range(0, len(data), step)]


@pytest.mark.parametrize("step", STEPS)
def test_a_list_is_the_same_however_it_is_cut(step: int) -> None:
    text = ' [ "a" ,{"x":[1,"]"]},\n"\\"é,\\u00e9", [] ] '
    found = list(array_items(cut(text, step)))
    assert found == ["a", {"x": [1, "]"]}, '"é,é', []]


@pytest.mark.parametrize("step", STEPS)
def test_a_member_is_the_same_however_it_is_cut(step: int) -> None:
    text = ' { "keys" : [ "a" ,\n"\\"é,\\u00e9]", "" ] } '
    assert list(member_strings(cut(text, step), "keys")) == ["a", '"é,é]', ""]
    assert list(member_strings(cut('{"keys":[]}', step), "keys")) == []


@given(st.lists(st.text()), st.integers(1, 20))
def test_every_list_of_strings_is_read(values: list[str], step: int) -> None:
    text = json.dumps({"keys": values})
    assert list(member_strings(cut(text, step), "keys")) == values
    assert list(array_items(cut(json.dumps(values), step))) == values


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '"keys"',
        "{}",
        '{"keys"}',
        '{"keys":',
        '{"keys":null}',
        '{"keys":[',
        '{"keys":["a"',
        '{"keys":["a',
        '{"keys":["a",',
        '{"keys":["a",]}',
        '{"keys":[,"a"]}',
        '{"keys":["a" "b"]}',
        '{"keys":["a"]',
        '{"keys":["a"]]',
        '{"keys":["a"]}x',
        '{"keys":["a"],"keys":[]}',
        '{"other":["a"]}',
        '{"keys":[1]}',
        '{"keys":[["a"]]}',
        '{"keys":["\n"]}',
        '{"keys":["\\x"]}',
        "\ufeff{}",
    ],
)
def test_what_is_no_member_of_strings_is_an_error(text: str) -> None:
    with pytest.raises(JsonStreamError):
        list(member_strings(cut(text, 5), "keys"))


def test_what_is_not_utf8_is_an_error() -> None:
    with pytest.raises(UnicodeDecodeError):
        list(member_strings([b'{"keys":["\xff"]}'], "keys"))


def endless(start: bytes, piece: bytes) -> Iterator[bytes]:
    """Yield a start, and pieces for as long as somebody reads on."""
    yield start
    while True:
        yield piece


@pytest.mark.parametrize(
    "piece",
    [
        b"[]," * 1000,
        b"[" * 1000,
        b"9" * 1000,
        b'"' + b"a" * 1000,
        b"a" * 1000,
        b" " * 1000,
    ],
)
def test_what_is_wrong_is_noticed_before_the_end(piece: bytes) -> None:
    with pytest.raises(JsonStreamError):
        list(member_strings(endless(b'{"keys":[', piece), "keys"))


def test_a_long_item_in_small_pieces_is_decoded_only_a_few_times() -> None:
    pieces = 0

    def chunks() -> Iterator[bytes]:
        nonlocal pieces
        for chunk in endless(b'["', b"a"):
            pieces += 1
            yield chunk

    with pytest.raises(JsonStreamError):
        next(array_items(chunks()))
    assert pieces <= 4 * ITEM_CHARACTERS


def test_a_long_list_takes_no_memory() -> None:
    def chunks() -> Iterator[bytes]:
        yield b'["'
        for number in range(20_000):
            yield b'%040x","' % number
        yield b'z"]'

    tracemalloc.start()
    try:
        count = sum(1 for _ in array_items(chunks()))
        assert count == 20_001
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
