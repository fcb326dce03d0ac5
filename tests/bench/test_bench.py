"""The measuring itself: figures, verdicts, the picture, and a client that verifies."""

from __future__ import annotations

import json
import math
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from bench.cells import CELLS, Contender, job_of
from bench.client import (
    BadAnswerError,
    Job,
    Load,
    Request,
    encode,
    read_chunks,
    read_head,
)
from bench.fake_nodes import Node, body_length
from bench.field import in_turns
from bench.picture import SHOWN, picture
from bench.processes import MemoryWatch, total_cpu, tree
from bench.programs import parse_peers
from bench.report import has_errors, report
from bench.stats import markdown, over_rounds, percentile, span
from bench.targets import ABSENT, FAULTY, MET, MISSED, UNCLEAR, Target, find_targets
from tests.support.paths import PROJECT
from tests.support.servers import find_binary

PATIENCE_SECONDS = 30.0
NAMES = ("nginx", "haproxy", "node", "gunicorn")
Answerer = Callable[[bytes], bytes]
Serve = Callable[[Answerer], int]


def job(port: int = 0, **changes: Any) -> Job:
    values: dict[str, Any] = {
        "path": "/object/{key}",
        "keys": ["a", "b"],
        "size": 5,
        "shares": {"GET": 1.0},
        "connections": 2,
        "each": 3,
    }
    return Job(port, **{**values, **changes})


def receive_request(connection: socket.socket) -> bytes:
    """Receive a whole request; empty at the connection's end."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            return b""
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    missing = body_length(head + b"\r\n\r\n") - len(body)
    while missing > 0:
        missing -= len(connection.recv(65536))
    return head


@pytest.fixture
def serve() -> Iterator[Serve]:
    """A function that starts a server on loopback; returns its port."""
    with ExitStack() as stack:

        def start(answer: Answerer) -> int:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            thread = threading.Thread(target=accept, args=(listener, answer))
            thread.start()
            stack.callback(thread.join, PATIENCE_SECONDS)
            stack.callback(listener.shutdown, socket.SHUT_RDWR)
            port: int = listener.getsockname()[1]
            return port

        yield start


def accept(listener: socket.socket, answer: Answerer) -> None:
    with suppress(OSError):
        while True:
            connection, _ = listener.accept()
            connection.settimeout(PATIENCE_SECONDS)
            threading.Thread(target=converse, args=(connection, answer)).start()


def converse(connection: socket.socket, answer: Answerer) -> None:
    with connection, suppress(OSError):
        while head := receive_request(connection):
            data = answer(head)
            connection.sendall(data)
            if not data or b"Connection: close" in data:
                return


def good(head: bytes) -> bytes:
    if head.startswith(b"PUT"):
        return b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}"
    body = b"" if head.startswith(b"HEAD") else b"01234"
    return b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n" + body


def test_percentile_is_the_value_that_so_large_a_share_is_not_above() -> None:
    assert percentile(range(100), 0.5) == 50
    assert percentile(range(100), 0.99) == 99
    assert percentile([3.0], 0.99) == 3.0
    assert percentile([], 0.5) == 0.0


def test_rounds_are_shown_as_median_least_and_greatest() -> None:
    found = over_rounds([3.0, 1.0, 2.5])
    assert found == {"median": 2.5, "min": 1.0, "max": 3.0}
    assert span(found, 1) == "2.5 (1.0-3.0)"


def test_a_table_has_a_line_under_its_head() -> None:
    assert markdown(("a", "long"), [("wide", "b")]).splitlines() == [
        "| a    | long |",
        "| ---- | ---- |",
        "| wide | b    |",
    ]


@pytest.mark.parametrize(
    ("values", "is_most", "verdict"),
    [
        ([1.0, 1.1, 2.0], False, MET),
        ([0.9, 1.1, 2.0], False, UNCLEAR),
        ([0.9, 0.8, 0.99], False, MISSED),
        ([0.5, 1.0], True, MET),
        ([0.5, 1.01], True, UNCLEAR),
        ([1.01], True, MISSED),
        ([0.5, math.nan], True, FAULTY),
        ([], True, ABSENT),
    ],
)
def test_a_target_is_met_or_missed_in_all_rounds(
    values: Sequence[float], is_most: bool, verdict: str
) -> None:
    assert Target("work", 1.0, "x", values, is_most).verdict == verdict


def one_round(rate: float) -> dict[str, Any]:
    return {
        "rate": rate,
        "p50": 0.001,
        "p99": 0.002,
        "cpu": 0.0002,
        "nodes_cpu": 0.0001,
        "client_cpu": 0.00002,
        "errors": {},
        "peak": 1024,
    }


@pytest.fixture
def result() -> dict[str, Any]:
    """All parts as if measured: two rounds, the second one at half the speed."""
    cells = {
        cell.name: {name: [one_round(100.0), one_round(50.0)] for name in NAMES}
        for cell in CELLS
    }
    cells["GET 1 KiB, 16"]["gunicorn"] = [one_round(40.0), one_round(25.0)]
    pair = {"without": [one_round(9.0)], "with": [one_round(8.0)]}
    small = {"GET 1 KiB, 16": {"3": [one_round(9.0)], "100": [one_round(8.0)]}}
    crowd = {"there": 1000, "downloads": 500, "cpus": 0.1}
    return {
        "machine": {"cpus": 2},
        "main": cells,
        "slow": {"gunicorn": {**pair, "slow": [crowd]}},
        "nodes": small,
        "memory": {"gunicorn": {"idle": [30 << 20], "GET 64 KiB": [one_round(1.0)]}},
        "two": {"GET 1 KiB, 16": {"one": [one_round(1.0)], "two": [one_round(2.0)]}},
    }


def test_ratios_are_of_the_same_round(result: dict[str, Any]) -> None:
    (rate,) = (
        target
        for target in find_targets(result)
        if target.unit == "x nginx" and target.work.endswith("gunicorn")
    )
    assert rate.values == [0.4, 0.5]
    assert rate.verdict == UNCLEAR


def test_who_was_not_measured_is_shown_to_be_missing(result: dict[str, Any]) -> None:
    for columns in result["main"].values():
        del columns["gunicorn"]
    verdicts = {target.verdict for target in find_targets({"main": result["main"]})}
    assert verdicts == {ABSENT}
    assert find_targets({}) == []
    del result["main"]["GET 1 KiB, 1"]
    assert "1 connection" not in report(result)


def test_no_target_is_met_by_errors(result: dict[str, Any]) -> None:
    """A gateway that refuses everything is fast, and takes neither CPU nor memory."""
    assert not has_errors(result)
    fast = {**one_round(0.0), "p50": 0.0, "p99": 0.0, "cpu": 0.0, "peak": 0}
    refused = {**fast, "errors": {"status 503": 9}}
    for part in (*result["main"].values(), result["memory"]):
        part["gunicorn"] = [refused, refused]
    crowded = {key: [refused] for key in ("with", "without", "slow")}
    result["slow"]["gunicorn"] = crowded
    result["memory"] = {"gunicorn": {"idle": [1], "GET 64 KiB": [refused]}}
    result["nodes"] = {"GET 1 KiB, 16": {"3": [fast], "100": [refused]}}
    verdicts = {target.verdict for target in find_targets(result)}
    assert verdicts == {FAULTY, ABSENT}
    assert has_errors(result)


def test_a_peer_is_to_be_outdone(result: dict[str, Any]) -> None:
    result["main"]["GET 1 KiB, 16"]["other"] = [one_round(10.0), one_round(10.0)]
    (target,) = (
        target
        for target in find_targets(result)
        if target.unit == "x other" and target.work.endswith("gunicorn")
    )
    assert target.values == [4.0, 2.5]
    assert target.verdict == MET


@pytest.mark.parametrize("count", range(2, 8))
def test_each_is_first_as_often_as_the_others(count: int) -> None:
    names = [str(number) for number in range(count)]
    orders = [in_turns(names, number) for number in range(2 * count)]
    assert all(sorted(order) == names for order in orders)
    for place in (0, -1):
        assert sorted(order[place] for order in orders) == sorted(2 * names)
    assert orders[:count] != orders[count:]


def test_who_is_left_out_is_told(result: dict[str, Any]) -> None:
    left_out = {"nginx": "not installed"}
    assert "Left out: nginx not installed" in report({**result, "left_out": left_out})


def test_the_report_has_every_part_and_every_error(result: dict[str, Any]) -> None:
    result["main"]["PUT 1 KiB, 16"]["nginx"][1]["errors"] = {"status 503": 7}
    text = report(result)
    for title in ("Targets", "Compared", "Slow", "100 nodes", "Memory", "two"):
        assert title in text
    assert "nginx, PUT 1 KiB, 16: {'status 503': 7}" in text


def test_the_picture_is_xml_with_a_bar_for_each_contender(
    result: dict[str, Any],
) -> None:
    root = ElementTree.fromstring(picture(result["main"]))
    space = "{http://www.w3.org/2000/svg}"
    assert len(root.findall(f".//{space}rect")) == len(SHOWN) * len(NAMES)
    assert len(root.findall(f".//{space}line")) == len(SHOWN) * len(NAMES)
    assert "prefers-color-scheme: dark" in picture(result["main"])


def test_peers_are_named_one_a_line() -> None:
    first, second = parse_peers("a=run --port {port}\nb = go '{nodes}';path=/x/{key}")
    assert (first.name, list(first.command)) == ("a", ["run", "--port", "{port}"])
    assert first.path == "/object/{key}"
    assert (second.name, second.path) == ("b", "/x/{key}")
    assert list(second.command) == ["go", "{nodes}"]
    with pytest.raises(ValueError, match="name=command"):
        parse_peers("nonsense")


def head(text: str) -> bytes:
    return text.encode().replace(b"\n", b"\r\n")


def test_a_good_answer_says_its_length_and_whether_it_is_the_last() -> None:
    get, put = (Request(job(), method, "a") for method in ("GET", "PUT"))
    assert read_head(head("HTTP/1.1 200 OK\nContent-Length: 5\n"), get) == (5, False)
    last = head("HTTP/1.1 201 Created\nConnection: close\nContent-Length: 77\n")
    assert read_head(last, put) == (77, True)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("HTTP/1.1 404 No\nContent-Length: 5\n", "status 404"),
        ("HTTP/1.1 206 Part\nContent-Length: 5\n", "status 206"),
        ("HTTP/1.1 200 OK\nContent-Length: 4\n", "length 4"),
        ("HTTP/1.1 200 OK\nServer: old\n", "no Content-Length"),
        ("SSH-2.0-server\n", "not HTTP"),
    ],
)
def test_any_other_answer_is_bad(text: str, why: str) -> None:
    with pytest.raises(BadAnswerError, match=why):
        read_head(head(text), Request(job(), "GET", "a"))


def test_a_job_passes_as_json() -> None:
    contender = Contender("nginx", 80, "/nginx/{key}")
    for cell in CELLS:
        assert '"port": 80' in encode(job_of(cell, contender, 1.0))


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT"])
def test_each_connection_asks_so_often(serve: Serve, method: str) -> None:
    found = Load(job(serve(good), shares={method: 1.0})).run()
    assert (found["answers"], found["errors"]) == (6, {})
    assert 0 < found["p50"] <= found["p99"]


def test_a_mix_goes_on_for_so_long(serve: Serve) -> None:
    mix = {"GET": 0.5, "PUT": 0.5}
    found = Load(job(serve(good), shares=mix, each=0, seconds=0.2)).run()
    assert found["answers"] > 2
    assert found["errors"] == {}
    assert found["seconds"] >= 0.2


def test_the_first_moments_are_not_timed(serve: Serve) -> None:
    load = Load(job(serve(good), each=0, seconds=0.1, warm_seconds=0.1))
    found = load.run()
    assert load.untimed > 0
    assert found["answers"] == load.untimed + len(load.latencies)
    assert found["rate"] == len(load.latencies) / found["seconds"]


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_large_bodies_are_streamed_and_counted(serve: Serve, method: str) -> None:
    size = 3_000_000

    def answer(head: bytes) -> bytes:
        if head.startswith(b"PUT"):
            return good(head)
        start = f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n"
        return start.encode() + bytes(size)

    found = Load(job(serve(answer), shares={method: 1.0}, size=size)).run()
    assert (found["answers"], found["errors"]) == (6, {})


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def test_small_answers_may_come_in_chunks(serve: Serve) -> None:
    chunks = b"2\r\n01\r\n3\r\n234\r\n0\r\n\r\n"
    get = Request(job(), "GET", "a")
    for end in range(len(chunks)):
        assert not read_chunks(chunks[:end], get)
    assert read_chunks(chunks, get)
    found = Load(job(serve(lambda head: CHUNKED + chunks))).run()
    assert (found["answers"], found["errors"]) == (6, {})


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (CHUNKED + b"3\r\n012\r\n0\r\n\r\n", "length 3 in chunks"),
        (CHUNKED + b"5\r\n01234\r\n0\r\n\r\nmore", "length 5 in chunks"),
        (b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", "status 503"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n012345", "length 6"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n012345", "too long"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n012",
            "cut off",
        ),
        (b"", "closed"),
    ],
)
def test_wrong_answers_are_errors_not_answers(
    serve: Serve, answer: bytes, why: str
) -> None:
    found = Load(job(serve(lambda head: answer))).run()
    assert (found["answers"], found["errors"]) == (0, {why: 6})


def test_a_last_answer_on_a_connection_is_followed_by_another_connection(
    serve: Serve,
) -> None:
    def answer(head: bytes) -> bytes:
        return good(head).replace(b"\r\n", b"\r\nConnection: close\r\n", 1)

    found = Load(job(serve(answer))).run()
    assert (found["answers"], found["errors"]) == (6, {})


def test_nobody_there_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    found = Load(job(port)).run()
    assert found["answers"] == 0
    assert found["errors"] == {"connection: Connection refused": 1}


def test_cpu_and_memory_of_this_process_can_be_read() -> None:
    pid = os.getpid()
    assert pid in tree(pid)
    before = total_cpu([pid])
    sum(range(200_000))
    assert total_cpu([pid]) > before > 0
    watch = MemoryWatch([pid])
    assert watch.idle() > 2**20
    held = bytearray(30_000_000)
    assert watch.peak_over_idle() > 20_000_000
    del held


def test_the_cpu_of_what_has_ended_counts() -> None:
    before = total_cpu([os.getpid()])
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    command = [sys.executable, "-c", burn]
    subprocess.run(command, timeout=PATIENCE_SECONDS, check=True)
    assert 0.25 <= total_cpu([os.getpid()]) - before < 1.5


def test_a_load_that_is_none_is_refused() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--cells", "nonsense"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 2
    assert "no load has 'nonsense' in its name" in done.stderr


def test_a_fake_node_forgets_a_ready_answer_when_its_object_changes() -> None:
    node = Node()
    host = b"Host: x\r\n"
    put = b"PUT /store/a HTTP/1.1\r\n" + host + b"Content-Length: 1\r\n\r\n"
    get = b"GET /store/a HTTP/1.1\r\n" + host + b"\r\n"
    node.answer(b"PUT /store HTTP/1.1\r\n" + host + b"\r\n", b"")
    for body in (b"1", b"2"):
        node.answer(put, body)
        assert node.answer(get, b"").endswith(b"\r\n\r\n" + body)
        assert node.answer(get, b"") == node.answer(get, b"")
    assert body_length(put) == 1
    assert body_length(get) == 0


@pytest.mark.integration
@pytest.mark.timeout(300)
def test_a_short_comparison_has_no_errors(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    command = [sys.executable, "-m", "bench", "--rounds", "1", "--seconds", "0.2"]
    command += ["--only", "main", "slow", "nodes", "two", "--slow-clients", "100"]
    command += ["--cells", "1 KiB, 1", "--json", str(figures)]
    minio = {"MINIO": find_binary("MINIO", "minio")}
    done = subprocess.run(
        command,
        cwd=PROJECT,
        env={**os.environ, **minio},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(figures.read_text())
    cells = result["main"]
    wanted = {"node", "gunicorn", "gunicorn r=2", "nginx", "haproxy"}
    assert cells["GET 1 KiB, 1"].keys() == wanted - result["left_out"].keys()
    assert result["slow"].keys() >= {"gunicorn", "gunicorn gthread"}
    assert result["nodes"]["GET 1 KiB, 16"].keys() == {"3", "100"}
    for columns in cells.values():
        for rounds in columns.values():
            assert [one["errors"] for one in rounds] == [{}]
            assert rounds[0]["answers"] > 0
