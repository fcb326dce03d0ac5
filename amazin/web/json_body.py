"""Small JSON bodies, read whole. Handlers interpret them."""

from __future__ import annotations

import json
from typing import Any
from wsgiref.types import WSGIEnvironment

from amazin.errors import HTTPError
from amazin.web.bodies import stream_body


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


def _read(environ: WSGIEnvironment, limit: int) -> bytes:
    try:
        return b"".join(stream_body(environ, limit).chunks())
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
