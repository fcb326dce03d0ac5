"""`DISCOVERY=dns`: the nodes are the DNS records of one name, as of a headless service.

SRV records (the name begins with `_`) give nodes stable names; see docs/consul.md.
Source: RFC 1035, RFC 2782. Client: https://dnspython.readthedocs.io, an extra.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from dns.exception import DNSException, Timeout
from dns.rdatatype import RdataType
from dns.resolver import NXDOMAIN, NoAnswer, NoNameservers, Resolver

from amazin.errors import DiscoveryError
from amazin.model.node_specs import NodeSpec
from amazin.settings.settings import Settings

LOOKUP_SECONDS = 4.0
"""For one query, with all servers and retries together."""
_HOST = re.compile(r"[a-z0-9_.-]*[a-z0-9_-]")


def system_resolver() -> Resolver:
    """Return a resolver with the servers that resolv.conf has now.

    Raises: DNSException, OSError.
    """
    resolver = Resolver()
    resolver.lifetime = LOOKUP_SECONDS
    return resolver


class DnsDiscovery:
    """Finds the nodes of `DNS_NAME`: targets of its SRV records, else its addresses.

    No record at all is an error, not an empty list: DNS has none either while it, or
    the program that fills it, is starting. After the error the last good list is kept.
    Nodes that are really gone are noticed without DNS.
    """

    def __init__(
        self,
        settings: Settings,
        make_resolver: Callable[[], Resolver] = system_resolver,
    ) -> None:
        """Send nothing yet. Each `find` makes a new resolver."""
        self._settings = settings
        self._make_resolver = make_resolver
        self._families: tuple[RdataType, ...] = (RdataType.A, RdataType.AAAA)

    def find(self) -> Sequence[NodeSpec]:
        """See `Discovery`."""
        name = self._settings.dns_name
        try:
            resolver = self._make_resolver()
            if name.startswith("_"):
                return self._targets(resolver, name)
            return self._addresses(resolver, name)
        except (DNSException, OSError) as exc:
            raise DiscoveryError(describe(exc)) from exc

    def _targets(self, resolver: Resolver, name: str) -> Sequence[NodeSpec]:
        found = {
            (record.target.to_text(omit_final_dot=True).lower(), record.port)
            for record in ask(resolver, name, RdataType.SRV)
        }
        found = {(host, port) for host, port in found if _HOST.fullmatch(host) and port}
        if not found:  # a single target `.` means that the service is not offered
            raise DiscoveryError("DNS names no node: no target can be used")
        if len({host for host, _ in found}) < len(found):
            raise DiscoveryError("DNS names a node twice, with different ports")
        return self._specs((host, f"{host}:{port}") for host, port in found)

    def _addresses(self, resolver: Resolver, name: str) -> Sequence[NodeSpec]:
        """Return the IPv4 addresses, or the IPv6 ones if there are none.

        Never both, and always the same family: a node with both must not become two
        nodes.
        """
        for family in self._families:
            try:
                found = {record.address for record in ask(resolver, name, family)}
            except NoAnswer:
                continue
            self._families = (family,)
            return self._specs(self._named(address) for address in found)
        raise DiscoveryError("DNS knows the nodes' name, but no address of it")

    def _named(self, address: str) -> tuple[str, str]:
        port = self._settings.node_port
        if ":" in address:  # node names can't contain colons
            return address.replace(":", "-"), f"[{address}]:{port}"
        return address, f"{address}:{port}"

    def _specs(self, found: Iterable[tuple[str, str]]) -> Sequence[NodeSpec]:
        settings = self._settings
        scheme = "https" if settings.node_use_ssl else "http"
        keys = (settings.node_access_key, settings.node_secret_key)
        return [
            NodeSpec(name, f"{scheme}://{place}", *keys)
            for name, place in sorted(found)
        ]


def ask(resolver: Resolver, name: str, kind: RdataType) -> Iterable[Any]:
    """Return the records of a name. Raises: DNSException, also if there are none."""
    return resolver.resolve(name, kind, search=True)


def describe(error: BaseException) -> str:
    """Return a sentence, fit for clients, on why DNS has no nodes."""
    if isinstance(error, NXDOMAIN):
        return "DNS does not know the nodes' name"
    if isinstance(error, NoAnswer):
        return "DNS knows the nodes' name, but no node of it"
    if isinstance(error, (Timeout, OSError)):
        return "DNS does not answer"
    if isinstance(error, NoNameservers):
        return "DNS answers with an error"
    return "DNS gives an answer that can't be read"
