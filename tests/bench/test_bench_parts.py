"""What the measuring is made of: peers as processes, load when answers fail, steps."""

from __future__ import annotations

import shlex
import socket
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import cast

import pytest

from amazin.nodes.transport.connection import Connection
from bench.client import Job, Load
from bench.failures import print_first_answers
from bench.load import Client, Sample, run_load
from bench.outage import Outage, describe, first_answer, summarise_first_answers
from bench.programs import (
    Peer,
    Program,
    find_program,
    haproxy,
    nginx,
    peer_program,
    takes_connections,
)
from bench.steps import Peer as AnsweredPeer
from bench.steps import steps
from tests.support.ports import free_port

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n"
SERVE = "import http.server as h; h.test(h.SimpleHTTPRequestHandler, port={port})"
IS_ANSWERED = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
IS_REFUSED = "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"


class Node(ThreadingHTTPServer):
    """Keeps what is uploaded."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), NodeHandler)
        self.stored: dict[str, bytes] = {}


class NodeHandler(BaseHTTPRequestHandler):
    """Answers with what was uploaded, or 404."""

    protocol_version = "HTTP/1.1"
    server: Node

    def do_PUT(self) -> None:
        size = int(self.headers["Content-Length"])
        self.server.stored[self.path] = self.rfile.read(size)
        self.reply(200, b"")

    def do_GET(self) -> None:
        found = self.server.stored.get(self.path)
        self.reply(404 if found is None else 200, found or b"")

    def reply(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def running(server: Node) -> Iterator[Node]:
    """Have a node serve; one that is closed before stays so."""
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server
    finally:
        end(server)
        thread.join()


def end(server: Node) -> None:
    """Stop listening. Its connections live on until the other side closes them."""
    server.shutdown()
    server.server_close()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        yield listener


@pytest.fixture
def behind(listener: socket.socket) -> Iterator[Callable[[Callable[[], None]], int]]:
    """Have a thread do something as the server; returns its port."""
    with ExitStack() as stack:

        def start(work: Callable[[], None]) -> int:
            thread = threading.Thread(target=work)
            thread.start()
            stack.callback(thread.join)
            return int(listener.getsockname()[1])

        yield start


def accept(listener: socket.socket) -> socket.socket:
    connection, _ = listener.accept()
    connection.settimeout(10)
    return connection


def answer_requests(listener: socket.socket, answers: Sequence[str]) -> None:
    """Answer the requests of one connection, one after the other."""
    connection = accept(listener)
    with connection:
        for answer in answers:
            if not connection.recv(65536):
                break
            connection.sendall(answer.encode())


@pytest.mark.parametrize("shell", ["{}; true", "{} & wait"])
def test_what_a_shell_has_started_ends_with_it(tmp_path: Path, shell: str) -> None:
    port = free_port()
    server = shlex.join([sys.executable, "-c", SERVE.format(port=port)])
    command = ["sh", "-c", shell.replace("{}", server)]
    program = Program(command, port, tmp_path / "log")
    program.start()
    program.stop()
    assert not takes_connections(port)
    program.stop()


def test_a_program_that_ends_by_itself_is_said_to_and_leaves_nothing(
    tmp_path: Path,
) -> None:
    program = Program(["sh", "-c", "echo broken"], free_port(), tmp_path / "log")
    with pytest.raises(RuntimeError, match="sh does not serve: broken"):
        program.start()


def test_a_peer_works_in_a_folder_of_its_own(tmp_path: Path) -> None:
    port = free_port()
    script = "import os; open('here', 'w').write(os.environ['NODES']); "
    peer = Peer("a", [sys.executable, "-c", script + SERVE])
    program = peer_program(peer, port, "node-1", tmp_path)
    program.start()
    program.stop()
    assert (tmp_path / f"peer-{port}" / "here").read_text() == "node-1"


@pytest.mark.parametrize("make", [nginx, haproxy])
def test_a_proxy_passes_objects_on_as_they_are(
    tmp_path: Path, make: Callable[..., Program]
) -> None:
    path = find_program(make.__name__)
    if path is None:
        pytest.skip(f"{make.__name__} is not installed")
    body = bytes(range(256)) * 8192
    with ExitStack() as stack:
        nodes = [stack.enter_context(running(Node())) for _ in range(3)]
        program = make(path, free_port(), [n.server_port for n in nodes], tmp_path)
        stack.callback(program.stop)
        program.start()
        sizes = (0, 1024, 65_537, len(body))
        client = Client(program.port)
        stack.callback(client.close)
        for size in sizes:
            assert client.ask("PUT", f"k{size}", body[:size]) == 200
            assert client.ask("GET", f"k{size}") == 200
        stored = {k: v for node in nodes for k, v in node.stored.items()}
        assert stored == {f"/object/k{size}": body[:size] for size in sizes}


def test_nginx_asks_no_other_node_when_one_is_gone(tmp_path: Path) -> None:
    path = find_program("nginx")
    if path is None:
        pytest.skip("nginx is not installed")
    keys = [f"key{n}" for n in range(40)]
    with ExitStack() as stack:
        nodes = [stack.enter_context(running(Node())) for _ in range(3)]
        program = nginx(path, free_port(), [n.server_port for n in nodes], tmp_path)
        stack.callback(program.stop)
        program.start()
        client = Client(program.port)
        stack.callback(client.close)
        for key in keys:
            assert client.ask("PUT", key, b"1") == 200
        gone = len(nodes[0].stored)
        nodes[0].stored.clear()
        end(nodes[0])
        client.close()
        program.stop()  # and with it its connections to the node
        program.start()
        for _ in range(2):
            found = Counter(client.ask("GET", key) for key in keys)
            assert found == {200: len(keys) - gone, 502: gone}


def load_job(port: int, connections: int) -> Job:
    return Job(port, "/{key}", ["a"], 5, {"GET": 1.0}, connections, each=3)


def test_a_connection_that_can_not_be_opened_again_is_one_error(
    listener: socket.socket, behind: Callable[[Callable[[], None]], int]
) -> None:
    def answer() -> None:
        first = accept(listener)
        second = accept(listener)
        listener.close()
        with first, second:
            first.recv(65536)
            first.sendall(OK + b"Connection: close\r\n\r\n01234")
            assert first.recv(65536) == b""
            for _ in range(3):
                second.recv(65536)
                second.sendall(OK + b"\r\n01234")

    found = Load(load_job(behind(answer), 2)).run()
    assert found["answers"] == 4
    assert found["errors"] == {"connection: Connection refused": 1}


def test_a_wrong_answer_before_that_is_an_error_of_its_own(
    listener: socket.socket, behind: Callable[[Callable[[], None]], int]
) -> None:
    def answer() -> None:
        connection = accept(listener)
        listener.close()
        with connection:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")

    found = Load(load_job(behind(answer), 1)).run()
    assert found["answers"] == 0
    assert found["errors"] == {"status 500": 1, "connection: Connection refused": 1}


def test_only_good_answers_in_time_count_in_the_rate() -> None:
    samples = [
        Sample("a", 200, 0.1),
        Sample("b", 201, 0.2),
        Sample("a", 200, 3.0, is_late=True),
        Sample("b", 503, 0.001),
        Sample("a", 0, 2.0, is_late=True),
    ]
    found = describe(samples, 2.0, lambda key: key == "a")
    assert found["rate"] == 2 / 2.0
    assert found["errors"] == 2
    assert (found["on_max"], found["off_max"], found["over_1s"]) == (3.0, 0.2, 2)


def test_a_load_tells_which_answers_came_after_its_end(
    listener: socket.socket, behind: Callable[[Callable[[], None]], int]
) -> None:
    end_of_load = threading.Event()

    def answer() -> None:
        connection = accept(listener)
        with connection:
            connection.recv(65536)
            connection.sendall(IS_ANSWERED.encode())
            connection.recv(65536)
            end_of_load.wait(0.5)
            connection.sendall(IS_ANSWERED.encode())

    samples = run_load(behind(answer), "GET", ["a"], 1, 0.2)
    assert [sample.is_late for sample in samples] == [False, True]


class OutageStub:
    """Nothing goes down: the scripted answers are of a node that does."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def begin(self) -> None:
        self.calls.append("begin")

    def end(self) -> None:
        self.calls.append("end")


def find_first(port: int, patience_seconds: float) -> dict[str, float | None]:
    stub = OutageStub()
    keys = ["a", "b", "c"]
    found = first_answer(port, "GET", keys, cast(Outage, stub), patience_seconds)
    assert stub.calls == ["begin", "end"]
    return dict(found)


def test_the_first_good_answer_comes_after_errors(
    listener: socket.socket, behind: Callable[[Callable[[], None]], int]
) -> None:
    answers = [IS_ANSWERED, *[IS_REFUSED] * 2, IS_ANSWERED]
    following = [IS_ANSWERED, IS_REFUSED, IS_ANSWERED]
    port = behind(lambda: answer_requests(listener, answers + following))
    found = find_first(port, 30.0)
    assert found["errors"] == 3
    assert found["seconds"]
    assert found["next"]


def test_no_good_answer_is_not_one_that_came_late(
    listener: socket.socket, behind: Callable[[Callable[[], None]], int]
) -> None:
    answers = [IS_ANSWERED, IS_REFUSED, IS_REFUSED]
    port = behind(lambda: answer_requests(listener, answers))
    assert find_first(port, 0.0) == {"seconds": None, "errors": 1, "next": None}


def test_rounds_without_an_answer_are_counted_and_no_part_of_the_median() -> None:
    good = {"seconds": 2.0, "errors": 0.0}
    none = {"seconds": None, "errors": 4.0}
    found = summarise_first_answers({"some": [good, none, good], "none": [none]})
    assert found["some"]["seconds"] == {"median": 2.0, "min": 2.0, "max": 2.0}
    assert (found["some"]["unanswered"], found["some"]["rounds"]) == (1, 3)
    assert found["some"]["errors"]["max"] == 4.0
    assert found["none"]["seconds"] is None
    assert (found["none"]["unanswered"], found["none"]["rounds"]) == (1, 1)


def test_the_table_says_in_how_many_rounds_there_was_no_answer(
    capsys: pytest.CaptureFixture[str],
) -> None:
    spread = {"median": 0.5, "min": 0.25, "max": 1.0}
    some = {"seconds": spread, "errors": spread, "next": spread}
    none = {"seconds": None, "errors": spread, "next": None}
    rounds = {"rounds": 5, "unanswered": 2}
    first = {"killed GET": some | rounds, "gone PUT": none | rounds | {"unanswered": 5}}
    print_first_answers(first)
    *_, killed, gone = capsys.readouterr().out.splitlines()
    assert "0.500 (0.250-1.000)" in killed
    assert "2 of 5" in killed
    assert gone.split()[2:6] == ["none", "5", "of", "5"]


def test_each_step_can_be_done_again_and_again() -> None:
    connection = Connection(cast(socket.socket, AnsweredPeer()))
    for name, step in steps(connection).items():
        for _ in range(2):
            step()
        assert len(name) <= 42  # of its column
