"""Large objects in parts, on real nodes, behind real servers.

On MinIO and on folders with two replicas, on versitygw with one.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

from amazin.membership.membership import Membership
from amazin.model.node_specs import NodeSpec
from amazin.model.stored_names import PARTS
from amazin.nodes.build import node_builder
from amazin.repair.report import Options, Report
from amazin.repair.run import Repair
from amazin.settings.settings import Settings
from tests.support.fakes import FakeDiscovery
from tests.support.gateway_process import (
    GatewayProcess,
    nodes_setting,
    resident_peak_kib,
)
from tests.support.servers import Server

pytestmark = pytest.mark.integration
PART = 2**20
SIZE = 50 * 2**20 + 12_345
CURL = shutil.which("curl") or "curl"
DAY_NS = 24 * 3600 * 10**9
LARGEST_GROWTH_KIB = 40 * 1024


class Site(NamedTuple):
    """Nodes, and how to start a gateway on them."""

    specs: list[NodeSpec]
    servers: list[Server]
    settings: Mapping[str, str]
    folder: Path

    def gateway(self, **settings: str) -> GatewayProcess:
        """Return a gateway, not started."""
        return GatewayProcess(self.folder, {**self.settings, **settings})

    def repair(self, days: float = 0.0) -> Report:
        """Run a repair some days from now."""
        build = node_builder(Settings().node_limits)
        later = time.time_ns() + int(days * DAY_NS)
        with Membership(
            FakeDiscovery(*self.specs), build, 100.0, None, is_watching=False
        ) as membership:
            membership.snapshot()
            return Repair(membership, Options(), lambda: later).run()

    def parts(self) -> int:
        """Count the parts that lie on the nodes, each copy of them."""
        build = node_builder(Settings().node_limits)
        count = 0
        for spec in self.specs:
            node = build(spec)
            count += sum(1 for _ in node.list_objects("store", PARTS))
            node.close()
        return count


KINDS = ("MinIO", "versitygw", "folders")


@pytest.fixture(params=KINDS)
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    """Three nodes, without anything on them."""
    common = {"CHUNK_BYTES": str(PART), "REPLICAS": "2", "WORKERS": "1"}
    if request.param == "folders":
        data = tmp_path / "data"
        names = [f"node-{number}" for number in (1, 2, 3)]
        for name in names:
            (data / name).mkdir(parents=True)
        specs = [NodeSpec(name, f"file://{data / name}") for name in names]
        settings = {"DISCOVERY": "folders", "DATA_DIR": str(data)}
        yield Site(specs, [], {**common, **settings}, tmp_path)
        return
    is_minio = request.param == "MinIO"
    fixture = "new_minio" if is_minio else "new_versity"
    new: Callable[[], Server] = request.getfixturevalue(fixture)
    servers = [new() for _ in range(3)]
    try:
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(lambda server: server.start(), servers))
        specs = [server.spec(f"node-{at}") for at, server in enumerate(servers, 1)]
        settings = {"DISCOVERY": "static", "NODES": nodes_setting(specs)}
        settings["REPLICAS"] = "2" if is_minio else "1"
        yield Site(specs, servers, {**common, **settings}, tmp_path)
    finally:
        for server in servers:
            server.stop()
            shutil.rmtree(server.folder, ignore_errors=True)


@pytest.fixture
def body(tmp_path: Path) -> Path:
    """Return a file that is no multiple of anything."""
    path = tmp_path / "body"
    path.write_bytes(random.Random(7).randbytes(SIZE))
    return path


def curl(*arguments: str) -> bytes:
    """Run curl; returns what it wrote."""
    command = [CURL, "--silent", "--show-error", "--fail", *arguments]
    return subprocess.run(command, check=True, capture_output=True, timeout=120).stdout


def test_a_large_file_goes_in_and_out_by_curl(site: Site, body: Path) -> None:
    with site.gateway() as gateway:
        url = f"http://127.0.0.1:{gateway.port}/object/large"
        curl("-T", str(body), url)  # so that all is imported
        before = resident_peak_kib(gateway.workers()[0])
        told = json.loads(curl("-T", str(body), url))
        data = body.read_bytes()
        assert told["size"] == SIZE
        assert told["etag"] == hashlib.md5(data).hexdigest()
        assert curl(url) == data
        for first, last in ((0, 0), (PART - 1, PART), (3 * PART, 9 * PART - 1)):
            assert curl("-r", f"{first}-{last}", url) == data[first : last + 1]
        assert curl("-r", "-7", url) == data[-7:]
        assert curl("-r", f"{SIZE - 3 * PART}-", url) == data[-3 * PART :]
        assert b"content-length: %d" % SIZE in curl("-I", url).lower()
        growth = resident_peak_kib(gateway.workers()[0]) - before
        assert growth < LARGEST_GROWTH_KIB
        replicas = int(site.settings["REPLICAS"])
        assert site.parts() == 2 * 51 * replicas
        report = site.repair(days=1.5)
        assert report.is_well, report
        assert (report.parts, report.copies) == (51, 0)
        assert report.part_bytes == replicas * SIZE
        assert site.parts() == 51 * replicas
        assert curl(url) == data


def send_part_of(port: int, path: str, length: int, data: bytes) -> socket.socket:
    """Begin an upload, and send this of it."""
    sock = socket.create_connection(("127.0.0.1", port), timeout=30)
    head = f"PUT {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n"
    sock.sendall(head.encode() + data)
    return sock


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_gateway_that_is_killed_in_an_upload_leaves_the_old_object(
    site: Site, body: Path
) -> None:
    data, old = body.read_bytes(), os.urandom(3 * PART)
    replicas = int(site.settings["REPLICAS"])
    with site.gateway() as gateway:
        assert gateway.ask("PUT", "/object/x", old).status == 201
        assert site.parts() == 3 * replicas
        with send_part_of(gateway.port, "/object/x", SIZE, data[: 7 * PART + 500_000]):
            wait_until(lambda: site.parts() == 10 * replicas)
            gateway.kill()
    with site.gateway() as gateway:
        assert gateway.ask("GET", "/object/x").body == old
        early, late = site.repair(days=0.9), site.repair(days=1.1)
        assert (early.is_well, early.parts) == (True, 0)
        assert (late.is_well, late.parts) == (True, 7)
        assert site.parts() == 3 * replicas
        assert gateway.ask("GET", "/object/x").body == old
        assert gateway.ask("PUT", "/object/x", data).status == 201
        assert gateway.ask("GET", "/object/x").body == data


def test_an_upload_that_is_cut_off_is_not_stored(site: Site) -> None:
    old = os.urandom(2 * PART + 1)
    with site.gateway() as gateway:
        assert gateway.ask("PUT", "/object/x", old).status == 201
        with send_part_of(gateway.port, "/object/x", SIZE, bytes(2 * PART)) as sock:
            sock.shutdown(socket.SHUT_WR)
            assert b" 400 " in sock.recv(100)
        assert gateway.ask("GET", "/object/x").body == old
        assert site.repair(days=2).parts == 2


def test_conditions_buckets_and_lists_know_large_objects(site: Site) -> None:
    data = os.urandom(3 * PART + 17)
    etag = hashlib.md5(data).hexdigest()
    with site.gateway() as gateway:
        assert gateway.ask("POST", "/buckets/photos").status == 201
        path = "/objects/photos/a%20b/" + "k" * 300
        long_path = "/objects/photos/" + "%0A" * 1000
        for target in (path, long_path):
            assert gateway.ask("PUT", target, data).status == 201
        listed = json.loads(gateway.ask("GET", "/objects/photos/list").body)
        assert [(row["size"], row["etag"]) for row in listed] == [(len(data), etag)] * 2
        copy = {"X-Copy-Source": "/photos/a%20b/" + "k" * 300}
        assert gateway.ask("PUT", "/objects/photos/c", b"", copy).status == 201
        assert gateway.ask("DELETE", path).status == 204
        assert gateway.ask("GET", path).status == 404
        assert gateway.ask("GET", "/objects/photos/c").body == data
        same = {"If-None-Match": f'"{etag}"'}
        assert gateway.ask("GET", "/objects/photos/c", None, same).status == 304
        match = {"If-Match": f'"{etag}"'}
        if site.settings["REPLICAS"] == "1":
            wrong = {"If-Match": '"0"'}
            for headers, status in ((wrong, 412), (match, 201), (match, 412)):
                answer = gateway.ask("PUT", "/objects/photos/c", data[::-1], headers)
                assert answer.status == status
            assert gateway.ask("GET", "/objects/photos/c").body == data[::-1]
        assert site.repair(days=2).is_well
        assert gateway.ask("GET", long_path).body == data
        assert gateway.ask("GET", path).status == 404


def test_off_again_what_lies_in_parts_is_read_and_replaced(site: Site) -> None:
    data = os.urandom(2 * PART + 1)
    with site.gateway() as gateway:
        assert gateway.ask("PUT", "/object/x", data).status == 201
    with site.gateway(CHUNK_BYTES="0") as gateway:
        assert gateway.ask("GET", "/object/x").body == data
        part = {"Range": f"bytes={PART - 5}-{PART + 5}"}
        answer = gateway.ask("GET", "/object/x", None, part)
        assert (answer.status, answer.body) == (206, data[PART - 5 : PART + 6])
        assert gateway.ask("PUT", "/object/x", data[::-1]).status == 201
        assert gateway.ask("GET", "/object/x").body == data[::-1]
        assert site.repair(days=2).parts == 3
        assert site.parts() == 0


@pytest.mark.parametrize("site", ["MinIO"], indirect=True)
def test_a_node_may_die_in_the_middle_of_a_download(site: Site) -> None:
    data = os.urandom(30 * PART)
    with site.gateway() as gateway:
        assert gateway.ask("PUT", "/object/x", data).status == 201
        for server in site.servers:
            with closing(gateway.connect()) as connection:
                connection.request("GET", "/object/x")
                response = connection.getresponse()
                got = response.read(PART)
                server.kill()
                got += response.read()
            assert got == data
            server.start()
            wait_until(lambda: gateway.ask("GET", "/health/ready?all").status == 200)
