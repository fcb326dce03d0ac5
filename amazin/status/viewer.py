"""The state of the cluster for the viewers of a gateway, who never wait for a node.

However many look, each node is checked once a second at most, and what repair has found
is read once in ten seconds. Nothing is listed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from amazin.cluster.check_results import CheckResult, read_result
from amazin.cluster.cluster import Cluster
from amazin.cluster.repair_results import RepairResult, read_repair
from amazin.errors import NodeError, NodeTimeoutError
from amazin.membership.member import Member
from amazin.membership.roster import NodeSet, Roster
from amazin.membership.snapshot import Snapshot
from amazin.membership.states import check, try_uploads
from amazin.status.nodes import NodeStatus, described, due_shares, free_bytes
from amazin.status.refreshed import Refreshed

CHECK_EVERY_SECONDS, READ_EVERY_SECONDS = 1.0, 10.0
WAIT_SECONDS = 0.5
"""So long a viewer waits for all nodes together."""
KNOWN_SECONDS = 10.0
"""So long the last check of a node is shown while the next one goes on."""


@dataclass(frozen=True)
class Checked:
    """What a check of a node found."""

    failure: NodeError | None
    latency_seconds: float | None = None
    """How long it took; None: the node did not answer."""
    free_bytes: int | None = None
    age_seconds: float = 0.0


@dataclass(frozen=True)
class Findings:
    """What repair and the last check of all copies have found, as far as they ran."""

    repair: RepairResult | None
    check: CheckResult | None

    @property
    def rotten(self) -> int:
        """The copies that the last check found damaged or gone and did not replace."""
        return max(0, self.check.damaged - self.check.mended) if self.check else 0


@dataclass(frozen=True)
class View:
    """The cluster at one moment."""

    snapshot: Snapshot
    nodes: list[NodeStatus]
    checked: Mapping[str, Checked]
    """By node name."""
    findings: Findings | None
    """None: they could not be read yet."""
    findings_age_seconds: float


class Viewer:
    """Looks for all viewers of one process."""

    def __init__(
        self, cluster: Cluster, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._cluster = cluster
        self._clock = clock
        self._lock = threading.Lock()
        self._nodes: dict[Member, Refreshed[Checked]] = {}
        self._findings = Refreshed(self._read, READ_EVERY_SECONDS, clock)
        self._shares = Refreshed(self._place, CHECK_EVERY_SECONDS, clock)

    def findings(self, seconds: float = WAIT_SECONDS) -> Findings | None:
        """Return what repair has found, read a moment ago; waits at most that long.

        None: it could not be read yet.
        """
        self._findings.begin()
        return self._findings.wait(seconds)

    def placed(self) -> tuple[Snapshot, dict[str, float]]:
        """Return the nodes and their shares; asks no node, and waits for nothing."""
        self._shares.begin()
        snapshot = self._cluster.snapshot()
        return snapshot, self._due(snapshot.roster)

    def look(self) -> View:
        """Return the state of all nodes; asks them, and waits `WAIT_SECONDS`."""
        until = time.monotonic() + WAIT_SECONDS
        snapshot = self._cluster.snapshot(WAIT_SECONDS)
        known = self._checks(snapshot)
        needed: list[Refreshed[Any]] = [self._findings, self._shares, *known.values()]
        for refreshed in needed:
            refreshed.begin()
        for refreshed in needed:
            refreshed.wait(until - time.monotonic())
        checked = {name: last(found) for name, found in known.items()}
        failures = {name: found.failure for name, found in checked.items()}
        shares = self._due(snapshot.roster)
        nodes = described(
            snapshot, shares, failures, lambda name: checked[name].free_bytes
        )
        age = self._findings.age_seconds
        return View(snapshot, nodes, checked, self._findings.value, age)

    def _checks(self, snapshot: Snapshot) -> dict[str, Refreshed[Checked]]:
        with self._lock:
            before = self._nodes
            self._nodes = {
                member: before.get(member)
                or Refreshed(partial(examine, member), CHECK_EVERY_SECONDS, self._clock)
                for member in snapshot.members.values()
            }
            return {member.name: found for member, found in self._nodes.items()}

    def _read(self) -> Findings:
        return read_findings(self._cluster)

    def _place(self) -> tuple[NodeSet | None, dict[str, float]]:
        roster, known = self._cluster.snapshot().roster, self._shares.value
        newest = roster.newest if roster else None
        if known and known[0] == newest:
            return known
        return newest, due_shares(newest) if newest else {}

    def _due(self, roster: Roster | None) -> dict[str, float]:
        """Return the nodes' shares; empty: not known yet."""
        known = self._shares.value
        is_right = known is not None and roster and known[0] == roster.newest
        return known[1] if known and is_right else {}


def read_findings(cluster: Cluster) -> Findings:
    """Return what repair and the last check have found. Raises: as `Cluster.get`."""
    return Findings(read_repair(cluster), read_result(cluster))


def examine(member: Member) -> Checked:
    """Check one node, and try whether it stores if that is due."""
    began = time.monotonic()
    if failure := check(member):
        return Checked(failure)
    latency = time.monotonic() - began
    try_uploads([member])
    return Checked(None, latency, free_bytes(member))


def last(found: Refreshed[Checked]) -> Checked:
    """Return what is known of a node; it is silent while a check takes too long."""
    value, age = found.value, found.age_seconds
    if value and (age < KNOWN_SECONDS or not found.is_late):
        return Checked(value.failure, value.latency_seconds, value.free_bytes, age)
    return Checked(NodeTimeoutError("the node is silent"))
