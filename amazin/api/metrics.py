"""`GET /metrics`: the series of all workers, for Prometheus."""

from __future__ import annotations

import re

from amazin.access.grants import METRICS
from amazin.api.services import Services
from amazin.errors import HTTPError
from amazin.web.messages import Request, Response, Route

WAIT_SECONDS = 0.5
"""So long a scrape waits for what repair has found, if it is not known yet."""


def metrics(request: Request, services: Services) -> Response:
    """Show all series; no node is asked."""
    if services.metrics is None:
        raise HTTPError(404, "NoSuchRoute", "METRICS is off here")
    # The module imports the library, which is needed only if metrics are on.
    from amazin.metrics.facts import Known

    viewer = services.viewer
    findings = viewer.findings(WAIT_SECONDS)
    snapshot, shares = viewer.placed()
    is_good = services.access.is_file_good if services.access else None
    known = Known(snapshot, shares, findings, is_good)
    accept = request.header("Accept") or ""
    text, media_type = services.metrics.scrape(known, accept)
    headers = [("Content-Type", media_type), ("Cache-Control", "no-store")]
    return Response(200, headers, text)


ROUTES = (
    Route("GET", re.compile("/metrics"), metrics, METRICS),
    Route("HEAD", re.compile("/metrics"), metrics, METRICS),
)
