"""What is measured: MinIO nodes of one cluster, and the gateway in front of them."""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections.abc import Sequence
from pathlib import Path

from amazin.membership.roster import NodeSet
from amazin.model.node_specs import NodeSpec
from amazin.model.objects import ObjectName
from bench.counting import CountingProxy
from bench.processes import cpu
from tests.support.gateway_process import GatewayProcess, ask, nodes_setting
from tests.support.ports import free_port
from tests.support.servers import MinioServer

WORKERS = 2
REFRESH_SECONDS = 5
"""The default."""
READY_ANSWERS, READY_SECONDS = 12, 60.0
"""Each answer is some worker's; so many in a row are hardly all the same one's."""


def find_minio() -> str:
    """Return the path of a MinIO server. Raises: SystemExit."""
    found = os.environ.get("MINIO") or shutil.which("minio")
    if not found:
        raise SystemExit("No minio: set MINIO to its path")
    return found


class MeasuredNode(MinioServer):
    """A MinIO server whose CPU time can be read."""

    @property
    def pid(self) -> int | None:
        """The id of its process; None: it doesn't run."""
        return self._process.pid if self._process and self.is_running else None


def make_nodes(binary: str, folder: Path, count: int) -> list[MeasuredNode]:
    """Return nodes with folders and keys of their own, not started."""
    return [
        MeasuredNode(
            binary, folder / f"node-{n}", free_port(), f"access{n}", f"secret-{n}"
        )
        for n in range(1, count + 1)
    ]


def gateway_settings(specs: Sequence[NodeSpec], replicas: int) -> dict[str, str]:
    """Return what a gateway on these nodes is set to."""
    return {
        "DISCOVERY": "static",
        "NODES": nodes_setting(specs),
        "REPLICAS": str(replicas),
        "REFRESH_SECONDS": str(REFRESH_SECONDS),
        "WORKERS": str(WORKERS),
    }


def wait_until_ready(port: int) -> None:
    """Wait until every worker of a gateway reaches every node. Raises: RuntimeError."""
    deadline = time.monotonic() + READY_SECONDS
    streak = 0
    while streak < READY_ANSWERS:
        answer = ask(port, "GET", "/health/ready?all")
        streak = streak + 1 if answer.status == 200 else 0
        if time.monotonic() > deadline:
            raise RuntimeError("the gateway does not reach all nodes")
        time.sleep(0.02)


def wait_until_settled(port: int) -> None:
    """Wait until something can be stored, and the set of nodes is settled.

    Raises: RuntimeError.
    """
    wait_until_ready(port)
    if ask(port, "PUT", "/object/first", b"first").status != 201:
        raise RuntimeError("nothing can be stored")
    time.sleep(2 * REFRESH_SECONDS)


class System:
    """A cluster of its own: nodes, a gateway, and objects on them."""

    def __init__(
        self,
        binary: str,
        folder: Path,
        replicas: int,
        count: int,
        *,
        is_counted: bool,
        delay_seconds: float = 0.0,
    ) -> None:
        """With `is_counted` the gateway's requests pass through counting proxies.

        So they do with a delay of the nodes' answers.
        """
        self.replicas = replicas
        folder.mkdir()
        self.nodes = make_nodes(binary, folder, count)
        self.proxies = [
            CountingProxy(node.port, delay_seconds)
            for node in self.nodes
            if is_counted or delay_seconds
        ]
        self._set = NodeSet(replicas, dict.fromkeys(self.names, 1.0))
        settings = gateway_settings(self.specs(), replicas)
        settings["LOG_LEVEL"] = "warning"
        self.gateway = GatewayProcess(folder, settings)
        self.port = self.gateway.port

    @property
    def names(self) -> Sequence[str]:
        """The stable names of the nodes."""
        return [server.folder.name for server in self.nodes]

    def specs(self) -> list[NodeSpec]:
        """Return the nodes as the gateway is told of them."""
        ports = [proxy.port for proxy in self.proxies] or [n.port for n in self.nodes]
        return [
            NodeSpec(
                server.folder.name,
                f"http://127.0.0.1:{port}",
                server.access_key,
                server.secret_key,
            )
            for server, port in zip(self.nodes, ports, strict=True)
        ]

    def start(self) -> None:
        """Start everything, and wait until the set of nodes is settled."""
        for server in self.nodes:
            server.start()
        self.gateway.start()
        wait_until_settled(self.port)

    def stop(self) -> None:
        """Stop everything, however it stands."""
        self.gateway.stop()
        for proxy in self.proxies:
            proxy.close()
        for server in self.nodes:
            server.stop()

    def wait_until_ready(self) -> None:
        """Wait until every worker reaches every node. Raises: RuntimeError."""
        wait_until_ready(self.port)

    def needed(self, key: str) -> list[str]:
        """Return the names of the nodes that a request for a key goes to, if up."""
        return self._set.home(ObjectName("store", key).hash_key)[: self.replicas]

    def cpu_seconds(self) -> tuple[float, float]:
        """Return what the gateway and the nodes have used so far, in this order."""
        pids = [node.pid for node in self.nodes if node.pid]
        return sum(map(cpu, self.gateway.workers())), sum(map(cpu, pids))


class Void:
    """A port that answers no connection attempt, as a machine that is gone."""

    def __init__(self, port: int) -> None:
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(("127.0.0.1", port))
        self._listener.listen(0)
        self._fillers = [socket.socket() for _ in range(4)]
        for filler in self._fillers:  # the queue is full then: the kernel drops SYNs
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))

    def close(self) -> None:
        """Let go of the port."""
        for sock in (*self._fillers, self._listener):
            sock.close()
