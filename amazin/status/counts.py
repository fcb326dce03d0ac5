"""Counts the objects on the nodes, all nodes at once, in constant memory.

It walks over the nodes' listings, page by page. Nothing is looked up, nothing is
changed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from amazin.cluster.copy_counts import Copies
from amazin.errors import NodeError
from amazin.membership.member import CLOSE_SECONDS, Member
from amazin.model.objects import DATA_BUCKETS

LEAST_PAUSE_SECONDS = 30.0
"""Minimum pause between two counts of a node."""
PAUSE_SHARE = 10.0
"""A pause is at least this many times as long as the count before it."""
RETRY_SECONDS = 5.0
"""From a count that failed to the next one."""


@dataclass
class Count(Copies):
    """The copies on one node; grows while the node is being counted."""

    ended_at: float | None = None
    """On the monotonic clock; None: the count is running, or has failed."""
    problem: str = ""
    """Why the count failed."""


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
