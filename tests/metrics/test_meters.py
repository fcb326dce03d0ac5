"""The counters of one process: what is counted under which labels."""

from __future__ import annotations

import re
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from amazin.access.grants import READ
from amazin.errors import (
    GatewayError,
    HTTPError,
    LostCopyError,
    NodeAccessError,
    NodeBusyError,
    NodeError,
    NodeFullError,
    NodePermissionError,
    NodeProtocolError,
    NodeReadOnlyError,
    NodeRefusalError,
    NodeTimeoutError,
    NodeUnreachableError,
    NoNodesError,
    NoSuchBucketError,
    NoSuchKeyError,
    PreconditionError,
)
from amazin.metrics.meters import LIMITS, Meters, NodeMeter, RequestMeter, result_of
from amazin.web.messages import Request, Response, Route
from gateway import api_of
from tests.support.app import make_environ
from tests.support.scrapes import those_of, values_of


class Counted:
    """Meters, and what they show."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.meters = Meters(self._registry)
        self.requests = RequestMeter(self.meters)

    def those(self, name: str) -> dict[str, float]:
        """Return the values of one name, by those of the labels."""
        return those_of(values_of(generate_latest(self._registry).decode()), name)


def request_of(method: str, api: str = "object", body: bytes | None = None) -> Request:
    request = Request(method, "/object/a", make_environ(method, "/", body), "1", "")
    request.api = api
    return request


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (NoSuchKeyError(), "missing"),
        (NoSuchBucketError(), "missing"),
        (PreconditionError(), "precondition"),
        (NodeFullError(), "full"),
        (NodeTimeoutError(), "silent"),
        (NodeRefusalError(), "refused"),
        (NodeReadOnlyError(), "refused"),
        (NodePermissionError(), "refused"),
        (NodeAccessError(), "refused"),
        (NodeBusyError(), "refused"),
        (NodeUnreachableError(), "broken"),
        (NodeProtocolError(), "broken"),
        (LostCopyError(), "broken"),
        (NodeError(), "broken"),
        (GatewayError(), "broken"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_each_failure_of_a_node_has_its_word(error: Exception, word: str) -> None:
    assert result_of(error) == word


def test_requests_are_counted_by_api_method_and_status() -> None:
    counted = Counted()
    for method, api, status in [
        ("GET", "object", 200),
        ("GET", "object", 200),
        ("GET", "object", 404),
        ("PUT", "objects", 201),
        ("BREW", "none", 405),
        ("get", "none", 405),
    ]:
        counted.requests.note_end(request_of(method, api), status, 0.0, 0.0, 0)
    assert counted.those("http_requests_total") == {
        "object GET 200": 2,
        "object GET 404": 1,
        "objects PUT 201": 1,
        "none OTHER 405": 2,
    }


def test_a_response_without_a_body_has_a_first_byte_too() -> None:
    counted = Counted()
    counted.requests.note_end(request_of("GET"), 200, 10.0, 12.0, 5)
    counted.requests.note_end(request_of("HEAD"), 200, 10.0, 0.0, 0)
    assert counted.those("http_first_byte_seconds_sum")["object GET"] == 2
    whole = counted.those("http_request_duration_seconds_sum")["object HEAD"]
    first = counted.those("http_first_byte_seconds_sum")["object HEAD"]
    assert whole == first > 0
    assert counted.those("http_sent_bytes_total") == {"http_sent_bytes_total": 5}


def test_the_buckets_are_those_of_the_documentation() -> None:
    counted = Counted()
    counted.requests.note_end(request_of("GET"), 200, 0.0, 1.5, 1)
    buckets = counted.those("http_first_byte_seconds_bucket")
    limits = [*map(str, LIMITS), "+Inf"]
    # Labels by name: api, le, method.
    assert buckets == {
        f"object {limit} GET": float(limit == "+Inf" or float(limit) >= 1.5)
        for limit in limits
    }


@pytest.mark.parametrize(
    ("error", "cause", "name", "label"),
    [
        (HTTPError(401, "NoCredentials", ""), None, "access_denied_total", "Code"),
        (HTTPError(403, "NotAllowed", ""), None, "access_denied_total", "Code"),
        (HTTPError(507, "SpoolFull", ""), None, "spool_refusals_total", ""),
        (HTTPError(503, "NodeSilent", ""), NodeError(), "quorum_failures_total", ""),
        (HTTPError(503, "NoNodes", ""), NoNodesError(), "quorum_failures_total", ""),
        (HTTPError(507, "NodeFull", ""), NodeFullError(), "quorum_failures_total", ""),
    ],
)
def test_an_error_is_counted_by_its_kind(
    error: HTTPError, cause: Exception | None, name: str, label: str
) -> None:
    counted = Counted()
    counted.requests.note_error(error, cause or error)
    found = {
        key: value
        for other in (
            "access_denied_total",
            "spool_refusals_total",
            "quorum_failures_total",
        )
        for key, value in counted.those(other).items()
        if value
    }
    assert found == {error.code if label else name: 1}


@pytest.mark.parametrize("status", [400, 404, 405, 409, 412, 416, 500])
def test_other_errors_are_counted_as_requests_only(status: int) -> None:
    counted = Counted()
    counted.requests.note_error(HTTPError(status, "Code", ""), ValueError())
    assert counted.those("access_denied_total") == {}
    for name in ("spool_refusals_total", "quorum_failures_total"):
        assert counted.those(name) == {name: 0}


def test_requests_to_nodes_are_counted_by_operation_and_result() -> None:
    counted = Counted()
    meter = NodeMeter(counted.meters, "node-1")
    meter.note("get", 0.5)
    meter.note("get", 0.5, NodeTimeoutError())
    meter.note("put", 0.5)
    meter.note_sent(7)
    meter.note_received(9)
    assert counted.those("node_requests_total") == {
        "node-1 get ok": 1,
        "node-1 get silent": 1,
        "node-1 put ok": 1,
    }
    assert counted.those("node_request_duration_seconds_count") == {
        "node-1 get": 2,
        "node-1 put": 1,
    }
    assert counted.those("node_sent_bytes_total") == {"node-1": 7}
    assert counted.those("node_received_bytes_total") == {"node-1": 9}


def test_a_node_that_was_never_asked_has_its_bytes_already() -> None:
    counted = Counted()
    NodeMeter(counted.meters, "node-1")
    assert counted.those("node_sent_bytes_total") == {"node-1": 0}


@pytest.mark.parametrize(
    ("pattern", "api"),
    [
        ("/object/([^/]+)", "object"),
        ("/objects/([^/]+)/(.+)", "objects"),
        ("/presigned-url/(.+)", "presigned-url"),
        ("/+", "none"),
        ("/health", "health"),
    ],
)
def test_the_api_is_the_first_part_of_the_path(pattern: str, api: str) -> None:
    def handler(request: Request, services: Any) -> Response:
        return Response(204)

    assert api_of(Route("GET", re.compile(pattern), handler, READ)) == api
