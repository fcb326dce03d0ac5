"""The contract that the gateway keeps under gunicorn with gevent, on real sockets.

Folders for nodes. What holds under any WSGI server: test_other_servers.py.
"""

from __future__ import annotations

import fcntl
import hashlib
import http.client
import json
import os
import random
import re
import socket
import struct
import termios
import time
from array import array
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.bare_http import (
    MIB,
    answers,
    connect,
    get,
    head,
    put,
    require_broken_download,
    require_last_answers,
    require_moving_uploads,
    require_timely_uploads,
    send,
)
from tests.support.gateway_process import GatewayProcess, resident_peak_kib
from tests.support.waiting import await_that

UNCHANGED_TIMES = 20
RESET = struct.pack("ii", 1, 0)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """The gateway under gunicorn with gevent, as it is shipped."""
    folder = tmp_path_factory.mktemp("gateway")
    settings = {
        "DISCOVERY": "folders",
        "DATA_DIR": str(folder / "data"),
        "WORKERS": "1",
        "MAX_OBJECT_BYTES": "100MiB",
    }
    with GatewayProcess(folder, settings) as gateway:
        yield gateway


def test_it_is_the_server_that_is_meant(gateway: GatewayProcess) -> None:
    assert gateway.ask("GET", "/health").headers["Server"].startswith("gunicorn")
    assert "Using worker: gevent" in gateway.log.read_text()


# Objects


@pytest.mark.parametrize("size", [0, 1, 4096, 2**18, 2**18 + 1, 5 * MIB + 3])
def test_an_object_comes_back_byte_for_byte(gateway: GatewayProcess, size: int) -> None:
    body = random.Random(size).randbytes(size)
    etag = hashlib.md5(body).hexdigest()
    answer = put(gateway, f"size{size}", body)
    assert json.loads(answer.body)["etag"] == etag
    for method in ("GET", "HEAD"):
        answer = gateway.ask(method, f"/object/size{size}")
        assert answer.status == 200
        assert answer.headers["Content-Length"] == str(size)
        assert answer.headers["ETag"] == f'"{etag}"'
        assert answer.body == (body if method == "GET" else b"")
    answer = gateway.ask("DELETE", f"/object/size{size}")
    assert (answer.status, answer.body) == (204, b"")
    assert get(gateway, f"size{size}").status == 404


def test_ranges_and_conditions(gateway: GatewayProcess) -> None:
    body = random.Random(1).randbytes(2 * MIB)
    etag = put(gateway, "ranged", body).headers["ETag"]
    for wanted, expected in (
        ("bytes=0-0", body[:1]),
        ("bytes=-1", body[-1:]),
        (f"bytes={MIB}-", body[MIB:]),
    ):
        answer = get(gateway, "ranged", Range=wanted)
        assert (answer.status, answer.body == expected) == (206, True)
    answer = get(gateway, "ranged", Range=f"bytes={len(body)}-")
    assert answer.status == 416
    assert answer.headers["Content-Range"] == f"bytes */{len(body)}"
    assert get(gateway, "ranged", If_None_Match=etag).status == 304
    assert get(gateway, "ranged", If_Match='"other"').status == 412
    for condition, status in (('"other"', 412), (etag, 201)):
        headers = {"If-Match": condition}
        answer = gateway.ask("PUT", "/object/ranged", b"new", headers)
        assert answer.status == status


def test_the_headers_of_an_upload_come_back(gateway: GatewayProcess) -> None:
    sent = {
        "Content-Type": "text/plain; charset=utf-8",
        "Content-Disposition": 'attachment; filename="a.txt"',
        "Cache-Control": "no-store",
        "X-Meta-Plain": "a  b",
        "X-Meta-Escaped": "100%41",
    }
    put(gateway, "headers", b"body", **sent)
    for method in ("GET", "HEAD"):
        answer = gateway.ask(method, "/object/headers")
        assert {name: answer.headers[name] for name in sent} == sent


@pytest.mark.parametrize("value", [b"caf\xc3\xa9", b"caf\xe9"])
def test_a_header_beyond_ascii_comes_back(
    gateway: GatewayProcess, value: bytes
) -> None:
    data = head("PUT /object/latin", "X-Meta-A: " + value.decode("latin-1"))
    data = data[:-2] + b"Content-Length: 4\r\n\r\nbody"
    (answer,) = send(gateway, data, "PUT")
    assert answer.status == 201
    assert get(gateway, "latin").headers["X-Meta-A"].encode("latin-1") == value


def test_a_request_id_is_taken_over_if_it_is_one(gateway: GatewayProcess) -> None:
    health = gateway.ask("GET", "/health", None, {"X-Request-Id": "abc-1"})
    assert health.headers["X-Request-Id"] == "abc-1"
    health = gateway.ask("GET", "/health", None, {"X-Request-Id": "a b"})
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
    gateway: GatewayProcess,
    request_line: str,
    length: int | None,
    status: int,
    code: str,
) -> None:
    headers = [] if length is None else [f"Content-Length: {length}"]
    body = bytes(length or 0) if (length or 0) < 10 else b""
    is_ended = len(body) != (length or 0)
    method = request_line.split()[0]
    data = head(request_line, *headers) + body
    (answer,) = send(gateway, data, method, is_ended=is_ended)
    error = json.loads(answer.body)
    assert (answer.status, error["code"]) == (status, code)
    assert error["requestId"] == answer.headers["X-Request-Id"]
    if status == 405:
        assert "GET" in answer.headers["Allow"]


def test_an_absolute_target_means_its_path(gateway: GatewayProcess) -> None:
    (answer,) = send(gateway, head("GET http://elsewhere/health"), "GET")
    assert (answer.status, answer.body) == (200, b'{"status":"UP"}')


@pytest.mark.parametrize(
    ("lines", "status", "code"),
    [
        (["GET /object/caf\xe9 HTTP/1.1", "Host: x"], 400, "UnescapedAddress"),
        (["PUT /objects/photos/\xc3\xa9 HTTP/1.1"], 400, "UnescapedAddress"),
        (["GET /object/a\xff b HTTP/1.1", "Host: x"], 400, "UnescapedAddress"),
        (["GET /object/a b HTTP/1.1", "Host: x"], 400, "UnescapedAddress"),
        (["GET /object/a\tb HTTP/1.1", "Host: x"], 400, "UnescapedAddress"),
        (["GET /health HTTP/1.1"], 400, "InvalidHost"),
        (["GET /object/abc HTTP/1.1"], 400, "InvalidHost"),
        (["GET /health HTTP/1.1", "Host: a b"], 400, "InvalidHost"),
        (["GET /health HTTP/1.1", "Host: a", "Host: b"], 400, "MalformedRequest"),
        (["GET /health HTTP/2.0", "Host: x"], 400, "MalformedRequest"),
        (["GET /health"], 400, "MalformedRequest"),
        (["GET / HTTP/1.1", "X-\xe9: x"], 400, "MalformedRequest"),
        (["GET /" + "a" * 9000 + " HTTP/1.1"], 414, "AddressTooLong"),
        (["GET / HTTP/1.1", "X-A: " + "a" * 17_000], 431, "HeadersTooLarge"),
        (["GET / HTTP/1.1", "Expect: more"], 417, "UnknownExpectation"),
        (["PUT / HTTP/1.1", "Transfer-Encoding: x"], 501, "NotSupported"),
    ],
)
def test_what_is_no_http_gets_an_error_in_json(
    gateway: GatewayProcess, lines: list[str], status: int, code: str
) -> None:
    data = "\r\n".join((*lines, "", "")).encode("latin-1") + b"body" * 10_000
    (answer,) = send(gateway, data, lines[0].split()[0], is_ended=True)
    error = json.loads(answer.body)
    assert (answer.status, error["code"]) == (status, code)
    assert error["requestId"] == answer.headers["X-Request-Id"]
    assert answer.headers["Content-Type"] == "application/json"
    assert len(error["error"]) < 100
    assert error["error"].isascii()


@pytest.mark.parametrize("before", [b"", b"\r\n"])
def test_a_refused_head_gets_no_body(gateway: GatewayProcess, before: bytes) -> None:
    put(gateway, "abc", b"body")
    with connect(gateway) as sock:
        sock.sendall(head("HEAD /object/abc") + before + b"HEAD /a b HTTP/1.1\r\n\r\n")
        sent, _, found = sock.makefile("rb").read().partition(b"HTTP/1.1 400 ")
    assert sent.startswith(b"HTTP/1.1 200 ")
    assert found.endswith(b"\r\n\r\n")
    assert found.count(b"\r\n\r\n") == 1


def test_a_token_that_a_proxy_adds_fails_no_upload(gateway: GatewayProcess) -> None:
    put(gateway, "login", b"body", X_Amzn_Oidc_Data="x" * 12_000)
    assert "X-Amzn-Oidc-Data" not in get(gateway, "login").headers


def test_a_later_version_of_http_1_is_answered_as_1_1(gateway: GatewayProcess) -> None:
    with connect(gateway) as sock, sock.makefile("rb") as file:
        for version in ("1.2", "1.9", "1.1"):
            sock.sendall(f"GET /health HTTP/{version}\r\nHost: x\r\n\r\n".encode())
            assert file.readline() == b"HTTP/1.1 200 OK\r\n"
            headers = http.client.parse_headers(file)
            assert file.read(int(headers["Content-Length"])) == b'{"status":"UP"}'


def test_http_1_0_needs_no_host(gateway: GatewayProcess) -> None:
    (answer,) = send(gateway, b"GET /health HTTP/1.0\r\n\r\n", "GET")
    assert answer.status == 200


def test_an_escaped_letter_is_the_letter(gateway: GatewayProcess) -> None:
    put(gateway, "abc", b"body")
    assert get(gateway, "%61bc").body == b"body"


def test_a_method_in_lower_case_is_refused(gateway: GatewayProcess) -> None:
    put(gateway, "lower", b"body")
    (answer,) = send(gateway, head("delete /object/lower"), "DELETE")
    assert answer.status in (400, 405, 501)
    assert get(gateway, "lower").body == b"body"


def test_a_header_with_underscores_is_dropped(gateway: GatewayProcess) -> None:
    data = head("PUT /object/under", "X_Meta_Under: 1", "Content-Length: 4") + b"body"
    assert send(gateway, data, "PUT")[0].status == 201
    assert get(gateway, "under").headers["X-Meta-Under"] is None


# Bodies


CHUNKED = "Transfer-Encoding: chunked"


def test_a_chunked_upload_is_stored(gateway: GatewayProcess) -> None:
    body = random.Random(2).randbytes(700_000)
    data = head("PUT /object/chunked", CHUNKED)
    for start in range(0, len(body), 100_000):
        data += b"186a0\r\n" + body[start : start + 100_000] + b"\r\n"
    (answer,) = send(gateway, data + b"0\r\n\r\n", "PUT")
    assert answer.status == 201
    assert get(gateway, "chunked").body == body


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
    gateway: GatewayProcess, data: bytes
) -> None:
    put(gateway, "cut", b"old")
    upload = head("PUT /object/cut", CHUNKED) + data
    (answer,) = send(gateway, upload, "PUT", is_ended=True)
    assert answer.status == 400
    assert get(gateway, "cut").body == b"old"


@pytest.mark.parametrize("is_reset", [False, True], ids=["FIN", "RST"])
@pytest.mark.parametrize("size", [0, 10, 300_000, 3 * MIB])
def test_a_truncated_upload_is_not_stored(
    gateway: GatewayProcess, size: int, is_reset: bool
) -> None:
    put(gateway, "short", b"old")
    for key in ("short", f"never{size}{is_reset}"):
        with connect(gateway) as sock:
            sock.sendall(head(f"PUT /object/{key}", f"Content-Length: {size + 1}"))
            sock.sendall(bytes(size))
            if is_reset:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            else:
                sock.shutdown(socket.SHUT_WR)
                assert b" 400 " in sock.recv(4096).split(b"\r\n")[0]
    assert get(gateway, "short").body == b"old"
    assert get(gateway, f"never{size}{is_reset}").status == 404


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
    gateway: GatewayProcess, framing: str
) -> None:
    put(gateway, "victim", b"kept")
    data = head("PUT /object/framed", *FRAMINGS[framing]) + b"5\r\nhello\r\n0\r\n\r\n"
    if framing != "another one before":  # which does say where the body ends
        data += head("DELETE /object/victim")
    found = send(gateway, data, "PUT", "DELETE", is_ended=True)
    assert found[0].status in (400, 411, 501)
    assert get(gateway, "framed").status == 404
    assert get(gateway, "victim").body == b"kept"


# Connections


def test_a_connection_serves_many_requests(gateway: GatewayProcess) -> None:
    connection = gateway.connect()
    connection.connect()
    first = connection.sock.getsockname()
    for number in range(20):
        connection.request("PUT", "/object/alive", b"%d" % number)
        assert connection.getresponse().read()
        connection.request("GET", "/object/alive")
        assert connection.getresponse().read() == b"%d" % number
        assert connection.sock.getsockname() == first
    connection.close()


def test_an_empty_line_behind_a_body_is_ignored(gateway: GatewayProcess) -> None:
    upload = head("PUT /object/old", "Content-Length: 4") + b"body\r\n"
    data = upload + upload + head("GET /object/old", "Connection: close")
    found = send(gateway, data, "PUT", "PUT", "GET")
    assert [answer.status for answer in found] == [201, 201, 200]


def test_requests_sent_ahead_are_answered_in_order(gateway: GatewayProcess) -> None:
    put(gateway, "ahead", b"first")
    data = (
        head("GET /object/ahead")
        + head("PUT /object/ahead", "Content-Length: 6")
        + b"second"
        + head("GET /object/ahead")
        + head("HEAD /object/ahead")
        + head("GET /nothing", "Connection: close")
    )
    found = send(gateway, data, "GET", "PUT", "GET", "HEAD", "GET")
    assert [answer.status for answer in found] == [200, 201, 200, 200, 404]
    assert [found[0].body, found[2].body] == [b"first", b"second"]


def test_a_client_that_asks_first_is_told_to_go_on(gateway: GatewayProcess) -> None:
    expect = ("Expect: 100-continue", "Content-Length: 4")
    with connect(gateway) as sock, sock.makefile("rb") as file:
        sock.sendall(head("PUT /object/expect", *expect))
        (answer,) = answers(file, ("PUT",))
        assert answer.status == 100
        sock.sendall(b"body")
        (answer,) = answers(file, ("PUT",))
        assert answer.status == 201
        sock.sendall(head("GET /object/expect"))
        (answer,) = answers(file, ("GET",))
        assert answer.body == b"body"


@pytest.mark.parametrize(
    ("line", "header", "status"),
    [
        ("PUT /object/not-an-id", "", 422),
        ("PUT /objects/nosuchbucket/key", "", 404),
        ("POST /objects/nosuchbucket/delete", "Content-Type: application/json", 404),
        ("PUT /object/there?X-Amz-Signature=x", "", 501),
        ("PUT /object/there", "If-None-Match: *", 412),
        ("PUT /object/there", 'If-Match: "other"', 412),
        ("PUT /object/new", 'If-Match: "other"', 412),
        ("PUT /object/there", "Content-Range: bytes 0-1/2", 400),
        ("PUT /nothing", "", 404),
        ("POST /health", "", 405),
    ],
)
@pytest.mark.parametrize(
    "framing", ["Content-Length: 1000", "Transfer-Encoding: chunked"]
)
def test_who_asks_first_is_refused_at_once(
    gateway: GatewayProcess, line: str, header: str, status: int, framing: str
) -> None:
    put(gateway, "there", b"body")
    expect = ["Expect: 100-continue", framing, *([header] if header else [])]
    with connect(gateway) as sock, sock.makefile("rb") as file:
        sock.sendall(head(line, *expect))
        (answer,) = answers(file, ("PUT",))
        assert (answer.status, answer.headers["Connection"]) == (status, "close")
        assert answer.headers["Content-Length"] == str(len(answer.body))


def test_who_asks_first_is_told_that_a_body_is_too_long(
    gateway: GatewayProcess,
) -> None:
    expect = ("Expect: 100-continue", f"Content-Length: {100 * MIB + 1}")
    with connect(gateway) as sock, sock.makefile("rb") as file:
        sock.sendall(head("PUT /object/there", *expect))
        (answer,) = answers(file, ("PUT",))
        assert answer.status == 413


def test_nobody_is_asked_for_a_body_that_is_empty(gateway: GatewayProcess) -> None:
    expect = ("Expect: 100-continue", "Content-Length: 0")
    with connect(gateway) as sock, sock.makefile("rb") as file:
        sock.sendall(2 * head("PUT /object/empty", *expect))
        found = list(answers(file, ("PUT", "PUT")))
    assert [answer.status for answer in found] == [201, 201]


@pytest.mark.parametrize(
    "line", ["PUT /object/not-an-id", "POST /health", "GET /health"]
)
@pytest.mark.parametrize("size", [100, 300_000, 5 * MIB])
def test_a_body_that_nobody_reads_is_never_a_request(
    gateway: GatewayProcess, line: str, size: int
) -> None:
    put(gateway, "victim", b"kept")
    hidden = head("DELETE /object/victim")
    body = (hidden * (size // len(hidden) + 1))[:size]
    data = head(line, f"Content-Length: {size}") + body + head("GET /object/victim")
    found = send(gateway, data, line.split()[0], "GET")
    assert found[0].status in (200, 405, 422)
    for answer in found[1:]:
        assert answer.body == b"kept"
    assert get(gateway, "victim").body == b"kept"


# Downloads


def test_a_broken_download_is_seen_by_the_client(gateway: GatewayProcess) -> None:
    require_broken_download(gateway)


CUT = random.Random(4).randbytes(24 * MIB + 9)
"""What is cut off while it is sent; nothing else has its length."""


def require_reset(gateway: GatewayProcess, path: str) -> None:
    """Ask as an HTTP/1.0 client, and cut the files of `CUT` meanwhile: that is a reset.

    For such a client an orderly end is that of a whole response.
    """
    files = (gateway.log.parent / "data").rglob("*")
    stored = [file for file in files if file.stat().st_size == len(CUT)]
    with connect(gateway) as sock:
        sock.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        assert sock.recv(100).startswith(b"HTTP/1.")
        for file in stored:
            os.truncate(file, 18 * MIB)
        with pytest.raises(ConnectionResetError):
            while sock.recv(MIB):
                pass


def test_a_broken_download_ends_with_a_reset(gateway: GatewayProcess) -> None:
    put(gateway, "reset", CUT)
    require_reset(gateway, "/object/reset")
    assert gateway.ask("DELETE", "/object/reset").status == 204


def test_a_broken_archive_ends_with_a_reset(gateway: GatewayProcess) -> None:
    assert gateway.ask("POST", "/buckets/cut-off").status == 201
    assert gateway.ask("PUT", "/objects/cut-off/a", CUT).status == 201
    require_reset(gateway, "/archive/cut-off")
    line = logged(gateway, "/archive/cut-off")
    assert re.match("broken: node [^ ]+, key cut-off/a: ", line["error"])
    assert gateway.ask("DELETE", "/objects/cut-off/a").status == 204


def logged(gateway: GatewayProcess, path: str) -> dict[str, str]:
    """Wait for the line of a GET in the access log."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        for text in gateway.log.read_text().splitlines():
            line = json.loads(text) if text.startswith("{") else {}
            if line.get("path") == path and line["method"] == "GET":
                return line
        time.sleep(0.05)
    raise AssertionError("not logged")


def test_a_download_that_nobody_takes_any_more_is_given_up(
    gateway: GatewayProcess,
) -> None:
    put(gateway, "leave", bytes(24 * MIB))
    with connect(gateway) as sock:
        sock.sendall(head("GET /object/leave"))
        assert sock.recv(4096)
    line = logged(gateway, "/object/leave")
    assert line["error"] == "not sent whole"
    assert gateway.ask("DELETE", "/object/leave").status == 204


class QueueWatch:
    """What the kernel holds for a client that reads nothing."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._bytes = self._times = 0

    def is_full(self) -> bool:
        """Whether there is something, and nothing was added for long."""
        length = array("i", [0])
        fcntl.ioctl(self._sock, termios.FIONREAD, length)
        self._times = self._times + 1 if length[0] == self._bytes else 0
        self._bytes = length[0]
        return self._bytes > 0 and self._times >= UNCHANGED_TIMES


def test_a_slow_reader_costs_no_memory(gateway: GatewayProcess) -> None:
    body = random.Random(4).randbytes(48 * MIB)
    put(gateway, "slow", body)
    before = [resident_peak_kib(pid) for pid in gateway.workers()]
    connections = [gateway.connect() for _ in range(4)]
    for connection in connections:
        connection.request("GET", "/object/slow")
    for connection in connections:
        await_that(QueueWatch(connection.sock).is_full)
    for connection in connections:
        assert connection.getresponse().read() == body
        connection.close()
    after = [resident_peak_kib(pid) for pid in gateway.workers()]
    assert max(after) - max(before) < 16 * 1024


def test_an_answer_after_which_no_request_can_follow_says_so(
    gateway: GatewayProcess,
) -> None:
    require_last_answers(gateway)


# Slowness


def test_after_an_upload_the_server_waits_for_no_more_of_it(
    gateway: GatewayProcess,
) -> None:
    """A client may read to the end of a connection that isn't kept."""
    upload = head("PUT /object/ended", "Content-Length: 5", "Connection: close")
    with connect(gateway) as sock:
        sock.sendall(upload + b"hello")
        assert sock.makefile("rb").read().split(b"\r\n")[0].split()[1] == b"201"


def test_who_is_refused_before_being_told_to_go_on_need_not_close(
    gateway: GatewayProcess,
) -> None:
    refused = head("PUT /object/!", "Content-Length: 5", "Expect: 100-continue")
    with connect(gateway) as sock:
        sock.sendall(refused)
        assert b"HTTP/1.1 422 " in sock.makefile("rb").read()


def test_an_upload_that_dribbles_ends_with_its_time(tmp_path: Path) -> None:
    data = {"DISCOVERY": "folders", "DATA_DIR": str(tmp_path / "data"), "WORKERS": "1"}
    limits = {"REQUEST_TIMEOUT": "1", "SPOOL_TIMEOUT": "0.2"}
    with GatewayProcess(tmp_path, {**data, **limits}) as gateway:
        require_timely_uploads(gateway)
        require_moving_uploads(gateway)
