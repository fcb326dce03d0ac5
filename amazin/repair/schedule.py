"""When a repair begins, and when the next one does.

What a run does: `run.py`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, NoReturn

from amazin.errors import GatewayError
from amazin.membership.membership import Membership, Snapshot
from amazin.membership.roster import Roster
from amazin.model.node_specs import NodeSpec
from amazin.repair.report import Options, Report, fields, one_line
from amazin.repair.run import Repair, least_replicas, where

log = logging.getLogger("amazin.repair")
LONGEST_WAIT = 12
"""In `REFRESH_SECONDS`: from a node's appearance to the time for repair, and some."""
GATEWAY_WAIT = 4
"""The same, for what only a gateway can do, which may not be running."""
CHECK_REFRESHES = 2
"""In `REFRESH_SECONDS`: how often `--every` looks whether there is something to do."""
LONGEST_PAUSE_SECONDS = 1.0
Tell = Callable[[Report], object]


@dataclass(frozen=True)
class Job:
    """What is to be run, and on what."""

    membership: Membership
    options: Options
    refresh_seconds: float


class Hold(NamedTuple):
    """Why to wait before a run, and how long that may help, in `REFRESH_SECONDS`."""

    reason: str
    patience: int


def hold(membership: Membership, snapshot: Snapshot) -> Hold | None:
    """Return what a run has to wait for; None: it can begin, or waiting is vain."""
    roster, view = snapshot.roster, snapshot.view
    if roster is None:
        if view.with_data and not (view.copies or view.unreachable):
            return Hold("No gateway has taken these nodes in yet", GATEWAY_WAIT)
        if len(view.rosters) > 1 and not view.unreachable:
            return Hold("Two clusters are becoming one", GATEWAY_WAIT)
        return None
    lost = fillable(snapshot, roster)
    if lost and not membership.roster_store.is_known_lost(lost):
        names = ", ".join(sorted(lost))
        return Hold(f"{names}: lost its disk; until all gateways know it", LONGEST_WAIT)
    if roster.holders & view.unreachable:
        return None
    if roster.next is not None and not membership.roster_store.is_due(roster):
        return Hold("Until all gateways know the new set of nodes", LONGEST_WAIT)
    if new := unheard(snapshot, roster):
        return Hold(f"Until a gateway takes note of {', '.join(new)}", GATEWAY_WAIT)
    return None


def fillable(snapshot: Snapshot, roster: Roster) -> frozenset[str]:
    """Return the nodes that lost their disks, if so few that others have everything."""
    lost = snapshot.lost & roster.holders
    return lost if len(lost) < least_replicas(roster) else frozenset()


def unheard(snapshot: Snapshot, roster: Roster) -> list[str]:
    """Return the nodes that answer, and are not (so) in the roster yet."""
    answering = snapshot.view.empty.union(snapshot.view.copies)
    return [
        name
        for name, member in snapshot.members.items()
        if name in answering and member.spec.endpoint and differs(member.spec, roster)
    ]


def differs(spec: NodeSpec, roster: Roster) -> bool:
    """Whether the roster gives a node another share than discovery does."""
    nodes = roster.newest
    if spec.weight == 0:
        return spec.name in nodes.names
    share = (nodes.weights.get(spec.name), nodes.groups.get(spec.name, ""))
    return share != (spec.weight, spec.group)


def wait_for_it(job: Job, tell: Callable[[str], object]) -> Snapshot:
    """Look at the nodes until a run would not hold back; `tell` is given the reason."""
    membership, refresh_seconds = job.membership, job.refresh_seconds
    membership.snapshot()
    start = time.monotonic()
    while True:
        membership.refresh()
        snapshot = membership.fresh_snapshot()
        held = hold(membership, snapshot)
        waited = time.monotonic() - start
        unit = max(refresh_seconds, membership.roster_store.wait_seconds / 4)
        if held is None or waited > held.patience * unit:
            if held and held.patience == GATEWAY_WAIT:
                log.warning("%s: is one running?", held.reason)
            return snapshot
        tell(held.reason)
        time.sleep(min(refresh_seconds / 2, LONGEST_PAUSE_SECONDS))


def attempt(job: Job, tell: Callable[[str], object] = lambda reason: None) -> Report:
    """Wait for the time, and run; also what can't begin has a report."""
    snapshot = wait_for_it(job, tell)
    return run(job, snapshot, job.options)


def run(
    job: Job, snapshot: Snapshot, options: Options, tell: Tell = lambda report: None
) -> Report:
    """Run once, now."""
    if snapshot.is_empty:
        return Report(is_whole=True)  # nothing is stored yet
    latest = Report()

    def note(report: Report) -> None:
        nonlocal latest
        latest = report
        tell(report)

    try:
        return Repair(job.membership, options).run(note)
    except GatewayError as exc:
        latest.problems.append(where(exc))
        latest.is_whole = False
        return latest


class Watch:
    """Runs for ever: in a rhythm, and early when there is something to do."""

    def __init__(self, job: Job, every: float) -> None:
        self._job = job
        self._every = every
        self._check_seconds = CHECK_REFRESHES * job.refresh_seconds
        self._pause = self._check_seconds
        self._told = ""

    def run(self) -> NoReturn:
        """Begin at once, and never return."""
        while True:
            start = time.monotonic()
            is_well = self._run_once()
            # What failed is tried again soon, and less and less often.
            self._pause = self._check_seconds if is_well else 2 * self._pause
            self._sleep(start, is_well)

    def _run_once(self) -> bool:
        log.info("repair begins")
        try:
            report = attempt(self._job, self._tell)
        except Exception:  # the next run may go better
            log.exception("repair failed")
            return False
        for problem in report.problems:
            log.warning("%s", problem)
        log.info("%s", one_line(report), extra={"fields": fields(report)})
        return report.is_well

    def _tell(self, reason: str) -> None:
        if reason != self._told:
            self._told = reason
            log.info("waiting: %s", reason)

    def _sleep(self, start: float, is_well: bool) -> None:
        """Return when it is time for the next run, or when it is worth it earlier."""
        while (passed := time.monotonic() - start) < self._every:
            time.sleep(min(self._check_seconds, self._every - passed))
            is_late = time.monotonic() - start > self._pause
            if is_late and is_worth_it(self._job.membership, is_well):
                return


def is_worth_it(membership: Membership, was_well: bool) -> bool:
    """Whether a run could do now what the one before could not, or found not."""
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
