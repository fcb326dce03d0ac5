"""The whole product in containers, by our compose file, under compose v1 and v2."""

from __future__ import annotations

import http.client
import random
import threading
import time
import zipfile
from collections.abc import Iterator, Sequence
from io import BytesIO

import pytest

from hashing import Ranker
from tests.support.compose import (
    COMPOSE,
    Stack,
    inspect,
    require_engine,
    run,
    wait_until_ready,
)
from tests.support.gateway_process import ask
from tests.support.paths import PROJECT
from tests.support.ports import free_port
from tests.support.waiting import await_that

pytestmark = [pytest.mark.containers, pytest.mark.timeout(600)]

MIB = 2**20
PATIENCE_SECONDS = 60.0
WRITERS_KEYS = 6


@pytest.fixture(scope="module", params=["v1", "v2"])
def stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """Our own compose file, built and started; as the README says it."""
    require_engine()
    stack = Stack(COMPOSE[request.param], "docker-compose.yml")
    try:
        stack.compose("build", "gateway")
        stack.up("--no-build")
        yield stack
    finally:
        stack.down()


def own_key(stack: Stack, node: str, tag: str) -> str:
    """Return an id that has its home on the node of this compose service."""
    ranker = Ranker(dict.fromkeys(("node-1-1", "node-2-1", "node-3-1"), 1.0))
    keys = (f"{tag}{number}" for number in range(10_000))
    return next(
        key for key in keys if ranker.rank(f"store/{key}".encode())[0] == f"{node}-1"
    )


def zip_file() -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(PROJECT / "README.md", "README.md")
    return buffer.getvalue()


def test_files_come_back_as_they_went_and_each_lies_on_one_node(stack: Stack) -> None:
    files = {
        "text": (PROJECT / "README.md").read_bytes(),
        "config": (PROJECT / "setup.cfg").read_bytes(),
        "zip": zip_file(),
        "binary": random.Random(1).randbytes(3 * MIB),
        "empty": b"",
        **{f"small{number}": b"%d" % number for number in range(30)},
    }
    for key, body in files.items():
        assert stack.ask("PUT", f"/object/{key}", body).status == 201
    for key, body in files.items():
        assert stack.ask("GET", f"/object/{key}").body == body
    held = stack.look()
    found = sorted(key for keys in held.values() for key in keys)
    assert [key for key in found if key in files] == sorted(files)
    assert len(held) == 3
    assert all(held.values())


def test_the_gateway_is_not_root_and_no_node_has_a_published_port(stack: Stack) -> None:
    processes = run("docker", "top", stack.gateway_id(), "-eo", "uid,pid,args")
    # Beside it the health check may run, which the engine starts as root.
    servers = [line for line in processes.splitlines() if "gunicorn" in line]
    assert len(servers) == 3
    assert {line.split()[0] for line in servers} == {"10001"}
    for number in (1, 2, 3):
        node = inspect(f"amazin-object-storage-node-{number}")
        assert not node["HostConfig"]["PortBindings"]
        assert node["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"


def test_a_stopped_node_costs_its_own_keys_only_and_comes_back(stack: Stack) -> None:
    own, other = own_key(stack, "node-1", "stop"), own_key(stack, "node-2", "stop")
    for key in (own, other):
        assert stack.ask("PUT", f"/object/{key}", key.encode()).status == 201
    run("docker", "stop", "-t", "5", "amazin-object-storage-node-1")
    start = time.monotonic()
    assert stack.ask("GET", f"/object/{own}").status == 503
    assert stack.ask("PUT", f"/object/{own}", b"no").status == 503
    assert time.monotonic() - start < 2
    assert stack.ask("GET", f"/object/{other}").body == other.encode()
    run("docker", "start", "amazin-object-storage-node-1")
    stack.wait_until_ready(30)
    assert stack.ask("GET", f"/object/{own}").body == own.encode()


def test_a_paused_node_costs_its_own_keys_only_and_comes_back(stack: Stack) -> None:
    own, other = own_key(stack, "node-3", "pause"), own_key(stack, "node-2", "pause")
    for key in (own, other):
        assert stack.ask("PUT", f"/object/{key}", key.encode()).status == 201
    run("docker", "pause", "amazin-object-storage-node-3")
    try:
        start = time.monotonic()
        assert stack.ask("GET", f"/object/{own}").status == 503
        assert time.monotonic() - start < 6
        assert stack.ask("GET", f"/object/{other}").body == other.encode()
    finally:
        run("docker", "unpause", "amazin-object-storage-node-3")
    stack.wait_until_ready(30)
    assert stack.ask("GET", f"/object/{own}").body == own.encode()


def test_a_node_that_joins_is_noticed_and_old_objects_are_still_found(
    stack: Stack,
) -> None:
    keys = [f"join{number}" for number in range(40)]
    for key in keys:
        assert stack.ask("PUT", f"/object/{key}", key.encode()).status == 201
    name = "amazin-object-storage-node-4"
    run(
        *("docker", "run", "-d", "--name", name, "-e", "MINIO_ROOT_USER=joined4"),
        *("-e", "MINIO_ROOT_PASSWORD=joined-secret", "-l", "amazin.name=fourth"),
        *("--network", f"{stack.project}_default", "amazin-node", "server", "/data"),
    )
    try:
        deadline = time.monotonic() + 15
        while b"fourth" not in stack.ask("GET", "/health/ready").body:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        stack.wait_until_ready(30)
        for key in keys:
            assert stack.ask("GET", f"/object/{key}").body == key.encode()
            assert stack.ask("PUT", f"/object/{key}", b"2" + key.encode()).status == 201
            assert stack.ask("GET", f"/object/{key}").body == b"2" + key.encode()
        for key in keys:
            assert stack.ask("DELETE", f"/object/{key}").status == 204
            assert stack.ask("GET", f"/object/{key}").status == 404
    finally:
        run("docker", "rm", "-fv", name)
        stack.down()  # the others may have noted the fourth, for ever
        stack.up("--no-build")


class Writer(threading.Thread):
    """Overwrites a few ids through a gateway, and remembers what was acknowledged."""

    def __init__(self, port: int, number: int) -> None:
        super().__init__()
        self._port = port
        self._keys = [f"writer{number}x{key}" for key in range(WRITERS_KEYS)]
        self.acknowledged: dict[str, int] = {}
        self.attempted: dict[str, int] = {}
        self.wrong: list[str] = []
        self.writes = 0
        self.stop = threading.Event()

    def run(self) -> None:
        for version in range(1, 1_000_000):
            if self.stop.is_set():
                return
            key = self._keys[version % len(self._keys)]
            self.check(key)
            self.attempted[key] = version
            try:
                answer = ask(self._port, "PUT", f"/object/{key}", b"%d" % version)
            except (OSError, http.client.HTTPException):
                continue
            if answer.status == 201:
                self.acknowledged[key] = version
                self.writes += 1

    def check(self, key: str) -> bool:
        """Read a key; an answer that is older than what was promised is wrong."""
        try:
            answer = ask(self._port, "GET", f"/object/{key}")
        except (OSError, http.client.HTTPException):
            return False
        promised = self.acknowledged.get(key, 0)
        if answer.status == 404 and promised:
            self.wrong.append(f"{key}: 404, promised {promised}")
        if answer.status == 200 and not (
            promised <= int(answer.body) <= self.attempted.get(key, 0)
        ):
            self.wrong.append(f"{key}: {answer.body!r}, promised {promised}")
        return answer.status == 200


def writes_beyond(writers: Sequence[Writer], before: int) -> int:
    """Wait until each may have overwritten all its keys; returns how many there are."""

    def enough() -> int:
        writes = sum(writer.writes for writer in writers)
        return writes if writes >= before + 2 * WRITERS_KEYS * len(writers) else 0

    return await_that(enough, PATIENCE_SECONDS)


def test_everything_recreated_while_clients_write_loses_nothing(stack: Stack) -> None:
    """A second gateway, which has seen the nodes before, serves the clients."""
    port = free_port()
    gateway = run(
        *("docker", "run", "-d", "--network", f"{stack.project}_default"),
        *("-p", f"127.0.0.1:{port}:3000"),
        *("-v", "/var/run/docker.sock:/var/run/docker.sock:ro", "amazin-gateway"),
    ).strip()
    writers = [Writer(port, number) for number in range(8)]
    try:
        wait_until_ready(port)
        for writer in writers:
            writer.start()
        before = writes_beyond(writers, 0)
        for _ in range(2):
            stack.compose("up", "-d", "--no-build", "--force-recreate")
            stack.wait_until_ready()
        writes_beyond(writers, sum(writer.writes for writer in writers))
        for writer in writers:
            writer.stop.set()
        for writer in writers:
            writer.join(PATIENCE_SECONDS)
        wait_until_ready(port)
        for writer in writers:
            found = [writer.check(key) for key in writer.acknowledged]
            assert all(found)
        assert [wrong for writer in writers for wrong in writer.wrong] == []
        assert sum(writer.writes for writer in writers) > before
    finally:
        for writer in writers:
            writer.stop.set()
        run("docker", "rm", "-fv", gateway)


def test_stopping_the_gateway_lets_a_running_download_end(stack: Stack) -> None:
    body = random.Random(2).randbytes(64 * MIB)
    assert stack.ask("PUT", "/object/graceful", body).status == 201
    connection = http.client.HTTPConnection("127.0.0.1", stack.port, timeout=60)
    connection.request("GET", "/object/graceful")
    response = connection.getresponse()
    got = [response.read(MIB)]
    stopping = threading.Thread(target=stack.compose, args=("stop", "gateway"))
    gateway = stack.gateway_id()
    stopping.start()
    try:
        for _ in range(20):
            got.append(response.read(MIB))
            time.sleep(0.1)
        got.append(response.read())
        assert b"".join(got) == body
        connection.close()
    finally:
        stopping.join(PATIENCE_SECONDS)
        state = inspect(gateway)["State"]
        run("docker", "start", gateway)  # `up` waits for the engine's health checks
    assert state["ExitCode"] == 0
    stack.wait_until_ready()
