"""REQUEST_TIMEOUT: a whole request, its body and its answer; 0 is no limit."""

from __future__ import annotations

import math
import time

import pytest

from amazin.errors import LateError, NodeTimeoutError
from amazin.model.objects import CHUNK_BYTES
from amazin.request_limits import client_has_left, request_deadline
from amazin.settings.settings import Settings
from amazin.web.framing import DEADLINE
from gateway import Gateway
from tests.support.app import call, make_app, make_environ
from tests.support.fakes import memory_nodes

BODY = bytes(3 * CHUNK_BYTES)
AT_ONCE = Settings(request_timeout=1e-9)


def apps() -> tuple[Gateway, Gateway]:
    """Return an application without a limit, and one for which all is too late."""
    nodes = memory_nodes()
    return make_app(nodes), make_app(nodes, AT_ONCE)


@pytest.mark.parametrize("headers", [{}, {"Transfer-Encoding": "chunked"}])
@pytest.mark.parametrize("path", ["/object/a", "/objects/b"])
def test_an_upload_that_takes_too_long_is_not_stored(
    path: str, headers: dict[str, str]
) -> None:
    app, late = apps()
    call(app, "PUT", path, b"old")
    environ = {"wsgi.input_terminated": True, "CONTENT_LENGTH": ""} if headers else {}
    answer = call(late, "PUT", path, BODY, headers, environ=environ)
    assert (answer.status, answer.json["code"]) == (408, "RequestTimeout")
    assert call(app, "GET", path).body == b"old"


@pytest.mark.parametrize("body", [b"small", BODY])
def test_a_copy_that_takes_too_long_is_not_stored(body: bytes) -> None:
    app, late = apps()
    call(app, "PUT", "/objects/a", body)
    headers = {"X-Copy-Source": "/default/a"}
    answer = call(late, "PUT", "/objects/b", headers=headers)
    assert (answer.status, answer.json["code"]) == (408, "RequestTimeout")
    assert call(app, "GET", "/objects/b").status == 404
    assert call(app, "PUT", "/objects/b", headers=headers).status == 201


def test_a_download_that_begins_too_late_is_refused() -> None:
    app, late = apps()
    call(app, "PUT", "/object/a", BODY)
    assert call(app, "GET", "/object/a").body == BODY
    answer = call(late, "GET", "/object/a")
    assert (answer.status, answer.json["code"]) == (408, "RequestTimeout")


def test_a_download_that_takes_too_long_breaks() -> None:
    app, _ = apps()
    call(app, "PUT", "/object/a", BODY)
    statuses = list[str]()
    environ = make_environ("GET", "/object/a", None, None)
    transfer = app(environ, lambda status, *_: statuses.append(status))  # type: ignore[arg-type,func-returns-value,return-value]
    environ[DEADLINE] = time.monotonic()
    pieces = iter(transfer)
    assert next(pieces) == BODY[:CHUNK_BYTES]
    assert statuses == ["200 OK"]
    with pytest.raises(LateError):
        next(pieces)
    transfer.close()  # type: ignore[attr-defined]


def test_an_answer_that_is_here_is_sent() -> None:
    app, late = apps()
    call(app, "PUT", "/object/a", b"small")
    assert call(late, "GET", "/object/a").body == b"small"
    assert call(late, "GET", "/object/none").status == 404


@pytest.mark.parametrize("path", ["/object/a", "/objects/list", "/buckets"])
def test_nodes_that_have_no_time_left_are_not_to_blame(path: str) -> None:
    nodes = memory_nodes()
    call(make_app(nodes), "PUT", "/object/a", b"small")
    for node in nodes:
        node.disk.failing = NodeTimeoutError("silent")
    assert call(make_app(nodes), "GET", path).status == 503
    answer = call(make_app(nodes, AT_ONCE), "GET", path)
    assert (answer.status, answer.json["code"]) == (408, "RequestTimeout")


def test_the_limit_ends_with_its_request() -> None:
    app, late = apps()
    call(app, "PUT", "/object/a", b"small")
    assert call(late, "GET", "/object/a").status == 200
    assert request_deadline.get() == math.inf
    assert client_has_left.get() is None
