"""Repairs all objects: brings the newest version of each to `r` nodes of its home.

The same run rebalances after nodes joined or left, refills an empty disk, and settles a
new set of nodes. It can be stopped and started again at any moment, also while clients
write. `objects.py` repairs a single key.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from operator import itemgetter

from amazin.cluster.cluster import Cluster
from amazin.cluster.copy_counts import Copies
from amazin.cluster.listing import PROBE_KEY
from amazin.cluster.stamps import Stamps
from amazin.errors import (
    GatewayError,
    LostCopyError,
    NodeError,
    RepairError,
    RosterError,
)
from amazin.membership.member import UP, Member
from amazin.membership.membership import Membership
from amazin.membership.roster import Roster
from amazin.membership.states import UNREADABLE_ROSTER, check, state_of, try_uploads
from amazin.membership.transitions import settle
from amazin.model.objects import BUCKET, ObjectInfo, ObjectName
from amazin.model.stored_names import PARTS, RESULTS, shown
from amazin.nodes.interface import VerifyingNode
from amazin.repair.check import Check
from amazin.repair.objects import KeyRepair, RepairContext
from amazin.repair.orphan_parts import OrphanParts
from amazin.repair.plan import is_well
from amazin.repair.report import Options, Report
from amazin.workers import for_each

log = logging.getLogger("amazin.repair")
Listed = tuple[ObjectName, dict[str, ObjectInfo]]
"""A key, and its entries in the nodes' listings, by node."""
Task = tuple[ObjectName, dict[str, ObjectInfo], Check | None]
"""The same, and the check that has to read its copies."""


class Repair:
    """One run over all objects."""

    def __init__(
        self,
        membership: Membership,
        options: Options,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._membership = membership
        self._options = options
        self._clock_ns = clock_ns

    def run(
        self, on_progress: Callable[[Report], object] = lambda report: None
    ) -> Report:
        """Repair all objects; call `on_progress` with the report after each key.

        Raises: RepairError, NodeError: the run can't begin.
        """
        report = self._run(on_progress)
        report.problems += self._refusals()
        return report

    def _refusals(self) -> list[str]:
        """Return a sentence for each node that stores nothing now."""
        members = self._membership.snapshot().members
        try_uploads(members.values())
        states = {name: state_of(member) for name, member in sorted(members.items())}
        return [
            f"{name} stores nothing: {state.word}: {state.cause}"
            for name, state in states.items()
            if state.word != UP
        ]

    def _run(self, on_progress: Callable[[Report], object]) -> Report:
        begin_ns = self._clock_ns()
        context, problems = self._begin()
        key_repair = KeyRepair(self._membership, context, self._options, self._clock_ns)
        report = key_repair.report
        report.problems = problems
        if context.roster.write_set is None:
            return report
        try:
            self._note_lost(context)
            self._walk(context, key_repair, on_progress)
        except (NodeError, RepairError) as exc:
            problems.append(f"Not all objects were looked at: {where(exc)}")
            return report
        report.is_whole = context.is_complete
        if report.failures:
            problems.append(f"Objects that need another run: {report.failures}")
        elif not self._options.is_dry_run:
            try:
                self._finish(context, key_repair)
            except (RepairError, RosterError) as exc:
                problems.append(f"Not settled: {exc}")
        if not problems:
            self._collect(context, key_repair, begin_ns, on_progress)
        return report

    def _begin(self) -> tuple[RepairContext, list[str]]:
        """Decide which nodes take part; return that and the problems."""
        self._membership.refresh()
        snapshot = self._membership.fresh_snapshot()
        roster = snapshot.roster
        if roster is None or not self._membership.is_fresh(snapshot):
            raise RepairError(snapshot.reason)
        problems = []
        names = roster.holders & snapshot.view.empty.union(snapshot.view.copies)
        needed = required(roster)
        if absent := needed - names:
            members = snapshot.members
            causes = [f"{name} ({said(members[name])})" for name in sorted(absent)]
            problems.append(f"Not there: {', '.join(causes)}")
        if lost := snapshot.lost & names:
            problem = self._make_lost_buckets(roster, lost)
            if problem:
                problems.append(problem)
                names -= lost
        is_due = roster.next is None or self._membership.roster_store.is_due(roster)
        if not is_due:
            problems.append("The set of nodes is changing; its time has not come yet")
        is_complete = is_due and names >= needed
        return RepairContext(snapshot, roster, names, is_complete), problems

    def _make_lost_buckets(self, roster: Roster, lost: frozenset[str]) -> str:
        """Make the bucket on nodes that lost their disks.

        Returns why that is not possible now; empty: it is done.
        """
        names = ", ".join(sorted(lost))
        if len(lost) >= least_replicas(roster):
            return (
                f"Lost their disks: {names}. Objects may be gone for good: "
                "`amazin forget` these nodes to go on without"
            )
        if not self._membership.roster_store.is_known_lost(lost):
            return f"Lost their disks: {names}. Not every gateway may know it yet"
        if not self._options.is_dry_run:
            members = self._membership.snapshot().members
            for name in lost:
                members[name].node.make_bucket(BUCKET)
        return ""

    def _note_lost(self, context: RepairContext) -> None:
        """Have the nodes find the copies whose bytes are gone."""
        for name in sorted(context.names - context.snapshot.lost):
            node = context.members[name].node
            if isinstance(node, VerifyingNode):
                node.note_lost()

    def _walk(
        self,
        context: RepairContext,
        key_repair: KeyRepair,
        on_progress: Callable[[Report], object],
    ) -> None:
        check = self._new_check(context, key_repair) if self._options.is_check else None

        held = {name: Copies() for name in context.names}

        def in_need() -> Iterator[Task]:
            for name, listed in all_listed(context, BUCKET):
                key_repair.report.objects += not name.key.startswith(RESULTS)
                for node, info in listed.items():
                    held[node].add(name.key, info)
                on_progress(key_repair.report)
                if check:
                    check.save_in_time()
                is_due = check is not None and check.begin(name)
                if is_due or not is_well(context.place(name), listed, context.names):
                    yield name, listed, check if is_due else None

        is_over = False
        try:
            work = partial(repair_key, context, key_repair)
            for_each(work, in_need(), self._options.workers)
            is_over = True
        finally:
            if check:
                check.save(is_over=is_over)
        key_repair.report.nodes = held
        on_progress(key_repair.report)

    def _new_check(self, context: RepairContext, key_repair: KeyRepair) -> Check:
        is_stored = not self._options.is_dry_run
        cluster = (
            Cluster(self._membership, Stamps(self._clock_ns)) if is_stored else None
        )
        return Check(context, key_repair, cluster, self._clock_ns)

    def _finish(self, context: RepairContext, key_repair: KeyRepair) -> None:
        """Record in the roster that every object is in its home.

        A node whose disk was refilled is readmitted at once, also during a change of
        the set of nodes: the change can't end before.
        """
        if not context.names >= required(context.roster):
            return
        key_repair.check()
        report = key_repair.report
        for name in sorted(context.snapshot.lost & context.names):
            if not self._membership.readmit(name):
                report.problems.append(f"{name} is filled, but not in use yet")
        if context.roster.next and context.is_complete:
            step = partial(settle_exactly, context.roster)
            report.has_settled = self._membership.change(step)
            if not report.has_settled:
                report.problems.append("The set of nodes could not be settled yet")

    def _collect(
        self,
        context: RepairContext,
        key_repair: KeyRepair,
        begin_ns: int,
        on_progress: Callable[[Report], object],
    ) -> None:
        """Remove the parts of large objects that no object needs.

        Does nothing unless all nodes took part: another node might hold a manifest.
        """
        report = key_repair.report
        if not (context.is_complete and context.roster.is_settled):
            return
        is_dry_run = self._options.is_dry_run
        collection = OrphanParts(context, key_repair, is_dry_run, begin_ns)
        failures = report.failures
        try:
            for _ in collection.run(all_listed(context, BUCKET, PARTS)):
                on_progress(report)
        except (NodeError, RepairError) as exc:
            report.problems.append(f"Not all parts were looked at: {where(exc)}")
        if report.failures > failures:
            count = report.failures - failures
            report.problems.append(f"Parts that need another run: {count}")


def settle_exactly(expected: Roster, roster: Roster) -> Roster:
    """Settle the roster if it is the `expected` one. Raises: RepairError."""
    if roster != expected:
        raise RepairError("the set of nodes changed")
    return settle(roster)


def repair_key(context: RepairContext, key_repair: KeyRepair, task: Task) -> None:
    """Repair one key; log and count a failure, which does not end the run.

    Raises: RepairError.
    """
    name, listed, check = task
    try:
        if check:
            repair_checked(context, key_repair, check, name, listed)
        else:
            key_repair.repair(name, listed)
    except RepairError:
        raise
    except (GatewayError, OSError) as exc:
        log.warning("%s can't be repaired now: %s", shown(name), where(exc))
        key_repair.note_failure(is_lost=isinstance(exc, LostCopyError))
    if check:
        check.end(name)


def repair_checked(
    context: RepairContext,
    key_repair: KeyRepair,
    check: Check,
    name: ObjectName,
    listed: Mapping[str, ObjectInfo],
) -> None:
    """Read all copies of a key, and repair it if need be.

    Raises: as `KeyRepair.repair`; NodeError: a copy can't be read now.
    """
    mended, is_lost = 0, False
    try:
        bad, failure = check.read(name, listed)
        if bad or not is_well(context.place(name), listed, context.names):
            mended = key_repair.repair(name, listed, bad)
        if failure:
            raise failure
    except LostCopyError:
        is_lost = True
        raise
    finally:
        check.note_mended(name, mended, is_lost)


def all_listed(
    context: RepairContext, bucket: str, prefix: str = ""
) -> Iterator[Listed]:
    """Yield every key with its entries in the nodes' listings, in key order.

    Raises: NodeError: a listing can't be read to its end.
    """
    members = [context.members[name] for name in sorted(context.names)]
    listings = [
        listing(member, bucket, prefix, member.name in context.snapshot.lost)
        for member in members
    ]
    merged = heapq.merge(*listings, key=itemgetter(0))
    for key, entries in itertools.groupby(merged, key=itemgetter(0)):
        yield (
            ObjectName(bucket, key.decode()),
            {name: info for _, name, info in entries},
        )


def listing(
    member: Member, bucket: str, prefix: str, is_lost: bool
) -> Iterator[tuple[bytes, str, ObjectInfo]]:
    """Yield (key in UTF-8, node, info) in key order.

    Raises: NodeError, also if the bucket is missing and the node is not lost.
    """
    for key, info in member.node.list_objects(bucket, prefix):
        yield key.encode(), member.name, info
    if not is_lost:
        member.head(ObjectName(bucket, PROBE_KEY), even_lost=True)


def required(roster: Roster) -> frozenset[str]:
    """Return the nodes that must take part before copies are removed.

    The same nodes must take part before the roster is settled.
    """
    has_left = roster.leaving if roster.is_settled else ()
    return roster.holders.difference(has_left)


def least_replicas(roster: Roster) -> int:
    """Return the smallest number of lost nodes that can hold all copies of a key."""
    return min(nodes.replicas for nodes in roster.sets)


def said(member: Member) -> str:
    """Return why a node can't take part, as it says when it is asked now."""
    failure = check(member)
    return f"{failure.state}: {failure}" if failure else UNREADABLE_ROSTER


def where(error: Exception) -> str:
    """Return the text of an error, with the node in front if it has one."""
    node = getattr(error, "node", "")
    return f"{node}: {error}" if node else str(error)
