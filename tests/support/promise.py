"""A world in which everything happens, to hold the rules against their promise.

Nodes fail before, during and after any request, and lose their disks; nodes join,
leave, vanish and come back; two gateways with skewed clocks and views of different
age work on them; operations stop at any point and others go on meanwhile. Nothing
runs by itself: time, threads and the order of everything are the test's.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from greenlet import greenlet

from amazin.cluster.cluster import Cluster
from amazin.cluster.stamps import Stamps
from amazin.errors import (
    ConflictError,
    LateError,
    NodeError,
    NodeFullError,
    NoNodesError,
    NoSuchKeyError,
    RepairError,
)
from amazin.membership.membership import Membership
from amazin.membership.roster import Roster, newest
from amazin.membership.transitions import DesiredNodes, forget
from amazin.model.node_specs import NodeSpec
from amazin.model.objects import (
    CHUNK_BYTES,
    DATA_BUCKETS,
    ROSTER_NAME,
    ObjectInfo,
    ObjectName,
    Stamp,
)
from amazin.nodes.build import AbsentNode
from amazin.nodes.interface import Node
from amazin.repair.report import Options, Report
from amazin.repair.run import Repair
from tests.support.fakes import FakeDiscovery, FakeDisk, FakeNode

REFRESH_SECONDS = 5.0
TICK_SECONDS = 1e-5
"""Between two operations: those of one clock have stamps in their order."""
ABSENT = b""
PADDING = bytes(CHUNK_BYTES)
"""Makes a body too large to be held in memory."""
ERRORS = (NodeError, NoNodesError, ConflictError, RepairError, LateError)


class Wire:
    """Between one gateway and one node: fails, and lets others go first."""

    def __init__(self, world: World, name: str) -> None:
        self._world = world
        self._name = name

    def pass_on(self, moment: str, bucket: str, method: str) -> None:
        """Before or after the node does something: pause, then fail if it has to."""
        event = self._world.current_event()
        steps = ("get", "head", "put")
        if not (event and event.is_stream):  # see `cluster.Cluster._guard`
            steps = (*steps, "write", "commit")
        if bucket in DATA_BUCKETS and method in steps:
            self._world.pause()
        fault = self._world.faults.get(self._name, "")
        if fault == "down" or (fault == "deaf" and moment == "after"):
            raise NodeError(fault)

    def note_stamp(self, stamp: Stamp) -> None:
        """Remember under which stamp the current operation stores something."""
        event = self._world.current_event()
        if event:
            event.stamp = max(event.stamp, stamp)

    def note_full(self) -> None:
        """Remember that a node had no room for what the current operation stores."""
        event = self._world.current_event()
        if event:
            event.met_full = True


class WiredPending:
    """See `Pending`."""

    def __init__(self, wire: Wire, pending: Any, bucket: str, method: str) -> None:
        self._wire = wire
        self._pending = pending
        self._bucket = bucket
        self._method = method

    def is_ready(self, timeout: float) -> bool:
        return True

    def wait(self) -> Any:
        self._wire.pass_on("before", self._bucket, self._method)
        try:
            return self._pending.wait()
        except NodeFullError:
            self._wire.note_full()
            raise
        finally:
            self._wire.pass_on("after", self._bucket, self._method)

    def cancel(self) -> None:
        self._pending.cancel()


class WiredUpload:
    """See `Upload`."""

    def __init__(self, wire: Wire, upload: Any, bucket: str) -> None:
        self._wire = wire
        self._upload = upload
        self._bucket = bucket

    def write(self, chunk: bytes) -> None:
        self._wire.pass_on("before", self._bucket, "write")
        self._upload.write(chunk)

    def start_commit(self) -> WiredPending:
        pending = self._upload.start_commit()
        return WiredPending(self._wire, pending, self._bucket, "commit")

    def abort(self) -> None:
        self._upload.abort()


class WiredNode(FakeNode):
    """A `FakeNode` behind a wire."""

    start_trial = None  # type: ignore[assignment]
    """No `TriedNode`: a thread would try it, at moments that can't be repeated."""

    def __init__(self, spec: NodeSpec, disk: FakeDisk, wire: Wire) -> None:
        super().__init__(spec, disk)
        self._wire = wire

    def start_get(self, name: ObjectName, **options: Any) -> Any:
        pending = super().start_get(name, **options)
        return WiredPending(self._wire, pending, name.bucket, "get")

    def start_head(self, name: ObjectName) -> Any:
        return WiredPending(self._wire, super().start_head(name), name.bucket, "head")

    def start_put(self, name: ObjectName, *arguments: Any, **options: Any) -> Any:
        # A manifest is judged when it is sent: see `part_streams.ManifestBody`.
        self._wire.pass_on("before", name.bucket, "write")
        self._wire.note_stamp(arguments[1].stamp)
        pending = super().start_put(name, *arguments, **options)
        return WiredPending(self._wire, pending, name.bucket, "commit")

    def start_upload(self, name: ObjectName, *arguments: Any, **options: Any) -> Any:
        self._wire.pass_on("before", name.bucket, "put")
        self._wire.note_stamp(arguments[1].stamp)
        upload = super().start_upload(name, *arguments, **options)
        return WiredUpload(self._wire, upload, name.bucket)

    def start_delete(self, name: ObjectName, **options: Any) -> Any:
        pending = super().start_delete(name, **options)
        return WiredPending(self._wire, pending, name.bucket, "delete")

    def make_bucket(self, bucket: str) -> None:
        self._wire.pass_on("before", "", "bucket")
        super().make_bucket(bucket)

    def list_objects(
        self, bucket: str, prefix: str = "", after: str = ""
    ) -> Iterator[tuple[str, ObjectInfo]]:
        self._wire.pass_on("before", bucket, "list")
        yield from list(super().list_objects(bucket, prefix, after))
        self._wire.pass_on("after", bucket, "list")


class Token:
    """A body that is known again; a stream pauses between its pieces."""

    def __init__(self, world: World, data: bytes, is_stream: bool) -> None:
        self.length = len(data)
        self._world = world
        self._data = data
        self._is_stream = is_stream

    def chunks(self) -> Iterable[bytes]:
        if not self._is_stream:
            yield self._data
            return
        yield self._data[:1]
        self._world.pause()
        yield self._data[1:]

    def can_restart(self) -> bool:
        return not self._is_stream


@dataclass
class Event:
    """One operation of a client, and when; `end` is None while it runs."""

    kind: str
    name: ObjectName
    value: bytes
    """What is written, or was read."""
    begin: int
    end: int | None = None
    outcome: str = ""
    """`ok`, or the class of the error."""
    is_stream: bool = False
    stamp: Stamp = field(default=Stamp(0, 0))
    """The greatest one under which something was stored for it."""
    met_full: bool = False
    """Whether a node refused something of it for lack of room."""


class Gateway:
    """One process: a membership and a cluster, with a clock that may be wrong."""

    def __init__(self, world: World, replicas: int | None, skew_ns: int = 0) -> None:
        self.discovery = FakeDiscovery(*world.specs())
        desired = DesiredNodes(replicas, {}) if replicas else None
        self.membership = Membership(
            self.discovery,
            world.build,
            REFRESH_SECONDS,
            desired,
            clock=lambda: world.now,
            is_watching=False,
        )
        self.cluster = world.new_cluster(
            self.membership, lambda: world.now_ns + skew_ns, world.new_tie_break
        )

    def close(self) -> None:
        """End what it started."""
        self.membership.close()


@dataclass
class World:
    """Disks, gateways, time, and the history of all that clients did."""

    disks: dict[str, FakeDisk] = field(default_factory=dict)
    shown: dict[str, float] = field(default_factory=dict)
    """The weights of the nodes that discovery shows."""
    faults: dict[str, str] = field(default_factory=dict)
    """`down`, or `deaf`: it does what it is asked, and the answer is lost."""
    now: float = 1000.0
    running: dict[int, tuple[greenlet, Event | None]] = field(default_factory=dict)
    history: list[Event] = field(default_factory=list)
    new_cluster: Callable[..., Any] = lambda membership, *stamps: Cluster(
        membership, Stamps(*stamps)
    )
    """Called with a membership, a clock, and what breaks ties of stamps."""

    def __post_init__(self) -> None:
        self._numbers = itertools.count(1)
        self._moments = itertools.count(1)
        self._random = Random(0)
        self.gateways: list[Gateway] = []

    @property
    def now_ns(self) -> int:
        return int(self.now * 10**9)

    def new_tie_break(self) -> int:
        """Return the same numbers in each world: what happens can be repeated."""
        return self._random.getrandbits(32)

    def specs(self) -> list[NodeSpec]:
        """What discovery says now."""
        return [
            NodeSpec(name, f"http://{name}", weight=weight)
            for name, weight in self.shown.items()
        ]

    def build(self, spec: NodeSpec) -> Node:
        if spec.endpoint is None:
            return AbsentNode(spec.name)
        disk = self.disks.setdefault(spec.name, FakeDisk())
        return WiredNode(spec, disk, Wire(self, spec.name))

    # Operations that stop anywhere

    def pause(self) -> None:
        """Let the others go on, if this is an operation that can wait."""
        current = greenlet.getcurrent()
        if any(current is lane for lane, _ in self.running.values()):
            current.parent.switch()

    def current_event(self) -> Event | None:
        """The operation that runs now."""
        current = greenlet.getcurrent()
        events = [event for lane, event in self.running.values() if lane is current]
        return events[0] if events else None

    def begin(self, work: Callable[[], object], event: Event | None) -> int:
        """Start an operation; it stands still until it is stepped."""
        number = next(self._numbers)
        lane = greenlet(work)
        self.running[number] = (lane, event)
        return number

    def step(self, number: int) -> None:
        """Let an operation go on to its next pause."""
        lane, _ = self.running[number]
        lane.switch()
        if lane.dead:
            del self.running[number]

    def finish(self, number: int) -> None:
        """Let an operation go on to its end."""
        while number in self.running:
            self.step(number)

    def operation(
        self, kind: str, gateway: int, name: ObjectName, is_stream: bool
    ) -> int:
        """Begin a put, get, head or delete."""
        value = b"%06d" % next(self._moments) if kind == "put" else ABSENT
        if kind == "put" and is_stream:
            value += PADDING
        event = Event(kind, name, value, next(self._moments), is_stream=is_stream)
        self.history.append(event)
        self.now += TICK_SECONDS
        cluster = self.gateways[gateway].cluster

        def work() -> None:
            try:
                if kind == "put":
                    cluster.put(name, Token(self, value, is_stream), {})
                elif kind == "delete":
                    cluster.delete(name)
                elif kind == "head":
                    event.value = cluster.head(name).info.etag.encode()
                else:
                    event.value = self._read(cluster, name)
                event.outcome = "ok"
            except NoSuchKeyError:
                event.outcome = "ok"
            except ERRORS as exc:
                event.outcome = type(exc).__name__
            event.end = next(self._moments)

        return self.begin(work, event)

    def listing(self, gateway: int, names: Sequence[ObjectName]) -> int:
        """Begin a listing of all keys; it counts as a look at each of these."""
        begin = next(self._moments)
        events = [Event("head", name, ABSENT, begin) for name in names]
        self.history += events
        cluster = self.gateways[gateway].cluster

        def work() -> None:
            outcome = "ok"
            try:
                listed = {key: info.etag.encode() for key, info in cluster.list("")}
                for event in events:
                    event.value = listed.get(event.name.key, ABSENT)
            except ERRORS as exc:
                outcome = type(exc).__name__
            end = next(self._moments)
            for event in events:
                event.outcome, event.end = outcome, end

        return self.begin(work, events[0])

    def _read(self, cluster: Cluster, name: ObjectName) -> bytes:
        download = cluster.get(name)
        try:
            return b"".join(iter(download.content.read, b""))
        finally:
            download.content.close()

    def repair(self, gateway: Gateway, reports: list[Report | None]) -> int:
        """Begin a run of `repair`."""

        def work() -> None:
            try:
                repair = Repair(
                    gateway.membership, Options(workers=1), lambda: self.now_ns
                )
                reports.append(repair.run())
            except ERRORS:
                reports.append(None)

        return self.begin(work, None)

    def forget(self, gateway: Gateway, name: str) -> bool:
        """Give a node up, and its disk with it."""
        return gateway.membership.change(lambda roster: forget(roster, {name}))

    # The truth

    def roster(self) -> Roster | None:
        """The newest one on any disk."""
        rosters = []
        for name, disk in self.disks.items():
            if ROSTER_NAME in disk.objects:
                rosters.append(Roster.load(disk.objects[ROSTER_NAME][1], name))
        found = newest(rosters)
        return found[0] if len(found) == 1 else None

    def holders(self) -> set[str]:
        """Nodes that hold a roster."""
        disks = self.disks.items()
        return {name for name, disk in disks if ROSTER_NAME in disk.objects}

    def gone(self) -> set[str]:
        """Nodes whose data is lost, and not made good yet."""
        roster = self.roster()
        if roster is None:
            return set()
        disks = self.disks
        lost = {n for n in roster.data_nodes if ROSTER_NAME not in disks[n].objects}
        return lost | set(roster.forgotten)

    def may_lose(self, name: str) -> bool:
        """Whether the promise allows that one more disk is lost."""
        roster = self.roster()
        if roster is None or roster.settled is None:
            return False
        gone = self.gone() | {name}
        return len(gone) < min(nodes.replicas for nodes in roster.sets)


def is_allowed(history: Sequence[Event], read: Event) -> bool:
    """Whether a client may be told this: the promise, literally.

    The last acknowledged write, or one that overlapped it or came later. A write
    that failed may have happened, or happen as late as its stamp is greater than that
    of what was acknowledged since.
    """
    assert read.end is not None
    writes = [Event("delete", read.name, ABSENT, 0, 0, "ok")]
    writes += [
        event
        for event in history
        if event.kind in ("put", "delete")
        and event.name == read.name
        and event.begin < read.end
    ]
    acknowledged = [
        w for w in writes if w.outcome == "ok" and w.end and w.end < read.begin
    ]
    return any(
        tells(read, write) and not any(replaces(x, write) for x in acknowledged)
        for write in writes
    )


def tells(read: Event, write: Event) -> bool:
    """Whether a read gave what was written."""
    if read.kind == "head" and write.value != ABSENT:
        return read.value == hashlib.md5(write.value).hexdigest().encode()
    return read.value == write.value


def replaces(later: Event, earlier: Event) -> bool:
    """Whether an acknowledged write makes an earlier one impossible."""
    if earlier.end is None or later.begin < earlier.end:
        return False
    if earlier.outcome == "ok" or earlier.stamp < later.stamp:
        return True
    return later.stamp == Stamp(0, 0)  # a delete that found nothing left to delete
