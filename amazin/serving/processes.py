"""What the server's processes share: their command, open files, signals, address."""

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
"""The command that runs gunicorn, wherever these modules are."""


def bind_address(host: str, port: int) -> str:
    """Return `host:port`, as URLs have it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def raise_file_limit() -> None:
    """Allow this process, and its workers, as many open files as the system does.

    Each client and each node takes one or more; 1024 is a usual default.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # above what the kernel itself allows
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def try_app(app: str) -> None:
    """Try the application out in a process of its own: a wrong setting ends the start.

    A worker that fails would be started again and again; and the master must import
    nothing that gunicorn's workers have yet to patch.
    """
    tried = subprocess.run([*LAUNCH, "--try", app], check=False)
    if tried.returncode:
        sys.exit(tried.returncode)


def end_forks_when_told() -> None:
    """Have workers end when told to stop, from the start until they can do better.

    They begin with their master's handlers, which would only take note of it, and what
    arrives before they run at all they would forget: that is held back for them.
    """
    hold = partial(signal.pthread_sigmask, signal.SIG_BLOCK, STOP_SIGNALS)
    let_go = partial(signal.pthread_sigmask, signal.SIG_UNBLOCK, STOP_SIGNALS)

    def end_when_told() -> None:
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        let_go()

    os.register_at_fork(
        before=hold, after_in_parent=let_go, after_in_child=end_when_told
    )
