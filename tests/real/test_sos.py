"""Old and new programs in one store: each part swapped for ours, and power cuts."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.support.blob_processes import RunningServer, server_of, sha1
from tests.support.command_process import CommandProcess
from tests.support.gateway_process import ask
from tests.support.old_sos import (
    KINDS,
    SOS,
    await_port,
    old_replicate,
    old_upload,
    request,
)
from tests.support.ports import free_port
from tests.support.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.integration

SMALL = b"a small blob"
BIG = bytes(range(256)) * 2**17
"""32 MiB: more than all buffers on its way hold."""
HEADERS = {"X-Mime-Type": "image/jpeg", "X-Orig-Filename": "mia.jpg"}
LIMITS = {"NODE_ANSWER_TIMEOUT": "5", "NODE_TRANSFER_TIMEOUT": "10"}
MIXTURES = [
    *([kind, kind] for kind in KINDS),
    *(["ours", kind] for kind in KINDS),
    *([kind, "ours"] for kind in KINDS),
    ["ours", "ours"],
]


@pytest.fixture(params=MIXTURES, ids="-".join)
def servers(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Sequence[RunningServer]]:
    """Two blob servers of one group."""
    servers = [
        server_of(kind, tmp_path / f"store{number}")
        for number, kind in enumerate(request.param)
    ]
    try:
        for server in servers:
            server.start()
        yield servers
    finally:
        for server in servers:
            server.kill()


class Api:
    """Our api-server over blob servers, each blob on `replicas` of them."""

    def __init__(
        self, folder: Path, servers: Sequence[RunningServer], replicas: int
    ) -> None:
        urls = ",".join(server.url for server in servers)
        upload, self.download = free_port(), free_port()
        self._process = CommandProcess(
            folder,
            upload,
            *("api-server", "-blob-server", urls, "-api-host", "127.0.0.1"),
            *("-upload-port", str(upload), "-download-port", str(self.download)),
            settings={"REPLICAS": str(replicas), **LIMITS},
        )
        self._process.start()

    def upload(self, data: bytes) -> int:
        """Upload as browsers and scripts do; returns the status."""
        answer = self._process.ask("POST", "/upload", data, HEADERS)
        if answer.status == 200:
            told = {"id": sha1(data), "status": "OK", "size": len(data)}
            assert json.loads(answer.body) == told
        return answer.status

    def fetch(self, data: bytes) -> bytes | None:
        """Fetch a blob of these bytes; None: there is none. Waits out a 503."""
        path = f"/fetch/{sha1(data)}.jpg"
        answer = ask(self.download, "GET", path)
        tries = 0
        while answer.status == 503 and tries < 300:
            threading.Event().wait(0.05)
            answer = ask(self.download, "GET", path)
            tries += 1
        assert answer.status in (200, 404)
        if answer.status == 404:
            return None
        assert answer.headers["X-Orig-Filename"] == "mia.jpg"
        assert answer.headers["Content-Type"] == "image/jpeg"
        return answer.body

    @contextmanager
    def open(self, data: bytes) -> Iterator[http.client.HTTPResponse]:
        """Begin to fetch a blob of these bytes."""
        connection = http.client.HTTPConnection("127.0.0.1", self.download, timeout=30)
        with closing(connection):
            connection.request("GET", f"/fetch/{sha1(data)}")
            with connection.getresponse() as response:
                yield response

    def kill(self) -> None:
        """End it as a power cut would."""
        self._process.kill()

    close = kill


def ids_of(server: RunningServer) -> list[str]:
    """Return the ids that a server lists."""
    found: list[str] = json.loads(request(f"{server.url}/blobs")[2])
    return found


def test_our_api_server_works_on_any_blob_servers(
    servers: Sequence[RunningServer], tmp_path: Path
) -> None:
    with closing(Api(tmp_path, servers, 2)) as api:
        for data in (SMALL, b"", BIG):
            assert api.fetch(data) is None
            assert [api.upload(data), api.upload(data)] == [200, 200]
            assert api.fetch(data) == data
            head = ask(api.download, "HEAD", f"/fetch/{sha1(data)}")
            assert (head.status, head.headers["ETag"]) == (200, f'"{sha1(data)}"')
        ids = sorted(map(sha1, (SMALL, b"", BIG)))
        assert [ids_of(server) for server in servers] == [ids, ids]
        for server in servers:
            _, headers, data = request(f"{server.url}/blob/{sha1(BIG)}")
            assert (data, headers["X-Orig-Filename"]) == (BIG, "mia.jpg")


def test_a_download_outlives_the_server_that_it_comes_from(
    servers: Sequence[RunningServer], tmp_path: Path
) -> None:
    with closing(Api(tmp_path, servers, 2)) as api:
        assert api.upload(BIG) == 200
        with api.open(BIG) as response:
            start = response.read(2**20)
            servers[0].kill()
            assert start + response.read() == BIG


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_blob_breaks_the_download(tmp_path: Path, kind: str) -> None:
    server = server_of(kind, tmp_path / "store")
    server.start()
    try:
        with closing(Api(tmp_path, [server], 1)) as api:
            (tmp_path / "store" / sha1(BIG)).write_bytes(BIG[:-1])
            (tmp_path / "store" / sha1(SMALL)).write_bytes(SMALL[:-1])
            with api.open(BIG) as response, pytest.raises(http.client.IncompleteRead):
                response.read()
            assert ask(api.download, "GET", f"/fetch/{sha1(SMALL)}").status == 502
            assert api.upload(SMALL) == api.upload(BIG) == 200
            assert (api.fetch(SMALL), api.fetch(BIG)) == (SMALL, BIG)
    finally:
        server.kill()


def test_what_was_acknowledged_outlives_a_power_cut_of_a_blob_server(
    servers: Sequence[RunningServer], tmp_path: Path
) -> None:
    with closing(Api(tmp_path, servers, 1)) as api:
        acknowledged: list[bytes] = []
        is_cut, is_over = threading.Event(), threading.Event()

        def work(worker: int) -> None:
            number = 0
            while not is_over.is_set():
                number += 1
                data = b"%d %d " % (worker, number) + BIG[: 2**18 * worker]
                if api.upload(data) == 200:
                    acknowledged.append(data)
                    if len(acknowledged) > 20:
                        is_cut.set()
                if len(acknowledged) > 60:
                    is_over.set()

        threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        assert is_cut.wait(30)
        servers[0].kill()
        for thread in threads:
            thread.join(30)
        assert is_over.is_set()
        servers[0].start()
        for data in acknowledged:
            assert api.fetch(data) == data


def test_a_power_cut_of_the_api_server_leaves_nothing_half_written(
    servers: Sequence[RunningServer], tmp_path: Path
) -> None:
    api = Api(tmp_path, servers, 2)
    try:
        assert api.upload(SMALL) == 200
        bodies = [b"%d" % number + BIG for number in range(4)]
        threads = [
            threading.Thread(target=upload_in_vain, args=(api, data)) for data in bodies
        ]
        for thread in threads:
            thread.start()
        wait = threading.Event()
        for _ in range(2000):
            if len(ids_of(servers[0])) > 1:
                break
            wait.wait(0.005)
        api.kill()
        for thread in threads:
            thread.join(30)
    finally:
        api.close()
    for server in servers:
        for blob_id in ids_of(server):
            # An old server writes in place what it has received as a whole.
            found = (request(f"{server.url}/blob/{blob_id}")[2] for _ in range(50))
            assert any(sha1(data) == blob_id for data in found)


def upload_in_vain(api: Api, data: bytes) -> None:
    """Upload something; the server may die meanwhile."""
    try:
        api.upload(data)
    except (OSError, http.client.HTTPException):
        return


def test_the_old_programs_work_on_mixed_servers(
    servers: Sequence[RunningServer],
) -> None:
    urls = [server.url for server in servers]
    for data in (SMALL, b"", BIG):
        assert json.loads(old_upload(urls, sha1(data), data))["size"] == len(data)
    assert len(old_replicate(urls)) == 3
    assert ids_of(servers[0]) == ids_of(servers[1])
    assert request(f"{urls[1]}/blob/{sha1(BIG)}")[2] == BIG
    assert old_replicate(urls) == []


@pytest.mark.skipif(not SOS, reason="no sos: set SOS to its path")
def test_the_old_api_server_and_replicate_work_on_mixed_servers(
    servers: Sequence[RunningServer], tmp_path: Path
) -> None:
    urls = ",".join(server.url for server in servers)
    upload, download = free_port(), free_port()
    environ = {**os.environ, "HOME": str(tmp_path)}
    options = ("-upload-port", str(upload), "-download-port", str(download))
    process = subprocess.Popen(
        [SOS, "api-server", "-blob-server", urls, "-api-host", "127.0.0.1", *options],
        env=environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        await_port(upload, process)
        for data in (SMALL, BIG):
            answer = ask(upload, "POST", "/upload", data, HEADERS)
            assert json.loads(answer.body)["id"] == sha1(data)
            found = ask(download, "GET", f"/fetch/{sha1(data)}")
            assert (found.body, found.headers["X-Mime-Type"]) == (data, "image/jpeg")
        assert ids_of(servers[1]) == []
        mirror = [SOS, "replicate", "-blob-server", urls]
        subprocess.run(mirror, env=environ, check=True, timeout=PATIENCE_SECONDS)
        assert ids_of(servers[1]) == sorted((sha1(SMALL), sha1(BIG)))
        servers[0].kill()
        found = ask(download, "GET", f"/fetch/{sha1(BIG)}")
        assert (found.body, found.headers["X-Mime-Type"]) == (BIG, "image/jpeg")
    finally:
        process.kill()
        process.wait(PATIENCE_SECONDS)
