"""The old programs' side of the wire: a blob server, and what its clients send.

`OldBlobServer` answers as `sos blob-server` was measured to do; where the environment's
SOS names the program itself, tests that ask for `KINDS` run against that as well.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tests.support.ports import free_port

SOS = os.environ.get("SOS", "")
KINDS = ("stand-in", "sos") if SOS else ("stand-in",)
"""What tests of old blob servers run against."""

PATIENCE_SECONDS = 10.0
LONGEST_PLAIN = 2048
"""Answers above this have no Content-Length: they are chunked."""
_ID = re.compile("[a-z0-9]+")
_PATH = re.compile("/blob/([^/]+)")
_SNIFFED = 512
_BINARY = frozenset(range(0x20)) - {0x09, 0x0A, 0x0C, 0x0D, 0x1B}
_TEXT = "text/plain; charset=utf-8"
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class CutOffError(Exception):
    """The client's body ended early."""


class OldBlobServer:
    """A blob server that answers as the old program; its folder is the old one, too."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.is_full = False
        """Whether the disk has room for half of an upload only."""
        self.cut_at: int | None = None
        """After so many bytes of a blob the connection breaks."""
        self.moves = threading.Event()
        """While it isn't set, the server is silent."""
        self.moves.set()
        self.requests: list[str] = []
        """The request lines, without the version, in order."""
        self._server = _Server(("127.0.0.1", port), _Handler)
        self._server.blobs = self
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return self._server.connections

    def stop(self) -> None:
        """Refuse connections from now on, and break those that are open."""
        self.moves.set()
        self._server.shutdown()
        self._thread.join(PATIENCE_SECONDS)
        self._server.break_connections()
        self._server.server_close()

    def get(self, blob_id: str) -> tuple[bytes, Mapping[str, str]] | None:
        """Return a blob's bytes and headers; None also if they can't be read."""
        try:
            data = (self.folder / blob_id).read_bytes()
        except OSError:
            return None
        try:
            return data, json.loads((self.folder / f"{blob_id}.json").read_bytes())
        except (OSError, ValueError):
            return data, {}

    def store(self, blob_id: str, data: bytes, headers: Mapping[str, str]) -> bool:
        """Replace a blob, and its headers if there are new ones."""
        if self.is_full:
            (self.folder / blob_id).write_bytes(data[: len(data) // 2])
            return False
        try:
            (self.folder / blob_id).write_bytes(data)
            if headers:
                (self.folder / f"{blob_id}.json").write_text(json.dumps(headers))
        except OSError:
            return False
        return True

    def ids(self) -> list[str]:
        """Return the names of all files but those of headers."""
        names = (path.name for path in self.folder.iterdir())
        return sorted(name for name in names if not name.endswith(".json"))

    def has(self, blob_id: str) -> bool:
        """Return whether there is anything of this name, or it can't be told."""
        try:
            (self.folder / blob_id).stat()
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return True


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    blobs: OldBlobServer

    def __init__(self, *args: object) -> None:
        super().__init__(*args)  # type: ignore[arg-type]
        self._open: set[socket.socket] = set()

    def process_request(self, request: socket.socket, address: object) -> None:
        self._open.add(request)
        super().process_request(request, address)

    def shutdown_request(self, request: socket.socket) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    @property
    def connections(self) -> int:
        return len(self._open)

    def break_connections(self) -> None:
        for sock in list(self._open):
            with suppress(OSError):
                break_off(sock)

    def handle_error(self, request: object, client_address: object) -> None:
        """Connections that break are no news."""


def break_off(sock: socket.socket) -> None:
    """End a connection so that the other side sees it broken."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    sock.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: _Server

    def do_GET(self) -> None:
        self._take()
        path = self._path()
        if path == "/alive":
            self._answer(200, b"alive")
        elif path == "/blobs":
            self._answer(200, json.dumps(self._blobs.ids()).replace(" ", "").encode())
        elif blob_id := self._blob_id(path):
            self._get(blob_id)
        else:
            self._not_hosted()

    def do_HEAD(self) -> None:
        self._take()
        blob_id = self._blob_id(self._path())
        if not blob_id:
            self._not_hosted()
        elif not _ID.fullmatch(blob_id):
            self._fail(500, b"alphanumeric IDs only\n")
        else:
            self.close_connection = True
            self.send_response(200 if self._blobs.has(blob_id) else 404)
            self.send_header("Connection", "close")
            self.end_headers()

    def do_POST(self) -> None:
        self._take()
        blob_id = self._blob_id(self._path())
        try:
            body = self._body()
        except CutOffError:
            self.close_connection = True
            return
        if not blob_id:
            self._not_hosted()
        elif not _ID.fullmatch(blob_id):
            self._fail(500, b"alphanumeric IDs only\n")
        elif not self._blobs.store(blob_id, body, self._extras()):
            self._fail(500, b"failed to write to storage\n")
        else:
            answer = f'{{"id":"{blob_id}","status":"OK","size":{len(body)}}}'
            self._answer(200, answer.encode())

    def do_PUT(self) -> None:
        self._take()
        self._body()
        self._not_hosted()

    def do_DELETE(self) -> None:
        self.do_PUT()

    def _take(self) -> None:
        self._blobs.requests.append(f"{self.command} {self.path}")
        self._blobs.moves.wait(PATIENCE_SECONDS)

    @property
    def _blobs(self) -> OldBlobServer:
        return self.server.blobs

    def _path(self) -> str:
        return unquote(urlsplit(self.path).path)

    def _blob_id(self, path: str) -> str:
        found = _PATH.fullmatch(path)
        return found[1] if found else ""

    def _extras(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for name, value in self.headers.items():
            if name.lower().startswith("x-"):
                found.setdefault(name.title(), value)
        return found

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self._exactly(int(self.headers.get("Content-Length", 0)))
        pieces = []
        while size := int(self.rfile.readline() or b"x", 16):
            pieces.append(self._exactly(size))
            self._exactly(2)
        self._exactly(2)
        return b"".join(pieces)

    def _exactly(self, size: int) -> bytes:
        try:
            data = self.rfile.read(size)
        except OSError as exc:
            raise CutOffError from exc
        if len(data) < size:
            raise CutOffError
        return data

    def _get(self, blob_id: str) -> None:
        if not _ID.fullmatch(blob_id):
            self._fail(500, b"alphanumeric IDs only\n")
            return
        found = self._blobs.get(blob_id)
        if found is None:
            self._fail(404, b"404 page not found\n")
            return
        data, headers = found
        sent = dict(headers)
        if mime_type := headers.get("X-Mime-Type"):
            sent["Content-Type"] = mime_type
        self._answer(200, data, sent, self._blobs.cut_at)

    def _not_hosted(self) -> None:
        self._answer(404, b"404 - content is not hosted here.")

    def _fail(self, status: int, text: bytes) -> None:
        headers = {"Content-Type": _TEXT, "X-Content-Type-Options": "nosniff"}
        self._answer(status, text, headers)

    def _answer(
        self,
        status: int,
        body: bytes,
        headers: Mapping[str, str] | None = None,
        cut_at: int | None = None,
    ) -> None:
        self.send_response(status)
        fields = dict(headers or {})
        if body and "Content-Type" not in fields:
            fields["Content-Type"] = sniffed(body)
        is_chunked = len(body) > LONGEST_PLAIN
        if is_chunked:
            fields["Transfer-Encoding"] = "chunked"
            whole = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        else:
            fields["Content-Length"] = str(len(body))
            whole = body
        for name, value in fields.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if cut_at is None or cut_at >= len(body):
            self.wfile.write(whole)
            return
        self.wfile.write(whole[: cut_at + whole.index(body)])
        self.wfile.flush()
        self.close_connection = True
        # Not reset: what was sent is to arrive.
        self.connection.shutdown(socket.SHUT_RDWR)

    def version_string(self) -> str:
        return ""

    def send_response(self, code: int, message: str | None = None) -> None:
        self.send_response_only(code, message)
        self.send_header("Date", self.date_time_string())

    def log_message(self, *args: object) -> None:
        """Nothing is logged."""


def sniffed(data: bytes) -> str:
    """Return the content type that the old program finds, of text and other bytes."""
    if _BINARY.isdisjoint(data[:_SNIFFED]):
        return _TEXT
    return "application/octet-stream"


@contextmanager
def old_server(kind: str, folder: Path, port: int = 0) -> Iterator[str]:
    """Run an old blob server of a kind over a folder; yields its URL."""
    if kind == "stand-in":
        server = OldBlobServer(folder, port)
        try:
            yield server.url
        finally:
            server.stop()
        return
    process, url = start_sos(folder, port)
    try:
        yield url
    finally:
        process.kill()
        process.wait(PATIENCE_SECONDS)


def start_sos(folder: Path, port: int = 0) -> tuple[subprocess.Popen[bytes], str]:
    """Start the program itself; returns when it answers."""
    port = port or free_port()
    command = [SOS, "blob-server", "-store", str(folder), "-port", str(port)]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    await_port(port, process)
    return process, f"http://127.0.0.1:{port}"


def await_port(port: int, process: subprocess.Popen[bytes]) -> None:
    """Return when a started program listens."""
    pause = threading.Event()
    for _ in range(1000):
        if process.poll() is not None:
            break
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1.0).close()
            return
        pause.wait(0.01)
    raise RuntimeError(f"{process.args!r} does not listen")


# What the old programs send


def go_post(url: str, data: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
    """Send a POST as the old api-server and `replicate` do; return the answer."""
    parts = urlsplit(url)
    lines = [
        f"POST {parts.path} HTTP/1.1",
        f"Host: {parts.netloc}",
        "User-Agent: Go-http-client/1.1",
        "Transfer-Encoding: chunked",
        *(f"{name}: {value}" for name, value in headers.items()),
        "Accept-Encoding: gzip",
    ]
    chunk = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
    with socket.create_connection((parts.hostname, parts.port)) as sock:
        sock.settimeout(PATIENCE_SECONDS)
        head = "\r\n".join(lines) + "\r\n\r\n"
        sock.sendall(head.encode("latin-1") + chunk + b"0\r\n\r\n")
        response = http.client.HTTPResponse(sock, method="POST")
        response.begin()
        return response.status, response.read()


def request(
    url: str, method: str = "GET"
) -> tuple[int, http.client.HTTPMessage, bytes]:
    """Ask without a body, as the old programs do; return the whole answer."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=PATIENCE_SECONDS)
    try:
        connection.request(method, parts.path, headers={"Accept-Encoding": "gzip"})
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


def old_upload(urls: Sequence[str], blob_id: str, data: bytes) -> bytes:
    """Upload as the old api-server: to the first that accepts the connection."""
    for url in urls:
        with suppress(OSError):
            return go_post(f"{url}/blob/{blob_id}", data, {"X-Orig-Id": blob_id})[1]
    return b'{"error":"upload failed"}'


def old_replicate(urls: Sequence[str]) -> list[tuple[str, str]]:
    """Mirror as the old `replicate`; return (id, URL) of the copies that it made."""
    lists = {url: json.loads(request(f"{url}/blobs")[2]) for url in urls}
    made = []
    for source, ids in lists.items():
        for blob_id in ids:
            for target in urls:
                path = f"/blob/{blob_id}"
                if target == source or request(target + path, "HEAD")[0] == 200:
                    continue
                _, headers, data = request(source + path)
                kept = {
                    name: headers[name]
                    for name in headers
                    if name.title().startswith("X-")
                }
                go_post(target + path, data, kept)
                made.append((blob_id, target))
    return made
