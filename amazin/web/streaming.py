"""Answers whose length nobody knows when they begin: lists and archives.

What fits into the first piece is answered whole, with its length, and a failure up to
there has a status. Later ones break the answer: it never ends as if it were complete.
No piece waits long for more where entries are slow to come, as the common prefixes of
many keys are.
For a client of HTTP/1.0 the end of the connection is the end of such an answer, broken
or not. It sees what is missing: a list has no `]`, an archive no central directory.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any

from amazin.web.messages import Header, Response

START_BYTES = 8 * 1024
"""Of the first piece: some 60 entries of a list. The status waits for it."""
PIECE_BYTES = 64 * 1024
"""Of the later ones, at least, but for the last and for slow ones."""
PIECE_SECONDS = 0.02
"""So long anything waits for more to be sent with it, on arrival of the next entry."""

Pieces = Generator[bytes, None, None]
Clock = Callable[[], float]


def streamed(
    headers: Iterable[Header], pieces: Pieces, clock: Clock = time.monotonic
) -> Response:
    """Return 200 with these bytes; closes `pieces` when it is over.

    Raises: what `pieces` raises at its start.
    """
    try:
        start, is_whole = gathered(pieces, START_BYTES, clock)
    except BaseException:
        pieces.close()
        raise
    if is_whole:
        return Response(200, [*headers], start)
    return Response(200, [*headers], StreamedAnswer(start, pieces, clock))


class StreamedAnswer:
    """The bytes of an answer; owns where they come from until closed."""

    def __init__(self, start: bytes, pieces: Pieces, clock: Clock) -> None:
        self._start = start
        self._pieces = pieces
        self._clock = clock

    def __iter__(self) -> Iterator[bytes]:
        """Yield pieces that are worth a system call."""
        yield self._start
        is_whole = False
        while not is_whole:
            piece, is_whole = gathered(self._pieces, PIECE_BYTES, self._clock)
            if piece:
                yield piece

    def close(self) -> None:
        """Release what the bytes come from. Idempotent."""
        self._pieces.close()


def gathered(pieces: Pieces, size: int, clock: Clock) -> tuple[bytes, bool]:
    """Return the next pieces, joined; whether that was the end.

    Unless it was, they are `size` bytes at least, or took `PIECE_SECONDS`.
    """
    taken: list[bytes] = []
    length = 0
    late = clock() + PIECE_SECONDS
    for piece in pieces:
        taken.append(piece)
        length += len(piece)
        if length >= size or clock() > late:
            return (piece if len(taken) == 1 else b"".join(taken)), False
    return b"".join(taken), True


def json_array(values: Iterable[Any]) -> Pieces:
    """Yield a JSON array, value by value."""
    separator = b"["
    for value in values:
        yield separator + json.dumps(value, separators=(",", ":")).encode()
        separator = b","
    yield b"[]" if separator == b"[" else b"]"
