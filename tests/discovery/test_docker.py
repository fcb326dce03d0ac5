"""Discovery against a real Docker daemon, with containers that only sleep.

The gateway's own container is one of them: discovery is told its id through a file
that stands in for `/proc/self/mountinfo`.
"""

from __future__ import annotations

import gc
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.errors import DockerException

from amazin.discoveries.docker_daemon import DAEMON_ERRORS, DaemonEvents, connect_daemon
from amazin.discoveries.docker_endpoint import Endpoint
from amazin.errors import DiscoveryError
from discovery import DockerDiscovery
from tests.support.cleanup import closed_later

pytestmark = pytest.mark.containers

IMAGE = "debian:bookworm-slim"
PATIENCE_SECONDS = 30.0
BASE_URL = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")


class Engine:
    """Makes containers and networks with names of their own, and removes them."""

    def __init__(self, client: docker.DockerClient) -> None:
        self.client = client
        self.selector = f"amazin-test-{uuid.uuid4().hex[:8]}"
        self.made: list[Any] = []

    def network(self, name: str = "net") -> Any:
        made = self.client.networks.create(f"{self.selector}-{name}", driver="bridge")
        self.made.append(made)
        return made

    def container(self, name: str, network: Any, *, start: bool = True, **more: Any):
        made = self.client.containers.create(
            IMAGE,
            ["sleep", "600"],
            name=f"{self.selector}-{name}",
            network=network.name,
            init=True,
            **more,
        )
        self.made.append(made)
        if start:
            made.start()
        return made

    def clean_up(self) -> None:
        for made in reversed(self.made):
            with suppress(DockerException):
                made.remove(force=True) if hasattr(made, "image") else made.remove()


@pytest.fixture
def client() -> Iterator[docker.DockerClient]:
    try:
        connect_daemon(Endpoint(BASE_URL)).close()
        found = docker.DockerClient(base_url=BASE_URL, timeout=30)
        found.images.get(IMAGE)
    except DAEMON_ERRORS as exc:
        reason = f"needs a Docker engine with the image {IMAGE}: {exc}"
        if os.environ.get("REQUIRE_CONTAINERS") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    yield found
    found.close()


@pytest.fixture
def engine(client: docker.DockerClient) -> Iterator[Engine]:
    made = Engine(client)
    try:
        yield made
    finally:
        made.clean_up()


@pytest.fixture
def network(engine: Engine) -> Any:
    return engine.network()


@pytest.fixture
def discovery(engine: Engine, network: Any, tmp_path: Path) -> DockerDiscovery:
    return inside(engine.container("gateway", network), engine, tmp_path)


def inside(
    gateway: Any, engine: Engine, folder: Path, base_url: str = BASE_URL
) -> DockerDiscovery:
    """Return the discovery of a gateway in that container."""
    mountinfo = folder / "mountinfo"
    mountinfo.write_text(f"1 1 0:1 /containers/{gateway.id}/hosts /etc/hosts rw -\n")
    endpoint = Endpoint(base_url)
    found = DockerDiscovery(engine.selector, 9000, endpoint, None, mountinfo)
    return closed_later(found)


def ip_of(container: Any, network: Any) -> str:
    container.reload()
    return container.attrs["NetworkSettings"]["Networks"][network.name]["IPAddress"]


def endpoints(discovery: DockerDiscovery) -> dict[str, str | None]:
    """Endpoints by the last part of the name."""
    return {s.name.rpartition("-")[2]: s.endpoint for s in discovery.find()}


def test_nodes_of_the_own_network_with_their_keys(
    engine: Engine, network: Any, discovery: DockerDiscovery
) -> None:
    environment = {"MINIO_ROOT_USER": "user", "MINIO_ROOT_PASSWORD": "pass=word"}
    labels = {"amazin.name": "disk-7", "amazin.weight": "0", "amazin.group": "fast"}
    node = engine.container("a", network, environment=environment, labels=labels)
    engine.container("b", engine.network("other"))
    (spec,) = discovery.find()
    assert (spec.name, spec.identity) == ("disk-7", node.id)
    assert (spec.weight, spec.group) == (0.0, "fast")
    assert (spec.access_key, spec.secret_key) == ("user", "pass=word")
    assert spec.endpoint == f"http://{ip_of(node, network)}:9000"


def test_a_node_on_several_networks_is_reached_over_the_shared_one(
    engine: Engine, network: Any, discovery: DockerDiscovery
) -> None:
    other = engine.network("a-first-by-name")
    node = engine.container("a", other)
    assert endpoints(discovery) == {}
    network.connect(node)
    assert endpoints(discovery) == {"a": f"http://{ip_of(node, network)}:9000"}


def test_stopped_paused_and_never_started_nodes_stay_known(
    engine: Engine, network: Any, discovery: DockerDiscovery
) -> None:
    node = engine.container("a", network)
    engine.container("b", network, start=False)
    up = {"a": f"http://{ip_of(node, network)}:9000", "b": None}
    down = {"a": None, "b": None}
    assert endpoints(discovery) == up
    node.pause()
    assert endpoints(discovery) == down
    node.unpause()
    assert endpoints(discovery) == up
    node.stop(timeout=0)
    assert endpoints(discovery) == down
    taker = engine.container("c", network)  # takes the free address
    node.start()
    assert endpoints(discovery) == {
        "a": f"http://{ip_of(node, network)}:9000",
        "b": None,
        "c": f"http://{ip_of(taker, network)}:9000",
    }


def test_a_recreated_node_brings_its_new_keys(
    engine: Engine, network: Any, discovery: DockerDiscovery
) -> None:
    found = []
    for secret in ("first", "second"):
        environment = {"MINIO_ROOT_USER": "user", "MINIO_ROOT_PASSWORD": secret}
        node = engine.container("a", network, environment=environment)
        found.extend(discovery.find())
        node.remove(force=True)
    assert [spec.secret_key for spec in found] == ["first", "second"]
    assert found[0].name == found[1].name and found[0].identity != found[1].identity
    assert discovery.find() == []


def test_a_stopped_node_of_a_network_made_anew_is_known_by_the_networks_name(
    engine: Engine, tmp_path: Path
) -> None:
    old = engine.network("again")
    engine.container("a", old).kill()
    engine.container("b", engine.network("other")).kill()
    old.remove()
    gateway = engine.container("gateway", engine.network("again"))
    assert endpoints(inside(gateway, engine, tmp_path)) == {"a": None}


def test_a_gateway_on_the_host_takes_them_all(
    engine: Engine, network: Any, tmp_path: Path
) -> None:
    other = engine.network("other")
    nodes = {"a": (engine.container("a", network), network)}
    nodes["b"] = (engine.container("b", other), other)
    no_mountinfo = tmp_path / "none"
    on_host = DockerDiscovery(
        engine.selector, 9000, Endpoint(BASE_URL), None, no_mountinfo
    )
    assert endpoints(closed_later(on_host)) == {
        name: f"http://{ip_of(*node)}:9000" for name, node in nodes.items()
    }


@pytest.mark.parametrize("way", ["address", "cgroup", "userdata"])
def test_the_gateway_finds_itself_in_other_ways(
    engine: Engine, network: Any, tmp_path: Path, way: str
) -> None:
    """Files of the gateway's own are mounted in the place of Docker's."""
    gateway = engine.container("gateway", network)
    engine.container("a", network, start=False)
    engine.container("b", engine.network("other"), start=False)
    address = ip_of(gateway, network)
    files = {
        "root/.dockerenv": "",
        "mountinfo": "1 1 0:1 /srv/hosts /etc/hosts rw -\n",
        "net/fib_trie": f"|-- {address}\n   /32 host LOCAL\n",
    }
    if way == "cgroup":
        files = {"cgroup": f"0::/system.slice/docker-{gateway.id}.scope\n"}
    elif way == "userdata":
        source = f"/overlay-containers/{gateway.id}/userdata/hostname"
        files = {"mountinfo": f"1 1 0:1 {source} /etc/hostname rw -\n"}
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    endpoint = Endpoint(BASE_URL)
    mountinfo = tmp_path / "mountinfo"
    found = DockerDiscovery(engine.selector, 9000, endpoint, None, mountinfo)
    assert endpoints(closed_later(found)) == {"a": None}


def test_a_gateway_in_a_container_of_another_daemon_takes_none(
    engine: Engine, network: Any, tmp_path: Path
) -> None:
    engine.container("a", network)
    (tmp_path / "cgroup").write_text(f"0::/docker/{'0' * 64}\n")
    endpoint = Endpoint(BASE_URL)
    mountinfo = tmp_path / "mountinfo"
    lost = DockerDiscovery(engine.selector, 9000, endpoint, None, mountinfo)
    with pytest.raises(DiscoveryError, match="set DOCKER_NETWORKS"):
        closed_later(lost).find()
    chosen = DockerDiscovery(
        engine.selector, 9000, endpoint, None, mountinfo, [network.name]
    )
    assert list(endpoints(closed_later(chosen))) == ["a"]


def test_a_change_ends_the_wait_at_once(engine: Engine, network: Any) -> None:
    node = engine.container("a", network)
    connect = partial(connect_daemon, Endpoint(BASE_URL))
    events = closed_later(DaemonEvents(connect, engine.selector))
    events.wait(10)
    while events.changed.wait(1):  # what `since` still repeats
        events.changed.clear()
    for change in (node.kill, node.start, node.pause, node.unpause):
        woken = []

        def wait(woken: list[float] = woken) -> None:
            events.wait(10)
            woken.append(time.monotonic())

        waiting = threading.Thread(target=wait)
        waiting.start()
        start = time.monotonic()
        change()
        waiting.join(PATIENCE_SECONDS)
        print(f"{change.__name__}: woken {1000 * (woken[0] - start):.0f} ms after")
        assert woken[0] - start < 3
        while events.changed.wait(1):
            events.changed.clear()


class Relay:
    """Passes connections to the daemon's socket on, until it is cut."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.open: list[socket.socket] = []
        self.threads: list[threading.Thread] = []
        self.listening = socket.socket(socket.AF_UNIX)
        self.listening.bind(str(path))
        self.listening.listen()
        self._start(self._accept)

    def close(self) -> None:
        self.path.unlink()
        for one in (self.listening, *self.open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join(PATIENCE_SECONDS)
        for one in (self.listening, *self.open):
            one.close()

    def _start(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self.threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near = self.listening.accept()[0]
                far = socket.socket(socket.AF_UNIX)
                far.connect(BASE_URL.removeprefix("unix://"))
                self.open += near, far
                for ends in ((near, far), (far, near)):
                    self._start(self._pass, *ends)

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)


@pytest.mark.skipif(not BASE_URL.startswith("unix://"), reason="relays a unix socket")
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
def test_a_daemon_that_goes_away_and_comes_back(
    engine: Engine, network: Any, tmp_path: Path
) -> None:
    engine.container("a", network, start=False)
    gateway = engine.container("gateway", network)
    path = tmp_path / "docker.sock"
    discovery = inside(gateway, engine, tmp_path, f"unix://{path}")
    with pytest.raises(DiscoveryError, match="does not answer"):
        discovery.find()
    for _ in range(2):
        with closing(Relay(path)):
            assert endpoints(discovery) == {"a": None}
            discovery.wait(10)  # the listener is connected, or will be
        with pytest.raises(DiscoveryError, match="does not answer"):
            discovery.find()
        start = time.monotonic()
        discovery.wait(0.1)  # may hold one more hint
        discovery.wait(0.5)
        assert time.monotonic() - start >= 0.5
    gc.collect()  # sockets that the SDK forgets when it can't reconnect
