"""Starting the gateway on folders: what a new user sees, what a typing error says."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from gateway_process import PROJECT, GatewayProcess

from hashing import Ranker


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
    ("request_line", "status"),
    [("PUT /object/huge", 413), ("PUT /object/no-id", 422), ("GET /health", 200)],
)
def test_a_client_that_floods_is_cut_off_and_keeps_nobody_waiting(
    tmp_path: Path, request_line: str, status: int
) -> None:
    settings = {"DISCOVERY": "folders", "DATA_DIR": str(tmp_path), "WORKERS": "1"}
    gateway = GatewayProcess(tmp_path, settings).start()
    flood = socket.create_connection(("127.0.0.1", gateway.port), timeout=10)
    is_cut_off = threading.Event()

    def send() -> None:
        try:
            for _ in range(60_000):
                flood.sendall(bytes(10**6))
        except OSError:
            is_cut_off.set()

    head = f"{request_line} HTTP/1.1\r\nHost: x\r\nContent-Length: 60000000000\r\n\r\n"
    flood.sendall(head.encode())
    sender = threading.Thread(target=send)
    sender.start()
    try:
        assert f" {status} ".encode() in flood.recv(4096)
        for _ in range(10):
            start = time.monotonic()
            assert gateway.ask("GET", "/health").status == 200
            assert time.monotonic() - start < 1
        assert is_cut_off.wait(60)
    finally:
        flood.close()
        sender.join()
        gateway.stop()


def test_a_folder_that_hangs_keeps_no_other_folder_waiting(tmp_path: Path) -> None:
    settings = {"DISCOVERY": "folders", "DATA_DIR": str(tmp_path), "WORKERS": "1"}
    gateway = GatewayProcess(tmp_path, settings).start()
    ranker = Ranker(dict.fromkeys(("node-1", "node-2", "node-3"), 1.0))
    keys: dict[str, list[str]] = {"node-1": [], "node-2": [], "node-3": []}
    for number in range(150):
        keys[ranker.rank(b"store/h%d" % number)[0]].append(f"h{number}")
    other = keys["node-2"][0]
    try:
        for node in keys.values():
            assert gateway.ask("PUT", f"/object/{node[0]}", b"old").status == 201
        index = sqlite3.connect(tmp_path / "node-1" / "index.sqlite")
        index.execute("BEGIN IMMEDIATE")
        with ThreadPoolExecutor(40) as crowd:
            waiting = [
                crowd.submit(gateway.ask, "PUT", f"/object/{key}", b"new")
                for key in keys["node-1"][:30]
            ]
            for _ in range(20):
                start = time.monotonic()
                assert gateway.ask("GET", f"/object/{other}").body == b"old"
                assert time.monotonic() - start < 1
            index.rollback()
            index.close()
            assert {future.result().status for future in waiting} <= {201, 503}
    finally:
        gateway.stop()


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
