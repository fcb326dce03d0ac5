"""Starts the HTTP server that SERVER names: `python -m amazin.serving.start`.

gunicorn reads the rest in `gunicorn_config.py`; granian is told here. Imports neither
before it is chosen. What the two can't do: docs/servers.md.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from amazin.errors import SettingsError
from amazin.logs import logging_config
from amazin.serving.limits import (
    CLIENT_TIMEOUT_SECONDS,
    GATEWAY,
    HEAD_SECONDS,
    LAUNCH,
    STOP_SECONDS,
    end_forks_when_told,
    raise_file_limit,
    try_app,
)
from amazin.serving.registrar import Registrar, check_registration
from amazin.settings.config_file import load_settings
from amazin.settings.settings import Settings

THREADS = 1000
"""granian: requests at a time in each worker; threads are made as they are needed. A
slow upload costs 60 KiB, a slow download 2.3 MiB."""
CONNECTIONS = 10_000
"""granian: connections of each worker, idle ones among them."""
BUFFER_BYTES = 64 * 1024
"""granian: of each connection; no request head may be longer."""


def main() -> NoReturn:
    """Become the server."""
    try:
        settings = load_settings(os.environ)
    except SettingsError as exc:
        raise SystemExit(f"Settings: {exc}") from None
    if settings.server == "granian":
        run_granian(settings)
        sys.exit()
    run_gunicorn(GATEWAY)


def run_gunicorn(app: str, *addresses: str) -> NoReturn:
    """Become gunicorn, with our knobs, serving `module:app` at these addresses."""
    options = [option for address in addresses for option in ("--bind", address)]
    if app != GATEWAY:  # blobs may have longer headers than objects on nodes
        options += ["--limit-request-field_size", "65536"]
    knobs = ("-c", "python:amazin.serving.gunicorn_config")
    os.execv(sys.executable, [*LAUNCH, *knobs, *options, app])


def run_granian(settings: Settings) -> None:
    """Serve with granian until told to stop."""
    try:
        from granian.constants import HTTPModes, Interfaces
        from granian.http import HTTP1Settings
        from granian.log import LogLevels
        from granian.server import Server
    except ImportError:
        hint = "pip install '.[granian]'"
        raise SystemExit(f"Settings: SERVER: no granian here: {hint}") from None
    check_registration(settings)
    address = free_address(settings.host, settings.port)
    try_app()
    raise_file_limit()
    end_forks_when_told()
    # It advises against so many threads: those of slow clients only wait.
    advice = "Python threads"
    logging.getLogger("_granian").addFilter(lambda record: advice not in record.msg)
    server = Server(
        "wsgi:app",
        address=address,
        port=settings.port,
        interface=Interfaces.WSGI,
        http=HTTPModes.http1,
        websockets=False,
        workers=settings.workers,
        blocking_threads=THREADS,
        backpressure=CONNECTIONS,
        http1_settings=HTTP1Settings(
            header_read_timeout=HEAD_SECONDS * 1000, max_buffer_size=BUFFER_BYTES
        ),
        log_level=LogLevels(settings.least_level),
        log_dictconfig=logging_config(settings.least_level),
        respawn_failed_workers=True,
        workers_kill_timeout=STOP_SECONDS,
    )
    if settings.consul_enabled:
        server.on_startup(lambda: server.on_shutdown(Registrar().stop))
    server.main_loop_interrupt = Reminder(server)  # type: ignore[assignment]
    server.serve(target_loader=load_app, wrap_loader=False)


class Reminder:
    """What wakes granian's master; in the place of its `threading.Event`.

    That one it clears when it replaces a worker: told to stop just then, it would
    forget it. And a signal's handler that sets it while it is being cleared would wait
    for itself.
    """

    def __init__(self, server: Any) -> None:
        self._server = server
        self._changed = threading.Condition()  # which a handler may enter again
        self._is_set = False

    def set(self) -> None:
        """Wake the master. May be called by a signal's handler."""
        with self._changed:
            self._is_set = True
            self._changed.notify_all()

    def clear(self) -> None:
        """Let the master wait again, unless it was told to stop."""
        with self._changed:
            self._is_set = False
            if self._server.interrupt_signal:
                self._is_set = True

    def wait(self) -> bool:
        """Wait until there is something to do."""
        with self._changed:
            while not self._is_set:
                self._changed.wait()
        return True


def free_address(host: str, port: int) -> str:
    """Return the address of a host; ends the start if its port can't be listened on.

    granian takes no names, and would share the port with whoever has it already.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(found[0]) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(found[4])
            probe.listen()
    except OSError as exc:
        message = f"Settings: can't listen on {host}, port {port}: {exc.strerror}"
        raise SystemExit(message) from None
    return str(found[4][0])


def load_app() -> Any:
    """Return the application; runs in each of granian's workers, in its main thread."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for work in (partial(repeat_signals, reader, stopping()), limit_silence_soon):
        threading.Thread(target=work, daemon=True).start()
    from wsgi import app

    return app


def stopping() -> threading.Event:
    """Return what is set when this worker says that it stops."""
    event, log = threading.Event(), logging.getLogger("_granian.serve")
    least = log.getEffectiveLevel()

    def note(record: logging.LogRecord) -> bool:
        if record.getMessage().startswith("Stopping worker"):
            event.set()
        return record.levelno >= least

    log.setLevel(logging.INFO)
    log.addFilter(note)
    return event


def repeat_signals(reader: int, is_stopping: threading.Event) -> None:
    """Send this process what tells it to stop again, until it does.

    Just before granian's worker begins to serve a signal is lost on it; a second one
    that it hears would cut off what is running.
    """
    while (number := os.read(reader, 1)[0]) not in (signal.SIGTERM, signal.SIGINT):
        pass
    while not is_stopping.wait(0.5):
        os.kill(os.getpid(), number)


def limit_silence_soon() -> None:
    """Limit the silence of this process's clients, once it listens."""
    deadline = time.monotonic() + 60
    while not limit_silence(CLIENT_TIMEOUT_SECONDS) and time.monotonic() < deadline:
        time.sleep(0.05)


def limit_silence(seconds: int) -> int:
    """Have the system break connections to clients that vanished or take no bytes.

    granian itself waits for ever, each time with a thread. Connections inherit what is
    set on the socket that listens. Returns how many of those there are; Linux only.
    """
    count = 0
    files = Path("/proc/self/fd").glob("*")
    for number in [int(file.name) for file in files if file.is_socket()]:
        with suppress(OSError), socket.socket(fileno=os.dup(number)) as sock:
            if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                continue
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, seconds // 5)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, seconds // 5)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, seconds * 1000)
            count += 1
    return count


if __name__ == "__main__":
    main()
