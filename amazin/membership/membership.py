"""The nodes that this process knows: the last good list, refreshed in the background.

Each refresh also reads the roster from the nodes. A node's name is never forgotten once
discovery or the roster had it: if discovery no longer finds the node, it is down. This
module does not decide which node holds what: see `cluster/placement.py`.
"""

from __future__ import annotations

import logging
import math
import os
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Self

from amazin.errors import DiscoveryError, LateError
from amazin.membership.member import CLOSE_SECONDS, FIRST_PAUSE_SECONDS, Member
from amazin.membership.roster import WAIT_SECONDS, Roster
from amazin.membership.roster_store import RosterStore
from amazin.membership.snapshot import Snapshot
from amazin.membership.transitions import DesiredNodes, RosterView
from amazin.model.node_specs import (
    ClosableDiscovery,
    Discovery,
    NodeSpec,
    WatchingDiscovery,
)
from amazin.nodes.interface import Node
from amazin.request_limits import time_left, unlimited

FIRST_LIST_SECONDS = 5.0
"""How long the first requests wait for the first result of discovery."""
FRESH_SHARE = 0.75
"""A roster that was read is valid for this share of its `wait_seconds`."""
WAIT_REFRESHES = 4
"""A new cluster gets `wait_seconds` of this many refreshes, but not less than
`WAIT_SECONDS`: a refresh may take as long as the time limits of the slowest node."""

log = logging.getLogger("amazin.membership")


class Membership:
    """Follows discovery and the roster, from `start` or the first use on."""

    def __init__(
        self,
        discovery: Discovery,
        build_node: Callable[[NodeSpec], Node],
        refresh_seconds: float,
        desired: DesiredNodes | None = None,
        *,
        first_list_seconds: float = FIRST_LIST_SECONDS,
        first_pause_seconds: float = FIRST_PAUSE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        is_watching: bool = True,
        least_wait_seconds: float = WAIT_SECONDS,
    ) -> None:
        """Take what is needed; without `desired` changes are followed, never proposed.

        Without `is_watching` no thread is started, and only `refresh` reads anything.
        """
        self._discovery = discovery
        self._build_node = build_node
        self._refresh_seconds = refresh_seconds
        self._first_list_seconds = first_list_seconds
        self._first_pause_seconds = first_pause_seconds
        self._clock = clock
        self._is_watching = is_watching
        wait_seconds = max(WAIT_REFRESHES * refresh_seconds, least_wait_seconds)
        self.roster_store = RosterStore(desired, wait_seconds, clock)
        problem = "The nodes are still being looked for"
        replicas = desired.replicas if desired else 0
        self._snapshot = Snapshot({}, RosterView({}), problem, replicas=replicas)
        self._logged_problem = ""
        self._found: Sequence[NodeSpec] = ()
        self._inherited: list[Snapshot] = []
        self._reset()
        reference = weakref.ref(self)
        os.register_at_fork(after_in_child=lambda: _reset_in_child(reference))

    def _reset(self) -> None:
        self._refreshes_begun = 0
        self._may_bootstrap = False
        self._closing = threading.Event()
        self._following: threading.Thread | None = None
        self._start_lock = threading.Lock()
        self._refresh_lock = threading.Lock()
        self._first_list = threading.Event()
        self._is_started = False

    def reset_in_child(self) -> None:
        """Start afresh in a forked process, with new threads, locks and connections.

        The names stay known. The nodes of the parent belong to the parent: their
        resources are neither used nor closed here.
        """
        self._inherited.append(self._snapshot)
        specs = [member.spec for member in self._snapshot.members.values()]
        members = {spec.name: self._new_member(spec) for spec in specs}
        self._snapshot = replace(self._snapshot, members=members, fresh_until=0.0)
        self._reset()

    def snapshot(self, seconds: float = math.inf) -> Snapshot:
        """Return the last snapshot; waits a limited time for the first list.

        At most `seconds`.
        """
        if not self._is_started:
            self.start()
        if not self._first_list.is_set():
            longest = min(self._first_list_seconds, time_left(), seconds)
            self._first_list.wait(longest)
        return self._snapshot

    def fresh_snapshot(self) -> Snapshot:
        """Return a snapshot with a roster that may be used, if there is one.

        Raises: LateError.
        """
        snapshot = self._snapshot
        if self._clock() < snapshot.fresh_until:
            return snapshot
        snapshot = self.snapshot()
        if not self.is_fresh(snapshot):
            self.refresh()
            snapshot = self._snapshot
        return snapshot

    def is_fresh(self, snapshot: Snapshot) -> bool:
        """Whether the snapshot's roster may still be used."""
        return self._clock() < snapshot.fresh_until

    def bootstrap(self) -> Snapshot:
        """Form a cluster of the nodes if they are empty; return the new snapshot.

        Raises: LateError.
        """
        self._may_bootstrap = True
        self.refresh()
        return self._snapshot

    def start(self) -> None:
        """Begin to follow the nodes, unless that was done; does not wait for them."""
        with self._start_lock:
            if self._is_started or self._closing.is_set():
                return
            if self._is_watching:
                self._following = threading.Thread(
                    target=self._follow, name="discovery", daemon=True
                )
                self._following.start()
            else:
                self.refresh()
            self._is_started = True

    def close(self) -> None:
        """Stop all threads and probes, and close idle connections.

        The last snapshot remains, and is used only until it is no longer fresh. Nothing
        is read, built or started any more.
        """
        with self._start_lock:
            self._closing.set()
        self._first_list.set()
        if isinstance(self._discovery, WatchingDiscovery):
            self._discovery.wake()
        if self._following is not None:
            self._following.join(CLOSE_SECONDS)
        if isinstance(self._discovery, ClosableDiscovery):
            self._discovery.close()
        is_alone = self._refresh_lock.acquire(timeout=CLOSE_SECONDS)
        for member in self._snapshot.members.values():
            member.retire()
        for member in self._snapshot.members.values():
            member.close()
        if is_alone:
            self._refresh_lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _follow(self) -> None:
        own = self._discovery
        watching = own if isinstance(own, WatchingDiscovery) else None
        while not self._closing.is_set():
            try:
                self.refresh()
            except Exception:
                log.exception("the nodes can't be read")
            if watching is None:
                self._closing.wait(self._refresh_seconds)
                continue
            if self._closing.is_set():
                return
            try:
                watching.wait(self._refresh_seconds)
            except Exception:  # a user's discovery may raise anything
                log.exception("discovery can't wait for changes; it is asked regularly")
                watching = None

    def change(self, make: Callable[[Roster], Roster]) -> bool:
        """Record the roster that `make` returns; False: not possible now.

        Raises: RosterError, and what `make` raises.
        """
        with self._refresh_lock:
            if self._closing.is_set():
                return False
            self._read_roster()
            view = self._snapshot.view
            if view.roster is None:
                return False
            new = make(view.roster)
            is_done = self.roster_store.decide(new, view, self._snapshot.members)
            self._read_roster()
            return is_done

    def readmit(self, name: str) -> bool:
        """Use a node again that lost its disk and was filled; False: not now."""
        with self._refresh_lock:
            snapshot = self._snapshot
            if snapshot.roster is None or self._closing.is_set():
                return False
            is_done = self.roster_store.readmit(name, snapshot.roster, snapshot.members)
            self._read_roster()
            return is_done

    def refresh(self) -> None:
        """Read the list of nodes and the roster from them, now.

        If several callers wait for a running refresh, one of them reads for all. A
        request waits until its deadline; what it began goes on for the others.

        Raises: LateError.
        """
        seen, left = self._refreshes_begun, time_left()
        has_limit = left < math.inf
        if not self._refresh_lock.acquire(timeout=left if has_limit else -1):
            raise _too_late()
        if self._refreshes_begun != seen or self._closing.is_set():
            self._refresh_lock.release()
        elif has_limit:
            reading = threading.Thread(target=self._read_for_all, daemon=True)
            reading.start()  # `close` waits for it: it has the lock
            reading.join(time_left())
            if reading.is_alive():
                raise _too_late()
        else:
            self._read_and_release()

    def _read_for_all(self) -> None:
        try:
            self._read_and_release()
        except Exception:
            log.exception("the nodes can't be read")

    def _read_and_release(self) -> None:
        try:
            with unlimited():
                self._refreshes_begun += 1
                may_bootstrap, self._may_bootstrap = self._may_bootstrap, False
                self._read_list()
                self._read_roster(may_bootstrap)
                self._first_list.set()
        finally:
            self._refresh_lock.release()

    def _read_list(self) -> None:
        problem = detail = ""
        try:
            found = list(self._discovery.find())
            if len({spec.name for spec in found}) < len(found):
                raise DiscoveryError("Two nodes have the same name")
            if not all(0 <= spec.weight < math.inf for spec in found):
                raise DiscoveryError("A node has a weight that is none")
            self._adopt({spec.name: spec for spec in found})
            self._found = found
            self._snapshot = replace(self._snapshot, found_at=time.time())
        except DiscoveryError as exc:
            problem, detail = str(exc), exc.detail or str(exc)
        except Exception as exc:  # a user's discovery may raise or return anything
            problem = detail = f"Discovery failed with {type(exc).__name__}"
            log.debug("discovery failed", exc_info=True)
        if detail and detail != self._logged_problem:
            log.warning("the list of nodes can't be read: %s", detail)
        self._logged_problem = detail
        self._snapshot = replace(self._snapshot, problem=problem)

    def _adopt(self, found: Mapping[str, NodeSpec]) -> None:
        """Make members of all found nodes, or raise and change nothing."""
        old = self._snapshot.members
        specs = {
            name: replace(member.spec, endpoint=None) for name, member in old.items()
        }
        specs.update(found)
        members = {
            name: old[name]
            if name in old and old[name].spec == spec
            else self._new_member(spec)
            for name, spec in sorted(specs.items())
        }
        for name in members.keys() & old.keys():
            members[name].is_lost = old[name].is_lost
        self._snapshot = replace(self._snapshot, members=members)
        for name, member in members.items():
            before = old.get(name)
            if member is not before:
                _log_change(before, member)
                if before:
                    before.retire()

    def _read_roster(self, may_bootstrap: bool = False) -> None:
        old = self._snapshot
        store = self.roster_store
        view = store.follow(old.members, self._found, may_bootstrap)
        fresh_until = store.looked_at + FRESH_SHARE * store.wait_seconds
        is_confirmed = view.is_confirmed
        if not is_confirmed:
            fresh_until = old.fresh_until if old.roster == view.roster else 0.0
            if not view.copies and old.view.copies:
                # No node contradicts the known roster, so it stays valid until it is
                # too old.
                fresh_until = old.fresh_until
                empty = view.empty
                view = replace(old.view, empty=empty, unreachable=view.unreachable)
        names = view.names - old.members.keys()
        if names:
            self._adopt(
                {spec.name: spec for spec in self._found}
                | {name: NodeSpec(name, None) for name in names}
            )
        for name, member in self._snapshot.members.items():
            member.is_lost = name in view.lost
        confirmed_at = store.looked_at if is_confirmed else old.confirmed_at
        self._snapshot = replace(
            self._snapshot,
            view=view,
            fresh_until=fresh_until,
            confirmed_at=confirmed_at,
        )

    def _new_member(self, spec: NodeSpec) -> Member:
        return Member(spec, self._build_node(spec), self._first_pause_seconds)


def _too_late() -> LateError:
    return LateError("The nodes did not answer within REQUEST_TIMEOUT")


def _reset_in_child(reference: weakref.ref[Membership]) -> None:
    membership = reference()
    if membership is not None:
        membership.reset_in_child()


def _log_change(old: Member | None, new: Member) -> None:
    if not new.spec.endpoint:
        log.info("node %s is down", new.name)
    elif old is None:
        log.info("node %s joined", new.name)
    else:
        log.info("node %s changed", new.name)
