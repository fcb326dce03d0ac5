"""Real storage servers for tests: started, killed, frozen, started again.

Each keeps its port, folder and keys for life, so that a node that comes back is the
same node. Processes on loopback only; nothing here knows pytest but `find_binary`.
"""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from amazin.model.node_specs import NodeSpec

START_SECONDS = 30.0
POLL_SECONDS = 0.02
RUNNING: set[int] = set()
"""The process ids of those that were started, and not ended."""


class Server(ABC):
    """One server process; `binary` is a path, `port` is free or ours."""

    def __init__(
        self, binary: str, folder: Path, port: int, access_key: str, secret_key: str
    ) -> None:
        self.binary = binary
        self.folder = folder
        self.port = port
        self.access_key = access_key
        self.secret_key = secret_key
        self.log = folder.with_name(folder.name + ".log")
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> Sequence[str]:
        """Return the command line."""

    @abstractmethod
    def environment(self) -> Mapping[str, str]:
        """Return what the process needs in its environment."""

    @property
    def address(self) -> str:
        """The address as `host:port`."""
        return f"127.0.0.1:{self.port}"

    @property
    def is_running(self) -> bool:
        """Whether the process lives, frozen or not."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it and wait until it serves. Harmless if it runs."""
        if self.is_running:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command(),
                env={**os.environ, **self.environment()},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        RUNNING.add(self._process.pid)
        deadline = time.monotonic() + START_SECONDS
        while not self._serves():
            if not self.is_running or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"it does not serve; see {self.log}")
            time.sleep(POLL_SECONDS)

    def _serves(self) -> bool:
        """Whether it judges keys: a server that is not ready yet answers 503."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/")
            return connection.getresponse().status == 403
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def kill(self) -> None:
        """End it as a power cut would (SIGKILL). Harmless if it doesn't run."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(START_SECONDS)
            RUNNING.discard(self._process.pid)
            self._process = None

    def stop(self) -> None:
        """End it as its operator would (SIGTERM). Harmless if it doesn't run."""
        if self._process is not None:
            self.thaw()
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(10)
            self.kill()

    def freeze(self) -> None:
        """Stop its clock (SIGSTOP): connections stay open, nothing is answered."""
        self._signal(signal.SIGSTOP)
        if self._process is not None:  # it goes on until all its threads have stopped
            state = os.WSTOPPED | os.WEXITED | os.WNOWAIT
            os.waitid(os.P_PID, self._process.pid, state)

    def thaw(self) -> None:
        """Let a frozen one go on (SIGCONT)."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def spec(self, name: str) -> NodeSpec:
        """Return it as a node of this stable name."""
        return NodeSpec(
            name, f"http://{self.address}", self.access_key, self.secret_key
        )


class MinioServer(Server):
    """A MinIO server on one folder."""

    def command(self) -> Sequence[str]:
        """See `Server`."""
        options = ("--quiet", "--address", self.address)
        return (self.binary, "server", *options, str(self.folder))

    def environment(self) -> Mapping[str, str]:
        """See `Server`."""
        return {
            "MINIO_ROOT_USER": self.access_key,
            "MINIO_ROOT_PASSWORD": self.secret_key,
            "MINIO_BROWSER": "off",
            "MINIO_UPDATE": "off",
        }


class VersityServer(Server):
    """A versitygw server on one folder; `keep_alive` is off by default, as its own."""

    keep_alive = False

    def command(self) -> Sequence[str]:
        """See `Server`."""
        keep_alive = ("--keep-alive",) if self.keep_alive else ()
        options = ("--quiet", "--port", self.address, *keep_alive)
        return (self.binary, *options, "posix", str(self.folder))

    def environment(self) -> Mapping[str, str]:
        """See `Server`."""
        return {
            "ROOT_ACCESS_KEY": self.access_key,
            "ROOT_SECRET_KEY": self.secret_key,
        }


def find_binary(variable: str, program: str) -> str:
    """Return the path in an environment variable, else the program on the PATH.

    Skips the test if there is none; fails it with REQUIRE_INTEGRATION=1.
    """
    found = os.environ.get(variable) or shutil.which(program)
    if found:
        return found
    reason = f"no {program}: set {variable} to its path"
    if os.environ.get("REQUIRE_INTEGRATION") == "1":
        pytest.fail(reason)
    pytest.skip(reason)
