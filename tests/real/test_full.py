"""A full cluster can be emptied: folders, MinIO, versitygw on small disks."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.support.gateway_process import GatewayProcess, nodes_setting
from tests.support.lab import run
from tests.support.ports import free_port
from tests.support.servers import MinioServer, Server, VersityServer, find_binary
from tests.support.small_disk import small_disk
from tests.support.waiting import await_that

MIB = 2**20
Settings = Mapping[str, str]


class FullCluster:
    """A gateway on nodes with small disks."""

    def __init__(self, folder: Path, settings: Settings, servers: list[Server]) -> None:
        self._folder = folder
        self.settings = {**settings, "WORKERS": "1", "LOG_LEVEL": "warning"}
        self.servers = servers
        self.gateway = GatewayProcess(folder, self.settings).start()
        self.keys: list[str] = []

    def restart(self) -> None:
        """Let a gateway go on that has seen nothing yet."""
        self.gateway.stop()
        self.gateway = GatewayProcess(self._folder, self.settings).start()

    def fill(self, *sizes: int) -> None:
        """Store objects of these sizes until there is no room for any."""
        answer = None
        for size in sizes:
            body = os.urandom(size)
            for number in range(5000):
                key = f"s{size}n{number}"
                answer = self.gateway.ask("PUT", f"/object/{key}", body)
                if answer.status in (503, 507):  # MinIO says 500 for some moments
                    break
                assert answer.status == 201, answer.body
                self.keys.append(key)
        assert answer
        assert answer.status == 507

    def delete(self, key: str) -> int:
        return self.gateway.ask("DELETE", f"/object/{key}").status

    def states(self) -> set[str]:
        answer = self.gateway.ask("GET", "/health/ready")
        assert answer.status == 200
        return {node["state"] for node in json.loads(answer.body)["nodes"]}

    def states_by_command(self) -> set[str]:
        result = run("status", "--json", environ=dict(self.settings))
        return {node["state"] for node in json.loads(result.stdout)["nodes"]}


def take_the_rest(disk: Path) -> None:
    """Leave no block of a small disk free."""
    with (disk / "rest").open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4096)):
            pass


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def minio() -> str:
    return find_binary("MINIO", "minio")


@pytest.fixture
def versity() -> str:
    return find_binary("VERSITYGW", "versitygw")


def folders(stack: ExitStack, path: Path, replicas: int) -> FullCluster:
    count = 3 if replicas > 1 else 1
    for number in range(1, count + 1):
        stack.enter_context(small_disk(path / f"node-{number}", 8))
    settings = {
        "DISCOVERY": "folders",
        "DATA_DIR": str(path),
        "FOLDER_NODES": str(count),
        "REPLICAS": str(replicas),
    }
    return begin(stack, path, settings, [])


def servers(
    stack: ExitStack, path: Path, replicas: int, kind: type[Server], binary: str
) -> FullCluster:
    made: list[Server] = []
    for number in range(1, 4 if replicas > 1 else 2):
        disk = stack.enter_context(small_disk(path / f"disk-{number}", 16))
        keys = (f"accesskey{number}", f"secret-key-{number}")
        server = kind(binary, disk, free_port(), *keys)
        stack.callback(server.stop)
        server.start()
        made.append(server)
    specs = [server.spec(f"node-{n}") for n, server in enumerate(made, 1)]
    settings = {
        "DISCOVERY": "static",
        "NODES": nodes_setting(specs),
        "REPLICAS": str(replicas),
    }
    return begin(stack, path, settings, made)


def begin(
    stack: ExitStack, path: Path, settings: Settings, made: list[Server]
) -> FullCluster:
    cluster = FullCluster(path, settings, made)
    stack.callback(lambda: cluster.gateway.kill())
    return cluster


KINDS: dict[str, Callable[[ExitStack, Path, int, str], FullCluster]] = {
    "folders": lambda stack, path, replicas, _: folders(stack, path, replicas),
    "minio": lambda stack, path, replicas, binary: servers(
        stack, path, replicas, MinioServer, binary
    ),
    "versity": lambda stack, path, replicas, binary: servers(
        stack, path, replicas, VersityServer, binary
    ),
}


@pytest.mark.integration
@pytest.mark.timeout(180)
@pytest.mark.parametrize("replicas", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_a_full_cluster_is_emptied(
    stack: ExitStack,
    tmp_path: Path,
    kind: str,
    replicas: int,
    request: pytest.FixtureRequest,
) -> None:
    binary = "" if kind == "folders" else request.getfixturevalue(kind)
    cluster = KINDS[kind](stack, tmp_path, replicas, binary)
    cluster.fill(MIB, 100_000, 1000)
    assert "full" in cluster.states()
    assert "full" in cluster.states_by_command()
    assert cluster.delete(cluster.keys.pop()) == 204
    cluster.restart()
    assert "full" in cluster.states()
    for key in cluster.keys:
        assert cluster.delete(key) == 204, key
    for key in (cluster.keys[0], cluster.keys[-1]):
        assert cluster.gateway.ask("GET", f"/object/{key}").status == 404
    if kind != "minio":  # it gives the space back minutes later
        assert cluster.gateway.ask("PUT", "/object/new", bytes(MIB)).status == 201
        # Each worker learns it by an upload, or by a trial, half a minute apart.
        assert await_that(lambda: cluster.states() == {"up"}, 60.0)


@pytest.mark.integration
@pytest.mark.timeout(180)
def test_with_a_node_missing_it_is_emptied_when_the_node_is_back(
    stack: ExitStack, tmp_path: Path, minio: str
) -> None:
    cluster = servers(stack, tmp_path, 2, MinioServer, minio)
    cluster.fill(MIB, 100_000, 1000)
    key = cluster.keys[0]
    cluster.servers[2].kill()
    assert cluster.delete(key) == 507
    cluster.servers[2].start()
    cluster.restart()
    assert cluster.delete(key) == 204
    assert cluster.gateway.ask("GET", f"/object/{key}").status == 404


@pytest.mark.integration
@pytest.mark.timeout(300)
@pytest.mark.parametrize("count", [2, 3], ids=["", "a new one beside them"])
def test_a_folder_lost_for_good_is_forgotten_by_full_ones(
    stack: ExitStack, tmp_path: Path, count: int
) -> None:
    paths = [tmp_path / f"disk-{number}" for number in range(1, 5)]
    for path in paths[1:]:
        stack.enter_context(small_disk(path, 8))
    specs = [f"node-{n}={path.as_uri()}" for n, path in enumerate(paths, 1)]
    settings = {"DISCOVERY": "static", "REPLICAS": "2", "NODES": ",".join(specs[:3])}
    with small_disk(paths[0], 8):
        cluster = begin(stack, tmp_path, settings, [])
        cluster.fill(MIB, 100_000, 1000)
        cluster.gateway.stop()
    paths[0].rmdir()
    environ = {**cluster.settings, "NODES": ",".join(specs[: 1 + count])}
    cluster.gateway = GatewayProcess(tmp_path, environ).start()
    assert await_that(lambda: cluster.delete(cluster.keys[0]) == 507)
    assert run("forget", "node-1", "--yes", environ=environ).exit_code == 0
    for key in cluster.keys:
        assert await_that(lambda key=key: cluster.delete(key) == 204, 60.0), key
    # A new node joins once the lost one has left: that needs another run.
    repaired = [run("repair", environ=environ) for _ in range(count - 1)][-1]
    assert repaired.exit_code == 0, repaired.output
    assert cluster.gateway.ask("PUT", "/object/new", bytes(MIB)).status == 201


@pytest.mark.integration
@pytest.mark.timeout(180)
def test_with_an_s3_node_lost_for_good_full_ones_need_room_first(
    stack: ExitStack, tmp_path: Path, minio: str
) -> None:
    cluster = servers(stack, tmp_path, 2, MinioServer, minio)
    cluster.fill(MIB, 100_000, 1000)
    for number in (2, 3):  # one may have had some room left, for the roster
        take_the_rest(tmp_path / f"disk-{number}")
    environ = dict(cluster.settings)
    cluster.servers[0].kill()
    cluster.restart()
    assert cluster.delete(cluster.keys[0]) == 507
    refused = run("forget", "node-1", "--yes", environ=environ)
    assert refused.exit_code
    assert "full" in refused.output
    for number in (2, 3):
        grow = ["mount", "-o", "remount,size=24m", str(tmp_path / f"disk-{number}")]
        subprocess.run(grow, check=True)
    forget = ("forget", "node-1", "--yes")  # MinIO looks at its disk now and then
    assert await_that(lambda: not run(*forget, environ=environ).exit_code)
    for key in cluster.keys:
        assert await_that(lambda key=key: cluster.delete(key) == 204, 60.0), key
