"""Real S3 nodes behind faulty proxies, and gateways that use them: for the promises."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import Self, TypeVar

from amazin.cluster.cluster import Cluster
from amazin.errors import NodeUnreachableError, NoSuchKeyError
from amazin.membership.membership import Membership
from amazin.membership.transitions import DesiredNodes
from amazin.model.node_specs import NodeSpec, TimeLimits
from amazin.model.objects import Label, ObjectName, Stamp
from amazin.nodes.build import AbsentNode
from amazin.nodes.interface import Node
from amazin.nodes.s3.node import S3Node
from amazin.repair.report import Options, Report
from amazin.repair.run import Repair
from hashing import Ranker
from tests.support.fakes import FakeDiscovery
from tests.support.faulty import (
    ANSWER_SECONDS,
    REFUSED,
    RESET_AT_ONCE,
    TRANSFER_SECONDS,
    Backend,
    Fault,
    FaultyProxy,
)
from tests.support.memory_s3 import Request
from tests.support.waiting import PATIENCE_SECONDS
from tests.support.world import read, stream

T = TypeVar("T")
A_LONG_TIME = 10_000.0
PATIENT = TimeLimits(connect=5.0, answer=10.0, transfer=10.0)
IMPATIENT = TimeLimits(connect=5.0, answer=ANSWER_SECONDS, transfer=TRANSFER_SECONDS)
KEYS = ("key", "secret-key")
CLIENTS = 32
"""How many things are done at once."""


@dataclass(frozen=True)
class Gateway:
    """One process's view of the nodes."""

    membership: Membership
    cluster: Cluster

    def close(self) -> None:
        """End its threads and connections."""
        self.membership.close()

    @property
    def skipped(self) -> list[str]:
        """The nodes that it holds for ill."""
        members = self.membership.snapshot().members
        return [name for name, member in members.items() if member.is_skipped]

    def read(self, name: ObjectName) -> bytes | None:
        """Return an object's bytes; None: there is none."""
        try:
            return read(self.cluster.get(name))
        except NoSuchKeyError:
            return None

    def read_later(self, name: ObjectName) -> bytes | None:
        """Return an object's bytes; None: there is none.

        A busy machine makes a healthy node so slow that it is skipped for a while.
        """
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return self.read(name)
            except NodeUnreachableError:
                if not self.skipped or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def put(self, name: ObjectName, body: bytes) -> None:
        """Store an object."""
        half = len(body) // 2
        self.cluster.put(name, stream(body[:half], body[half:]), {"X-Colour": "blue"})

    def delete(self, name: ObjectName) -> None:
        """Delete an object."""
        self.cluster.delete(name)


class Site:
    """Nodes `node-1` and so on, each behind a proxy, and their first roster."""

    def __init__(
        self,
        backends: Sequence[Backend],
        replicas: int,
        keys: Sequence[tuple[str, str]] = (),
    ) -> None:
        self.replicas = replicas
        self._backends = backends
        self._keys = keys or [KEYS] * len(backends)
        self.proxies = {
            f"node-{number}": FaultyProxy(backend)
            for number, backend in enumerate(backends, 1)
        }
        self._ranker = Ranker(dict.fromkeys(self.proxies, 1.0))
        self._numbers = itertools.count()
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        for proxy in self.proxies.values():
            self._stack.enter_context(proxy)
        with self.gateway() as gateway:
            gateway.membership.snapshot()
            gateway.membership.bootstrap()
            roster = gateway.membership.snapshot().roster
            assert roster
            assert roster.is_settled
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def beside(self) -> Site:
        """Return other ways to the same nodes."""
        return Site(self._backends, self.replicas, self._keys)

    # Gateways

    @contextmanager
    def gateway(
        self, away: Collection[str] = (), limits: TimeLimits = PATIENT
    ) -> Iterator[Gateway]:
        """Begin a gateway that holds no node for ill, but that some are stopped."""
        with closing(self._new_gateway(away, limits)) as gateway:
            yield gateway

    @contextmanager
    def gateways(self, count: int, limits: TimeLimits) -> Iterator[list[Gateway]]:
        """Begin several."""
        begun = in_parallel(lambda _: self._new_gateway((), limits), range(count))
        try:
            yield begun
        finally:
            in_parallel(Gateway.close, begun)

    def _new_gateway(self, away: Collection[str], limits: TimeLimits) -> Gateway:
        specs = [
            NodeSpec(name, None if name in away else proxy.url, *keys)
            for (name, proxy), keys in zip(
                self.proxies.items(), self._keys, strict=True
            )
        ]

        def build(spec: NodeSpec) -> Node:
            return S3Node(spec, limits) if spec.endpoint else AbsentNode(spec.name)

        membership = Membership(
            FakeDiscovery(*specs),
            build,
            A_LONG_TIME,
            DesiredNodes(self.replicas, {}),
            is_watching=False,
        )
        membership.snapshot()
        return Gateway(membership, Cluster(membership))

    def repair(self, limits: TimeLimits = PATIENT, days: int = 0) -> Report:
        """Run a repair, some days from now."""
        later = time.time_ns() + days * 24 * 3600 * 10**9
        with self.gateway(limits=limits) as gateway:
            return Repair(gateway.membership, Options(), lambda: later).run()

    # Names

    def names_in_order(self, name: ObjectName) -> list[str]:
        """Return the nodes, best first."""
        return self._ranker.rank(name.hash_key)

    def new_name(self, nodes: Collection[str], spots: Collection[int]) -> ObjectName:
        """Return a new name, for which these nodes have these places, from 0."""
        for number in self._numbers:
            name = ObjectName("store", f"k{number}")
            ranking = self.names_in_order(name)
            if {ranking[spot] for spot in spots} == set(nodes):
                return name
        raise AssertionError

    # Faults

    def fail(
        self,
        nodes: Collection[str],
        fault: Fault,
        aim: Callable[[Request], bool] = lambda request: True,
    ) -> None:
        """Let nodes fail."""
        for name in nodes:
            if fault is REFUSED:
                self.proxies[name].refuse()
            elif fault is RESET_AT_ONCE:
                self.proxies[name].reset_new_ones()
            else:
                self.proxies[name].fail(fault, aim)

    def heal(self) -> None:
        """Let all be well."""
        for proxy in self.proxies.values():
            proxy.heal()

    @property
    def hits(self) -> int:
        """How many requests met a fault."""
        return sum(proxy.hits for proxy in self.proxies.values())

    # Objects

    def node(self, name: str) -> S3Node:
        """Return a node, to look at what it holds; to be closed."""
        number = list(self.proxies).index(name)
        return S3Node(
            NodeSpec(name, self.proxies[name].url, *self._keys[number]), PATIENT
        )

    def holders(self, name: ObjectName) -> set[str]:
        """Return the nodes that list a key."""
        found = set()
        for node_name in self.proxies:
            node = self.node(node_name)
            found.update(
                node_name
                for key, _ in node.list_objects(name.bucket)
                if key == name.key
            )
            node.close()
        return found

    def put_on(self, node_name: str, name: ObjectName, body: bytes) -> None:
        """Put an old copy on one node, wherever it belongs."""
        node = self.node(node_name)
        node.start_put(name, body, Label(Stamp(1, 1)), {}).wait()
        node.close()


def in_parallel(act: Callable[..., T], *arguments: Sequence[object]) -> list[T]:
    """Map, by some threads."""
    with ThreadPoolExecutor(CLIENTS) as pool:
        return list(pool.map(act, *arguments))
