"""The output of `amazin status`: a table or JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from rich.console import Console, Group, JustifyMethod
from rich.filesize import decimal
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from amazin.cluster.copy_counts import Copies, total
from amazin.cluster.repair_results import RepairResult
from amazin.logs import without_credentials
from amazin.membership.member import UP
from amazin.status.nodes import NodeStatus
from amazin.status.observer import Status
from amazin.status.viewer import Findings
from amazin.units import counted

RIGHT = (
    *("weight", "objects", "size", "deleted", "internal", "share", "due", "counted"),
    "free",
)
"""Columns of numbers."""
LESS_IMPORTANT = (
    *("address", "internal", "deleted", "weight", "due", "counted", "group", "roster"),
    "free",
)
"""Columns that a narrow terminal leaves out, in this order."""
ANY_WIDTH = 10_000


def sentence(status: Status) -> str:
    """Return the status of the cluster on one line."""
    states = Counter(node.state for node in status.nodes)
    count = len(status.nodes)
    nodes = counted(count, "node")
    parts = ", ".join(f"{states[state]} {state}" for state in sorted(states, key=rank))
    if status.roster is None:
        return f"{nodes}: {parts}. {status.condition}" if count else status.condition
    copies = counted(status.roster.newest.replicas, "copy")
    return f"{nodes}: {parts}. {copies} of each object. {status.condition}"


def rank(state: str) -> tuple[bool, str]:
    """Return the sort key of a state; `up` is the first."""
    return state != UP, state


def balance(status: Status) -> str:
    """Return a sentence on how far shares are from placement; empty: unknown."""
    pairs = [(status.share(node.name), node) for node in status.nodes if node.due]
    off = [
        (share / node.due - 1, node.name)
        for share, node in pairs
        if share is not None and node.due
    ]
    if len(off) < 2 or len(off) < len(pairs):
        return ""
    (least, emptiest), (most, fullest) = min(off), max(off)
    return (
        f"Balance: from {least:+.1%} ({emptiest}) to {most:+.1%} ({fullest}) of what "
        "placement gives."
    )


def remarks(status: Status) -> list[str]:
    """Return the lines below the table."""
    repair = status.findings.repair if status.findings else None
    lines = [balance(status)]
    if repair:
        lines += repair_lines(repair, status.now_ns)
    elif status.findings and status.roster:
        hint = "" if status.counted else "; --count counts what is there"
        lines.append(f"`amazin repair` has not run yet{hint}.")
    return list(filter(None, [*lines, last_check(status)]))


def repair_lines(repair: RepairResult, now_ns: int) -> Iterator[str]:
    """Yield what repair does, and what the last run found and left."""
    run, last, left = repair.run, repair.last, repair.left
    if repair.is_running(now_ns):
        expected = f" of about {last.objects:,}" if last else ""
        yield f"A repair runs; it has looked at {run.objects:,}{expected} objects."
    elif not run.ended_ns:
        yield f"The repair begun {day(run.began_ns)} did not come to its end."
    if last:
        yield (
            f"Last repair, ended {ago(last.ended_ns, now_ns)}"
            f"{'' if last.is_whole else ', without all nodes'}: "
            f"looked at {counted(last.objects, 'object')}, "
            f"made {counted(last.copies, 'copy')} ({decimal(last.bytes)}); "
            f"{last.under_replicated} had too few copies, "
            f"{last.misplaced} were misplaced."
        )
    if repair.counted_ns:
        yield (
            f"Left when all objects were looked at, {ago(repair.counted_ns, now_ns)}: "
            f"{left.under_replicated} with too few copies, {left.misplaced} misplaced, "
            f"{left.unrepairable} without a whole copy, {left.waiting} waiting for "
            "another run."
        )


def ago(then_ns: int, now_ns: int) -> str:
    """Return how long ago a time was."""
    seconds = max(0, now_ns - then_ns) // 10**9
    for name, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            return f"{counted(seconds // length, name)} ago"
    return f"{counted(seconds, 'second')} ago"


def last_check(status: Status) -> str:
    """Return what the last check of all copies found; empty: there was none."""
    check = status.findings.check if status.findings else None
    if check is None:
        return ""
    state = f"ended {day(check.ended_ns)}" if check.ended_ns else "is not at its end"
    if not check.is_whole:
        state += ", without all nodes"
    unread = f", {check.unread} not read" if check.unread else ""
    return (
        f"Check of all copies, begun {day(check.began_ns)}, {state}: "
        f"{counted(check.copies, 'copy')} ({decimal(check.size)}) read{unread}, "
        f"{check.damaged} damaged or gone, {check.mended} mended, "
        f"{counted(check.lost, 'object')} lost."
    )


def day(time_ns: int) -> str:
    """Return a time to the minute."""
    return f"{datetime.fromtimestamp(time_ns // 10**9, UTC):%Y-%m-%dT%H:%MZ}"


def as_table(
    status: Status, has_ages: bool = False, left_out: Collection[str] = ()
) -> Table:
    """Return a table with a row for each node, and one with the sums."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    titles = [name for name in columns(status, has_ages) if name not in left_out]
    for title in titles:
        justify: JustifyMethod = "right" if title in RIGHT else "left"
        table.add_column(title, justify=justify, overflow="fold")
    for node in status.nodes:
        row = {**node_cells(node), **count_cells(node.name, status)}
        table.add_row(*(Text(row.get(title, "")) for title in titles))
    if status.counted:
        sums = total(counted.count for counted in status.counted.values())
        row = {"node": "total", **cells_of(sums)}
        table.add_row(*(Text(row.get(title, ""), "bold") for title in titles))
    return table


def columns(status: Status, has_ages: bool) -> list[str]:
    """Return the titles of the columns that are not empty."""
    titles = ["node", "state", "weight", "roster"]
    if any(node.group for node in status.nodes):
        titles.insert(3, "group")
    if status.counted:
        titles += ["objects", "size", "deleted", "internal", "share"]
    is_new = any(counted.is_new for counted in status.counted.values())
    ages = ["counted"] if is_new and has_ages else []
    free = ["free"] if any(n.free_bytes is not None for n in status.nodes) else []
    return [*titles, "due", *ages, *free, "address"]


def node_cells(node: NodeStatus) -> dict[str, str]:
    """Return the cells of a node's properties, by title."""
    return {
        "node": node.name,
        "state": node.state,
        "address": without_credentials(node.endpoint),
        "weight": f"{node.weight:g}",
        "group": node.group,
        "roster": node.role,
        "due": percent(node.due),
        "free": "" if node.free_bytes is None else decimal(node.free_bytes),
    }


def count_cells(name: str, status: Status) -> dict[str, str]:
    """Return the cells of a node's count, which may still go on, by title."""
    counted = status.counted.get(name)
    if counted is None or counted.count.problem:
        return {"objects": "?", "counted": "can't be"} if status.counted else {}
    age = counted.age_seconds
    return {
        **cells_of(counted.count),
        "share": percent(status.share(name)),
        "counted": "going on" if age is None else f"{age:.0f} s ago",
    }


def cells_of(count: Copies) -> dict[str, str]:
    """Return the cells of a count, by title."""
    return {
        "objects": f"{count.objects:,}",
        "size": decimal(count.bytes),
        "deleted": f"{count.tombstones:,}",
        "internal": f"{count.markers + count.parts:,}",
    }


def percent(share: float | None) -> str:
    """Return a share in percent."""
    return "" if share is None else f"{share:.1%}"


def as_lines(status: Status, console: Console) -> Group:
    """Return the status for a terminal."""
    parts: list[Text | Table] = [Text(sentence(status)), fitting_table(status, console)]
    parts += [Text(line) for line in remarks(status)]
    parts += [Text(problem, "red") for problem in status.problems]
    return Group(*parts)


def fitting_table(status: Status, console: Console) -> Table:
    """Return the table without the columns that don't fit the terminal."""
    options = console.options.update_width(ANY_WIDTH)
    for count in range(len(LESS_IMPORTANT) + 1):
        table = as_table(status, True, LESS_IMPORTANT[:count])
        if Measurement.get(console, options, table).maximum <= console.width:
            break
    return table


def as_json(status: Status) -> dict[str, Any]:
    """Return the status as JSON shows it."""
    roster = status.roster
    counts = [counted.count for counted in status.counted.values()]
    findings = status.findings or Findings(None, None)
    return {
        "is_well": status.is_well,
        "condition": status.condition,
        "problems": status.problems,
        "replicas": roster.newest.replicas if roster else None,
        "is_settled": roster.is_settled if roster else None,
        "generation": roster.generation if roster else None,
        "nodes": [node_as_json(node, status) for node in status.nodes],
        "total": count_as_json(total(counts)) if counts else None,
        "repair": repair_as_json(findings, status.now_ns),
        "check": asdict(findings.check) if findings.check else None,
    }


def repair_as_json(found: Findings, now_ns: int) -> dict[str, Any] | None:
    """Return what repair does, has found and left; None: it never ran."""
    repair = found.repair
    if repair is None:
        return None
    is_running, last = repair.is_running(now_ns), repair.last
    return {
        "is_running": is_running,
        "run": asdict(repair.run) if is_running else None,
        "last": asdict(last) if last else None,
        "age_seconds": (now_ns - last.ended_ns) / 1e9 if last else None,
        "well_ns": repair.well_ns,
        "counted_ns": repair.counted_ns,
        "left": asdict(repair.left) if repair.counted_ns else None,
        "rotten": found.rotten,
    }


def node_as_json(node: NodeStatus, status: Status) -> dict[str, Any]:
    """Return a node as JSON shows it; a count that is not complete is null."""
    counted = status.counted.get(node.name)
    is_whole = counted is not None and counted.age_seconds is not None
    return {
        "node": node.name,
        "state": node.state,
        "address": without_credentials(node.endpoint) or None,
        "problem": node.problem,
        "weight": node.weight,
        "group": node.group,
        "roster": node.role,
        "due": node.due,
        "free_bytes": node.free_bytes,
        "share": status.share(node.name),
        "count": count_as_json(counted.count) if counted and is_whole else None,
        "count_age_seconds": counted.age_seconds if counted else None,
    }


def count_as_json(count: Copies) -> dict[str, int]:
    """Return a count as JSON shows it."""
    return {
        "objects": count.objects,
        "bytes": count.bytes,
        "tombstones": count.tombstones,
        "markers": count.markers,
        "parts": count.parts,
        "damaged": count.damaged,
    }
