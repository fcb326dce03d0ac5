"""Nodes from DNS: their names and addresses, and which answers are none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import dns.rcode
import dns.rdatatype
import pytest
from dns.name import from_text
from dns.rdatatype import AAAA, SRV, A
from dns.resolver import NoResolverConfiguration, Resolver

from amazin.discoveries.dns import DnsDiscovery
from amazin.errors import DiscoveryError
from amazin.model.node_specs import NodeSpec
from amazin.settings.settings import Settings
from discovery import load_discovery
from tests.support.dns_server import DnsServer

SERVICE = "_minio._tcp.nodes.example."
KEYS = ("key", "secret")


@pytest.fixture
def server() -> Iterator[DnsServer]:
    server = DnsServer()
    yield server
    server.close()


def dns_discovery(server: DnsServer, name: str, **changes: Any) -> DnsDiscovery:
    values = {"node_access_key": "key", "node_secret_key": "secret", **changes}
    settings = Settings(discovery="dns", dns_name=name, **values)
    return DnsDiscovery(settings, server.resolver)


def endpoints(discovery: DnsDiscovery) -> dict[str, str | None]:
    """Return the nodes' endpoints by name."""
    specs = discovery.find()
    found = {spec.name: spec.endpoint for spec in specs}
    assert list(found) == sorted(found)
    assert len(found) == len(specs)
    return found


def test_it_is_what_discovery_dns_names() -> None:
    settings = Settings(discovery="dns", dns_name="nodes.example")
    assert isinstance(load_discovery(settings), DnsDiscovery)


# SRV records


def test_a_target_is_a_node_named_by_its_host(server: DnsServer) -> None:
    server.records[SERVICE, SRV] = [
        "0 50 9001 node-2.nodes.example.",
        "0 50 9000 Node-1.Nodes.example.",
    ]
    assert dns_discovery(server, SERVICE).find() == [
        NodeSpec("node-1.nodes.example", "http://node-1.nodes.example:9000", *KEYS),
        NodeSpec("node-2.nodes.example", "http://node-2.nodes.example:9001", *KEYS),
    ]


def test_order_weight_and_priority_say_nothing(server: DnsServer) -> None:
    records = [f"{n} {n} 9000 node-{n}.example." for n in range(5)]
    server.records[SERVICE, SRV] = records
    discovery = dns_discovery(server, SERVICE)
    before = discovery.find()
    server.records[SERVICE, SRV] = [
        f"7 {50 - n} 9000 node-{n}.example." for n in range(4, -1, -1)
    ]
    assert discovery.find() == before


def test_a_target_that_is_named_twice_is_one_node(server: DnsServer) -> None:
    server.records[SERVICE, SRV] = ["0 1 9000 a.example.", "1 1 9000 A.example."]
    assert endpoints(dns_discovery(server, SERVICE)) == {
        "a.example": "http://a.example:9000"
    }


def test_a_target_with_two_ports_is_refused(server: DnsServer) -> None:
    server.records[SERVICE, SRV] = ["0 1 9000 a.example.", "0 1 9001 a.example."]
    with pytest.raises(DiscoveryError, match=r"^DNS names a node twice"):
        dns_discovery(server, SERVICE).find()


@pytest.mark.parametrize("record", ["0 0 0 .", "0 0 9000 .", r"0 0 9000 a\;b.example."])
def test_a_service_that_is_not_offered_is_an_error(
    server: DnsServer, record: str
) -> None:
    server.records[SERVICE, SRV] = [record]
    with pytest.raises(DiscoveryError, match=r"^DNS names no node"):
        dns_discovery(server, SERVICE).find()


def test_a_long_answer_is_fetched_whole(server: DnsServer) -> None:
    server.is_truncating = True
    server.records[SERVICE, SRV] = [f"0 0 9000 node-{n}.example." for n in range(300)]
    assert len(dns_discovery(server, SERVICE).find()) == 300


# Addresses


def test_an_address_is_a_node(server: DnsServer) -> None:
    server.records["nodes.example.", A] = ["10.0.0.2", "10.0.0.10"]
    assert endpoints(dns_discovery(server, "nodes.example", node_port=9100)) == {
        "10.0.0.10": "http://10.0.0.10:9100",
        "10.0.0.2": "http://10.0.0.2:9100",
    }


def test_an_ipv6_address_has_brackets_and_its_name_no_colons(server: DnsServer) -> None:
    server.records["nodes.example.", AAAA] = ["fd00:0:0::1"]
    assert endpoints(dns_discovery(server, "nodes.example", node_use_ssl=True)) == {
        "fd00--1": "https://[fd00::1]:9000"
    }


def test_a_node_with_both_kinds_of_address_is_one(server: DnsServer) -> None:
    server.records["nodes.example.", A] = ["10.0.0.2"]
    server.records["nodes.example.", AAAA] = ["fd00::1"]
    assert list(endpoints(dns_discovery(server, "nodes.example"))) == ["10.0.0.2"]


def test_nodes_don_t_change_names_when_another_kind_of_address_appears(
    server: DnsServer,
) -> None:
    discovery = dns_discovery(server, "nodes.example")
    server.records["nodes.example.", AAAA] = ["fd00::1"]
    assert list(endpoints(discovery)) == ["fd00--1"]
    server.records["nodes.example.", A] = ["10.0.0.2"]
    assert list(endpoints(discovery)) == ["fd00--1"]
    del server.records["nodes.example.", AAAA]
    with pytest.raises(DiscoveryError, match=r"no address of it$"):
        discovery.find()


def test_a_short_name_is_searched_for_as_everywhere(server: DnsServer) -> None:
    def make_resolver() -> Resolver:
        resolver = server.resolver()
        resolver.search = [from_text("default.svc.example.")]
        return resolver

    server.records["nodes.default.svc.example.", A] = ["10.0.0.2"]
    settings = Settings(discovery="dns", dns_name="nodes")
    assert list(endpoints(DnsDiscovery(settings, make_resolver))) == ["10.0.0.2"]


# Failures, after which the last list stays


@pytest.mark.parametrize("name", [SERVICE, "nodes.example"])
@pytest.mark.parametrize(
    ("failure", "says"),
    [
        (dns.rcode.NXDOMAIN, "DNS does not know the nodes' name"),
        (dns.rcode.SERVFAIL, "DNS answers with an error"),
        (dns.rcode.REFUSED, "DNS answers with an error"),
    ],
)
def test_an_error_is_not_an_empty_list(
    server: DnsServer, name: str, failure: dns.rcode.Rcode, says: str
) -> None:
    server.failure = failure
    with pytest.raises(DiscoveryError, match=f"^{says}$"):
        dns_discovery(server, name).find()


@pytest.mark.parametrize("name", [SERVICE, "nodes.example."])
def test_a_name_without_records_is_an_error(server: DnsServer, name: str) -> None:
    server.records[name, dns.rdatatype.TXT] = ['"something else"']
    with pytest.raises(DiscoveryError, match=r"^DNS knows the nodes' name, but no "):
        dns_discovery(server, name).find()


def test_a_server_that_is_silent_is_given_up(server: DnsServer) -> None:
    server.is_silent = True
    settings = Settings(discovery="dns", dns_name="nodes.example")
    hasty = DnsDiscovery(settings, lambda: server.resolver(0.2))
    with pytest.raises(DiscoveryError, match=r"^DNS does not answer$"):
        hasty.find()
    server.is_silent = False
    server.records["nodes.example.", A] = ["10.0.0.2"]
    assert len(dns_discovery(server, "nodes.example").find()) == 1


def test_a_system_without_resolvers_is_an_error() -> None:
    def fail() -> Resolver:
        raise NoResolverConfiguration

    settings = Settings(discovery="dns", dns_name="nodes.example")
    with pytest.raises(DiscoveryError):
        DnsDiscovery(settings, fail).find()


def test_what_dns_may_not_say_is_an_error(server: DnsServer) -> None:
    with pytest.raises(DiscoveryError):
        dns_discovery(server, "a..b").find()
