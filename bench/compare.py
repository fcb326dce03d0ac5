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

from bench.cells import CELLS, KIB, job_of, measure
from bench.extras import measure_memory, measure_nodes, measure_two
from bench.field import enter, in_turns
from bench.picture import picture
from bench.processes import machine
from bench.report import report
from bench.slow import measure_slow

NEEDED_BYTES = 16 * 1024**3
"""Free space for the large objects of all who are compared, old versions too."""


def main() -> int:
    """Measure, print, and write what is asked for."""
    options = parse_options()
    shown = {name: value for name, value in vars(options).items() if value}
    result: dict[str, Any] = {"machine": machine(), "options": shown}
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.data) as folder:
        check_room(folder)
        for name, measure_part in PARTS.items():
            if not options.only or name in options.only:
                say(f"{name}, after {time.monotonic() - start:.0f} s")
                result[name] = measure_part(Path(folder), options)
    result["machine"] |= {
        "load_after": os.getloadavg()[0],
        "rounds": options.rounds,
        "seconds": time.monotonic() - start,
    }
    write(result, options)
    return 0


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.6, help="of one load")
    parser.add_argument("--only", choices=PARTS, nargs="+", help="measure these parts")
    parser.add_argument("--cells", help="of main: those with this in their name")
    parser.add_argument("--data", metavar="FOLDER", help="where nodes keep objects")
    parser.add_argument("--json", metavar="FILE", help="write all figures there")
    parser.add_argument("--svg", metavar="FILE", help="draw the main figures there")
    parser.add_argument("--markdown", metavar="FILE", help="write the tables there")
    return parser.parse_args()


def check_room(folder: str) -> None:
    """Raises: SystemExit, if the disk is too small."""
    free = shutil.disk_usage(folder).free
    if free < NEEDED_BYTES:
        raise SystemExit(f"{folder}: {free >> 30} GiB free of {NEEDED_BYTES >> 30}")


def measure_main(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Return, by cell and contender, what each round found."""
    cells = [cell for cell in CELLS if (options.cells or "") in cell.name]
    result: dict[str, Any] = {}
    with ExitStack() as stack:
        sizes = sorted({KIB, *(cell.size for cell in cells)})
        field = enter(stack, folder, sizes)
        for cell in cells:
            result[cell.name] = {contender.name: [] for contender in field}
        for number in range(options.rounds):
            say(f"round {number + 1} of {options.rounds}")
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
    """Print the tables; write the files that are asked for."""
    text = report(result)
    print(text)
    if options.markdown:
        Path(options.markdown).write_text(text)
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
