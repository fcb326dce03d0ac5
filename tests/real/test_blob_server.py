"""Blob servers and an api-server as processes: cut lines, power cuts, races, size."""

from __future__ import annotations

import hashlib
import json
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.command_process import CommandProcess, blob_server, run
from tests.support.gateway_process import ask, cpu_seconds, resident_peak_kib
from tests.support.planted import EVERYTHING, plant
from tests.support.ports import free_port

pytestmark = pytest.mark.integration

MIB = 2**20
CAT = b"a cat"
HEAD = (
    "POST /blob/{} HTTP/1.1\r\nHost: blobs\r\nUser-Agent: Go-http-client/1.1\r\n"
    "Transfer-Encoding: chunked\r\nX-Mime-Type: image/jpeg\r\n"
    "Accept-Encoding: gzip\r\n\r\n"
)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[CommandProcess]:
    """A blob server with two workers."""
    with blob_server(tmp_path, "my store") as server:
        yield server


def begin(server: CommandProcess, blob_id: str, *pieces: bytes) -> socket.socket:
    """Begin a chunked upload, as an old api-server does."""
    sock = socket.create_connection(("127.0.0.1", server.port), timeout=30)
    sock.sendall(HEAD.format(blob_id).encode())
    for piece in pieces:
        sock.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
    return sock


def end(sock: socket.socket) -> tuple[int, bytes]:
    """End a chunked upload; returns the answer's status and body."""
    with sock:
        sock.sendall(b"0\r\n\r\n")
        data = b""
        while b"}" not in data:
            data += sock.recv(65536) or b"}"
    head, _, body = data.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


def content_files(folder: Path) -> list[Path]:
    """Return the content files of a store."""
    return [file for file in (folder / "content").glob("*/*") if file.is_file()]


def wait_for(condition: Callable[[], object]) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_it_says_where_it_is_and_makes_its_folder(
    server: CommandProcess, tmp_path: Path
) -> None:
    lines = server.log.read_text().splitlines()
    assert lines[:2] == [
        f"blob-server available at http://127.0.0.1:{server.port}/",
        "Uploads will be written beneath: my store",
    ]
    assert (tmp_path / "my store" / "index.sqlite").is_file()
    assert ask(server.port, "GET", "/alive").body == b"alive"


def test_a_chunked_upload_is_stored_whole(server: CommandProcess) -> None:
    sock = begin(server, "mia", b"a", b" ", b"cat")
    assert end(sock) == (200, b'{"id":"mia","status":"OK","size":5}')
    answer = server.ask("GET", "/blob/mia")
    assert (answer.body, answer.headers["Content-Type"]) == (CAT, "image/jpeg")
    assert end(begin(server, "none")) == (200, b'{"id":"none","status":"OK","size":0}')


@pytest.mark.parametrize("is_inside", [True, False])
def test_a_chunked_upload_that_is_cut_off_is_not_stored(
    server: CommandProcess, tmp_path: Path, is_inside: bool
) -> None:
    sock = begin(server, "mia", bytes(MIB))
    if is_inside:
        sock.sendall(b"ff\r\nonly a part")
    wait_for(lambda: content_files(tmp_path / "my store"))
    sock.close()
    wait_for(lambda: not content_files(tmp_path / "my store"))
    assert server.ask("GET", "/blob/mia").status == 404
    assert end(begin(server, "mia", CAT))[0] == 200


def test_a_power_cut_during_uploads_leaves_nothing_half_written(
    server: CommandProcess, tmp_path: Path
) -> None:
    assert server.ask("POST", "/blob/old", CAT).status == 200
    socks = [begin(server, name, bytes(MIB), bytes(MIB)) for name in ("old", "new")]
    socks.append(begin(server, "tiny", b"x"))
    wait_for(lambda: len(content_files(tmp_path / "my store")) >= 3)
    server.kill()
    for sock in socks:
        sock.close()
    server.start()
    assert json.loads(server.ask("GET", "/blobs").body) == ["old"]
    assert server.ask("GET", "/blob/old").body == CAT
    assert server.ask("GET", "/blob/new").status == 404
    assert end(begin(server, "new", CAT))[0] == 200
    assert server.ask("GET", "/blob/new").body == CAT


def test_what_was_acknowledged_survives_a_power_cut(server: CommandProcess) -> None:
    for number in range(30):
        assert end(begin(server, f"blob{number:02}", b"%d" % number))[0] == 200
    server.kill()
    server.start()
    for number in range(30):
        assert server.ask("GET", f"/blob/blob{number:02}").body == b"%d" % number


def test_of_different_bytes_under_one_id_at_once_one_upload_wins(
    server: CommandProcess, tmp_path: Path
) -> None:
    for round_number in range(5):
        name = f"round{round_number}"
        bodies = [bytes([number]) * 300_000 for number in range(8)]
        socks = [begin(server, name, body) for body in bodies]
        with ThreadPoolExecutor(len(socks)) as pool:
            statuses = [status for status, _ in pool.map(end, socks)]
        assert sorted(statuses) == [200] + [409] * 7
        winner = bodies[statuses.index(200)]
        assert server.ask("GET", f"/blob/{name}").body == winner
    assert len(server.workers()) == 2
    assert len(content_files(tmp_path / "my store")) == 5


def test_the_same_bytes_at_once_are_stored_once(
    server: CommandProcess, tmp_path: Path
) -> None:
    socks = [begin(server, "mia", CAT) for _ in range(8)]
    with ThreadPoolExecutor(len(socks)) as pool:
        assert {status for status, _ in pool.map(end, socks)} == {200}
    wait_for(lambda: len(content_files(tmp_path / "my store")) == 1)


@pytest.mark.parametrize(
    "garbage",
    [
        b"zz\r\n",
        b"5\r\na cat is longer\r\n0\r\n\r\n",
        b"-5\r\na cat\r\n0\r\n\r\n",
        b"fffffffffffffffffff\r\n",
    ],
)
def test_garbage_between_chunks_stores_nothing(
    server: CommandProcess, garbage: bytes
) -> None:
    with begin(server, "mia", CAT) as sock:
        sock.sendall(garbage)
        sock.shutdown(socket.SHUT_WR)
        assert b" 200 " not in sock.recv(65536)
    assert server.ask("GET", "/blob/mia").status == 404


def test_256_mib_go_up_and_down_in_constant_memory(server: CommandProcess) -> None:
    piece = bytes(range(256)) * 4096
    before = max(map(resident_peak_kib, server.workers()))
    sock = begin(server, "big", *[piece] * 256)
    assert end(sock)[0] == 200
    answer = server.ask("GET", "/blob/big")
    expected = hashlib.sha1(piece * 256).digest()
    assert hashlib.sha1(answer.body).digest() == expected
    assert max(map(resident_peak_kib, server.workers())) < before + 30_000


@pytest.mark.parametrize("is_old", [False, True])
def test_100_000_blobs_are_listed_in_less_than_a_second_of_work(
    server: CommandProcess, tmp_path: Path, is_old: bool
) -> None:
    ids = sorted(hashlib.sha1(b"%d" % number).hexdigest() for number in range(100_000))
    store = tmp_path / "my store"
    if is_old:
        for blob_id in ids:
            (store / blob_id).touch()
    else:
        fill(store / "index.sqlite", ids)
    server.ask("GET", "/blobs")
    before = max(map(resident_peak_kib, server.workers()))
    worked = sum(map(cpu_seconds, server.workers()))
    answer = server.ask("GET", "/blobs")
    assert sum(map(cpu_seconds, server.workers())) - worked < 1
    assert json.loads(answer.body) == ids
    if not is_old:
        assert max(map(resident_peak_kib, server.workers())) < before + 10_000


def fill(index: Path, ids: list[str]) -> None:
    """Put blobs into an index, without their content."""
    headers = '{"Content-Type": "image/jpeg", "X-Mime-Type": "image/jpeg"}'
    rows = [
        (b"blobs", blob_id.encode(), f"{number:032x}", 5, "0" * 32, "1.1", headers)
        for number, blob_id in enumerate(ids)
    ]
    connection = sqlite3.connect(index)
    insert = (
        "INSERT INTO objects (bucket, key, file, size, etag, stamp, headers) "
        "VALUES (?, ?, ?, ?, ?, ?, ?)"
    )
    with closing(connection), connection:
        connection.executemany(insert, rows)


def test_a_port_that_is_taken_ends_the_start(
    server: CommandProcess, tmp_path: Path
) -> None:
    done = run("blob-server", "-port", str(server.port), folder=tmp_path)
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr


def test_it_ends_when_told_to(server: CommandProcess) -> None:
    assert server.stop() == 0


def test_files_of_the_current_folder_are_not_taken_for_ours(tmp_path: Path) -> None:
    plant(tmp_path, *EVERYTHING)
    with blob_server(tmp_path, "store") as server:
        assert end(begin(server, "mia", CAT))[0] == 200


# The api-server


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[list[CommandProcess]]:
    """Two blob servers."""
    with blob_server(tmp_path, "one") as one, blob_server(tmp_path, "two") as two:
        yield [one, two]


@pytest.fixture
def api(
    tmp_path: Path, servers: list[CommandProcess]
) -> Iterator[tuple[CommandProcess, int]]:
    """An api-server over them, at its upload port; and its download port."""
    urls = ",".join(f"http://127.0.0.1:{server.port}" for server in servers)
    upload, download = free_port(), free_port()
    ports = ("-upload-port", str(upload), f"-download-port={download}")
    address = ("-blob-server", urls, "-api-host", "127.0.0.1")
    with CommandProcess(tmp_path, upload, "api-server", *address, *ports) as server:
        yield server, download


def test_what_is_uploaded_is_fetched(
    api: tuple[CommandProcess, int], servers: list[CommandProcess]
) -> None:
    server, download = api
    blob_id = hashlib.sha1(CAT).hexdigest()
    answer = server.ask("POST", "/upload", CAT, {"X-Mime-Type": "image/jpeg"})
    assert answer.body.decode() == f'{{"id":"{blob_id}","status":"OK","size":5}}'
    found = ask(download, "GET", f"/fetch/{blob_id}.png")
    assert (found.body, found.headers["Content-Type"]) == (CAT, "image/jpeg")
    assert found.headers["ETag"] == f'"{blob_id}"'
    head = ask(download, "HEAD", f"/fetch/{blob_id}")
    assert (head.status, head.headers["Content-Length"]) == (200, "5")
    part = ask(download, "GET", f"/fetch/{blob_id}", None, {"Range": "bytes=2-"})
    assert (part.status, part.body) == (206, b"cat")
    assert json.loads(servers[0].ask("GET", "/blobs").body) == [blob_id]


def test_with_the_first_server_down_the_next_one_is_used(
    api: tuple[CommandProcess, int], servers: list[CommandProcess]
) -> None:
    server, download = api
    servers[0].kill()
    answer = server.ask("POST", "/upload", CAT)
    assert answer.status == 200
    blob_id = json.loads(answer.body)["id"]
    assert ask(download, "GET", f"/fetch/{blob_id}").body == CAT
    assert ask(download, "GET", f"/fetch/{'0' * 40}").status == 503


def test_each_route_is_on_its_own_port(api: tuple[CommandProcess, int]) -> None:
    server, download = api
    blob_id = json.loads(server.ask("POST", "/upload", CAT).body)["id"]
    path = f"/fetch/{blob_id}"
    assert ask(download, "GET", path).status == 200
    others = (
        {},
        {"Host": f"127.0.0.1:{download}"},
        {"X-Forwarded-Port": str(download), "X-Forwarded-Host": f"a:{download}"},
        {"Forwarded": f"host=a:{download}"},
    )
    for headers in others:
        assert server.ask("GET", path, None, headers).status == 404
    absolute = f"http://127.0.0.1:{download}{path}"
    assert server.ask("GET", absolute).status in (400, 404)
    host = {"Host": f"127.0.0.1:{server.port}"}
    assert ask(download, "POST", "/upload", CAT, host).status == 404
    for port in (server.port, download):
        assert ask(port, "GET", "/alive").body == b"alive"
        assert ask(port, "GET", "/health").status == 200


def test_an_upload_that_is_cut_off_is_not_stored(
    api: tuple[CommandProcess, int], servers: list[CommandProcess]
) -> None:
    server, _ = api
    with socket.create_connection(("127.0.0.1", server.port)) as sock:
        sock.sendall(b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\n")
        sock.sendall(CAT)
        sock.shutdown(socket.SHUT_WR)
        assert b" 400 " in sock.recv(65536)
    for one in servers:
        assert one.ask("GET", "/blobs").body == b"[]"


def test_it_says_where_it_is(
    api: tuple[CommandProcess, int], servers: list[CommandProcess]
) -> None:
    server, download = api
    lines = server.log.read_text().splitlines()
    assert lines[:12] == [
        "[Launching API-server]",
        "",
        "Upload service",
        f"http://127.0.0.1:{server.port}/upload",
        "",
        "Download service",
        f"http://127.0.0.1:{download}/fetch/:id",
        "",
        "Blob-servers:",
        "\t     group - server",
        f"\t   default - http://127.0.0.1:{servers[0].port}",
        f"\t   default - http://127.0.0.1:{servers[1].port}",
    ]
    assert server.stop() == 0
