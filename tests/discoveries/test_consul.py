"""Nodes from Consul: which instances are nodes, their names, addresses and keys."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from amazin.discoveries.consul import ConsulDiscovery
from amazin.discoveries.consul_agent import connect_agent, disconnect, split_address
from amazin.errors import DiscoveryError
from amazin.model.node_specs import NodeSpec
from amazin.settings.settings import Settings
from discovery import load_discovery
from tests.support.fake_consul import FakeAgent


@pytest.fixture
def agent() -> Iterator[FakeAgent]:
    agent = FakeAgent().start()
    yield agent
    agent.stop()


@pytest.fixture
def discovery(agent: FakeAgent) -> ConsulDiscovery:
    return consul_discovery(agent)


def consul_discovery(agent: FakeAgent, **changes: Any) -> ConsulDiscovery:
    values = {"node_access_key": "shared", "node_secret_key": "SECRET", **changes}
    return ConsulDiscovery(Settings(consul_address=agent.address, **values))


def instance(id_: str, **changes: Any) -> dict[str, Any]:
    """Return what Consul says of a healthy instance."""
    checks = [check("passing", "serfHealth"), check("passing", f"service:{id_}")]
    checks = changes.pop("Checks", checks)
    service = {"ID": id_, "Address": f"{id_}.example", "Port": 9001, "Meta": None}
    node = {"Node": "host-1", "Address": "10.0.0.1"}
    return {"Node": node, "Service": service | changes, "Checks": checks}


def check(status: str, id_: str = "service:any") -> dict[str, str]:
    return {"CheckID": id_, "Status": status}


def test_it_is_what_discovery_consul_names(agent: FakeAgent) -> None:
    agent.health = [instance("a")]
    settings = Settings(discovery="consul", consul_address=agent.address)
    discovery = load_discovery(settings)
    assert isinstance(discovery, ConsulDiscovery)
    assert [spec.name for spec in discovery.find()] == ["a"]
    path = "/v1/health/service/amazin-object-storage-node"
    assert agent.requests == [("GET", path)]


def test_an_instance_is_a_node_named_by_its_id(
    agent: FakeAgent, discovery: ConsulDiscovery
) -> None:
    agent.health = [instance("b"), instance("a")]
    assert discovery.find() == [
        NodeSpec("a", "http://a.example:9001", "shared", "SECRET"),
        NodeSpec("b", "http://b.example:9001", "shared", "SECRET"),
    ]


@pytest.mark.parametrize("status", ["passing", "warning", "critical"])
def test_a_failing_instance_is_a_node_like_the_others(
    agent: FakeAgent, discovery: ConsulDiscovery, status: str
) -> None:
    agent.health = [instance("a", Checks=[check("passing"), check(status)])]
    assert discovery.find()[0].endpoint == "http://a.example:9001"


def test_an_instance_without_checks_is_a_node(
    agent: FakeAgent, discovery: ConsulDiscovery
) -> None:
    agent.health = [instance("a", Checks=None)]
    assert discovery.find()[0].endpoint == "http://a.example:9001"


@pytest.mark.parametrize("id_", ["_node_maintenance", "_service_maintenance:a"])
def test_an_instance_in_maintenance_is_known_but_left_in_peace(
    agent: FakeAgent, discovery: ConsulDiscovery, id_: str
) -> None:
    agent.health = [instance("a", Checks=[check("critical", id_)])]
    (spec,) = discovery.find()
    assert (spec.name, spec.endpoint) == ("a", None)


@pytest.mark.parametrize(
    ("changes", "endpoint"),
    [
        ({"Address": ""}, "http://10.0.0.1:9001"),
        ({"Address": "fd00::1"}, "http://[fd00::1]:9001"),
        ({"Port": 0}, "http://a.example:9000"),
        ({"Meta": {"scheme": "https"}}, "https://a.example:9001"),
        ({"Meta": {"scheme": "ftp"}}, None),
        ({"Address": "a/b"}, None),
        ({"Address": "fd00::1%eth0/"}, None),
    ],
)
def test_the_address_is_the_services_else_the_hosts(
    agent: FakeAgent,
    discovery: ConsulDiscovery,
    changes: dict[str, Any],
    endpoint: str | None,
) -> None:
    agent.health = [instance("a", **changes)]
    assert discovery.find()[0].endpoint == endpoint


def test_https_can_be_what_all_nodes_speak(agent: FakeAgent) -> None:
    agent.health = [instance("a"), instance("b", Meta={"scheme": "http"})]
    specs = consul_discovery(agent, node_use_ssl=True).find()
    endpoints = [spec.endpoint for spec in specs]
    assert endpoints == ["https://a.example:9001", "http://b.example:9001"]


def test_metadata_says_keys_weight_and_group(
    agent: FakeAgent, discovery: ConsulDiscovery
) -> None:
    metadata = {"access_key": "own", "secret_key": "s", "weight": "2.5", "group": "g"}
    agent.health = [instance("a", Meta=metadata)]
    assert discovery.find() == [
        NodeSpec("a", "http://a.example:9001", "own", "s", 2.5, "g")
    ]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"Meta": {"weight": "much"}}, "has a weight that is no number"),
        ({"Meta": {"group": "a b"}}, "has a group that is no name"),
        ({"Meta": {"access_key": "lonely"}}, "has no keys"),
        ({"Address": "a/b"}, "has an address or a scheme that is none"),
    ],
)
def test_what_can_not_be_used_is_said_once(
    agent: FakeAgent,
    discovery: ConsulDiscovery,
    caplog: pytest.LogCaptureFixture,
    changes: dict[str, Any],
    says: str,
) -> None:
    agent.health = [instance("a", **changes)]
    for _ in range(3):
        (spec,) = discovery.find()
        assert (spec.name, spec.weight, spec.group) == ("a", 1.0, "")
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith(f"instance a in Consul {says}")
    assert "SECRET" not in caplog.text


def test_an_id_that_is_no_name_is_left_out(
    agent: FakeAgent, discovery: ConsulDiscovery, caplog: pytest.LogCaptureFixture
) -> None:
    agent.health = [instance("a"), instance("host:minio:9000")]
    assert [spec.name for spec in discovery.find()] == ["a"]
    assert "host:minio:9000 in Consul is left out" in caplog.text


# One id or one address twice


def test_a_node_that_moved_is_where_it_is_healthy(
    agent: FakeAgent, discovery: ConsulDiscovery
) -> None:
    old = instance("a", Address="old", Checks=[check("critical")], CreateIndex=9)
    agent.health = [old, instance("a", Address="new", CreateIndex=5)]
    assert [spec.endpoint for spec in discovery.find()] == ["http://new:9001"]


def test_of_two_failing_ones_the_latest_counts(
    agent: FakeAgent, discovery: ConsulDiscovery
) -> None:
    failing = {"Checks": [check("critical")]}
    new = instance("a", Address="new", CreateIndex=9, **failing)
    agent.health = [new, instance("a", Address="old", CreateIndex=5, **failing)]
    assert [spec.endpoint for spec in discovery.find()] == ["http://new:9001"]


def test_two_healthy_ones_with_one_id_are_refused(
    agent: FakeAgent, discovery: ConsulDiscovery
) -> None:
    agent.health = [instance("a"), instance("a", Address="other")]
    with pytest.raises(DiscoveryError, match=r"^Two healthy .* have the id a$"):
        discovery.find()


def test_an_address_is_that_of_the_healthy_one(
    agent: FakeAgent, discovery: ConsulDiscovery
) -> None:
    failing = {"Checks": [check("critical")]}
    agent.health = [
        instance("a", Address="same", **failing),
        instance("b", Address="same"),
        instance("c", Address="lost", **failing),
        instance("d", Address="lost", **failing),
    ]
    endpoints = {spec.name: spec.endpoint for spec in discovery.find()}
    assert endpoints == {"a": None, "b": "http://same:9001", "c": None, "d": None}


def test_two_names_for_one_node_are_refused(
    agent: FakeAgent, discovery: ConsulDiscovery
) -> None:
    agent.health = [instance("a", Address="same"), instance("b", Address="same")]
    with pytest.raises(DiscoveryError, match="stand for one node"):
        discovery.find()


# An agent that fails


def test_no_instance_at_all_is_an_error(
    agent: FakeAgent, discovery: ConsulDiscovery
) -> None:
    with pytest.raises(DiscoveryError, match=r"^Consul knows no instance"):
        discovery.find()
    agent.health = [instance("a")]
    assert len(discovery.find()) == 1


def test_an_agent_that_comes_back_is_asked_again(
    agent: FakeAgent, discovery: ConsulDiscovery
) -> None:
    agent.health = [instance("a")]
    agent.stop()
    with pytest.raises(DiscoveryError, match=r"^The Consul agent does not answer$"):
        discovery.find()
    agent.start()
    assert len(discovery.find()) == 1


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (500, "The Consul agent answers with an error"),
        (403, "Consul refuses the gateway's token"),
        (401, "Consul refuses the gateway's token"),
        (404, "The Consul agent gives an answer that can't be read"),
    ],
)
def test_an_agent_that_fails_keeps_the_last_list(
    agent: FakeAgent, discovery: ConsulDiscovery, status: int, says: str
) -> None:
    agent.failure = status
    with pytest.raises(DiscoveryError, match=f"^{says}$"):
        discovery.find()


@pytest.mark.parametrize(
    "nonsense",
    [
        *(b"<html>", b"\xff", None, 7, "text", [7], [{}], [{"Service": None}]),
        [instance("a", Port="http")],
        [instance("a", Meta=7)],
        [instance("a", Checks=[{}])],
    ],
)
def test_nonsense_is_an_error(
    agent: FakeAgent, discovery: ConsulDiscovery, nonsense: Any
) -> None:
    agent.health = nonsense
    with pytest.raises(DiscoveryError, match=r"^The Consul agent "):
        discovery.find()


def test_the_token_is_sent_and_never_shown(
    agent: FakeAgent, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    agent.health = [instance("a")]
    consul_discovery(agent, consul_token="TOKEN").find()
    assert agent.tokens == {"TOKEN"}
    agent.failure = 403
    with pytest.raises(DiscoveryError) as refused:
        consul_discovery(agent, consul_token="TOKEN").find()
    assert "TOKEN" not in caplog.text + str(refused.value)


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("localhost:8500", ("http", "localhost", 8500)),
        ("consul", ("http", "consul", 8500)),
        ("[::1]:8501", ("http", "::1", 8501)),
    ],
)
def test_an_address_is_a_host_and_a_port(
    address: str, parts: tuple[str, str, int]
) -> None:
    assert split_address(address) == parts


@pytest.mark.parametrize(
    ("address", "tls", "base"),
    [
        ("agent:8500", "", "http://agent:8500"),
        ("agent:8501", "true", "https://agent:8501"),
        ("http://agent:8500", "true", "http://agent:8500"),
        ("https://agent:8501", "", "https://agent:8501"),
    ],
)
def test_tls_is_as_the_address_says_else_as_for_consuls_own_tools(
    monkeypatch: pytest.MonkeyPatch, address: str, tls: str, base: str
) -> None:
    monkeypatch.setenv("CONSUL_HTTP_SSL", tls)
    client = connect_agent(address)
    assert client.http.base_uri == base
    disconnect(client)
