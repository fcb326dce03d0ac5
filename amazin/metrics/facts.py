"""What is not counted but known: the nodes, their roster, what repair has found."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from amazin.cluster.repair_results import RepairResult
from amazin.membership.snapshot import Snapshot
from amazin.release import release
from amazin.status.viewer import Findings

NS = 10**9
the_release = cache(release)
Values = dict[tuple[str, ...], float]
"""By the values of the labels."""


@dataclass(frozen=True)
class Known:
    """What a process knows of the cluster at one moment."""

    snapshot: Snapshot
    shares: Mapping[str, float]
    """By node name, from 0 to 1; empty: not known yet."""
    findings: Findings | None
    """None: they could not be read yet."""
    is_access_file_good: bool | None
    """None: there is no such file."""


class Facts(Collector):
    """The series that are known, for one scrape."""

    def __init__(self, known: Known) -> None:
        self._known = known

    def collect(self) -> Iterable[Metric]:
        """Yield the series."""
        known, snapshot = self._known, self._known.snapshot
        yield from node_facts(snapshot, known.shares)
        yield from roster_facts(snapshot)
        if known.findings:
            yield from repair_facts(known.findings, snapshot)
        if known.is_access_file_good is not None:
            yield gauge(
                "access_file_last_reload_successful",
                "1: the rules are those of the access file; 0: it has a mistake.",
                known.is_access_file_good,
            )
        text = "1, with the version that runs."
        yield labelled("build_info", text, ("version",), {(the_release(),): 1})


def gauge(name: str, text: str, value: float) -> Metric:
    """Return a series without labels."""
    return GaugeMetricFamily(f"amazin_{name}", text, value=float(value))


def labelled(
    name: str,
    text: str,
    labels: tuple[str, ...],
    values: Values,
) -> Metric:
    """Return a series by the values of its labels."""
    family = GaugeMetricFamily(f"amazin_{name}", text, labels=labels)
    for key, value in values.items():
        family.add_metric(key, float(value))
    return family


def node_facts(snapshot: Snapshot, shares: Mapping[str, float]) -> Iterator[Metric]:
    """Yield what is known of each node without asking it."""
    roster = snapshot.roster
    forgotten = roster.forgotten if roster else ()
    weights, up = Values(), Values()
    for name, member in snapshot.members.items():
        spec = member.spec
        if name in forgotten and not spec.endpoint:
            continue
        is_failing = member.is_skipped or member.is_lost
        up[name,] = bool(spec.endpoint) and not is_failing
        weights[name,] = roster.newest.weights.get(name, 0.0) if roster else spec.weight
    text = "1: the node answers, as far as this process knows; 0: skipped or lost."
    yield labelled("node_up", text, ("node",), up)
    text = "The node's weight in placement; 0: it gets no objects."
    yield labelled("node_weight", text, ("node",), weights)
    expected = Values({(name,): share for name, share in shares.items()})
    text = "The share of all copies that placement gives the node, from 0 to 1."
    yield labelled("node_expected_ratio", text, ("node",), expected)


def roster_facts(snapshot: Snapshot) -> Iterator[Metric]:
    """Yield what is known of the set of nodes."""
    roster = snapshot.roster
    generation = roster.generation if roster else 0
    yield gauge("roster_generation", "Counts the changes of the roster.", generation)
    settled = roster is not None and roster.is_settled
    text = "1: all objects are where the newest set of nodes has them; 0: not yet."
    yield gauge("roster_settled", text, settled)
    age = time.monotonic() - snapshot.confirmed_at
    text = "Seconds since enough nodes confirmed the roster; +Inf: never."
    yield gauge("roster_age_seconds", text, max(0.0, age))
    replicas = roster.newest.replicas if roster else snapshot.replicas
    yield gauge("replicas", "Copies of each object that there should be.", replicas)
    text = "When the list of nodes was last got; 0: never."
    found_at = snapshot.found_at
    yield gauge("discovery_last_success_timestamp_seconds", text, found_at)


def repair_facts(findings: Findings, snapshot: Snapshot) -> Iterator[Metric]:
    """Yield what repair does, and what it has found."""
    repair = findings.repair or RepairResult.never()
    last, left = repair.last or repair.run, repair.left
    is_running = repair.is_running(time.time_ns())
    yield gauge("repair_running", "1: repair runs now.", is_running)
    text = "When the last run of repair began; 0: never."
    yield gauge("repair_last_run_timestamp_seconds", text, repair.run.began_ns / NS)
    text = "When the last run of repair ended that left nothing to do; 0: never."
    yield gauge("repair_last_success_timestamp_seconds", text, repair.well_ns / NS)
    text = "How long the last whole run took."
    seconds = max(0, last.ended_ns - last.began_ns) / NS
    yield gauge("repair_duration_seconds", text, seconds)
    text = (
        "What the last run looked at, or so far the running one; internal objects, too."
    )
    looked_at = repair.run.objects if is_running else last.objects
    yield gauge("repair_looked_at_objects", text, looked_at)
    text = "Objects that the last whole run left with too few whole copies."
    yield gauge("repair_under_replicated_objects", text, left.under_replicated)
    text = "Objects that the last whole run left on other nodes than placement gives."
    yield gauge("repair_misplaced_objects", text, left.misplaced)
    text = "Objects that the last whole run could not repair."
    yield gauge("repair_unrepairable_objects", text, left.unrepairable)
    text = "Copies that the last check found damaged or gone, and did not replace."
    yield gauge("repair_rotten_copies", text, findings.rotten)
    kinds, size, held = ("node", "kind"), Values(), Values()
    for name, copies in repair.nodes.items():
        held[name, "objects"] = copies.objects
        held[name, "tombstones"] = copies.tombstones
        size[name, "all"] = copies.bytes
    text = "Copies on the node, as repair counted them."
    yield labelled("node_objects", text, kinds, held)
    text = "Bytes of all copies on the node, of any kind, as repair counted them."
    yield labelled("node_bytes", text, kinds, size)
