"""All that is served, API by API; the first pattern that fits a path counts."""

from __future__ import annotations

from api import Route, blobs, buckets, docs, objects, operations, presign
from settings import Settings


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
