"""What all APIs are, for programs (`/openapi.yaml`) and for people (`/docs`).

Both come from `openapi.yaml` beside this module; it is read at the first request.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from amazin.api.docs_page import CONTENT_SECURITY_POLICY, html_page
from amazin.api.services import Services
from amazin.web.conditions import parse_tags
from amazin.web.messages import Header, Request, Response, Route

DOCUMENT = Path(__file__).with_name("openapi.yaml")
HEALTH_PATH = "/health"
"""As the document has it; what is served names the path that was set."""


@dataclass(frozen=True, slots=True)
class Text:
    """A text to serve, as it goes out."""

    body: bytes
    headers: tuple[Header, ...]
    tag: str
    """Its ETag, without quotes."""


def get_description(request: Request, services: Services) -> Response:
    """Send the OpenAPI document."""
    return sent(request, description(services.settings.health_path))


def get_page(request: Request, services: Services) -> Response:
    """Send the document as a page of HTML."""
    return sent(request, page(services.settings.health_path))


ROUTES = (
    Route("GET", re.compile(r"/openapi\.yaml"), get_description, is_open=True),
    Route("HEAD", re.compile(r"/openapi\.yaml"), get_description, is_open=True),
    Route("GET", re.compile("/docs"), get_page, is_open=True),
    Route("HEAD", re.compile("/docs"), get_page, is_open=True),
)


@cache
def description(health_path: str) -> Text:
    """Return the document, with this path where liveness is asked for."""
    text = DOCUMENT.read_text("utf-8")
    if health_path != HEALTH_PATH:
        for tail in ("", "/ready"):
            # A JSON string is one of YAML, too, whatever the path has in it.
            key = json.dumps(health_path + tail)
            text = text.replace(f"\n  {HEALTH_PATH}{tail}:\n", f"\n  {key}:\n")
        text = text.replace(f":3000{HEALTH_PATH}", f":3000{health_path}")
    return as_text(text, "application/yaml")


@cache
def page(health_path: str) -> Text:
    """Return the page."""
    document = parsed(description(health_path).body)
    policy = ("Content-Security-Policy", CONTENT_SECURITY_POLICY)
    return as_text(html_page(document), "text/html; charset=utf-8", policy)


def parsed(text: bytes) -> dict[str, Any]:
    """Return an OpenAPI document as what its YAML means."""
    import yaml  # which no other request needs

    # PyYAML's own parser takes a second for this document, libyaml's a twentieth.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    document: dict[str, Any] = yaml.load(text, loader)
    return document


def as_text(text: str, content_type: str, *headers: Header) -> Text:
    """Return a text with the headers that belong to it."""
    body = text.encode()
    tag = sha256(body).hexdigest()[:32]
    validators = (("ETag", f'"{tag}"'), ("Cache-Control", "no-cache"))
    return Text(body, (("Content-Type", content_type), *headers, *validators), tag)


def sent(request: Request, text: Text) -> Response:
    """Return the text, or 304 if the client has it. Raises: HTTPError 400."""
    condition = request.header("If-None-Match")
    if condition is not None:
        tags = parse_tags(condition)
        if tags is None or any(tag.value == text.tag for tag in tags):
            kept = [item for item in text.headers if item[0] != "Content-Type"]
            return Response(304, kept)
    return Response(200, [*text.headers], text.body)
