"""Server knobs, read by `gunicorn wsgi:app` by itself.

gevent: thousands of slow clients cost a few kilobytes each instead of a thread.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from errors import SettingsError
from logs import logging_config
from settings import Settings

try:
    settings = Settings.from_environ(os.environ)
except SettingsError as exc:
    raise SystemExit(f"Settings: {exc}") from None
CLIENT_TIMEOUT_SECONDS = 300
"""A client silent for this long in the middle of a body is cut off. Also the time in
which it must take 256 KiB of a download: slow lines need it long."""

bind = (
    f"[{settings.host}]:{settings.port}"
    if ":" in settings.host
    else f"{settings.host}:{settings.port}"
)
worker_class = "gevent"
workers = settings.workers
worker_connections = 10_000
keepalive = 5
"""Seconds for a connection to send its next request, and for a whole request head; so
long an idle client also delays a stop."""
timeout = 60
"""Seconds after which a worker whose event loop stands still is replaced."""
graceful_timeout = 30
"""Seconds that running transfers get when the server is told to stop."""
limit_request_line = 8190
logconfig_dict = logging_config(settings.least_level)
accesslog = None
control_socket_disable = True
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None
forwarded_allow_ips = ""


def on_starting(server: Any) -> None:
    """Try the application out in a process of its own: a wrong setting ends the start.

    A worker that fails would be started again and again; and the master must import
    nothing that the workers' gevent has yet to patch.
    """
    tried = subprocess.run([sys.executable, "-c", "import wsgi"], check=False)
    if tried.returncode:
        sys.exit(tried.returncode)


def pre_request(worker: Any, request: Any) -> None:
    """Limit how long a client may be silent; before each request."""
    sock = getattr(request.unreader, "sock", None)
    if sock is not None:
        sock.settimeout(CLIENT_TIMEOUT_SECONDS)


def post_request(worker: Any, request: Any, environ: Any, response: Any) -> None:
    """Close the connection if the rest of a body is still to come.

    gunicorn itself would read all of it, without any bound and without a break.
    """
    from gateway import UNREAD_BODY

    if environ.get(UNREAD_BODY):
        request.force_close()


def post_worker_init(worker: Any) -> None:
    """Read bodies in pieces of 256 KiB; gunicorn's own 8 KiB cost a third of the speed.

    The attribute is not documented: without it uploads are slower, nothing else.

    Ctrl-C reaches the whole process group: that is the master's to answer, which then
    tells the workers.
    """
    from gunicorn.http import unreader

    if hasattr(unreader.SocketUnreader, "max_body_chunk"):
        unreader.SocketUnreader.max_body_chunk = 256 * 1024
    signal.signal(signal.SIGINT, signal.SIG_IGN)
