"""What is counted while requests are served: of clients, and of nodes.

With several workers each has its values in files of a folder that all of them read;
prometheus_client does that. Each series' child is kept, which saves half of its time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
)

from amazin.errors import (
    HTTPError,
    NodeAccessError,
    NodeBusyError,
    NodeError,
    NodeFullError,
    NodeRefusalError,
    NodeTimeoutError,
    NoNodesError,
    NoSuchBucketError,
    NoSuchKeyError,
    PreconditionError,
)
from amazin.web.bodies import received_bytes
from amazin.web.messages import Request

LIMITS = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)
"""The upper ends of the histograms' buckets, in seconds."""
FRAMED = ("CONTENT_LENGTH", "HTTP_TRANSFER_ENCODING")
"""A request with one of these has a body."""
METHODS = frozenset(("GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS"))
RESULTS: tuple[tuple[type[Exception] | tuple[type[Exception], ...], str], ...] = (
    ((NoSuchKeyError, NoSuchBucketError), "missing"),
    (PreconditionError, "precondition"),
    (NodeFullError, "full"),
    (NodeTimeoutError, "silent"),
    ((NodeRefusalError, NodeAccessError, NodeBusyError), "refused"),
)
"""How a request to a node ended; what is not here is `broken`."""
Kind = TypeVar("Kind", Counter, Gauge, Histogram)

disable_created_metrics()


class Meters:
    """The counters of one process."""

    def __init__(self, registry: CollectorRegistry | None) -> None:
        """`registry`: None, if the values of several processes are read from files."""
        self._registry = registry
        self._count_clients("api", "method")
        self._count_nodes("node")
        self._show_gauges()

    def _count_clients(self, api: str, method: str) -> None:
        self.requests = self._counter(
            "http_requests", "Requests answered.", api, method, "status"
        )
        self.durations = self._histogram(
            "http_request_duration_seconds",
            "Time from a request's head to the end of its response.",
            *(api, method),
        )
        self.first_bytes = self._histogram(
            "http_first_byte_seconds",
            "Time from a request's head to the first byte of its response.",
            *(api, method),
        )
        self.received = self._counter(
            "http_received_bytes", "Bytes of request bodies that were read."
        )
        self.sent = self._counter("http_sent_bytes", "Bytes of response bodies sent.")
        self.broken = self._counter(
            "http_broken_responses",
            "Responses that began well and could not be sent whole.",
            api,
        )
        self.denied = self._counter(
            "access_denied", "Requests refused with 401 or 403.", "reason"
        )
        self.spool_refusals = self._counter(
            "spool_refusals", "Requests refused because the spool has no room."
        )

    def _count_nodes(self, node: str) -> None:
        self.node_requests = self._counter(
            "node_requests", "Requests to nodes.", node, "operation", "result"
        )
        self.node_durations = self._histogram(
            "node_request_duration_seconds",
            "Time from a request to a node to its response's head.",
            *(node, "operation"),
        )
        self.node_sent = self._counter(
            "node_sent_bytes", "Bytes of bodies sent to nodes.", node
        )
        self.node_received = self._counter(
            "node_received_bytes", "Bytes of bodies received from nodes.", node
        )
        self.quorum_failures = self._counter(
            "quorum_failures", "Requests refused because too few nodes were usable."
        )
        self.failovers = self._counter(
            "read_failovers", "Reads that were answered although a node failed."
        )

    def _show_gauges(self) -> None:
        self.in_flight = self._sum("http_requests_in_flight", "Requests being served.")
        self.spool_used = self._sum("spool_used_bytes", "Bytes held in the spool.")
        self.spool_limit = self._sum("spool_limit_bytes", "What the spool may hold.")
        self.lag = Gauge(
            "amazin_worker_loop_lag_seconds",
            "The longest that a worker's event loop was late, in the last 15 seconds.",
            ["worker"],
            registry=self._registry,
            multiprocess_mode="livemax",
        )

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"amazin_{name}", text, labels, registry=self._registry)

    def _histogram(self, name: str, text: str, *labels: str) -> Histogram:
        return Histogram(
            f"amazin_{name}", text, labels, registry=self._registry, buckets=LIMITS
        )

    def _sum(self, name: str, text: str) -> Gauge:
        return Gauge(
            f"amazin_{name}",
            text,
            registry=self._registry,
            multiprocess_mode="livesum",
        )


class RequestMeter:
    """Counts the requests of clients."""

    def __init__(self, meters: Meters) -> None:
        self.in_flight = 0
        """The gateway counts it; it is shown once a second."""
        self._meters = meters
        self._requests: dict[tuple[str, str, int], Callable[[], None]] = {}
        self._times: dict[tuple[str, str], tuple[Any, Any]] = {}

    def note_error(self, error: HTTPError, cause: Exception) -> None:
        """Count a request that is refused, by what kept it from being served."""
        if error.status in (401, 403):
            self._meters.denied.labels(error.code).inc()
        elif error.code == "SpoolFull":
            self._meters.spool_refusals.inc()
        elif isinstance(cause, NodeError | NoNodesError):
            self._meters.quorum_failures.inc()

    def note_end(
        self, request: Request, status: int, started: float, first_at: float, sent: int
    ) -> None:
        """Count a response; see `amazin.web.metering`."""
        now = time.monotonic()
        self.in_flight -= 1
        api = request.api
        method = request.method if request.method in METHODS else "OTHER"
        key = (api, method, status)
        if key not in self._requests:
            child = self._meters.requests.labels(api, method, str(status))
            self._requests[key] = child.inc
            self._meters.broken.labels(api)  # a rate needs a first value, which is 0
            self._times[api, method] = (
                self._meters.durations.labels(api, method).observe,
                self._meters.first_bytes.labels(api, method).observe,
            )
        self._requests[key]()
        observe_whole, observe_first = self._times[api, method]
        observe_whole(now - started)
        observe_first((first_at or now) - started)
        if sent:
            self._meters.sent.inc(sent)
        if request.environ.keys().isdisjoint(FRAMED):
            return
        if received := received_bytes(request.environ):
            self._meters.received.inc(received)

    def note_broken(self, api: str) -> None:
        """Count a response that ended too early, and not because its client left."""
        self._meters.broken.labels(api).inc()

    def note_failover(self) -> None:
        """Count a read that was answered although a node failed."""
        self._meters.failovers.inc()


class NodeMeter:
    """Counts the requests to one node."""

    def __init__(self, meters: Meters, node: str) -> None:
        self._meters = meters
        self._node = node
        self._requests: dict[tuple[str, str], Callable[[], None]] = {}
        self._durations: dict[str, Callable[[float], None]] = {}
        self.note_sent: Callable[[float], None] = meters.node_sent.labels(node).inc
        self.note_received: Callable[[float], None] = meters.node_received.labels(
            node
        ).inc

    def note(
        self, operation: str, seconds: float, error: Exception | None = None
    ) -> None:
        """Count a request that took so long, and failed if there is an error."""
        result = "ok" if error is None else result_of(error)
        if (operation, result) not in self._requests:
            child = self._meters.node_requests.labels(self._node, operation, result)
            self._requests[operation, result] = child.inc
            time_of = self._meters.node_durations.labels(self._node, operation)
            self._durations[operation] = time_of.observe
        self._requests[operation, result]()
        self._durations[operation](seconds)


def result_of(error: Exception) -> str:
    """Return the word for a failed request to a node."""
    for kind, word in RESULTS:
        if isinstance(error, kind):
            return word
    return "broken"
