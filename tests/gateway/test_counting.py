"""What the gateway counts of the requests of clients."""

from __future__ import annotations

import random
import re
import string
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from amazin.access.grants import OPEN
from amazin.api.metrics import ROUTES
from amazin.api.services import Services
from amazin.errors import (
    HTTPError,
    LateError,
    NodeError,
    NodeFullError,
    NodeUnreachableError,
    NoSuchKeyError,
    PreconditionError,
)
from amazin.metrics.metrics import Metrics
from amazin.settings.settings import Settings
from amazin.web.messages import Request, Response, Route
from amazin.web.spool import SpoolRoom
from gateway import Gateway
from tests.support.app import (
    BrokenInput,
    call,
    call_chunked,
    make_app,
    make_environ,
)
from tests.support.cleanup import closed_later
from tests.support.fakes import FakeNode, memory_nodes
from tests.support.scrapes import those_of, values_of

TOKEN = "a-token-for-tests"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


class Counting:
    """A gateway that counts, and what it shows."""

    def __init__(self, **options: Any) -> None:
        self.metrics = closed_later(Metrics())
        self.app = make_app(metrics=self.metrics, **options)

    def ask(self, method: str, path: str, *args: Any, **options: Any) -> int:
        """Ask the gateway; returns the status."""
        return call(self.app, method, path, *args, **options).status

    def values(self, name: str) -> dict[str, float]:
        """Return the values of one name, without that of the scrape itself."""
        answer = call(self.app, "GET", "/metrics", None, BEARER)
        assert answer.status == 200
        return those_of(values_of(answer.body.decode()), name)

    def value(self, name: str) -> float:
        """Return the value of a name without labels."""
        return self.values(name)[name]

    @property
    def in_flight(self) -> int:
        """The requests that have not ended."""
        return self.metrics.requests.in_flight


TEXT = [("Content-Type", "text/plain")]


def counting_of(outcome: Response | Callable[[Request], Response]) -> Counting:
    """Return a gateway whose route `/x` has this outcome."""

    def handler(request: Request, services: Services) -> Response:
        return outcome(request) if callable(outcome) else outcome

    pattern = re.compile("/x")
    methods = ("GET", "HEAD", "PUT")
    routes = [Route(method, pattern, handler, OPEN) for method in methods]
    return Counting(nodes=[], routes=[*routes, *ROUTES])


def raising(error: Exception) -> Callable[[Request], Response]:
    def handle(request: Request) -> Response:
        raise error

    return handle


def test_requests_are_counted_by_api_method_and_status() -> None:
    counting = Counting()
    assert counting.ask("PUT", "/object/a", b"hello") == 201
    assert counting.ask("GET", "/object/a") == 200
    assert counting.ask("HEAD", "/object/b") == 404
    assert counting.ask("POST", "/buckets/photos") == 201
    assert counting.ask("PUT", "/objects/photos/a", b"x") == 201
    assert counting.ask("GET", "/objects/photos/list") == 200
    assert counting.ask("GET", "/archive/photos") == 200
    assert counting.ask("GET", "/health") == 200
    assert counting.values("http_requests_total") == {
        "object PUT 201": 1,
        "object GET 200": 1,
        "object HEAD 404": 1,
        "buckets POST 201": 1,
        "objects PUT 201": 1,
        "objects GET 200": 1,
        "archive GET 200": 1,
        "health GET 200": 1,
    }
    assert counting.value("http_received_bytes_total") == 6
    assert counting.values("http_requests_total")["metrics GET 200"] == 2


def test_the_bytes_that_are_sent_are_those_of_bodies() -> None:
    counting = counting_of(Response(200, TEXT, b"hello"))
    counting.ask("GET", "/x")
    counting.ask("HEAD", "/x")
    # What a scrape sends is counted at its end.
    assert counting.value("http_sent_bytes_total") == 5


def test_a_head_is_a_first_byte_too() -> None:
    counting = counting_of(Response(200, TEXT, (b"hello",), 5))
    counting.ask("GET", "/x")
    counting.ask("HEAD", "/x")
    counts = counting.values("http_first_byte_seconds_count")
    assert counts == {"x GET": 1, "x HEAD": 1}
    whole = counting.values("http_request_duration_seconds_sum")
    first = counting.values("http_first_byte_seconds_sum")
    assert first["x GET"] <= whole["x GET"]
    assert first["x HEAD"] <= whole["x HEAD"]


# What nobody serves


@pytest.mark.parametrize("method", ["BREW", "get", "PROPFIND", "PATCH", "TRACE"])
def test_other_methods_are_one(method: str) -> None:
    counting = Counting()
    assert counting.ask(method, "/object/a") == 405
    assert counting.values("http_requests_total") == {"none OTHER 405": 1}


@pytest.mark.parametrize("path", ["/", "/nothing", "/object", "/metrics/x", "/%00"])
def test_other_paths_have_no_api(path: str) -> None:
    counting = Counting()
    assert counting.ask("GET", path) == 404
    assert counting.values("http_requests_total") == {"none GET 404": 1}


def test_whatever_clients_send_adds_no_series() -> None:
    counting = Counting()
    dice = random.Random(1)
    first, known = len(counting.values("")), 0
    characters = string.ascii_uppercase + string.ascii_lowercase + string.digits
    paths = ("/", "/object/", "/objects/", "/buckets/", "/objects/photos/", "/health/")
    for number in range(10_000):
        word = "".join(dice.choices(characters, k=9))
        method = word if number % 3 == 0 else dice.choice(["GET", "HEAD", "DELETE"])
        path = dice.choice(paths) + word
        environ = {"REQUEST_METHOD": method, "PATH_INFO": path, "HTTP_HOST": word}
        counting.ask("GET", "/", environ=environ)
        if number == 999:
            known = len(series_of(counting))
    assert first < known
    assert len(series_of(counting)) <= known + 5
    requests = counting.values("http_requests_total")
    assert {key.split()[1] for key in requests} <= {"GET", "HEAD", "DELETE", "OTHER"}
    assert len(requests) < 25


def series_of(counting: Counting) -> dict[str, float]:
    return values_of(call(counting.app, "GET", "/metrics").body.decode())


# Who is refused


def test_refusals_are_counted_by_their_reason() -> None:
    counting = Counting(settings=Settings(access="signed", api_tokens=(TOKEN,)))
    unknown = {"Authorization": "Bearer of-bad-news"}
    both = {**BEARER}
    assert counting.ask("GET", "/object/a") == 401
    assert counting.ask("PUT", "/object/a", b"x") == 401
    assert counting.ask("GET", "/object/a", None, unknown) == 403
    assert counting.ask("GET", "/object/a", None, both) == 404
    assert counting.values("access_denied_total") == {
        "NoCredentials": 2,
        "UnknownToken": 1,
    }
    requests = counting.values("http_requests_total")
    assert requests["object GET 401"] == requests["object PUT 401"] == 1


def test_a_spool_that_is_full() -> None:
    spool = closed_later(SpoolRoom("/tmp", 10))
    counting = Counting(spool=spool)
    assert call_chunked(counting.app, "/object/a", bytes(100)).status == 507
    assert counting.value("spool_refusals_total") == 1
    assert counting.value("quorum_failures_total") == 0


# Nodes that fail


@pytest.fixture
def nodes() -> list[FakeNode]:
    return memory_nodes()


@pytest.fixture
def counting(nodes: list[FakeNode]) -> Counting:
    """A gateway on three nodes, with an object on two of them."""
    counting = Counting(nodes=nodes, settings=Settings(replicas=2))
    assert counting.ask("PUT", "/object/a", b"hello") == 201
    return counting


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
def test_too_few_nodes(counting: Counting, nodes: list[FakeNode], method: str) -> None:
    for node in nodes:
        node.disk.failing = NodeUnreachableError("refused")
    body = b"x" if method == "PUT" else None
    assert counting.ask(method, "/object/a", body) == 503
    assert counting.value("quorum_failures_total") == 1
    assert counting.value("read_failovers_total") == 0


def test_nodes_that_are_full(counting: Counting, nodes: list[FakeNode]) -> None:
    for node in nodes:
        node.disk.is_full = True
    assert counting.ask("PUT", "/object/a", b"x") == 507
    assert counting.value("quorum_failures_total") == 1
    assert counting.value("spool_refusals_total") == 0


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_read_that_is_answered_although_a_node_failed(
    counting: Counting, nodes: list[FakeNode], method: str
) -> None:
    assert counting.ask(method, "/object/a") == 200
    assert counting.value("read_failovers_total") == 0
    holder = next(node for node in nodes if node.disk.data)
    holder.disk.failing = NodeUnreachableError("refused")
    assert counting.ask(method, "/object/a") == 200
    assert counting.value("read_failovers_total") == 1
    holder.disk.failing = None
    assert counting.ask(method, "/object/a") == 200
    assert counting.value("read_failovers_total") == 1
    assert counting.value("quorum_failures_total") == 0


def test_a_write_that_a_node_failed_is_no_failover(
    counting: Counting, nodes: list[FakeNode]
) -> None:
    holder = next(node for node in nodes if node.disk.data)
    holder.disk.failing = NodeUnreachableError("refused")
    assert counting.ask("PUT", "/object/a", b"x") == 201
    assert counting.value("read_failovers_total") == 0


def test_what_is_missing_or_conditional_is_no_failure_of_nodes() -> None:
    counting = counting_of(raising(NoSuchKeyError("a")))
    counting.ask("GET", "/x")
    other = counting_of(raising(PreconditionError("a")))
    other.ask("GET", "/x")
    for each in (counting, other):
        assert each.value("quorum_failures_total") == 0
        assert each.value("read_failovers_total") == 0


# Responses that end too early


def pieces(*parts: bytes | Exception) -> Iterator[bytes]:
    for part in parts:
        if isinstance(part, Exception):
            raise part
        yield part


def take(counting: Counting, count: int = -1) -> int:
    """Ask as a server does, take so many chunks, and close; returns how many came."""
    response = counting.app(make_environ("GET", "/x"), lambda *_: lambda _: None)
    taken = 0
    try:
        for _ in response:
            taken += 1
            if taken == count:
                break
    except (NodeError, LateError):
        pass
    finally:
        response.close()  # type: ignore[attr-defined]
    return taken


@pytest.mark.parametrize("error", [NodeError("broke"), LateError("too late")])
def test_a_response_that_breaks_is_counted(error: Exception) -> None:
    counting = counting_of(lambda _: Response(200, TEXT, pieces(b"ab", error), 5))
    assert take(counting) == 1
    assert counting.values("http_broken_responses_total")["x"] == 1
    assert counting.values("http_requests_total")["x GET 200"] == 1
    assert counting.in_flight == 0


def test_a_client_that_leaves_breaks_nothing() -> None:
    counting = counting_of(lambda _: Response(200, TEXT, pieces(b"ab", b"cd", b"e"), 5))
    assert take(counting, 2) == 2
    assert counting.values("http_broken_responses_total")["x"] == 0
    assert counting.values("http_requests_total")["x GET 200"] == 1
    assert counting.in_flight == 0


def test_a_client_that_leaves_before_the_first_byte() -> None:
    counting = counting_of(lambda _: Response(200, TEXT, pieces(b"ab"), 2))
    response = counting.app(make_environ("GET", "/x"), lambda *_: lambda _: None)
    assert counting.in_flight == 1
    response.close()  # type: ignore[attr-defined]
    response.close()  # type: ignore[attr-defined]
    assert counting.in_flight == 0
    assert counting.values("http_first_byte_seconds_count") == {"x GET": 1}


def test_a_copy_that_breaks_and_goes_on_from_another_node_is_a_failover(
    counting: Counting, nodes: list[FakeNode]
) -> None:
    for node in nodes:
        node.disk.piece_bytes = 2
    holder = next(node for node in nodes if node.disk.data)
    holder.disk.breaks_at = 4
    assert [counting.ask("GET", "/object/a") for _ in range(4)] == [200] * 4
    broken = len(holder.disk.opened)
    assert broken
    assert counting.value("read_failovers_total") == broken
    assert counting.values("http_broken_responses_total")["object"] == 0


# Requests in flight


def refuse_to_start(*_: Any) -> Any:
    raise RuntimeError("the server refuses these headers")


@pytest.mark.parametrize(
    "outcome",
    [
        HTTPError(400, "Code", "message"),
        NodeFullError("full"),
        ValueError("a bug"),
        LateError("late"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_no_request_is_left_in_flight_by_an_error(outcome: Exception) -> None:
    counting = counting_of(raising(outcome))
    for method in ("GET", "HEAD", "PUT"):
        counting.ask(method, "/x", b"abc" if method == "PUT" else None)
    assert counting.in_flight == 0


def test_no_request_is_left_in_flight_when_the_server_refuses_the_head() -> None:
    counting = counting_of(Response(200, TEXT, b"hello"))
    with pytest.raises(RuntimeError):
        counting.app(make_environ("GET", "/x"), refuse_to_start)
    assert counting.in_flight == 0


def test_no_request_is_left_in_flight_by_what_is_no_error() -> None:
    def handle(request: Request) -> Response:
        raise GeneratorExit  # as GreenletExit, when the server ends

    counting = counting_of(handle)
    with pytest.raises(GeneratorExit):
        counting.app(make_environ("GET", "/x"), lambda *_: lambda _: None)
    assert counting.in_flight == 0


def test_no_request_is_left_in_flight_by_a_body_that_cannot_be_closed() -> None:
    class Body:
        def __iter__(self) -> Iterator[bytes]:
            yield b"hello"

        def close(self) -> None:
            raise NodeError("broke at its end")

    counting = counting_of(lambda _: Response(200, TEXT, Body(), 5))
    response = counting.app(make_environ("GET", "/x"), lambda *_: lambda _: None)
    assert b"".join(response) == b"hello"
    with pytest.raises(NodeError):
        response.close()  # type: ignore[attr-defined]
    assert counting.in_flight == 0


def test_an_upload_whose_client_leaves(counting: Counting) -> None:
    body = BrokenInput(b"hel", OSError("the client left"))
    environ = {"CONTENT_LENGTH": "5"}
    assert counting.ask("PUT", "/object/a", body, environ=environ) == 400
    assert counting.in_flight == 0
    assert counting.value("quorum_failures_total") == 0
    assert counting.value("http_received_bytes_total") == 5 + 3


# Off


def test_without_metrics_nothing_is_counted_or_served() -> None:
    app: Gateway = make_app(settings=Settings(metrics=False))
    for method in ("GET", "HEAD"):
        assert call(app, method, "/metrics").status == 404
