"""The options and the report of a repair, and the report as text."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

from rich.filesize import decimal

from amazin.cluster.copy_counts import Copies
from amazin.cluster.repair_results import Left
from amazin.units import counted

WORKERS = 4
"""How many keys are repaired at once."""


@dataclass(frozen=True)
class Options:
    """The options of a repair."""

    is_dry_run: bool = False
    is_check: bool = False
    """Whether all copies are read."""
    bytes_per_second: float | None = None
    spool_dir: str | None = None
    workers: int = WORKERS


@dataclass
class Report:
    """What a run did; for a dry run, what it would do."""

    objects: int = 0
    """Number of keys, tombstones included."""
    under_replicated: int = 0
    """Objects that had too few whole copies before."""
    misplaced: int = 0
    """Objects with enough copies, of which some were not where they belong."""
    left: Left = field(default_factory=Left)
    """What is so after it; `waiting` is `failures`."""
    copies: int = 0
    bytes: int = 0
    removals: int = 0
    mended: int = 0
    """Copies that were damaged or gone, and are whole again: some of `copies`."""
    lost: int = 0
    """Objects whose copies are all damaged or gone: some of `failures`."""
    checked: int = 0
    """Copies that were read, for a check; also those that could not be read whole."""
    checked_bytes: int = 0
    damaged: int = 0
    """Those of them that are damaged or gone."""
    has_resumed: bool = False
    """Whether the check goes on with one that was stopped."""
    parts: int = 0
    """Removed parts of uploads that were overwritten, deleted or not completed."""
    part_bytes: int = 0
    """The size of their copies on all nodes."""
    failures: int = 0
    """Keys and parts that need another run."""
    is_whole: bool = False
    """Whether all nodes took part and all keys were listed."""
    has_settled: bool = False
    """Whether the run settled a new set of nodes."""
    problems: list[str] = field(default_factory=list)
    """A sentence for each problem."""
    nodes: dict[str, Copies] = field(default_factory=dict)
    """What lay on each node when it was listed; empty: not all was listed."""

    @property
    def is_well(self) -> bool:
        """Whether nothing is left to be done."""
        return self.is_whole and not self.failures and not self.problems


def fields(report: Report) -> dict[str, object]:
    """Return the report as JSON shows it."""
    found = {**asdict(report), "is_well": report.is_well}
    del found["nodes"]  # so that a line of the log stays one
    return found


def one_line(report: Report, is_dry_run: bool = False) -> str:
    """Return the report as one line."""
    done = to_do(report) if is_dry_run else summary(report)
    return f"looked at {counted(report.objects, 'object')}: {done}"


def to_do(report: Report) -> str:
    """Return what a dry run would do."""
    parts = readings(report)
    if report.copies:
        size = decimal(report.bytes)
        parts.append(f"{counted(report.copies, 'copy')} ({size}) to make")
    if report.removals:
        parts.append(f"{report.removals} to remove")
    if report.parts:
        parts.append(f"{unused_parts(report)} to remove")
    return ", ".join(parts) or "nothing to do"


def summary(report: Report) -> str:
    """Return what was done."""
    parts = readings(report)
    if report.copies:
        size = decimal(report.bytes)
        parts.append(f"made {counted(report.copies, 'copy')} ({size})")
    if report.mended:
        parts.append(f"mended {counted(report.mended, 'damaged copy')}")
    if report.removals:
        parts.append(f"removed {report.removals}")
    if report.parts:
        parts.append(f"removed {unused_parts(report)}")
    if report.has_settled:
        parts.append("settled the new set of nodes")
    return ", ".join(parts) or ("nothing to do" if report.is_well else "nothing done")


def readings(report: Report) -> list[str]:
    """Return what a check has read; nothing without one."""
    if not (report.checked or report.damaged):
        return []
    again = ", going on with an earlier check" if report.has_resumed else ""
    copies = f"{counted(report.checked, 'copy')} ({decimal(report.checked_bytes)})"
    return [f"read {copies}{again}, {report.damaged} damaged or gone"]


def unused_parts(report: Report) -> str:
    """Return the number and the size of unneeded parts."""
    return f"{counted(report.parts, 'unused part')} ({decimal(report.part_bytes)})"
