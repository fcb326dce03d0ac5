"""Our gateway as it is shipped, and under threads: each request logged.

Its log goes into a file, as a container's does.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests.support.gateway_process import GatewayProcess

GUNICORN, GTHREAD = "gunicorn", "gunicorn gthread"
GTHREAD_THREADS = 1000
"""Per worker: with fewer, slow clients would leave none for others."""


def make_gateway(
    folder: Path, settings: Mapping[str, str], server: str = GUNICORN
) -> GatewayProcess:
    """Return a gateway, not started. `server`: `GUNICORN` or `GTHREAD`."""
    own = {"LOG_LEVEL": "info"}
    if server == GTHREAD:
        threads = f"--worker-class gthread --threads {GTHREAD_THREADS}"
        own["GUNICORN_CMD_ARGS"] = threads
    return GatewayProcess(folder, {**settings, **own})
