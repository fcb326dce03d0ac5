"""What the nodes themselves take, asked without a gateway: the least there can be.

Requests signed beforehand, sent on raw kept connections. On a machine with few cores
two nodes that are asked at once, and the client, wait for each other.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence

from amazin.model.node_specs import TimeLimits
from amazin.model.objects import ObjectName
from amazin.nodes.s3.client import S3Client
from bench.load import receive_answer
from bench.nodes import System
from bench.stats import percentile

ASKED = 600


class NodeClient:
    """Sends ready requests to one node."""

    def __init__(self, system: System, name: str, key: str) -> None:
        spec = next(spec for spec in system.specs() if spec.name == name)
        signed = S3Client(spec, TimeLimits())
        self._heads = {
            method: signed.request_head(method, ObjectName("store", key))
            for method in ("GET", "HEAD")
        }
        port = int((spec.endpoint or "").rpartition(":")[2])
        self._socket = socket.create_connection(("127.0.0.1", port))

    def send(self, method: str) -> None:
        """Send a request."""
        self._socket.sendall(self._heads[method])

    def receive(self, method: str) -> None:
        """Receive its answer. Raises: RuntimeError, if it is not a good one."""
        status, _ = receive_answer(self._socket, method)
        if status != 200:
            raise RuntimeError(f"a node answered with {status}")

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


def measure_floor(system: System, keys: Sequence[str]) -> dict[str, float]:
    """Return p50 of a GET of one node, and of a GET and a HEAD of two at once."""
    names = system.needed(keys[0])
    first, second = (NodeClient(system, name, keys[0]) for name in names[:2])
    alone: list[float] = []
    together: list[float] = []
    for _ in range(ASKED):
        start = time.perf_counter()
        first.send("GET")
        first.receive("GET")
        middle = time.perf_counter()
        first.send("GET")
        second.send("HEAD")
        first.receive("GET")
        second.receive("HEAD")
        alone.append(middle - start)
        together.append(time.perf_counter() - middle)
    first.close()
    second.close()
    return {"GET": percentile(alone, 0.5), "GET and HEAD": percentile(together, 0.5)}
