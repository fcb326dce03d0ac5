"""Which nodes exist: the Docker discovery, and the choice of the kind of discovery.

The other kinds (lists, folders, Consul, DNS) are in `amazin/discoveries/`. This module
keeps no snapshot and runs no refresher: the caller calls `find` from time to time and
keeps the last good result itself. A user's own discovery is any class with a `find`
method, named by `DISCOVERY=package.module:Class` and constructed with the settings. Its
module is in the current folder or is installed.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from amazin.discoveries.docker_containers import (
    MINIO_DEFAULT_KEYS,
    Attachment,
    Container,
    Keys,
    Viewpoint,
    address_of,
    choose,
    group_of,
    has_doubtful_network,
    is_candidate,
    read_container,
    read_key_sources,
    read_keys,
    shared_attachments,
    stable_names,
    weight_of,
)
from amazin.discoveries.folders import FolderDiscovery
from amazin.discoveries.lists import (
    NodesFileDiscovery,
    StaticDiscovery,
)
from amazin.discoveries.own import import_own
from amazin.discoveries.own_container import read_traces
from amazin.errors import SettingsError
from amazin.model.node_specs import Discovery, NodeSpec
from amazin.settings.settings import Settings

if TYPE_CHECKING:
    import docker

    from amazin.discoveries.docker_endpoint import Endpoint

log = logging.getLogger("amazin.discovery")

KEYS_IN_FILES = (
    "its keys are in files that the gateway can't read: give the gateway the same "
    "secrets, or set NODE_ACCESS_KEY and NODE_SECRET_KEY"
)
_EXTRAS = {
    "consul": ("consul", "amazin.discoveries.consul", "ConsulDiscovery"),
    "dns": ("dns", "amazin.discoveries.dns", "DnsDiscovery"),
}
"""Kinds that need an extra library: its package, our module, our class."""


def load_discovery(settings: Settings) -> Discovery:
    """Return the discovery that `DISCOVERY` names.

    Raises:
        SettingsError: it can't be loaded, or one of its settings is not usable.
    """
    if settings.discovery == "docker":
        return _load_docker(settings)
    if settings.discovery == "static" and settings.nodes_file:
        return NodesFileDiscovery(Path(settings.nodes_file))
    if node := settings.single_node:
        return StaticDiscovery([node])
    if settings.discovery == "static":
        return StaticDiscovery(settings.nodes)
    if settings.discovery == "folders":
        return FolderDiscovery(Path(settings.data_dir), settings.folder_nodes)
    if settings.discovery in _EXTRAS:
        return _load_extra(settings)
    return _load_own(settings)


def _load_docker(settings: Settings) -> Discovery:
    # Importing the SDK takes a fifth of the start-up time, and only this discovery
    # needs it.
    from amazin.discoveries.docker_endpoint import choose_endpoint

    own_keys = Keys(settings.node_access_key, settings.node_secret_key)
    return DockerDiscovery(
        settings.storage_instances_selector,
        settings.node_port,
        choose_endpoint(settings),
        networks=settings.docker_networks,
        default_keys=own_keys if all(own_keys) else None,
    )


def _load_extra(settings: Settings) -> Discovery:
    """Import a discovery whose library is an optional dependency."""
    package, module_name, class_name = _EXTRAS[settings.discovery]
    if importlib.util.find_spec(package) is None:
        hint = f"pip install '.[{settings.discovery}]'"
        text = f"DISCOVERY: what {settings.discovery} needs is not installed: {hint}"
        raise SettingsError(text)
    module = importlib.import_module(module_name)
    return cast(Discovery, getattr(module, class_name)(settings))


def _load_own(settings: Settings) -> Discovery:
    module_name, _, class_name = settings.discovery.partition(":")
    try:
        module = import_own(module_name)
    except (ImportError, SyntaxError) as exc:
        raise SettingsError(f"DISCOVERY: can't import {module_name}: {exc}") from exc
    own = getattr(module, class_name, None)
    if own is None:
        raise SettingsError(f"DISCOVERY: {module_name} has no class {class_name}")
    if not callable(getattr(own, "find", None)):
        raise SettingsError(f"DISCOVERY: {settings.discovery} has no method find()")
    return cast(Discovery, own(settings))


# Docker


class DockerDiscovery:
    """Finds the containers that match the selector on a network of ours.

    Containers that don't run are included. `amazin/discoveries/docker_containers.py`
    decides which containers are nodes, and their names and addresses.
    """

    def __init__(
        self,
        selector: str,
        node_port: int,
        endpoint: Endpoint,
        connect: Callable[[Endpoint], docker.APIClient] | None = None,
        own_mountinfo: Path = Path("/proc/self/mountinfo"),
        networks: Sequence[str] = (),
        default_keys: Keys | None = None,
    ) -> None:
        """Connect to nothing yet: the daemon may be down when the gateway starts.

        `connect` defaults to `docker_daemon.connect_daemon`. Beside `own_mountinfo` are
        the other files of `/proc/self`. `networks` take the place of the networks of
        the gateway's container. `default_keys` are for nodes that tell none.
        """
        from amazin.discoveries import docker_daemon, docker_errors, docker_viewpoint

        self._daemon = docker_daemon
        self._explain = docker_errors.discovery_error
        self._selector = selector
        self._node_port = node_port
        self._endpoint = endpoint
        self._connect = partial(connect or docker_daemon.connect_daemon, endpoint)
        traces = read_traces(own_mountinfo.parent, socket.gethostname())
        self._viewpoint = docker_viewpoint.ViewpointFinder(traces, networks)
        self._default_keys = default_keys
        self._client: docker.APIClient | None = None
        self._client_pid = 0
        self._keys: dict[str, Keys | None] = {}
        self._warned: set[tuple[str, str]] = set()
        self._events = docker_daemon.DaemonEvents(self._connect, selector)

    def find(self) -> Sequence[NodeSpec]:
        """Return the nodes, sorted by name. Raises: DiscoveryError."""
        try:
            return self._find(self._current_client())
        except self._daemon.DAEMON_ERRORS as exc:
            self._drop_client()
            raise self._explain(exc, self._endpoint) from exc

    def close(self) -> None:
        """Close the connection to the daemon, and stop listening for events."""
        self._events.close()
        self._drop_client()

    def wait(self, seconds: float) -> None:
        """Wait for an event that may change the nodes, for so long at most."""
        self._events.wait(seconds)

    def wake(self) -> None:
        """End a `wait` that is running, or else the next one."""
        self._events.changed.set()

    def _current_client(self) -> docker.APIClient:
        """Return the client of this process; forked processes share no socket."""
        if self._client is None or self._client_pid != os.getpid():
            self._client, self._client_pid = self._connect(), os.getpid()
        return self._client

    def _drop_client(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _find(self, client: docker.APIClient) -> Sequence[NodeSpec]:
        viewpoint = self._viewpoint.find(client)
        summaries = client.containers(all=True, filters={"name": self._selector})
        found = [read_container(summary) for summary in summaries]
        found = [
            container
            for container in found
            if is_candidate(container, self._selector, viewpoint)
        ]
        shared = self._shared_attachments(client, found, viewpoint)
        nodes = [container for container in found if shared[container.id]]
        self._read_keys(client, nodes)
        nodes = [container for container in nodes if container.id in self._keys]
        names = stable_names(nodes, viewpoint.project)
        chosen, losers = choose(nodes, names)
        for loser in losers:
            self._warn_once(loser, "another running container has its stable name")
        return [self._spec(name, chosen[name], shared) for name in sorted(chosen)]

    def _shared_attachments(
        self,
        client: docker.APIClient,
        found: Iterable[Container],
        viewpoint: Viewpoint,
    ) -> Mapping[str, tuple[Attachment, ...]]:
        existing_ids = viewpoint.network_ids
        if any(has_doubtful_network(one, viewpoint) for one in found):
            existing_ids |= {network["Id"] for network in client.networks()}
        return {
            container.id: shared_attachments(container, viewpoint, existing_ids)
            for container in found
        }

    def _read_keys(self, client: docker.APIClient, nodes: Iterable[Container]) -> None:
        """Inspect containers seen for the first time, and forget those that are gone.

        A container that was removed in the meantime gets no keys.
        """
        ids = {container.id for container in nodes}
        self._keys = {id_: keys for id_, keys in self._keys.items() if id_ in ids}
        self._warned = {(id_, text) for id_, text in self._warned if id_ in ids}
        for id_ in ids - self._keys.keys():
            if inspection := self._daemon.inspect(client, id_):
                self._keys[id_] = self._keys_of(inspection)

    def _keys_of(self, inspection: Mapping[str, Any]) -> Keys | None:
        """Return the node's keys; None: they are in files that only it can read."""
        if sources := read_key_sources(inspection):
            return read_keys(sources) or self._default_keys
        return self._default_keys or MINIO_DEFAULT_KEYS

    def _spec(
        self,
        name: str,
        container: Container,
        shared: Mapping[str, tuple[Attachment, ...]],
    ) -> NodeSpec:
        keys = self._keys[container.id]
        weight = weight_of(container)
        if weight is None:
            self._warn_once(container, "its label amazin.weight is no number from 0 up")
            weight = 1.0
        group = group_of(container)
        if group is None:
            self._warn_once(container, "its label amazin.group is no name")
            group = ""
        endpoint = self._endpoint_of(container, shared[container.id])
        if keys is None:
            self._warn_once(container, KEYS_IN_FILES)
            return NodeSpec(name, None, "", "", weight, group, container.id)
        return NodeSpec(name, endpoint, *keys, weight, group, container.id)

    def _endpoint_of(
        self, container: Container, shared: Sequence[Attachment]
    ) -> str | None:
        host = address_of(container, shared)
        if container.is_running and not host:
            self._warn_once(container, "it runs without an address in a shared network")
        return f"http://{host}:{self._node_port}" if host else None

    def _warn_once(self, container: Container, text: str) -> None:
        if (container.id, text) not in self._warned:
            self._warned.add((container.id, text))
            log.warning("container %s: %s", container.name, text)
