"""A cluster over nodes in memory, and what happens to it: for the promises."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest

from amazin.cluster.cluster import TOMBSTONE, Cluster, Download
from amazin.cluster.stamps import Stamps
from amazin.errors import BodyError, NodeError, NodeTimeoutError
from amazin.membership.member import Member
from amazin.membership.membership import Membership
from amazin.membership.roster import Roster
from amazin.membership.transitions import DesiredNodes
from amazin.model.node_specs import NodeSpec
from amazin.model.objects import (
    CHUNK_BYTES,
    ROSTER_NAME,
    Label,
    ObjectInfo,
    ObjectName,
    Stamp,
)
from amazin.nodes.build import AbsentNode
from amazin.nodes.interface import Node
from hashing import Ranker
from tests.support.cleanup import closed_later
from tests.support.fakes import FakeDiscovery, FakeDisk, FakeNode
from tests.support.waiting import await_that

MOST_NODES = 6
REFRESH_SECONDS = 5.0
A_LONG_TIME = 100.0
"""Longer than anybody acts on what he knew before."""


def has_newest_first(name: ObjectName) -> bool:
    """Whether each node that joins becomes the key's first: the worst that happens."""
    names = [f"node-{number}" for number in range(1, MOST_NODES + 1)]
    return Ranker(dict.fromkeys(names, 1.0)).rank(name.hash_key) == names[::-1]


NAME = next(
    filter(has_newest_first, (ObjectName("store", f"{n}") for n in itertools.count()))
)
"""Of nodes 1 to 3 its home begins with 3; with node 4 it begins with 4; and so on."""


SILENT = NodeTimeoutError("silent")
BROKEN = NodeError("500")
LONG = (bytes(range(251)) * CHUNK_BYTES)[: 3 * CHUNK_BYTES]
CHUNKS = [LONG[at : at + CHUNK_BYTES] for at in range(0, len(LONG), CHUNK_BYTES)]
HEADERS = {"Content-Type": "text/plain", "X-Colour": "blue"}
FAR_FUTURE = Stamp(10**15, 0)
NEVER_STORED = ObjectName("store", "never")

any_replicas = pytest.mark.parametrize("replicas", [1, 2, 3])


class Bytes:
    """A body of some chunks: in memory, or a stream that can be read once."""

    def __init__(self, *chunks: bytes, is_stream: bool = False, missing: int = 0):
        self.length = sum(map(len, chunks)) + missing
        self._chunks = chunks
        self._is_stream = is_stream
        self._missing = missing
        self.reads = 0
        """How many chunks were read."""
        self.before: list[Callable[[], object]] = []
        """Called, one by one, before each chunk."""

    def chunks(self) -> Iterable[bytes]:
        for chunk in self._chunks:
            if self.before:
                self.before.pop(0)()
            self.reads += 1
            yield chunk
        if self._missing:
            raise BodyError("too short")

    def can_restart(self) -> bool:
        return not (self._is_stream and self.reads)


def stream(*chunks: bytes, missing: int = 0) -> Bytes:
    """Return a body that can be read once."""
    return Bytes(*chunks, is_stream=True, missing=missing)


class World:
    """A cluster over fake nodes, which are `node-1` and so on."""

    def __init__(
        self, replicas: int | None = 1, count: int = 3, *, is_formed: bool = True
    ) -> None:
        self.time = 1000.0
        self.now_ns = 1_000
        self.disks: dict[str, FakeDisk] = {}
        self.specs: dict[str, NodeSpec] = {}
        self.discovery = FakeDiscovery()
        self.membership = self.new_membership(replicas)
        self.cluster = Cluster(self.membership, Stamps(lambda: self.now_ns))
        self.show(*(f"node-{number}" for number in range(1, count + 1)))
        if is_formed:
            self.membership.snapshot()
            self.membership.bootstrap()
            assert self.roster.is_settled
            self.forget_calls()

    @classmethod
    def beside(cls, other: World, replicas: int | None) -> World:
        """Return another gateway on the same nodes, at the same time.

        Without replicas it proposes no change of the set of nodes.
        """
        world = cls(replicas, 0, is_formed=False)
        world.disks, world.specs = other.disks, other.specs
        world.discovery.specs = other.discovery.specs
        world.time = other.time
        world.membership.refresh()
        return world

    def new_membership(self, replicas: int | None) -> Membership:
        """Return what another gateway knows of the same nodes."""
        membership = Membership(
            self.discovery,
            self._build,
            REFRESH_SECONDS,
            None if replicas is None else DesiredNodes(replicas, {}),
            first_pause_seconds=0.01,
            clock=lambda: self.time,
            is_watching=False,
        )
        return closed_later(membership)

    def _build(self, spec: NodeSpec) -> Node:
        if spec.endpoint is None:
            return AbsentNode(spec.name)
        return FakeNode(spec, self.disks[spec.name])

    # Nodes

    def show(self, *names: str, **changes: str) -> None:
        """Let discovery show exactly these, from its next question on."""
        for name in names:
            self.disks.setdefault(name, FakeDisk())
            spec = self.specs.get(name) or NodeSpec(name, f"http://{name}")
            self.specs[name] = replace(spec, **changes)
        self.discovery.specs = [self.specs[name] for name in names]

    @property
    def names(self) -> list[str]:
        """All nodes, best first for `NAME`."""
        return sorted(self.disks, reverse=True)

    @property
    def ranked(self) -> list[FakeDisk]:
        """Their disks."""
        return [self.disks[name] for name in self.names]

    def member(self, disk: FakeDisk) -> Member:
        """Return the node on a disk."""
        name = next(name for name, other in self.disks.items() if other is disk)
        return self.membership.snapshot().members[name]

    def recover(self, *disks: FakeDisk) -> None:
        """Let nodes answer again, and wait until they are asked again."""
        for disk in disks:
            disk.failing, disk.is_silent = None, False
            disk.failures.clear()
            member = self.member(disk)
            await_that(lambda member=member: not member.is_skipped)

    # The set of nodes

    @property
    def roster(self) -> Roster:
        """What the cluster goes by."""
        roster = self.membership.snapshot().roster
        assert roster
        return roster

    def announce(self) -> None:
        """Let another node join, up to where it is known but not written to."""
        self.show(*self.disks, f"node-{len(self.disks) + 1}")
        self.membership.refresh()
        assert self.roster.next
        assert not self.roster.is_open

    def open(self) -> None:
        """Wait until writes go by the next set of nodes."""
        self.time += A_LONG_TIME
        self.membership.refresh()
        self.membership.refresh()
        assert self.roster.is_open

    def join(self) -> None:
        """Let another node join, up to where it is written to."""
        self.announce()
        self.open()
        self.forget_calls()

    def record(self, roster: Roster) -> None:
        """Let all nodes remember this roster."""
        for name in roster.holders:
            label = Label(Stamp(roster.generation, 0))
            self.disks[name].store(ROSTER_NAME, roster.dump(name), label)
        self.membership.refresh()
        self.forget_calls()

    # Objects

    def put(self, *chunks: bytes) -> None:
        self.cluster.put(NAME, Bytes(*chunks), {})

    def read(self, name: ObjectName = NAME) -> bytes:
        return read(self.cluster.get(name))

    def bodies(self, name: ObjectName = NAME) -> list[bytes | None]:
        """What the nodes hold, best node first; None: nothing, or a tombstone."""
        return [body_on(disk, name) for disk in self.ranked]

    def forget_calls(self) -> None:
        """Of roster and objects."""
        for disk in self.disks.values():
            disk.calls.clear()
            disk.opened.clear()

    def calls_now(self) -> list[list[str]]:
        """What the nodes were asked since, best node first."""
        return [
            [call for call in disk.calls if call not in ("abort", "check", "look")]
            for disk in self.ranked
        ]

    def calls(self) -> list[list[str]]:
        """The same, and forget it."""
        asked = self.calls_now()
        self.forget_calls()
        return asked


def world_of(replicas: int) -> World:
    """Return a cluster of as many nodes as the replicas need."""
    return World(replicas, max(3, 2 * replicas - 1))


def world_with(replicas: int, body: bytes = b"hello") -> World:
    """Return the same, with an object."""
    world = world_of(replicas)
    world.put(body)
    world.forget_calls()
    return world


def body_on(disk: FakeDisk, name: ObjectName = NAME) -> bytes | None:
    """Return what a node holds."""
    info, body = disk.objects.get(name, (None, None))
    return None if info is None or info.is_deleted else body


def has_tombstone(disk: FakeDisk, name: ObjectName = NAME) -> bool:
    """Whether a node holds a tombstone."""
    return name in disk.objects and disk.objects[name][0].is_deleted


def read(download: Download) -> bytes:
    """Read a download to its end."""
    try:
        return b"".join(iter(download.content.read, b""))
    finally:
        download.content.close()


def labels(world: World) -> list[Label | None]:
    """What the copies are labelled with, best node first."""
    return [
        disk.objects[NAME][0].label for disk in world.ranked if NAME in disk.objects
    ]


def copy_of(disk: FakeDisk, info: ObjectInfo) -> bool:
    """Whether a node holds a copy, with the same stamp and headers."""
    return disk.objects.get(NAME, (None, b""))[0] == info


def put_tombstone(disk: FakeDisk, nanoseconds: int = 500, epoch: int = 0) -> None:
    """Let a node hold a tombstone."""
    label = Label(Stamp(nanoseconds, 0), epoch, is_deleted=True)
    disk.store(NAME, b"".join(TOMBSTONE.chunks()), label)


def act_at(
    disk: FakeDisk, method: str, act: Callable[[], object], skip: int = 0
) -> None:
    """Let something happen once, when a node has been asked this so many times."""
    calls = itertools.count()

    def count() -> None:
        if next(calls) == skip:
            act()

    disk.before[method] = count


def fail_at(disk: FakeDisk, method: str, error: NodeError, skip: int = 0) -> None:
    """Let a node fail for good when it comes to this."""
    act_at(disk, method, lambda: setattr(disk, "failing", error), skip)


class Once:
    """Does something when it is called first, and nothing later."""

    def __init__(self, act: Callable[[], object]) -> None:
        self._act = act
        self.is_done = False

    def __call__(self) -> None:
        if not self.is_done:
            self.is_done = True
            self._act()


def whole(info: ObjectInfo) -> tuple[int, int]:
    """Look at an object first; then choose all of it."""
    return (0, info.size - 1)


READS: dict[str, Callable[[World], bytes | int]] = {
    "get": lambda world: world.read(),
    "look and get": lambda world: read(world.cluster.get(NAME, whole)),
    "head": lambda world: world.cluster.head(NAME).info.size,
}
any_read = pytest.mark.parametrize("look", list(READS.values()), ids=list(READS))
