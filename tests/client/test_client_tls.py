"""What a client of a gateway promises over TLS, where connections break otherwise."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from amazin.client.client import GatewayClient
from amazin.client.http import PAUSES_SECONDS
from amazin.errors import ClientError, RefusedError
from tests.support.cleanup import closed_later
from tests.support.faulty import receive_head
from tests.support.scripted_gateway import (
    Reply,
    etag_of,
    info,
    json_reply,
    refusal,
    reply,
)

BODY = bytes(range(256)) * 40
LARGE = bytes(2**24)
"""More than the buffers of a connection hold."""
SECONDS = 20.0

Act = Callable[[socket.socket], None]
"""What becomes of one connection; the socket speaks no TLS yet."""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for this machine, with its key."""
    path = tmp_path_factory.mktemp("tls") / "certificate"
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=gateway"
        " -addext subjectAltName=IP:127.0.0.1"
    )
    try:
        made = subprocess.run(
            [*command.split(), "-keyout", "-"],
            check=True,
            capture_output=True,
            timeout=SECONDS,
        )
    except FileNotFoundError:
        pytest.skip("no openssl to make a certificate with")
    path.write_bytes(made.stdout)
    return path


@pytest.fixture
def _trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))


@pytest.fixture
def pauses() -> list[float]:
    return []


@contextmanager
def serving(*acts: Act) -> Iterator[str]:
    """Serve one connection after the other, so, and all of them; give the URL."""
    left = list(acts)

    def serve() -> None:
        while left:
            sock, _ = listener.accept()
            sock.settimeout(SECONDS)
            # Else closing may throw an answer away that has not left yet.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with sock, suppress(OSError):
                left.pop(0)(sock)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(SECONDS)
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"https://127.0.0.1:{listener.getsockname()[1]}"
        thread.join(SECONDS)
    assert left == []


def greet_and_go(sock: socket.socket) -> None:
    """Close in the handshake, in order."""
    sock.recv(2**16)


@pytest.fixture
def answering(certificate: Path) -> Callable[..., Act]:
    """A function: reads so much of a request's body, answers, and closes."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def make(answer: Reply, body_bytes: int = 0) -> Act:
        def act(sock: socket.socket) -> None:
            with context.wrap_socket(sock, server_side=True) as secure:
                _, rest = receive_head(secure, b"") or (b"", b"")
                left = body_bytes - len(rest)
                while left > 0:
                    left -= len(secure.recv(2**16)) or left
                secure.sendall(answer.raw)

        return act

    return make


Answering = Callable[..., Act]
STORED = json_reply(info("a", BODY), 201)


def client_of(url: str, pauses: list[float]) -> GatewayClient:
    return closed_later(GatewayClient(url, sleep=pauses.append))


@pytest.mark.usefixtures("_trusted")
@pytest.mark.parametrize(
    ("status", "code"),
    [
        (401, "NoCredentials"),
        (404, "NoSuchBucket"),
        (413, "ObjectTooLarge"),
        (507, "NoRoom"),
    ],
)
def test_an_answer_that_comes_before_the_body_is_understood(
    status: int, code: str, answering: Answering, pauses: list[float]
) -> None:
    early = refusal(status, code, "It is so", ["Connection: close"])
    with (
        serving(answering(early)) as url,
        pytest.raises(RefusedError, match="It is so") as caught,
    ):
        client_of(url, pauses).put("photos/a", LARGE)
    assert (caught.value.status, caught.value.code) == (status, code)
    assert pauses == []


@pytest.mark.usefixtures("_trusted")
def test_an_upload_that_breaks_is_sent_again(
    answering: Answering, pauses: list[float]
) -> None:
    told = json_reply(info("a", LARGE), 201)
    with serving(answering(Reply(b"")), answering(told, len(LARGE))) as url:
        stored = client_of(url, pauses).put("photos/a", LARGE)
    assert stored.etag == etag_of(LARGE)
    assert pauses == [PAUSES_SECONDS[0]]


@pytest.mark.usefixtures("_trusted")
def test_a_handshake_that_breaks_is_begun_again(
    answering: Answering, pauses: list[float]
) -> None:
    acts = (greet_and_go, greet_and_go, answering(STORED, len(BODY)))
    with serving(*acts) as url:
        client_of(url, pauses).put("photos/a", BODY)
    assert pauses == list(PAUSES_SECONDS[:2])


@pytest.mark.usefixtures("_trusted")
def test_an_answer_that_breaks_is_asked_for_again(
    answering: Answering, pauses: list[float]
) -> None:
    whole = json.dumps(["photos"]).encode()
    acts = (answering(reply(200, whole, cut=3)), answering(reply(200, whole)))
    with serving(*acts) as url:
        assert client_of(url, pauses).buckets() == ["photos"]
    assert pauses == [PAUSES_SECONDS[0]]


def test_a_certificate_that_nobody_knows_is_not_tried_again(
    answering: Answering, pauses: list[float]
) -> None:
    with (
        serving(answering(STORED)) as url,
        pytest.raises(ClientError, match=r"TLS: .*certificate"),
    ):
        client_of(url, pauses).put("photos/a", BODY)
    assert pauses == []
