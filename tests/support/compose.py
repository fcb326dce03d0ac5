"""The compose files as an operator runs them, and a look into their nodes."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Sequence
from typing import Any

import pytest

from tests.support.gateway_process import Answer, ask, ask_at_once
from tests.support.paths import PROJECT
from tests.support.ports import free_port

ENGINE_SECONDS = 60.0
COMPOSE = {"v1": ("docker-compose",), "v2": ("docker", "compose")}

LOOK = """
import json
from minio import Minio
from discovery import load_discovery
from amazin.settings.load import from_environ
import os
held = {}
for spec in load_discovery(from_environ(os.environ)).find():
    if spec.endpoint:
        sdk = Minio(spec.endpoint.removeprefix("http://"), spec.access_key,
                    spec.secret_key, secure=False, region="us-east-1")
        objects = sdk.list_objects("store") if sdk.bucket_exists("store") else ()
        held[spec.name] = [found.object_name for found in objects]
print(json.dumps(held))
"""


def require_engine() -> None:
    """Skip the test without an engine, a compose command or the node image."""
    for command in (
        ("docker", "info"),
        ("docker", "image", "inspect", "amazin-node"),
        *((*compose, "version") for compose in COMPOSE.values()),
    ):
        try:
            done = subprocess.run(
                command, capture_output=True, check=False, timeout=ENGINE_SECONDS
            )
            is_there = done.returncode == 0
        except (OSError, subprocess.TimeoutExpired):
            is_there = False
        if not is_there and os.environ.get("REQUIRE_CONTAINERS") == "1":
            pytest.fail(f"{' '.join(command)} failed")
        if not is_there:
            pytest.skip(f"{' '.join(command)} failed; needs an engine, both composes")


def run(*command: str, **environment: str) -> str:
    """Run a command in the project; returns its output, fails with it."""
    done = subprocess.run(
        command,
        cwd=PROJECT,
        env={**os.environ, "DOCKER_BUILDKIT": "0", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, f"{command}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


class Stack:
    """One compose project: a gateway on `port` of loopback, and nodes."""

    def __init__(self, compose: Sequence[str], file: str, port: int = 0) -> None:
        self._command = (*compose, "-f", file, "--project-directory", ".")
        self.port = port or free_port()
        self.project = f"amazintest{self.port}"

    def compose(self, *arguments: str) -> str:
        """Run a compose command for this project."""
        command = (*self._command, "-p", self.project, *arguments)
        return run(*command, PORT=str(self.port))

    def up(self, *options: str) -> None:
        """Start it and wait until every node answers."""
        self.compose("up", "-d", *options)
        self.wait_until_ready()

    def down(self) -> None:
        """Remove everything it made."""
        self.compose("down", "-v", "-t", "5")

    def ask(self, method: str, path: str, body: bytes | None = None) -> Answer:
        """Send one request to its gateway."""
        return ask(self.port, method, path, body)

    def wait_until_ready(self, seconds: float = 90) -> None:
        """Wait until every worker reaches every node."""
        wait_until_ready(self.port, seconds)

    def gateway_id(self) -> str:
        """Return the gateway's container id."""
        return self.compose("ps", "-q", "gateway").strip()

    def look(self) -> dict[str, list[str]]:
        """Return the objects that each node holds, by stable name, seen by the SDK."""
        output = run("docker", "exec", self.gateway_id(), "python", "-c", LOOK)
        held: dict[str, list[str]] = json.loads(output)
        return held


def wait_until_ready(port: int, seconds: float = 90) -> None:
    """Wait until every worker of the gateway there reaches every node."""
    deadline = time.monotonic() + seconds
    streak, last = 0, b""
    while streak < 3:
        try:
            answers = ask_at_once(port, "/health/ready?all")
            failed = [answer.body for answer in answers if answer.status != 200]
            streak, last = (0, failed[0]) if failed else (streak + 1, b"")
        except OSError as exc:
            streak, last = 0, repr(exc).encode()
        assert time.monotonic() < deadline, last
        if not streak:
            time.sleep(0.2)


def inspect(container: str) -> dict[str, Any]:
    """Return what the engine knows of a container."""
    found: dict[str, Any] = json.loads(run("docker", "inspect", container))[0]
    return found
