"""How long a request's way is: own Python frames and node requests of each kind.

`python -m bench.frames [--without-metrics]` has three nodes in memory beside it and
runs each request in this process, after one of the same kind that has made connections
and caches. A frame is a call of a function of the product, from the call of the WSGI
application to the close of its answer; a generator counts each time it goes on.
"""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any
from wsgiref.util import setup_testing_defaults

from bench.extras import fake_nodes
from tests.support.gateway_process import nodes_setting

PROJECT = str(Path(__file__).resolve().parents[1])
PRODUCT = ("amazin/", "gateway.py", "discovery.py", "hashing.py", "wsgi.py")
BODY = bytes(1024)
REQUESTS = (
    ("GET 1 KiB, r=1", "GET", "/object/key1", 1),
    ("PUT 1 KiB, r=1", "PUT", "/object/key1", 1),
    ("GET 1 KiB, r=2", "GET", "/object/key1", 2),
    ("PUT 1 KiB, r=2", "PUT", "/object/key1", 2),
    ("PUT 1 KiB in a bucket, r=2", "PUT", "/objects/photos/a/b", 2),
)
"""Title, method, path, replicas."""
WITHOUT = "--without-metrics"
"""Argument of the command: requests are not counted."""


class Counter:
    """Counts the frames of this thread while it is on."""

    def __init__(self) -> None:
        self.frames = self.requests = 0
        self._own: dict[str, bool] = {}

    def note(self, frame: FrameType, event: str, argument: Any) -> None:
        """See `sys.setprofile`."""
        code = frame.f_code
        if event != "call" or not self._is_own(code.co_filename):
            return
        self.frames += 1
        self.requests += code.co_name == "request_head"

    def _is_own(self, filename: str) -> bool:
        if filename not in self._own:
            inner = filename.removeprefix(f"{PROJECT}/")
            self._own[filename] = inner.startswith(PRODUCT)
        return self._own[filename]

    @contextmanager
    def on(self) -> Iterator[None]:
        """Count meanwhile."""
        sys.setprofile(self.note)
        try:
            yield
        finally:
            sys.setprofile(None)


def request(app: Any, method: str, path: str, counter: Counter) -> None:
    """Send one request. Raises: RuntimeError, if it is refused."""
    environ: dict[str, Any] = {"REQUEST_METHOD": method, "PATH_INFO": path}
    if method == "PUT":
        body = {"CONTENT_LENGTH": str(len(BODY)), "wsgi.input": io.BytesIO(BODY)}
        environ.update(body)
    setup_testing_defaults(environ)
    answers: list[str] = []

    def start_response(status: str, *_: Any) -> None:
        answers.append(status)

    with counter.on():
        response = app(environ, start_response)
        for _ in response:
            pass
        response.close()
    if answers[0][0] != "2":
        raise RuntimeError(f"{method} {path}: {answers[0]}")


def count(environ: Mapping[str, str], replicas: int) -> Iterator[tuple[str, int, int]]:
    """Yield title, frames and node requests of each kind of request."""
    app = make_app({**environ, "REPLICAS": str(replicas)})
    request(app, "POST", "/buckets/photos", Counter())
    request(app, "PUT", "/object/key1", Counter())
    for title, method, path, only in REQUESTS:
        if only == replicas:
            request(app, method, path, Counter())
            counter = Counter()
            request(app, method, path, counter)
            yield title, counter.frames, counter.requests


def make_app(environ: Mapping[str, str]) -> Any:
    """Return an application that logs as it does when it is served, but to nobody."""
    import os
    from importlib import reload

    os.environ.update(environ)
    import wsgi

    app = reload(wsgi).app
    for handler in logging.getLogger("amazin").handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setStream(io.StringIO())
    return app


def main() -> None:
    """Measure and print."""
    print(f"{'':28}{'frames':>8}{'node requests':>15}")
    for replicas in (1, 2):
        with fake_nodes(3) as (_, specs):
            environ = {"DISCOVERY": "static", "NODES": nodes_setting(specs)}
            environ["METRICS"] = "false" if WITHOUT in sys.argv else "true"
            for title, frames, requests in count(environ, replicas):
                print(f"{title:28}{frames:8}{requests:15}")


if __name__ == "__main__":
    main()
