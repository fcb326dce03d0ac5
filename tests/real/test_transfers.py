"""`amazin put`, `get`, `ls`, `rm` and `cp` as processes, against a gateway process."""

from __future__ import annotations

import json
import os
import random
import select
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.gateway_process import GatewayProcess
from tests.support.paths import PROJECT

pytestmark = pytest.mark.integration
FILES = 200
LARGE_BYTES = 96 * 2**20
MAX_RESIDENT_KIB = 100 * 1024
PATIENCE_SECONDS = 60.0
MEASURED = """
import sys
from amazin.cli.main import main
main(sys.argv[1:], standalone_mode=False)
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""
ATTEMPTS = 10
"""To hit a process in the middle of its work."""
SETTINGS = {"DISCOVERY": "folders", "WORKERS": "1"}
HOSTILE = [
    "100% sure?#&+;=.txt",
    "/leading",
    "//two",
    "a//b",
    "../up",
    "a/../b",
    ".",
    "..",
    "trailing/",
    " spaces ",
    "new\nline",
    "\x1b[31mred",
    "ünï/cödé/\U0001f600",
    "%2F",
    "%00",
    "a\\b",
    "list/list",
    "-r",
    "x" * 1000,
]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway on folders."""
    folder = tmp_path_factory.mktemp("gateway")
    (folder / "data").mkdir()
    settings = {**SETTINGS, "DATA_DIR": str(folder / "data")}
    with GatewayProcess(folder, settings) as process:
        yield process


@pytest.fixture
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway for one test, which may kill it, with a bucket `photos`."""
    folder = tmp_path_factory.mktemp("mortal")
    (folder / "data").mkdir()
    settings = {**SETTINGS, "DATA_DIR": str(folder / "data")}
    with GatewayProcess(folder, settings) as process:
        assert process.ask("POST", "/buckets/photos").status == 201
        yield process


@pytest.fixture
def bucket(gateway: GatewayProcess, request: pytest.FixtureRequest) -> Iterator[str]:
    """A bucket for one test, whose objects end with it."""
    name = f"b{abs(hash(request.node.name)) % 10**9}x"
    assert gateway.ask("POST", f"/buckets/{name}").status == 201
    yield name
    assert amazin(gateway, "rm", "-r", name, "--yes").returncode == 0


def start(gateway: GatewayProcess, *arguments: str) -> subprocess.Popen[bytes]:
    """Start a command."""
    environ = {**os.environ, "AMAZIN_URL": f"http://127.0.0.1:{gateway.port}"}
    return subprocess.Popen(
        [sys.executable, "-m", "amazin.cli", *arguments],
        env=environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def amazin(
    gateway: GatewayProcess, *arguments: str, data: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    """Run a command to its end."""
    with start(gateway, *arguments) as process:
        out, err = process.communicate(data, timeout=PATIENCE_SECONDS)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)


def well(gateway: GatewayProcess, *arguments: str, data: bytes = b"") -> bytes:
    """Run a command that must succeed; returns its output."""
    done = amazin(gateway, *arguments, data=data)
    assert (done.returncode, done.stderr) == (0, b""), done
    return done.stdout


def make_tree(folder: Path, files: int = FILES, seed: int = 1) -> None:
    """Fill a folder."""
    random_ = random.Random(seed)
    for number in range(files):
        parts = ["sub ä", "#?%", "."][: number % 3]
        path = folder.joinpath(*parts, f"file {number}%.bin")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(random_.randbytes(random_.choice((0, 1, 999, 70_000))))


def files(folder: Path) -> Mapping[str, bytes]:
    """Return all that lies below a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def large_object(gateway: GatewayProcess, place: Path, address: str) -> bytes:
    """Store a large object; returns its bytes."""
    data = random.Random(2).randbytes(LARGE_BYTES)
    (place / "large").write_bytes(data)
    well(gateway, "put", str(place / "large"), address)
    (place / "large").unlink()
    return data


def wait_until(is_so: Callable[[], bool], process: subprocess.Popen[bytes]) -> bool:
    """Wait; False: the process ended before it was so."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline
        if process.poll() is not None:
            return False
        time.sleep(0.0005)
    return True


def partial_bytes(folder: Path) -> int:
    """Return how much of a download has come."""
    return sum(path.stat().st_size for path in folder.glob(".*.amazin-part"))


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a command as a power cut does."""
    process.kill()
    process.communicate(timeout=PATIENCE_SECONDS)


class CuttingProxy:
    """Lets through some bytes of each connection, either way, and resets it."""

    def __init__(self, port: int, most_bytes: int) -> None:
        self._target = ("127.0.0.1", port)
        self._random = random.Random(4)
        self._most = most_bytes
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.cuts = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Accept nothing any more."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                left = self._random.randrange(self._most)
                threading.Thread(target=self._pass, args=(sock, left)).start()

    def _pass(self, client: socket.socket, left: int) -> None:
        with client, socket.create_connection(self._target) as server:
            for sock in (client, server):
                reset = struct.pack("ii", 1, 0)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
            other = {client: server, server: client}
            with suppress(OSError):
                while left:
                    for sock in select.select([client, server], [], [], 20)[0]:
                        data = sock.recv(min(left, 2**16))
                        if not data:
                            return
                        other[sock].sendall(data)
                        left -= len(data)
        self.cuts += 1


def test_a_network_that_cuts_every_connection_is_outlasted(
    gateway: GatewayProcess, bucket: str, tmp_path: Path
) -> None:
    make_tree(tmp_path / "one", 60)
    (tmp_path / "one" / "large").write_bytes(random.Random(5).randbytes(3 * 10**6))
    place = f"{bucket}/t"
    cutting = CuttingProxy(gateway.port, 10**7)  # an upload has to come through whole
    url = f"http://127.0.0.1:{cutting.port}"
    words = ("cp", "-r", str(tmp_path / "one"), place, "--url", url)
    codes = (amazin(gateway, *words).returncode for _ in range(ATTEMPTS))
    assert 0 in codes  # begun again, until all is there
    cutting.close()
    cutting = CuttingProxy(gateway.port, 10**6)
    url = f"http://127.0.0.1:{cutting.port}"
    well(gateway, "cp", "-r", place, str(tmp_path / "two"), "--url", url)
    assert files(tmp_path / "two") == files(tmp_path / "one")
    assert cutting.cuts
    cutting.close()


def test_a_tree_comes_back_as_it_went(
    gateway: GatewayProcess, bucket: str, tmp_path: Path
) -> None:
    make_tree(tmp_path / "one")
    place = f"{bucket}/2026/tree"
    out = well(gateway, "cp", "-r", str(tmp_path / "one"), place)
    assert out == b"Stored 200 objects, 0 were there already\n"
    well(gateway, "cp", "-r", place, str(tmp_path / "two"))
    assert files(tmp_path / "two") == files(tmp_path / "one")
    for words in (("./one", place), (place, "./two")):
        arguments = [word.replace("./", f"{tmp_path}/") for word in words]
        out = well(gateway, "cp", "-r", *arguments)
        assert out.endswith(b" 0 objects, 200 were there already\n")
    listed = json.loads(well(gateway, "ls", "-r", "--json", bucket))
    assert {entry["key"].removeprefix("2026/tree/") for entry in listed} == set(
        files(tmp_path / "one")
    )
    assert well(gateway, "rm", "-r", place, "--yes") == b"Removed 200 objects\n"
    assert json.loads(well(gateway, "ls", "-r", "--json", bucket)) == []


def test_hostile_keys_are_keys(gateway: GatewayProcess, bucket: str) -> None:
    for key in HOSTILE:
        well(gateway, "put", "-", f"{bucket}/{key}".rstrip("/"), data=key.encode())
    keys = [key.rstrip("/") for key in HOSTILE]
    listed = json.loads(well(gateway, "ls", "-r", "--json", bucket))
    assert sorted(keys) == sorted(entry["key"] for entry in listed)
    plain = well(gateway, "ls", "-r", bucket).decode()
    assert all(line.isprintable() for line in plain.splitlines())
    assert len(plain.splitlines()) == len(keys)
    for key in HOSTILE:
        address = f"{bucket}/{key}".rstrip("/")
        assert well(gateway, "get", address, "-") == key.encode()
    well(gateway, "rm", *[f"{bucket}/{key}" for key in keys])
    assert json.loads(well(gateway, "ls", "-r", "--json", bucket)) == []


def test_an_id_is_an_address_too(gateway: GatewayProcess, tmp_path: Path) -> None:
    well(gateway, "put", "-", "cat1", data=b"meow")
    well(gateway, "get", "cat1", str(tmp_path / "a"))
    assert (tmp_path / "a").read_bytes() == b"meow"
    well(gateway, "rm", "cat1")
    assert amazin(gateway, "get", "cat1", "-").returncode == 1


def test_a_killed_download_is_gone_on_with(
    gateway: GatewayProcess, bucket: str, tmp_path: Path
) -> None:
    data = large_object(gateway, tmp_path, f"{bucket}/large")
    for _ in range(ATTEMPTS):
        process = start(gateway, "get", f"{bucket}/large", str(tmp_path / "copy"))
        if wait_until(lambda: partial_bytes(tmp_path) > 2**20, process):
            kill(process)
            if not (tmp_path / "copy").exists():
                break
        process.communicate(timeout=PATIENCE_SECONDS)
        (tmp_path / "copy").unlink()
    else:
        pytest.fail("it was never hit in the middle")
    here = partial_bytes(tmp_path)
    assert 2**20 < here < len(data)
    before = gateway.log.read_text().count('"status": 206')
    well(gateway, "get", f"{bucket}/large", str(tmp_path / "copy"))
    assert files(tmp_path) == {"copy": data}
    assert gateway.log.read_text().count('"status": 206') == before + 1


def test_a_killed_upload_leaves_nothing_and_is_simply_begun_again(
    gateway: GatewayProcess, bucket: str, tmp_path: Path
) -> None:
    tree = tmp_path / "tree"
    make_tree(tree)
    (tree / "zlarge").write_bytes(random.Random(3).randbytes(LARGE_BYTES // 4))

    def stored() -> list[dict[str, object]]:
        answer = gateway.ask("GET", f"/objects/{bucket}/list")
        found: list[dict[str, object]] = json.loads(answer.body)
        return found

    process = start(gateway, "cp", "-r", str(tree), bucket)
    assert wait_until(lambda: len(stored()) > 20, process)
    kill(process)
    there = len(stored())
    assert there <= FILES
    expected = {name: len(data) for name, data in files(tree).items()}
    assert all(expected[str(e["key"])] == e["size"] for e in stored())
    out = well(gateway, "cp", "-r", str(tree), bucket)
    total = FILES + 1
    words = out.decode().split()
    assert int(words[1]) + int(words[3]) == total
    assert int(words[3]) >= there
    well(gateway, "cp", "-r", bucket, str(tmp_path / "back"))
    assert files(tmp_path / "back") == files(tree)


def test_downloads_survive_a_gateway_that_is_killed(
    mortal: GatewayProcess, tmp_path: Path
) -> None:
    data = large_object(mortal, tmp_path, "photos/large")
    process = start(mortal, "get", "photos/large", str(tmp_path / "copy"))
    is_hit = wait_until(lambda: partial_bytes(tmp_path) > 2**20, process)
    mortal.kill()
    mortal.start()
    _, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, err) == (0, b"")
    assert is_hit
    assert files(tmp_path) == {"copy": data}


def test_a_tree_survives_a_gateway_that_is_killed(
    mortal: GatewayProcess, tmp_path: Path
) -> None:
    make_tree(tmp_path / "one")
    process = start(mortal, "cp", "-r", str(tmp_path / "one"), "photos/t")
    path = "/objects/photos/list?limit=30"
    assert wait_until(
        lambda: len(json.loads(mortal.ask("GET", path).body)) == 30, process
    )
    mortal.kill()
    mortal.start()
    out, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, err) == (0, b"")
    assert b"200 objects" in out
    well(mortal, "cp", "-r", "photos/t", str(tmp_path / "two"))
    assert files(tmp_path / "two") == files(tmp_path / "one")


def test_memory_does_not_grow_with_objects(
    gateway: GatewayProcess, bucket: str, tmp_path: Path
) -> None:
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(2 * LARGE_BYTES)
    for words in (
        ("put", str(path), f"{bucket}/large"),
        ("get", f"{bucket}/large", str(tmp_path / "copy")),
    ):
        url = f"http://127.0.0.1:{gateway.port}"
        command = [sys.executable, "-c", MEASURED, *words, "--url", url]
        out = subprocess.check_output(command, cwd=PROJECT, timeout=PATIENCE_SECONDS)
        assert int(out.split()[-2]) < MAX_RESIDENT_KIB
    assert (tmp_path / "copy").stat().st_size == 2 * LARGE_BYTES


def test_a_disk_that_is_full_keeps_what_was_there(
    gateway: GatewayProcess, bucket: str, tmp_path: Path
) -> None:
    data = large_object(gateway, tmp_path, f"{bucket}/large")
    (tmp_path / "copy").write_bytes(b"old")
    limited = ["sh", "-c", 'ulimit -f 20000; exec "$@"', "sh"]
    command = [sys.executable, "-m", "amazin.cli", "get", f"{bucket}/large"]
    url = f"http://127.0.0.1:{gateway.port}"
    done = subprocess.run(
        [*limited, *command, str(tmp_path / "copy"), "--url", url],
        capture_output=True,
        timeout=PATIENCE_SECONDS,
    )
    assert done.returncode == 1
    assert done.stderr.endswith(b"File too large\n")
    assert (tmp_path / "copy").read_bytes() == b"old"
    well(gateway, "get", f"{bucket}/large", str(tmp_path / "copy"))
    assert files(tmp_path) == {"copy": data}


def test_a_closed_gateway_wants_a_token(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    closed = {"ACCESS": "signed", "API_TOKENS": "t0ken"}
    settings = {**SETTINGS, **closed, "DATA_DIR": str(tmp_path / "data")}
    with GatewayProcess(tmp_path, settings) as process:
        refused = amazin(process, "put", "-", "cat1", data=b"x")
        assert refused.returncode == 1
        assert b"AMAZIN_TOKEN" in refused.stderr
        assert b"AMAZIN_TOKEN" in amazin(process, "ls", "--token", "wrong").stderr
        well(process, "put", "-", "cat1", "--token", "t0ken", data=b"x")


def test_a_reader_that_has_enough_is_no_error(
    gateway: GatewayProcess, bucket: str, tmp_path: Path
) -> None:
    large_object(gateway, tmp_path, f"{bucket}/large")
    with start(gateway, "get", f"{bucket}/large", "-") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(100)
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()
        process.wait(timeout=PATIENCE_SECONDS)
