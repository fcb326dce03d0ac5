"""What all server processes need: their command, file limit, signals and address."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
LAUNCH = (sys.executable, "-P", str(Path(__file__).with_name("launch.py")))
"""The command that runs gunicorn, wherever the package is."""
START_LINES = "AMAZIN_START_LINES"
"""The variable with what is printed for people when the server listens."""


def bind_address(host: str, port: int) -> str:
    """Return `host:port`, with IPv6 in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def raise_file_limit() -> None:
    """Raise this process's limit of open files to the system's maximum.

    Each client and each node needs one or more; 1024 is a usual default.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # the hard limit exceeds the kernel's own limit
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def try_app(app: str) -> None:
    """Load the application in a separate process, and exit if that fails.

    A worker with a wrong setting would be restarted again and again. The master must
    not load the application itself, because gunicorn's workers have to patch modules
    first.
    """
    tried = subprocess.run([*LAUNCH, "--try", app], check=False)
    if tried.returncode:
        sys.exit(tried.returncode)


def let_forks_stop() -> None:
    """Let forked workers end on a stop signal before they have their own handlers.

    A new worker has the master's handlers, which would only record the signal; and it
    would lose signals that arrive before it runs. So the signals are blocked during the
    fork.
    """
    block = partial(signal.pthread_sigmask, signal.SIG_BLOCK, STOP_SIGNALS)
    unblock = partial(signal.pthread_sigmask, signal.SIG_UNBLOCK, STOP_SIGNALS)

    def use_default_handlers() -> None:
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        unblock()

    os.register_at_fork(
        before=block, after_in_parent=unblock, after_in_child=use_default_handlers
    )
