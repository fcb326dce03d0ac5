"""The settings of gunicorn for all applications; a module, so that it gets installed.

The worker class is gevent: a slow client costs a few kilobytes instead of a thread.
"""

import os
import signal
import time
from contextlib import suppress
from types import FrameType
from typing import Any

from gunicorn.glogging import Logger

from amazin.access.rules import CHECKED
from amazin.blocking import pause
from amazin.errors import SettingsError
from amazin.logs import logging_config
from amazin.metrics import slots
from amazin.serving import checks, processes, registrar
from amazin.settings.config_file import load_settings, remarks
from amazin.settings.settings import Settings

try:
    settings = load_settings(os.environ)
except SettingsError as exc:
    raise SystemExit(f"Settings: {exc}") from None
bind = processes.bind_address(settings.host, settings.port)
worker_class = "gevent"
workers = settings.workers
worker_connections = 10_000
keepalive = max(1, round(settings.client_idle_timeout))
"""Seconds until the head of the next request must arrive on a connection."""
timeout = 60
"""Seconds after which a worker is replaced if its event loop is blocked."""
graceful_timeout = 30
"""Seconds for transfers in progress when the server has to stop."""
CLIENT_TIMEOUT_SECONDS = 300
"""A client is disconnected if it sends nothing of a body for this long, or takes
nothing of a download."""
limit_request_line = 8190
MOST_HEAD_BYTES = 128 * 1024
"""Of all headers of a request together. gunicorn limits their number and each of them:
800 KiB in all, for which it works 60 ms, because that grows with the square."""
limit_request_field_size = 16 * 1024
"""For one header, in bytes: logins in front add longer ones than gunicorn's 8 KiB."""
SMALL_BYTES = 64 * 1024
"""Bodies up to this size are sent together with the head of the response."""
logconfig_dict = logging_config(settings.least_level)
accesslog = None
"""The applications log each request themselves."""
control_socket_disable = True
"""Nothing uses gunicorn's control socket, and it would be a file to protect."""
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
forwarded_allow_ips = ""
"""gunicorn must not interpret X-Forwarded-... headers: the gateway does that itself, by
the setting FORWARDED_ALLOW_IPS."""


class NoAccessLogger(Logger):  # type: ignore[misc]
    """gunicorn's logger without the access log, which would cost time for nothing."""

    def access(self, *about: Any) -> None:
        """Do nothing: the application logs each request."""


logger_class = NoAccessLogger


def is_gateway(server: Any) -> bool:
    """Whether the server serves the gateway; blob servers don't use Consul."""
    return not server.app.app_uri.startswith("amazin.serving.blob_apps:")


def on_starting(server: Any) -> None:
    """Check the settings, and exit if one is wrong."""
    for sentence in remarks(os.environ):
        server.log.warning(sentence)
    if is_gateway(server):
        registrar.check_registration(settings)
    checks.check_spool(settings.spool_dir)
    processes.try_app(server.app.app_uri)
    os.environ[CHECKED] = "1"
    checks.check_addresses(server, bind)
    processes.raise_file_limit()
    _share_metrics(server, settings)


def _share_metrics(server: Any, settings: Settings) -> None:
    """Make what the workers' counters need, unless it is there already."""
    if settings.metrics and is_gateway(server) and not hasattr(server, "slots"):
        slots.make_folder()
        server.slots = slots.Slots()


def on_reload(server: Any) -> None:
    """Have new workers count for all, if the settings say so now and did not before."""
    with suppress(SettingsError):  # of which the workers will tell
        _share_metrics(server, load_settings(os.environ))


def pre_fork(server: Any, worker: Any) -> None:
    """Give the worker a slot, by which its counters are found."""
    if taken := getattr(server, "slots", None):
        taken.take(worker)


def when_ready(server: Any) -> None:
    """Say that the server listens, and register the gateway once, for all workers.

    From now on, new workers end when they receive a stop signal, even before they have
    signal handlers.
    """
    processes.let_forks_stop()
    if lines := os.environ.pop(processes.START_LINES, ""):
        print(lines, flush=True)
    elif warning := checks.open_access(settings, server.cfg.address):
        server.log.warning(warning)
    if settings.consul_enabled and is_gateway(server):
        server.registrar = registrar.Registrar()


def post_fork(server: Any, worker: Any) -> None:
    """Let only the first of several signals that end a worker at once do so.

    gunicorn's handler exits a moment later; a second one would do so in the middle of
    the interpreter's end, and that is logged as a stack trace.
    """
    quit_once = iter([worker.handle_quit])

    def handle_quit(number: int, frame: FrameType | None) -> None:
        for handle in quit_once:
            handle(number, frame)

    worker.handle_quit = handle_quit


def child_exit(server: Any, worker: Any) -> None:
    """Let another worker have the slot of this one, which has ended."""
    if taken := getattr(server, "slots", None):
        taken.free(worker)


def worker_exit(server: Any, worker: Any) -> None:
    """Stop the background threads of the application."""
    close = getattr(getattr(worker, "wsgi", None), "close", None)
    if close:
        close()


def on_exit(server: Any) -> None:
    """Wait until the gateway is deregistered; the stop signal started that."""
    started: registrar.Registrar | None = getattr(server, "registrar", None)
    if started:
        started.close()
    slots.remove_folder()


def pre_request(worker: Any, request: Any) -> None:
    """Let other clients run, and limit how long this one may be silent.

    The limit is also the time in which it must take 256 KiB of a download, so that slow
    lines need a long one.
    """
    pause()  # gunicorn does not pause between requests that are here already
    sock = getattr(request.unreader, "sock", None)
    if sock is not None:
        sock.settimeout(CLIENT_TIMEOUT_SECONDS)
    if getattr(request, "_expected_100_continue", False):
        from amazin.web.server_quirks import hold_continue

        hold_continue(request, sock)
    # RFC 9110 section 2.5: 1.2 is answered as the highest version that is known.
    request.version = min(request.version, (1, 1))


def post_request(worker: Any, request: Any, environ: Any, response: Any) -> None:
    """Close the connection if the request's body was not read to its end.

    gunicorn would read all of the rest, without a limit and without a pause.
    """
    from gateway import UNREAD_BODY

    if environ.get(UNREAD_BODY):
        request.force_close()


def post_worker_init(worker: Any) -> None:
    """Change internals of gunicorn that have no setting, if they still exist.

    Bodies are read in pieces of 256 KiB: gunicorn's 8 KiB cost a third of the speed. A
    small body is sent with its head: that saves an eighth of gunicorn's CPU time. Its
    settings, and the date within a second, are computed once: that saves a tenth. Reads
    end at the request's deadline, and pause between many small chunks. All headers
    together have a limit. What gunicorn itself refuses is answered in JSON.

    Workers ignore SIGINT: Ctrl-C reaches the whole process group, and the master
    handles it and then stops the workers.
    """
    from gunicorn import util
    from gunicorn.http import wsgi

    from amazin.serving.idle import watch
    from amazin.serving.refusals import refuse
    from amazin.web.dates import http_date

    _change_reading()
    if all(hasattr(wsgi.Response, name) for name in ("send_headers", "_emit_body")):
        wsgi.Response = whole_response(wsgi.Response)
    if hasattr(util, "write_error"):
        util.write_error = refuse
    if hasattr(util, "http_date"):
        util.http_date = lambda: http_date(int(time.time()))
    if hasattr(worker, "timeout_ctx"):  # of gevent
        watch(worker)
    settings = getattr(worker.cfg, "settings", {})
    vars(worker.cfg).update({name: settings[name].get() for name in settings})
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A gateway that serves nobody has to take note of new nodes, too.
    if start := getattr(getattr(worker, "wsgi", None), "start", None):
        start()


def _change_reading() -> None:
    from gunicorn.http import body, message, unreader

    from amazin.web.server_quirks import pausing, timely

    if hasattr(unreader.SocketUnreader, "chunk"):
        unreader.SocketUnreader.chunk = timely(unreader.SocketUnreader.chunk)
    if hasattr(unreader.SocketUnreader, "max_body_chunk"):
        unreader.SocketUnreader.max_body_chunk = 256 * 1024
    if hasattr(body.ChunkedReader, "parse_chunked"):
        body.ChunkedReader.parse_chunked = pausing(body.ChunkedReader.parse_chunked)
    fixed = property(lambda request: MOST_HEAD_BYTES, lambda request, value: None)
    message.Message.max_buffer_headers = fixed


def whole_response(response: type[Any]) -> type[Any]:
    """Return a subclass of gunicorn's `Response` that sends small bodies at once."""

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
            # Usually sends everything; gevent's sendall costs more.
            sent = sock.send(whole)
            if sent < len(whole):
                sock.sendall(whole[sent:])

    return WholeResponse


class HeldSocket:
    """A socket that keeps what is sent, instead of sending it."""

    sent = b""

    def sendall(self, data: bytes) -> None:
        """Keep the data."""
        self.sent += data
