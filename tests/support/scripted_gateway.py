"""A gateway that answers what a test has written down, and breaks where it says."""

from __future__ import annotations

import json
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from hashlib import md5
from typing import NamedTuple, Self

from tests.support.faulty import receive_head

PATIENCE_SECONDS = 20.0
_RESET = struct.pack("ii", 1, 0)


@dataclass(frozen=True)
class Asked:
    """One request as it came."""

    method: str
    target: str
    headers: Mapping[str, str]
    """With names in lower case."""
    body: bytes

    @property
    def line(self) -> str:
        """Method and target."""
        return f"{self.method} {self.target}"


class Reply(NamedTuple):
    """What is sent, and what becomes of the connection."""

    raw: bytes
    end: str = ""
    """`close`, `reset`, or nothing: it is kept."""


Script = Reply | Callable[[Asked], Reply]


class ScriptedGateway:
    """Gives one answer after the other, to whoever asks, and all of them."""

    def __init__(self, *replies: Script) -> None:
        self._replies = list(replies)
        self.asked: list[Asked] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = []
        self._open: list[socket.socket] = []
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    @property
    def lines(self) -> list[str]:
        """Method and target of all requests."""
        return [asked.line for asked in self.asked]

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in self._open:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE_SECONDS)
        if kind is None:
            assert self._replies == [], "not all answers were asked for"

    def _start(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                sock.settimeout(PATIENCE_SECONDS)
                self._open.append(sock)
                self._start(self._serve, sock)

    def _serve(self, sock: socket.socket) -> None:
        rest = b""
        with suppress(OSError), sock:
            while head := receive_head(sock, rest):
                asked, rest = self._receive(sock, *head)
                reply = self._next(asked)
                sock.sendall(reply.raw)
                if reply.end == "reset":
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                if reply.end:
                    return

    def _next(self, asked: Asked) -> Reply:
        with self._lock:
            self.asked.append(asked)
            if not self._replies:
                return refusal(500, "InternalError", "No answer is left")
            script = self._replies.pop(0)
        return script if isinstance(script, Reply) else script(asked)

    def _receive(
        self, sock: socket.socket, head: bytes, rest: bytes
    ) -> tuple[Asked, bytes]:
        line, *fields = head.decode("latin-1").rstrip("\r\n").split("\r\n")
        method, target, _ = line.split(" ")
        pairs = (field.partition(":") for field in fields)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        if headers.get("transfer-encoding") == "chunked":
            while not rest.endswith(b"0\r\n\r\n"):
                rest += _more(sock)
            return Asked(method, target, headers, unchunked(rest)), b""
        length = int(headers.get("content-length", "0"))
        while len(rest) < length:
            rest += _more(sock)
        return Asked(method, target, headers, rest[:length]), rest[length:]


@contextmanager
def new_gateways() -> Iterator[Callable[..., ScriptedGateway]]:
    """Give a function that begins a gateway with these answers; all end together."""
    with ExitStack() as stack:
        yield lambda *replies: stack.enter_context(ScriptedGateway(*replies))


def _more(sock: socket.socket) -> bytes:
    data = sock.recv(2**16)
    if not data:
        raise ConnectionError
    return data


def unchunked(data: bytes) -> bytes:
    """Return the body of a chunked request."""
    body = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        body += data[: int(size, 16)]
        data = data[int(size, 16) + 2 :]
    return body


def reply(
    status: int,
    body: bytes = b"",
    headers: Iterable[str] = (),
    *,
    end: str = "",
    cut: int | None = None,
) -> Reply:
    """Return an answer, with so many bytes of its body, if it is `cut`."""
    lines = [f"HTTP/1.1 {status} Because", *headers]
    if not any(re.match("content-length", line, re.IGNORECASE) for line in lines):
        lines.append(f"Content-Length: {len(body)}")
    head = "\r\n".join([*lines, "", ""]).encode("latin-1")
    return Reply(head + (body if cut is None else body[:cut]), end)


def json_reply(told: object, status: int = 200) -> Reply:
    """Return an answer in JSON."""
    return reply(status, json.dumps(told).encode())


def refusal(
    status: int, code: str, sentence: str = "No", headers: Iterable[str] = ()
) -> Reply:
    """Return an error as gateways give it."""
    told = {"error": sentence, "code": code, "requestId": "r17"}
    return reply(status, json.dumps(told).encode(), headers)


def etag_of(body: bytes) -> str:
    """Return the ETag without its quotes."""
    return md5(body).hexdigest()


def content(
    body: bytes,
    start: int = 0,
    *,
    cut: int | None = None,
    end: str = "",
    etag: str = "",
    sent: bytes | None = None,
) -> Reply:
    """Return an object from `start` on; `cut`: up to this byte of it, then the `end`.

    `sent`: what really goes out.
    """
    headers = [f'ETag: "{etag or etag_of(body)}"']
    if start:
        headers.append(f"Content-Range: bytes {start}-{len(body) - 1}/{len(body)}")
    part = (body if sent is None else sent)[start:]
    upto = None if cut is None else cut - start
    end = end or ("close" if cut is not None else "")
    return reply(206 if start else 200, part, headers, cut=upto, end=end)


def info(key: str, body: bytes = b"", size: int | None = None) -> dict[str, object]:
    """Return what a gateway tells of an object."""
    return {
        "key": key,
        "size": len(body) if size is None else size,
        "last_modified": "2026-11-21T12:00:00.123456Z",
        "content_type": "text/plain",
        "etag": etag_of(body),
    }


def store(asked: Asked) -> Reply:
    """Answer an upload as a gateway does."""
    return json_reply(info(asked.target, asked.body), 201)
