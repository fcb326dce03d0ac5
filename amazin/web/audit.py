"""The audit log: who changed what, who was given a URL, who was refused.

Only where access is not open. Never credentials: the first digits of their hash.
"""

from __future__ import annotations

import logging

from amazin.access.grants import BUCKET, DELETE, WRITE, Place
from amazin.logs import EventRecord
from amazin.web.messages import Request

PRESIGN = "presign"
"""The action of whoever asks for a URL, which the request's decision names."""
_AUDITED = frozenset((WRITE, DELETE, BUCKET, PRESIGN))
_DENIED = (401, 403)

log = logging.getLogger("amazin.audit")


def audit(request: Request, status: int) -> None:
    """Log the request, if it changed something or was refused."""
    action, place = request.decision or ("", None)
    if action in _AUDITED or status in _DENIED:
        audit_action(request, action, place, status)


def audit_action(
    request: Request, action: str, place: Place | None, status: int
) -> None:
    """Log one action of a request, which may have several."""
    if not log.isEnabledFor(logging.INFO):
        return
    fields = {
        "requestId": request.id,
        "principal": request.principal.name if request.decision else "",
        "credential": request.credential,
        "action": action,
        "kind": place.kind if place else "",
        "bucket": (place.bucket if place else "") or "",
        "key": (place.key if place else "") or "",
        "status": status,
        "client": request.client,
    }
    log.handle(EventRecord(log.name, "audit", fields))
