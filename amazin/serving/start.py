"""Starts the HTTP server that SERVER names: `python -m amazin.serving.start`.

gunicorn reads the rest in `gunicorn_config.py`; granian is told here. Imports neither
before it is chosen. What the two can't do: docs/servers.md.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from amazin.errors import SettingsError
from amazin.logs import logging_config
from amazin.settings.config_file import load_settings
from amazin.settings.settings import Settings

CLIENT_TIMEOUT_SECONDS = 300
"""A client that is silent for so long in the middle of a body, or takes nothing of a
download, is cut off."""
HEAD_SECONDS = 5
"""For a connection to send its next request, and for a whole request head."""
STOP_SECONDS = 30
"""What running transfers get when the server is told to stop."""
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
GATEWAY = "wsgi:app"
LAUNCH = (sys.executable, "-P", str(Path(__file__).with_name("launch.py")))
"""The command that runs gunicorn, wherever these modules are."""
REGISTRATION = (*LAUNCH, "--register")
DEREGISTER_SECONDS = 2.0
"""From being told to stop: so long an agent that does not answer may delay the end."""
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


def try_app(app: str = GATEWAY) -> None:
    """Try the application out in a process of its own: a wrong setting ends the start.

    A worker that fails would be started again and again; and the master must import
    nothing that gunicorn's workers have yet to patch.
    """
    tried = subprocess.run([*LAUNCH, "--try", app], check=False)
    if tried.returncode:
        sys.exit(tried.returncode)


def check_registration(settings: Settings) -> None:
    """End the start if the gateway is to register itself, but can't."""
    if settings.consul_enabled and importlib.util.find_spec("consul") is None:
        hint = "pip install '.[consul]'"
        raise SystemExit(f"Settings: CONSUL_ENABLED: no py-consul here: {hint}")


class Registrar:
    """Has a process of its own keep this gateway known to Consul: one for all workers.

    The master of the workers must neither import what gunicorn's have yet to patch nor
    have a thread while it forks. The process ends itself when all others are gone.
    """

    def __init__(self, command: Sequence[str] = REGISTRATION) -> None:
        """Begin; told to stop, this process from now on also has it deregister."""
        self._owner = os.getpid()
        self._told_at: float | None = None
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, bufsize=0)
        for number in STOP_SIGNALS:
            self._listen_to(number)

    def _listen_to(self, number: signal.Signals) -> None:
        handler = signal.getsignal(number)
        if not callable(handler):
            return

        def tell_and_handle(number: int, frame: FrameType | None) -> None:
            self.tell()
            handler(number, frame)

        signal.signal(number, tell_and_handle)

    @property
    def is_running(self) -> bool:
        """Whether the process lives."""
        return self._process.poll() is None

    def tell(self) -> None:
        """Have the gateway deregistered, without waiting for it; nothing in a worker.

        Before the workers finish their transfers: nobody is to be sent here any more.
        """
        if os.getpid() != self._owner or self._told_at is not None:
            return
        self._told_at = time.monotonic()
        with suppress(OSError):  # it is gone
            os.write(self._process.stdin.fileno(), b"x")  # type: ignore[union-attr]

    def stop(self) -> None:
        """Wait until the gateway is deregistered, but not for long."""
        if os.getpid() != self._owner:
            return
        self.tell()
        deadline = (self._told_at or 0.0) + DEREGISTER_SECONDS
        try:
            self._process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdin.close()  # type: ignore[union-attr]


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
