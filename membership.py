"""The nodes this process knows: the last good list, kept fresh in the background.

A name once seen stays known; what discovery no longer shows is an unreachable node,
never a forgotten one. A node that fails is skipped until it answers a probe, so that
clients don't wait for it. Does not decide which node holds what: see `cluster.py`.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from discovery import Discovery, WatchingDiscovery
from errors import (
    DiscoveryError,
    NodeAccessError,
    NodeError,
    NodeTimeoutError,
    NodeUnreachableError,
)
from hashing import Ranker
from nodes import Answer, Node, NodeSpec, Pending, Upload

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 5.0
"""Between two probes of a node that fails; doubles."""
FIRST_LIST_SECONDS = 5.0
"""How long the first requests wait for the first answer of discovery."""
SKIP_AFTER = (NodeUnreachableError, NodeTimeoutError, NodeAccessError)
"""Failures after which asking again at once is pointless."""

log = logging.getLogger("amazin.membership")


class Member:
    """A node, and whether it is being skipped. Thread-safe."""

    def __init__(
        self,
        spec: NodeSpec,
        node: Node,
        first_pause_seconds: float = FIRST_PAUSE_SECONDS,
    ) -> None:
        self.spec = spec
        self.node = node
        self.name = spec.name
        self._first_pause_seconds = first_pause_seconds
        self._is_skipped = False
        self._is_retired = threading.Event()
        self._lock = threading.Lock()

    @property
    def is_skipped(self) -> bool:
        """Whether the node failed and hasn't answered a probe since."""
        return self._is_skipped

    def ask(self, start: Callable[[Node], Pending[Answer]]) -> Pending[Answer]:
        """Send a question. Raises: NodeError, at once if the node is skipped."""
        self._refuse_if_skipped()
        try:
            return _WatchedPending(self, start(self.node))
        except NodeError as exc:
            self.note_failure(exc)
            raise

    def upload(self, start: Callable[[Node], Upload]) -> Upload:
        """Begin an upload. Raises: NodeError, at once if the node is skipped."""
        self._refuse_if_skipped()
        try:
            return start(self.node)
        except NodeError as exc:
            self.note_failure(exc)
            raise

    def _refuse_if_skipped(self) -> None:
        if self._is_skipped:
            error = NodeUnreachableError("the node failed a moment ago")
            error.node = self.name
            raise error

    def note_failure(self, error: NodeError) -> None:
        """Skip the node from now on, if the failure is of a kind that lasts."""
        error.node = self.name
        if not isinstance(error, SKIP_AFTER) or self.spec.endpoint is None:
            return
        with self._lock:
            if self._is_skipped or self._is_retired.is_set():
                return
            self._is_skipped = True
        log.warning("node %s is skipped: %s", self.name, error)
        threading.Thread(
            target=self._probe, name=f"probe {self.name}", daemon=True
        ).start()

    def _probe(self) -> None:
        pause = self._first_pause_seconds
        while not self._is_retired.wait(pause):
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
            try:
                self.node.start_check().wait()
            except Exception:  # noqa: BLE001 - a bug in a node must not end the probing
                continue
            self._is_skipped = False
            log.info("node %s answers again", self.name)
            return

    def retire(self) -> None:
        """Another member takes this one's place: end the probing."""
        self._is_retired.set()
        self.node.close()


class _WatchedPending(Pending[Answer]):
    """A question whose failure is noted."""

    def __init__(self, member: Member, pending: Pending[Answer]) -> None:
        self._member = member
        self._pending = pending

    def wait(self) -> Answer:
        try:
            return self._pending.wait()
        except NodeError as exc:
            self._member.note_failure(exc)
            raise

    def cancel(self) -> None:
        self._pending.cancel()


@dataclass(frozen=True)
class Snapshot:
    """The nodes at one moment, ready to be ranked."""

    members: dict[str, Member]
    """By stable name."""
    ranker: Ranker
    problem: str
    """Why there may be fewer nodes than there should be; empty if all is well."""

    def ranked(self, hash_key: bytes) -> list[Member]:
        """Return all members, best score for the key first."""
        return [self.members[name] for name in self.ranker.rank(hash_key)]


class Membership:
    """Follows discovery. Threads start with the first question, once per process."""

    def __init__(
        self,
        discovery: Discovery,
        build_node: Callable[[NodeSpec], Node],
        refresh_seconds: float,
        *,
        first_list_seconds: float = FIRST_LIST_SECONDS,
        first_pause_seconds: float = FIRST_PAUSE_SECONDS,
    ) -> None:
        self._discovery = discovery
        self._build_node = build_node
        self._refresh_seconds = refresh_seconds
        self._first_list_seconds = first_list_seconds
        self._first_pause_seconds = first_pause_seconds
        self._snapshot = Snapshot(
            {}, Ranker({}), "The nodes are still being looked for"
        )
        self._inherited: list[Snapshot] = []
        self._reset()
        reference = weakref.ref(self)
        os.register_at_fork(after_in_child=lambda: _reset_in_child(reference))

    def _reset(self) -> None:
        self._refreshes_begun = 0
        self._start_lock = threading.Lock()
        self._refresh_lock = threading.Lock()
        self._first_list = threading.Event()
        self._is_started = False

    def reset_in_child(self) -> None:
        """Begin anew in a forked process: threads, locks and connections.

        The names stay known. What the parent's nodes hold is the parent's: it is
        neither used nor closed here.
        """
        self._inherited.append(self._snapshot)
        specs = [member.spec for member in self._snapshot.members.values()]
        members = {spec.name: self._new_member(spec) for spec in specs}
        self._snapshot = replace(self._snapshot, members=members)
        self._reset()

    def snapshot(self) -> Snapshot:
        """Return the nodes as last seen; waits for the first list, for a while."""
        if not self._is_started:
            self._start()
        if not self._first_list.is_set():
            self._first_list.wait(self._first_list_seconds)
        return self._snapshot

    def _start(self) -> None:
        with self._start_lock:
            if not self._is_started:
                self._is_started = True
                threading.Thread(
                    target=self._follow, name="discovery", daemon=True
                ).start()

    def _follow(self) -> None:
        own = self._discovery
        watching = own if isinstance(own, WatchingDiscovery) else None
        while True:
            self.refresh()
            if watching is None:
                time.sleep(self._refresh_seconds)
                continue
            try:
                watching.wait(self._refresh_seconds)
            except Exception:  # anyone's own class may raise anything
                log.exception("discovery can't wait for changes; it is asked regularly")
                watching = None

    def refresh(self) -> None:
        """Read the list of nodes now.

        Of callers that wait for a refresh that runs, one reads for all.
        """
        seen = self._refreshes_begun
        with self._refresh_lock:
            if self._refreshes_begun == seen:
                self._refreshes_begun += 1
                self._read_list()

    def _read_list(self) -> None:
        problem = ""
        try:
            self._adopt(list(self._discovery.find()))
        except DiscoveryError as exc:
            problem = str(exc)
        except Exception as exc:  # anyone's own class may raise or return anything
            problem = f"Discovery failed with {type(exc).__name__}"
            log.debug("discovery failed", exc_info=True)
        if problem and problem != self._snapshot.problem:
            log.warning("the list of nodes can't be read: %s", problem)
        self._snapshot = replace(self._snapshot, problem=problem)
        self._first_list.set()

    def _adopt(self, found: Sequence[NodeSpec]) -> None:
        """Make the found nodes those of this process; all of them, or raise."""
        old = self._snapshot.members
        specs = {
            name: replace(member.spec, endpoint=None) for name, member in old.items()
        }
        specs.update({spec.name: spec for spec in found})
        if len({spec.name for spec in found}) < len(found):
            raise DiscoveryError("Two nodes have the same name")
        ranker = Ranker({name: spec.weight for name, spec in specs.items()})
        members = {
            name: old[name]
            if name in old and old[name].spec == spec
            else self._new_member(spec)
            for name, spec in sorted(specs.items())
        }
        self._snapshot = Snapshot(members, ranker, "")
        for name, member in members.items():
            before = old.get(name)
            if member is not before:
                _log_change(before, member)
                if before:
                    before.retire()

    def _new_member(self, spec: NodeSpec) -> Member:
        return Member(spec, self._build_node(spec), self._first_pause_seconds)


def _reset_in_child(reference: weakref.ref[Membership]) -> None:
    membership = reference()
    if membership is not None:
        membership.reset_in_child()


def _log_change(old: Member | None, new: Member) -> None:
    state = "there" if new.spec.endpoint else "known, but not running"
    log.info("node %s is %s%s", new.name, state, " (changed)" if old else " (new)")
