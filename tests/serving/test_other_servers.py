"""What the gateway keeps under any WSGI server: gunicorn's threads, Python's wsgiref.

More of it, under the server that is shipped: test_contract.py.
"""

from __future__ import annotations

import json
import random
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.bare_http import (
    MIB,
    connect,
    get,
    head,
    put,
    require_broken_download,
    require_last_answers,
    require_timely_uploads,
)
from tests.support.gateway_process import GatewayProcess

GTHREAD = {"GUNICORN_CMD_ARGS": "--worker-class gthread --threads 8"}


def settings_for(folder: Path) -> dict[str, str]:
    """Return the settings of a gateway on folders, with one worker."""
    data = str(folder / "data")
    return {"DISCOVERY": "folders", "DATA_DIR": data, "WORKERS": "1"}


@pytest.fixture(scope="module", params=["gthread", "wsgiref"])
def gateway(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    """A gateway under one of the servers."""
    folder = tmp_path_factory.mktemp("gateway")
    settings = settings_for(folder)
    if request.param == "gthread":
        with GatewayProcess(folder, {**settings, **GTHREAD}) as gateway:
            assert "Using worker: gthread" in gateway.log.read_text()
            yield gateway
    else:
        with GatewayProcess(folder, settings, "wsgiref") as gateway:
            server = gateway.ask("GET", "/health").headers["Server"]
            assert server.startswith("WSGIServer")
            yield gateway


def test_an_object_is_stored_read_in_parts_and_removed(gateway: GatewayProcess) -> None:
    body = random.Random(1).randbytes(2 * MIB)
    put(gateway, "kept", body, X_Meta_Colour="blue")
    found = get(gateway, "kept")
    assert (found.status, found.body == body) == (200, True)
    assert found.headers["X-Meta-Colour"] == "blue"
    answer = gateway.ask("HEAD", "/object/kept")
    assert answer.headers["Content-Length"] == str(len(body))
    for wanted, expected in (("bytes=0-0", body[:1]), (f"bytes={MIB}-", body[MIB:])):
        answer = get(gateway, "kept", Range=wanted)
        assert (answer.status, answer.body == expected) == (206, True)
    assert gateway.ask("DELETE", "/object/kept").status == 204
    assert get(gateway, "kept").status == 404


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "NoSuchRoute"),
        ("GET", "/object/nothere", 404, "NoSuchObject"),
        ("PATCH", "/object/abc", 405, "MethodNotAllowed"),
        ("PUT", "/object/not-an-id", 422, "InvalidId"),
    ],
)
def test_an_error_is_json(
    gateway: GatewayProcess, method: str, path: str, status: int, code: str
) -> None:
    answer = gateway.ask(method, path, b"body" if method == "PUT" else None)
    error = json.loads(answer.body)
    assert (answer.status, error["code"]) == (status, code)
    assert error["requestId"] == answer.headers["X-Request-Id"]


def test_a_truncated_upload_is_not_stored(gateway: GatewayProcess) -> None:
    put(gateway, "short", b"old")
    for key in ("short", "never"):
        with connect(gateway) as sock:
            sock.sendall(head(f"PUT /object/{key}", f"Content-Length: {MIB + 1}"))
            sock.sendall(bytes(MIB))
            sock.shutdown(socket.SHUT_WR)
            assert b" 400 " in sock.recv(4096).split(b"\r\n")[0]
    assert get(gateway, "short").body == b"old"
    assert get(gateway, "never").status == 404


def test_a_broken_download_is_seen_by_the_client(gateway: GatewayProcess) -> None:
    require_broken_download(gateway)


def test_an_upload_that_dribbles_ends_with_its_time(tmp_path: Path) -> None:
    """Under gunicorn's threads, too."""
    settings = {**settings_for(tmp_path), **GTHREAD, "REQUEST_TIMEOUT": "1"}
    with GatewayProcess(tmp_path, settings) as gateway:
        require_last_answers(gateway)
        require_timely_uploads(gateway)
