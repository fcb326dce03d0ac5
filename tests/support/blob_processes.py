"""Blob servers of every kind as they run: ours, the old program, its stand-in."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from amazin.blobs.folder_store import BlobFolder
from amazin.model.bodies import HeldBody
from tests.support.gateway_process import Answer, ask
from tests.support.old_sos import SOS, OldBlobServer
from tests.support.paths import PROJECT
from tests.support.ports import free_port

START_SECONDS = 30.0


def sha1(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()


class RunningServer(ABC):
    """A blob server with a folder and a port for life."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"

    @abstractmethod
    def start(self) -> None:
        """Start it, and return when it answers."""

    @abstractmethod
    def kill(self) -> None:
        """End it as a power cut would. Harmless if it doesn't run."""

    @abstractmethod
    def freeze(self) -> None:
        """Let it answer nothing, with all connections open."""

    @abstractmethod
    def thaw(self) -> None:
        """Let a frozen one go on."""

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        return ask(self.port, method, path, body, headers)

    def put(self, data: bytes, blob_id: str = "", **headers: str) -> str:
        blob_id = blob_id or sha1(data)
        assert self.ask("POST", f"/blob/{blob_id}", data, headers).status == 200
        return blob_id

    def hold(self, data: bytes, blob_id: str) -> str:
        """Have bytes that need not be those of the id, as after damage."""
        return self.put(data, blob_id)

    def get(self, blob_id: str) -> bytes | None:
        answer = self.ask("GET", f"/blob/{blob_id}")
        assert answer.status in (200, 404)
        return answer.body if answer.status == 200 else None

    def ids(self) -> set[str]:
        return set(json.loads(self.ask("GET", "/blobs").body))


class BlobProcess(RunningServer):
    """One of ours, or the old program."""

    def __init__(self, folder: Path, *program: str) -> None:
        super().__init__(folder)
        self._log = folder.with_name(f"{folder.name}.log")
        self._command = [*program, "-store", str(folder), "-port", str(self.port)]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        settings = {"WORKERS": "1", "SPOOL_DIR": str(self.folder.parent)}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=PROJECT,
                env={**os.environ, **settings},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._lives():
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise AssertionError(self._log.read_text())
            time.sleep(0.02)

    def _lives(self) -> bool:
        try:
            return self.ask("GET", "/alive").status == 200
        except (OSError, http.client.HTTPException):
            return False

    def _signal(self, which: signal.Signals) -> None:
        assert self._process is not None
        os.killpg(self._process.pid, which)

    def kill(self) -> None:
        if self._process is not None:
            self._signal(signal.SIGKILL)
            self._process.wait(10)
            self._process = None

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)


class OurProcess(BlobProcess):
    """One of ours, which takes no wrong bytes from clients."""

    def hold(self, data: bytes, blob_id: str) -> str:
        with closing(BlobFolder(self.folder)) as store:
            store.put(blob_id, HeldBody(data), {})
        return blob_id


class StandIn(RunningServer):
    """What answers as the old program, where that isn't there."""

    _server: OldBlobServer | None = None

    def start(self) -> None:
        self._server = OldBlobServer(self.folder, self.port)

    def kill(self) -> None:
        if self._server:
            self._server.stop()
            self._server = None

    def freeze(self) -> None:
        assert self._server is not None
        self._server.moves.clear()

    def thaw(self) -> None:
        assert self._server is not None
        self._server.moves.set()


def server_of(kind: str, folder: Path) -> RunningServer:
    if kind == "stand-in":
        return StandIn(folder)
    if kind == "sos":
        return BlobProcess(folder, SOS, "blob-server")
    return OurProcess(folder, sys.executable, "-m", "amazin.cli", "blob-server")
