"""Starting the gateway on folders: what a new user sees, what a typing error says."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from gateway_process import PROJECT, GatewayProcess


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[GatewayProcess]:
    """A gateway on folders."""
    settings = {"DISCOVERY": "folders", "DATA_DIR": str(tmp_path / "my data")}
    gateway = GatewayProcess(tmp_path, settings).start()
    yield gateway
    gateway.stop()


def test_an_object_survives_a_restart_of_the_gateway(gateway: GatewayProcess) -> None:
    body = bytes(range(256)) * 5000
    assert gateway.ask("PUT", "/object/kept", body).status == 201
    assert gateway.stop() == 0
    gateway.start()
    assert gateway.ask("GET", "/object/kept").body == body


def test_a_worker_that_is_killed_is_replaced_and_nothing_is_lost(
    gateway: GatewayProcess,
) -> None:
    for number in range(20):
        assert gateway.ask("PUT", f"/object/k{number}", b"%d" % number).status == 201
        if number in (5, 10):
            os.kill(gateway.workers()[0], signal.SIGKILL)
            gateway.wait()
    for number in range(20):
        assert gateway.ask("GET", f"/object/k{number}").body == b"%d" % number


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"PORT": "http"}, "PORT: 'http' can't be used"),
        ({"DISCOVERY": "static"}, "NODES: DISCOVERY=static needs"),
        ({"DISCOVERY": "static", "NODES_FILE": "/no/file"}, "NODES_FILE: can't be"),
        ({"DISCOVERY": "static", "NODES": "a=http://k:SECRET@h:x"}, "NODES: entry 1"),
        ({"DISCOVERY": "no.module:Class"}, "DISCOVERY: can't import no.module"),
        ({"DATA_DIR": "/dev/null/x", "DISCOVERY": "folders"}, "DATA_DIR: can't be"),
    ],
)
def test_a_wrong_setting_ends_the_start_with_one_sentence(
    wrong: dict[str, str], says: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gunicorn", "wsgi:app"],
        cwd=PROJECT,
        env={"PATH": "/usr/bin:/bin", "HOST": "127.0.0.1", **wrong},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode != 0
    lines = [line for line in done.stderr.splitlines() if line]
    assert len(lines) == 1
    assert lines[0].startswith(f"Settings: {says}")
    assert "SECRET" not in done.stderr + done.stdout
