"""A gateway under a real HTTP server as a process of its own, and a client for it."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from amazin.model.node_specs import NodeSpec
from tests.support.paths import PROJECT
from tests.support.ports import free_port

COMMANDS: Mapping[str, Sequence[str]] = {
    "gunicorn": ("-m", "gunicorn", "wsgi:app"),
    "start": ("-m", "amazin.serving.start"),
    "wsgiref": ("-m", "tests.support.wsgiref_server"),
}
"""How each server is started: Python's arguments."""
START_SECONDS, STOP_SECONDS = 30.0, 45.0
POLL_SECONDS = 0.02


def nodes_setting(specs: Iterable[NodeSpec]) -> str:
    """Return the value of NODES for these nodes."""
    return ",".join(
        "{}=http://{}:{}@{}".format(
            spec.name,
            spec.access_key,
            spec.secret_key,
            (spec.endpoint or "").removeprefix("http://"),
        )
        for spec in specs
    )


@dataclass
class Answer:
    """A whole response."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes


class ServerProcess:
    """A server on a port of loopback, in a process group of its own."""

    def __init__(
        self,
        port: int,
        log: Path,
        command: Sequence[str],
        folder: Path,
        environ: Mapping[str, str],
    ) -> None:
        """The command is to run in this folder; what it prints goes to the log."""
        self.port = port
        self.log = log
        self._command = command
        self._folder = folder
        self._environ = environ
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Start it and wait until a worker answers."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._folder,
                env=self._environ,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            return self.wait()
        except BaseException:
            self.kill()
            raise

    def wait(self) -> Self:
        """Wait until a worker answers."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            with suppress(OSError, http.client.HTTPException):
                if self.ask("GET", "/health").status == 200:
                    return self
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise AssertionError(self.log.read_text())
            time.sleep(POLL_SECONDS)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *error: object) -> None:
        self.kill()

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The master process, once started."""
        assert self._process is not None
        return self._process

    def terminate(self) -> None:
        """Ask it to stop, as `docker stop` does, without waiting."""
        self.process.send_signal(signal.SIGTERM)

    def stop(self) -> int:
        """Stop it; returns its exit code. Harmless if it doesn't run."""
        if self._process is None:
            return 0
        self.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_SECONDS)
        return self.kill()

    def kill(self) -> int:
        """End it and its workers as a power cut would; returns its exit code."""
        process, self._process = self._process, None
        if process is None:
            return 0
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        return process.wait(STOP_SECONDS)

    def workers(self) -> list[int]:
        """Return the process ids of the workers."""
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        return [int(child) for child in children.split()]

    def connect(self, timeout: float = 30) -> http.client.HTTPConnection:
        """Return a connection to it."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 30,
    ) -> Answer:
        """Send one request on a connection of its own."""
        return ask(self.port, method, path, body, headers, timeout)


class GatewayProcess(ServerProcess):
    """A gateway with these settings; `server` is one of `COMMANDS`."""

    def __init__(
        self, folder: Path, settings: Mapping[str, str], server: str = "gunicorn"
    ) -> None:
        port = free_port()
        kept = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
        environ = {
            **kept,
            "HOST": "127.0.0.1",
            "PORT": str(port),
            "SPOOL_DIR": str(folder),
            **settings,
        }
        command = [sys.executable, *COMMANDS[server]]
        super().__init__(
            port, folder / f"gateway-{port}.log", command, PROJECT, environ
        )


def ask(
    port: int,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float = 30,
) -> Answer:
    """Send one request to a port of loopback, on a connection of its own.

    What is posted is said to be JSON, unless the headers say otherwise.
    """
    posted = {"Content-Type": "application/json"} if method == "POST" else {}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request(method, path, body, {**posted, **(headers or {})})
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read())
    finally:
        connection.close()


def ask_at_once(port: int, path: str, count: int = 16) -> list[Answer]:
    """Send so many GETs at the same moment: one after the other, one worker answers."""
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda _: ask(port, "GET", path), range(count)))


def resident_peak_kib(pid: int) -> int:
    """Return the largest resident size that a process ever had, in KiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    raise AssertionError("no VmHWM")


def cpu_seconds(pid: int) -> float:
    """Return how long a process has worked."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
