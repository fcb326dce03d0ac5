"""The routes of all APIs; the first pattern that matches a path counts."""

from __future__ import annotations

from amazin.api import (
    blobs,
    buckets,
    docs,
    metrics,
    objects,
    operations,
    presign,
    status,
)
from amazin.settings.settings import Settings
from amazin.web.messages import Route


def all_routes(settings: Settings) -> list[Route]:
    """Return the routes of every API, the most used API first. Raises: SettingsError.

    The path of the health checks is the operator's choice, and hides no other route.
    """
    apis = [
        *objects.ROUTES,
        *buckets.ROUTES,
        *presign.ROUTES,
        *status.ROUTES,
        *(metrics.ROUTES if settings.metrics else ()),
        *(blobs.ROUTES if settings.blob_api else ()),
    ]
    operations.require_free(settings, [*apis, *docs.ROUTES])
    return [*apis, *operations.routes(settings), *docs.ROUTES]
