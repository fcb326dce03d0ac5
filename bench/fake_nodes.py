"""Many storage nodes in one process, objects in memory, next to no cost for each.

`python -m bench.fake_nodes COUNT` listens on so many ports of loopback, writes them on
one line, and serves until its standard input ends. An answer to a GET is made once and
kept until the object changes. It judges no signatures (`tests/support/memory_s3.py`).
"""

from __future__ import annotations

import asyncio
import gc
import sys

from tests.support.memory_s3 import MemoryS3, Request


class Node:
    """One node: its objects, and answers that are ready."""

    def __init__(self) -> None:
        self._store = MemoryS3()
        self._ready: dict[bytes, bytes] = {}
        """Whole answers by request line, for unconditional GETs of objects."""

    def answer(self, head: bytes, body: bytes) -> bytes:
        """Do what a request asks for; returns the whole answer."""
        line = head[: head.index(b"\r\n")]
        is_plain = line.startswith(b"GET /store/") and b"Range:" not in head
        if is_plain and line in self._ready:
            return self._ready[line]
        request = Request.parse(head)
        raw = self._store.exchange(request, [body]).raw
        if is_plain and request.kind == "GET" and raw.startswith(b"HTTP/1.1 200"):
            self._ready[line] = raw
        elif request.method in ("PUT", "DELETE"):
            _, target, version = line.split(b" ")
            self._ready.pop(b" ".join((b"GET", target, version)), None)
        return raw


class NodeProtocol(asyncio.Protocol):
    """One connection to a node."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        if isinstance(transport, asyncio.Transport):
            self._transport = transport

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._data += data
        while (end := self._data.find(b"\r\n\r\n") + 4) > 3:
            head = self._data[:end]
            whole = end + body_length(head)
            if len(self._data) < whole:
                return
            body, self._data = self._data[end:whole], self._data[whole:]
            self._transport.write(self._node.answer(head, body))


def body_length(head: bytes) -> int:
    """Return how long a request's body is."""
    if head.startswith(b"GET ") or b"ontent-" not in head:
        return 0
    _, found, rest = head.lower().partition(b"\r\ncontent-length:")
    return int(rest.split(b"\r\n", 1)[0]) if found else 0


async def serve(count: int) -> None:
    """Serve so many nodes until standard input ends."""
    loop = asyncio.get_running_loop()
    ports = []
    for _ in range(count):
        node = Node()
        server = await loop.create_server(
            lambda node=node: NodeProtocol(node),  # type: ignore[misc]
            "127.0.0.1",
            0,
        )
        ports.append(server.sockets[0].getsockname()[1])
    print(*ports, flush=True)
    ended = asyncio.Event()
    loop.add_reader(sys.stdin, ended.set)
    await ended.wait()


if __name__ == "__main__":
    gc.disable()
    asyncio.run(serve(int(sys.argv[1])))
