"""Who is compared: gateways, proxies and a node, in front of the same three nodes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, MutableMapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

from minio import Minio

from amazin.model.node_specs import NodeSpec
from bench import programs
from bench.cells import Contender, fill
from bench.gateways import GUNICORN, make_gateway
from bench.nodes import (
    MeasuredNode,
    find_minio,
    gateway_settings,
    make_nodes,
    wait_until_ready,
    wait_until_settled,
)
from tests.support.gateway_process import nodes_setting
from tests.support.ports import free_port

NODES = 3
OBJECT_PATH = "/object/{key}"
LeftOut = MutableMapping[str, str]
"""Who could not be measured, and why."""

T = TypeVar("T")


class Cluster:
    """Real nodes; who stops the stack stops them."""

    def __init__(self, stack: ExitStack, folder: Path, count: int = NODES) -> None:
        """Start the nodes; they keep their objects in the folder."""
        self.stack = stack
        self.folder = folder
        self._is_settled = False
        folder.mkdir()
        self.nodes: list[MeasuredNode] = make_nodes(find_minio(), folder, count)
        for node in self.nodes:
            stack.callback(node.stop)
            node.start()

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Stop at the end what was started in front of the nodes meanwhile."""
        whole, self.stack = self.stack, ExitStack()
        try:
            with self.stack:
                yield
        finally:
            self.stack = whole

    @property
    def specs(self) -> list[NodeSpec]:
        """The nodes as a gateway is told of them."""
        return [node.spec(node.folder.name) for node in self.nodes]

    @property
    def roots(self) -> list[int]:
        """The processes of the nodes."""
        return [node.pid for node in self.nodes if node.pid]

    def publish(self, bucket: str) -> None:
        """Make a bucket that anybody may read and write, on every node."""
        statement = {
            "Effect": "Allow",
            "Principal": {"AWS": ["*"]},
            "Action": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"],
            "Resource": [f"arn:aws:s3:::{bucket}/*"],
        }
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        for node in self.nodes:
            client = Minio(node.address, node.access_key, node.secret_key, secure=False)
            if not client.bucket_exists(bucket):
                client.make_bucket(bucket)
            client.set_bucket_policy(bucket, policy)

    def add_gateway(self, server: str = GUNICORN, replicas: int = 1) -> Contender:
        """Start a gateway in front of the nodes."""
        name = server if replicas == 1 else f"{server} r={replicas}"
        settings = gateway_settings(self.specs, replicas)
        gateway = make_gateway(self.folder, settings, server)
        self.stack.callback(gateway.stop)
        gateway.start()
        if self._is_settled:
            wait_until_ready(gateway.port)
        else:
            wait_until_settled(gateway.port)
        self._is_settled = True
        roots = [gateway.process.pid]
        return Contender(name, gateway.port, OBJECT_PATH, roots, self.roots)

    def add_program(self, name: str, program: programs.Program) -> Contender:
        """Start a proxy in front of the nodes; it has a public bucket of its name."""
        self.stack.callback(program.stop)
        program.start()
        self.publish(name)
        path = f"/{name}/{{key}}"
        return Contender(name, program.port, path, [program.pid], self.roots)

    def add_node(self) -> Contender:
        """Make the first node a contender: asked itself, for a public bucket."""
        node = self.nodes[0]
        self.publish("node")
        return Contender("node", node.port, "/node/{key}", (), self.roots[:1])


def enter(
    stack: ExitStack, folder: Path, sizes: list[int], left_out: LeftOut
) -> list[Contender]:
    """Start all who are compared, and store objects of these sizes."""
    cluster = Cluster(stack, folder / "one-copy")
    field = [*add_proxies(cluster, left_out), cluster.add_node()]
    field.append(cluster.add_gateway())
    two = Cluster(stack, folder / "two-copies")
    field.append(two.add_gateway(replicas=2))
    field += add_peers(cluster)
    for contender in field:
        for size in sizes:
            fill(contender, size)
    return field


def add_proxies(cluster: Cluster, left_out: LeftOut) -> list[Contender]:
    """Start nginx and HAProxy, as far as they are installed."""
    ports = [node.port for node in cluster.nodes]
    found = []
    for make in (programs.nginx, programs.haproxy):
        name = make.__name__
        path = programs.find_program(name)
        if path is None:
            left_out[name] = "not installed"
            continue
        program = make(path, free_port(), ports, cluster.folder)
        found.append(cluster.add_program(name, program))
    return found


def add_peers(cluster: Cluster) -> list[Contender]:
    """Start what PEERS names; it gets the nodes, and a folder of its own to work in."""
    found = []
    for peer in programs.parse_peers(os.environ.get("PEERS", "")):
        port = free_port()
        setting = nodes_setting(cluster.specs)
        program = programs.peer_program(peer, port, setting, cluster.folder)
        cluster.stack.callback(program.stop)
        program.start()
        roots = [program.pid]
        found.append(Contender(peer.name, port, peer.path, roots, cluster.roots))
    return found


def in_turns(field: list[T], number: int) -> list[T]:
    """Return all of it, in another order each round: each is first as often.

    After as many rounds as there are, each has another one behind it.
    """
    start = number % len(field)
    order = field[start:] + field[:start]
    return order[::-1] if number // len(field) % 2 else order
