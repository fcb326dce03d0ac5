"""Liveness asks nobody; readiness asks every node and says what it heard."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import pytest

from amazin.api.blob_server import routes
from amazin.api.routes import all_routes
from amazin.errors import (
    NodeAccessError,
    NodeError,
    NodeFullError,
    NodePermissionError,
    NodeReadOnlyError,
    NodeTimeoutError,
    NodeUnreadableError,
    SettingsError,
)
from amazin.membership.membership import Membership
from amazin.model.node_specs import NodeSpec
from amazin.nodes.interface import Node
from amazin.settings.settings import Settings
from amazin.web.messages import Route
from gateway import Gateway
from tests.support.app import FixedMembership, ScriptedNode, call, make_app
from tests.support.fakes import memory_nodes
from tests.support.lab import Lab

UP = None


def app_with(*outcomes: NodeError | None) -> tuple[Gateway, list[ScriptedNode]]:
    """Return an application on nodes whose checks have these outcomes."""
    nodes = [
        ScriptedNode([("check", outcome)], f"node-{number}")
        for number, outcome in enumerate(outcomes, 1)
    ]
    return make_app([cast(Node, node) for node in nodes]), nodes


def test_liveness_is_exactly_this_and_asks_no_node() -> None:
    app, nodes = app_with(NodeError("gone"))
    answer = call(app, "GET", "/health")
    assert (answer.status, answer.body) == (200, b'{"status":"UP"}')
    assert answer.headers["Content-Type"] == "application/json"
    assert nodes[0].asked == []


@pytest.mark.parametrize("path", ["/health", "/health/ready"])
def test_head_has_the_headers_of_get(path: str) -> None:
    app = make_app()
    got, head = (call(app, method, path) for method in ("GET", "HEAD"))
    for headers in (got.headers, head.headers):
        del headers["X-Request-Id"]
    assert (head.status, head.body) == (200, b"")
    assert head.headers.items() == got.headers.items()


def test_ready_names_the_nodes_in_order() -> None:
    answer = call(make_app(), "GET", "/health/ready?all")
    assert answer.status == 200
    assert answer.body == (
        b'{"status":"UP","nodes":[{"name":"node-1","state":"up"},'
        b'{"name":"node-2","state":"up"},{"name":"node-3","state":"up"}]}'
    )


SILENT = NodeTimeoutError("the node was silent for too long")


@pytest.mark.parametrize(
    ("outcomes", "any_status", "all_status"),
    [
        ([UP], 200, 200),
        ([UP, UP, UP], 200, 200),
        ([UP, SILENT, UP], 200, 503),
        ([UP, NodeReadOnlyError("EROFS"), UP], 200, 503),
        ([NodePermissionError("EACCES")], 200, 503),
        ([NodeFullError("ENOSPC")], 200, 503),
        ([NodeUnreadableError("EACCES"), NodeAccessError("403")], 503, 503),
        ([SILENT, SILENT], 503, 503),
        ([], 503, 503),
    ],
)
@pytest.mark.parametrize(
    ("query", "wants_all"),
    [
        ("", False),
        ("?", False),
        ("?x", False),
        ("?allx=1", False),
        ("?x=all", False),
        ("?all", True),
        ("?all=", True),
        ("?all=1", True),
        ("?x=1&all", True),
    ],
)
def test_ready_while_any_or_all_nodes_answer(
    outcomes: list[NodeError | None],
    any_status: int,
    all_status: int,
    query: str,
    wants_all: bool,
) -> None:
    app, nodes = app_with(*outcomes)
    answer = call(app, "GET", "/health/ready" + query)
    assert answer.status == (all_status if wants_all else any_status)
    assert answer.json["status"] == ("UP" if answer.status == 200 else "DOWN")
    assert (answer.headers["Retry-After"] is not None) == (answer.status == 503)
    states = [(node["state"], node.get("cause")) for node in answer.json["nodes"]]
    assert states == [
        (outcome.state, str(outcome)) if outcome else ("up", None)
        for outcome in outcomes
    ]
    for node in nodes:
        node.close()


def test_ready_says_why_nodes_may_be_missing() -> None:
    app = make_app([], problem="The Docker daemon does not answer")
    answer = call(app, "GET", "/health/ready")
    assert answer.status == 503
    assert answer.json == {
        "status": "DOWN",
        "nodes": [],
        "problem": "The Docker daemon does not answer",
    }


def test_fewer_nodes_than_replicas_are_not_all(tmp_path: Path) -> None:
    app = make_app(membership=Lab(tmp_path, replicas=5).membership)
    sentence = "REPLICAS is 5, but only 3 nodes were found"
    for query, status in (("", 200), ("?all", 503)):
        answer = call(app, "GET", "/health/ready" + query)
        assert (answer.status, answer.json["problem"]) == (status, sentence)
        assert {node["state"] for node in answer.json["nodes"]} == {"up"}
    stored = call(app, "PUT", "/object/abc", body=b"x")
    assert (stored.status, stored.json["error"]) == (503, sentence)


@pytest.mark.parametrize("path", ["/alive", "/a.b+c(d"])
def test_the_path_can_be_set_and_readiness_is_below_it(path: str) -> None:
    app = make_app(settings=Settings(health_path=path))
    assert call(app, "GET", path).body == b'{"status":"UP"}'
    assert call(app, "GET", path + "/ready").status == 200
    for other in ("/health", "/health/ready", path.replace(".", "x") + "x"):
        assert call(app, "GET", other).status == 404


def test_many_who_ask_at_once_cost_the_nodes_one_question() -> None:
    app, nodes = app_with(UP, SILENT)  # who would ask again finds no answer
    found = {call(app, "GET", "/health/ready").body for _ in range(10)}
    assert len(found) == 1
    assert [len(node.asked) for node in nodes] == [1, 1]


@pytest.mark.parametrize(
    ("headers", "sees_nodes"),
    [
        ({}, False),
        ({"Authorization": "Bearer wrong"}, False),
        ({"Authorization": "Bearer right"}, True),
    ],
)
def test_nodes_are_named_to_those_who_may_use_them(
    headers: dict[str, str], sees_nodes: bool
) -> None:
    settings = Settings(access="signed", api_tokens=("right",))
    app = make_app([], settings, problem="The Docker daemon does not answer")
    answer = call(app, "GET", "/health/ready", headers=headers)
    assert answer.status == 503
    assert ("nodes" in answer.json) == ("problem" in answer.json) == sees_nodes


@pytest.mark.parametrize(
    ("other", "path"),
    [
        *(
            (all_routes, f"{start}/alive")
            for start in ("/fetch", "/object", "/archive")
        ),
        *(
            (all_routes, path)
            for path in ("/upload", "/buckets", "/objects/a/b", "/docs", "/metrics")
        ),
        *((routes, path) for path in ("/blobs", "/blob/alive", "/blob")),
    ],
)
def test_a_path_of_another_api_is_refused(
    other: Callable[[Settings], Sequence[Route]], path: str
) -> None:
    with pytest.raises(SettingsError, match=r"^HEALTH_PATH: /.* is a path of another"):
        other(Settings(health_path=path, blob_api=True))


def test_what_is_not_served_is_free() -> None:
    settings = Settings(health_path="/fetch/alive")
    assert call(make_app(settings=settings), "GET", "/fetch/alive").status == 200


def test_nobody_needs_a_token_to_ask() -> None:
    app = make_app(settings=Settings(access="signed", api_tokens=("x",)))
    for path in ("/health", "/health/ready"):
        for method in ("GET", "HEAD"):
            assert call(app, method, path).status == 200
    assert call(app, "GET", "/object/a").status == 401


def test_who_comes_later_hears_of_a_node_that_failed_since() -> None:
    """What a readiness check found shortly before is repeated for the others only."""
    membership = FixedMembership(memory_nodes())
    app = make_app(membership=cast(Membership, membership))
    assert call(app, "GET", "/health/ready?all").status == 200
    failed = membership.snapshot().members["node-2"]
    failed.spec = NodeSpec("node-2", "http://127.0.0.1:9")
    try:
        failed.note_failure(SILENT)
        answer = call(app, "GET", "/health/ready?all")
        states = [node["state"] for node in answer.json["nodes"]]
        assert states == ["up", "unreachable", "up"]
        assert answer.status == 503
    finally:
        failed.close()
