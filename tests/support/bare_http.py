"""Requests to a gateway byte by byte, for what `http.client` would not send."""

from __future__ import annotations

import http.client
import io
import os
import random
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial

import pytest

from tests.support.gateway_process import Answer, GatewayProcess

MIB = 2**20
JSON = ("Content-Type: application/json",)


def head(line: str, *headers: str) -> bytes:
    """Return a request's head."""
    text = "".join(f"{item}\r\n" for item in (f"{line} HTTP/1.1", "Host: x", *headers))
    return text.encode("latin-1") + b"\r\n"


def connect(gateway: GatewayProcess) -> socket.socket:
    """Return a bare connection."""
    return socket.create_connection(("127.0.0.1", gateway.port), timeout=10)


def send(
    gateway: GatewayProcess, data: bytes, *methods: str, is_ended: bool = False
) -> list[Answer]:
    """Send bytes, read an answer to each method, or fewer if it closes."""
    with connect(gateway) as sock:
        try:
            sock.sendall(data)
            if is_ended:
                sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it has answered and closed already
        with sock.makefile("rb") as file:
            return list(answers(file, methods))


def answers(file: io.BufferedReader, methods: tuple[str, ...]) -> Iterator[Answer]:
    """Read answers, up to the first one that doesn't come."""
    for method in methods:
        try:
            line = file.readline()
        except ConnectionResetError:
            return
        if not line:
            return
        headers = http.client.parse_headers(file)
        status = int(line.split()[1])
        is_bare = method == "HEAD" or status in (100, 204, 304)
        length = 0 if is_bare else int(headers["Content-Length"])
        yield Answer(status, headers, file.read(length))


def put(gateway: GatewayProcess, key: str, body: bytes, **headers: str) -> Answer:
    """Store an object; must succeed."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = gateway.ask("PUT", f"/object/{key}", body, named)
    assert answer.status == 201, answer.body
    return answer


def get(gateway: GatewayProcess, key: str, **headers: str) -> Answer:
    """Ask for an object."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return gateway.ask("GET", f"/object/{key}", None, named)


def require_broken_download(gateway: GatewayProcess) -> None:
    """Cut an object's file while it is downloaded: the client must see that.

    The gateway's nodes are folders in `data` beside its log.
    """
    body = random.Random(3).randbytes(24 * MIB + 7)
    put(gateway, "broken", body)
    files = (gateway.log.parent / "data").rglob("*")
    (file,) = (path for path in files if path.stat().st_size == len(body))
    with closing(gateway.connect()) as connection:
        connection.request("GET", "/object/broken")
        response = connection.getresponse()
        got = response.read(MIB)
        os.truncate(file, 18 * MIB)
        broken_off = (http.client.IncompleteRead, ConnectionResetError)
        with pytest.raises(broken_off) as broken:
            response.read()
    if isinstance(broken.value, http.client.IncompleteRead):
        got += broken.value.partial
    assert len(got) < len(body)
    assert body.startswith(got)
    assert gateway.ask("DELETE", "/object/broken").status == 204


def require_last_answers(gateway: GatewayProcess) -> None:
    """End uploads in ways after which no request can follow: the answers say so."""
    known, chunked = "Content-Length: 9", "Transfer-Encoding: chunked"
    for line, framing, data, status in (
        ("PUT /object/last", known, b"hello", 400),
        ("PUT /objects/last", known, b"hello", 400),
        ("PUT /object/last", chunked, b"5\r\nhel", 400),
        ("PUT /object/last", chunked, b"zz\r\nhello\r\n0\r\n\r\n", 400),
        ("POST /objects/delete", known, b'{"keys":', 400),
        ("PUT /object/last", "Content-Length: 99999999999999", b"", 413),
    ):
        upload = head(line, framing, *JSON) + data
        (answer,) = send(gateway, upload, "PUT", is_ended=True)
        assert (answer.status, answer.headers["Connection"]) == (status, "close"), line


def dribbled(gateway: GatewayProcess, line: str, *headers: str) -> tuple[bytes, float]:
    """Upload a byte each 50 ms; returns the answer, and when it came."""
    begun = time.monotonic()
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=0.05) as sock:
        sock.sendall(head(line, "Content-Length: 100000", *JSON, *headers))
        while time.monotonic() < begun + 20:
            sock.send(b"x")
            try:
                answer = sock.recv(4096)
            except TimeoutError:
                continue
            is_last = answer.split()[1] == b"408"
            assert (b"Connection: close" in answer) == is_last
            return answer, time.monotonic() - begun
    raise AssertionError("no answer")


def require_timely_uploads(gateway: GatewayProcess) -> None:
    """Send uploads that dribble: each byte alone is never late, each upload is.

    The gateway has a REQUEST_TIMEOUT of 1 s.
    """
    expected = {
        "PUT /object/slow": b"408",
        "PUT /object/!": b"422",
        "POST /objects/delete": b"408",
    }
    assert gateway.ask("PUT", "/objects/any", b"body").status == 201
    with ThreadPoolExecutor() as crowd:
        kept = crowd.submit(ask_for_long, gateway)
        found = list(crowd.map(partial(dribbled, gateway), expected))
        kept.result(30)
    statuses = [answer.split()[1] for answer, _ in found]
    assert statuses == list(expected.values()), found
    assert max(seconds for _, seconds in found) < 6
    assert gateway.ask("GET", "/object/slow").status == 404
    assert "Socket error" not in gateway.log.read_text()


def ask_for_long(gateway: GatewayProcess) -> None:
    """Ask on one connection for longer than any request may take: each has its own."""
    with closing(gateway.connect()) as kept:
        for method in ("PUT", *5 * ["GET"]):
            kept.request(method, "/object/kept", b"hello" if method == "PUT" else None)
            assert kept.getresponse().read()
            time.sleep(0.3)


def require_moving_uploads(gateway: GatewayProcess) -> None:
    """Send uploads that stand still, or dribble: those that are spooled end soon.

    The gateway has a SPOOL_TIMEOUT of 0.2 s, and a REQUEST_TIMEOUT of 1 s.
    """
    chunked, known = "Transfer-Encoding: chunked", "Content-Length: 100"
    slow, _ = dribbled(gateway, "PUT /object/still", "If-None-Match: *")
    assert b"for too long" in slow
    for line, *headers in (
        ("PUT /object/still", chunked),
        ("PUT /object/still", known, "If-None-Match: *"),
        ("POST /objects/delete", known, "Content-Type: application/json"),
    ):
        with connect(gateway) as sock, sock.makefile("rb") as file:
            sock.sendall(head(line, *headers) + b"5\r\nhe")
            (answer,) = answers(file, ("PUT",))
            assert answer.status == 408
            assert b"for too long" in answer.body
            assert answer.headers["Connection"] == "close"
