"""What metrics cost: `python -m bench.metrics`.

The same object of 1 KiB is read by turns through a gateway with metrics and one
without: what its worker uses of the CPU. Then through a gateway that is scraped once a
second, and one that is not: how long a scrape takes, and what others wait meanwhile.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from bench.cells import KIB, run_client
from bench.client import Job
from bench.extras import fake_nodes
from bench.gateways import make_gateway
from bench.load import BODY, Client
from bench.processes import conclude, cpu, machine
from bench.stats import markdown, milli, over_rounds, percentile, span
from tests.support.gateway_process import GatewayProcess, ask, nodes_setting

KEY = "measured"
COUNT = 200
"""GETs in one turn: so few that other work on the machine meets both gateways."""
PARTS = 8
"""So often the gateways are started anew: two equal processes differ by microseconds.
In each part the quietest quarter of the rounds counts."""
TARGET_US = 20.0
"""Of CPU time, for a GET of 1 KiB from one node."""
NODES, WORKERS, CONNECTIONS = 10, 4, 4
KEYS = 100
SCRAPE_SECONDS = 1.0


@contextmanager
def s3_nodes(count: int) -> Iterator[dict[str, str]]:
    """Run nodes that cost next to nothing; yields the settings that find them."""
    with fake_nodes(count) as (_, specs):
        yield {"DISCOVERY": "static", "NODES": nodes_setting(specs), "WORKERS": "1"}


@contextmanager
def one_folder(folder: Path) -> Iterator[dict[str, str]]:
    """Make a node that is a folder; yields the settings that find it."""
    data = folder / "data"
    (data / "node-1").mkdir(parents=True)
    yield {"DISCOVERY": "folders", "DATA_DIR": f"{data}", "WORKERS": "1"}


def cpu_of_gets(gateway: GatewayProcess, client: Client) -> float:
    """Return the CPU seconds that one GET costs the only worker."""
    (worker,) = gateway.workers()
    before = cpu(worker)
    for _ in range(COUNT):
        if client.ask("GET", KEY) != 200:
            raise RuntimeError("a GET was refused")
    return (cpu(worker) - before) / COUNT


def measure_cost(
    folder: Path, settings: Mapping[str, str], rounds: int
) -> dict[str, list[float]]:
    """Return by METRICS, for each round, the CPU seconds of one GET."""
    ways = ("false", "true")
    found: dict[str, list[float]] = {way: [] for way in ways}
    with ExitStack() as stack:
        gateways, clients = {}, {}
        for way in ways:
            made = make_gateway(folder, {**settings, "METRICS": way})
            gateways[way] = stack.enter_context(made)
            clients[way] = stack.enter_context(closing(Client(made.port)))
        clients["true"].ask("PUT", KEY, BODY)
        for number in range(rounds + 1):  # the first warms up
            for way in ways[:: 1 if number % 2 else -1]:
                seconds = cpu_of_gets(gateways[way], clients[way])
                if number:
                    found[way].append(seconds)
    return found


def measure_parts(
    folder: Path, settings: Mapping[str, str], rounds: int
) -> list[dict[str, list[float]]]:
    """Return what `measure_cost` finds with new gateways each time."""
    return [measure_cost(folder, settings, rounds) for _ in range(PARTS)]


def quiet(values: Sequence[float]) -> float:
    """Return the mean of the lowest quarter: other work makes the rest greater."""
    return statistics.mean(sorted(values)[: max(1, len(values) // 4)])


def costs(parts: Sequence[Mapping[str, Sequence[float]]]) -> list[float]:
    """Return what metrics add to a GET in each part, in microseconds."""
    return [1e6 * (quiet(part["true"]) - quiet(part["false"])) for part in parts]


class Scraper:
    """Scrapes a gateway once a second, in a thread."""

    def __init__(self, port: int) -> None:
        self.seconds: list[float] = []
        self.text = b""
        self._port = port
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Scraper:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ending.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ending.wait(SCRAPE_SECONDS):
            start = time.perf_counter()
            answer = ask(self._port, "GET", "/metrics")
            self.seconds.append(time.perf_counter() - start)
            if answer.status != 200:
                raise RuntimeError(f"a scrape was answered with {answer.status}")
            self.text = answer.body


def make_series(gateway: GatewayProcess) -> None:
    """Use every API and every kind of request, until each worker has counted them."""
    requests = [("POST", "/buckets/docs")]
    for n in range(KEYS):
        paths = (f"/object/k{n}", f"/objects/docs/k{n}", f"/objects/docs/missing{n}")
        requests += [("PUT", path) for path in paths[:2]]
        requests += [(verb, path) for path in paths for verb in ("GET", "HEAD")]
    requests += [
        ("GET", "/objects/docs/list"),
        ("GET", "/status"),
        ("GET", "/health"),
    ] * 20
    requests += [("DELETE", f"/objects/docs/k{n}") for n in range(KEYS)]
    for method, path in requests:
        ask(gateway.port, method, path, BODY if method == "PUT" else None)


def measure_scrapes(folder: Path, rounds: int, seconds: float) -> dict[str, Any]:
    """Return how long scrapes take, and others' GETs with them and without."""
    ways = ("without", "with")
    found: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    times: list[float] = []
    text = b""
    with ExitStack() as stack:
        nodes = stack.enter_context(s3_nodes(NODES))
        settings = {**nodes, "WORKERS": f"{WORKERS}", "REPLICAS": "2"}
        gateway = stack.enter_context(make_gateway(folder, settings))
        make_series(gateway)
        keys = [f"k{n}" for n in range(KEYS)]
        job = Job(
            *(gateway.port, "/object/{key}", keys, KIB, {"GET": 1.0}, CONNECTIONS),
            seconds=seconds,
        )
        for number in range(rounds):
            for way in ways[:: 1 if number % 2 else -1]:
                if way == "without":
                    found[way].append(run_client(job))
                    continue
                with Scraper(gateway.port) as scraper:
                    found[way].append(run_client(job))
                times += scraper.seconds
                text = scraper.text
    lines = [line for line in text.splitlines() if not line.startswith(b"#")]
    return {"seconds": times, "series": len(lines), "bytes": len(text), **found}


def cost_table(found: Mapping[str, Sequence[Mapping[str, Sequence[float]]]]) -> str:
    """Return the first table, in microseconds."""
    rows = []
    for kind, parts in found.items():
        ways = [
            span(over_rounds([1e6 * quiet(part[way]) for part in parts]), 0)
            for way in ("false", "true")
        ]
        rows.append((kind, *ways, span(over_rounds(costs(parts)), 1)))
    return markdown(("node", "without, us", "with, us", "metrics cost, us"), rows)


def scrape_table(found: Mapping[str, Any]) -> str:
    """Return the second table, in milliseconds."""
    rows = [
        (
            f"GETs {way} scrapes",
            *(
                milli(over_rounds([one[name] for one in found[way]]))
                for name in ("p50", "p99")
            ),
        )
        for way in ("without", "with")
    ]
    times = found["seconds"]
    rows.append(
        ("a scrape", milli(over_rounds(times)), f"{1e3 * percentile(times, 0.99):.2f}")
    )
    return markdown(("", "p50, ms", "p99, ms"), rows)


def main() -> int:
    """Measure, and print tables; the exit code is 1 if the target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--scraped-rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--json", help="a file for all figures")
    options = parser.parse_args()
    result: dict[str, Any] = {"machine": machine()}
    with tempfile.TemporaryDirectory(prefix="bench-") as name, ExitStack() as stack:
        folder = Path(name)
        kinds = {
            "folder": stack.enter_context(one_folder(folder)),
            "S3": stack.enter_context(s3_nodes(1)),
        }
        found = {
            kind: measure_parts(folder, settings, options.rounds)
            for kind, settings in kinds.items()
        }
        scraped = measure_scrapes(folder, options.scraped_rounds, options.seconds)
    print(cost_table(found), end="\n\n")
    print(scrape_table(scraped))
    print(f"A scrape has {scraped['series']} series and {scraped['bytes']} bytes.")
    result |= {"cost": found, "scrapes": scraped}
    conclude(result, options.json)
    missed = [
        k for k, one in found.items() if statistics.median(costs(one)) > TARGET_US
    ]
    print(
        f"More than {TARGET_US} us: {missed}" if missed else f"Within {TARGET_US} us."
    )
    return bool(missed)


if __name__ == "__main__":
    raise SystemExit(main())
