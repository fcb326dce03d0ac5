"""`DISCOVERY=consul`: the nodes are the instances of a service that Consul knows.

Failing instances are nodes, too: the gateway itself finds out whether it can reach a
node, and a failure of Consul must not cut off nodes that work. API:
https://developer.hashicorp.com/consul/api-docs/health.
"""

from __future__ import annotations

import logging
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Any

from consul import Consul

from amazin.discoveries.consul_agent import (
    AGENT_ERRORS,
    Connect,
    connect_agent,
    describe,
    disconnect,
)
from amazin.errors import DiscoveryError
from amazin.model.node_specs import NodeSpec, as_name, as_weight, url_host
from amazin.settings.settings import Settings

log = logging.getLogger("amazin.discovery")

_MAINTENANCE = ("_node_maintenance", "_service_maintenance:")
"""Prefixes of the ids of those checks that stand for maintenance by an operator."""


@dataclass(frozen=True)
class Instance:
    """One registration of the service with one agent."""

    id: str
    host: str
    port: int
    metadata: Mapping[str, str] = field(repr=False)
    is_healthy: bool
    is_in_maintenance: bool
    created: int
    """Consul's CreateIndex: greater for a later registration."""


def read_instance(entry: Mapping[str, Any]) -> Instance:
    """Read one entry of `/v1/health/service`.

    Raises: LookupError, TypeError, ValueError, AttributeError for an invalid entry.
    """
    service, checks = entry["Service"], entry["Checks"] or ()
    return Instance(
        str(service["ID"]),
        str(service["Address"] or entry["Node"]["Address"]),
        int(service["Port"]),
        {str(key): str(value) for key, value in (service["Meta"] or {}).items()},
        not any(check["Status"] == "critical" for check in checks),
        any(check["CheckID"].startswith(_MAINTENANCE) for check in checks),
        int(service.get("CreateIndex", 0)),
    )


class ConsulDiscovery:
    """Finds all instances of the service `CONSUL_NODES_SERVICE`, healthy or failing."""

    def __init__(self, settings: Settings, connect: Connect = connect_agent) -> None:
        """Connect to nothing yet: the agent may be down when the gateway starts."""
        self._settings = settings
        self._connect = connect
        self._client: Consul | None = None
        self._client_pid = 0
        self._warned: set[tuple[str, str]] = set()

    def find(self) -> Sequence[NodeSpec]:
        """See `Discovery`. No instance at all is an error, not an empty list.

        An agent that has just lost its state also knows no instance. Nodes that are
        really gone are noticed without Consul.
        """
        try:
            client = self._current_client()
            service = self._settings.consul_nodes_service
            _, entries = client.health.service(service)
            instances = [read_instance(entry) for entry in entries]
        except AGENT_ERRORS as exc:
            self._drop_client()
            raise DiscoveryError(describe(exc)) from exc
        chosen = choose(filter(self._has_name, instances))
        if not chosen:
            raise DiscoveryError("Consul knows no instance of the nodes' service")
        specs = [self._spec(chosen[id_]) for id_ in sorted(chosen)]
        healthy = {id_ for id_, one in chosen.items() if one.is_healthy}
        return without_rivals(specs, healthy)

    def _current_client(self) -> Consul:
        """Return the client of this process; forked processes share no socket."""
        if self._client is None or self._client_pid != os.getpid():
            settings = self._settings
            self._client = self._connect(settings.consul_address, settings.consul_token)
            self._client_pid = os.getpid()
        return self._client

    def close(self) -> None:
        """See `ClosableDiscovery`."""
        self._drop_client()

    def _drop_client(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            disconnect(client)

    def _has_name(self, instance: Instance) -> bool:
        if as_name(instance.id) is None:
            self._warn_once(instance.id, "is left out: its id can't be a node's name")
            return False
        return True

    def _spec(self, instance: Instance) -> NodeSpec:
        settings, metadata = self._settings, instance.metadata
        weight = as_weight(metadata.get("weight", "1"))
        if weight is None:
            self._warn_once(instance.id, "has a weight that is no number from 0 up")
            weight = 1.0
        group = as_name(metadata["group"]) if metadata.get("group") else ""
        if group is None:
            self._warn_once(instance.id, "has a group that is no name")
            group = ""
        keys = (settings.node_access_key, settings.node_secret_key)
        if "access_key" in metadata:
            keys = (metadata["access_key"], metadata.get("secret_key", ""))
        if not all(keys):
            self._warn_once(instance.id, "has no keys, nor has NODE_ACCESS_KEY")
        endpoint = None if instance.is_in_maintenance else self._endpoint(instance)
        return NodeSpec(instance.id, endpoint, *keys, weight, group)

    def _endpoint(self, instance: Instance) -> str | None:
        default = "https" if self._settings.node_use_ssl else "http"
        scheme = instance.metadata.get("scheme", default)
        try:
            host = url_host(instance.host)
        except ValueError:
            host = ""
        if scheme not in ("http", "https") or not host:
            self._warn_once(instance.id, "has an address or a scheme that is none")
            return None
        return f"{scheme}://{host}:{instance.port or self._settings.node_port}"

    def _warn_once(self, id_: str, text: str) -> None:
        if (id_, text) not in self._warned:
            self._warned.add((id_, text))
            log.warning("instance %s in Consul %s", id_, text)


def choose(instances: Iterable[Instance]) -> dict[str, Instance]:
    """Return one instance per id: the healthy one, or else the latest.

    A node that moved to another machine leaves a failing instance with its old agent.

    Raises: DiscoveryError, if two healthy instances have the same id.
    """
    by_id = defaultdict[str, list[Instance]](list)
    for instance in instances:
        by_id[instance.id].append(instance)
    chosen = {}
    for id_, rivals in by_id.items():
        healthy = [one for one in rivals if one.is_healthy]
        if len(healthy) > 1:
            raise DiscoveryError(f"Two healthy instances in Consul have the id {id_}")
        chosen[id_] = max(healthy or rivals, key=lambda one: one.created)
    return chosen


def without_rivals(specs: Sequence[NodeSpec], healthy: Set[str]) -> list[NodeSpec]:
    """Leave each endpoint to a single node: to the healthy one, or to none.

    A failing node may have lost its address to another node, and two names for one node
    would put two replicas on one disk. All other nodes get the endpoint None.

    Raises: DiscoveryError, if two healthy nodes have the same endpoint.
    """
    users = defaultdict[str | None, list[str]](list)
    for spec in specs:
        users[spec.endpoint].append(spec.name)
    owners = {}
    for endpoint, names in users.items():
        best = [name for name in names if name in healthy] or names
        if endpoint and len(best) > 1 and best[0] in healthy:
            raise DiscoveryError("Two healthy instances in Consul stand for one node")
        owners[endpoint] = best[0] if len(best) == 1 else None
    return [
        spec if owners[spec.endpoint] == spec.name else replace(spec, endpoint=None)
        for spec in specs
    ]
