"""Pages for a real browser, and the browser that shows one."""

from __future__ import annotations

import http.client
import json
import os
import queue
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

PATIENCE_SECONDS = 50.0
_OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"),
    *("--no-first-run", "--disable-background-networking", "--disable-sync"),
    *("--disable-component-update", "--disable-extensions", "--disable-dev-shm-usage"),
)
_PASSED_ON = ("Host", "Origin", "Sec-Fetch-Site", "Content-Type", "Content-Length")


class PageServer(ThreadingHTTPServer):
    """Has pages under /page/, and passes the rest on to a gateway, as a proxy does."""

    daemon_threads = False

    def __init__(self, gateway_port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Pages)
        self.gateway_port = gateway_port
        self.port = self.server_address[1]
        self.pages: dict[str, str] = {}
        self.ran = set[str]()
        """What was asked for under /ran/."""
        self.told: queue.Queue[Any] = queue.Queue()
        """What was posted to /told."""


class _Pages(BaseHTTPRequestHandler):
    server: PageServer

    def do_GET(self) -> None:
        _, kind, name, *_ = f"{self.path}/".split("/")
        if kind == "page":
            is_image = name == "svg"
            content_type = "image/svg+xml" if is_image else "text/html; charset=utf-8"
            page = self.server.pages[name].encode()
            self._answer(200, {"Content-Type": content_type}, page)
        elif kind == "ran":
            self.server.ran.add(name)
            self._answer(200, {}, b"")
        else:
            self._pass_on()

    def do_POST(self) -> None:
        if self.path == "/told":
            told = self.rfile.read(int(self.headers["Content-Length"]))
            self._answer(200, {}, b"")
            self.server.told.put(json.loads(told))
        else:
            self._pass_on()

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {
            name: self.headers[name] for name in _PASSED_ON if name in self.headers
        }
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.server.gateway_port, timeout=PATIENCE_SECONDS
        )
        with closing(connection):
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            self._answer(answer.status, dict(answer.getheaders()), answer.read())

    do_PUT = do_DELETE = _pass_on  # noqa: N815 - names that the library wants

    def _answer(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name != "Connection":
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *values: object) -> None:
        """Print nothing."""


@contextmanager
def page_server(gateway_port: int) -> Iterator[PageServer]:
    """Run a server of pages in front of a gateway."""
    with PageServer(gateway_port) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def shown(server: PageServer, path: str, folder: Path) -> Any:
    """Have a browser show this page; return what the page posts to /told."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("no chromium")
    profile, url = folder / "profile", f"http://127.0.0.1:{server.port}{path}"
    with (folder / "browser.log").open("wb") as log:
        process = subprocess.Popen(
            [program, *_OPTIONS, f"--user-data-dir={profile}", url],
            env={"HOME": str(folder), "PATH": os.environ["PATH"]},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        return server.told.get(timeout=PATIENCE_SECONDS)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
