"""JSON arrays of any length, item by item, in constant memory."""

from __future__ import annotations

import json
from codecs import getincrementaldecoder
from collections.abc import Iterable, Iterator
from typing import Any

from amazin.errors import NodeProtocolError

ITEM_CHARACTERS = 64 * 1024
"""An item longer than this is refused."""
_SPACE = " \t\r\n"
_decode_item = json.JSONDecoder().raw_decode


def array_items(chunks: Iterable[bytes]) -> Iterator[Any]:
    """Yield the strings, arrays and objects of one JSON array in UTF-8.

    Raises:
        NodeProtocolError: it is something else, is cut off, or has other items.
    """
    pieces = _texts(chunks)
    text, place = _skip_space("", 0, pieces)
    if text[place : place + 1] != "[":
        raise NodeProtocolError("the node sent no JSON array")
    text, place = _skip_space(text, place + 1, pieces)
    is_over = text[place : place + 1] == "]"
    while not is_over:
        item, text, place = _next_item(text, place, pieces)
        yield item
        text, place = _skip_space(text, place, pieces)
        is_over = text[place : place + 1] == "]"
        if not is_over:
            if text[place : place + 1] != ",":
                raise NodeProtocolError("the node sent a malformed JSON array")
            text, place = _skip_space(text, place + 1, pieces)
    text, place = _skip_space(text, place + 1, pieces)
    if place < len(text):
        raise NodeProtocolError("the node sent something behind a JSON array")


def _texts(chunks: Iterable[bytes]) -> Iterator[str]:
    decoder = getincrementaldecoder("utf-8")(errors="replace")
    for chunk in chunks:
        yield decoder.decode(chunk)
    yield decoder.decode(b"", final=True)


def _skip_space(text: str, place: int, pieces: Iterator[str]) -> tuple[str, int]:
    """Return a text, and the place in it where something begins, or its end."""
    while True:
        while place < len(text):
            if text[place] not in _SPACE:
                return text, place
            place += 1
        more = next(pieces, None)
        if more is None:
            return "", 0
        text, place = more, 0


def _next_item(text: str, place: int, pieces: Iterator[str]) -> tuple[Any, str, int]:
    """Return an item, and the text and the place behind it."""
    if text[place : place + 1] not in ('"', "{", "["):
        raise NodeProtocolError("the node sent a malformed JSON array")
    while True:
        try:
            item, end = _decode_item(text, place)
            if end - place > ITEM_CHARACTERS:
                raise ValueError("too long")
            return item, text, end
        except (ValueError, RecursionError) as exc:
            text, place = text[place:], 0
            more = next(pieces, None) if len(text) <= ITEM_CHARACTERS else None
            if more is None:
                raise NodeProtocolError("the node sent a malformed JSON array") from exc
            text += more
