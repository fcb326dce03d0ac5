"""Health checks for operators and load balancers: liveness and readiness."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import parse_qs

from amazin.access.grants import OPEN, STATUS, WHOLE
from amazin.api.services import Services
from amazin.errors import SettingsError
from amazin.membership.member import UP
from amazin.membership.states import State
from amazin.settings.settings import Settings
from amazin.web.messages import Request, Response, Route, json_response


def health(request: Request, services: Services) -> Response:
    """Liveness: 200 while the process can answer."""
    return json_response(200, {"status": "UP"})


def ready(request: Request, services: Services) -> Response:
    """Readiness: 200 while any node can be read, with `?all` while all nodes are up.

    A node that is up can be read and stores; with `?all` there are at least as many as
    REPLICAS asks for. The nodes are named to those who may use them.
    """
    states = services.states()
    snapshot = services.cluster.snapshot()
    shortage = snapshot.shortage
    query = request.environ.get("QUERY_STRING", "")
    if "all" in parse_qs(query, keep_blank_values=True):
        are_up = all(state.word == UP for state in states.values())
        is_ready = bool(states) and are_up and not shortage
    else:
        is_ready = any(state.can_read for state in states.values())
    body: dict[str, Any] = {"status": "UP" if is_ready else "DOWN"}
    if request.principal.may(STATUS, WHOLE):
        body["nodes"] = [as_json(name, states[name]) for name in sorted(states)]
        if problem := snapshot.problem or shortage:
            body["problem"] = problem
    return json_response(200 if is_ready else 503, body)


def as_json(name: str, state: State) -> dict[str, str]:
    """Return a node's state as JSON shows it; the cause only where there is one."""
    shown = {"name": name, "state": state.word}
    return {**shown, "cause": state.cause} if state.cause else shown


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
        Route("GET", live, health, OPEN),
        Route("HEAD", live, health, OPEN),
        Route("GET", readiness, ready, OPEN),
        Route("HEAD", readiness, ready, OPEN),
    )
