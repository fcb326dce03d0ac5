"""`amazin blob-server`, `api-server` and `serve` as processes of their own."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from gateway_process import PROJECT, Answer, ask, free_port

START_SECONDS = 30


def command_environ(home: Path, settings: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a command, with nothing of this machine's user."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "SPOOL_DIR": str(home),
        **settings,
    }


def run(
    *arguments: str, folder: Path, settings: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `amazin` with these arguments in a folder, to its end."""
    return subprocess.run(
        [sys.executable, "-P", "-c", MAIN, *arguments],
        cwd=folder,
        env=command_environ(folder, settings or {}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


MAIN = (
    f"import sys; sys.path.insert(0, {str(PROJECT)!r}); "
    "from cli import main; main(prog_name='amazin')"
)


class CommandProcess:
    """A command that serves; `port` is where it says that it lives."""

    def __init__(
        self,
        folder: Path,
        port: int,
        *arguments: str,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """It runs in a folder, and writes to `<port>.log` there."""
        self.port = port
        self.log = folder / f"{port}.log"
        self._folder = folder
        self._arguments = arguments
        self._environ = command_environ(folder, settings or {})
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> CommandProcess:
        """Start it and wait until it answers."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", MAIN, *self._arguments],
                cwd=self._folder,
                env=self._environ,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                if self.ask("GET", "/health").status == 200:
                    return self
            except (OSError, http.client.HTTPException):
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise AssertionError(self.log.read_text()) from None
                time.sleep(0.05)

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The master process, once started."""
        assert self._process is not None
        return self._process

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send one request on a connection of its own."""
        return ask(self.port, method, path, body, headers)

    def kill(self) -> None:
        """End it and its workers as a power cut would."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._process = None

    def stop(self) -> int:
        """Stop it; returns its exit code. Harmless if it doesn't run."""
        if self._process is None:
            return 0
        process, self._process = self._process, None
        process.send_signal(signal.SIGTERM)
        try:
            return process.wait(timeout=45)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return process.wait()

    def workers(self) -> list[int]:
        """Return the process ids of the workers."""
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        return [int(child) for child in children.split()]


def blob_server(folder: Path, store: str, **settings: str) -> CommandProcess:
    """Return a blob server on a store below a folder, not started yet."""
    port = free_port()
    arguments = ("blob-server", "-store", store, "-port", str(port))
    return CommandProcess(folder, port, *arguments, settings=settings)
