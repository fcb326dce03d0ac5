"""The system under chaos: MinIO nodes and gateways, and those who torment them.

Processes on loopback only; each process ended here was started here.
"""

from __future__ import annotations

import http.client
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.chaos.tally import WORKER_SECONDS, Tally
from tests.support.gateway_process import GatewayProcess, ask, nodes_setting
from tests.support.ports import free_port
from tests.support.servers import MinioServer

GATEWAYS = 2
NOTICE_SECONDS = 15.0
GONE_SECONDS = 30.0
"""Gateways probe a failed node at least every 10 s."""
READY_ANSWERS, READY_PAUSE_SECONDS = 10, 0.05
"""Each answer is some worker's; so many in a row are hardly all the same one's."""
SETTLE_SECONDS = 3.0
"""By then every worker has read the set of nodes anew; they do so each second."""
NODE_ACTIONS = {"kill": 65, "stop": 15, "freeze": 20}


class System:
    """Nodes of one cluster and the gateways in front of it."""

    def __init__(self, binary: str, folder: Path, nodes: int, replicas: int) -> None:
        self.nodes = [
            MinioServer(
                binary, folder / f"node-{n}", free_port(), f"access{n}", f"secret-{n}"
            )
            for n in range(1, nodes + 1)
        ]
        specs = (server.spec(server.folder.name) for server in self.nodes)
        settings = {
            "DISCOVERY": "static",
            "NODES": nodes_setting(specs),
            "REPLICAS": str(replicas),
            "REFRESH_SECONDS": "1",
        }
        self.gateways = [new_gateway(folder, settings) for _ in range(GATEWAYS)]
        self.ports = [gateway.port for gateway in self.gateways]

    def start(self) -> None:
        """Start everything. Raises: RuntimeError, if it does not become ready."""
        for node in self.nodes:
            node.start()
        for gateway in self.gateways:
            gateway.start()
        if not self.wait_until_ready(2 * NOTICE_SECONDS):
            raise RuntimeError("the gateways don't reach all nodes")
        self._settle()

    def _settle(self) -> None:
        """Store something: the set of nodes is settled by a first write to all."""
        for port in self.ports:
            if ask(port, "PUT", "/object/first", b"first").status != 201:
                raise RuntimeError("nothing can be stored")
        time.sleep(SETTLE_SECONDS)

    def stop(self) -> None:
        """Stop everything, however it stands."""
        for gateway in self.gateways:
            gateway.stop()
        for node in self.nodes:
            node.stop()

    def wait_until_ready(self, seconds: float) -> bool:
        """Wait until every worker reaches every node, or the time is over."""
        deadline = time.monotonic() + seconds
        streak = 0
        while streak < READY_ANSWERS:
            time.sleep(READY_PAUSE_SECONDS)
            streak = streak + 1 if all(map(is_ready, self.ports)) else 0
            if time.monotonic() > deadline:
                return False
        return True


def new_gateway(folder: Path, settings: dict[str, str]) -> GatewayProcess:
    """Return a gateway, not started, on a port that stays free while it is down."""
    port = free_port()
    gateway = GatewayProcess(folder, {**settings, "PORT": str(port)})
    gateway.port = port
    return gateway


def is_ready(port: int) -> bool:
    """Whether the worker that answers reaches all nodes."""
    try:
        return ask(port, "GET", "/health/ready?all", timeout=10).status == 200
    except (OSError, http.client.HTTPException):
        return False


class NodeTormentor:
    """Takes down a few nodes at a time, and waits until everybody has noticed."""

    def __init__(
        self,
        system: System,
        at_once: int,
        longest_seconds: float,
        tally: Tally,
        rng: random.Random,
    ) -> None:
        self._system = system
        self._at_once = at_once
        self._longest_seconds = longest_seconds
        self._tally = tally
        self._rng = rng

    def run(self, stop: threading.Event) -> None:
        """Torment until `stop` is set; all nodes run when this returns."""
        with ThreadPoolExecutor(self._at_once) as pool:
            while not stop.is_set():
                victims = self._draw_victims()
                list(pool.map(lambda victim: self._torment(*victim, stop), victims))
                begin = time.monotonic()
                is_noticed = self._system.wait_until_ready(NOTICE_SECONDS)
                self._tally.note_return(time.monotonic() - begin, is_noticed)
                stop.wait(self._rng.uniform(0.0, 0.5))

    def _draw_victims(self) -> list[tuple[MinioServer, str, float]]:
        actions, weights = list(NODE_ACTIONS), list(NODE_ACTIONS.values())
        return [
            (
                node,
                self._rng.choices(actions, weights)[0],
                self._rng.uniform(0.2, self._longest_seconds),
            )
            for node in self._rng.sample(
                self._system.nodes, self._rng.randint(1, self._at_once)
            )
        ]

    def _torment(
        self, node: MinioServer, action: str, seconds: float, stop: threading.Event
    ) -> None:
        steps: dict[str, tuple[Callable[[], None], Callable[[], None]]] = {
            "kill": (node.kill, node.start),
            "stop": (node.stop, node.start),
            "freeze": (node.freeze, node.thaw),
        }
        begin, end = steps[action]
        begin()
        self._tally.note_event(f"node {action}")
        stop.wait(seconds)
        end()


class GatewayTormentor:
    """Kills a worker, or a whole gateway, every few seconds."""

    def __init__(self, system: System, tally: Tally, rng: random.Random) -> None:
        self._system = system
        self._tally = tally
        self._rng = rng

    def run(self, stop: threading.Event) -> None:
        """Torment until `stop` is set; all gateways run when this returns."""
        while not stop.wait(self._rng.uniform(3.0, 9.0)):
            gateway = self._rng.choice(self._system.gateways)
            if self._rng.random() < 0.7:
                self._kill_worker(gateway)
            else:
                self._kill(gateway, stop)

    def _kill_worker(self, gateway: GatewayProcess) -> None:
        workers = gateway.workers()
        if workers:
            self._tally.note_gateway_gone(WORKER_SECONDS)
            os.kill(self._rng.choice(workers), signal.SIGKILL)
            self._tally.note_event("worker kill")

    def _kill(self, gateway: GatewayProcess, stop: threading.Event) -> None:
        self._tally.note_gateway_gone()
        os.killpg(gateway.process.pid, signal.SIGKILL)
        gateway.process.wait(GONE_SECONDS)
        self._tally.note_event("gateway kill")
        stop.wait(self._rng.uniform(0.1, 2.0))
        gateway.start()
        self._tally.note_gateway_back()
