"""`amazin replicate` on real blob servers: ours, the old program, and its stand-in."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.support.blob_processes import RunningServer, server_of, sha1
from tests.support.old_sos import KINDS, SOS
from tests.support.paths import PROJECT
from tests.support.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.integration

LIMITS = {"NODE_ANSWER_TIMEOUT": "5", "NODE_TRANSFER_TIMEOUT": "5"}
BIG = bytes(range(256)) * 2**15
"""8 MiB: many pieces."""


NewServer = Callable[[str], RunningServer]
kinds = pytest.mark.parametrize("kind", ("ours", *KINDS))
mixtures = pytest.mark.parametrize(
    "mixture",
    [("ours",) * 3, *[m for k in KINDS for m in ((k,) * 3, ("ours", k, "ours"))]],
    ids="-".join,
)


@pytest.fixture
def new_server(tmp_path: Path) -> Iterator[NewServer]:
    made: list[RunningServer] = []

    def make(kind: str) -> RunningServer:
        made.append(server_of(kind, tmp_path / f"store-{len(made)}"))
        made[-1].start()
        return made[-1]

    yield make
    for server in made:
        server.kill()


class PausingHandler(BaseHTTPRequestHandler):
    """Answers for a `PausingSource`."""

    protocol_version = "HTTP/1.1"

    def __init__(self, source: PausingSource, *arguments: Any) -> None:
        self._source = source
        super().__init__(*arguments)

    def do_GET(self) -> None:
        if self.path == "/alive":
            self._send_head(5)
            self.wfile.write(b"alive")
        elif self.path == f"/blob/{self._source.blob_id}":
            self._send_blob(self._source.data)
        else:
            body = json.dumps([self._source.blob_id]).encode()
            self._send_head(len(body))
            self.wfile.write(body)

    def _send_blob(self, data: bytes) -> None:
        self._send_head(len(data))
        self.wfile.write(data[: len(data) // 2])
        self._source.sent_half.set()
        self._source.go_on.wait(60)
        if self._source.is_cut:
            self.close_connection = True
        else:
            self.wfile.write(data[len(data) // 2 :])

    def _send_head(self, length: int) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Nothing is logged."""


class PausingServer(ThreadingHTTPServer):
    """A thread for each connection, which may end with the test."""

    daemon_threads = True

    def handle_error(self, *args: object) -> None:
        """Whoever was killed reads no more."""


class PausingSource:
    """An old blob server with one blob, which sends half of it and then waits."""

    def __init__(self, data: bytes, blob_id: str = "") -> None:
        self.data = data
        self.blob_id = blob_id or sha1(data)
        self.sent_half = threading.Event()
        self.go_on = threading.Event()
        self.is_cut = False
        handler = partial(PausingHandler, self)
        self._server = PausingServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,)).start()

    def cut(self) -> None:
        """Send no more."""
        self.is_cut = True
        self.close()

    def close(self) -> None:
        self.go_on.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def pausing() -> Iterator[PausingSource]:
    source = PausingSource(BIG)
    yield source
    source.close()


def command(servers: Sequence[str], *options: str) -> list[str]:
    given = ["-blob-server", ",".join(servers)] if servers else []
    return [sys.executable, "-m", "amazin.cli", "replicate", *given, *options]


def environment(home: Path) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "SPOOL_DIR": str(home),
        **LIMITS,
    }


class Replicate:
    """Runs the command on servers, in an environment of the test's own."""

    def __init__(self, home: Path) -> None:
        self._home = home

    def __call__(
        self, servers: Sequence[str], *options: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command(servers, *options),
            cwd=PROJECT,
            env=environment(self._home),
            capture_output=True,
            text=True,
            timeout=120,
        )

    @contextmanager
    def start(
        self, servers: Sequence[str], *options: str
    ) -> Iterator[subprocess.Popen[str]]:
        """Run it meanwhile; whoever waits for its end does so before."""
        with subprocess.Popen(
            command(servers, *options),
            cwd=PROJECT,
            env=environment(self._home),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()


@pytest.fixture
def replicate(tmp_path: Path) -> Replicate:
    return Replicate(tmp_path)


@mixtures
def test_three_servers_with_sets_of_their_own_get_all(
    mixture: Sequence[str], new_server: NewServer, replicate: Replicate
) -> None:
    servers = [new_server(kind) for kind in mixture]
    expected = {}
    for number, server in enumerate(servers):
        for data in (b"small %d" % number, BIG + b"%d" % number):
            blob_id = server.put(data, **{"X-Owner": f"o{number}"})
            expected[blob_id] = (data, f"o{number}")
    servers[0].put(b"", "empty")
    expected["empty"] = (b"", None)
    done = replicate([server.url for server in servers])
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("copied 7 blobs (50.")
    for server in servers:
        assert server.ids() == set(expected)
        for blob_id, (data, owner) in expected.items():
            answer = server.ask("GET", f"/blob/{blob_id}")
            assert answer.body == data
            assert answer.headers["X-Owner"] == owner
    again = replicate([server.url for server in servers], "--check")
    assert (again.returncode, again.stderr) == (0, "")
    assert again.stdout == "copied 0 blobs (0 bytes), looked at 7 blobs\n"


@kinds
def test_the_quick_start_of_the_old_documentation(
    kind: str, new_server: NewServer, replicate: Replicate
) -> None:
    one, two = new_server(kind), new_server(kind)
    blob_id = two.put(b"root:x:0:0:root:/root:/bin/bash\n")
    urls = [one.url, two.url]
    done = replicate(urls, "--verbose")
    assert done.returncode == 0
    assert done.stdout == (
        "\t     group - server\n"
        f"\t   default - {one.url}\n"
        f"\t   default - {two.url}\n"
        "Syncing group: default\n"
        f"\tGroup member: {one.url}\n"
        f"\tGroup member: {two.url}\n"
        f"\tObject {blob_id} is missing on {one.url}\n"
        f"\t\tMirroring {blob_id} from {two.url} to {one.url}\n"
        f"\tFetching :{two.url}/blob/{blob_id}\n"
        f"\tUploading :{one.url}/blob/{blob_id}\n"
    )
    assert one.get(blob_id) == b"root:x:0:0:root:/root:/bin/bash\n"


@pytest.mark.skipif(not SOS, reason="SOS names no binary of the old program")
def test_both_programs_say_the_same_lines(
    new_server: NewServer, replicate: Replicate
) -> None:
    def filled() -> list[RunningServer]:
        servers = [new_server("sos"), new_server("ours")]
        for server, numbers in zip(servers, (range(6), range(4, 9)), strict=True):
            for number in numbers:
                server.put(b"%d" % number)
        return servers

    def lines(output: str, servers: Sequence[RunningServer]) -> list[str]:
        for number, server in enumerate(servers):
            output = output.replace(server.url, f"http://server-{number}")
        return sorted(output.splitlines())

    old, new = filled(), filled()
    given = ",".join(server.url for server in old)
    theirs = subprocess.run(
        [SOS, "replicate", "-verbose", "-blob-server", given],
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE_SECONDS,
    )
    ours = replicate([server.url for server in new], "-verbose")
    assert lines(ours.stdout, new) == lines(theirs.stdout, old)


def test_groups_of_the_configuration_file_do_not_mix(
    new_server: NewServer, replicate: Replicate, tmp_path: Path
) -> None:
    servers = [new_server("ours") for _ in range(4)]
    ids = [server.put(b"from %d" % n) for n, server in enumerate(servers)]
    a, b, c, d = (server.url for server in servers)
    text = f"# Two groups\n[1]\n-: {a}\n-: {b}\n[2]\n-: {c}\n-: {d}\n"
    (tmp_path / ".sos.conf").write_text(text)
    done = replicate([])
    assert done.returncode == 0
    assert [server.ids() for server in servers] == 2 * [set(ids[:2])] + 2 * [
        set(ids[2:])
    ]


@kinds
def test_a_dead_server_is_said_and_the_others_are_mirrored(
    kind: str, new_server: NewServer, replicate: Replicate
) -> None:
    one, dead, two = (new_server(kind) for _ in range(3))
    ids = {one.put(b"one"), two.put(b"two")}
    dead.kill()
    done = replicate([one.url, dead.url, two.url])
    assert done.returncode == 1
    assert done.stderr == f"{dead.url} was left out: no connection to the node\n"
    assert one.ids() == two.ids() == ids


@mixtures
def test_different_contents_are_reported_and_stay(
    mixture: Sequence[str], new_server: NewServer, replicate: Replicate
) -> None:
    one, two, three = (new_server(kind) for kind in mixture)
    one.put(b"first", "custom")
    two.put(b"other", "custom")
    done = replicate([one.url, two.url, three.url])
    assert done.returncode == 1
    assert done.stderr.startswith("custom has different contents: ")
    assert [s.get("custom") for s in (one, two, three)] == [b"first", b"other", None]


@mixtures
def test_wrong_bytes_are_never_stored(
    mixture: Sequence[str], new_server: NewServer, replicate: Replicate
) -> None:
    bad, empty, good = (new_server(kind) for kind in mixture)
    small, big = bad.put(b"wrong", sha1(b"right")), bad.put(BIG, sha1(BIG[1:]))
    done = replicate([bad.url, empty.url])
    assert done.returncode == 1
    assert f"{small} is damaged on {bad.url}" in done.stderr
    assert f"{big} is damaged on {bad.url}" in done.stderr
    assert empty.ids() == set()
    good.put(BIG[1:])
    done = replicate([bad.url, empty.url, good.url], "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["copied"] == 1
    assert empty.get(big) == BIG[1:]


@kinds
def test_a_kill_in_the_middle_leaves_nothing_and_the_next_run_all(
    kind: str,
    new_server: NewServer,
    replicate: Replicate,
    pausing: PausingSource,
) -> None:
    target, other = new_server(kind), new_server(kind)
    urls = [pausing.url, target.url]
    with replicate.start(urls):
        assert pausing.sent_half.wait(60)
    assert target.get(pausing.blob_id) is None
    assert target.ids() == set()
    other.put(BIG)
    done = replicate([target.url, other.url])
    assert done.returncode == 0
    assert target.get(pausing.blob_id) == BIG


@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM])
@kinds
def test_a_signal_ends_it_at_once(
    kind: str,
    which: signal.Signals,
    new_server: NewServer,
    replicate: Replicate,
    pausing: PausingSource,
) -> None:
    target = new_server(kind)
    with replicate.start([pausing.url, target.url], "-v") as process:
        assert pausing.sent_half.wait(60)
        process.send_signal(which)
        output, errors = process.communicate(timeout=10)
    assert process.returncode == 128 + which
    assert errors == "Stopped. Begin it again at any time.\n"
    assert "Group member" in output
    assert target.ids() == set()


@kinds
def test_a_target_killed_in_the_middle_has_nothing_half(
    kind: str,
    new_server: NewServer,
    replicate: Replicate,
    pausing: PausingSource,
) -> None:
    target = new_server(kind)
    with replicate.start([pausing.url, target.url]) as process:
        assert pausing.sent_half.wait(60)
        target.kill()
        pausing.go_on.set()
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors.startswith(f"{pausing.blob_id} can't be copied to {target.url}: ")
    target.start()
    assert target.ids() == set()
    assert replicate([pausing.url, target.url]).returncode == 0
    assert target.get(pausing.blob_id) == BIG


@pytest.mark.parametrize("kind", KINDS)
def test_what_an_old_server_gets_in_the_middle_is_not_replaced(
    kind: str, new_server: NewServer, replicate: Replicate
) -> None:
    pausing = PausingSource(BIG, "custom")
    target = new_server(kind)
    with replicate.start([pausing.url, target.url]) as process:
        assert pausing.sent_half.wait(60)
        target.put(b"theirs", "custom")
        pausing.close()
        assert process.wait(60) == 0
    assert target.get("custom") == b"theirs"


@kinds
def test_a_source_that_ends_early_is_no_source(
    kind: str, new_server: NewServer, replicate: Replicate
) -> None:
    source = PausingSource(BIG, "custom")
    target = new_server(kind)
    with replicate.start([source.url, target.url]) as process:
        assert source.sent_half.wait(60)
        source.cut()
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"custom can't be copied to {target.url}: {source.url}: " in errors
    assert target.ids() == set()


@kinds
def test_two_at_once_do_no_harm(
    kind: str, new_server: NewServer, replicate: Replicate
) -> None:
    one, two = new_server(kind), new_server(kind)
    ids = {one.put(b"%d" % number * 999) for number in range(100)}
    ids |= {two.put(b"%d" % number * 888) for number in range(100)}
    urls = [one.url, two.url]
    with replicate.start(urls) as first, replicate.start(urls) as second:
        assert [first.wait(60), second.wait(60)] == [0, 0]
    assert one.ids() == two.ids() == ids
    assert replicate(urls, "--check").returncode == 0


@kinds
def test_a_frozen_server_is_left_out_in_seconds(
    kind: str, new_server: NewServer, replicate: Replicate
) -> None:
    one, frozen, two = (new_server(kind) for _ in range(3))
    blob_id = one.put(b"one")
    frozen.freeze()
    try:
        done = replicate([one.url, frozen.url, two.url])
    finally:
        frozen.thaw()
    assert done.returncode == 1
    assert done.stderr.startswith(f"{frozen.url} was left out: ")
    assert two.ids() == {blob_id}


MEASURED = """
import resource, subprocess, sys
status = subprocess.run(sys.argv[1:]).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(status)
"""
"""Runs a program, and prints the most memory that it had, in KiB."""


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("kind", "count"), [("ours", 30_000), (KINDS[-1], 10_000)])
def test_a_tenth_of_many_blobs_takes_no_memory(
    kind: str, count: int, new_server: NewServer, tmp_path: Path
) -> None:
    source, target = new_server(kind), new_server(kind)
    contents = {sha1(b"%d" % number): b"%d" % number for number in range(count)}
    for place, (name, data) in enumerate(contents.items()):
        (source.folder / name).write_bytes(data)
        if place % 10:
            (target.folder / name).write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, *command([source.url, target.url])],
        cwd=PROJECT,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.returncode, done.stderr) == (0, "")
    summary, peak_kib = done.stdout.splitlines()
    assert summary.startswith(f"copied {count // 10} blobs (")
    assert target.ids() == set(contents)
    assert int(peak_kib) < 80 * 1024
