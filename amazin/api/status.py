"""`GET /status`: the state of this gateway, of the nodes, and of what repair found."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from amazin.access.grants import STATUS
from amazin.api.services import Services
from amazin.cluster.check_results import CheckResult
from amazin.cluster.copy_counts import Copies
from amazin.cluster.repair_results import Left, RepairResult, RepairRun
from amazin.logs import without_credentials
from amazin.release import release
from amazin.status.nodes import NodeStatus
from amazin.status.observer import condition
from amazin.status.viewer import Checked, Findings, View
from amazin.web.messages import Request, Response, Route, json_response

if TYPE_CHECKING:  # it imports a library that is not needed without metrics
    from amazin.metrics.rates import Rates

BEGAN = time.monotonic()
the_release = cache(release)
NOT_KEPT = ("Cache-Control", "no-store")


def status(request: Request, services: Services) -> Response:
    """Say how the cluster is; a node that is silent delays nobody for a second."""
    view = services.viewer.look()
    shown = as_json(view, services.settings.workers)
    rates = services.metrics.rates() if services.metrics else None
    shown["rates"] = rates_as_json(rates) if rates else None
    return json_response(200, shown, [NOT_KEPT])


def rates_as_json(rates: Rates) -> dict[str, float]:
    """Return what the gateway did in a second, on average."""
    return {
        "seconds": round(rates.seconds, 1),
        "requests": round(rates.requests, 2),
        "failures": round(rates.failures, 2),
        "receivedBytes": round(rates.received_bytes, 2),
        "sentBytes": round(rates.sent_bytes, 2),
    }


def as_json(view: View, workers: int) -> dict[str, Any]:
    """Return the view as JSON shows it."""
    snapshot, found = view.snapshot, view.findings
    roster = snapshot.roster
    problems = [snapshot.problem, snapshot.shortage]
    return {
        "gateway": {
            "version": the_release(),
            "uptimeSeconds": round(time.monotonic() - BEGAN, 1),
            "workers": workers,
        },
        "nodes": [node_as_json(node, view) for node in view.nodes],
        "roster": {
            "replicas": roster.newest.replicas if roster else None,
            "generation": roster.generation if roster else None,
            "isSettled": roster.is_settled if roster else None,
            "condition": condition(snapshot),
        },
        "repair": repair_as_json(found, time.time_ns()) if found else None,
        "check": check_as_json(found.check) if found and found.check else None,
        "findingsAgeSeconds": round(view.findings_age_seconds, 1) if found else None,
        "problems": [problem for problem in problems if problem],
    }


def node_as_json(node: NodeStatus, view: View) -> dict[str, Any]:
    """Return a node; what is not known of it is null."""
    checked: Checked = view.checked[node.name]
    repair = view.findings.repair if view.findings else None
    held = repair.nodes.get(node.name) if repair else None
    return {
        "name": node.name,
        "state": node.state,
        "cause": node.problem,
        "address": without_credentials(node.endpoint) or None,
        "group": node.group,
        "weight": node.weight,
        "role": node.role,
        "latencySeconds": checked.latency_seconds,
        "ageSeconds": round(checked.age_seconds, 1),
        "freeBytes": node.free_bytes,
        "objects": held.objects if held else None,
        "bytes": held.bytes if held else None,
        "share": share(held, repair),
        "due": node.due,
    }


def share(held: Copies | None, repair: RepairResult | None) -> float | None:
    """Return a node's share of the copies that repair counted, from 0 to 1."""
    if held is None or repair is None:
        return None
    copies = sum(node.copies for node in repair.nodes.values())
    return held.copies / copies if copies else None


def repair_as_json(found: Findings, now_ns: int) -> dict[str, Any] | None:
    """Return what repair does and has found; None: it never ran."""
    repair = found.repair
    if repair is None:
        return None
    is_running = repair.is_running(now_ns)
    last = repair.last
    return {
        "isRunning": is_running,
        "progress": run_as_json(repair.run) if is_running else None,
        "expectedObjects": last.objects if last else None,
        "last": run_as_json(last) if last else None,
        "lastSuccess": moment(repair.well_ns),
        "counted": moment(repair.counted_ns),
        "left": left_as_json(repair.left) if repair.counted_ns else None,
        "rotten": found.rotten,
    }


def left_as_json(left: Left) -> dict[str, int]:
    """Return what is left to be mended."""
    return {
        "underReplicated": left.under_replicated,
        "misplaced": left.misplaced,
        "unrepairable": left.unrepairable,
        "waiting": left.waiting,
    }


def run_as_json(run: RepairRun) -> dict[str, Any]:
    """Return what one run did."""
    return {
        "began": moment(run.began_ns),
        "ended": moment(run.ended_ns),
        "objects": run.objects,
        "copies": run.copies,
        "bytes": run.bytes,
        "removals": run.removals,
        "mended": run.mended,
        "underReplicated": run.under_replicated,
        "misplaced": run.misplaced,
        "waiting": run.waiting,
        "isWhole": run.is_whole,
        "isWell": run.is_well,
        "problems": run.problems,
    }


def check_as_json(check: CheckResult) -> dict[str, Any]:
    """Return what the last check of all copies found."""
    return {
        "began": moment(check.began_ns),
        "ended": moment(check.ended_ns),
        "copies": check.copies,
        "bytes": check.size,
        "unread": check.unread,
        "damaged": check.damaged,
        "mended": check.mended,
        "lost": check.lost,
        "isWhole": check.is_whole,
    }


def moment(time_ns: int) -> str | None:
    """Return a time as RFC 3339; None for 0."""
    if not time_ns:
        return None
    return f"{datetime.fromtimestamp(time_ns // 10**9, UTC):%Y-%m-%dT%H:%M:%SZ}"


ROUTES = (
    Route("GET", re.compile("/status"), status, STATUS),
    Route("HEAD", re.compile("/status"), status, STATUS),
)
