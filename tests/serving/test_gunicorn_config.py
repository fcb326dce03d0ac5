"""The server knobs: that gunicorn still has what they turn, and that they fit."""

from __future__ import annotations

import os
import re
import runpy
import signal
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn import util
from gunicorn.config import Config
from gunicorn.http import wsgi
from gunicorn.http.body import ChunkedReader
from gunicorn.http.errors import LimitRequestHeaders
from gunicorn.http.message import Message
from gunicorn.http.parser import RequestParser
from gunicorn.http.unreader import SocketUnreader

from amazin.metrics.slots import FOLDER, SLOT, Slots
from amazin.serving.processes import STOP_SIGNALS
from tests.support.paths import PROJECT

NOT_KNOBS = (
    "os",
    "checks",
    "processes",
    "slots",
    "registrar",
    "settings",
    "signal",
    "time",
)
HELPERS = {
    *("is_gateway", "load_settings", "logging_config", "pause", "remarks"),
    "suppress",
    "whole_response",
}


@pytest.fixture
def knobs() -> Iterator[dict[str, Any]]:
    """The names that the configuration file defines."""
    default = SocketUnreader.max_body_chunk
    handlers = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    response, http_date = wsgi.Response, util.http_date
    parse_chunked = ChunkedReader.parse_chunked
    yield runpy.run_path(str(PROJECT / "gunicorn.conf.py"))
    wsgi.Response = response  # type: ignore[misc]
    util.http_date = http_date
    ChunkedReader.parse_chunked = parse_chunked
    if "max_buffer_headers" in vars(Message):
        del Message.max_buffer_headers
    SocketUnreader.max_body_chunk = default
    for number, handler in handlers.items():
        signal.signal(number, handler)


class Worker:
    """What a worker has when it begins."""

    wsgi: Any = None

    def __init__(self) -> None:
        self.cfg = Config()


def test_every_knob_is_one_that_gunicorn_knows(knobs: dict[str, Any]) -> None:
    known = Config().settings
    ours = {
        name
        for name, value in knobs.items()
        if not name.startswith("_") and name.islower() and name not in NOT_KNOBS
    }
    assert {"bind", "worker_class", "pre_request", "logconfig_dict"} <= ours
    assert ours - known.keys() <= HELPERS


def test_what_stays_the_same_is_worked_out_once(knobs: dict[str, Any]) -> None:
    worker, plain = Worker(), util.http_date
    knobs["post_worker_init"](worker)
    known = Config()
    for name in known.settings:
        assert getattr(worker.cfg, name) == getattr(known, name), name
    assert vars(worker.cfg)["limit_request_line"] == known.limit_request_line
    before, now, after = plain(), util.http_date(), plain()
    assert now in (before, after)


def test_bodies_are_read_in_large_pieces(knobs: dict[str, Any]) -> None:
    knobs["post_worker_init"](Worker())
    assert SocketUnreader.max_body_chunk == 256 * 1024


def test_small_chunks_are_read_with_pauses(knobs: dict[str, Any]) -> None:
    plain = ChunkedReader.parse_chunked
    knobs["post_worker_init"](Worker())
    assert ChunkedReader.parse_chunked is not plain


def test_all_headers_together_have_a_limit(knobs: dict[str, Any]) -> None:
    knobs["post_worker_init"](Worker())

    def parsed(count: int) -> Any:
        fields = b"".join(b"X-%d: %b\r\n" % (n, b"x" * 8000) for n in range(count))
        data = b"GET / HTTP/1.1\r\n" + fields + b"\r\n"
        pieces = (data[at : at + 8192] for at in range(0, len(data), 8192))
        return next(RequestParser(Config(), pieces, ("127.0.0.1", 1)))

    assert len(parsed(15).headers) == 15
    with pytest.raises(LimitRequestHeaders):
        parsed(20)


class Sock:
    """Notes what is sent at a time."""

    def __init__(self, room: int = 2**20) -> None:
        """`send` takes `room` bytes at once."""
        self.sent: list[bytes] = []
        self._room = room

    def send(self, data: bytes) -> int:
        self.sent.append(data[: self._room])
        return len(self.sent[-1])

    def sendall(self, data: bytes) -> None:
        self.sent.append(data)


@pytest.mark.parametrize(
    ("method", "length", "pieces", "sizes"),
    [
        ("GET", 5, [b"whole"], [5]),
        ("GET", 5, [b"who", b"le"], [0, 3, 2]),
        ("GET", 0, [], [0]),
        ("HEAD", 5, [], [0]),
        ("HEAD", 5, [b"whole"], [0]),
        ("GET", 2**16, [bytes(2**16)], [2**16]),
        ("GET", 2**16 + 1, [bytes(2**16 + 1)], [0, 2**16 + 1]),
        ("GET", 4, [b"whole"], [0, 4]),
    ],
)
def test_a_small_answer_is_sent_with_its_head(
    knobs: dict[str, Any],
    method: str,
    length: int,
    pieces: list[bytes],
    sizes: list[int],
) -> None:
    knobs["post_worker_init"](Worker())
    assert wsgi.Response.__name__ == "WholeResponse"
    request = SimpleNamespace(
        method=method, version=(1, 1), should_close=lambda: False, headers=[]
    )
    sock = Sock()
    response = wsgi.Response(request, sock, Config())
    response.start_response("200 OK", [("Content-Length", str(length))])
    for piece in pieces:
        response.write(piece)
    response.close()
    head = sock.sent[0].index(b"\r\n\r\n") + 4
    assert [len(sent) for sent in sock.sent] == [head + sizes[0], *sizes[1:]]
    assert b"".join(sock.sent)[head:] == b"".join(pieces)[: sum(sizes)]
    assert response.sent == sum(sizes)


def test_an_answer_for_which_there_is_no_room_is_sent_whole(
    knobs: dict[str, Any],
) -> None:
    knobs["post_worker_init"](Worker())
    request = SimpleNamespace(
        method="GET", version=(1, 1), should_close=lambda: False, headers=[]
    )
    sock = Sock(room=7)
    response = wsgi.Response(request, sock, Config())
    response.start_response("200 OK", [("Content-Length", "5")])
    response.write(b"whole")
    assert len(sock.sent) == 2
    assert b"".join(sock.sent).endswith(b"\r\n\r\nwhole")


@pytest.mark.parametrize(
    ("app", "is_gateway"),
    [
        ("wsgi:app", True),
        ("my.own:app", True),
        ("amazin.serving.blob_apps:blob_server('/store')", False),
    ],
)
def test_only_the_gateway_registers_itself(
    knobs: dict[str, Any], app: str, is_gateway: bool
) -> None:
    server = SimpleNamespace(app=SimpleNamespace(app_uri=app))
    assert knobs["is_gateway"](server) is is_gateway


def test_a_silent_client_is_cut_off(knobs: dict[str, Any]) -> None:
    set_to: list[float] = []
    sock = SimpleNamespace(settimeout=set_to.append)
    for unreader in (SimpleNamespace(sock=sock), object()):
        knobs["pre_request"](None, SimpleNamespace(unreader=unreader, version=(1, 1)))
    assert set_to == [knobs["CLIENT_TIMEOUT_SECONDS"]]


def test_the_container_gets_longer_to_stop_than_running_requests(
    knobs: dict[str, Any],
) -> None:
    compose = (PROJECT / "docker-compose.yml").read_text()
    grace = re.search(r"stop_grace_period: ([0-9]+)s", compose)
    assert grace
    assert int(grace[1]) > knobs["graceful_timeout"]


def test_a_worker_that_ends_closes_its_application(knobs: dict[str, Any]) -> None:
    closed: list[str] = []
    app = SimpleNamespace(close=lambda: closed.append("app"))
    knobs["worker_exit"](None, SimpleNamespace(wsgi=app))
    assert closed == ["app"]


def test_a_worker_that_begins_starts_its_application(knobs: dict[str, Any]) -> None:
    """A gateway that nobody asks for anything has to take note of new nodes, too."""
    started: list[str] = []
    worker = Worker()
    worker.wsgi = SimpleNamespace(start=lambda: started.append("app"))
    knobs["post_worker_init"](worker)
    assert started == ["app"]


def test_of_several_signals_that_end_a_worker_the_first_does(
    knobs: dict[str, Any],
) -> None:
    handled: list[int] = []
    worker = SimpleNamespace(handle_quit=lambda number, frame: handled.append(number))
    knobs["post_fork"](None, worker)
    for number in STOP_SIGNALS:
        worker.handle_quit(number, None)
    assert handled == [STOP_SIGNALS[0]]


def test_a_worker_has_a_slot_until_it_ends(
    knobs: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SLOT, "")
    monkeypatch.delenv(FOLDER, raising=False)
    server, first, second = SimpleNamespace(slots=Slots()), object(), object()
    knobs["pre_fork"](server, first)
    knobs["pre_fork"](server, second)
    assert os.environ[SLOT] == "2"
    knobs["child_exit"](server, first)
    knobs["pre_fork"](server, object())
    assert os.environ[SLOT] == "1"


def test_where_nothing_is_counted_no_worker_has_a_slot(
    knobs: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(SLOT, raising=False)
    server, worker = SimpleNamespace(), object()
    knobs["pre_fork"](server, worker)
    knobs["child_exit"](server, worker)
    assert SLOT not in os.environ
