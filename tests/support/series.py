"""The series of `/metrics`, and a scrape that has them all.

Who queries metrics is held against `SERIES`; `exposition` has a sample of each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

PREFIX = "amazin_"
VALUES: Mapping[str, tuple[str, ...]] = {
    "api": ("object", "objects", "fetch"),
    "kind": ("objects", "tombstones"),
    "method": ("GET", "PUT"),
    "node": ("node-1", "node-2", "node-3"),
    "operation": ("get", "put"),
    "reason": ("NoCredentials", "NotAllowed"),
    "result": ("ok", "missing", "silent"),
    "status": ("200", "404", "503"),
    "version": ("0.1.0",),
    "worker": ("1", "2"),
}
"""Values of each label, of which a scrape has every combination."""
LIMITS = (
    *("0.001", "0.0025", "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5"),
    *("1.0", "2.5", "5.0", "10.0", "30.0", "60.0", "+Inf"),
)
"""The upper ends of a histogram's buckets, in seconds."""


@dataclass(frozen=True, slots=True)
class Series:
    """One name, its type and its labels."""

    name: str
    type: str
    labels: tuple[str, ...] = ()


def _series(kind: str, text: str) -> Iterator[Series]:
    """Yield what lines of `name label...` name."""
    for line in text.split("\n"):
        if words := line.split():
            yield Series(PREFIX + words[0], kind, tuple(words[1:]))


COUNTERS = """
    http_requests_total api method status
    http_received_bytes_total
    http_sent_bytes_total
    http_broken_responses_total api
    access_denied_total reason
    node_requests_total node operation result
    node_sent_bytes_total node
    node_received_bytes_total node
    quorum_failures_total
    read_failovers_total
    spool_refusals_total
"""
HISTOGRAMS = """
    http_request_duration_seconds api method
    http_first_byte_seconds api method
    node_request_duration_seconds node operation
"""
GAUGES = """
    http_requests_in_flight
    node_up node
    node_weight node
    node_expected_ratio node
    node_objects node kind
    node_bytes node kind
    roster_generation
    roster_settled
    roster_age_seconds
    replicas
    discovery_last_success_timestamp_seconds
    repair_running
    repair_last_run_timestamp_seconds
    repair_last_success_timestamp_seconds
    repair_duration_seconds
    repair_looked_at_objects
    repair_under_replicated_objects
    repair_misplaced_objects
    repair_unrepairable_objects
    repair_rotten_copies
    spool_used_bytes
    spool_limit_bytes
    worker_loop_lag_seconds worker
    access_file_last_reload_successful
    build_info version
"""
SERIES = (
    *_series("counter", COUNTERS),
    *_series("histogram", HISTOGRAMS),
    *_series("gauge", GAUGES),
)


def exposition(seconds: int) -> str:
    """Return a scrape of a gateway that has run this long."""
    return "".join(f"{line}\n" for series in SERIES for line in _lines(series, seconds))


def _lines(series: Series, seconds: int) -> Iterator[str]:
    yield f"# HELP {series.name} Some words."
    yield f"# TYPE {series.name} {series.type}"
    for labels in _combinations(series.labels):
        if series.type == "histogram":
            yield from _buckets(series.name, labels, seconds)
        else:
            value = seconds if series.type == "counter" else 1
            yield _line(series.name, labels, value)


def _buckets(name: str, labels: tuple[str, ...], seconds: int) -> Iterator[str]:
    for passed, limit in enumerate(LIMITS, 1):
        yield _line(f"{name}_bucket", (*labels, f'le="{limit}"'), passed * seconds)
    yield _line(f"{name}_sum", labels, seconds)
    yield _line(f"{name}_count", labels, len(LIMITS) * seconds)


def _combinations(labels: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if not labels:
        yield ()
        return
    for rest in _combinations(labels[1:]):
        for value in VALUES[labels[0]]:
            yield (f'{labels[0]}="{value}"', *rest)


def _line(name: str, labels: tuple[str, ...], value: float) -> str:
    return f"{name}{{{','.join(labels)}}} {value}"


def labels_of(text: str) -> dict[str, frozenset[str]]:
    """Return the labels of each sample's name in a scrape, those of a histogram too."""
    found: dict[str, set[str]] = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, _, rest = line.partition("{" if "{" in line else " ")
            pairs = rest.rpartition("}")[0].split('",')
            labels = {pair.partition("=")[0] for pair in pairs if "=" in pair}
            found.setdefault(name, set()).update(labels)
    return {name: frozenset(labels) for name, labels in found.items()}
