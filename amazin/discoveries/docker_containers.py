"""Reads Docker's JSON about containers: which are nodes, their names and addresses.

`discovery.py` queries the daemon. Format: Docker Engine API, `GET
/containers/json` and `GET /containers/{id}/json`; what is read here is the same from
1.40 to 1.5x.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath, PurePosixPath
from typing import Any, NamedTuple

from amazin.model.node_specs import as_name, as_weight

NAME_LABEL = "amazin.name"
WEIGHT_LABEL = "amazin.weight"
GROUP_LABEL = "amazin.group"
_COMPOSE = "com.docker.compose."
_KEY_VARIABLES = (
    ("MINIO_ROOT_USER", "MINIO_ROOT_PASSWORD"),
    ("MINIO_ACCESS_KEY", "MINIO_SECRET_KEY"),
    ("RUSTFS_ACCESS_KEY", "RUSTFS_SECRET_KEY"),
    ("ROOT_ACCESS_KEY_ID", "ROOT_SECRET_ACCESS_KEY"),
    ("ROOT_ACCESS_KEY", "ROOT_SECRET_KEY"),
    ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
)


class Keys(NamedTuple):
    """The keys that sign requests to one node."""

    access_key: str
    secret_key: str

    def __repr__(self) -> str:
        return "Keys(...)"


MINIO_DEFAULT_KEYS = Keys("minioadmin", "minioadmin")


class KeySources(NamedTuple):
    """Where the keys of one container are: each a text, or the path of a file in it."""

    access_key: str | PurePosixPath
    secret_key: str | PurePosixPath

    def __repr__(self) -> str:
        return "KeySources(...)"


SECRETS = PurePosixPath("/run/secrets")
"""Where files are whose names are no whole paths, as those of Docker's secrets."""
_NAMES_OF_IMAGE = ("access_key", "secret_key")
"""MinIO's image names these files always, whether they are there or not."""


class Attachment(NamedTuple):
    """One network of a container. Texts are empty if Docker doesn't know them yet."""

    network: str
    network_id: str
    ipv4: str
    ipv6: str


@dataclass(frozen=True, slots=True)
class Container:
    """One entry of the list of containers."""

    id: str
    name: str
    is_running: bool
    created: int
    labels: Mapping[str, str] = field(default_factory=dict)
    attachments: tuple[Attachment, ...] = ()
    """Sorted by network name."""

    @property
    def project(self) -> str:
        """The compose project of the container; empty: none."""
        return self.labels.get(_COMPOSE + "project", "")

    @property
    def addresses(self) -> frozenset[str]:
        """Its addresses in all networks, of both families."""
        found = {ip for one in self.attachments for ip in (one.ipv4, one.ipv6)}
        return frozenset(found - {""})

    @property
    def is_one_off(self) -> bool:
        """Whether `docker-compose run` made the container; it is never a node."""
        return self.labels.get(_COMPOSE + "oneoff") == "True"


@dataclass(frozen=True, slots=True)
class Viewpoint:
    """Where the gateway runs: the networks it reaches, and its compose project."""

    container_id: str = ""
    project: str = ""
    networks: Mapping[str, str] | None = None
    """Network ids by name; None: the gateway runs on the host, which reaches all
    containers."""

    @property
    def network_ids(self) -> frozenset[str]:
        """The ids of the networks that the gateway reaches; empty on the host."""
        return frozenset((self.networks or {}).values())


def read_container(summary: Mapping[str, Any]) -> Container:
    """Read one entry of the list of containers."""
    # Legacy links add names like `/other/alias`; the container's own has one slash.
    own_names = [name[1:] for name in summary["Names"] or () if name.count("/") == 1]
    settings = summary.get("NetworkSettings") or {}
    return Container(
        id=summary["Id"],
        name=own_names[0] if own_names else "",
        is_running=summary["State"] == "running",
        created=summary["Created"],
        labels=summary.get("Labels") or {},
        attachments=_attachments(settings.get("Networks") or {}),
    )


def _attachments(networks: Mapping[str, Any]) -> tuple[Attachment, ...]:
    fields = ("NetworkID", "IPAddress", "GlobalIPv6Address")
    return tuple(
        Attachment(name, *((networks[name] or {}).get(key) or "" for key in fields))
        for name in sorted(networks)
    )


def read_viewpoint(
    inspected: Mapping[str, Any], network_owner: Mapping[str, Any]
) -> Viewpoint:
    """Read the inspection of the container that the gateway runs in.

    `network_owner` is the inspection of the container whose network it uses: itself, or
    the one in its network mode `container:<id>`.
    """
    labels = inspected["Config"].get("Labels") or {}
    attachments = _attachments(network_owner["NetworkSettings"].get("Networks") or {})
    networks = {a.network: a.network_id for a in attachments if a.network_id}
    networks.pop("none", None)
    return Viewpoint(
        inspected["Id"],
        labels.get(_COMPOSE + "project", ""),
        None if network_mode(network_owner) == "host" else networks,
    )


def network_mode(inspected: Mapping[str, Any]) -> str:
    """Return the network mode: `host`, `container:<id>`, the name of a network."""
    return inspected["HostConfig"].get("NetworkMode") or ""


def read_key_sources(inspected: Mapping[str, Any]) -> KeySources | None:
    """Return where a node's keys are, by the inspection of its container.

    None: its environment tells nothing.
    """
    lines = inspected["Config"].get("Env") or ()
    values = dict(line.partition("=")[::2] for line in lines)
    mounts = {mount.get("Destination") for mount in inspected.get("Mounts") or ()}
    for variables in _KEY_VARIABLES:
        found = [_source(values, variable, mounts) for variable in variables]
        if found[0] and found[1]:
            return KeySources(found[0], found[1])
    return None


def _source(
    values: Mapping[str, str], variable: str, mounts: Collection[str]
) -> str | PurePosixPath | None:
    """Return what a variable has, or else the file that `<variable>_FILE` names."""
    name = values.get(f"{variable}_FILE")
    if values.get(variable) or not name:
        return values.get(variable)
    path = SECRETS / name
    is_there = {str(path), str(SECRETS)} & {*mounts}
    return path if is_there or name not in _NAMES_OF_IMAGE else None


def read_keys(sources: KeySources, folder: PurePath = SECRETS) -> Keys | None:
    """Return the keys; None: there are no such files here, too.

    Only secrets are read: a container must not name other files of the gateway.
    """
    found = [one if isinstance(one, str) else _secret(one, folder) for one in sources]
    return Keys(*found) if all(found) else None


def _secret(file: PurePosixPath, folder: PurePath) -> str:
    try:
        path = Path(file).resolve()
        return path.read_text().strip() if path.is_relative_to(folder) else ""
    except (OSError, ValueError):
        return ""


def is_candidate(container: Container, selector: str, viewpoint: Viewpoint) -> bool:
    """Whether the container is a node, if it shares a network with the gateway."""
    is_own = container.id == viewpoint.container_id
    return selector in container.name and not container.is_one_off and not is_own


def has_doubtful_network(container: Container, viewpoint: Viewpoint) -> bool:
    """Whether a network has the name of a network of ours, but another id.

    That network may not exist any more.
    """
    return any(
        attachment.network_id
        and attachment.network_id not in viewpoint.network_ids
        and attachment.network in (viewpoint.networks or {})
        for attachment in container.attachments
    )


def shared_attachments(
    container: Container, viewpoint: Viewpoint, existing_ids: Collection[str]
) -> tuple[Attachment, ...]:
    """Return the attachments over which the gateway reaches the container.

    They match by id. They match by name if the id is empty (the container was never
    started) or not in `existing_ids` (a stopped container keeps the network of its last
    run).
    """
    if viewpoint.networks is None:
        return container.attachments
    own_ids, own_names = viewpoint.network_ids, viewpoint.networks
    return tuple(
        attachment
        for attachment in container.attachments
        if attachment.network_id in own_ids
        or (
            attachment.network_id not in existing_ids
            and (attachment.network in own_names or attachment.network in own_ids)
        )
    )


def stable_names(containers: Iterable[Container], own_project: str) -> dict[str, str]:
    """Return the stable names by container id.

    The name is the label `amazin.name`, or else compose's `<service>-<number>`, or else
    the container's own name. If several projects have the same `<service>-<number>`,
    the name of the project precedes it for all but the gateway's own project.
    """
    containers = list(containers)
    short_names = {container.id: _compose_name(container) for container in containers}
    projects = {(short_names[c.id], c.project) for c in containers}
    users = Counter(name for name, _ in projects)
    names = {}
    for container in containers:
        name = short_names[container.id]
        if name and users[name] > 1 and container.project != own_project:
            name = f"{container.project}-{name}"
        label = as_name(container.labels.get(NAME_LABEL, ""))
        names[container.id] = label or name or container.name
    return names


def _compose_name(container: Container) -> str | None:
    service = container.labels.get(_COMPOSE + "service")
    number = container.labels.get(_COMPOSE + "container-number")
    is_labelled = as_name(container.labels.get(NAME_LABEL, "")) is not None
    if is_labelled or not (service and number):
        return None
    return f"{service}-{number}"


def choose(
    containers: Iterable[Container], names: Mapping[str, str]
) -> tuple[dict[str, Container], list[Container]]:
    """Return one container per stable name, and the running ones that were not chosen.

    Of several containers with one name a running one is chosen, else the newest: while
    compose re-creates a container, the stopped predecessor exists for a moment.
    """
    chosen: dict[str, Container] = {}
    losers = []
    for container in sorted(
        containers, key=lambda c: (c.is_running, c.created, c.id), reverse=True
    ):
        if chosen.setdefault(names[container.id], container) is not container:
            losers.append(container)
    return chosen, [container for container in losers if container.is_running]


def address_of(container: Container, shared: Sequence[Attachment]) -> str | None:
    """Return the first IPv4 address, else IPv6 in brackets; None if not running."""
    if not container.is_running:
        return None
    for attachment in shared:
        if attachment.ipv4:
            return attachment.ipv4
    for attachment in shared:
        if attachment.ipv6:
            return f"[{attachment.ipv6}]"
    return None


def weight_of(container: Container) -> float | None:
    """Return the weight from the label; 1 without a label, None if it is not valid."""
    text = container.labels.get(WEIGHT_LABEL)
    return 1.0 if text is None else as_weight(text)


def group_of(container: Container) -> str | None:
    """Return the group from the label; "" without a label, None if it is not valid."""
    text = container.labels.get(GROUP_LABEL)
    return "" if text is None else as_name(text)
