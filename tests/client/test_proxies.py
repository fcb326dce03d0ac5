"""Which proxy a client asks, as the environment says."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from amazin.client.client import GatewayClient
from amazin.client.proxies import proxy_for
from amazin.errors import ClientError
from tests.support.cleanup import closed_later
from tests.support.ports import free_port
from tests.support.scripted_gateway import (
    ScriptedGateway,
    content,
    etag_of,
    refusal,
    reply,
    store,
)

BODY = b"the bytes of an object"
STORE = "http://store.example:3000/base"


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Forget the proxies of this machine."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    yield


def new_client(url: str) -> GatewayClient:
    """Return a client that never pauses."""
    return closed_later(GatewayClient(url, sleep=lambda seconds: None))


@pytest.mark.parametrize(
    ("url", "environ", "proxy"),
    [
        ("http://a", {}, ""),
        ("http://a", {"HTTP_PROXY": "http://p:1"}, "http://p:1"),
        ("http://a", {"http_proxy": "p:1"}, "http://p:1"),
        ("a:3000", {"http_proxy": "p:1"}, "http://p:1"),
        ("https://a", {"HTTP_PROXY": "http://p:1"}, ""),
        ("https://a", {"HTTPS_PROXY": "http://p:1"}, "http://p:1"),
        ("https://a", {"ALL_PROXY": "http://p:1"}, "http://p:1"),
        ("http://a", {"HTTP_PROXY": ""}, ""),
        ("http://a.b.c", {"HTTP_PROXY": "http://p:1", "NO_PROXY": "x,.b.c"}, ""),
        ("http://a.b.c:3", {"HTTP_PROXY": "p:1", "NO_PROXY": "b.c"}, ""),
        ("http://ab.c", {"HTTP_PROXY": "p:1", "NO_PROXY": "b.c"}, "http://p:1"),
        ("http://a", {"HTTP_PROXY": "p:1", "NO_PROXY": "*"}, ""),
        ("http://10.1.2.3", {"HTTP_PROXY": "p:1", "NO_PROXY": "10.0.0.0/8"}, ""),
        (
            "http://11.1.2.3",
            {"HTTP_PROXY": "p:1", "NO_PROXY": "10.0.0.0/8"},
            "http://p:1",
        ),
        ("http://[fd00::1]:3", {"HTTP_PROXY": "p:1", "NO_PROXY": "fd00::/8, x/y"}, ""),
        ("http://localhost:3000", {"HTTP_PROXY": "http://p:1"}, ""),
        ("http://127.0.0.9:3000", {"HTTP_PROXY": "http://p:1"}, ""),
        ("http://[::1]:3000", {"HTTP_PROXY": "http://p:1"}, ""),
    ],
)
def test_the_environment_names_a_proxy(
    url: str, environ: dict[str, str], proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert proxy_for(url) == proxy


def test_plain_requests_go_to_the_proxy_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    with ScriptedGateway(store, content(BODY)) as proxy:
        login = proxy.url.replace("//", "//ann:s%40crate@")
        monkeypatch.setenv("HTTP_PROXY", login)
        client = new_client(STORE)
        assert client.put("photos/ä a", BODY).etag == etag_of(BODY)
        with client.get("photos/..") as stream:
            assert b"".join(stream) == BODY
        assert proxy.lines == [
            f"PUT {STORE}/objects/photos/%C3%A4%20a",
            f"GET {STORE}/objects/photos/%2E%2E",
        ]
        headers = proxy.asked[0].headers
        assert headers["host"] == "store.example:3000"
        assert headers["proxy-authorization"] == "Basic YW5uOnNAY3JhdGU="


def test_a_proxy_that_refuses_is_named_without_its_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with ScriptedGateway(reply(403, b"<html>no</html>")) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url.replace("//", "//ann:hush@"))
        client = new_client(STORE)
        with pytest.raises(ClientError, match="through the proxy") as caught:
            client.buckets()
        assert "hush" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_does_not_answer_is_told(
    scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"{scheme}_proxy", f"http://127.0.0.1:{free_port()}")
    client = new_client(f"{scheme}://store.example")
    with pytest.raises(ClientError, match=r"proxy .*NO_PROXY"):
        client.buckets()


def test_a_tunnel_that_is_refused_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with ScriptedGateway(refusal(403, "No")) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        client = new_client("https://store.example")
        with pytest.raises(ClientError, match="403"):
            client.buckets()
        assert proxy.lines == ["CONNECT store.example:443"]


@pytest.mark.parametrize("proxy", ["socks5://p:1", "http://p:x", "ftp://p"])
def test_what_is_no_proxy_is_refused(
    proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy)
    with pytest.raises(ClientError, match="is no URL of an HTTP proxy"):
        GatewayClient(STORE)
