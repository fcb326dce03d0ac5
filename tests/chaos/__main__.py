"""Kills, stops and freezes real nodes under clients that check every answer.

    python -m tests.chaos --operations 5000 --kills 20 --replicas 2

Ends when so many operations *and* kills (-9, of nodes) are done. Exit code: 1 after a
wrong answer or a lost object, 2 if the time was over before. MINIO: the binary's path.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from tests.chaos.clients import Client, Session
from tests.chaos.history import History
from tests.chaos.replies import read_problem
from tests.chaos.system import GatewayTormentor, NodeTormentor, System
from tests.chaos.tally import Tally, lines

CLIENTS = 8
PRIVATE_KEYS = 4
SHARED_KEYS = ("shared1", "shared2", "shared3", "shared4", "SHARED5", "SHARED6")
"""Keys in upper case are never deleted: nothing but loss makes them absent."""
FINAL_SECONDS = 30.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options = parse(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    print(f"seed {options.seed}, r = {options.replicas}, {options.nodes} nodes")
    tally = Tally()
    is_complete, begin = False, time.monotonic()
    try:
        is_complete = Run(options, folder, tally).run()
    finally:
        plan = ("seed", "replicas", "nodes", "outage", "calm")
        figures = {
            **{name: getattr(options, name) for name in plan},
            "seconds": round(time.monotonic() - begin),
            **tally.figures(),
        }
        print("\n".join([*tally.messages, *lines(figures)]), flush=True)
        if is_complete and not tally.messages and not options.keep:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            print(f"The logs are in {folder}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2, default=str) + "\n")
    if tally.wrong or tally.lost:
        return 1
    return 0 if is_complete else 2


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--operations", type=int, default=5000, help="at least so many requests")
    add("--kills", type=int, default=20, help="at least so many nodes killed (-9)")
    add("--replicas", type=int, default=2, help="r")
    add(
        "--nodes",
        type=int,
        help="how many MinIO servers; 2r-1, at least 3, if not given",
    )
    add("--outage", type=float, default=3.0, help="longest time a node is down, in s")
    add("--seed", type=int, default=time.time_ns() % 10**6, help="of the random plan")
    add("--seconds", type=float, default=3600, help="it ends after so long in any case")
    add("--calm", action="store_true", help="kill nothing, to measure without")
    add("--keep", action="store_true", help="keep the logs in any case")
    add("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args(arguments)
    options.nodes = options.nodes or max(3, 2 * options.replicas - 1)
    options.kills = 0 if options.calm else options.kills
    options.minio = os.environ.get("MINIO") or shutil.which("minio")
    if not options.minio:
        parser.error("no minio: set MINIO to its path")
    return options


class Run:
    """One run of the test, from the first process to the last."""

    def __init__(self, options: argparse.Namespace, folder: Path, tally: Tally) -> None:
        self._options = options
        self._tally = tally
        self._history = History()
        self._stop = threading.Event()
        self._system = System(options.minio, folder, options.nodes, options.replicas)

    def run(self) -> bool:
        """Run it; returns whether it was complete before its time was over."""
        try:
            self._system.start()
            is_complete = self._torment()
            self._read_all()
            return is_complete
        finally:
            self._system.stop()

    def _torment(self) -> bool:
        """Let everybody work until enough is done."""
        deadline = time.monotonic() + self._options.seconds
        workers = [client.run for client in self._clients()]
        if not self._options.calm:
            workers += self._tormentors()
        with ThreadPoolExecutor(len(workers)) as pool:
            futures = [pool.submit(worker, self._stop) for worker in workers]
            try:
                while not self._is_enough() and time.monotonic() < deadline:
                    raise_failures(futures)
                    time.sleep(0.1)
            finally:
                self._stop.set()
        raise_failures(futures)
        return self._is_enough()

    def _is_enough(self) -> bool:
        return (
            self._tally.operations >= self._options.operations
            and self._tally.events["node kill"] >= self._options.kills
        )

    def _clients(self) -> list[Client]:
        clients = []
        for number in range(CLIENTS):
            name = f"c{number}"
            private = [f"{name}k{n}" for n in range(PRIVATE_KEYS)]
            private[0] = private[0].upper()
            clients.append(self._client(name, [*private, *SHARED_KEYS]))
        slow = self._client("slow", ["LARGE1", "LARGE2"], is_slow=True)
        return [*clients, slow]

    def _client(
        self, name: str, keys: Sequence[str], *, is_slow: bool = False
    ) -> Client:
        rng = random.Random(f"{self._options.seed} {name}")
        return Client(
            name,
            keys,
            self._system.ports,
            self._history,
            self._tally,
            rng,
            is_slow=is_slow,
        )

    def _tormentors(self) -> list[Callable[[threading.Event], None]]:
        seed = self._options.seed
        nodes = NodeTormentor(
            self._system,
            max(1, self._options.replicas - 1),
            self._options.outage,
            self._tally,
            random.Random(f"{seed} nodes"),
        )
        gateways = GatewayTormentor(
            self._system, self._tally, random.Random(f"{seed} gateways")
        )
        return [nodes.run, gateways.run]

    def _read_all(self) -> None:
        """With all nodes up, read every key by every gateway: nothing may be lost."""
        self._system.wait_until_ready(FINAL_SECONDS)
        session = Session()
        for key in self._history.touched():
            for port in self._system.ports:
                self._read_finally(session, port, key)
        session.close()

    def _read_finally(self, session: Session, port: int, key: str) -> None:
        deadline = time.monotonic() + FINAL_SECONDS
        while True:
            read = self._history.begin_read(key)
            reply = session.exchange(port, "GET", key)
            allowed = self._history.end_read(read)
            if reply is not None and reply.status < 500:
                problem = read_problem(allowed, reply)
                break
            if time.monotonic() > deadline:
                problem = "it can't be read"
                break
            time.sleep(0.2)
        if problem:
            self._tally.note_lost(key, problem, self._history.tell(read))


def raise_failures(futures: Sequence[Future[None]]) -> None:
    """Raise what a thread raised: a bug in this test, or a node that won't start."""
    for future in futures:
        if future.done():
            future.result(0)


if __name__ == "__main__":
    sys.exit(main())
