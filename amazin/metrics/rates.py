"""How much happened in the last minute, from counters of which samples are kept."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from prometheus_client.metrics_core import Metric

WINDOW_SECONDS, SAMPLE_SECONDS = 60.0, 5.0
TOTALS = {
    "amazin_http_requests_total": "requests",
    "amazin_http_received_bytes_total": "received_bytes",
    "amazin_http_sent_bytes_total": "sent_bytes",
}


@dataclass
class Totals:
    """What all workers of a server have counted."""

    requests: float = 0
    failures: float = 0
    """Those of the requests that were answered with 500 or more."""
    received_bytes: float = 0
    sent_bytes: float = 0


@dataclass(frozen=True)
class Rates:
    """What happened in a second, on average."""

    seconds: float
    """Of so many; less than a minute, if the process is younger."""
    requests: float
    failures: float
    received_bytes: float
    sent_bytes: float


def totals(metrics: Iterable[Metric]) -> Totals:
    """Add up what is counted of requests, for all APIs and answers."""
    found = Totals()
    for metric in metrics:
        for sample in metric.samples:
            if name := TOTALS.get(sample.name):
                setattr(found, name, getattr(found, name) + sample.value)
                if sample.labels.get("status", "") >= "500":
                    found.failures += sample.value
    return found


class LastMinute:
    """The samples of one process. One thread calls `sample`, any calls `rates`."""

    def __init__(
        self, read: Callable[[], Totals], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`read` returns what was counted so far."""
        self._read = read
        self._clock = clock
        most = round(WINDOW_SECONDS / SAMPLE_SECONDS) + 1
        self._samples: deque[tuple[float, Totals]] = deque(maxlen=most)

    def sample(self) -> None:
        """Keep what was counted so far, unless that was done a moment ago."""
        now = self._clock()
        if not self._samples or now >= self._samples[-1][0] + SAMPLE_SECONDS:
            self._samples.append((now, self._read()))

    def rates(self) -> Rates | None:
        """Return the rates; None: there is no sample of a second ago or more."""
        now = self._clock()
        for at, before in list(self._samples):
            if 1.0 <= now - at <= WINDOW_SECONDS + SAMPLE_SECONDS:
                found, seconds = self._read(), now - at
                return Rates(
                    seconds,
                    (found.requests - before.requests) / seconds,
                    (found.failures - before.failures) / seconds,
                    (found.received_bytes - before.received_bytes) / seconds,
                    (found.sent_bytes - before.sent_bytes) / seconds,
                )
        return None
