"""A node that misbehaves holds up nobody, and nothing goes on for nobody."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.bare_http import connect
from tests.support.faulty import Act, Exchange, Fault, FaultyProxy
from tests.support.gateway_process import GatewayProcess
from tests.support.memory_s3 import MemoryS3, Request
from tests.support.waiting import await_that

CHUNKED = (
    b"HTTP/1.1 200 OK\r\nx-amz-request-id: 17\r\nTransfer-Encoding: chunked\r\n\r\n"
)
MOMENT = "2026-11-01T10:00:00.000Z"


def page(keys: Iterator[str] | list[str], token: str = "") -> bytes:
    """Return a page of a listing."""
    entries = "".join(
        f"<Contents><Key>{key}</Key><LastModified>{MOMENT}</LastModified>"
        f'<ETag>"0123"</ETag><Size>5</Size></Contents>'
        for key in keys
    )
    more = f"<NextContinuationToken>{token}</NextContinuationToken>"
    cut = f"<IsTruncated>true</IsTruncated>{more}" if token else ""
    return f"<ListBucketResult>{entries}{cut}</ListBucketResult>".encode()


def endless(exchange: Exchange) -> None:
    """List names that no key has, in order, for ever."""
    query = exchange.request.query
    number = int(query.get("continuation-token", "0"))
    names = [f"{query['prefix']}{number + more:012}" for more in range(100)]
    body = page(names, str(number + 100))
    exchange.send(CHUNKED + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))


def byte_by_byte(exchange: Exchange) -> None:
    """List names in chunks of one byte."""
    names = [f"{exchange.request.query['prefix']}{number:03}" for number in range(200)]
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in page(names))
    exchange.send(CHUNKED + chunks + b"0\r\n\r\n")


def is_of_keys(request: Request) -> bool:
    """Whether a request lists the objects of a bucket."""
    return request.kind == "list" and request.query.get("prefix", "").startswith("-o/")


class Hostile:
    """A gateway on one node, which can misbehave in listings."""

    def __init__(self, gateway: GatewayProcess, node: FaultyProxy) -> None:
        self.gateway = gateway
        self.node = node

    def lists(self, act: Act) -> None:
        """Let the node list like this from now on."""
        self.node.fail(Fault("list", act), is_of_keys)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Hostile]:
    with FaultyProxy(MemoryS3()) as node:
        settings = {
            "DISCOVERY": "static",
            "NODES": f"one=http://AKID:secret-secret-secret@127.0.0.1:{node.port}",
            "WORKERS": "1",
        }
        with GatewayProcess(tmp_path, settings) as gateway:
            assert gateway.ask("POST", "/buckets/photos").status == 201
            yield Hostile(gateway, node)


def test_a_list_ends_when_its_client_has_gone(site: Hostile) -> None:
    site.lists(endless)
    with connect(site.gateway) as sock:
        sock.sendall(b"GET /objects/photos/list HTTP/1.1\r\nHost: x\r\n\r\n")
        begun = site.node.hits
        await_that(lambda: site.node.hits > begun + 10)
        sock.shutdown(socket.SHUT_RDWR)
    await_that(lambda: [*ended_early(site.gateway)])


def ended_early(gateway: GatewayProcess) -> Iterator[str]:
    """Yield the access log's lines of lists that ended early."""
    for line in gateway.log.read_text().splitlines():
        if "/objects/photos/list" in line and '"status": 408' in line:
            yield line


def test_a_list_that_comes_by_the_byte_holds_up_nobody(site: Hostile) -> None:
    site.lists(byte_by_byte)
    waits: list[float] = []
    with ThreadPoolExecutor() as crowd:
        path = "/objects/photos/list"
        lists = [crowd.submit(site.gateway.ask, "GET", path) for _ in range(2)]
        while not all(one.done() for one in lists):
            begun = time.monotonic()
            assert site.gateway.ask("GET", "/health").status == 200
            waits.append(time.monotonic() - begun)
    assert [one.result().status for one in lists] == [200] * 2
    assert [one.result().body for one in lists] == [b"[]"] * 2
    assert max(waits) < 5  # on a busy machine; it was 20 s and more
