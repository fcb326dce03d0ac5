"""What is wrong with a daemon, by what really happens when it is asked."""

from __future__ import annotations

import os
import re
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import requests
from docker.tls import TLSConfig

from amazin.discoveries.docker_daemon import DAEMON_ERRORS, connect_daemon
from amazin.discoveries.docker_endpoint import Endpoint
from amazin.discoveries.docker_errors import discovery_error
from amazin.discoveries.docker_ssh import SshError
from amazin.errors import DiscoveryError
from tests.support.canned_daemon import VERSION, CannedDaemon
from tests.support.cleanup import closed_later
from tests.support.ports import free_port

SECONDS = 30.0
NOT_DOCKER = "what answers is no Docker daemon"


def error_of(endpoint: Endpoint) -> DiscoveryError:
    """Ask for the containers, which fails."""
    with pytest.raises(DAEMON_ERRORS) as caught:
        client = closed_later(connect_daemon(endpoint))
        client.containers()
    return discovery_error(caught.value, endpoint)


def answering(answers: Mapping[str, tuple[int, Any]]) -> Endpoint:
    daemon = closed_later(CannedDaemon(answers))
    return Endpoint(f"tcp://127.0.0.1:{daemon.port}")


@pytest.mark.parametrize(
    ("answers", "detail"),
    [
        ({"*": (404, b"<html>Not found")}, f"{NOT_DOCKER} (404)"),
        ({"*": (200, b"<html>Welcome")}, NOT_DOCKER),
        ({"*": (200, {"status": "ok"})}, NOT_DOCKER),
        ({"*": (200, [])}, NOT_DOCKER),
        ({"*": (403, b"Request forbidden by rules")}, "a proxy refuses /version (403)"),
        ({"*": (407, b"")}, "it wants a password (407)"),
        ({"*": (503, {"message": "it starts"})}, "it answers 503: it starts"),
        (
            {"*": (400, b"Client sent an HTTP request to an HTTPS server.\n")},
            "it speaks TLS: set DOCKER_TLS_VERIFY=1",
        ),
        (
            {
                "*": (400, {"message": "client version 1.41 is too old"}),
                "/version": (200, VERSION),
            },
            "the API versions don't match: client version 1.41 is too old",
        ),
        ({"*": (200, VERSION | {"ApiVersion": "1.10"})}, "the daemon is too old"),
        (
            {"*": (403, b"no"), "/version": (200, VERSION)},
            "a proxy refuses /v1.41/containers/json (403); the gateway needs GET of",
        ),
    ],
)
def test_what_a_daemon_answers(
    answers: Mapping[str, tuple[int, Any]], detail: str
) -> None:
    endpoint = answering(answers)
    error = error_of(endpoint)
    assert f"{error}: {endpoint.url}: {detail}" in error.detail
    assert "127.0.0.1" not in str(error)


def test_nothing_listens() -> None:
    error = error_of(Endpoint(f"tcp://127.0.0.1:{free_port()}"))
    assert "nothing listens there" in error.detail


@pytest.mark.parametrize(
    ("greeting", "detail"),
    [
        (b"", "it closes the connection without an answer"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", NOT_DOCKER),
        (b"\x05\x00\x00\x00\x0b\r\n", NOT_DOCKER),
    ],
)
def test_what_speaks_no_http(greeting: bytes, detail: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            with server.accept()[0] as client:
                client.recv(65536)
                client.sendall(greeting)

        answering = threading.Thread(target=answer)
        answering.start()
        error = error_of(Endpoint(f"tcp://127.0.0.1:{server.getsockname()[1]}"))
        answering.join(SECONDS)
    assert error.detail.endswith(detail)


@pytest.mark.parametrize("error", [requests.ReadTimeout("3"), TimeoutError("3")])
def test_no_answer_in_time(error: Exception) -> None:
    detail = discovery_error(error, Endpoint()).detail
    assert "does not answer: unix:///var/run/docker.sock: no answer in time" in detail


def test_a_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = answering({"*": (403, b"no")}).url.replace("tcp:", "http:")
    monkeypatch.setenv("HTTP_PROXY", proxy)
    endpoint = Endpoint("tcp://host.invalid:2375")
    assert "NO_PROXY" in error_of(endpoint).detail
    monkeypatch.setenv("NO_PROXY", "host.invalid")
    assert "NO_PROXY" not in error_of(endpoint).detail


def test_a_host_that_does_not_exist() -> None:
    error = error_of(Endpoint("tcp://host.invalid:2375"))
    assert "the name of the host is not known" in error.detail


def test_no_socket_and_where_another_one_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    missing = Endpoint(f"unix://{tmp_path}/missing.sock")
    assert "there is no such socket: no daemon runs here" in error_of(missing).detail
    with socket.socket(socket.AF_UNIX) as rootless:
        rootless.bind(str(tmp_path / "docker.sock"))
    hint = f"set DOCKER_HOST=unix://{tmp_path}/docker.sock"
    assert hint in error_of(missing).detail
    dead = error_of(Endpoint(f"unix://{tmp_path}/docker.sock"))
    assert "no daemon listens on this socket" in dead.detail
    assert hint not in dead.detail


def test_what_is_no_socket(tmp_path: Path) -> None:
    assert (
        "this is a folder: Docker makes one"
        in error_of(Endpoint(f"unix://{tmp_path}")).detail
    )
    (tmp_path / "file").touch()
    file = error_of(Endpoint(f"unix://{tmp_path}/file"))
    assert "this is a file, not a socket" in file.detail
    forbidden = discovery_error(
        PermissionError(13, "no"), Endpoint(f"unix://{tmp_path}")
    )
    assert "this is a folder" in forbidden.detail


def test_a_socket_that_others_may_use(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as others:
        others.bind(str(tmp_path / "docker.sock"))
    endpoint = Endpoint(f"unix://{tmp_path}/docker.sock")
    for mode, who in (
        (0o660, f"not in the socket's group .*{os.getgid()}.*DOCKER_GID={os.getgid()}"),
        (0o600, f"only user {os.getuid()} may use this socket"),
    ):
        (tmp_path / "docker.sock").chmod(mode)
        error = discovery_error(PermissionError(13, "no"), endpoint)
        assert "no permission" in str(error)
        assert re.search(who, error.detail)


def test_a_folder_that_others_may_enter(tmp_path: Path) -> None:
    endpoint = Endpoint(f"unix://{tmp_path}/none/docker.sock")
    detail = discovery_error(PermissionError(13, "no"), endpoint).detail
    assert f"may not look into {tmp_path}/none" in detail


def test_what_ssh_says_comes_before_that_its_pipe_broke() -> None:
    error = SshError("Host key verification failed.")
    error.__context__ = ConnectionResetError(104, "Connection reset by peer")
    detail = discovery_error(error, Endpoint("ssh://me@machine")).detail
    assert detail.endswith("machine: ssh says: Host key verification failed.")


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of 127.0.0.1 that is its own authority, with its key."""
    path = tmp_path_factory.mktemp("tls") / "certificate"
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=daemon"
        " -addext subjectAltName=IP:127.0.0.1 -keyout -"
    )
    try:
        made = subprocess.run(
            command.split(), check=True, capture_output=True, timeout=SECONDS
        )
    except FileNotFoundError:
        pytest.skip("no openssl to make a certificate with")
    path.write_bytes(made.stdout)
    return path


@pytest.fixture
def tls_port(certificate: Path) -> Iterator[int]:
    """The port of a daemon that wants to see this certificate from its clients."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.load_verify_locations(certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    answers = {"*": (200, [{"Id": "c1"}]), "/version": (200, VERSION)}
    daemon = CannedDaemon(answers, context)
    yield daemon.port
    daemon.close()


def over_tls(port: int, ca: Path | None, own: Path | None) -> Endpoint:
    client_cert = (str(own), str(own)) if own else None
    tls = TLSConfig(client_cert, str(ca) if ca else None, verify=True)
    return Endpoint(f"tcp://127.0.0.1:{port}", tls)


@pytest.mark.parametrize("bundle", ["", "/dev/null"])
def test_a_daemon_that_is_verified_and_verifies(
    certificate: Path, tls_port: int, bundle: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", bundle)  # is for other servers
    client = closed_later(connect_daemon(over_tls(tls_port, certificate, certificate)))
    assert client.api_version == "1.41"
    assert client.containers() == [{"Id": "c1"}]


def test_tls_that_fails(certificate: Path, tls_port: int) -> None:
    unknown = error_of(over_tls(tls_port, None, certificate))
    assert str(unknown) == "The Docker daemon can't be reached by TLS"
    assert "certificate can't be verified (self" in unknown.detail
    anonymous = error_of(over_tls(tls_port, certificate, None))
    assert "it refuses the gateway's certificate" in anonymous.detail


def test_tls_with_a_daemon_that_has_none(certificate: Path) -> None:
    port = int(answering({"*": (200, VERSION)}).url.rpartition(":")[2])
    error = error_of(over_tls(port, certificate, None))
    assert "TLS: it speaks plain HTTP: unset DOCKER_TLS_VERIFY" in error.detail
