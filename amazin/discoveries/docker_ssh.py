"""`DOCKER_HOST=ssh://...`: speaks to a Docker daemon through the command `ssh`.

It runs `docker system dial-stdio` on the other side, as the `docker` command does, with
the user's ssh configuration, keys and known hosts. The SDK's own way needs paramiko,
starts one ssh for every request, and waits for it without a limit.
"""

from __future__ import annotations

import socket
import subprocess
from contextlib import suppress
from http.client import HTTPException
from tempfile import TemporaryFile
from typing import IO, Any
from urllib.parse import urlsplit

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool
from urllib3.response import HTTPResponse

CONNECT_SECONDS = 10
END_SECONDS = 1.0
"""How long an ssh that was told to end may take."""
MOST_BYTES = 8192
"""What is read of what ssh said."""


class SshError(OSError):
    """The daemon can't be reached through ssh; the message is what ssh said."""


def ssh_command(url: str) -> list[str]:
    """Return the command that connects its standard streams to a daemon."""
    parts = urlsplit(url)
    user = ["-l", parts.username] if parts.username else []
    port = ["-p", str(parts.port)] if parts.port else []
    return [
        *("ssh", "-T", "-o", "BatchMode=yes"),
        *("-o", f"ConnectTimeout={CONNECT_SECONDS}"),
        *(*user, *port, "--", parts.hostname or "", "docker system dial-stdio"),
    ]


class SshConnection(HTTPConnection):
    """A connection that is one process of ssh."""

    def __init__(self, command: list[str], timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._said: IO[bytes] | None = None
        self._last_words = ""

    def connect(self) -> None:
        """Start ssh. Raises: OSError."""
        near, far = socket.socketpair()
        near.settimeout(self.timeout)
        with far:
            try:
                self._said = TemporaryFile()  # noqa: SIM115 - `close` does
                self._process = subprocess.Popen(
                    self._command,
                    stdin=far.fileno(),
                    stdout=far.fileno(),
                    stderr=self._said,
                    start_new_session=True,  # Ctrl-C is for the gateway
                )
            except BaseException:
                near.close()
                raise
        self.sock = near

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]
        """See http.client. Raises: SshError, if ssh ended instead."""
        try:
            return super().getresponse()
        except (OSError, HTTPException) as exc:
            self.close()
            raise SshError(self._last_words or "it gives no answer in time") from exc

    def close(self) -> None:
        """Close the connection, and end ssh. Idempotent."""
        super().close()
        process, self._process = self._process, None
        if process:
            end(process)
        said, self._said = self._said, None
        if said:
            with said:
                self._last_words = last_line(said)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process, and wait for that."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(END_SECONDS)
    if process.returncode is None:
        process.kill()
        process.wait()


def last_line(file: IO[bytes]) -> str:
    """Return the last line of a file of a few lines."""
    file.seek(0)
    lines = file.read(MOST_BYTES).decode(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


class _SshPool(HTTPConnectionPool):
    def __init__(self, url: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout, maxsize=2)
        self._command = ssh_command(url)
        self._seconds = timeout

    def _new_conn(self) -> SshConnection:
        return SshConnection(self._command, self._seconds)


class SshAdapter(HTTPAdapter):
    """Sends all requests of a session through ssh."""

    def __init__(self, url: str, timeout: float) -> None:
        self._pool = _SshPool(url, timeout)
        super().__init__()

    def get_connection_with_tls_context(self, *_: Any, **__: Any) -> HTTPConnectionPool:
        """See requests."""
        return self._pool

    def close(self) -> None:
        """End all connections."""
        self._pool.close()
        super().close()
