"""Settings that have no effect any more."""

from __future__ import annotations

from dataclasses import dataclass

from amazin.settings import converters
from amazin.settings.converters import setting


@dataclass(frozen=True)
class RemovedSettings:
    """Settings of earlier versions; their defaults are accepted, and have no effect."""

    server: str = setting(
        converters.only("gunicorn", "granian was removed, gunicorn serves"),
        "gunicorn",
        "Removed: gunicorn serves; other servers can run `wsgi:app` (docs/servers.md).",
        place="server.kind",
    )
