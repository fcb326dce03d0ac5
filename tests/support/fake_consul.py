"""A Consul agent by hand: what it was told, and answers as a test wants them."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PATIENCE_SECONDS = 10.0


class FakeAgent:
    """An agent on a port of loopback that it keeps; forgets nothing by itself."""

    def __init__(self) -> None:
        self.services: dict[str, Any] = {}
        """What was registered, by id, as it came."""
        self.health: Any = []
        """What it answers about any service."""
        self.failure = 0
        """While set, the status of every answer; what is asked is done all the same."""
        self.requests: list[tuple[str, str]] = []
        """Method and path of each, in order."""
        self.tokens: set[str | None] = set()
        self._changed = threading.Condition()
        self._server: ThreadingHTTPServer | None = None
        self._port = 0

    @property
    def address(self) -> str:
        """The address as `host:port`."""
        return f"127.0.0.1:{self._port}"

    def start(self) -> FakeAgent:
        """Begin to answer."""
        server = ThreadingHTTPServer(("127.0.0.1", self._port), handler_of(self))
        server.daemon_threads = True
        self._server, self._port = server, server.server_port
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def stop(self) -> None:
        """End, as if killed; what was registered is kept. Idempotent."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()

    def forget(self) -> None:
        """Lose all services, as an agent that is restarted in dev mode does."""
        with self._changed:
            self.services.clear()

    def wait(self, is_so: Callable[[], bool]) -> None:
        """Wait until something is so that a request changes; fails after a while."""
        with self._changed:
            assert self._changed.wait_for(is_so, PATIENCE_SECONDS), self.requests

    def wait_for_requests(self, count: int) -> None:
        """Wait for so many more requests."""
        goal = len(self.requests) + count
        self.wait(lambda: len(self.requests) >= goal)

    def take(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        """Do what a request asks for; returns status and answer."""
        with self._changed:
            self.requests.append((method, path.partition("?")[0]))
            self._changed.notify_all()
            status, answer = self._do(*self.requests[-1], body)
            return self.failure or status, answer

    def _do(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        _, _, kind, action, *rest = path.split("/")
        if kind == "health":
            return 200, self.health
        if (method, rest) == ("PUT", ["register"]):
            service = json.loads(body)
            self.services[service["id"]] = service
            return 200, None
        if method == "PUT" and rest[:1] == ["deregister"]:
            return (200 if self.services.pop(rest[1], None) else 404), None
        assert action == "service" and method == "GET"
        found = self.services.get(rest[0])
        return (200, found) if found else (404, None)


def handler_of(agent: FakeAgent) -> type[BaseHTTPRequestHandler]:
    """Return what answers the requests of one agent."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer()

        def do_PUT(self) -> None:
            self._answer()

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            agent.tokens.add(self.headers.get("X-Consul-Token"))
            status, value = agent.take(self.command, self.path, body)
            text = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.send_header("X-Consul-Index", "1")
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler
