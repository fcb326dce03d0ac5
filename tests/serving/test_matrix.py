"""One contract under every server: the application depends on none of them.

Real sockets, folders for nodes. What a server is known to do otherwise stands in
`Kind`; docs/servers.md tells it to people.
"""

from __future__ import annotations

import hashlib
import http.client
import io
import json
import random
import socket
import struct
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.gateway_process import Answer, GatewayProcess, resident_peak_kib

MIB = 2**20
RESET = struct.pack("ii", 1, 0)


@dataclass(frozen=True)
class Kind:
    """A server, and what it does otherwise than the others."""

    name: str
    server: str
    settings: Mapping[str, str]
    keeps_alive: bool = True
    takes_chunks: bool = True
    drops_underscores: bool = True
    """`X_A: 1` never reaches the application, which would take it for `X-A`."""
    sees_latin: bool = True
    """Headers with bytes above 127 reach the application."""
    parses_strictly: bool = True
    """It refuses two lengths, takes absolute targets, and leaves `//` as it is."""


GTHREAD = {"GUNICORN_CMD_ARGS": "--worker-class gthread --threads 8"}
KINDS = (
    Kind("gevent", "gunicorn", {}),
    Kind("gthread", "gunicorn", GTHREAD),
    Kind(
        "granian",
        "granian",
        {"SERVER": "granian"},
        takes_chunks=False,
        drops_underscores=False,
        sees_latin=False,
    ),
    Kind(
        "wsgiref",
        "wsgiref",
        {},
        keeps_alive=False,
        takes_chunks=False,
        drops_underscores=False,
        parses_strictly=False,
    ),
)


@dataclass
class Client:
    """The gateway under one server, and bare connections to it."""

    kind: Kind
    gateway: GatewayProcess
    data: Path

    def connect(self) -> socket.socket:
        """Return a bare connection."""
        return socket.create_connection(("127.0.0.1", self.gateway.port), timeout=10)

    def send(self, data: bytes, *methods: str, is_ended: bool = False) -> list[Answer]:
        """Send bytes, read an answer to each method, or fewer if it closes."""
        with self.connect() as sock:
            try:
                sock.sendall(data)
                if is_ended:
                    sock.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # it has answered and closed already
            with sock.makefile("rb") as file:
                return list(answers(file, methods))

    @property
    def workers(self) -> list[int]:
        """The processes that serve."""
        return self.gateway.workers() or [self.gateway.process.pid]


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


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind.name)
def client(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Client]:
    """A gateway under each server."""
    kind, folder = request.param, tmp_path_factory.mktemp("gateway")
    settings = {
        "DISCOVERY": "folders",
        "DATA_DIR": str(folder / "data"),
        "WORKERS": "1",
        "MAX_OBJECT_BYTES": "100MiB",
        **kind.settings,
    }
    gateway = GatewayProcess(folder, settings, kind.server).start()
    yield Client(kind, gateway, folder / "data")
    gateway.stop()


def head(line: str, *headers: str) -> bytes:
    """Return a request's head."""
    text = "".join(f"{item}\r\n" for item in (f"{line} HTTP/1.1", "Host: x", *headers))
    return text.encode("latin-1") + b"\r\n"


def put(client: Client, key: str, body: bytes, **headers: str) -> Answer:
    """Store an object; must succeed."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = client.gateway.ask("PUT", f"/object/{key}", body, named)
    assert answer.status == 201, answer.body
    return answer


def get(client: Client, key: str, **headers: str) -> Answer:
    """Ask for an object."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.gateway.ask("GET", f"/object/{key}", None, named)


def test_it_is_the_server_that_is_meant(client: Client) -> None:
    name = client.gateway.ask("GET", "/health").headers["Server"]
    assert name.lower().startswith(("wsgi", client.kind.server))
    if client.kind.server == "gunicorn":
        assert f"Using worker: {client.kind.name}" in client.gateway.log.read_text()


# Objects


@pytest.mark.parametrize("size", [0, 1, 4096, 2**18, 2**18 + 1, 5 * MIB + 3])
def test_an_object_comes_back_byte_for_byte(client: Client, size: int) -> None:
    body = random.Random(size).randbytes(size)
    etag = hashlib.md5(body).hexdigest()
    answer = put(client, f"size{size}", body)
    assert json.loads(answer.body)["etag"] == etag
    for method in ("GET", "HEAD"):
        answer = client.gateway.ask(method, f"/object/size{size}")
        assert answer.status == 200
        assert answer.headers["Content-Length"] == str(size)
        assert answer.headers["ETag"] == f'"{etag}"'
        assert answer.body == (body if method == "GET" else b"")
    answer = client.gateway.ask("DELETE", f"/object/size{size}")
    assert (answer.status, answer.body) == (204, b"")
    assert get(client, f"size{size}").status == 404


def test_ranges_and_conditions(client: Client) -> None:
    body = random.Random(1).randbytes(2 * MIB)
    etag = put(client, "ranged", body).headers["ETag"]
    for wanted, expected in (
        ("bytes=0-0", body[:1]),
        ("bytes=-1", body[-1:]),
        (f"bytes={MIB}-", body[MIB:]),
    ):
        answer = get(client, "ranged", Range=wanted)
        assert (answer.status, answer.body == expected) == (206, True)
    answer = get(client, "ranged", Range=f"bytes={len(body)}-")
    assert answer.status == 416
    assert answer.headers["Content-Range"] == f"bytes */{len(body)}"
    assert get(client, "ranged", If_None_Match=etag).status == 304
    assert get(client, "ranged", If_Match='"other"').status == 412
    for condition, status in (('"other"', 412), (etag, 201)):
        headers = {"If-Match": condition}
        answer = client.gateway.ask("PUT", "/object/ranged", b"new", headers)
        assert answer.status == status


def test_the_headers_of_an_upload_come_back(client: Client) -> None:
    sent = {
        "Content-Type": "text/plain; charset=utf-8",
        "Content-Disposition": 'attachment; filename="a.txt"',
        "Cache-Control": "no-store",
        "X-Plain": "a  b",
        "X-Escaped": "100%41",
    }
    put(client, "headers", b"body", **sent)
    for method in ("GET", "HEAD"):
        answer = client.gateway.ask(method, "/object/headers")
        assert {name: answer.headers[name] for name in sent} == sent


@pytest.mark.parametrize("value", [b"caf\xc3\xa9", b"caf\xe9"])
def test_a_header_beyond_ascii_comes_back_or_is_refused(
    client: Client, value: bytes
) -> None:
    data = head("PUT /object/latin", "X-A: " + value.decode("latin-1"))
    data = data[:-2] + b"Content-Length: 4\r\n\r\nbody"
    (answer,) = client.send(data, "PUT")
    if client.kind.sees_latin:
        assert answer.status == 201
        assert get(client, "latin").headers["X-A"].encode("latin-1") == value
    else:
        assert (answer.status, answer.headers["Connection"]) == (400, None)
        assert get(client, "latin").status == 404


def test_a_request_id_is_taken_over_if_it_is_one(client: Client) -> None:
    health = client.gateway.ask("GET", "/health", None, {"X-Request-Id": "abc-1"})
    assert health.headers["X-Request-Id"] == "abc-1"
    health = client.gateway.ask("GET", "/health", None, {"X-Request-Id": "a b"})
    assert len(health.headers["X-Request-Id"]) == 32


# Errors


@pytest.mark.parametrize(
    ("request_line", "length", "status", "code"),
    [
        ("GET /nothing", None, 404, "NoSuchRoute"),
        ("GET /object/nothere", None, 404, "NoSuchObject"),
        ("GET //object/abc", None, 404, "NoSuchRoute"),
        ("GET /object/a%2Fb", None, 404, "NoSuchRoute"),
        ("GET /object/a%00", None, 422, "InvalidId"),
        ("GET /object/%FF", None, 422, "InvalidId"),
        ("PATCH /object/abc", 0, 405, "MethodNotAllowed"),
        ("POST /health", 3, 405, "MethodNotAllowed"),
        ("PUT /object/abc", None, 411, "LengthRequired"),
        ("PUT /object/abc", 2**30, 413, "ObjectTooLarge"),
        ("PUT /object/not-an-id", 3, 422, "InvalidId"),
    ],
)
def test_an_error_is_json(
    client: Client, request_line: str, length: int | None, status: int, code: str
) -> None:
    if "//" in request_line and not client.kind.parses_strictly:
        pytest.skip("it takes // for /")
    headers = [] if length is None else [f"Content-Length: {length}"]
    body = bytes(length or 0) if (length or 0) < 10 else b""
    is_ended = len(body) != (length or 0)
    method = request_line.split()[0]
    data = head(request_line, *headers) + body
    (answer,) = client.send(data, method, is_ended=is_ended)
    error = json.loads(answer.body)
    assert (answer.status, error["code"]) == (status, code)
    assert error["requestId"] == answer.headers["X-Request-Id"]
    if status == 405:
        assert "GET" in answer.headers["Allow"]


def test_an_absolute_target_means_its_path(client: Client) -> None:
    if not client.kind.parses_strictly:
        pytest.skip("it takes the whole target for the path")
    (answer,) = client.send(head("GET http://elsewhere/health"), "GET")
    assert (answer.status, answer.body) == (200, b'{"status":"UP"}')


def test_an_escaped_letter_is_the_letter(client: Client) -> None:
    put(client, "abc", b"body")
    assert get(client, "%61bc").body == b"body"


def test_a_method_in_lower_case_is_refused(client: Client) -> None:
    put(client, "lower", b"body")
    (answer,) = client.send(head("delete /object/lower"), "DELETE")
    assert answer.status in (400, 405, 501)
    assert get(client, "lower").body == b"body"


def test_underscores_are_hyphens_only_where_the_server_lets_them_in(
    client: Client,
) -> None:
    data = head("PUT /object/under", "X_Under: 1", "Content-Length: 4") + b"body"
    assert client.send(data, "PUT")[0].status == 201
    found = get(client, "under").headers["X-Under"]
    assert found == (None if client.kind.drops_underscores else "1")


# Bodies


CHUNKED = "Transfer-Encoding: chunked"


def test_a_chunked_upload_is_stored_or_refused(client: Client) -> None:
    body = random.Random(2).randbytes(700_000)
    data = head("PUT /object/chunked", CHUNKED)
    for start in range(0, len(body), 100_000):
        data += b"186a0\r\n" + body[start : start + 100_000] + b"\r\n"
    found = client.send(data + b"0\r\n\r\n", "PUT", is_ended=True)
    statuses = [answer.status for answer in found]
    if client.kind.takes_chunks:
        assert statuses == [201]
        assert get(client, "chunked").body == body
    else:
        assert set(statuses) <= {411}  # wsgiref may close before it is read
        assert get(client, "chunked").status == 404


@pytest.mark.parametrize(
    "data",
    [
        b"5\r\nhello\r\n",
        b"5\r\nhel",
        b"zz\r\nhello\r\n0\r\n\r\n",
        b"-5\r\nhello\r\n0\r\n\r\n",
    ],
    ids=["no end", "inside a chunk", "no size", "a negative size"],
)
def test_a_chunked_upload_without_its_end_is_not_stored(
    client: Client, data: bytes
) -> None:
    put(client, "cut", b"old")
    for found in client.send(
        head("PUT /object/cut", CHUNKED) + data, "PUT", is_ended=True
    ):
        assert found.status in (400, 411)
    assert get(client, "cut").body == b"old"


@pytest.mark.parametrize("is_reset", [False, True], ids=["FIN", "RST"])
@pytest.mark.parametrize("size", [0, 10, 300_000, 3 * MIB])
def test_a_truncated_upload_is_not_stored(
    client: Client, size: int, is_reset: bool
) -> None:
    put(client, "short", b"old")
    for key in ("short", f"never{size}{is_reset}"):
        with client.connect() as sock:
            sock.sendall(head(f"PUT /object/{key}", f"Content-Length: {size + 1}"))
            sock.sendall(bytes(size))
            if is_reset:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            else:
                sock.shutdown(socket.SHUT_WR)
                assert b" 400 " in sock.recv(4096).split(b"\r\n")[0]
    assert get(client, "short").body == b"old"
    assert get(client, f"never{size}{is_reset}").status == 404


FRAMINGS = {
    "both": ["Content-Length: 5", CHUNKED],
    "both, the other way": [CHUNKED, "Content-Length: 5"],
    "another coding": ["Transfer-Encoding: gzip"],
    "another one before": ["Transfer-Encoding: gzip, chunked"],
    "almost chunked": ["Transfer-Encoding: xchunked"],
    "a blank before the colon": ["Transfer-Encoding : chunked"],
    "a word": ["Content-Length: five"],
    "a sign": ["Content-Length: +5"],
    "a negative length": ["Content-Length: -5"],
    "a list": ["Content-Length: 5, 5"],
    "two lengths": ["Content-Length: 5", "Content-Length: 6"],
}


@pytest.mark.parametrize("framing", FRAMINGS)
def test_doubtful_framing_is_refused_and_hides_no_request(
    client: Client, framing: str
) -> None:
    if framing == "two lengths" and not client.kind.parses_strictly:
        pytest.skip("the first one counts, and the connection is closed")
    put(client, "victim", b"kept")
    data = head("PUT /object/framed", *FRAMINGS[framing]) + b"5\r\nhello\r\n0\r\n\r\n"
    if framing != "another one before":  # which does say where the body ends
        data += head("DELETE /object/victim")
    found = client.send(data, "PUT", "DELETE", is_ended=True)
    assert found[0].status in (400, 411, 501)
    assert get(client, "framed").status == 404
    assert get(client, "victim").body == b"kept"


# Connections


def test_a_connection_serves_many_requests(client: Client) -> None:
    connection = client.gateway.connect()
    connection.connect()
    first = connection.sock.getsockname()
    for number in range(20):
        connection.request("PUT", "/object/alive", b"%d" % number)
        assert connection.getresponse().read()
        connection.request("GET", "/object/alive")
        assert connection.getresponse().read() == b"%d" % number
        if client.kind.keeps_alive:
            assert connection.sock.getsockname() == first
    connection.close()


def test_requests_sent_ahead_are_answered_in_order(client: Client) -> None:
    put(client, "ahead", b"first")
    data = (
        head("GET /object/ahead")
        + head("PUT /object/ahead", "Content-Length: 6")
        + b"second"
        + head("GET /object/ahead")
        + head("HEAD /object/ahead")
        + head("GET /nothing", "Connection: close")
    )
    found = client.send(data, "GET", "PUT", "GET", "HEAD", "GET")
    statuses = [answer.status for answer in found]
    assert statuses == [200, 201, 200, 200, 404][: len(found)]
    assert len(found) == (5 if client.kind.keeps_alive else 1)
    assert found[0].body == b"first"
    if client.kind.keeps_alive:
        assert found[2].body == b"second"


def test_a_client_that_asks_first_is_told_to_go_on(client: Client) -> None:
    if not client.kind.keeps_alive:
        pytest.skip("HTTP/1.0")
    expect = ("Expect: 100-continue", "Content-Length: 4")
    with client.connect() as sock, sock.makefile("rb") as file:
        sock.sendall(head("PUT /object/expect", *expect))
        (answer,) = answers(file, ("PUT",))
        assert answer.status == 100
        sock.sendall(b"body")
        (answer,) = answers(file, ("PUT",))
        assert answer.status == 201
    assert get(client, "expect").body == b"body"


@pytest.mark.parametrize(
    "line", ["PUT /object/not-an-id", "POST /health", "GET /health"]
)
@pytest.mark.parametrize("size", [100, 300_000, 5 * MIB])
def test_a_body_that_nobody_reads_is_never_a_request(
    client: Client, line: str, size: int
) -> None:
    put(client, "victim", b"kept")
    hidden = head("DELETE /object/victim")
    body = (hidden * (size // len(hidden) + 1))[:size]
    data = head(line, f"Content-Length: {size}") + body + head("GET /object/victim")
    found = client.send(data, line.split()[0], "GET")
    assert found[0].status in (200, 405, 422)
    for answer in found[1:]:
        assert answer.body == b"kept"
    assert get(client, "victim").body == b"kept"


# Downloads


def test_a_broken_download_is_seen_by_the_client(client: Client) -> None:
    body = random.Random(3).randbytes(64 * MIB)
    put(client, "broken", body)
    connection = client.gateway.connect()
    connection.request("GET", "/object/broken")
    response = connection.getresponse()
    got = response.read(MIB)
    content = max(client.data.rglob("*"), key=lambda path: path.stat().st_size)
    with content.open("r+b") as file:
        file.truncate(48 * MIB)
    with pytest.raises((http.client.IncompleteRead, ConnectionResetError)) as broken:
        response.read()
    if isinstance(broken.value, http.client.IncompleteRead):
        got += broken.value.partial
    assert len(got) < len(body)
    assert body.startswith(got)
    connection.close()
    assert client.gateway.ask("DELETE", "/object/broken").status == 204


def logged(client: Client, key: str) -> dict[str, str]:
    """Wait for the line of a GET in the access log."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        for text in client.gateway.log.read_text().splitlines():
            line = json.loads(text) if text.startswith("{") else {}
            is_it = line.get("path") == f"/object/{key}" and line["method"] == "GET"
            if is_it:
                return line
        time.sleep(0.05)
    raise AssertionError("not logged")


def test_a_download_that_nobody_takes_any_more_is_given_up(client: Client) -> None:
    put(client, "leave", bytes(64 * MIB))
    with client.connect() as sock:
        sock.sendall(head("GET /object/leave"))
        assert sock.recv(4096)
    line = logged(client, "leave")
    assert line["error"] == "not sent whole"
    assert client.gateway.ask("DELETE", "/object/leave").status == 204


def test_a_slow_reader_costs_no_memory(client: Client) -> None:
    body = random.Random(4).randbytes(64 * MIB)
    put(client, "slow", body)
    before = [resident_peak_kib(pid) for pid in client.workers]
    connections = [client.gateway.connect() for _ in range(4)]
    for connection in connections:
        connection.request("GET", "/object/slow")
    time.sleep(1)
    for connection in connections:
        assert connection.getresponse().read() == body
        connection.close()
    after = [resident_peak_kib(pid) for pid in client.workers]
    assert max(after) - max(before) < 16 * 1024


# Slowness


def test_after_an_upload_the_server_waits_for_no_more_of_it(client: Client) -> None:
    """A client may read to the end of a connection that isn't kept."""
    upload = head("PUT /object/ended", "Content-Length: 5", "Connection: close")
    with client.connect() as sock:
        sock.sendall(upload + b"hello")
        assert sock.makefile("rb").read().split(b"\r\n")[0].split()[1] == b"201"


def test_who_is_refused_before_being_told_to_go_on_need_not_close(
    client: Client,
) -> None:
    if client.kind.server == "wsgiref":
        return  # it tells everybody to go on
    refused = head("PUT /object/!", "Content-Length: 5", "Expect: 100-continue")
    with client.connect() as sock:
        sock.sendall(refused)
        assert b"HTTP/1.1 422 " in sock.makefile("rb").read()


@pytest.mark.parametrize("settings", [{}, GTHREAD], ids=["gevent", "gthread"])
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("PUT /object/slow", b"408"),
        ("PUT /object/!", b"422"),
        ("POST /objects/delete", b"408"),
    ],
)
def test_an_upload_that_dribbles_ends_with_its_time(
    tmp_path: Path, settings: Mapping[str, str], line: str, expected: bytes
) -> None:
    """Each byte alone is never late. gunicorn only: see docs/servers.md."""
    data = {"DISCOVERY": "folders", "DATA_DIR": str(tmp_path / "data"), "WORKERS": "1"}
    limited = {**data, **settings, "REQUEST_TIMEOUT": "1"}
    gateway = GatewayProcess(tmp_path, limited).start()
    try:
        status, seconds = dribbled(gateway.port, line)
        assert (status, seconds < 6) == (expected, True)
        assert gateway.ask("GET", "/object/slow").status == 404
        kept = gateway.connect()
        for method in ("PUT", *5 * ["GET"]):  # none has the time of another
            kept.request(method, "/object/kept", b"hello" if method == "PUT" else None)
            assert kept.getresponse().read()
            time.sleep(0.3)
        kept.close()
    finally:
        gateway.stop()
    assert "Socket error" not in gateway.log.read_text()


def dribbled(port: int, line: str) -> tuple[bytes, float]:
    """Upload a byte each 50 ms; returns the status, and when it came."""
    begun = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=0.05) as sock:
        sock.sendall(head(line, "Content-Length: 100000"))
        while time.monotonic() < begun + 20:
            sock.send(b"x")
            try:
                return sock.recv(4096).split()[1], time.monotonic() - begun
            except TimeoutError:
                continue
    raise AssertionError("no answer")
