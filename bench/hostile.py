"""What others wait for while hostile clients are connected: `python -m bench.hostile`.

A gateway on folders, with 1 and with 2 workers. For each kind of hostile client: how
long `GET /health` and the GET of 1 KiB take, on a kept connection and on new ones, and
by how much a worker's memory grew.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.hostile_clients import KINDS, Order
from bench.load import BODY, Client
from bench.processes import MemoryWatch, beside
from bench.stats import percentile
from tests.support.gateway_process import GatewayProcess

MOST_SECONDS, MOST_GROWTH_BYTES = 0.25, 64 * 2**20
"""What a neighbour waits at most, 99 of 100 times, and what a worker grows by."""
PAUSE_SECONDS = 0.01
"""Between the neighbour's requests."""
PATIENCE_SECONDS = 10.0
"""So long it waits for an answer."""
LARGE_BYTES = 32 * 2**20
CROWD = 300
"""So many connections of the kinds that stall: they cost memory, if anything."""


@dataclass(frozen=True)
class Suffering:
    """What a neighbour and the workers had of one kind of hostile clients."""

    kind: str
    median_seconds: float
    p99_seconds: float
    longest_seconds: float
    grown_bytes: int
    failed: int
    """The neighbour's requests without a 200."""
    lost_workers: int
    taken_bytes: int
    """Of what the hostile clients sent."""

    @property
    def is_bearable(self) -> bool:
        """Whether the promise holds."""
        return (
            not self.failed
            and not self.lost_workers
            and self.p99_seconds <= MOST_SECONDS
            and self.grown_bytes <= MOST_GROWTH_BYTES
        )


@contextmanager
def victim(folder: Path, workers: int, **settings: str) -> Iterator[GatewayProcess]:
    """Run a gateway on folders that holds the objects `small` and `large`."""
    known = {
        "DISCOVERY": "folders",
        "DATA_DIR": str(folder / "data"),
        "WORKERS": str(workers),
        "LOG_LEVEL": "error",
        **settings,
    }
    with GatewayProcess(folder, known) as gateway:
        for key, body in (("small", BODY), ("large", bytes(LARGE_BYTES))):
            assert gateway.ask("PUT", f"/object/{key}", body).status == 201
        yield gateway


def suffer(gateway: GatewayProcess, kind: str, seconds: float) -> Suffering:
    """Be the neighbour of hostile clients for so long."""
    workers = gateway.workers()
    count = CROWD if KINDS[kind].stalls else 6
    with beside("bench.hostile_clients") as (_, orders, answers):
        watch = MemoryWatch([gateway.process.pid])
        orders.write(json.dumps(asdict(Order(gateway.port, kind, count))) + "\n")
        orders.flush()
        if answers.readline() != "ready\n":
            raise RuntimeError("the hostile clients can't connect")
        found = list(neighbour(gateway.port, seconds))
        grown = watch.peak_over_idle()
        lost = len(set(workers) - set(gateway.workers()))
        orders.close()
        taken = json.loads(answers.readline())["taken"]
    times = sorted(spent for _, spent in found)
    failed = sum(status != 200 for status, _ in found)
    middle, late = percentile(times, 0.5), percentile(times, 0.99)
    return Suffering(kind, middle, late, times[-1], grown, failed, lost, taken)


def neighbour(port: int, seconds: float) -> Iterator[tuple[int, float]]:
    """Ask for so long, on a kept and on new connections; yields statuses and times."""
    end = time.monotonic() + seconds
    with closing(Client(port, PATIENCE_SECONDS)) as kept:
        while time.monotonic() < end:
            for path in ("/health", "/object/small"):
                yield timed(kept, path)
                with closing(Client(port, PATIENCE_SECONDS)) as new:
                    yield timed(new, path)
            time.sleep(PAUSE_SECONDS)


def timed(client: Client, path: str) -> tuple[int, float]:
    """Ask for a path; returns the status, 0 for a broken connection, and the time."""
    start = time.perf_counter()
    try:
        status = client.ask_path("GET", path)
    except OSError:
        status = 0
    return status, time.perf_counter() - start


def shown(found: Suffering) -> str:
    """Return a line of the table."""
    numbers = (found.median_seconds, found.p99_seconds, found.longest_seconds)
    times = "".join(f"{number * 1000:9.1f}" for number in numbers)
    mib = found.grown_bytes / 2**20
    mark = "" if found.is_bearable else "  <--"
    failed = f"{found.failed:8}{found.lost_workers:6}"
    rate = found.taken_bytes / 2**20
    return f"{found.kind:24}{times}{mib:9.1f}{failed}{rate:9.1f}{mark}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; returns 1 if the promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    options = parser.parse_args(arguments)
    is_bearable = True
    for workers in options.workers:
        print(f"workers={workers}; ms, MiB, failures, workers lost, MiB taken")
        for kind in options.kinds:
            with (
                tempfile.TemporaryDirectory() as folder,
                victim(Path(folder), workers) as gateway,
            ):
                found = suffer(gateway, kind, options.seconds)
            print(shown(found), flush=True)
            is_bearable &= found.is_bearable
    return 0 if is_bearable else 1


if __name__ == "__main__":
    sys.exit(main())
