"""What each step of a GET costs by itself: `python -m bench.steps`.

CPU of one step done again and again, without any waiting and with everything in the
caches: the least that it can cost. Under load, where the nodes take the caches in
between, all of it costs two to three times as much (`bench.compare` shows that).
"""

from __future__ import annotations

import io
import logging
import math
import socket
import time
import timeit
from collections.abc import Callable
from typing import cast

from amazin.api.content import object_headers
from amazin.logs import JsonFormatter, LineHandler
from amazin.model.node_specs import NodeSpec, TimeLimits
from amazin.model.objects import ObjectName
from amazin.nodes.s3.answers import read_info
from amazin.nodes.s3.client import S3Client
from amazin.nodes.transport.connection import Connection
from amazin.nodes.transport.response import Response
from amazin.settings.settings import Settings
from amazin.web.framing import DEADLINE
from amazin.web.messages import Request
from amazin.web.messages import Response as Answer
from gateway import Transfer, final_headers
from hashing import Ranker

NAME = ObjectName("store", "key1")
COUNT, ROUNDS = 5000, 7
ANSWER = (
    b"HTTP/1.1 200 OK\r\nAccept-Ranges: bytes\r\nContent-Length: 1024\r\n"
    b"Content-Security-Policy: block-all-mixed-content\r\n"
    b"Content-Type: application/octet-stream\r\n"
    b'ETag: "0123456789abcdef0123456789abcdef"\r\n'
    b"Last-Modified: Sat, 21 Nov 2026 19:00:00 GMT\r\nServer: MinIO\r\n"
    b"Strict-Transport-Security: max-age=31536000; includeSubDomains\r\n"
    b"Vary: Origin\r\nVary: Accept-Encoding\r\n"
    b"X-Amz-Id-2: dd9025bab4ad464b049177c95eb6ebf374d3b3fd1af9251148b658df7ac2\r\n"
    b"X-Amz-Request-Id: 1879ABCDEF012345\r\nX-Content-Type-Options: nosniff\r\n"
    b"X-Ratelimit-Limit: 1000\r\nX-Ratelimit-Remaining: 1000\r\n"
    b"X-Xss-Protection: 1; mode=block\r\n"
    b"x-amz-meta-amazin-stamp: 1234567890123456789.1234567.1\r\n"
    b"Date: Sat, 21 Nov 2026 19:00:00 GMT\r\n\r\n"
) + bytes(1024)
"""As MinIO answers."""


class Peer:
    """A socket whose other end has answered already."""

    def settimeout(self, seconds: float) -> None:
        """Nothing is waited for."""

    def recv(self, size: int) -> bytes:
        """Return the whole answer."""
        return ANSWER

    def close(self) -> None:
        """See `socket.socket`."""


def receive(connection: Connection) -> Response:
    """Return a node's whole answer, whose bytes came already."""
    response = Response(connection, "GET", lambda connection: None)
    response.receive_head(time.monotonic() + 1)
    response.read_all(1.0)
    return response


def steps(connection: Connection) -> dict[str, Callable[[], object]]:
    """Return what is measured, by name."""
    ranker = Ranker(dict.fromkeys(("node-1", "node-2", "node-3"), 1.0))
    spec = NodeSpec("node-1", "http://127.0.0.1:9000", "access", "secret")
    client = S3Client(spec, TimeLimits())
    response = receive(connection)
    info = read_info(response)
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/object/key1", DEADLINE: math.inf}
    request = Request("GET", "/object/key1", environ, "0" * 32, "127.0.0.1", "node-1")
    answer = Answer(200, object_headers(info, Settings().metadata_headers), bytes(1024))

    def transfer() -> None:
        sent = Transfer(request, answer, 0.0)
        for _ in sent:
            pass
        sent.close()

    return {
        "placement: the first of three nodes": lambda: ranker.first(NAME.hash_key, 1),
        "the signed request": lambda: client.request_head("GET", NAME),
        "the node's answer, parsed": lambda: receive(connection),
        "what it says of the object": lambda: read_info(response),
        "the answer's headers": lambda: final_headers(request, answer),
        "sending the answer, and the log line": transfer,
    }


def main() -> None:
    """Measure and print."""
    handler = LineHandler(io.StringIO())
    handler.setFormatter(JsonFormatter())
    access = logging.getLogger("amazin.access")
    access.setLevel(logging.INFO)
    access.addHandler(handler)
    access.propagate = False
    connection = Connection(cast(socket.socket, Peer()))
    for name, step in steps(connection).items():
        least = min(timeit.repeat(step, number=COUNT, repeat=ROUNDS)) / COUNT
        print(f"{name:42} {least * 1e6:6.1f} us")


if __name__ == "__main__":
    main()
