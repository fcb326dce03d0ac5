"""What a listing costs: `python -m bench.listing`, a million objects on folder nodes.

The objects are written straight into the nodes' indexes, each where its key's home is:
a listing reads nothing else. Shown are the time to the first entry and to the last,
entries a second, and by how much the gateway's memory grew; of two listings a ratio.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

from amazin.membership.roster import NodeSet
from amazin.model.objects import Label, Stamp
from amazin.model.stored_names import stored_name
from bench.processes import MemoryWatch
from tests.support.gateway_process import GatewayProcess

NODES = 3
BUCKET = "many"
HEADERS = json.dumps({"Content-Type": "text/plain"})
FILE = "0" * 32
IN_A_FOLDER = 1000


def main() -> int:
    """Fill, list, print."""
    parser = argparse.ArgumentParser(prog="python -m bench.listing")
    parser.add_argument("--objects", type=int, default=1_000_000)
    parser.add_argument("--replicas", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        settings = {
            "DISCOVERY": "folders",
            "DATA_DIR": str(folder / "data"),
            "FOLDER_NODES": str(NODES),
            "REPLICAS": str(options.replicas),
            "WORKERS": "1",
        }
        gateway = GatewayProcess(folder, settings)
        gateway.start()
        try:
            gateway.ask("POST", f"/buckets/{BUCKET}")
            gateway.ask("PUT", f"/objects/{BUCKET}/a", b"")
            fill(folder / "data", options.objects, options.replicas)
            for query in ("?limit=1", "?prefix=0500/", "", "?recursive=false"):
                show(gateway, query, options.rounds)
        finally:
            gateway.stop()
    return 0


def key_of(number: int) -> str:
    """Return a key: a thousand in each folder."""
    return f"{number // IN_A_FOLDER:04d}/{number % IN_A_FOLDER:03d}.txt"


def fill(data: Path, count: int, replicas: int) -> None:
    """Put the objects into the indexes of the folders in `data`."""
    start = time.monotonic()
    names = [f"node-{number}" for number in range(1, NODES + 1)]
    nodes = NodeSet(replicas, dict.fromkeys(names, 1.0))
    label = str(Label(Stamp(time.time_ns(), 0), 1))
    rows: dict[str, list[tuple[object, ...]]] = {name: [] for name in names}
    for number in range(count):
        name, _ = stored_name(BUCKET, key_of(number))
        row = (b"store", name.key.encode(), FILE, 0, "0" * 32, label, HEADERS)
        for node in nodes.home(name.hash_key)[:replicas]:
            rows[node].append(row)
    for node in names:
        with sqlite3.connect(data / node / "index.sqlite") as index:
            insert = "INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?, ?, ?)"
            index.executemany(insert, rows[node])
        index.close()
    print(f"{count} objects, {replicas} copies, in {time.monotonic() - start:.0f} s")


def show(gateway: GatewayProcess, query: str, rounds: int) -> None:
    """List some times; print the medians."""
    watch = MemoryWatch([gateway.process.pid])
    results = [measure(gateway.port, query) for _ in range(rounds)]
    grown = watch.peak_over_idle()
    first, last = (statistics.median(times) for times in zip(*results, strict=True))
    count = len(json.loads(b"".join(pieces(gateway.port, query))))
    print(
        f"{query or '(all)':18} {count:>8} entries: first after {first * 1000:.1f} ms "
        f"(at most {max(r[0] for r in results) * 1000:.1f}), all after {last:.2f} s, "
        f"{count / last:,.0f}/s, memory + {grown / 2**20:.1f} MiB"
    )


def measure(port: int, query: str) -> tuple[float, float]:
    """Return the seconds to the first bytes, and to the last."""
    start = time.perf_counter()
    stream = pieces(port, query)
    next(stream)
    first = time.perf_counter()
    for _ in stream:
        pass
    return first - start, time.perf_counter() - start


def pieces(port: int, query: str) -> Iterator[bytes]:
    """Yield what comes of a listing."""
    connection = HTTPConnection("127.0.0.1", port, timeout=600)
    try:
        connection.request("GET", f"/objects/{BUCKET}/list{query}")
        response = connection.getresponse()
        if response.status != 200:
            raise RuntimeError(f"the listing was answered with {response.status}")
        while piece := response.read1():
            yield piece
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(main())
