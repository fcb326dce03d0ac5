"""The status of the cluster for `amazin status`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace

from amazin.cluster.cluster import Cluster
from amazin.cluster.repair_results import RepairResult
from amazin.errors import GatewayError
from amazin.membership.membership import Membership
from amazin.membership.roster import NodeSet, Roster
from amazin.membership.snapshot import Snapshot
from amazin.status.counts import Count, Counting
from amazin.status.nodes import NodeStatus, due_shares, statuses
from amazin.status.viewer import Findings, read_findings
from amazin.units import counted


@dataclass(frozen=True)
class Counted:
    """The count of one node."""

    count: Count
    age_seconds: float | None
    """None: the node is still being counted, or can't be counted."""
    is_new: bool = True
    """Whether it was counted for this; else repair did it, before it mended."""


@dataclass(frozen=True)
class Status:
    """The cluster at one moment."""

    nodes: list[NodeStatus]
    counted: dict[str, Counted]
    """By node name; empty: nobody has counted the objects."""
    roster: Roster | None
    condition: str
    """The state of the set of nodes, as a sentence."""
    is_usable: bool
    """Whether gateways can know where objects are."""
    discovery_problem: str
    shortage: str = ""
    """As `Snapshot.shortage`."""
    findings: Findings | None = None
    """What repair and the last check have found; None: it can't be read."""
    now_ns: int = 0
    """When this was so, as Unix time."""

    @property
    def is_well(self) -> bool:
        """Whether nobody has to do anything."""
        return self.is_usable and not self.problems

    @property
    def problems(self) -> list[str]:
        """One line per problem."""
        found = [
            f"{node.name}: {node.state}: {node.problem}"
            for node in self.nodes
            if not node.is_well
        ]
        if self.discovery_problem:
            found.insert(
                0, f"The list of nodes can't be read: {self.discovery_problem}"
            )
        if self.shortage:
            found.append(self.shortage)
        found += findings_problems(self.findings) if self.findings else ()
        there = {node.name for node in self.nodes if node.can_read}
        found += [
            f"{name}: {counted(held.count.damaged, 'copy')} damaged or gone; "
            "`amazin repair` brings what another node has"
            for name, held in self.counted.items()
            if held.is_new and held.count.damaged
        ]
        return found + [
            f"{name}: its objects can't be counted: {held.count.problem}"
            for name, held in self.counted.items()
            if name in there and held.count.problem
        ]

    @property
    def copies(self) -> int:
        """The number of copies on all nodes, as far as they were counted."""
        return sum(counted.count.copies for counted in self.counted.values())

    def share(self, name: str) -> float | None:
        """Return a node's share of all copies, from 0 to 1; None: unknown."""
        if name not in self.counted or not self.is_counted or not self.copies:
            return None
        return self.counted[name].count.copies / self.copies

    @property
    def is_counted(self) -> bool:
        """Whether every node that should hold objects was counted."""
        whole = {
            name
            for name, found in self.counted.items()
            if found.age_seconds is not None
        }
        return all(node.name in whole for node in self.nodes if node.due)


class Observer:
    """Checks the nodes, and has their objects counted at the same time."""

    def __init__(
        self,
        membership: Membership,
        counting: Counting | None,
        replicas: int = 0,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """Without `counting` the counts are those of the last repair.

        `replicas`: the number of copies that the settings ask for; 0: not known.
        """
        self._clock_ns = clock_ns
        self._membership = membership
        self._replicas = replicas
        self._cluster = Cluster(membership)
        self._counting = counting
        self._placed: tuple[NodeSet | None, dict[str, float]] = (None, {})

    def look(self) -> Status:
        """Check the nodes now."""
        snapshot = replace(look(self._membership), replicas=self._replicas)
        roster = snapshot.roster
        nodes = statuses(snapshot, self._shares(roster))
        findings, now_ns = self._findings(), self._clock_ns()
        if self._counting:
            self._counting.begin(node.name for node in nodes if node.can_read)
            counts = self.counted()
        else:
            repair = findings.repair if findings else None
            counts = counted_by(repair, now_ns) if repair else {}
        return Status(
            nodes,
            counts,
            roster,
            condition(snapshot),
            bool(snapshot.members) and (roster is not None or snapshot.is_empty),
            snapshot.problem,
            snapshot.shortage,
            findings,
            now_ns,
        )

    def _findings(self) -> Findings | None:
        try:
            return read_findings(self._cluster)
        except GatewayError:  # of which the rest of the status tells
            return None

    def counted(self) -> dict[str, Counted]:
        """Return the counts so far."""
        if self._counting is None:
            return {}
        return {
            name: Counted(count, self._counting.age(count))
            for name, count in self._counting.counts().items()
        }

    def _shares(self, roster: Roster | None) -> dict[str, float]:
        if roster is None:
            return {}
        if self._placed[0] != roster.newest:
            self._placed = (roster.newest, due_shares(roster.newest))
        return self._placed[1]


def counted_by(repair: RepairResult, now_ns: int) -> dict[str, Counted]:
    """Return what repair counted on the nodes, by name; empty: it never did."""
    age = max(0.0, (now_ns - repair.counted_ns) / 1e9)
    return {
        name: Counted(Count(**asdict(copies)), age, is_new=False)
        for name, copies in repair.nodes.items()
    }


def findings_problems(found: Findings) -> Iterator[str]:
    """Yield a sentence for each problem that repair and the last check left."""
    if found.check and found.check.lost:
        names = ", ".join(found.check.lost_names)
        yield f"The last check found no whole copy of: {names}"
    if found.rotten:
        copies = counted(found.rotten, "copy")
        yield (
            f"The last check did not replace {copies} damaged or gone; "
            "`amazin repair --check` looks again"
        )
    left = found.repair.left if found.repair else None
    if left and (left.under_replicated or left.waiting):
        yield (
            f"The last repair left {counted(left.under_replicated, 'object')} with too "
            f"few copies, {left.unrepairable} without a whole one, {left.waiting} "
            "waiting for another run: `amazin repair` goes on"
        )


def condition(snapshot: Snapshot) -> str:
    """Return the state of the set of nodes, as a sentence."""
    roster = snapshot.roster
    if not snapshot.members:
        return "No storage node was found."
    if roster is None:
        return "Nothing is stored yet." if snapshot.is_empty else f"{snapshot.reason}."
    if roster.next is None:
        return "The set of nodes is settled."
    if not roster.is_open:
        return "The set of nodes is changing; writes don't use the new set yet."
    return "The set of nodes is changing; `amazin repair` finishes it."


def look(membership: Membership) -> Snapshot:
    """Return the nodes as they are now.

    Nodes that only the roster names are asked from the second call on.
    """
    membership.snapshot()
    membership.refresh()
    return membership.fresh_snapshot()
