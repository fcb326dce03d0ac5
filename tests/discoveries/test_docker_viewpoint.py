"""The gateway finds its own container among those of the daemon, or refuses."""

from __future__ import annotations

from typing import Any

import pytest
from docker.errors import APIError

from amazin.discoveries.docker_containers import Viewpoint
from amazin.discoveries.docker_viewpoint import ViewpointFinder
from amazin.discoveries.own_container import Traces
from amazin.errors import DiscoveryError
from tests.support.fake_docker import FakeDaemon

ID, OTHER = "0123456789abcdef" * 4, "f" * 64
OURS = Viewpoint(ID, "shop", {"shop_default": "net-1"})
HOST = Viewpoint()


@pytest.fixture
def daemon() -> FakeDaemon:
    """A daemon with the gateway's container, and one of another project."""
    fake = FakeDaemon()
    container(fake, ID, "shop", "10.0.0.5", "gateway")
    container(fake, OTHER, "blog", "10.0.0.6", "other")
    return fake


def container(
    daemon: FakeDaemon, id_: str, project: str, ip: str, hostname: str, mode: str = ""
) -> None:
    network = {"NetworkID": "net-1", "IPAddress": ip}
    networks = {"NetworkSettings": {"Networks": {f"{project}_default": network}}}
    if not ip:
        networks = {"NetworkSettings": {"Networks": {}}}
    daemon.add(id_, f"{project}-gateway-1", **networks)
    daemon.inspections[id_] = networks | {
        "Id": id_,
        "Name": f"/{project}-gateway-1",
        "Config": {
            "Labels": {"com.docker.compose.project": project},
            "Hostname": hostname,
        },
        "HostConfig": {"NetworkMode": mode or f"{project}_default"},
    }


def inside(*ids: str, hostname: str = "h", addresses: Any = ()) -> Traces:
    return Traces(True, ids, hostname, frozenset(addresses))


def find(daemon: FakeDaemon, traces: Traces, *networks: str) -> Viewpoint:
    client: Any = daemon
    return ViewpointFinder(traces, networks).find(client)


@pytest.mark.parametrize(
    "traces",
    [
        inside(ID),
        inside("a" * 64, ID),
        inside(hostname=ID[:12]),
        inside(addresses=["10.0.0.5"]),
        inside(hostname="gateway"),
        inside(addresses=["10.0.0.5", "192.168.7.7"], hostname="gateway"),
    ],
)
def test_the_gateway_finds_its_own_container(
    daemon: FakeDaemon, traces: Traces
) -> None:
    assert find(daemon, traces) == OURS


def test_by_its_host_name_where_the_daemon_knows_no_address(daemon: FakeDaemon) -> None:
    container(daemon, "b" * 64, "vpn", "", "gateway-7", "host")
    assert find(daemon, inside(hostname="gateway-7")) == Viewpoint(
        "b" * 64, "vpn", None
    )


@pytest.mark.parametrize(
    "traces",
    [
        inside(),
        inside("a" * 64),
        inside("a" * 64, hostname="gateway", addresses=["10.0.0.5"]),  # another daemon
        inside(hostname="a" * 12, addresses=["10.0.0.5"]),
        inside(hostname="gateway", addresses=["10.0.0.7"]),
        inside(addresses=["10.0.0.5", "10.0.0.6"]),
    ],
)
def test_who_finds_none_refuses(daemon: FakeDaemon, traces: Traces) -> None:
    with pytest.raises(DiscoveryError, match="set DOCKER_NETWORKS"):
        find(daemon, traces)


def test_two_with_one_host_name_are_none(daemon: FakeDaemon) -> None:
    for digit, project in (("b", "one"), ("c", "two")):
        container(daemon, digit * 64, project, "", "machine", "host")
    with pytest.raises(DiscoveryError):
        find(daemon, inside(hostname="machine"))


def test_a_name_of_a_container_is_no_id(daemon: FakeDaemon) -> None:
    daemon.inspections["a" * 12] = daemon.inspections[ID]
    with pytest.raises(DiscoveryError):
        find(daemon, inside(hostname="a" * 12))


@pytest.mark.parametrize("hostname", ["gateway", "0242ac110002"])
def test_outside_of_containers_all_are_reached(
    daemon: FakeDaemon, hostname: str
) -> None:
    assert find(daemon, Traces(False, (), hostname, frozenset(["10.0.0.5"]))) == HOST


@pytest.mark.parametrize(
    "told", [{"SecurityOptions": ["name=rootless"]}, {"Rootless": True}]
)
def test_containers_of_a_rootless_daemon_are_reached_from_containers(
    daemon: FakeDaemon, told: dict[str, Any]
) -> None:
    daemon.told = told
    outside = Traces(False, (), "h", frozenset())
    with pytest.raises(DiscoveryError, match="is rootless"):
        find(daemon, outside)
    assert find(daemon, outside, "*") == HOST
    assert find(daemon, inside(ID)) == OURS


def test_a_daemon_that_does_not_tell_of_itself(daemon: FakeDaemon) -> None:
    client: Any = daemon
    finder = ViewpointFinder(Traces(False, (), "h", frozenset()), ())
    daemon.error = APIError("403 of a proxy")
    assert finder.find(client) == HOST


def test_the_network_of_another_container(daemon: FakeDaemon) -> None:
    container(daemon, "b" * 64, "own", "", "", f"container:{ID}")
    found = find(daemon, inside("b" * 64))
    assert found == Viewpoint("b" * 64, "own", {"shop_default": "net-1"})


def test_a_container_without_a_network_refuses(daemon: FakeDaemon) -> None:
    container(daemon, "b" * 64, "own", "", "", "none")
    networks = {"Networks": {"none": {"NetworkID": "net-0"}}}
    daemon.inspections["b" * 64]["NetworkSettings"] = networks
    with pytest.raises(DiscoveryError, match="on no network"):
        find(daemon, inside("b" * 64))


def test_chosen_networks_take_the_place_of_the_own_ones(daemon: FakeDaemon) -> None:
    daemon.existing_networks = ["net-1", "net-2"]
    assert find(daemon, inside(), "net-2").networks == {"net-2-name": "net-2"}
    assert find(daemon, inside(), "net-1-name").networks == {"net-1-name": "net-1"}
    assert find(daemon, inside(ID), "net-2") == Viewpoint(
        ID, "shop", {"net-2-name": "net-2"}
    )
    assert find(daemon, inside(), "*") == HOST
    assert find(daemon, inside(ID), "*") == Viewpoint(ID, "shop", None)


def test_a_chosen_network_that_does_not_exist(daemon: FakeDaemon) -> None:
    daemon.existing_networks = ["net-1"]
    with pytest.raises(DiscoveryError, match="DOCKER_NETWORKS") as caught:
        find(daemon, inside(ID), "net-1", "default")
    assert "no network default; it has net-1-name" in caught.value.detail


def test_once_found_it_is_not_searched_for_again(daemon: FakeDaemon) -> None:
    client: Any = daemon
    finder = ViewpointFinder(inside(addresses=["10.0.0.5"]), ())
    assert finder.find(client) == OURS
    daemon.summaries.clear()  # it has no address for a moment
    daemon.asked.clear()
    assert (finder.find(client), daemon.asked) == (OURS, [ID])
    del daemon.inspections[ID]
    with pytest.raises(DiscoveryError):
        finder.find(client)
