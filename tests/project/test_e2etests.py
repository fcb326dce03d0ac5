"""`make e2etests`: passes on a gateway, and every lie of a server is found."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import pytest

from tests.support.app import make_app
from tests.support.command_process import run
from tests.support.gateway_process import GatewayProcess
from tests.support.paths import PROJECT
from tests.support.ports import free_port

Change = Callable[[WSGIEnvironment], None]
Headers = list[tuple[str, str]]
TOOLS = ("bash", "curl", "wc", "grep", "diff")
PATIENCE_SECONDS = 50.0


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A folder that has what the script may use, and nothing else."""
    folder = tmp_path / "tools"
    folder.mkdir()
    for name in TOOLS:
        program = shutil.which(name)
        if program is None:
            pytest.skip(f"no {name}")
        (folder / name).symlink_to(program)
    return folder


def e2etests(tools: Path, port: int) -> subprocess.CompletedProcess[str]:
    """Run the script against a gateway on a port of loopback."""
    return subprocess.run(
        [PROJECT / "scripts" / "e2etests"],
        env={"PATH": str(tools), "GATEWAY_URL": f"http://127.0.0.1:{port}/"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


def test_it_passes_on_a_gateway_and_leaves_nothing_there(
    tools: Path, tmp_path: Path
) -> None:
    settings = {"DISCOVERY": "folders", "DATA_DIR": str(tmp_path / "data")}
    gateway = GatewayProcess(tmp_path, settings)
    try:
        gateway.start()
        done = e2etests(tools, gateway.port)
    finally:
        gateway.stop()
    assert (done.returncode, done.stderr) == (0, "")
    *checks, summary = done.stdout.splitlines()
    assert {line[:6] for line in checks} == {"ok    "}
    for name in ("text", "licence", "zip", "binary"):
        assert f"ok    {name}: GET returns the same bytes" in checks
    assert summary.startswith(f"{len(checks)} checks passed, 0 failed")
    status = run("status", "--json", "--count", folder=tmp_path, settings=settings)
    assert json.loads(status.stdout)["total"]["objects"] == 0


def test_where_no_gateway_is_it_says_so_and_what_to_do(tools: Path) -> None:
    done = e2etests(tools, free_port())
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("No gateway answers at http://127.0.0.1:")
    assert "make run" in done.stderr


# Lies


class Liar:
    """An application that changes requests, answers, or both, of another one."""

    def __init__(self, app: WSGIApplication, lie: Lie) -> None:
        self._app = app
        self._lie = lie

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        method = environ["REQUEST_METHOD"]
        if method in self._lie.of_requests:
            self._lie.of_requests[method](environ)
        started: list[tuple[str, Headers]] = []

        def start(status: str, headers: Headers, exc_info: object = None) -> object:
            started.append((status, headers))
            return None

        answer = self._app(environ, start)  # type: ignore[arg-type]
        body = b"".join(answer)
        answer.close()  # type: ignore[attr-defined]
        [(status, headers)] = started
        for old, new in self._lie.of_answers.get(method, {}).items():
            status = status.replace(old, new)
            headers = [(name, value.replace(old, new)) for name, value in headers]
            body = body.replace(old.encode(), new.encode())
        start_response(status, headers)
        return [body]


class Lie:
    """What is changed, by method: of requests the environ, of answers any text."""

    def __init__(
        self,
        of_requests: Mapping[str, Change] | None = None,
        of_answers: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        self.of_requests = of_requests or {}
        self.of_answers = of_answers or {}


def means_something_else(environ: WSGIEnvironment) -> None:
    environ["PATH_INFO"] = "/object/somethingElse"


def has_no_range(environ: WSGIEnvironment) -> None:
    environ.pop("HTTP_RANGE", None)


def has_no_condition(environ: WSGIEnvironment) -> None:
    environ.pop("HTTP_IF_NONE_MATCH", None)


class IsFirst:
    """A change of the requests for an address that are not the first one."""

    def __init__(self) -> None:
        self._lengths: dict[str, str] = {}

    def __call__(self, environ: WSGIEnvironment) -> None:
        length = self._lengths.setdefault(
            environ["PATH_INFO"], environ["CONTENT_LENGTH"]
        )
        if length != environ["CONTENT_LENGTH"]:
            means_something_else(environ)


SIZE = "text: PUT tells the size"
BYTES = "text: GET returns the same bytes"
LENGTH = "text: HEAD tells the length"
ETAG = "text: the ETag is that of the upload, and spares a GET (304)"
RANGES = "text: two ranges (206) are the whole"
OVERWRITE = "text: another PUT replaces it"
DELETE = "text: DELETE is 204"
GONE = "text: then GET is 404, as JSON"
WRONG_ID = "a wrong id is 422, as JSON"
WRONG_METHOD = "a method that is not served is 405, as JSON"
LIES = {
    "sizes and statuses": (
        Lie(
            of_answers={
                "PUT": {'"size":': '"size":1'},
                "HEAD": {"0": "1", "3": "4"},
                "DELETE": {"204 No Content": "200 OK"},
                "GET": {"422": "404"},
                "PATCH": {"requestId": "id"},
            }
        ),
        {SIZE, LENGTH, ETAG, DELETE, WRONG_ID, WRONG_METHOD},
    ),
    "bytes": (
        Lie(of_answers={"GET": {"stores this": "stored that"}}),
        {BYTES, RANGES},
    ),
    "ETag": (Lie(of_answers={"HEAD": {'"': '"0'}}), {ETAG}),
    "conditions and overwriting": (
        Lie(of_requests={"GET": has_no_condition, "PUT": IsFirst()}),
        {ETAG, OVERWRITE},
    ),
    "ranges and deletes": (
        Lie(of_requests={"GET": has_no_range, "DELETE": means_something_else}),
        {RANGES, GONE},
    ),
    "no JSON": (
        Lie(of_answers={"GET": {"application/json": "text/plain"}}),
        {GONE, WRONG_ID},
    ),
}
"""Each with the checks that find it, of those of the text and of none."""


class Server(ThreadingMixIn, WSGIServer):
    """A thread for each connection; they are waited for."""

    daemon_threads = False


class Handler(WSGIRequestHandler):
    """Without an access log of its own."""

    def log_message(self, *args: object) -> None:
        """Nothing."""


@contextmanager
def served(app: WSGIApplication) -> Iterator[int]:
    """Serve an application meanwhile, on a port of loopback."""
    with make_server("127.0.0.1", 0, app, Server, Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join(PATIENCE_SECONDS)


@pytest.mark.parametrize("name", LIES)
def test_a_lie_is_found(tools: Path, name: str) -> None:
    lie, checks = LIES[name]
    with served(Liar(make_app(), lie)) as port:
        done = e2etests(tools, port)
    assert done.returncode == 1
    *lines, summary = done.stdout.splitlines()
    failed = [line.removeprefix("FAIL  ") for line in lines if line[:4] == "FAIL"]
    of_others = ("licence: ", "zip: ", "binary: ")
    assert {line for line in failed if not line.startswith(of_others)} == checks
    assert f", {len(failed)} failed" in summary


def test_without_a_lie_nothing_is_found(tools: Path) -> None:
    with served(Liar(make_app(), Lie())) as port:
        done = e2etests(tools, port)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
