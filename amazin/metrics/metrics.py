"""The series of a process: counts them, and shows those of all workers.

Each worker of one server has a slot, a small number that a later worker takes over
together with its counters: so they go on, and their files don't become more.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar, TypeVarTuple

from prometheus_client import CollectorRegistry, values
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from amazin.blocking import BlockingCalls
from amazin.metrics.cells import shared_values
from amazin.metrics.facts import Facts, Known
from amazin.metrics.meters import Meters, NodeMeter, RequestMeter
from amazin.metrics.rates import LastMinute, Rates, Totals, totals
from amazin.metrics.slots import kept
from amazin.web.spool import SpoolRoom

SAMPLE_SECONDS = 1.0
SAMPLES = 15
"""The loop's lag is the worst of so many: Prometheus scrapes no more often."""
CLOSE_SECONDS = 5.0
Given = TypeVarTuple("Given")
Result = TypeVar("Result")


class Files(Collector):
    """The series in the files of all workers."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)

    def collect(self, kind: str = "") -> Iterable[Metric]:
        """Yield the series, or those of a kind."""
        files = self._folder.glob(f"{kind}*.db")
        found = [str(file) for file in files if has_begun(file)]
        merged: Iterable[Metric] = MultiProcessCollector.merge(found)
        return merged


def has_begun(file: Path) -> bool:
    """Whether the file is there, and not empty, as it is for a moment at first."""
    try:
        return file.stat().st_size > 0
    except OSError:
        return False


class Metrics:
    """The series of this process, or of all workers that share a folder."""

    def __init__(self, slot: str = "", folder: str = "") -> None:
        """`slot`: among the workers; `folder`: with their files; "": the only one."""
        self._slot = slot
        self._folder = kept(folder) if slot and folder else ""
        self._registry = None if self._folder else CollectorRegistry()
        # The library would choose by the environment, and name files by process ids.
        values.ValueClass = values.MutexValue
        if self._folder:
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = self._folder
            values.ValueClass = shared_values(slot)
        self._meters = Meters(self._registry)
        self.requests = RequestMeter(self._meters)
        self._nodes: dict[str, NodeMeter] = {}
        self._lags = deque([0.0], SAMPLES)
        self._calls = BlockingCalls(threads=2)
        self._minute = LastMinute(self._totals)
        self._closing = threading.Event()
        self._sampling: threading.Thread | None = None

    def node(self, name: str) -> NodeMeter:
        """Return what counts the requests to this node."""
        return self._nodes.setdefault(name, NodeMeter(self._meters, name))

    def start(self, spool: SpoolRoom) -> None:
        """Begin to sample what is not counted. Idempotent."""
        if self._sampling is None:
            self._sample(spool)
            self._sampling = threading.Thread(
                target=self._sample_often, args=(spool,), name="metrics", daemon=True
            )
            self._sampling.start()

    def close(self) -> None:
        """End the threads."""
        self._closing.set()
        if self._sampling:
            self._sampling.join(CLOSE_SECONDS)
        self._calls.close()

    def scrape(self, known: Known, accept: str) -> tuple[bytes, str]:
        """Return all series as text, and its media type as `accept` wants it."""
        encode, media_type = choose_encoder(accept)
        return self._aside(self._text, encode, known), media_type

    def _aside(self, read: Callable[[*Given], Result], *given: *Given) -> Result:
        """Return `read(*given)`; files are read outside of the event loop.

        What is in memory has locks, which must not be used there.
        """
        return read(*given) if self._registry else self._calls.run(read, *given)

    def _text(
        self, encode: Callable[[CollectorRegistry], bytes], known: Known
    ) -> bytes:
        registry = CollectorRegistry(auto_describe=False)
        if self._folder:
            registry.register(Files(self._folder))
        elif self._registry:
            registry.register(self._registry)
        registry.register(Facts(known))
        return encode(registry)

    def rates(self) -> Rates | None:
        """Return what all workers did in the last minute; None: not known yet."""
        return self._minute.rates()

    def _totals(self) -> Totals:
        return self._aside(self._read_totals)

    def _read_totals(self) -> Totals:
        if self._registry:
            return totals(self._registry.collect())
        return totals(Files(self._folder).collect("counter"))

    def _sample_often(self, spool: SpoolRoom) -> None:
        due = time.monotonic() + SAMPLE_SECONDS
        while not self._closing.wait(max(0.0, due - time.monotonic())):
            self._lags.append(time.monotonic() - due)
            self._sample(spool)
            due = time.monotonic() + SAMPLE_SECONDS

    def _sample(self, spool: SpoolRoom) -> None:
        meters = self._meters
        meters.in_flight.set(self.requests.in_flight)
        meters.spool_used.set(spool.used_bytes)
        meters.spool_limit.set(spool.limit_bytes)
        meters.lag.labels(self._slot or "1").set(max(self._lags))
        self._minute.sample()
