"""JSON arrays of any length, item by item, in constant memory. Pure.

An array is the whole text, or the only member of the object that is the whole text.
"""

from __future__ import annotations

import json
import re
from codecs import getincrementaldecoder
from collections.abc import Iterable, Iterator
from typing import Any

ITEM_CHARACTERS = 64 * 1024
"""An item longer than this is refused, and so is more space in front of one."""
_SPACE = re.compile(r"[ \t\r\n]*")
_decode_item = json.JSONDecoder().raw_decode


class JsonStreamError(ValueError):
    """The text is not the JSON that is expected; the message says why."""


def array_items(chunks: Iterable[bytes]) -> Iterator[Any]:
    """Yield the strings, arrays and objects of one JSON array in UTF-8.

    What is not UTF-8 is replaced. Raises: JsonStreamError: it is something else, is cut
    off, or has other items.
    """
    text = _Text(chunks, "replace")
    yield from _items(text, '"{[')
    text.require_end()


def member_strings(chunks: Iterable[bytes], name: str) -> Iterator[str]:
    """Yield the strings of an array that is the only member of a JSON object.

    Raises: JsonStreamError: it is something else, or is cut off; UnicodeDecodeError.
    """
    text = _Text(chunks, "strict")
    text.take("{")
    if text.item('"') != name:
        raise JsonStreamError(f"a member that is not {name}")
    text.take(":")
    yield from _items(text, '"')
    text.take("}")
    text.require_end()


def _items(text: _Text, kinds: str) -> Iterator[Any]:
    text.take("[")
    if text.next_character() == "]":
        text.take("]")
        return
    yield text.item(kinds)
    while text.take(",]") == ",":
        yield text.item(kinds)


class _Text:
    """A text of which only what is not used up yet is in memory."""

    def __init__(self, chunks: Iterable[bytes], errors: str) -> None:
        self._pieces = _decoded(chunks, errors)
        self._text, self._place = "", 0

    def next_character(self) -> str:
        """Return what comes behind any space, and stays; "" at the end."""
        skipped = 0
        while True:
            space = _SPACE.match(self._text, self._place)
            end = space.end() if space else self._place
            skipped, self._place = skipped + end - self._place, end
            if skipped > ITEM_CHARACTERS:
                raise JsonStreamError("too much space")
            if self._place < len(self._text):
                return self._text[self._place]
            more = next(self._pieces, None)
            if more is None:
                return ""
            self._text, self._place = more, 0

    def take(self, expected: str) -> str:
        """Use up and return the next character, which must be one of these."""
        found = self.next_character()
        if not found or found not in expected:
            raise JsonStreamError("another kind of value, or is malformed")
        self._place += 1
        return found

    def item(self, kinds: str) -> Any:
        """Use up and return a value that begins with one of these characters."""
        found = self.next_character()
        if not found or found not in kinds:
            raise JsonStreamError("another kind of item, or is malformed")
        while True:
            try:
                item, end = _decode_item(self._text, self._place)
                if end - self._place > ITEM_CHARACTERS:
                    raise JsonStreamError("an item that is too long")
            except (ValueError, RecursionError) as exc:
                self._extend(exc)
            else:
                self._place = end
                return item

    def _extend(self, cause: Exception) -> None:
        """Add to an item that is not whole. Raises: JsonStreamError, if it is wrong."""
        parts = [self._text[self._place :]]
        size = wanted = len(parts[0])
        if wanted <= ITEM_CHARACTERS:
            # Twice as much, so that small pieces don't make the work grow as a square.
            while size <= 2 * wanted and (more := next(self._pieces, None)) is not None:
                parts.append(more)
                size += len(more)
        if size == wanted:
            raise JsonStreamError("a malformed item") from cause
        self._text, self._place = "".join(parts), 0

    def require_end(self) -> None:
        """Raises: JsonStreamError, if anything but space is left."""
        if self.next_character():
            raise JsonStreamError("something behind the end")


def _decoded(chunks: Iterable[bytes], errors: str) -> Iterator[str]:
    decoder = getincrementaldecoder("utf-8")(errors=errors)
    for chunk in chunks:
        yield decoder.decode(chunk)
    yield decoder.decode(b"", final=True)
