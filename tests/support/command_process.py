"""The `amazin` command, and the servers that it starts, as processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.gateway_process import ServerProcess
from tests.support.paths import PROJECT
from tests.support.ports import free_port
from tests.support.waiting import PATIENCE_SECONDS


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
    "from amazin.cli.main import main; main(prog_name='amazin')"
)


@contextmanager
def started(
    arguments: Sequence[str], environ: Mapping[str, str], **options: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """Run `amazin` meanwhile; it is to end by itself, and is killed otherwise."""
    with subprocess.Popen(
        [sys.executable, "-m", "amazin.cli", *arguments],
        cwd=PROJECT,
        env=environ,
        **options,
    ) as process:
        try:
            yield process
            process.wait(PATIENCE_SECONDS)
        finally:
            process.kill()


class CommandProcess(ServerProcess):
    """A command that serves; `port` is where it says that it lives."""

    def __init__(
        self,
        folder: Path,
        port: int,
        *arguments: str,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """It runs in a folder, and writes to `<port>.log` there."""
        command = [sys.executable, "-P", "-c", MAIN, *arguments]
        environ = command_environ(folder, settings or {})
        super().__init__(port, folder / f"{port}.log", command, folder, environ)


def blob_server(folder: Path, store: str, **settings: str) -> CommandProcess:
    """Return a blob server on a store below a folder, not started yet."""
    port = free_port()
    arguments = ("blob-server", "-store", store, "-port", str(port))
    return CommandProcess(folder, port, *arguments, settings=settings)
