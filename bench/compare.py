"""The gateway compared with nginx, HAProxy and a node itself: `python -m bench`.

Real MinIO servers on loopback. What is compared is measured in the same run, in turns;
shown is the median of the rounds, with the least and the greatest.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench.cells import CELLS, KIB, Cell, job_of, measure
from bench.extras import measure_memory, measure_nodes, measure_two
from bench.field import enter, in_turns
from bench.picture import picture
from bench.processes import machine
from bench.report import has_errors, report
from bench.slow import measure_slow
from bench.versions import versions

NEEDED_BYTES = 16 * 1024**3
"""Free space for the large objects of all who are compared, old versions too."""
SETTLE_SECONDS = 3.0
"""Between rounds: what large uploads left to do is not to fall to the next."""


def main() -> int:
    """Measure, print, and write what is asked for."""
    options = parse_options()
    shown = {name: value for name, value in vars(options).items() if value}
    options.left_out = {}
    result: dict[str, Any] = {
        "machine": machine() | {"rounds": options.rounds},
        "versions": versions(),
        "options": shown,
        "left_out": options.left_out,
    }
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.data) as folder:
        check_room(folder, options)
        for name in options.only or PARTS:
            say(f"{name}, after {time.monotonic() - start:.0f} s")
            own = Path(folder, name)
            own.mkdir()
            result[name] = PARTS[name](own, options)
            shutil.rmtree(own)
            result["machine"]["seconds"] = time.monotonic() - start
            result["machine"]["load_after"] = os.getloadavg()[0]
            write(result, options)
    print(report(result))
    return int(has_errors(result))


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.6, help="of one load")
    parser.add_argument("--only", choices=PARTS, nargs="+", help="measure these parts")
    parser.add_argument(
        "--cells", default="", help="of main: those with this in their name"
    )
    parser.add_argument("--slow-clients", type=int, default=1000, help="of slow")
    parser.add_argument("--data", metavar="FOLDER", help="where nodes keep objects")
    parser.add_argument("--json", metavar="FILE", help="write all figures there")
    parser.add_argument("--svg", metavar="FILE", help="draw the main figures there")
    parser.add_argument("--markdown", metavar="FILE", help="write the tables there")
    options = parser.parse_args()
    if not cells_of(options):
        parser.error(f"no load has {options.cells!r} in its name")
    return options


def cells_of(options: argparse.Namespace) -> list[Cell]:
    """Return the loads of the main part that are asked for."""
    return [cell for cell in CELLS if options.cells in cell.name]


def check_room(folder: str, options: argparse.Namespace) -> None:
    """Raises: SystemExit, if the disk is too small for large objects."""
    parts = options.only or PARTS
    has_large = any(cell.is_large for cell in cells_of(options))
    if "memory" not in parts and not ("main" in parts and has_large):
        return
    free = shutil.disk_usage(folder).free
    if free < NEEDED_BYTES:
        raise SystemExit(f"{folder}: {free >> 30} GiB free of {NEEDED_BYTES >> 30}")


def measure_main(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Return, by cell and contender, what each round found."""
    cells = cells_of(options)
    result: dict[str, Any] = {}
    with ExitStack() as stack:
        sizes = sorted({KIB, *(cell.size for cell in cells)})
        field = enter(stack, folder, sizes, options.left_out)
        for cell in cells:
            result[cell.name] = {contender.name: [] for contender in field}
        for number in range(options.rounds):
            say(f"round {number + 1} of {options.rounds}")
            os.sync()
            time.sleep(SETTLE_SECONDS)
            for cell in cells:
                for contender in in_turns(field, number):
                    job = job_of(cell, contender, options.seconds)
                    result[cell.name][contender.name].append(measure(contender, job))
    return result


def say(what: str) -> None:
    """Tell at a terminal what is going on."""
    if sys.stderr.isatty():
        print(f"... {what}", file=sys.stderr)


def write(result: dict[str, Any], options: argparse.Namespace) -> None:
    """Write the files that are asked for, with what was measured so far."""
    if options.markdown:
        Path(options.markdown).write_text(report(result))
    if options.json:
        Path(options.json).write_text(json.dumps(result, indent=1) + "\n")
    if options.svg and "main" in result:
        Path(options.svg).write_text(picture(result["main"]))


PARTS = {
    "main": measure_main,
    "slow": measure_slow,
    "nodes": measure_nodes,
    "memory": measure_memory,
    "two": measure_two,
}

if __name__ == "__main__":
    sys.exit(main())
