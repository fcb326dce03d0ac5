"""Starting the gateway on folders: what a new user sees, what a typing error says."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import pytest

from hashing import Ranker
from tests.support.gateway_process import COMMANDS, GatewayProcess
from tests.support.paths import PROJECT


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, str]:
    """The settings of a gateway on folders."""
    return {"DISCOVERY": "folders", "DATA_DIR": str(tmp_path / "my data")}


@pytest.fixture
def gateway(tmp_path: Path, settings: dict[str, str]) -> Iterator[GatewayProcess]:
    """A gateway on folders."""
    with GatewayProcess(tmp_path, settings) as gateway:
        yield gateway


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
        put_at_last(gateway, f"/object/k{number}", b"%d" % number)
        if number in (5, 10):
            os.kill(gateway.workers()[0], signal.SIGKILL)
            gateway.wait()
    for number in range(20):
        assert gateway.ask("GET", f"/object/k{number}").body == b"%d" % number


def put_at_last(gateway: GatewayProcess, path: str, body: bytes) -> None:
    """Store an object; connections that wait for a killed worker are lost."""
    for _ in range(5):
        with suppress(ConnectionError):
            assert gateway.ask("PUT", path, body).status == 201
            return
    pytest.fail("no connection is answered")


def test_as_many_files_may_be_open_as_the_system_allows(
    tmp_path: Path, settings: dict[str, str]
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 256), hard))
    try:
        with GatewayProcess(tmp_path, settings) as gateway:
            limits = Path(f"/proc/{gateway.workers()[0]}/limits").read_text()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    found = re.search(r"^Max open files +(\w+) +(\w+)", limits, re.MULTILINE)
    assert found
    assert found[1] == found[2] != "256"


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        ("PUT /object/huge", 413),
        pytest.param("PUT /object/no-id", 422, marks=pytest.mark.slow),
        pytest.param("GET /health", 200, marks=pytest.mark.slow),
    ],
)
def test_a_client_that_floods_is_cut_off_and_keeps_nobody_waiting(
    tmp_path: Path, settings: dict[str, str], request_line: str, status: int
) -> None:
    is_cut_off = threading.Event()

    def send(flood: socket.socket) -> None:
        try:
            for _ in range(60_000):
                flood.sendall(bytes(10**6))
        except OSError:
            is_cut_off.set()

    head = f"{request_line} HTTP/1.1\r\nHost: x\r\nContent-Length: 60000000000\r\n\r\n"
    with (
        GatewayProcess(tmp_path, {**settings, "WORKERS": "1"}) as gateway,
        socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as flood,
        ThreadPoolExecutor() as crowd,
    ):
        flood.sendall(head.encode())
        sender = crowd.submit(send, flood)
        try:
            assert f" {status} ".encode() in flood.recv(4096)
            answers = 0
            while not is_cut_off.is_set():
                assert gateway.ask("GET", "/health").status == 200
                answers += 1
            assert answers > 3  # it took a while
        finally:
            flood.close()
        sender.result(10)


@pytest.mark.slow
@pytest.mark.timeout(200)
@pytest.mark.parametrize(
    ("path", "length", "status"),
    [
        ("/object/no-id", 3 * 10**9, 422),
        ("/object/huge", 3 * 10**9, 413),
        ("/objects/missing/a", None, 404),
    ],
)
def test_who_sends_all_before_looking_sees_the_refusal_of_3_gb(
    tmp_path: Path,
    settings: dict[str, str],
    path: str,
    length: int | None,
    status: int,
) -> None:
    settings |= {"MAX_OBJECT_BYTES": "1GB"}
    headers = {} if length is None else {"Content-Length": str(length)}
    with (
        GatewayProcess(tmp_path, settings) as gateway,
        (tmp_path / "big").open("wb+") as file,
    ):
        file.truncate(3 * 10**9)
        url = f"http://127.0.0.1:{gateway.port}{path}"
        request = urllib.request.Request(url, file, headers, method="PUT")
        with pytest.raises(urllib.error.HTTPError) as refusal:
            urllib.request.urlopen(request, timeout=150)
        refusal.value.close()
        assert refusal.value.code == status


def test_a_folder_that_hangs_keeps_no_other_folder_waiting(
    tmp_path: Path, settings: dict[str, str]
) -> None:
    ranker = Ranker(dict.fromkeys(("node-1", "node-2", "node-3"), 1.0))
    keys: dict[str, list[str]] = {"node-1": [], "node-2": [], "node-3": []}
    for number in range(150):
        keys[ranker.rank(b"store/h%d" % number)[0]].append(f"h{number}")
    other = keys["node-2"][0]
    with GatewayProcess(tmp_path, {**settings, "WORKERS": "1"}) as gateway:
        for node in keys.values():
            assert gateway.ask("PUT", f"/object/{node[0]}", b"old").status == 201
        index = f"{settings['DATA_DIR']}/node-1/index.sqlite"
        with ThreadPoolExecutor(40) as crowd, closing(sqlite3.connect(index)) as lock:
            lock.execute("BEGIN IMMEDIATE")
            waiting = [
                crowd.submit(gateway.ask, "PUT", f"/object/{key}", b"new")
                for key in keys["node-1"][:30]
            ]
            for _ in range(20):
                assert gateway.ask("GET", f"/object/{other}").body == b"old"
            assert not any(future.done() for future in waiting)
            lock.rollback()
            assert {future.result(30).status for future in waiting} <= {201, 503}


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"PORT": "http"}, "PORT: 'http' can't be used"),
        ({"DISCOVERY": "static"}, "NODES: DISCOVERY=static needs"),
        ({"DISCOVERY": "static", "NODES_FILE": "/no/file"}, "NODES_FILE: can't be"),
        ({"DISCOVERY": "static", "NODES": "a=http://k:SECRET@h:x"}, "NODES: can't be"),
        ({"DISCOVERY": "no.module:Class"}, "DISCOVERY: can't import no.module"),
        ({"DATA_DIR": "/dev/null/x", "DISCOVERY": "folders"}, "DATA_DIR: /dev/null/x"),
        ({"SPOOL_DIR": "/dev/null/x"}, "SPOOL_DIR: /dev/null/x can't be used: "),
        (
            {"HOST": "192.0.2.1", "DISCOVERY": "static", "NODES": "a=http://k:s@h:1"},
            "HOST: '192.0.2.1' is no address of this machine",
        ),
        ({"SERVER": "granian"}, "SERVER: 'granian' can't be used: granian was removed"),
    ],
)
def test_a_wrong_setting_ends_the_start_with_one_sentence(
    wrong: dict[str, str], says: str
) -> None:
    said = refusal(COMMANDS["gunicorn"], wrong)
    assert said.startswith(f"Settings: {says}")
    assert "SECRET" not in said


def test_a_wrong_setting_ends_the_start_by_the_module_too() -> None:
    said = refusal(COMMANDS["start"], {"PORT": "http"})
    assert said.startswith("Settings: PORT: 'http' can't be used")


def refusal(arguments: Sequence[str], settings: dict[str, str]) -> str:
    """Return the one line that is said when the start fails."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=PROJECT,
        env={"PATH": "/usr/bin:/bin", "HOST": "127.0.0.1", **settings},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode != 0
    assert "SECRET" not in done.stdout
    (line,) = [line for line in done.stderr.splitlines() if line]
    return line


def test_the_gateway_is_started_by_the_module(
    tmp_path: Path, settings: dict[str, str]
) -> None:
    with GatewayProcess(tmp_path, settings, server="start") as gateway:
        assert gateway.ask("GET", "/health").headers["Server"].startswith("gunicorn")
        assert len(gateway.workers()) == 2
        assert gateway.stop() == 0
        lines = gateway.log.read_text().splitlines()
        assert {json.loads(line)["level"] for line in lines} == {"info"}


DELAYS = [
    pytest.param(0.0, marks=pytest.mark.slow),
    0.05,
    pytest.param(0.1, marks=pytest.mark.slow),
]


@pytest.mark.parametrize("delay", DELAYS)
def test_a_stop_during_the_start_is_obeyed(
    tmp_path: Path, settings: dict[str, str], delay: float
) -> None:
    with GatewayProcess(tmp_path, {**settings, "WORKERS": "4"}) as gateway:
        time.sleep(delay)  # one worker answers, others have not begun yet
        start = time.monotonic()
        assert gateway.stop() == 0
        assert time.monotonic() - start < 10
