"""The gateway as people run it, in front of real MinIO servers.

What it must stand: cut uploads, killed, stopped and frozen nodes, crowds of clients,
slow clients, and the largest object, in constant memory.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import random
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from minio import Minio

from hashing import Ranker
from tests.support.gateway_process import (
    GatewayProcess,
    ask_at_once,
    nodes_setting,
    resident_peak_kib,
)
from tests.support.servers import MinioServer
from tests.support.waiting import PATIENCE_SECONDS, await_that

pytestmark = pytest.mark.integration

MIB = 2**20
NAMES = ("node-1", "node-2", "node-3")


@pytest.fixture(scope="module")
def nodes(new_minio: Callable[[], MinioServer]) -> Iterator[dict[str, MinioServer]]:
    """Three MinIO servers with different keys, by stable name."""
    servers = {name: new_minio() for name in NAMES}
    for server in servers.values():
        server.start()
    yield servers
    for server in servers.values():
        server.stop()


@pytest.fixture(scope="module")
def settings(nodes: dict[str, MinioServer]) -> dict[str, str]:
    """The settings of a gateway on these nodes."""
    specs = [server.spec(name) for name, server in nodes.items()]
    return {"DISCOVERY": "static", "NODES": nodes_setting(specs)}


@pytest.fixture(scope="module")
def gateway(
    tmp_path_factory: pytest.TempPathFactory,
    nodes: dict[str, MinioServer],
    settings: dict[str, str],
) -> Iterator[GatewayProcess]:
    """A gateway that serves all tests of this module."""
    with GatewayProcess(tmp_path_factory.mktemp("gateway"), settings) as process:
        yield process


@pytest.fixture(autouse=True)
def all_nodes_answer(
    nodes: dict[str, MinioServer], gateway: GatewayProcess
) -> Iterator[None]:
    """After each test: what it broke works again."""
    yield
    for server in nodes.values():
        server.thaw()
        server.start()
    wait_until_ready(gateway)


def wait_until_ready(gateway: GatewayProcess) -> None:
    """Wait until every worker reaches every node."""
    deadline = time.monotonic() + 30
    streak = 0
    while streak < 3:
        answers = ask_at_once(gateway.port, "/health/ready?all")
        failed = [answer.body for answer in answers if answer.status != 200]
        streak = 0 if failed else streak + 1
        assert time.monotonic() < deadline, failed
        if not streak:
            time.sleep(0.2)


def key_on(node: str, tag: str) -> str:
    """Return an id that has its home on this node."""
    ranker = Ranker(dict.fromkeys(NAMES, 1.0))
    for number in range(10_000):
        key = f"{tag}{number}"
        if ranker.rank(f"store/{key}".encode())[0] == node:
            return key
    raise AssertionError(node)


def sdk(server: MinioServer) -> Minio:
    """Return the SDK's client of a node, to look into it."""
    return Minio(server.address, server.access_key, server.secret_key, secure=False)


def object_bytes(size: int, seed: int = 1) -> bytes:
    """Return bytes that are their own check."""
    return random.Random(seed).randbytes(size)


def send_head(gateway: GatewayProcess, head: str) -> socket.socket:
    """Open a connection and send a request's head on it."""
    sock = socket.create_connection(("127.0.0.1", gateway.port), timeout=30)
    sock.sendall(head.encode())
    return sock


# Uploads that are cut off


@pytest.mark.parametrize("size", [10, 300_000, 3 * MIB])
@pytest.mark.parametrize("is_reset", [False, True], ids=["FIN", "RST"])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_truncated_upload_is_never_stored(
    gateway: GatewayProcess, size: int, is_reset: bool, framing: str
) -> None:
    key = f"cut{size}{framing}{is_reset}"
    old = b"the old object"
    assert gateway.ask("PUT", f"/object/{key}", old).status == 201
    body = object_bytes(size)
    if framing == "length":
        head = f"Content-Length: {size + 1}\r\n\r\n"
        data = body
    else:
        head = "Transfer-Encoding: chunked\r\n\r\n"
        data = b"%x\r\n%b\r\n" % (size, body)
    for target in (key, key + "new"):
        sock = send_head(gateway, f"PUT /object/{target} HTTP/1.1\r\nHost: x\r\n{head}")
        sock.sendall(data)
        if is_reset:
            sock.setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )
        else:
            sock.shutdown(socket.SHUT_WR)
            assert b" 400 " in sock.recv(4096).split(b"\r\n")[0]
        sock.close()
    assert gateway.ask("GET", f"/object/{key}").body == old
    assert gateway.ask("GET", f"/object/{key}new").status == 404


def test_a_chunked_upload_cut_inside_a_chunk_is_never_stored(
    gateway: GatewayProcess,
) -> None:
    sock = send_head(
        gateway,
        "PUT /object/insidechunk HTTP/1.1\r\nHost: x\r\n"
        "Transfer-Encoding: chunked\r\n\r\n",
    )
    sock.sendall(b"100\r\nonly a part")
    sock.shutdown(socket.SHUT_WR)
    assert b" 400 " in sock.recv(4096)
    sock.close()
    assert gateway.ask("GET", "/object/insidechunk").status == 404


@pytest.mark.parametrize("size", [10, 300_000, 10 * MIB + 1])
def test_an_upload_that_is_not_what_it_says_is_never_stored(
    gateway: GatewayProcess, size: int
) -> None:
    path, old, body = f"/object/wrong{size}", b"the old object", object_bytes(size)
    assert gateway.ask("PUT", path, old).status == 201
    said = [hashlib.sha256(data).hexdigest() for data in (body + b"x", body)]
    for sha256, status in zip(said, (400, 201), strict=True):
        headers = {"x-amz-content-sha256": sha256}
        assert gateway.ask("GET", path).body == old
        assert gateway.ask("PUT", path, body, headers).status == status
    assert gateway.ask("GET", path).body == body


def test_both_framings_are_refused(gateway: GatewayProcess) -> None:
    sock = send_head(
        gateway,
        "PUT /object/twice HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n"
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    )
    assert b" 400 " in sock.recv(4096)
    sock.close()
    assert gateway.ask("GET", "/object/twice").status == 404


def test_a_refused_upload_gets_its_answer_and_leaves_no_request_behind(
    gateway: GatewayProcess,
) -> None:
    smuggled = b"DELETE /object/victim HTTP/1.1\r\nHost: x\r\n\r\n"
    assert gateway.ask("PUT", "/object/victim", b"kept").status == 201
    answer = gateway.ask("PUT", "/object/not-an-id", smuggled * 20_000)
    assert answer.status == 422
    assert gateway.ask("GET", "/object/victim").body == b"kept"


def test_too_large_is_refused_before_it_is_read(gateway: GatewayProcess) -> None:
    sock = send_head(
        gateway,
        "PUT /object/huge HTTP/1.1\r\nHost: x\r\n"
        f"Content-Length: {5 * 2**30 + 1}\r\n\r\n",
    )
    assert b" 413 " in sock.recv(4096)
    sock.close()


# What comes back


def test_the_headers_of_an_upload_come_back(gateway: GatewayProcess) -> None:
    sent = {
        "Content-Type": "text/plain; charset=utf-8",
        "Content-Disposition": 'attachment; filename="a \xe9.txt"',
        "Content-Encoding": "identity",
        "Content-Language": "de",
        "Cache-Control": "no-store",
        "Expires": "0",
        "X-Meta-Plain": "a  b",
        "X-Meta-Escaped": "100%41 \xe9",
        "X-Amz-Meta-Foo": "1",
    }
    dropped = {"X-Amz-Acl": "private", "X-Forwarded-Host": "evil", "X-Token": "hush"}
    answer = gateway.ask("PUT", "/object/headers", b"body", {**sent, **dropped})
    assert answer.status == 201
    for method in ("GET", "HEAD"):
        answer = gateway.ask(method, "/object/headers")
        assert {name: answer.headers[name] for name in sent} == sent
        assert not [name for name in dropped if name in answer.headers]


def test_ranges_and_conditions_hold_on_real_nodes(gateway: GatewayProcess) -> None:
    body = object_bytes(2 * MIB)
    stored = gateway.ask("PUT", "/object/ranged", body)
    etag = stored.headers["ETag"]

    def ask(**headers: str) -> tuple[int, bytes]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = gateway.ask("GET", "/object/ranged", None, named)
        return answer.status, answer.body

    assert ask(Range="bytes=0-0") == (206, body[:1])
    assert ask(Range="bytes=-1") == (206, body[-1:])
    assert ask(Range=f"bytes={MIB}-") == (206, body[MIB:])
    assert ask(Range="bytes=0-9", If_Range=etag) == (206, body[:10])
    assert ask(Range="bytes=0-9", If_Range='"other"') == (200, body)
    assert ask(Range=f"bytes={len(body)}-")[0] == 416
    assert ask(If_None_Match=f'"other", {etag}') == (304, b"")
    assert ask(If_Match='"other"')[0] == 412
    for condition, status in (
        ({"If-None-Match": "*"}, 412),
        ({"If-Match": '"other"'}, 412),
        ({"If-Match": etag}, 201),
    ):
        answer = gateway.ask("PUT", "/object/ranged", b"new", condition)
        assert answer.status == status
    absent = {"If-Match": etag}
    assert gateway.ask("PUT", "/object/nothere", b"new", absent).status == 412
    assert (
        gateway.ask("PUT", "/object/nothere", b"new", {"If-None-Match": "*"}).status
        == 201
    )


# Nodes that fail


def test_a_node_killed_during_a_download_breaks_the_connection(
    gateway: GatewayProcess, nodes: dict[str, MinioServer]
) -> None:
    key = key_on("node-1", "down")
    body = object_bytes(64 * MIB)
    assert gateway.ask("PUT", f"/object/{key}", body).status == 201
    connection = gateway.connect()
    connection.request("GET", f"/object/{key}")
    response = connection.getresponse()
    got = response.read(MIB)
    nodes["node-1"].kill()
    with pytest.raises((http.client.IncompleteRead, ConnectionResetError)) as broken:
        response.read()
    got += getattr(broken.value, "partial", b"")
    assert len(got) < len(body)
    assert body.startswith(got)
    connection.close()


def test_a_node_killed_during_an_upload_gives_503_and_keeps_the_old_object(
    gateway: GatewayProcess, nodes: dict[str, MinioServer]
) -> None:
    key = key_on("node-2", "up")
    old = object_bytes(MIB)
    assert gateway.ask("PUT", f"/object/{key}", old).status == 201
    size = 64 * MIB
    sock = send_head(
        gateway,
        f"PUT /object/{key} HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n",
    )
    with sock:
        sock.sendall(bytes(8 * MIB))
        nodes["node-2"].kill()
        sock.sendall(bytes(size - 8 * MIB))
        status_line = sock.recv(4096).split(b"\r\n")[0]
    assert b" 503 " in status_line
    nodes["node-2"].start()
    wait_until_ready(gateway)
    assert gateway.ask("GET", f"/object/{key}").body == old


def test_a_stopped_node_costs_its_own_keys_only_and_comes_back(
    gateway: GatewayProcess, nodes: dict[str, MinioServer]
) -> None:
    own, other = key_on("node-1", "stop"), key_on("node-2", "stop")
    for key in (own, other):
        assert gateway.ask("PUT", f"/object/{key}", key.encode()).status == 201
    nodes["node-1"].stop()
    for method in ("GET", "HEAD", "PUT", "DELETE"):
        start = time.monotonic()
        body = b"new" if method == "PUT" else None
        answer = gateway.ask(method, f"/object/{own}", body)
        assert (answer.status, time.monotonic() - start < 2) == (503, True), method
        assert answer.headers["Retry-After"]
    for _ in range(10):
        assert gateway.ask("GET", f"/object/{other}").body == other.encode()
    assert gateway.ask("PUT", f"/object/{other}", b"2").status == 201
    never_stored = [key_on(node, "never") for node in ("node-1", "node-2")]
    statuses = [gateway.ask("GET", f"/object/{key}").status for key in never_stored]
    assert statuses == [503, 404]  # the home alone can tell
    nodes["node-1"].start()
    wait_until_ready(gateway)
    assert gateway.ask("GET", f"/object/{own}").body == own.encode()
    assert gateway.ask("GET", f"/object/{never_stored[0]}").status == 404


def test_a_frozen_node_costs_its_own_keys_only(
    gateway: GatewayProcess, nodes: dict[str, MinioServer]
) -> None:
    own, other = key_on("node-3", "ice"), key_on("node-1", "ice")
    for key in (own, other):
        assert gateway.ask("PUT", f"/object/{key}", key.encode()).status == 201
    nodes["node-3"].freeze()

    def ask(method: str) -> tuple[int, float]:
        start = time.monotonic()
        body = b"new" if method == "PUT" else None
        status = gateway.ask(method, f"/object/{own}", body).status
        return status, time.monotonic() - start

    with ThreadPoolExecutor(64) as crowd:
        waiting = [crowd.submit(ask, method) for method in ("GET", "PUT", "HEAD") * 20]
        slowest = 0.0
        for _ in range(50):
            start = time.monotonic()
            assert gateway.ask("GET", f"/object/{other}").body == other.encode()
            slowest = max(slowest, time.monotonic() - start)
        answers = [future.result(PATIENCE_SECONDS) for future in waiting]
    assert {status for status, _ in answers} == {503}
    assert max(seconds for _, seconds in answers) < 6
    assert slowest < 1
    nodes["node-3"].thaw()
    wait_until_ready(gateway)
    assert gateway.ask("GET", f"/object/{own}").status == 200


# Many clients


class CheckingClient:
    """Stores, reads and deletes ids of its own, and checks every byte."""

    def __init__(self, gateway: GatewayProcess, number: int) -> None:
        self._connection = gateway.connect()
        self._random = random.Random(number)
        self._prefix = f"c{number}x"
        self._expected: dict[str, bytes] = {}

    def run(self, operations: int) -> int:
        for _ in range(operations):
            key = f"{self._prefix}{self._random.randrange(8)}"
            self._random.choice((self._put, self._put, self._get, self._delete))(key)
        for key in list(self._expected):
            self._get(key)
        self._connection.close()
        return operations

    def _ask(
        self, method: str, key: str, body: bytes | None = None
    ) -> tuple[int, bytes]:
        self._connection.request(method, f"/object/{key}", body)
        response = self._connection.getresponse()
        return response.status, response.read()

    def _put(self, key: str) -> None:
        size = self._random.choice((0, 1, 100, 4096, 70_000, 262_144, 300_000))
        body = self._random.randbytes(size)
        status, answer = self._ask("PUT", key, body)
        assert status == 201
        assert json.loads(answer)["etag"] == hashlib.md5(body).hexdigest()
        self._expected[key] = body

    def _get(self, key: str) -> None:
        status, body = self._ask("GET", key)
        if key in self._expected:
            assert (status, body == self._expected[key]) == (200, True)
        else:
            assert status == 404

    def _delete(self, key: str) -> None:
        assert self._ask("DELETE", key)[0] == 204
        self._expected.pop(key, None)


@pytest.mark.timeout(180)
def test_64_clients_with_200_operations_each_find_every_byte(
    gateway: GatewayProcess,
) -> None:
    with ThreadPoolExecutor(64) as crowd:
        clients = [CheckingClient(gateway, number) for number in range(64)]
        done = list(crowd.map(lambda client: client.run(200), clients))
    assert sum(done) == 64 * 200


def test_500_dribbling_clients_do_not_delay_a_normal_one(
    gateway: GatewayProcess,
) -> None:
    assert gateway.ask("PUT", "/object/normal", b"quick").status == 201
    stop = threading.Event()
    socks = [
        send_head(gateway, "PUT /object/slow HTTP/1.1\r\nHost: x\r\n")
        for _ in range(500)
    ]
    for sock in socks[250:]:
        sock.sendall(b"Content-Length: 1000\r\n\r\n")

    def dribble() -> None:
        while not stop.wait(0.5):
            for sock in socks:
                try:
                    sock.sendall(b"X")
                except OSError:
                    continue

    thread = threading.Thread(target=dribble)
    thread.start()
    try:
        for _ in range(40):
            start = time.monotonic()
            assert gateway.ask("GET", "/object/normal").body == b"quick"
            assert time.monotonic() - start < 1
            time.sleep(0.05)
    finally:
        stop.set()
        thread.join(PATIENCE_SECONDS)
        for sock in socks:
            sock.close()


# The largest object


@pytest.mark.timeout(300)
def test_5_gib_go_up_and_down_in_constant_memory(
    tmp_path: Path, settings: dict[str, str]
) -> None:
    with GatewayProcess(tmp_path, settings) as gateway:
        wait_until_ready(gateway)
        before = {pid: resident_peak_kib(pid) for pid in gateway.workers()}
        block, blocks = object_bytes(4 * MIB), 5 * 2**30 // (4 * MIB)
        connection = gateway.connect(timeout=120)
        connection.putrequest("PUT", "/object/largest")
        connection.putheader("Content-Length", str(5 * 2**30))
        connection.endheaders()
        for _ in range(blocks):
            connection.send(block)
        response = connection.getresponse()
        assert (response.status, len(response.read()) > 0) == (201, True)
        connection.request("GET", "/object/largest")
        response = connection.getresponse()
        for _ in range(blocks):
            assert response.read(4 * MIB) == block
        assert response.read() == b""
        connection.request("DELETE", "/object/largest")
        assert connection.getresponse().status == 204
        connection.close()
        growth = [resident_peak_kib(pid) - kib for pid, kib in before.items()]
        assert max(growth) < 32 * 1024


# Several gateways


def test_two_gateways_and_a_restarted_one_agree_on_every_key(
    tmp_path: Path, gateway: GatewayProcess, settings: dict[str, str]
) -> None:
    with GatewayProcess(tmp_path, settings) as other:
        keys = [f"agree{number}" for number in range(60)]
        for key in keys:
            assert gateway.ask("PUT", f"/object/{key}", key.encode()).status == 201
        for key in keys:
            assert other.ask("GET", f"/object/{key}").body == key.encode()
            assert other.ask("PUT", f"/object/{key}", b"2" + key.encode()).status == 201
        assert other.stop() == 0
        other.start()
        for key in keys:
            for one in (gateway, other):
                assert one.ask("GET", f"/object/{key}").body == b"2" + key.encode()
            assert other.ask("DELETE", f"/object/{key}").status == 204
            assert gateway.ask("GET", f"/object/{key}").status == 404


def test_each_object_lies_on_exactly_one_node(
    gateway: GatewayProcess, nodes: dict[str, MinioServer]
) -> None:
    keys = {f"once{number}" for number in range(60)}
    for key in keys:
        assert gateway.ask("PUT", f"/object/{key}", key.encode()).status == 201
    held = {
        name: {
            found.object_name
            for found in sdk(server).list_objects("store", prefix="once")
        }
        for name, server in nodes.items()
    }
    assert sorted(key for keys_ in held.values() for key in keys_) == sorted(keys)
    assert all(held.values())


# Stopping


def is_refused(gateway: GatewayProcess) -> bool:
    """Whether it takes no connections."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", gateway.port)) != 0


def test_a_running_download_is_finished_when_the_gateway_is_stopped(
    tmp_path: Path, settings: dict[str, str]
) -> None:
    with GatewayProcess(tmp_path, settings) as gateway:
        body = object_bytes(32 * MIB)
        assert gateway.ask("PUT", "/object/graceful", body).status == 201
        connection = gateway.connect()
        connection.request("GET", "/object/graceful")
        response = connection.getresponse()
        got = response.read(MIB)
        gateway.terminate()
        await_that(lambda: is_refused(gateway))  # it has begun to stop
        assert got + response.read() == body
        connection.close()
        assert gateway.process.wait(timeout=10) == 0


def test_interrupting_the_process_group_ends_it_cleanly(
    tmp_path: Path, settings: dict[str, str]
) -> None:
    with GatewayProcess(tmp_path, settings) as gateway:
        os.killpg(gateway.process.pid, signal.SIGINT)
        assert gateway.process.wait(timeout=10) == 0
        assert "Traceback" not in gateway.log.read_text()
