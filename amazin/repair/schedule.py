"""Decides when a repair begins, and when the next one does.

`run.py` carries out a run.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, NoReturn

from amazin.cluster.cluster import Cluster
from amazin.errors import GatewayError
from amazin.membership.membership import Membership
from amazin.membership.roster import Roster
from amazin.membership.snapshot import Snapshot
from amazin.model.node_specs import NodeSpec
from amazin.repair.journal import Journal
from amazin.repair.report import Options, Report, fields, one_line
from amazin.repair.run import Repair, least_replicas, where

log = logging.getLogger("amazin.repair")
MAX_REFRESHES = 12
"""How long a run waits for gateways, in `REFRESH_SECONDS`: a little longer than from a
node's appearance to the time for repair."""
MAX_GATEWAY_REFRESHES = 4
"""The same for what only a gateway can do, because none may be running."""
CHECK_REFRESHES = 2
"""How often `--every` checks whether an early run is useful, in `REFRESH_SECONDS`."""
MAX_PAUSE_SECONDS = 1.0
"""Between two looks at the nodes while a run waits."""
OnProgress = Callable[[Report], object]
"""Is called with the report so far."""


@dataclass(frozen=True)
class Job:
    """What a run needs."""

    membership: Membership
    options: Options
    refresh_seconds: float


class Wait(NamedTuple):
    """Why a run has to wait, and for how long at most."""

    reason: str
    max_refreshes: int
    """In `REFRESH_SECONDS`."""


def find_wait(membership: Membership, snapshot: Snapshot) -> Wait | None:
    """Return why a run has to wait; None: it can begin, or waiting does not help."""
    roster, view = snapshot.roster, snapshot.view
    if roster is None:
        if view.with_data and not (view.copies or view.unreachable):
            return Wait(
                "No gateway has taken these nodes in yet", MAX_GATEWAY_REFRESHES
            )
        if len(view.rosters) > 1 and not view.unreachable:
            return Wait("Two clusters are becoming one", MAX_GATEWAY_REFRESHES)
        return None
    lost = fillable(snapshot, roster)
    if lost and not membership.roster_store.is_known_lost(lost):
        names = ", ".join(sorted(lost))
        reason = f"{names}: lost its disk; until all gateways know it"
        return Wait(reason, MAX_REFRESHES)
    if roster.holders & view.unreachable:
        return None
    if roster.next is not None and not membership.roster_store.is_due(roster):
        return Wait("Until all gateways know the new set of nodes", MAX_REFRESHES)
    if new := unrecorded(snapshot, roster):
        reason = f"Until a gateway takes note of {', '.join(new)}"
        return Wait(reason, MAX_GATEWAY_REFRESHES)
    return None


def fillable(snapshot: Snapshot, roster: Roster) -> frozenset[str]:
    """Return the nodes that lost their disks; empty if all copies may be lost."""
    lost = snapshot.lost & roster.holders
    return lost if len(lost) < least_replicas(roster) else frozenset()


def unrecorded(snapshot: Snapshot, roster: Roster) -> list[str]:
    """Return the nodes that answer but are not in the roster, or with another share."""
    answering = snapshot.view.empty.union(snapshot.view.copies)
    return [
        name
        for name, member in snapshot.members.items()
        if name in answering and member.spec.endpoint and differs(member.spec, roster)
    ]


def differs(spec: NodeSpec, roster: Roster) -> bool:
    """Whether weight or group of a node differ between discovery and the roster."""
    nodes = roster.newest
    if spec.weight == 0:
        return spec.name in nodes.names
    share = (nodes.weights.get(spec.name), nodes.groups.get(spec.name, ""))
    return share != (spec.weight, spec.group)


def wait_until_ready(job: Job, on_wait: Callable[[str], object]) -> Snapshot:
    """Return the nodes once a run can begin, or waiting does not help.

    Calls `on_wait` with the reason for each pause.
    """
    membership, refresh_seconds = job.membership, job.refresh_seconds
    membership.snapshot()
    start = time.monotonic()
    while True:
        membership.refresh()
        snapshot = membership.fresh_snapshot()
        needed = find_wait(membership, snapshot)
        waited = time.monotonic() - start
        unit = max(refresh_seconds, membership.roster_store.wait_seconds / 4)
        if needed is None or waited > needed.max_refreshes * unit:
            if needed and needed.max_refreshes == MAX_GATEWAY_REFRESHES:
                log.warning("%s: is one running?", needed.reason)
            return snapshot
        on_wait(needed.reason)
        time.sleep(min(refresh_seconds / 2, MAX_PAUSE_SECONDS))


def attempt(job: Job, on_wait: Callable[[str], object] = lambda reason: None) -> Report:
    """Wait until a run can begin, and run. Errors are problems in the report."""
    snapshot = wait_until_ready(job, on_wait)
    return run(job, snapshot, job.options)


def run(
    job: Job,
    snapshot: Snapshot,
    options: Options,
    on_progress: OnProgress = lambda report: None,
) -> Report:
    """Run once, without waiting. Errors are problems in the report."""
    if snapshot.is_empty:
        return Report(is_whole=True)  # nothing is stored yet
    if options.is_dry_run:
        return run_noting(job, options, on_progress)
    with Journal(Cluster(job.membership)) as journal:

        def note(report: Report) -> None:
            journal.report = report
            on_progress(report)

        report = run_noting(job, options, note)
        journal.end(report)
        return report


def run_noting(job: Job, options: Options, on_progress: OnProgress) -> Report:
    """Run now; nothing is stored but the copies. Errors are problems in the report."""
    latest = Report()

    def note(report: Report) -> None:
        nonlocal latest
        latest = report
        on_progress(report)

    try:
        latest = Repair(job.membership, options).run(note)
        after = job.membership.snapshot()
        if after.roster and (new := unrecorded(after, after.roster)):
            latest.problems.append(f"Not in use yet: {', '.join(new)}")
        return latest
    except GatewayError as exc:
        latest.problems.append(where(exc))
        latest.is_whole = False
        return latest


class Watch:
    """Repairs again and again, early if a run became useful."""

    def __init__(self, job: Job, every: float) -> None:
        """`every`: seconds from the start of a run to the start of the next."""
        self._job = job
        self._every = every
        self._check_seconds = CHECK_REFRESHES * job.refresh_seconds
        self._pause = self._check_seconds
        self._last_reason = ""

    def run(self) -> NoReturn:
        """Start the first run at once. Never returns."""
        while True:
            start = time.monotonic()
            is_well = self._run_once()
            # After a failure the next run is early; the pause doubles each time.
            self._pause = self._check_seconds if is_well else 2 * self._pause
            self._sleep(start, is_well)

    def _run_once(self) -> bool:
        log.info("repair begins")
        try:
            report = attempt(self._job, self._log_wait)
        except Exception:  # the next run may succeed
            log.exception("repair failed")
            return False
        for problem in report.problems:
            log.warning("%s", problem)
        log.info("%s", one_line(report), extra={"fields": fields(report)})
        return report.is_well

    def _log_wait(self, reason: str) -> None:
        if reason != self._last_reason:
            self._last_reason = reason
            log.info("waiting: %s", reason)

    def _sleep(self, start: float, is_well: bool) -> None:
        """Wait for the time of the next run, or until an earlier one is useful."""
        while (passed := time.monotonic() - start) < self._every:
            time.sleep(min(self._check_seconds, self._every - passed))
            is_late = time.monotonic() - start > self._pause
            if is_late and is_run_useful(self._job.membership, is_well):
                return


def is_run_useful(membership: Membership, was_well: bool) -> bool:
    """Whether a run now could do something that the previous one could not do.

    `was_well`: the previous run left nothing to be done.
    """
    snapshot = membership.fresh_snapshot()
    roster = snapshot.roster
    if roster is None:
        return False
    lost = fillable(snapshot, roster)
    if lost and membership.roster_store.is_known_lost(lost):
        return True
    if roster.holders & snapshot.view.unreachable:
        return False
    return membership.roster_store.is_due(roster) or not was_well
