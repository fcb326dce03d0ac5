"""Gateways and nodes in a real Consul agent, which is killed and forgets everything."""

from __future__ import annotations

import http.client
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateway_process import GatewayProcess
from tests.support.ports import free_port
from tests.support.servers import MinioServer, Server, find_binary

pytestmark = pytest.mark.integration

PATIENCE_SECONDS = 30.0
POLL_SECONDS = 0.05


class ConsulServer(Server):
    """An agent in dev mode, with a server in it; forgets everything when it ends."""

    def __init__(self, binary: str, folder: Path) -> None:
        super().__init__(binary, folder, free_port(), "", "")
        self._other_ports = [free_port() for _ in range(3)]

    def command(self) -> Sequence[str]:
        """See `Server`."""
        server, lan, wan = self._other_ports
        return (
            *(self.binary, "agent", "-dev", "-log-level=error"),
            *("-bind=127.0.0.1", "-client=127.0.0.1", f"-http-port={self.port}"),
            *("-grpc-port=-1", "-grpc-tls-port=-1", "-dns-port=-1"),
            *(f"-server-port={server}", f"-serf-lan-port={lan}"),
            f"-serf-wan-port={wan}",
        )

    def environment(self) -> Mapping[str, str]:
        """See `Server`."""
        return {}

    def _serves(self) -> bool:
        try:
            return bool(self.ask("GET", "/v1/status/leader"))
        except (OSError, http.client.HTTPException, ValueError):
            return False

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Send one request to its API; returns the answer, None if it is empty."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request(method, path, json.dumps(body))
            answer = connection.getresponse()
            data = answer.read()
            if answer.status != 200:
                raise ValueError(data)
            return json.loads(data) if data else None
        finally:
            connection.close()

    def gateways(self, is_healthy: bool = False) -> dict[str, Any]:
        """Return the gateways that it knows by id, or only those that it can reach."""
        path = "/v1/health/service/storage-service" + "?passing" * is_healthy
        entries = [entry["Service"] for entry in self.ask("GET", path)]
        found = {service["ID"]: service for service in entries}
        assert len(found) == len(entries)
        return found

    def wait_for(self, *names: str) -> None:
        """Wait until it knows exactly these gateways, and reaches them."""
        wait_until(lambda: sorted(self.gateways(True)) == sorted(names))
        assert sorted(self.gateways()) == sorted(names)

    def add_node(self, node: MinioServer, id_: str) -> None:
        """Register a storage node, with a check that needs its port to be open."""
        service = {
            "ID": id_,
            "Name": "amazin-object-storage-node",
            "Address": "127.0.0.1",
            "Port": node.port,
            "Meta": {"access_key": node.access_key, "secret_key": node.secret_key},
            "Check": {"TCP": node.address, "Interval": "1s"},
        }
        self.ask("PUT", "/v1/agent/service/register", service)


def wait_until(is_so: Callable[[], object]) -> None:
    """Wait until something is so; fails after a while."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(POLL_SECONDS)


@pytest.fixture
def consul(tmp_path: Path) -> Iterator[ConsulServer]:
    server = ConsulServer(find_binary("CONSUL", "consul"), tmp_path / "consul")
    server.start()
    yield server
    server.stop()


Start = Callable[..., GatewayProcess]


@pytest.fixture
def start(tmp_path: Path, consul: ConsulServer) -> Iterator[Start]:
    """A function that starts a gateway of this name, on folders, with more settings."""
    started: list[GatewayProcess] = []

    def start_one(name: str, **more: str) -> GatewayProcess:
        settings = {
            "WORKERS": "2",
            "INSTANCE_ID": name,
            "DISCOVERY": "folders",
            "DATA_DIR": str(tmp_path / "data"),
            "CONSUL_ENABLED": "true",
            "CONSUL_ADDRESS": consul.address,
            "CONSUL_HEALTH_CHECK_INTERVAL": "1",
            "CONSUL_SERVICE_ID_PREFIX": "gw-",
            "CONSUL_SERVICE_TAGS": "blue,green",
        }
        gateway = GatewayProcess(tmp_path, {**settings, **more})
        started.append(gateway)
        return gateway.start()

    yield start_one
    for gateway in started:
        gateway.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_gateway_is_known_once_as_long_as_it_runs(
    consul: ConsulServer, start: Start, number: signal.Signals
) -> None:
    gateway = start("one")
    assert len(workers(gateway)) == 2
    consul.wait_for("gw-one")
    service = consul.gateways()["gw-one"]
    assert (service["Address"], service["Port"]) == ("127.0.0.1", gateway.port)
    assert service["Tags"] == ["blue", "green"]
    gateway.process.send_signal(number)
    assert gateway.process.wait(20) == 0
    assert consul.gateways() == {}


def test_ctrl_c_in_a_terminal_deregisters_too(
    consul: ConsulServer, start: Start
) -> None:
    gateway = start("one")
    consul.wait_for("gw-one")
    os.killpg(gateway.process.pid, signal.SIGINT)
    assert gateway.process.wait(20) == 0
    assert consul.gateways() == {}


def test_a_gateway_is_known_again_to_an_agent_that_forgot_it(
    consul: ConsulServer, start: Start
) -> None:
    gateway = start("one")
    consul.wait_for("gw-one")
    for _ in range(2):
        consul.kill()
        assert gateway.ask("GET", "/health").status == 200
        consul.start()
        consul.wait_for("gw-one")
    log = gateway.log.read_text()
    assert log.count("registered again in Consul as gw-one") == 2
    assert gateway.stop() == 0
    assert consul.gateways() == {}


def test_an_agent_that_is_away_delays_neither_start_nor_stop(
    consul: ConsulServer, start: Start
) -> None:
    consul.kill()
    gateway = start("one")
    wait_until(lambda: "can't be registered" in gateway.log.read_text())
    begun = time.monotonic()
    assert gateway.stop() == 0
    assert time.monotonic() - begun < 6
    gateway.start()
    consul.start()
    consul.wait_for("gw-one")


def test_an_agent_that_hangs_hardly_delays_the_stop(
    consul: ConsulServer, start: Start
) -> None:
    gateway = start("one")
    consul.wait_for("gw-one")
    consul.freeze()
    begun = time.monotonic()
    assert gateway.stop() == 0
    assert time.monotonic() - begun < 6
    consul.thaw()


def test_of_two_gateways_each_is_known(consul: ConsulServer, start: Start) -> None:
    one, two = start("one"), start("two")
    consul.wait_for("gw-one", "gw-two")
    assert one.stop() == 0
    consul.wait_for("gw-two")
    os.kill(workers(two)[0], signal.SIGKILL)
    two.wait()
    consul.wait_for("gw-two")
    begun = time.monotonic()
    assert two.stop() == 0  # while the worker in the place of that one begins
    assert time.monotonic() - begun < 10


def test_a_gateway_whose_master_is_killed_is_deregistered(
    consul: ConsulServer, start: Start
) -> None:
    gateway = start("one")
    consul.wait_for("gw-one")
    gateway.process.kill()
    wait_until(lambda: consul.gateways() == {})


def test_nobody_is_sent_to_a_gateway_that_finishes_its_transfers(
    consul: ConsulServer, start: Start
) -> None:
    gateway = start("one")
    consul.wait_for("gw-one")
    connection = gateway.connect()
    try:
        connection.putrequest("PUT", "/object/slow")
        connection.putheader("Content-Length", "10")
        connection.endheaders(b"first")
        wait_until(lambda: gateway.ask("GET", "/health").status == 200)
        stopping = threading.Thread(target=gateway.stop)
        process = gateway.process
        stopping.start()
        wait_until(lambda: consul.gateways() == {})
        assert process.poll() is None
        connection.send(b"later")
        assert connection.getresponse().status == 201
    finally:
        connection.close()
    stopping.join(PATIENCE_SECONDS)


def test_nodes_come_go_and_fail_in_consul(
    consul: ConsulServer, start: Start, new_minio: Callable[[], MinioServer]
) -> None:
    nodes = {f"node-{n}": new_minio() for n in (1, 2, 3)}
    try:
        for name, node in nodes.items():
            node.start()
            consul.add_node(node, name)
        settings = {"DISCOVERY": "consul", "REFRESH_SECONDS": "1", "WORKERS": "1"}
        gateway = start("one", **settings)
        wait_until(lambda: states(gateway) == dict.fromkeys(nodes, "up"))
        assert gateway.ask("PUT", "/object/kept", b"body").status == 201
        nodes["node-2"].kill()
        wait_until(lambda: states(gateway)["node-2"] != "up")
        consul.ask("PUT", "/v1/agent/service/deregister/node-3")
        wait_until(lambda: states(gateway)["node-3"] != "up")
        assert set(states(gateway)) == set(nodes)
        nodes["node-2"].start()
        consul.kill()
        consul.start()  # it knows no node now: the last list stays
        wait_until(lambda: states(gateway)["node-2"] == "up")
        for name, node in nodes.items():
            consul.add_node(node, name)
        wait_until(lambda: states(gateway) == dict.fromkeys(nodes, "up"))
        assert gateway.ask("GET", "/object/kept").body == b"body"
    finally:
        for node in nodes.values():
            node.stop()


def workers(gateway: GatewayProcess) -> list[int]:
    """Return the process ids of the workers, without that of what registers."""
    return [
        pid
        for pid in gateway.workers()
        if b"--register" not in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]


def states(gateway: GatewayProcess) -> dict[str, str]:
    """Return the nodes' states by name, as one worker sees them."""
    body = json.loads(gateway.ask("GET", "/health/ready").body)
    return {node["name"]: node["state"] for node in body["nodes"]}
