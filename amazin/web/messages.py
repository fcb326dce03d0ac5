"""The north side: what every HTTP API takes and gives.

A handler takes a `Request` and returns a `Response`; it never calls `start_response`
and never maps errors: `gateway.py` does both. Routes are tuples at the top of each
module.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Protocol
from wsgiref.types import WSGIEnvironment

from amazin.settings.settings import Settings
from amazin.web.spool import SpoolRoom

Header = tuple[str, str]


@dataclass(slots=True)
class Request:
    """One request, as far as handlers need it."""

    method: str
    path: str
    """Decoded once, never normalised; bytes that aren't UTF-8 are surrogates."""
    environ: WSGIEnvironment
    id: str
    client: str = ""
    node: str = ""
    """The stable name of the node that served it, for the log."""

    def header(self, name: str) -> str | None:
        """Return a header's value by its name in `Some-Name` form; None if missing."""
        value: str | None = self.environ.get(variable(name))
        return value

    def has_any(self, variables: Iterable[str]) -> bool:
        """Whether it has one of these headers, named as the environ has them."""
        return not self.environ.keys().isdisjoint(variables)


@cache
def variable(name: str) -> str:
    """Return where the environ has a header of ours to look for."""
    key = name.upper().replace("-", "_")
    return key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else "HTTP_" + key


@dataclass(slots=True)
class Response:
    """What to answer; a body that is not bytes is closed after the last byte."""

    status: int
    headers: list[Header] = field(default_factory=list)
    body: bytes | Iterable[bytes] = b""
    length: int | None = None
    """Content-Length, if it isn't that of `body`: for HEAD and for streams."""
    is_bare: bool = False
    """Whether it goes out without X-... headers of the gateway's own: for clients that
    store all they find."""


class Served(Protocol):
    """What every application has, whatever it serves."""

    @property
    def settings(self) -> Settings:
        """What the operator decided."""

    @property
    def spool(self) -> SpoolRoom:
        """Where bodies of unknown length are held."""

    def close(self) -> None:
        """Release what runs in the background: threads, idle connections."""


Handler = Callable[..., Response]
"""Takes the request, the services, and what each group of the pattern matched, ""
for a group that took no part."""


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one family of paths; `pattern` must match the whole path."""

    method: str
    pattern: re.Pattern[str]
    handler: Handler
    is_open: bool = False
    """Whether anybody may ask, whatever `ACCESS` says."""


def json_response(status: int, value: Any, headers: Iterable[Header] = ()) -> Response:
    """Return `value` as compact JSON."""
    body = json.dumps(value, separators=(",", ":")).encode()
    return Response(status, [("Content-Type", "application/json"), *headers], body)
