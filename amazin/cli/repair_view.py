"""How `amazin repair` runs: when it begins, what it shows, and when it runs again.

What a run does: `repair.py`.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from signal import SIGINT, SIGTERM
from types import FrameType
from typing import NamedTuple, NoReturn

import click
from rich.console import Console
from rich.filesize import decimal
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TimeElapsedColumn,
)
from rich.table import Column
from rich.text import Text

from amazin.errors import GatewayError
from amazin.membership.membership import Membership, Snapshot
from amazin.membership.roster import Roster
from amazin.nodes.interface import NodeSpec
from amazin.repair.objects import Options, Report
from amazin.repair.run import Repair, least_replicas, where

LONGEST_WAIT = 12
"""In `REFRESH_SECONDS`: from a node's appearance to the time for repair, and some."""
GATEWAY_WAIT = 4
"""The same, for what only a gateway can do, which may not be running."""
CHECK_REFRESHES = 2
"""In `REFRESH_SECONDS`: how often `--every` looks whether there is something to do."""
LONGEST_PAUSE_SECONDS = 1.0
SHOW_CURSOR = b"\x1b[?25h\r\n"

Tell = Callable[[Report], object]
log = logging.getLogger("amazin.repair")


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


# When


def hold(membership: Membership, snapshot: Snapshot) -> Hold | None:
    """Return what a run has to wait for; None: it can begin, or waiting is vain."""
    roster, sight = snapshot.roster, snapshot.sight
    if roster is None:
        if sight.filled and not (sight.copies or sight.silent):
            return Hold("No gateway has taken these nodes in yet", GATEWAY_WAIT)
        if len(sight.rosters) > 1 and not sight.silent:
            return Hold("Two clusters are becoming one", GATEWAY_WAIT)
        return None
    lost = fillable(snapshot, roster)
    if lost and not membership.keeper.is_known_lost(lost):
        names = ", ".join(sorted(lost))
        return Hold(f"{names}: lost its disk; until all gateways know it", LONGEST_WAIT)
    if roster.holders & sight.silent:
        return None
    if roster.next is not None and not membership.keeper.is_due(roster):
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
    answering = snapshot.sight.blank.union(snapshot.sight.copies)
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
        unit = max(refresh_seconds, membership.keeper.wait_seconds / 4)
        if held is None or waited > held.patience * unit:
            if held and held.patience == GATEWAY_WAIT:
                log.warning("%s: is one running?", held.reason)
            return snapshot
        tell(held.reason)
        time.sleep(min(refresh_seconds / 2, LONGEST_PAUSE_SECONDS))


# One run


def attempt(job: Job, tell: Callable[[str], object] = lambda reason: None) -> Report:
    """Wait for the time, and run; also what can't begin has a report."""
    snapshot = wait_for_it(job, tell)
    return run(job, snapshot, job.options)


def run(
    job: Job, snapshot: Snapshot, options: Options, tell: Tell = lambda report: None
) -> Report:
    """Run once, now."""
    if snapshot.is_blank:
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


def work(job: Job, console: Console) -> Report:
    """Run for a person at a terminal: the plan first, then with a progress bar."""
    with console.status("Looking at the nodes") as status:
        snapshot = wait_for_it(job, status.update)

        def count(report: Report) -> None:
            status.update(f"Looking at the objects: {report.objects}")

        planning = Options(True, None, job.options.buckets)
        planned = run(job, snapshot, planning, count)
    if job.options.is_dry_run:
        return planned
    found = number(planned.objects, "object")
    console.print(f"{found}; {plan(planned)}", highlight=False)
    with Progress(
        BarColumn(20),
        MofNCompleteColumn(),
        DoneColumn(table_column=Column(no_wrap=True)),
        TimeElapsedColumn(),
        console=console,
    ) as bar:
        task = bar.add_task("", total=planned.objects, report=Report())

        def show(report: Report) -> None:
            bar.update(task, completed=report.objects, report=report)

        return run(job, snapshot, job.options, show)


class DoneColumn(ProgressColumn):
    """What has been done up to now, and how fast."""

    def render(self, task: Task) -> Text:
        """Return it as of this moment: copying goes on between two objects."""
        report: Report = task.fields["report"]
        speed = decimal(int(report.bytes / max(task.elapsed or 0.0, 0.1)))
        copies = f"{number(report.copies, 'copy')} ({decimal(report.bytes)}, {speed}/s)"
        return Text(f"{copies}, {report.removals} removed")


@contextmanager
def ended_by_signals(message: str = "") -> Iterator[None]:
    """End the process at once on SIGTERM and SIGINT, whatever runs.

    That is safe for the objects: copies become visible whole, and nothing is removed
    before its copies are there. With a `message` it is an interruption.
    """

    def end(which: int, frame: FrameType | None) -> NoReturn:
        if message and os.isatty(2):
            os.write(2, SHOW_CURSOR)
        if message:
            os.write(2, f"{message}\n".encode())
        os._exit(128 + which if message else 0)

    old = {which: signal.signal(which, end) for which in (SIGTERM, SIGINT)}
    try:
        yield
    finally:
        for which, handler in old.items():
            signal.signal(which, handler)


# What came of it


def show_report(report: Report, options: Options, is_json: bool) -> None:
    """Print it: one line, and the problems on standard error; or JSON."""
    if is_json:
        click.echo(json.dumps(fields(report)))
        return
    click.echo(summary(report, options.is_dry_run))
    for problem in report.problems:
        click.echo(problem, err=True)


def fields(report: Report) -> dict[str, object]:
    """Return the report as JSON shows it."""
    return {**asdict(report), "is_well": report.is_well}


def summary(report: Report, is_dry_run: bool = False) -> str:
    """Return the report as one line."""
    done = plan(report) if is_dry_run else deeds(report)
    return f"looked at {number(report.objects, 'object')}: {done}"


def plan(report: Report) -> str:
    """Return what there is to do."""
    parts = []
    if report.copies:
        size = decimal(report.bytes)
        parts.append(f"{number(report.copies, 'copy')} ({size}) to make")
    if report.removals:
        parts.append(f"{report.removals} to remove")
    if report.parts:
        parts.append(f"{unused_parts(report)} to remove")
    return ", ".join(parts) or "nothing to do"


def deeds(report: Report) -> str:
    """Return what was done."""
    parts = []
    if report.copies:
        size = decimal(report.bytes)
        parts.append(f"made {number(report.copies, 'copy')} ({size})")
    if report.removals:
        parts.append(f"removed {report.removals}")
    if report.parts:
        parts.append(f"removed {unused_parts(report)}")
    if report.has_settled:
        parts.append("settled the new set of nodes")
    return ", ".join(parts) or ("nothing to do" if report.is_well else "nothing done")


def unused_parts(report: Report) -> str:
    """Return how many parts of large objects no object needs, and their size."""
    return f"{number(report.parts, 'unused part')} ({decimal(report.part_bytes)})"


def number(count: int, noun: str) -> str:
    """Return a count with its noun."""
    if count == 1:
        return f"1 {noun}"
    return f"{count} {noun[:-1]}ies" if noun.endswith("y") else f"{count} {noun}s"


# Again and again


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
        log.info("%s", summary(report), extra={"fields": fields(report)})
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
    if lost and membership.keeper.is_known_lost(lost):
        return True
    if roster.holders & snapshot.sight.silent:
        return False
    return membership.keeper.is_due(roster) or not was_well
