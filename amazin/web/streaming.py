"""Responses whose length is unknown when they begin: lists and archives.

If all of it fits into the first piece, it is sent with its length; a failure before
that has an error status. A later failure breaks the connection: the response never ends
as if it were complete. A piece does not wait long for slow entries, such as the common
prefixes of many keys.

For an HTTP/1.0 client, the response ends with the connection. So a broken one ends with
a reset (`client_connection.py`). Under servers that don't give the connection away, the
client can see that something is missing: the list has no `]`, the archive no central
directory.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any

from amazin.web.messages import Header, Response

START_BYTES = 8 * 1024
"""Size of the first piece: some 60 entries of a list. The status waits for it."""
PIECE_BYTES = 64 * 1024
"""Minimum size of later pieces, except of the last one and of slow ones."""
PIECE_SECONDS = 0.02
"""After this time the next entry completes a piece of any size."""

Pieces = Generator[bytes, None, None]
Clock = Callable[[], float]


def streamed(
    headers: Iterable[Header], pieces: Pieces, clock: Clock = time.monotonic
) -> Response:
    """Return 200 with these bytes; `pieces` is closed at the end.

    Raises: what `pieces` raises before the end of the first piece.
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
    """The body of a streamed response; owns its source until closed."""

    def __init__(self, start: bytes, pieces: Pieces, clock: Clock) -> None:
        self._start = start
        self._pieces = pieces
        self._clock = clock

    def __iter__(self) -> Iterator[bytes]:
        """Yield pieces that are large enough for a system call each."""
        yield self._start
        is_whole = False
        while not is_whole:
            piece, is_whole = gathered(self._pieces, PIECE_BYTES, self._clock)
            if piece:
                yield piece

    def close(self) -> None:
        """Close the source of the bytes. Idempotent."""
        self._pieces.close()


def gathered(pieces: Pieces, size: int, clock: Clock) -> tuple[bytes, bool]:
    """Return the next pieces joined, and whether that was the end.

    Before the end, they have at least `size` bytes, or took `PIECE_SECONDS`.
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
