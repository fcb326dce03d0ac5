"""Finds the gateway's own container among those of the Docker daemon, and its networks.

Whoever finds none must not guess: from a wrong viewpoint other projects' containers are
nodes, and names and addresses are wrong.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from amazin.discoveries import docker_daemon
from amazin.discoveries.docker_containers import (
    Container,
    Viewpoint,
    network_mode,
    read_container,
    read_viewpoint,
)
from amazin.discoveries.own_container import Traces
from amazin.errors import DiscoveryError

if TYPE_CHECKING:
    import docker

log = logging.getLogger("amazin.discovery")

ALL_NETWORKS = "*"
_SET = "set DOCKER_NETWORKS to the networks of its nodes"


class ViewpointFinder:
    """Finds out where the gateway runs, again each time: it may join a network."""

    def __init__(self, traces: Traces, networks: Sequence[str]) -> None:
        """`networks`: names or ids that take the place of the gateway's own; or `*`."""
        self._traces = traces
        self._networks = networks
        self._own_id = ""
        self._known_rootless: bool | None = None

    def find(self, client: docker.APIClient) -> Viewpoint:
        """Return the viewpoint.

        Raises:
            DiscoveryError: the gateway runs in a container that is none of the
                daemon's, or is on no network, or runs in none although the daemon is
                rootless; or one of `networks` does not exist.
        """
        own = self._own_container(client)
        seen = Viewpoint() if own is None else read_viewpoint(own, _owner(client, own))
        if self._networks:
            return replace(seen, networks=self._chosen_networks(client))
        if own is None and self._traces.is_in_container:
            raise DiscoveryError(
                "The gateway runs in a container, but finds it nowhere among those of "
                f"the Docker daemon: {_SET}"
            )
        if own is None and self._is_rootless(client):
            raise DiscoveryError(
                "The Docker daemon is rootless: only containers reach its containers. "
                f"Run the gateway in one; if it does reach them, {_SET}"
            )
        if seen.networks is not None and not seen.networks:
            raise DiscoveryError(
                "The gateway's container is on no network of the Docker daemon: put it "
                f"on one with its nodes, or {_SET}"
            )
        return seen

    def _is_rootless(self, client: docker.APIClient) -> bool:
        if self._known_rootless is None:
            self._known_rootless = docker_daemon.is_rootless(client)
        return self._known_rootless

    def _own_container(self, client: docker.APIClient) -> Mapping[str, Any] | None:
        own = docker_daemon.inspect(client, self._own_id) if self._own_id else None
        own = own or find_own(client, self._traces)
        if own and own["Id"] != self._own_id:
            self._own_id = own["Id"]
            name = str(own.get("Name", "")).lstrip("/")
            log.info("the gateway runs in the container %s", name or self._own_id)
        return own

    def _chosen_networks(self, client: docker.APIClient) -> dict[str, str] | None:
        if ALL_NETWORKS in self._networks:
            return None
        found = client.networks()
        chosen = {
            one["Name"]: one["Id"]
            for one in found
            if one["Name"] in self._networks or one["Id"] in self._networks
        }
        missing = set(self._networks) - chosen.keys() - set(chosen.values())
        if missing:
            raise DiscoveryError(
                "A network in DOCKER_NETWORKS is none of the Docker daemon",
                "DOCKER_NETWORKS: the Docker daemon has no network "
                f"{', '.join(sorted(missing))}; it has "
                f"{', '.join(sorted(one['Name'] for one in found))}",
            )
        return chosen


def find_own(client: docker.APIClient, traces: Traces) -> Mapping[str, Any] | None:
    """Return the inspection of the container with these traces; None: there is none.

    A container that knows its id, but is not known to the daemon, is another daemon's:
    then neither its name nor its address means anything.
    """
    ids = traces.ids
    if not ids and re.fullmatch(r"[0-9a-f]{12}", traces.hostname):
        ids = (traces.hostname,)
    for id_ in ids:
        own = docker_daemon.inspect(client, id_)
        if own and own["Id"].startswith(id_):  # else it is a name
            return own
    if ids or not traces.is_in_container:
        return None
    running = [read_container(one) for one in client.containers()]
    found = [one for one in running if one.addresses & traces.addresses]
    if found:
        return docker_daemon.inspect(client, found[0].id) if len(found) == 1 else None
    if traces.addresses:  # one with other addresses is another one
        running = [one for one in running if not one.addresses]
    return _only_one(_with_hostname(client, running, traces.hostname))


def _with_hostname(
    client: docker.APIClient, containers: Iterable[Container], hostname: str
) -> Iterator[Mapping[str, Any]]:
    for container in containers:
        inspected = docker_daemon.inspect(client, container.id)
        if inspected and inspected["Config"].get("Hostname") == hostname:
            yield inspected


def _only_one(found: Iterator[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    first, second = next(found, None), next(found, None)
    return first if second is None else None


def _owner(client: docker.APIClient, own: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the inspection of the container whose network this one uses."""
    kind, _, other = network_mode(own).partition(":")
    owner = docker_daemon.inspect(client, other) if kind == "container" else None
    return owner or own
