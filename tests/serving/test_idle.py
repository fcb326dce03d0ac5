"""Idle connections of clients: kept for long, and no reason to wait at a stop."""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from amazin.serving.gunicorn_config import graceful_timeout, keepalive
from amazin.serving.idle import HEAD_SECONDS
from tests.support.bare_http import connect, head
from tests.support.gateway_process import GatewayProcess

PATIENCE_SECONDS = 20
HEALTH = head("GET /health")


def gateway_in(folder: Path, **settings: str) -> GatewayProcess:
    """Return a gateway with one worker."""
    places = {"DISCOVERY": "folders", "DATA_DIR": str(folder / "data")}
    return GatewayProcess(folder, {"WORKERS": "1", **places, **settings})


def ask(sock: socket.socket, times: int = 1) -> None:
    """Ask on a kept connection, and read the answers."""
    sock.sendall(HEALTH * times)
    data = b""
    while data.count(b'{"status":"UP"}') < times:
        piece = sock.recv(4096)
        assert piece
        data += piece


def test_proxies_can_rely_on_their_connections_for_a_minute() -> None:
    assert keepalive == 75


def test_a_stop_does_not_wait_for_idle_connections(tmp_path: Path) -> None:
    with gateway_in(tmp_path) as gateway, ExitStack() as stack:
        used, unused = (
            [stack.enter_context(connect(gateway)) for _ in range(5)] for _ in range(2)
        )
        for _ in range(2):
            for sock in used:
                ask(sock, times=3)
        begun = time.monotonic()
        gateway.terminate()
        gateway.process.wait(PATIENCE_SECONDS)
        assert time.monotonic() - begun < graceful_timeout / 3
        for sock in (*used, *unused):
            assert sock.recv(1) == b""
        log = gateway.log.read_text()
        assert '"level": "error"' not in log
        assert "graceful timeout" not in log


def test_an_idle_connection_is_closed_after_its_time(tmp_path: Path) -> None:
    with (
        gateway_in(tmp_path, CLIENT_IDLE_TIMEOUT="1") as gateway,
        connect(gateway) as used,
        connect(gateway) as unused,
    ):
        ask(used)
        assert (used.recv(1), unused.recv(1)) == (b"", b"")


def test_a_stop_does_not_wait_for_half_a_head(tmp_path: Path) -> None:
    with gateway_in(tmp_path) as gateway, connect(gateway) as half:
        half.sendall(HEALTH[:-2])
        begun = time.monotonic()
        gateway.terminate()
        assert half.recv(1) == b""
        gateway.process.wait(PATIENCE_SECONDS)
        assert time.monotonic() - begun < 0.9 * HEAD_SECONDS
        assert '"level": "error"' not in gateway.log.read_text()


@pytest.mark.slow
def test_an_empty_line_behind_a_body_is_no_head_of_a_request(tmp_path: Path) -> None:
    upload = head("PUT /object/old", "Content-Length: 4")
    with gateway_in(tmp_path) as gateway, connect(gateway) as sock:
        for _ in range(2):
            sock.sendall(upload + b"body\r\n")
            assert b" 201 Created" in sock.recv(4096)
        sock.settimeout(HEAD_SECONDS + 1)
        with pytest.raises(TimeoutError):
            sock.recv(1)
        ask(sock)


@pytest.mark.slow
def test_the_head_of_a_request_has_less_time(tmp_path: Path) -> None:
    with (
        gateway_in(tmp_path) as gateway,
        connect(gateway) as idle,
        connect(gateway) as slow,
    ):
        ask(idle)
        slow.sendall(HEALTH[:-2])
        begun = time.monotonic()
        assert slow.recv(1) == b""
        assert time.monotonic() - begun < 2 * HEAD_SECONDS
        ask(idle)
