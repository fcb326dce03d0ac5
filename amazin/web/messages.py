"""Requests, responses and routes, as every HTTP API uses them.

A handler takes a `Request` and returns a `Response`. It never calls `start_response`
and never maps errors, because `gateway.py` does both. Routes are tuples at the top of
each module.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Protocol
from wsgiref.types import WSGIEnvironment

from amazin.access.grants import ANY, EVERYBODY, NOBODY, WHOLE, Place, Principal
from amazin.errors import HTTPError
from amazin.settings.settings import Settings
from amazin.web.spool import SpoolRoom

Header = tuple[str, str]
SANDBOX = (
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:; "
    "media-src 'self'"
)
"""The policy for what clients stored: shown by a browser, it runs no scripts, sends no
forms, and belongs to no origin."""


@dataclass(slots=True)
class Request:
    """One HTTP request, with what handlers need."""

    method: str
    path: str
    """Decoded once, never normalised; bytes that aren't UTF-8 are surrogates."""
    environ: WSGIEnvironment
    id: str
    client: str = ""
    node: str = ""
    """The stable name of the node that served the request, for the log."""
    principal: Principal = EVERYBODY
    """Who asks."""
    credential: str = ""
    """The first 8 hexadecimal digits of the hash of what shows that, for the log."""
    api: str = "none"
    """The first part of the path that a route takes, for metrics."""
    is_presigned: bool = False
    """Whether the query has a signature, which is valid."""
    is_audited: bool = False
    """Whether the audit log has what the request changes: access is not open."""
    decision: tuple[str, Place] | None = None
    """What the principal had to be allowed: action and place; None: nothing yet."""
    page_headers: Sequence[Header] = ()
    """What a response has for pages of other origins."""

    def header(self, name: str) -> str | None:
        """Return a header's value by its name, like `Some-Name`; None if missing."""
        value: str | None = self.environ.get(variable(name))
        return value

    def require(self, action: str, place: Place) -> None:
        """Check that the principal may do this. Raises: HTTPError 401 or 403."""
        if self.principal.may(action, place):
            return
        if self.principal.name == NOBODY.name:
            raise no_credentials()
        raise HTTPError(403, "NotAllowed", denial(action, place))

    def has_any(self, variables: Iterable[str]) -> bool:
        """Whether the request has one of these headers, named as in the environ."""
        return not self.environ.keys().isdisjoint(variables)


def denial(action: str, place: Place) -> str:
    """Return a sentence for who may not do this."""
    if action != ANY:
        return f"You may not do this: {action}, in {place}"
    key = "this key of " if place.bucket and place.key else ""
    return f"You may not do anything with {key}{place}"


def no_credentials() -> HTTPError:
    """Return the error for a request that shows nobody."""
    message = "Send an API token (Authorization: Bearer ...), or use a signed URL"
    challenge = ("WWW-Authenticate", "Bearer")
    return HTTPError(401, "NoCredentials", message, [challenge])


@cache
def variable(name: str) -> str:
    """Return the environ's key for a header. Cached, so not for clients' own names."""
    key = name.upper().replace("-", "_")
    return key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else "HTTP_" + key


@dataclass(slots=True)
class Response:
    """An HTTP response; a body that is not bytes is closed after the last byte."""

    status: int
    headers: list[Header] = field(default_factory=list)
    body: bytes | Iterable[bytes] = b""
    length: int | None = None
    """Content-Length, if it isn't the length of `body`: for HEAD and for streams."""
    policy: str = SANDBOX
    """Content-Security-Policy; a page of our own has another one."""
    is_bare: bool = False
    """Whether the gateway adds no X-... headers that tell of this response: some
    clients store them with the object."""


class Served(Protocol):
    """The services that every application has."""

    @property
    def settings(self) -> Settings:
        """The settings of the operator."""

    @property
    def spool(self) -> SpoolRoom:
        """Holds bodies of unknown length."""

    def start(self) -> None:
        """Begin what goes on in the background, in the process that serves."""

    def close(self) -> None:
        """Stop the background threads, and close idle connections."""


Handler = Callable[..., Response]
"""Takes the request, the services, and what each group of the pattern matched ("" for a
group that did not match)."""


PlaceOf = Callable[[Request, Settings, Sequence[str]], Place]


def everywhere(request: Request, settings: Settings, groups: Sequence[str]) -> Place:
    """Return the whole cluster as the place of an action."""
    return WHOLE


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one family of paths; `pattern` must match the whole path."""

    method: str
    pattern: re.Pattern[str]
    handler: Handler
    action: str
    """What whoever asks has to be allowed; OPEN: nothing."""
    place: PlaceOf = everywhere
    """Returns where, from the request, the settings and the pattern's groups."""
    takes_json: bool = False
    """Whether the body has to be announced as JSON."""


def json_response(status: int, value: Any, headers: Iterable[Header] = ()) -> Response:
    """Return `value` as compact JSON."""
    body = json.dumps(value, separators=(",", ":")).encode()
    return Response(status, [("Content-Type", "application/json"), *headers], body)
