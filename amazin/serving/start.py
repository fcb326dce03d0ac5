"""Starts gunicorn: `python -m amazin.serving.start` serves the gateway.

The other settings of gunicorn are in `gunicorn_config.py`.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from amazin.serving.processes import LAUNCH, START_LINES

GATEWAY = "wsgi:app"


def main(start_lines: str = "") -> NoReturn:
    """Replace this process by the gateway's server; see `run_gunicorn`."""
    run_gunicorn(GATEWAY, start_lines=start_lines)


def run_gunicorn(app: str, *addresses: str, start_lines: str = "") -> NoReturn:
    """Replace this process by gunicorn, serving `module:app` at these addresses.

    `start_lines` are printed when it listens.
    """
    os.environ[START_LINES] = start_lines
    options = [option for address in addresses for option in ("--bind", address)]
    if app != GATEWAY:  # blobs may have longer headers than objects on nodes
        options += ["--limit-request-field_size", "65536"]
    config = ("-c", "python:amazin.serving.gunicorn_config")
    os.execv(sys.executable, [*LAUNCH, *config, *options, app])


if __name__ == "__main__":
    main()
