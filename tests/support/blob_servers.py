"""Blob servers of both programs for tests of a store over them."""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import IO
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.types import StartResponse, WSGIEnvironment

from amazin.api.blob_server import FolderServices, routes
from amazin.blobs.folder_store import BlobFolder
from amazin.blobs.server_store import ServerBlobs
from amazin.blobs.sos_conf import BlobServer
from amazin.model.bodies import HeldBody
from amazin.model.node_specs import TimeLimits
from amazin.settings.settings import Settings
from amazin.web.spool import SpoolRoom
from gateway import Gateway
from tests.support.old_sos import OldBlobServer
from tests.support.ports import free_port
from tests.support.waiting import PATIENCE_SECONDS

LIMITS = TimeLimits(connect=1.0, answer=2.0, transfer=5.0)


def sha1(data: bytes) -> str:
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


class Servers:
    """Stand-ins, made as they are named: `1a` is the first server of group 1."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.running: dict[str, OldBlobServer] = {}
        self._stores: list[ServerBlobs] = []

    def __getitem__(self, name: str) -> OldBlobServer:
        return self.running[name]

    def store(self, names: str, replicas: int = 1) -> ServerBlobs:
        """Return a store over these servers; `!` in front of a name: it is dead."""
        servers = []
        for name in names.split():
            if name.startswith("!"):
                url = f"http://127.0.0.1:{free_port()}"
            else:
                if name not in self.running:
                    self.running[name] = OldBlobServer(self.folder / name)
                url = self.running[name].url
            servers.append(BlobServer(name.strip("!")[0], url))
        return self.over(servers, replicas)

    def over(self, servers: list[BlobServer], replicas: int) -> ServerBlobs:
        """Return a store over servers that may be no stand-ins."""
        self._stores.append(ServerBlobs(servers, LIMITS, replicas))
        return self._stores[-1]

    def holders(self, blob_id: str) -> str:
        """Return who has a blob, by name."""
        return " ".join(
            name for name in sorted(self.running) if self.running[name].has(blob_id)
        )

    def close(self) -> None:
        for store in self._stores:
            store.close()
        for server in self.running.values():
            server.stop()


class WsgirefServer(ThreadingMixIn, WSGIServer):
    """A thread for each connection; closing it waits for them."""


class WsgirefHandler(WSGIRequestHandler):
    def log_message(self, *args: object) -> None:
        """Nothing is logged."""

    def get_stderr(self) -> IO[str]:
        return io.StringIO()


class OurServer:
    """One of our blob servers, in a thread; `cut_at`: it breaks there."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        settings = Settings()
        spool = SpoolRoom(str(folder), 0)
        self._store = BlobFolder(folder)
        services = FolderServices(self._store, settings, spool)
        self._app = Gateway(routes(settings), services)
        self.cut_at: int | None = None
        self.is_failing = False
        """Whether it answers 503 to each GET, but not to HEAD."""
        self.ranges: list[str] = []
        self._server = make_server(
            "127.0.0.1", 0, self._serve, WsgirefServer, WsgirefHandler
        )
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def _serve(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        self.ranges.append(environ.get("HTTP_RANGE", ""))
        if self.is_failing and environ["REQUEST_METHOD"] == "GET":
            start_response("503 Service Unavailable", [("Content-Length", "0")])
            return []
        body = self._app(environ, start_response)
        return body if self.cut_at is None else self._cut(body, self.cut_at)

    def _cut(self, body: Iterable[bytes], missing: int) -> Iterator[bytes]:
        try:
            for chunk in body:
                yield chunk[:missing]
                missing -= len(chunk)
                if missing < 0:
                    raise ConnectionAbortedError
        finally:
            close = getattr(body, "close", None)
            if close:
                close()

    def hold(self, data: bytes, blob_id: str) -> None:
        """Have bytes that need not be those of the id, as after damage."""
        self._store.put(blob_id, HeldBody(data), {})

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join(PATIENCE_SECONDS)
        self._server.server_close()
        self._store.close()
