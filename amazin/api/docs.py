"""The description of all APIs, for programs (`/openapi.yaml`) and for people (`/docs`).

`openapi.yaml` is beside this module. So is `docs.html`, which `make generate` makes of
it. Each file is read at its first request.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from dataclasses import dataclass, replace
from functools import cache
from hashlib import sha256
from html import escape
from pathlib import Path

from amazin.access.grants import OPEN
from amazin.api.services import Services
from amazin.web.conditions import parse_tags
from amazin.web.messages import SANDBOX, Header, Request, Response, Route

DOCUMENT = Path(__file__).with_name("openapi.yaml")
PAGE = Path(__file__).with_name("docs.html")
HEALTH_PATH = "/health"
"""The path in both files; the served texts have the configured path instead."""


@dataclass(frozen=True, slots=True)
class Text:
    """A text to serve, with its headers."""

    body: bytes
    headers: tuple[Header, ...]
    tag: str
    """The ETag, without quotes."""
    policy: str = SANDBOX
    """See `Response`."""


def get_description(request: Request, services: Services) -> Response:
    """Send the OpenAPI document."""
    return sent(request, description(services.settings.health_path))


def get_page(request: Request, services: Services) -> Response:
    """Send the document as an HTML page."""
    return sent(request, page(services.settings.health_path))


ROUTES = (
    Route("GET", re.compile(r"/openapi\.yaml"), get_description, OPEN),
    Route("HEAD", re.compile(r"/openapi\.yaml"), get_description, OPEN),
    Route("GET", re.compile("/docs"), get_page, OPEN),
    Route("HEAD", re.compile("/docs"), get_page, OPEN),
)


@cache
def description(health_path: str) -> Text:
    """Return the document with this path of the health check."""
    text = DOCUMENT.read_text("utf-8")
    if health_path != HEALTH_PATH:
        for tail in ("", "/ready"):
            # A JSON string is also a YAML string, whatever characters the path has.
            key = json.dumps(health_path + tail)
            text = text.replace(f"\n  {HEALTH_PATH}{tail}:\n", f"\n  {key}:\n")
        text = text.replace(f":3000{HEALTH_PATH}", f":3000{health_path}")
    return as_text(text, "application/yaml")


@cache
def page(health_path: str) -> Text:
    """Return the page with this path of the health check."""
    text = PAGE.read_text("utf-8")
    path = escape(health_path)
    for before in (":3000", '"path">'):
        text = text.replace(f"{before}{HEALTH_PATH}", f"{before}{path}")
    policy = content_security_policy(text)
    return replace(as_text(text, "text/html; charset=utf-8"), policy=policy)


def content_security_policy(text: str) -> str:
    """Return a policy that permits the page's own style and nothing else."""
    style = text.partition("<style>")[2].partition("</style>")[0]
    digest = b64encode(sha256(style.encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    )


def as_text(text: str, content_type: str) -> Text:
    """Return a text with its headers."""
    body = text.encode()
    tag = sha256(body).hexdigest()[:32]
    validators = (("ETag", f'"{tag}"'), ("Cache-Control", "no-cache"))
    return Text(body, (("Content-Type", content_type), *validators), tag)


def sent(request: Request, text: Text) -> Response:
    """Return the text, or 304 if the client has it already. Raises: HTTPError 400."""
    condition = request.header("If-None-Match")
    if condition is not None:
        tags = parse_tags(condition)
        if tags is None or any(tag.value == text.tag for tag in tags):
            kept = [item for item in text.headers if item[0] != "Content-Type"]
            return Response(304, kept, policy=text.policy)
    return Response(200, [*text.headers], text.body, policy=text.policy)
