"""Health checks for operators and load balancers: liveness and readiness."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import parse_qs

from amazin.api.services import Services
from amazin.errors import SettingsError
from amazin.membership.room import ANSWERING
from amazin.settings.settings import Settings
from amazin.web.access import has_token
from amazin.web.messages import Request, Response, Route, json_response


def health(request: Request, services: Services) -> Response:
    """Liveness: 200 while the process can answer."""
    return json_response(200, {"status": "UP"})


def ready(request: Request, services: Services) -> Response:
    """Readiness: asks all nodes; 200 while any answers, with `?all` while all do.

    The nodes are named to those who may use them. A full node answers: what it holds
    can be read and deleted.
    """
    states = services.states()
    answering = [state in ANSWERING for state in states.values()]
    query = request.environ.get("QUERY_STRING", "")
    wants_all = "all" in parse_qs(query, keep_blank_values=True)
    is_ready = bool(answering) and (all(answering) if wants_all else any(answering))
    body: dict[str, Any] = {"status": "UP" if is_ready else "DOWN"}
    if has_token(request, services.settings):
        body["nodes"] = [
            {"name": name, "state": states[name]} for name in sorted(states)
        ]
        if problem := services.cluster.problem():
            body["problem"] = problem
    return json_response(200 if is_ready else 503, body)


def require_free(settings: Settings, others: Iterable[Route]) -> None:
    """Raises: SettingsError, if other routes have the paths of the health checks."""
    for path in (settings.health_path, f"{settings.health_path}/ready"):
        if any(route.pattern.fullmatch(path) for route in others):
            raise SettingsError(f"HEALTH_PATH: {path} is a path of another API")


def routes(settings: Settings) -> Sequence[Route]:
    """Return the routes: liveness at `health_path`, readiness at `/ready` below it."""
    live = re.compile(re.escape(settings.health_path))
    readiness = re.compile(re.escape(settings.health_path) + "/ready")
    return (
        Route("GET", live, health, is_open=True),
        Route("HEAD", live, health, is_open=True),
        Route("GET", readiness, ready, is_open=True),
        Route("HEAD", readiness, ready, is_open=True),
    )
