"""JSON bodies: small ones read whole, lists of strings item by item.

Handlers interpret them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from wsgiref.types import WSGIEnvironment

from amazin.errors import HTTPError
from amazin.model.json_stream import JsonStreamError, member_strings
from amazin.web.bodies import stream_body

PIECE_BYTES = 16 * 1024
"""Is all that a worker holds of a list whose client does not go on."""


def read_json(environ: WSGIEnvironment, limit: int) -> Any:
    """Return the value of the JSON body; a name that occurs twice is an error.

    Raises:
        HTTPError: 400 not JSON, 411 no length, 413 more than `limit` bytes.
        BodyError: the client sent less than it announced.
        LateError: the time limit of the request has passed.
    """
    try:
        return json.loads(
            _read(environ, limit).decode(),
            object_pairs_hook=_unique,
            parse_constant=_refuse,
        )
    except (ValueError, RecursionError):
        message = "The body is not JSON in UTF-8, or has a name twice"
        raise HTTPError(400, "InvalidJson", message) from None


def read_strings(environ: WSGIEnvironment, limit: int, name: str) -> Iterator[str]:
    """Yield, as they arrive, the strings of a body like `{"name": ["a", "b"]}`.

    Raises: as `read_json`; a name that occurs twice is an error here, too.
    """
    try:
        yield from member_strings(_chunks(environ, limit, PIECE_BYTES), name)
    except (JsonStreamError, UnicodeDecodeError):
        message = f'The body is a JSON object of "{name}", an array of strings, only'
        raise HTTPError(400, "InvalidBody", message) from None


def _read(environ: WSGIEnvironment, limit: int) -> bytes:
    return b"".join(_chunks(environ, limit, limit))


def _chunks(environ: WSGIEnvironment, limit: int, piece_bytes: int) -> Iterator[bytes]:
    try:
        yield from stream_body(environ, limit, piece_bytes).chunks()
    except HTTPError as exc:
        raise _too_large(limit) if exc.status == 413 else exc from None


def _too_large(limit: int) -> HTTPError:
    message = f"The body may have {limit} bytes at most"
    return HTTPError(413, "BodyTooLarge", message)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a name comes twice")
    return members


def _refuse(name: str) -> None:
    """Raises: ValueError, because NaN and Infinity are not JSON."""
    raise ValueError(name)
