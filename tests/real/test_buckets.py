"""Buckets as clients use them: two gateways in front of real MinIO and versitygw.

MinIO keeps two replicas of everything, versitygw one.
"""

from __future__ import annotations

import http.client
import io
import itertools
import json
import os
import random
import signal
import socket
import threading
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any, NamedTuple
from urllib.parse import quote, unquote, urlencode

import pytest

from amazin.web.streaming import START_BYTES
from tests.support.gateway_process import Answer, GatewayProcess, nodes_setting
from tests.support.hostile_keys import PIECES, cut, expected
from tests.support.servers import Server
from tests.support.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.integration
COUNT = 200
AT_ONCE = 8
LONG_LIST = 1200
"""Keys of a list for which a node is asked again after its first 1,000."""
RACE_SECONDS = 2.0
MOST_SECONDS = 60.0
"""So much longer, until each side has won at least once."""
NOTHING: Mapping[str, str] = {}


class Stores(NamedTuple):
    """Nodes, and two gateways that know them."""

    nodes: list[Server]
    gateways: list[GatewayProcess]
    replicas: int

    def recover(self) -> None:
        """Start what was killed, and wait until every worker reaches every node."""
        for node in self.nodes:
            node.start()
        for gateway in self.gateways:
            wait_for(gateway, "PUT", "/objects/first", 201, 1)  # writes find a roster
            wait_for(gateway, "GET", "/health/ready?all", 200, 12)
            wait_for(gateway, "GET", "/buckets", 200, 12)


def wait_for(
    gateway: GatewayProcess, method: str, path: str, status: int, times: int
) -> None:
    """Ask until this is the answer so often in a row that all workers have given it."""
    deadline, streak = time.monotonic() + 30, 0
    while streak < times:
        answer = gateway.ask(method, path, b"" if method == "PUT" else None)
        streak = streak + 1 if answer.status == status else 0
        assert time.monotonic() < deadline, answer.body
        if not streak:
            time.sleep(0.1)


@pytest.fixture(scope="module", params=["MinIO, r=2", "versitygw, r=1"])
def stores(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stores]:
    """Three nodes, and the gateways, which end with them."""
    is_minio = request.param.startswith("MinIO")
    new: Callable[[], Server] = request.getfixturevalue(
        "new_minio" if is_minio else "new_versity"
    )
    nodes = [new() for _ in range(3)]
    replicas = 2 if is_minio else 1
    gateways: list[GatewayProcess] = []
    try:
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(lambda node: node.start(), nodes))
        specs = [node.spec(f"node-{at}") for at, node in enumerate(nodes, 1)]
        settings = {
            "DISCOVERY": "static",
            "NODES": nodes_setting(specs),
            "REPLICAS": f"{replicas}",
            "WORKERS": "1",  # each of which finds out by itself that a node is back
        }
        folder = tmp_path_factory.mktemp("gateways")
        for _ in range(2):
            gateways.append(GatewayProcess(folder, settings))
            gateways[-1].start()
        stores = Stores(nodes, gateways, replicas)
        stores.recover()
        yield stores
    finally:
        for process in [*gateways, *nodes]:
            process.kill()


@pytest.fixture
def gateway(stores: Stores) -> GatewayProcess:
    """One of the gateways."""
    return stores.gateways[0]


def path_of(key: str, bucket: str) -> str:
    """Return where an object is served."""
    return f"/objects/{bucket}/{quote(key)}"


def put(
    gateway: GatewayProcess,
    path: str,
    body: bytes = b"hello",
    headers: Mapping[str, str] = NOTHING,
) -> Any:
    """Store an object that wasn't refused; returns its info."""
    answer = gateway.ask("PUT", path, body, headers)
    assert answer.status == 201, answer.body
    return json.loads(answer.body)


def several(
    gateway: GatewayProcess, requests: Iterable[tuple[str, str, bytes | None]]
) -> list[Answer]:
    """Send requests on a few connections that are kept; returns answers in order."""
    here = threading.local()
    connections: list[http.client.HTTPConnection] = []

    def send(request: tuple[str, str, bytes | None]) -> Answer:
        if not hasattr(here, "connection"):
            here.connection = gateway.connect()
            connections.append(here.connection)
        here.connection.request(*request)
        response = here.connection.getresponse()
        return Answer(response.status, response.headers, response.read())

    try:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(send, requests))
    finally:
        for connection in connections:
            connection.close()


def listed(gateway: GatewayProcess, bucket: str, **query: str) -> list[str]:
    """Return the keys of a list."""
    answer = gateway.ask("GET", f"/objects/{bucket}/list?{urlencode(query)}")
    assert answer.status == 200, answer.body
    return [entry["key"] for entry in json.loads(answer.body)]


def hostile_keys() -> list[str]:
    """Return keys of all forms, in their order, but the reserved one."""
    chosen = random.Random(12)
    keys = {
        "a",
        "a/b",
        "/a",
        "a//b",
        "..",
        "../../x",
        "%41",
        "delete",
        "?a#b",
        "é" * 512,
    }
    while len(keys) < COUNT:
        keys.add(cut("".join(chosen.choices(PIECES, k=chosen.randint(1, 5)))))
    return sorted(keys - {"list"}, key=str.encode)


KEYS = hostile_keys()


@pytest.fixture(scope="module")
def full(stores: Stores) -> str:
    """A bucket with an object under each of the keys, stored by both gateways."""
    bucket = "full"
    for gateway, keys in zip(stores.gateways, (KEYS[::2], KEYS[1::2]), strict=True):
        assert gateway.ask("POST", f"/buckets/{bucket}").status == 201
        requests = [("PUT", path_of(key, bucket), key.encode()) for key in keys]
        answers = several(gateway, requests)
        assert {answer.status for answer in answers} == {201}, answers[0].body
        assert [json.loads(answer.body)["key"] for answer in answers] == keys
    return bucket


# One client


def test_buckets_are_made_found_and_removed(gateway: GatewayProcess) -> None:
    name = "a-bucket"
    for _ in range(2):
        assert gateway.ask("POST", f"/buckets/{name}").status == 201
    assert gateway.ask("HEAD", f"/buckets/{name}").status == 200
    found = json.loads(gateway.ask("GET", "/buckets").body)
    assert name in found
    assert found == sorted(found)
    put(gateway, f"/objects/{name}/a/b")
    assert gateway.ask("DELETE", f"/buckets/{name}").status == 409
    assert gateway.ask("DELETE", f"/objects/{name}/a/b").status == 204
    assert gateway.ask("DELETE", f"/buckets/{name}").status == 204
    assert gateway.ask("DELETE", f"/buckets/{name}").status == 404
    assert gateway.ask("HEAD", f"/buckets/{name}").status == 404
    assert gateway.ask("PUT", f"/objects/{name}/a/b", b"x").status == 404


def test_hostile_keys_come_back(gateway: GatewayProcess, full: str) -> None:
    paths = [path_of(key, full) for key in KEYS]
    answers = several(gateway, [("GET", path, None) for path in paths])
    assert [answer.body for answer in answers] == [key.encode() for key in KEYS]
    assert {answer.status for answer in answers} == {200}
    encoded = [f"/objects/{full}/{quote(key, safe='')}" for key in KEYS]
    answers = several(gateway, [("HEAD", path, None) for path in encoded])
    sizes = [answer.headers["Content-Length"] for answer in answers]
    assert sizes == [str(len(key.encode())) for key in KEYS]


def test_a_list_has_all_keys_in_order(gateway: GatewayProcess, full: str) -> None:
    assert listed(gateway, full) == KEYS
    answer = gateway.ask("GET", f"/objects/{full}/list")
    sizes = [entry["size"] for entry in json.loads(answer.body)]
    assert sizes == [len(key.encode()) for key in KEYS]


@pytest.mark.parametrize("recursive", ["true", "false"])
def test_any_part_of_a_list(gateway: GatewayProcess, full: str, recursive: str) -> None:
    chosen = random.Random(3)
    # Behind a key in hundreds of directories a node is asked for each of them.
    flat = [key for key in KEYS if key.count("/") < 20]
    for _ in range(8):
        key = chosen.choice(flat)
        prefix = key[: chosen.randint(0, 3)]
        after = chosen.choice(["", key, chosen.choice(flat)])
        limit = chosen.choice([1, 3, COUNT])
        query = {"prefix": prefix, "after": after, "recursive": recursive}
        wanted = expected(KEYS, prefix, after, recursive == "true")[:limit]
        assert listed(gateway, full, **query, limit=str(limit)) == wanted


def test_pages_add_up_to_the_whole(gateway: GatewayProcess, full: str) -> None:
    keys: list[str] = []
    while page := listed(gateway, full, limit="40", after=keys[-1] if keys else ""):
        keys += page
    assert keys == KEYS


def test_metadata_and_ranges(gateway: GatewayProcess) -> None:
    kept = {"X-Meta-Colour": "blue", "X-Amz-Meta-Taken-By": "\xe9va 100%"}
    headers = {"Content-Type": "text/x-y", "X-Auth-Token": "hush", **kept}
    path = "/objects/meta%20data"
    info = put(gateway, path, b"hello, world", headers)
    assert info["content_type"] == "text/x-y"
    found = gateway.ask("GET", path, headers={"Range": "bytes=-5"})
    assert (found.status, found.body) == (206, b"world")
    assert found.headers["Content-Range"] == "bytes 7-11/12"
    assert {name: found.headers[name] for name in kept} == kept
    assert "X-Auth-Token" not in found.headers
    assert found.headers["ETag"] == f'"{info["etag"]}"'
    unchanged = {"If-None-Match": found.headers["ETag"]}
    assert gateway.ask("GET", path, headers=unchanged).status == 304
    assert gateway.ask("GET", path, headers={"Range": "bytes=12-"}).status == 416
    answer = gateway.ask("GET", "/objects/list?prefix=meta%20")
    assert json.loads(answer.body) == [info]


@pytest.mark.parametrize("size", [0, 5, 3 * 2**20])
def test_copies(gateway: GatewayProcess, size: int) -> None:
    body = random.Random(size).randbytes(size)
    key = "from é/here"
    stored = put(gateway, path_of(key, "default"), body, {"X-Meta-Colour": "blue"})
    source = {"X-Copy-Source": quote(f"/default/{key}")}
    for target in ("/objects/default/to", path_of(key, "default")):
        copied = put(gateway, target, b"", source)
        assert copied["etag"] == stored["etag"]
        found = gateway.ask("GET", target)
        assert found.body == body
        assert found.headers["X-Meta-Colour"] == "blue"
    missing = {"X-Copy-Source": "/default/nothing"}
    assert gateway.ask("PUT", "/objects/to", b"", missing).status == 404


def test_an_archive_unpacks_to_all_objects(gateway: GatewayProcess, full: str) -> None:
    answer = gateway.ask("GET", f"/archive/{full}")
    with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        whole = [name.replace("%+/", "") for name in names]
        assert [unquote(name, errors="strict") for name in whole] == KEYS
        assert [archive.read(name) for name in names] == [k.encode() for k in KEYS]


def test_many_are_deleted_at_once(gateway: GatewayProcess) -> None:
    bucket = "batch"
    gateway.ask("POST", f"/buckets/{bucket}")
    keys = [f"{number}/é" for number in range(30)]
    several(gateway, [("PUT", path_of(key, bucket), b"x") for key in keys])
    body = json.dumps({"keys": [*keys[5:], "missing"]}).encode()
    answer = gateway.ask("POST", f"/objects/{bucket}/delete", body)
    assert answer.status == 200
    assert json.loads(answer.body) == {"deleted": [*keys[5:], "missing"], "errors": []}
    assert listed(gateway, bucket) == sorted(keys[:5])


# Two gateways


class History:
    """What clients saw, and when."""

    def __init__(self) -> None:
        self.held: list[tuple[float, float]] = []
        """From when to when the bucket certainly held an acknowledged object."""
        self.removals: list[tuple[float, float]] = []
        """When requests that removed the bucket began and ended."""
        self.lost: list[str] = []
        self.failures: list[tuple[str, str, bytes]] = []
        """Requests that no answer to the race explains, and what was said."""

    def ask(
        self, gateway: GatewayProcess, method: str, path: str, body: bytes | None = None
    ) -> Answer:
        """Send a request and note the answer."""
        answer = gateway.ask(method, path, body)
        if answer.status not in {200, 201, 204, 404, 409}:
            self.failures.append((method, path, answer.body))
        return answer


def write(gateway: GatewayProcess, history: History, key: str, body: bytes) -> None:
    """Store an object, if there is a bucket, look at it, and delete it.

    Also one that was not acknowledged: it may be there, and keeps the bucket.
    """
    path = f"/objects/race/{key}"
    if history.ask(gateway, "PUT", path, body).status == 201:
        acknowledged = time.monotonic()
        if history.ask(gateway, "GET", path).body != body:
            history.lost.append(key)
        history.held.append((acknowledged, time.monotonic()))
    history.ask(gateway, "DELETE", path)


def remove(gateway: GatewayProcess, history: History) -> None:
    """Try to remove the bucket."""
    began = time.monotonic()
    if history.ask(gateway, "DELETE", "/buckets/race").status == 204:
        history.removals.append((began, time.monotonic()))


class Race:
    """Two writers, which wait for each other after each turn, beside removers."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._end = time.monotonic() + RACE_SECONDS
        self._is_over = threading.Event()
        self._both_are_done = threading.Barrier(2, self._end_in_time, timeout=30)

    def _end_in_time(self) -> None:
        seconds_late = time.monotonic() - self._end
        has_raced = self._history.held and self._history.removals
        if seconds_late > (0 if has_raced else MOST_SECONDS):
            self._is_over.set()

    def write(self, gateway: GatewayProcess, name: str) -> None:
        """Make the bucket, write into it, empty and remove it, until it is over."""
        ask = self._history.ask
        for turn in itertools.count():
            ask(gateway, "POST", "/buckets/race")
            write(gateway, self._history, name, b"%d" % turn)
            ask(gateway, "PUT", "/objects/race/shared", name.encode())
            ask(gateway, "DELETE", "/objects/race/shared")
            self._both_are_done.wait()  # the bucket is empty
            if self._is_over.is_set():
                break
            remove(gateway, self._history)

    def remove(self, gateway: GatewayProcess) -> None:
        """Remove the bucket again and again, until it is over."""
        while not self._is_over.is_set() and not self._both_are_done.broken:
            remove(gateway, self._history)


def test_two_gateways_make_and_remove_the_same_at_once(stores: Stores) -> None:
    """What was acknowledged stays until it is deleted, and so does its bucket."""
    history = History()
    race, gateways = Race(history), stores.gateways
    with ThreadPoolExecutor(4) as pool:
        running = [
            pool.submit(race.write, *one) for one in zip(gateways, "ab", strict=True)
        ]
        running += [pool.submit(race.remove, gateway) for gateway in gateways]
        for future in running:
            future.result(RACE_SECONDS + MOST_SECONDS + PATIENCE_SECONDS)
    assert not history.lost
    assert not history.failures
    assert history.held
    assert history.removals
    for began, ended in history.removals:
        assert not [held for held in history.held if held[0] < began < ended < held[1]]
    require_agreement(gateways)


def require_agreement(gateways: Iterable[GatewayProcess]) -> None:
    """Make the bucket, empty it, remove it: each gateway sees what the other did."""
    first, second = gateways
    first.ask("POST", "/buckets/race")
    keys = listed(second, "race")
    assert keys == listed(first, "race")
    body = json.dumps({"keys": keys}).encode()
    assert json.loads(first.ask("POST", "/objects/race/delete", body).body) == {
        "deleted": keys,
        "errors": [],
    }
    assert second.ask("DELETE", "/buckets/race").status == 204
    assert first.ask("HEAD", "/buckets/race").status == 404


# Nodes that fail


def test_a_killed_node(stores: Stores, gateway: GatewayProcess, full: str) -> None:
    """Replicas cover it; without them a list is refused rather than short."""
    stores.nodes[1].kill()
    try:
        paths = [f"/objects/{full}/list", "/buckets", f"/archive/{full}"]
        for path in paths:
            answer = gateway.ask("GET", path)
            assert answer.status == (200 if stores.replicas == 2 else 503), path
            if stores.replicas == 1:
                assert json.loads(answer.body)["code"] == "NodeUnreachable"
        if stores.replicas == 2:
            assert listed(gateway, full) == KEYS
    finally:
        stores.recover()
    assert listed(gateway, full) == KEYS


def test_a_list_that_breaks_is_no_json(stores: Stores, gateway: GatewayProcess) -> None:
    """As many nodes as have a copy are killed after the first bytes were sent."""
    bucket = "long"
    gateway.ask("POST", f"/buckets/{bucket}")
    paths = [f"/objects/{bucket}/{number:04}" for number in range(LONG_LIST)]
    several(gateway, [("PUT", path, b"x") for path in paths])
    is_cut, body = False, b""
    with closing(slow_connection(gateway)) as connection:
        connection.request("GET", f"/objects/{bucket}/list")
        response = connection.getresponse()
        body = response.read(100)
        with frozen(gateway):  # with nodes left to ask
            for node in stores.nodes[-stores.replicas :]:
                node.kill()
        try:
            body += response.read()
        except (http.client.IncompleteRead, ConnectionResetError) as exc:
            is_cut, body = True, body + getattr(exc, "partial", b"")
        finally:
            stores.recover()
    assert response.status == 200
    assert is_cut
    with pytest.raises(ValueError, match=r"Expecting|Unterminated"):
        json.loads(body)
    assert len(listed(gateway, bucket)) == LONG_LIST


@contextmanager
def frozen(gateway: GatewayProcess) -> Iterator[None]:
    """Stop the gateway's clock, with all its connections open."""
    os.killpg(gateway.process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.killpg(gateway.process.pid, signal.SIGCONT)


def slow_connection(gateway: GatewayProcess) -> http.client.HTTPConnection:
    """Return a connection that takes little before it is read from."""
    connection = gateway.connect()
    connection.sock = socket.socket()
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, START_BYTES)
    connection.sock.settimeout(30)
    connection.sock.connect(("127.0.0.1", gateway.port))
    return connection
