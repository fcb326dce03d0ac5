"""Server knobs of gunicorn, for all applications; a module, so that it is installed.

gevent: thousands of slow clients cost a few kilobytes each instead of a thread.
"""

import os
import signal
import time
from pathlib import Path
from typing import Any

from gunicorn.glogging import Logger

from amazin.errors import SettingsError
from amazin.logs import logging_config
from amazin.serving import processes, registrar
from amazin.settings.config_file import load_settings

try:
    settings = load_settings(os.environ)
except SettingsError as exc:
    raise SystemExit(f"Settings: {exc}") from None
bind = processes.bind_address(settings.host, settings.port)
worker_class = "gevent"
workers = settings.workers
worker_connections = 10_000
keepalive = 5
"""Seconds for a connection to send its next request's head. So long an idle client
also delays a stop."""
timeout = 60
"""Seconds after which a worker whose event loop stands still is replaced."""
graceful_timeout = 30
"""Seconds that running transfers get when the server is told to stop."""
CLIENT_TIMEOUT_SECONDS = 300
"""A client that is silent for so long in the middle of a body, or takes nothing of a
download, is cut off."""
limit_request_line = 8190
SMALL_BYTES = 64 * 1024
"""Answers up to this size are copied behind their head and sent with it."""
logconfig_dict = logging_config(settings.least_level)
accesslog = None
control_socket_disable = True
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None
forwarded_allow_ips = ""


class NoAccessLogger(Logger):  # type: ignore[misc]
    """gunicorn's, but for its access log: words would be gathered for it, unheard."""

    def access(self, *about: Any) -> None:
        """Each request is logged by the application."""


logger_class = NoAccessLogger


def is_gateway(server: Any) -> bool:
    """Whether it serves the gateway, rather than blobs: those have no Consul."""
    return not server.app.app_uri.startswith("amazin.serving.blob_apps:")


def on_starting(server: Any) -> None:
    """End the start if a setting is wrong."""
    if is_gateway(server):
        registrar.check_registration(settings)
    processes.try_app(server.app.app_uri)
    processes.raise_file_limit()


def when_ready(server: Any) -> None:
    """Register the gateway, once for all workers.

    Workers, once forked, end when told to stop, though they have no handlers yet.
    """
    processes.end_forks_when_told()
    if settings.consul_enabled and is_gateway(server):
        server.registrar = registrar.Registrar()


def worker_exit(server: Any, worker: Any) -> None:
    """End what the application runs in the background."""
    close = getattr(getattr(worker, "wsgi", None), "close", None)
    if close:
        close()


def on_exit(server: Any) -> None:
    """Wait until it is deregistered; that began when the stop did."""
    started: registrar.Registrar | None = getattr(server, "registrar", None)
    if started:
        started.stop()


def pre_request(worker: Any, request: Any) -> None:
    """Limit how long a client may be silent; before each request.

    Also the time in which it must take 256 KiB of a download: slow lines need it long.
    """
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
    """Turn knobs of gunicorn's that are not documented, as long as they are there.

    Bodies are read in pieces of 256 KiB: its own 8 KiB cost a third of the speed. A
    small answer is sent with its head: an eighth of what gunicorn costs. What stays the
    same, its settings and the date within a second, is worked out once: a tenth. Reads
    end when the request's time is over.

    Ctrl-C reaches the whole process group: that is the master's to answer, which then
    tells the workers.
    """
    from gunicorn import util
    from gunicorn.http import unreader, wsgi

    from amazin.web.dates import http_date
    from amazin.web.server_quirks import timely

    if hasattr(unreader.SocketUnreader, "chunk"):
        unreader.SocketUnreader.chunk = timely(unreader.SocketUnreader.chunk)
    if hasattr(unreader.SocketUnreader, "max_body_chunk"):
        unreader.SocketUnreader.max_body_chunk = 256 * 1024
    if all(hasattr(wsgi.Response, name) for name in ("send_headers", "_emit_body")):
        wsgi.Response = whole_response(wsgi.Response)
    if hasattr(util, "http_date"):
        util.http_date = lambda: http_date(int(time.time()))
    settings = getattr(worker.cfg, "settings", {})
    vars(worker.cfg).update({name: settings[name].get() for name in settings})
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def whole_response(response: type[Any]) -> type[Any]:
    """Return a kind of gunicorn's `Response` that sends small answers in one piece."""

    class WholeResponse(response):  # type: ignore[misc]
        sock: Any

        def write(self, data: bytes) -> None:
            is_small = 0 < len(data) == self.response_length <= SMALL_BYTES
            if self.headers_sent or not is_small or self.req.method == "HEAD":
                super().write(data)
                return
            sock, held = self.sock, HeldSocket()
            self.sock = held
            try:
                self.send_headers()
            finally:
                self.sock = sock
            self.sent = len(data)
            whole = held.sent + data
            sent = sock.send(whole)  # all, as a rule; gevent's sendall does more
            if sent < len(whole):
                sock.sendall(whole[sent:])

    return WholeResponse


class HeldSocket:
    """Takes what is sent, and keeps it."""

    sent = b""

    def sendall(self, data: bytes) -> None:
        """Keep it."""
        self.sent += data
