"""JSON arrays of any length, item by item, in constant memory."""

from __future__ import annotations

import json
import re
from codecs import getincrementaldecoder
from collections.abc import Iterable, Iterator
from typing import Any

from amazin.blocking import pause
from amazin.errors import NodeProtocolError
from amazin.request_limits import require_wanted

ITEM_CHARACTERS = 64 * 1024
"""An item longer than this is refused, and so is more space in front of one."""
ITEMS_AT_ONCE = 500
"""After so many items it is the turn of other requests."""
_SPACE = re.compile(r"[ \t\r\n]*")
_decode_item = json.JSONDecoder().raw_decode


def array_items(chunks: Iterable[bytes]) -> Iterator[Any]:
    """Yield the strings, arrays and objects of one JSON array in UTF-8.

    Raises:
        NodeProtocolError: it is something else, is cut off, or has other items.
        LateError: nobody waits for it any more.
    """
    pieces = _texts(chunks)
    text, place = _skip_space("", 0, pieces)
    if text[place : place + 1] != "[":
        raise NodeProtocolError("the node sent no JSON array")
    text, place = _skip_space(text, place + 1, pieces)
    is_over = text[place : place + 1] == "]"
    count = 0
    while not is_over:
        item, text, place = _next_item(text, place, pieces)
        yield item
        count += 1
        if count % ITEMS_AT_ONCE == 0:
            require_wanted()
            pause()
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
    """Return a text, and the place in it where something begins, or its end.

    Raises: NodeProtocolError, if nothing begins for long.
    """
    skipped = 0
    while True:
        found = _SPACE.match(text, place)
        end = found.end() if found else place
        skipped += end - place
        if skipped > ITEM_CHARACTERS:
            raise NodeProtocolError("the node sent a JSON array with too much space")
        if end < len(text):
            return text, end
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
            missing = text[place:]
            text, place = longer(missing, pieces), 0
            if text == missing:
                raise NodeProtocolError("the node sent a malformed JSON array") from exc


def longer(text: str, pieces: Iterator[str]) -> str:
    """Return a text with those that follow, so that it is twice as long, if it may be.

    So an item that comes by the character is not parsed anew for each of them.
    """
    if len(text) > ITEM_CHARACTERS:
        return text
    found, size = [text], 0
    while size < len(text) and (more := next(pieces, None)) is not None:
        found.append(more)
        size += len(more)
    return "".join(found)
