"""What it costs that folders verify what they read: `python -m bench.verified`.

A folder is read with and without its checksums, by turns, in CPU time: of 1 KiB, and of
256 MiB, which are in the page cache. The share is that of a GET of the same object
through a gateway, in time: so it is the greatest there can be.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from amazin.blocking import BlockingCalls
from amazin.errors import LostCopyError
from amazin.model.objects import CHUNK_BYTES, ObjectInfo
from amazin.nodes.folder.reading import FolderObject
from amazin.nodes.folder.sums import BlockSums
from bench.cells import KIB, MIB
from bench.gateways import make_gateway
from bench.stats import markdown, over_rounds, span
from tests.support.gateway_process import GatewayProcess

SIZES = (KIB, 256 * MIB)
READ_BYTES = 64 * MIB
"""So much is read for one figure: small objects many times."""
MOST_READS = 2000
SMALL_TARGET_US, LARGE_TARGET = 10.0, 0.05
"""Of a GET of 1 KiB, and of 256 MiB."""


def sums_of(path: Path) -> bytes:
    """Return a file's checksums."""
    sums = BlockSums()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(CHUNK_BYTES), b""):
            sums.update(block)
    return sums.digest()


def read_file(path: Path, size: int, sums: bytes | None) -> None:
    """Read a content file as a node does; without checksums it verifies nothing."""
    info = ObjectInfo(size, "", 1)
    found = FolderObject(BlockingCalls(), path, info, None, sums, LostCopyError)
    with closing(found):
        while found.read():
            pass


def cpu_of(work: Callable[[], object], count: int) -> float:
    """Return the CPU seconds of one call."""
    before = time.process_time()
    for _ in range(count):
        work()
    return (time.process_time() - before) / count


def measure_reads(folder: Path, size: int, rounds: int) -> dict[str, list[float]]:
    """Return by way, for each round, the CPU seconds of one read."""
    path = folder / f"{size}"
    path.write_bytes(bytes(size))
    sums = sums_of(path)
    count = max(1, min(MOST_READS, READ_BYTES // size))
    ways = {"plain": None, "verified": sums}
    found: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):  # the first warms up
        for name, known in ways.items():
            seconds = cpu_of(lambda known=known: read_file(path, size, known), count)
            if number:
                found[name].append(seconds)
    path.unlink()
    return found


def measure_gets(gateway: GatewayProcess, size: int, rounds: int) -> list[float]:
    """Return for each round the seconds of one GET through a gateway."""
    count = max(1, min(MOST_READS // 4, READ_BYTES // size))
    with closing(gateway.connect(300)) as connection:
        connection.request("PUT", f"/object/size{size}", bytes(size))
        connection.getresponse().read()

        def get() -> None:
            connection.request("GET", f"/object/size{size}")
            answer = connection.getresponse()
            while answer.read(CHUNK_BYTES):
                pass
            if answer.status != 200:
                raise RuntimeError(f"GET was answered with {answer.status}")

        get()
        found = []
        for _ in range(rounds):
            before = time.monotonic()
            for _ in range(count):
                get()
            found.append((time.monotonic() - before) / count)
    return found


def measure(folder: Path, sizes: Sequence[int], rounds: int) -> dict[str, Any]:
    """Return by size what reads and GETs cost."""
    data = folder / "data"
    (data / "node-1").mkdir(parents=True)
    settings = {"DISCOVERY": "folders", "DATA_DIR": str(data)}
    with make_gateway(folder, settings) as gateway:
        return {
            str(size): {
                **measure_reads(folder, size, rounds),
                "get": measure_gets(gateway, size, rounds),
            }
            for size in sizes
        }


def row(size: str, found: Mapping[str, Sequence[float]]) -> tuple[str, ...]:
    """Return a row of the table, in microseconds."""
    costs = [v - p for v, p in zip(found["verified"], found["plain"], strict=True)]
    shares = [c / get for c, get in zip(costs, found["get"], strict=True)]
    columns = [found["plain"], found["verified"], costs, found["get"]]
    cells = [span(over_rounds([1e6 * s for s in column]), 1) for column in columns]
    percent = span(over_rounds([100 * share for share in shares]))
    return (f"{int(size):,}", *cells, f"{percent} %")


def misses(found: Mapping[str, Mapping[str, Sequence[float]]]) -> list[str]:
    """Return which targets are missed, by the medians."""
    missed = []
    for size, one in found.items():
        middle = {name: over_rounds(values)["median"] for name, values in one.items()}
        cost = middle["verified"] - middle["plain"]
        if int(size) <= KIB and 1e6 * cost > SMALL_TARGET_US:
            missed.append(f"{size} bytes cost more than {SMALL_TARGET_US} us")
        if int(size) > KIB and cost > LARGE_TARGET * middle["get"]:
            missed.append(f"{size} bytes cost more than {LARGE_TARGET:.0%} of a GET")
    return missed


def main() -> int:
    """Measure, and print a table; the exit code is 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--data", help="a folder on a disk, for the objects")
    parser.add_argument("--json", help="a file for all figures")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.data) as folder:
        found = measure(Path(folder), SIZES, options.rounds)
    head = ("bytes", "read, us", "verified, us", "cost, us", "GET, us", "share")
    print(markdown(head, [row(size, one) for size, one in found.items()]))
    if options.json:
        Path(options.json).write_text(json.dumps(found))
    missed = misses(found)
    print("\n".join(missed) or "Within 10 us of 1 KiB, and 5 % of 256 MiB.")
    return bool(missed)


if __name__ == "__main__":
    raise SystemExit(main())
