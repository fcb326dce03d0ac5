"""Where granian does otherwise than PEP 3333 says, and what is done about it. Pure.

- A chunked body that was cut off ends as if it were whole: none is taken (411).
- A header with a byte above 127 is empty when it comes to the application: an empty one
  is not stored (400).
- Headers of a response are encoded in UTF-8, not in Latin-1: `encodable`.

And an answer without a Content-Length that fails on the way ends as if it were whole:
such answers show by themselves whether they are (`api/streams.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from wsgiref.types import WSGIEnvironment


def is_granian(environ: WSGIEnvironment) -> bool:
    """Whether this request came through granian."""
    return environ.get("SERVER_SOFTWARE") == "Granian"


def encodable(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return headers whose UTF-8 is what their Latin-1 was.

    A value whose bytes are no UTF-8 goes out as the same text, in other bytes.
    """
    return [(name, _reread(value)) for name, value in headers]


def _reread(value: str) -> str:
    if value.isascii():
        return value
    try:
        return value.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        return value
