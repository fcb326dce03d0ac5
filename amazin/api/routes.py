"""All that is served, API by API; the first pattern that fits a path counts."""

from __future__ import annotations

from amazin.api import blobs, buckets, docs, objects, operations, presign
from amazin.settings.settings import Settings
from amazin.web.messages import Route


def all_routes(settings: Settings) -> list[Route]:
    """Return the routes of every API, the one for the most requests first."""
    return [
        *objects.ROUTES,
        *buckets.ROUTES,
        *presign.ROUTES,
        *(blobs.ROUTES if settings.blob_api else ()),
        *operations.routes(settings),
        *docs.ROUTES,
    ]
