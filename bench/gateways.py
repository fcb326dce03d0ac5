"""Our gateway under the servers that can run it, as it is shipped: each request logged.

Their log goes into a file, as a container's does.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping, MutableMapping
from pathlib import Path

from tests.support.gateway_process import GatewayProcess

GUNICORN, GRANIAN, GTHREAD = "gunicorn", "granian", "gunicorn gthread"
GTHREAD_THREADS = 1000
"""Per worker, as granian's: with fewer, slow clients would leave none for others."""
LeftOut = MutableMapping[str, str]
"""Who could not be measured, and why."""


def make_gateway(
    folder: Path, settings: Mapping[str, str], server: str
) -> GatewayProcess:
    """Return a gateway, not started. `server`: `GUNICORN`, `GRANIAN` or `GTHREAD`."""
    own = {"LOG_LEVEL": "info", "SERVER": server.split()[0]}
    if server == GTHREAD:
        threads = f"--worker-class gthread --threads {GTHREAD_THREADS}"
        own["GUNICORN_CMD_ARGS"] = threads
    return GatewayProcess(folder, {**settings, **own})


def servers_here(servers: Iterable[str], left_out: LeftOut) -> list[str]:
    """Return the servers under which the gateway can run here; notes the others."""
    found = list(servers)
    if GRANIAN in found and not importlib.util.find_spec("granian"):
        found.remove(GRANIAN)
        left_out[GRANIAN] = "not installed"
    return found
