"""`/status` of a running gateway, while a node is frozen."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from amazin.status.viewer import KNOWN_SECONDS
from tests.support.gateway_process import GatewayProcess, ask_at_once, nodes_setting
from tests.support.servers import MinioServer
from tests.support.waiting import await_that

pytestmark = pytest.mark.integration

SLOWEST_SECONDS = 1.0 + 2.0
"""A second, and what a busy machine adds."""


def states(gateway: GatewayProcess) -> dict[str, Any]:
    began = time.monotonic()
    answers = ask_at_once(gateway.port, "/status", 50)
    took = time.monotonic() - began
    print(f"50 viewers at once: {took:.2f} s")
    assert took < SLOWEST_SECONDS
    assert {answer.status for answer in answers} == {200}
    nodes = json.loads(answers[0].body)["nodes"]
    return {node["name"]: node for node in nodes}


def words(nodes: dict[str, Any]) -> list[str]:
    """Return the nodes' states, by the nodes' names."""
    return [node["state"] for _, node in sorted(nodes.items())]


def test_nobody_waits_for_a_frozen_node(
    new_minio: Callable[[], MinioServer], tmp_path: Path
) -> None:
    servers = [new_minio() for _ in range(3)]
    for server in servers:
        server.start()
    specs = [server.spec(f"node-{n}") for n, server in enumerate(servers, 1)]
    settings = {
        "DISCOVERY": "static",
        "NODES": nodes_setting(specs),
        "REPLICAS": "2",
        "LOG_LEVEL": "info",
    }
    with GatewayProcess(tmp_path, settings) as gateway:
        assert gateway.ask("PUT", "/object/cat", b"purr").status in (200, 201)
        await_that(lambda: words(states(gateway)) == ["up", "up", "up"])
        before = states(gateway)
        assert all(node["latencySeconds"] < 1 for node in before.values()), before
        servers[1].freeze()
        try:
            at_once = states(gateway)["node-2"]
            assert at_once["state"] != "up" or at_once["ageSeconds"] < KNOWN_SECONDS
            await_that(lambda: words(states(gateway)) == ["up", "unreachable", "up"])
        finally:
            servers[1].thaw()
        await_that(lambda: states(gateway)["node-2"]["state"] == "up")
