"""Our gateway under the servers that can run it, as it is shipped: each request logged.

Their log goes into a file, as a container's does.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path

from gateway_process import GatewayProcess

GUNICORN, GRANIAN, GTHREAD = "gunicorn", "granian", "gunicorn gthread"
GTHREAD_THREADS = 32
"""Per worker: more of them make small requests slower, fewer serve fewer at once."""


def make_gateway(
    folder: Path, settings: Mapping[str, str], server: str
) -> GatewayProcess:
    """Return a gateway, not started. `server`: `GUNICORN`, `GRANIAN` or `GTHREAD`."""
    own = {"LOG_LEVEL": "info", "SERVER": server.split()[0]}
    if server == GTHREAD:
        threads = f"--worker-class gthread --threads {GTHREAD_THREADS}"
        own["GUNICORN_CMD_ARGS"] = threads
    return GatewayProcess(folder, {**settings, **own})


def why_not(server: str) -> str:
    """Return why the gateway can't run under a server here; empty: it can."""
    if server == GRANIAN and not importlib.util.find_spec("granian"):
        return "granian is not installed"
    return ""
