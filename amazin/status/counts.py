"""Counts the objects on the nodes, all nodes at once, in constant memory.

It walks over the nodes' listings, page by page. Nothing is looked up, nothing is
changed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from amazin.cluster.cluster import TOMBSTONE, TOMBSTONE_ETAG
from amazin.errors import NodeError
from amazin.membership.member import CLOSE_SECONDS, Member
from amazin.model.objects import DATA_BUCKETS, ObjectInfo
from amazin.model.stored_names import CHECK_NAME, MARKERS, PARTS

LEAST_PAUSE_SECONDS = 30.0
"""Minimum pause between two counts of a node."""
PAUSE_SHARE = 10.0
"""A pause is at least this many times as long as the count before it."""
RETRY_SECONDS = 5.0
"""From a count that failed to the next one."""


@dataclass
class Count:
    """The copies on one node; grows while the node is being counted."""

    objects: int = 0
    """Copies of what clients stored; an object in parts counts once."""
    parts: int = 0
    tombstones: int = 0
    """What remains for a while of deleted objects."""
    markers: int = 0
    """The small objects that make buckets exist, and the result of the last check."""
    bytes: int = 0
    """The size of all of these together."""
    damaged: int = 0
    """Those of these that the node knows to be damaged or gone."""
    ended_at: float | None = None
    """On the monotonic clock; None: the count is running, or has failed."""
    problem: str = ""
    """Why the count failed."""

    @property
    def copies(self) -> int:
        """The number of all copies, of any kind: placement spreads all of them."""
        return self.objects + self.parts + self.tombstones + self.markers

    def add(self, key: str, info: ObjectInfo) -> None:
        """Count one more copy."""
        self.bytes += info.size
        self.damaged += info.is_damaged
        if is_tombstone(info):
            self.tombstones += 1
        elif key.startswith(MARKERS) or key == CHECK_NAME.key:
            self.markers += 1
        elif key.startswith(PARTS):
            self.parts += 1
        else:
            self.objects += 1


def is_tombstone(info: ObjectInfo) -> bool:
    """Whether a listing shows a tombstone; some nodes list no labels."""
    looks_like_one = info.size == TOMBSTONE.length and info.etag == TOMBSTONE_ETAG
    return info.is_deleted or looks_like_one


def total(counts: Iterable[Count]) -> Count:
    """Return the sum of the counts."""
    found = Count()
    for count in counts:
        found.objects += count.objects
        found.parts += count.parts
        found.tombstones += count.tombstones
        found.markers += count.markers
        found.bytes += count.bytes
        found.damaged += count.damaged
    return found


class Counting:
    """Counts each node in a thread of its own, once or repeatedly.

    A thread ends when its count is complete, or with the next object after `close`.
    """

    def __init__(
        self,
        find: Callable[[str], Member | None],
        *,
        repeats: bool = False,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], bool] | None = None,
    ) -> None:
        """`find` returns the node of a name, as it can be reached now.

        `sleep` is the pause between two counts; it returns whether that was the last.
        """
        self._find = find
        self._repeats = repeats
        self._clock = clock
        self._closing = threading.Event()
        self._sleep = sleep or self._closing.wait
        self._running: dict[str, Count] = {}
        self._last: dict[str, Count] = {}
        self._threads: dict[str, threading.Thread] = {}

    def begin(self, names: Iterable[str]) -> None:
        """Start counting those nodes that are not being counted."""
        for name in names:
            if name not in self._threads:
                self._running[name] = Count()
                self._threads[name] = threading.Thread(
                    target=self._run, args=(name,), name=f"count {name}", daemon=True
                )
                self._threads[name].start()

    def wait(self, seconds: float) -> bool:
        """Wait at most that long; return whether all nodes have been counted."""
        deadline = time.monotonic() + seconds
        for thread in self._threads.values():
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads.values())

    def close(self) -> None:
        """Stop counting; wait a moment for those threads that no node keeps waiting."""
        self._closing.set()
        self.wait(CLOSE_SECONDS)

    def counts(self) -> dict[str, Count]:
        """Return the last complete count of each node, or else the running one."""
        return {
            name: self._last.get(name) or self._running[name] for name in self._threads
        }

    def age(self, count: Count) -> float | None:
        """Return how many seconds ago the count was complete; None: it is not."""
        return None if count.ended_at is None else self._clock() - count.ended_at

    def _run(self, name: str) -> None:
        while True:
            began = self._clock()
            self._count(name)
            if not self._repeats:
                return
            took = self._clock() - began
            has_failed = bool(self._running[name].problem)
            pause = max(LEAST_PAUSE_SECONDS, PAUSE_SHARE * took)
            if self._sleep(RETRY_SECONDS if has_failed else pause):
                return

    def _count(self, name: str) -> None:
        count = self._running[name] = Count()
        try:
            member = self._find(name)
            if member is None:
                raise NodeError("the node is not known any more")
            for bucket in DATA_BUCKETS:
                for key, info in member.node.list_objects(bucket):
                    count.add(key, info)
                    if self._closing.is_set():
                        return
        except NodeError as exc:
            count.problem = str(exc) or type(exc).__name__
            return
        count.ended_at = self._clock()
        self._last[name] = count
