"""Compose files that know nothing of this gateway, and engines that come late."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.support.compose import COMPOSE, Stack, require_engine
from tests.support.gateway_process import GatewayProcess

pytestmark = [pytest.mark.containers, pytest.mark.timeout(600)]


def test_a_compose_file_that_knows_nothing_of_us_works_unchanged() -> None:
    require_engine()
    stack = Stack(COMPOSE["v1"], "tests/containers/exercise-compose.yml", port=3000)
    try:
        stack.compose("up", "-d", "--build")
        stack.wait_until_ready()
        keys = [f"exercise{number}" for number in range(30)]
        for key in keys:
            assert stack.ask("PUT", f"/object/{key}", key.encode()).status == 201
        held = stack.look()
        assert sorted(key for keys_ in held.values() for key in keys_) == sorted(keys)
        assert [name for name in held if held[name]] == [
            f"amazin-object-storage-node-{number}-1" for number in (1, 2, 3)
        ]
        stack.compose("restart")
        stack.wait_until_ready()
        for key in keys:
            assert stack.ask("GET", f"/object/{key}").body == key.encode()
    finally:
        stack.down()


def test_a_daemon_that_is_missing_at_the_start_is_waited_for(tmp_path: Path) -> None:
    require_engine()
    daemon = tmp_path / "docker.sock"
    settings = {
        "DOCKER_HOST": f"unix://{daemon}",
        "STORAGE_INSTANCES_SELECTOR": "amazin-test-nothing-is-called-so",
    }
    with GatewayProcess(tmp_path, settings) as gateway:
        answer = gateway.ask("PUT", "/object/early", b"x")
        assert (answer.status, b"Docker" in answer.body) == (503, True)
        assert str(daemon).encode() not in answer.body
        daemon.symlink_to("/var/run/docker.sock")
        deadline = time.monotonic() + 10
        while b"Docker" in gateway.ask("GET", "/object/early").body:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        assert gateway.ask("GET", "/object/early").status == 503
