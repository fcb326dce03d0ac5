"""The WSGI callable: routing, errors, request ids, bodies, the access log."""

from __future__ import annotations

import json
import logging
import re
import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from amazin.access.grants import READ
from amazin.api.services import Services
from amazin.errors import (
    BodyError,
    ConflictError,
    DiscoveryError,
    GatewayError,
    HTTPError,
    LateError,
    NodeError,
    NodeFullError,
    NodeProtocolError,
    NoNodesError,
    NoSuchKeyError,
    NotSupportedError,
    PreconditionError,
)
from amazin.logs import JsonFormatter, logging_config
from amazin.settings.converters import networks
from amazin.settings.settings import Settings
from amazin.web.messages import Request, Response, Route
from gateway import Gateway, client_address
from tests.support.app import BrokenInput, Input, call, make_app, make_environ

SECRET = "/srv/hush 10.0.0.1:9000 key"


class Body:
    """A response body that counts how often it is closed."""

    def __init__(self, *pieces: bytes | Exception) -> None:
        self.pieces = pieces
        self.closed = 0

    def __iter__(self) -> Iterator[bytes]:
        for piece in self.pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece

    def close(self) -> None:
        self.closed += 1


def app_of(outcome: Response | Exception, settings: Settings | None = None) -> Gateway:
    """Return an application whose routes at `/x` all have this outcome."""

    def handler(request: Request, services: Services) -> Response:
        request.node = "node-7"
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    pattern = re.compile("/x")
    routes = [
        Route(method, pattern, handler, READ) for method in ("GET", "HEAD", "PUT")
    ]
    return make_app([], settings, routes=routes)


def stream(body: Body, length: int) -> Response:
    """Return a response with this body."""
    return Response(200, [("Content-Type", "text/plain")], body, length)


@pytest.fixture
def access() -> Iterator[list[dict[str, Any]]]:
    """The fields of the access log's lines."""
    lines: list[dict[str, Any]] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.fields)  # type: ignore[attr-defined]

    handler, logger = Handler(), logging.getLogger("amazin.access")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield lines
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)


# Routing


@pytest.mark.parametrize("path", ["/", "/y", "/x/", "//x", "/X", "/x%0A", "/%00", "*"])
def test_unknown_paths_are_404(path: str) -> None:
    answer = call(app_of(Response(204)), "GET", "/", environ={"PATH_INFO": path})
    assert (answer.status, answer.code) == (404, "NoSuchRoute")


METHODS = [
    "POST",
    "PATCH",
    "OPTIONS",
    "DELETE",
    "TRACE",
    "CONNECT",
    "get",
    "Put",
    "G T",
]


@pytest.mark.parametrize("method", METHODS)
def test_other_methods_are_405_and_told_which_there_are(method: str) -> None:
    answer = call(app_of(Response(204)), method, "/x")
    assert (answer.status, answer.code) == (405, "MethodNotAllowed")
    assert answer.headers["Allow"] == "GET, HEAD, PUT"


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/object/abc", "DELETE, GET, HEAD, PUT"),
        ("/object/not-an-id", "DELETE, GET, HEAD, PUT"),
        ("/health", "GET, HEAD"),
        ("/health/ready", "GET, HEAD"),
    ],
)
def test_the_methods_of_the_real_routes(path: str, allowed: str) -> None:
    assert call(make_app([]), "POST", path).headers["Allow"] == allowed


@pytest.mark.parametrize("path", ["/\xff", "/日本", "/\ud800", "", "x"])
def test_paths_that_no_server_should_hand_on_are_404(path: str) -> None:
    answer = call(app_of(Response(204)), "GET", "/x", environ={"PATH_INFO": path})
    assert answer.code == "NoSuchRoute"


# Errors


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (NoSuchKeyError(SECRET), 404, "NoSuchObject"),
        (PreconditionError(SECRET), 412, "PreconditionFailed"),
        (BodyError("told"), 400, "IncompleteBody"),
        (NotSupportedError("told"), 501, "NotSupported"),
        (NodeFullError(SECRET), 507, "NodeFull"),
        (NodeProtocolError(SECRET), 502, "NodeNonsense"),
        (NodeError(SECRET), 503, "NodeFailed"),
        (NoNodesError("told"), 503, "NoNodes"),
        (ConflictError(SECRET), 503, "Conflict"),
        (HTTPError(422, "InvalidId", "told"), 422, "InvalidId"),
        # Nobody should raise these here; they must not escape all the same.
        (GatewayError(SECRET), 500, "InternalError"),
        (DiscoveryError(SECRET), 500, "InternalError"),
        (KeyError(SECRET), 500, "InternalError"),
        (OSError(2, SECRET), 500, "InternalError"),
        (RecursionError(SECRET), 500, "InternalError"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_error_has_its_answer(error: Exception, status: int, code: str) -> None:
    answer = call(app_of(error), "GET", "/x")
    assert (answer.status, answer.code) == (status, code)
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert (answer.headers["Retry-After"] is not None) == (status == 503)
    assert b"hush" not in answer.body
    assert b"10.0.0.1" not in answer.body
    assert ("told" in answer.json["error"]) == (str(error) == "told")


def test_errors_are_compact_json() -> None:
    answer = call(app_of(NoSuchKeyError()), "GET", "/x", headers={"X-Request-Id": "r1"})
    assert answer.body == (
        b'{"error":"There is no such object","code":"NoSuchObject","requestId":"r1"}'
    )


def test_errors_of_head_have_the_headers_and_no_body() -> None:
    got, head = (call(app_of(NoSuchKeyError()), m, "/x") for m in ("GET", "HEAD"))
    assert (head.status, head.body) == (404, b"")
    assert head.headers["Content-Type"] == "application/json"
    assert head.headers["Content-Length"] == got.headers["Content-Length"]


def test_a_bug_is_logged_with_its_traceback_and_told_to_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = app_of(ZeroDivisionError(SECRET))
    answer = call(app, "GET", "/x", headers={"X-Request-Id": "r1"})
    assert (answer.status, "Zero" in answer.json["error"]) == (500, False)
    (record,) = [r for r in caplog.records if r.levelno >= logging.ERROR]
    line = json.loads(JsonFormatter().format(record))
    assert "ZeroDivisionError" in line["exception"]
    assert (line["requestId"], line["level"]) == ("r1", "error")


def test_what_ends_the_process_is_no_bug() -> None:
    def handler(request: Request, services: Services) -> Response:
        raise KeyboardInterrupt

    app = make_app([], routes=[Route("GET", re.compile("/x"), handler, READ)])
    with pytest.raises(KeyboardInterrupt):
        app(make_environ("GET", "/x"), lambda *_: None)  # type: ignore[arg-type]


# Request ids


@pytest.mark.parametrize("given", ["abc", "A-Z_0.9:/+=", "x" * 128])
def test_a_request_id_is_taken_over(given: str) -> None:
    answer = call(app_of(Response(204)), "GET", "/x", headers={"X-Request-Id": given})
    assert answer.headers["X-Request-Id"] == given


@pytest.mark.parametrize(
    "given",
    ["", "x" * 129, "a b", "a\r\nSet-Cookie: x", "a\n", '"', "<script>", "\xe9", "٣"],
    ids=ascii,
)
def test_a_malicious_request_id_is_replaced(given: str) -> None:
    answers = [
        call(app_of(Response(204)), "GET", "/x", headers={"X-Request-Id": given})
        for _ in range(2)
    ]
    first, second = (answer.headers["X-Request-Id"] for answer in answers)
    assert re.fullmatch("[0-9a-f]{32}", first)
    assert first != second


# Bodies


def test_a_body_is_closed_once() -> None:
    body = Body(b"12", b"345")
    assert call(app_of(stream(body, 5)), "GET", "/x").body == b"12345"
    assert body.closed == 1


def test_the_body_of_head_is_not_read_but_closed() -> None:
    body = Body(AssertionError("read"))
    answer = call(app_of(stream(body, 5)), "HEAD", "/x")
    assert (answer.body, answer.headers["Content-Length"]) == (b"", "5")
    assert body.closed == 1


def begin(app: Gateway, method: str = "GET") -> Any:
    """Return the iterable of a request to `/x`, as a server gets it."""
    return app(make_environ(method, "/x"), lambda *_: None)  # type: ignore[arg-type]


def test_a_client_that_goes_away_closes_the_body(access: list[dict[str, Any]]) -> None:
    body = Body(b"12", b"345")
    response = begin(app_of(stream(body, 5)))
    iterator = iter(response)
    assert next(iterator) == b"12"
    response.close()
    response.close()
    assert body.closed == 1
    (line,) = access
    assert (line["status"], line["error"]) == (200, "not sent whole")


def test_a_client_that_goes_away_before_the_first_byte_closes_the_body() -> None:
    body = Body(b"12345")
    begin(app_of(stream(body, 5))).close()
    assert body.closed == 1


def test_a_server_that_refuses_the_headers_closes_the_body() -> None:
    def start_response(*_: Any) -> Any:
        raise ValueError("a bad header")

    body = Body(b"12345")
    with pytest.raises(ValueError, match="bad header"):
        app_of(stream(body, 5))(make_environ("GET", "/x"), start_response)
    assert body.closed == 1


def test_a_download_that_breaks_is_raised_and_logged(
    access: list[dict[str, Any]],
) -> None:
    body = Body(b"12", NodeError("gone"))
    with pytest.raises(NodeError):
        call(app_of(stream(body, 5)), "GET", "/x")
    assert body.closed == 1
    (line,) = access
    assert (line["status"], line["bytes"]) == (200, 2)
    assert line["error"] == "broken: node node-7: gone"


def test_the_log_names_the_node_and_the_key_among_many(
    access: list[dict[str, Any]],
) -> None:
    error = NodeError("gone")
    error.node, error.key = "node-3", "photos/a"
    with pytest.raises(NodeError):
        call(app_of(stream(Body(b"12", error), 5)), "GET", "/x")
    assert access[0]["error"] == "broken: node node-3, key photos/a: gone"


@pytest.fixture
def connection() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Our end and the client's end of a TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname(), timeout=10)
        ours, _ = listener.accept()
    with ours, theirs:
        yield ours, theirs


def serve(response: Response, ours: socket.socket) -> None:
    """Send a response's body as gunicorn does, which ends what breaks in order."""
    environ = make_environ("GET", "/x")
    environ["gunicorn.socket"] = ours
    body = app_of(response)(environ, lambda *_: lambda data: None)
    try:
        for piece in body:
            ours.sendall(piece)
    except (GatewayError, ValueError):
        pass
    finally:
        body.close()  # type: ignore[attr-defined]
        with suppress(OSError):
            ours.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    "error", [NodeError("gone"), LateError("late"), ValueError("a bug")]
)
def test_what_breaks_ends_with_a_reset(
    connection: tuple[socket.socket, socket.socket], error: Exception
) -> None:
    ours, theirs = connection
    serve(Response(200, [], Body(b"12", error)), ours)
    with pytest.raises(ConnectionResetError):
        while theirs.recv(1):
            pass


def test_a_first_piece_that_is_not_taken_whole_ends_with_a_reset(
    connection: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = connection
    environ = make_environ("GET", "/x")
    environ["gunicorn.socket"] = ours
    body = app_of(Response(200, [], Body(b"12345")))(
        environ, lambda *_: lambda data: None
    )
    ours.sendall(next(iter(body))[:2])
    body.close()  # type: ignore[attr-defined]
    with pytest.raises(ConnectionResetError):
        while theirs.recv(1):
            pass


def test_what_is_whole_ends_in_order(
    connection: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = connection
    serve(Response(200, [], Body(b"12", b"345")), ours)
    received = b""
    while data := theirs.recv(10):
        received += data
    assert received == b"12345"


def test_what_fails_before_its_first_byte_is_left_to_the_server(
    connection: tuple[socket.socket, socket.socket],
) -> None:
    """It has sent no header yet, and can answer with an error."""
    ours, theirs = connection
    serve(Response(200, [], Body(NodeError("gone"))), ours)
    assert theirs.recv(10) == b""


@pytest.mark.parametrize(("status", "read"), [(422, 5), (200, 5)])
def test_a_body_that_nobody_wanted_is_drained(status: int, read: int) -> None:
    outcome = HTTPError(422, "X", "x") if status == 422 else stream(Body(b"1"), 1)
    upload = Input(b"12345")
    headers = {"Content-Length": "5"}
    assert call(app_of(outcome), "PUT", "/x", upload, headers).status == status
    assert upload.was_read == read


def test_draining_a_broken_connection_harms_nobody() -> None:
    upload = BrokenInput(b"", ConnectionResetError())
    headers = {"Content-Length": "5"}
    answer = call(app_of(HTTPError(422, "X", "x")), "PUT", "/x", upload, headers)
    assert answer.status == 422


# Statuses


@pytest.mark.parametrize("status", [204, 304])
def test_answers_without_content_have_no_length(status: int) -> None:
    answer = call(app_of(Response(status)), "GET", "/x")
    assert "Content-Length" not in answer.headers
    assert "Content-Type" not in answer.headers


@pytest.mark.parametrize("status", [411, 412, 413, 416, 422, 501, 502, 503, 507])
def test_every_status_of_the_contract_has_a_reason(status: int) -> None:
    lines: list[str] = []
    app = app_of(HTTPError(status, "X", "x"))
    response = app(
        make_environ("GET", "/x"),
        lambda line, *_: lines.append(line),  # type: ignore[arg-type]
    )
    response.close()  # type: ignore[attr-defined]
    assert re.fullmatch(rf"{status} [A-Z][A-Za-z -]+", lines[0])


# The access log


def test_one_line_for_each_request(access: list[dict[str, Any]]) -> None:
    answer = call(app_of(stream(Body(b"12", b"345"), 5)), "GET", "/x?hush=1")
    (line,) = access
    assert line.pop("ms") >= 0
    assert line == {
        "requestId": answer.headers["X-Request-Id"],
        "method": "GET",
        "path": "/x",
        "status": 200,
        "bytes": 5,
        "node": "node-7",
        "client": "192.0.2.7",
    }


def test_the_log_names_the_trace_of_a_request(access: list[dict[str, Any]]) -> None:
    trace, span = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    for parent in (f"00-{trace}-{span}-01", "nonsense"):
        call(app_of(Response(204)), "GET", "/x", headers={"traceparent": parent})
    assert access[0]["traceId"] == trace
    assert "traceId" not in access[1]


def test_refusals_are_logged_with_what_was_sent(access: list[dict[str, Any]]) -> None:
    for method in ("GET", "HEAD"):
        answer = call(app_of(Response(204)), method, "/unknown")
        assert access[-1]["bytes"] == len(answer.body)
        assert (access[-1]["status"], access[-1]["node"]) == (404, "")
    assert len(access) == 2
    assert not any("error" in line for line in access)


def test_a_failed_node_is_named(access: list[dict[str, Any]]) -> None:
    error = NodeError("gone")
    call(app_of(error), "GET", "/x")
    error.node = "node-8"
    call(app_of(error), "GET", "/x")
    assert [line["node"] for line in access] == ["node-7", "node-8"]


def test_hostile_paths_stay_one_line_of_json() -> None:
    record = logging.LogRecord("amazin.access", 20, "", 0, "request", None, None)
    path = "/a\n\"\udcff\u2028}{'日本"
    record.__dict__["fields"] = {"path": path}
    text = JsonFormatter().format(record)
    assert (text.isascii(), "\n" in text) == (True, False)
    assert json.loads(text)["path"] == path


def test_a_line_of_the_log() -> None:
    record = logging.LogRecord("amazin.x", 30, "", 0, "node %s", ("n1",), None)
    record.created, record.msecs = 784_111_777.25, 250.0
    assert json.loads(JsonFormatter().format(record)) == {
        "time": "1994-11-06T08:49:37.250Z",
        "level": "warning",
        "logger": "amazin.x",
        "message": "node n1",
    }


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_the_logging_configuration_shows_our_level(level: str) -> None:
    config = logging_config(level)
    assert config["loggers"]["amazin"]["level"] == level.upper()
    assert config["loggers"]["gunicorn.access"]["handlers"] == []


# Who the client is


@pytest.mark.parametrize(
    ("remote", "forwarded", "expected"),
    [
        ("192.0.2.7", None, "192.0.2.7"),
        ("192.0.2.7", "203.0.113.1", "192.0.2.7"),  # no proxy of ours
        ("10.0.0.1", None, "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "203.0.113.1", "203.0.113.1"),
        ("10.0.0.1", "203.0.113.1, 10.0.0.2", "203.0.113.1"),
        ("10.0.0.1", "1.1.1.1, 203.0.113.1", "203.0.113.1"),  # the first is made up
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("10.0.0.1", "evil, 10.0.0.2", "10.0.0.2"),
        ("10.0.0.1", "<script>", "10.0.0.1"),
        ("10.0.0.1", "203.0.113.1:5000", "10.0.0.1"),
        ("10.0.0.1", ",,,", "10.0.0.1"),
        ("10.0.0.1", "2001:db8::1", "2001:db8::1"),
        ("::1", " 203.0.113.1 ", "203.0.113.1"),
        ("::ffff:10.0.0.1", "203.0.113.1", "203.0.113.1"),
        ("::ffff:192.0.2.7", "203.0.113.1", "::ffff:192.0.2.7"),
        ("", "203.0.113.1", ""),
    ],
)
def test_forwarded_addresses_count_from_trusted_proxies_only(
    remote: str, forwarded: str | None, expected: str
) -> None:
    environ = {"REMOTE_ADDR": remote}
    if forwarded is not None:
        environ["HTTP_X_FORWARDED_FOR"] = forwarded
    assert client_address(environ, networks("10.0.0.0/8, ::1")) == expected


def test_nobody_and_everybody_may_be_trusted() -> None:
    environ = {"REMOTE_ADDR": "192.0.2.7", "HTTP_X_FORWARDED_FOR": "1.1.1.1"}
    assert client_address(environ, networks("")) == "192.0.2.7"
    assert client_address(environ, networks("*")) == "1.1.1.1"


def test_the_setting_reaches_the_log(access: list[dict[str, Any]]) -> None:
    settings = Settings(forwarded_allow_ips=networks("192.0.2.0/24"))
    headers = {"X-Forwarded-For": "203.0.113.1"}
    call(app_of(Response(204), settings), "GET", "/x", headers=headers)
    call(app_of(Response(204)), "GET", "/x", headers=headers)
    assert [line["client"] for line in access] == ["203.0.113.1", "192.0.2.7"]


# The smallest environ that PEP 3333 allows


def test_a_request_with_nothing_but_what_is_required() -> None:
    environ = {
        "REQUEST_METHOD": "GET",
        "SERVER_NAME": "x",
        "SERVER_PORT": "80",
        "wsgi.input": Input(),
    }
    statuses: list[str] = []

    def start_response(status: str, *_: Any) -> Any:
        statuses.append(status)

    response: Any = make_app()(environ, start_response)
    error = json.loads(b"".join(response))
    response.close()
    assert (statuses, error["code"]) == (["404 Not Found"], "NoSuchRoute")
