"""The notation of nodes in settings: `name=http://key:secret@host:port[;weight=2]`.

Pure; also decides which texts are valid names and weights, wherever they are written.
No error message repeats its input, which may contain a secret.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable
from urllib.parse import SplitResult, unquote, urlsplit

from amazin.errors import SettingsError
from amazin.model.variables import refuse_variables

_NOT_IN_NAMES = frozenset("/\\ ,;:=@%?#\"'")
_DEFAULT_PORTS = {"http": 80, "https": 443}


def as_name(text: str) -> str | None:
    """Return `text` if it can be the stable name of a node or group, else None."""
    usable = text.isprintable() and not _NOT_IN_NAMES & set(text)
    return text if text and usable else None


def as_weight(text: str) -> float | None:
    """Return the weight that `text` denotes, or None if it is not a decimal number."""
    is_number = re.fullmatch(r"[0-9]{0,9}\.?[0-9]{1,9}", text)
    return float(text) if is_number else None


def parse_list(entries: Iterable[tuple[str, str]]) -> Sequence[NodeSpec]:
    """Parse `name=http://key:secret@host:port[;weight=2][;group=a]`; skip blank ones.

    Each entry is a pair: the place that an error message names, and the text. The
    result is sorted by name.

    Raises:
        SettingsError: an entry is invalid; the message repeats nothing of its text.
    """
    specs: dict[str, NodeSpec] = {}
    endpoints = set()
    for place, text in entries:
        if not text.strip():
            continue
        try:
            spec = _parse_node(text.strip())
        except ValueError as exc:
            raise SettingsError(f"{place}: {exc}") from None
        if spec.name in specs:
            raise SettingsError(f"{place}: two nodes have the name {spec.name}")
        if spec.endpoint in endpoints:
            raise SettingsError(f"{place}: two names stand for one node")
        specs[spec.name] = spec
        endpoints.add(spec.endpoint)
    return sorted(specs.values(), key=lambda spec: spec.name)


def _parse_node(text: str) -> NodeSpec:
    if not text.isprintable():
        raise ValueError("it holds a character that can't be printed")
    refuse_variables(text)
    name, _, rest = text.partition("=")
    if not as_name(name) or "://" not in rest:
        raise ValueError(
            "expected name=http://key:secret@host:port[;weight=2][;group=a]"
        )
    url, *options = rest.split(";")
    weight, group = _weight_and_group(options)
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError("the URL can't be read") from None
    if parts.scheme == "file":
        return NodeSpec(name, _folder_endpoint(parts), weight=weight, group=group)
    endpoint = http_endpoint(url)
    return NodeSpec(name, endpoint, *_url_keys(parts), weight, group)


def _weight_and_group(options: Sequence[str]) -> tuple[float, str]:
    values: dict[str, str] = {}
    for option in options:
        key, _, value = option.strip().partition("=")
        if key not in ("weight", "group") or key in values:
            raise ValueError("after `;` only weight= and group= may stand, each once")
        values[key] = value
    weight = as_weight(values.get("weight", "1"))
    if weight is None:
        raise ValueError("weight= must be a number from 0 up")
    group = as_name(values["group"]) if "group" in values else ""
    if group is None:
        raise ValueError("group= must be a name without blanks or any of / : ; @ %")
    return weight, group


def _folder_endpoint(parts: SplitResult) -> str:
    path = Path(unquote(parts.path))
    if parts.netloc or parts.query or parts.fragment or not path.is_absolute():
        raise ValueError("expected file:///folder, with an absolute path")
    return path.as_uri()


def _url_keys(parts: SplitResult) -> tuple[str, str]:
    try:
        access = unquote(parts.username or "", errors="strict")
        secret = unquote(parts.password or "", errors="strict")
    except UnicodeDecodeError:
        raise ValueError("key and secret must be UTF-8, percent-encoded") from None
    if not (access and secret and access.isprintable()):
        raise ValueError("key and secret must stand before an @ in the URL")
    return access, secret


def http_endpoint(url: str) -> str:
    """Return a URL in the form that `NodeSpec.endpoint` has. Raises: ValueError."""
    parts = urlsplit(url)
    if parts.scheme not in _DEFAULT_PORTS:
        raise ValueError("the URL must begin with http://, https:// or file:///")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError(
            "behind host and port nothing may stand; / ? # % , ; and @ in a key or "
            "secret are written percent-encoded"
        )
    try:
        port = _DEFAULT_PORTS[parts.scheme] if parts.port is None else parts.port
    except ValueError:
        port = 0
    if not port:
        raise ValueError("the port must be a number from 1 to 65535")
    return f"{parts.scheme}://{url_host(parts.hostname or '')}:{port}"


def url_host(host: str) -> str:
    """Return a host as URLs write it: IPv6 in brackets. Raises: ValueError."""
    try:
        if ":" in host:
            return f"[{ipaddress.IPv6Address(host)}]"
    except ValueError:
        raise ValueError("the host is no IPv6 address") from None
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", host):
        raise ValueError("the URL has no host that can be used")
    return host


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """How long a node may take, in seconds."""

    connect: float = 1.0
    answer: float = 5.0
    """Until the first byte of the response to GET, HEAD and DELETE."""
    transfer: float = 30.0
    """Between two pieces of a body, and until the node has stored an upload."""


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """The description of one node by discovery; equal specs share one `Node`."""

    name: str
    """The stable name that placement hashes; it survives restarts and new addresses."""
    endpoint: str | None
    """`http://host:port`, `https://...` or `file:///folder`; None: the node is down."""
    access_key: str = field(default="", repr=False)
    secret_key: str = field(default="", repr=False)
    weight: float = 1.0
    """The node's relative share of the objects; 0: it gets no new objects, and `repair`
    empties it."""
    group: str = ""
    """The mirror set that the node belongs to; "" is a mirror set as well."""
    identity: str = ""
    """Changes when another node takes over the name (for containers, the container's
    id)."""
    region: str = "us-east-1"
    """The region for which requests to an S3 server are signed."""


class Discovery(Protocol):
    """Finds the nodes. Only one thread at a time calls its methods."""

    def find(self) -> Sequence[NodeSpec]:
        """Return all current nodes, each name once, including nodes that are down.

        Raises:
            DiscoveryError: the nodes can't be found now; clients see the message.
        """


@runtime_checkable
class WatchingDiscovery(Discovery, Protocol):
    """A discovery that notices changes by itself. For others the caller just sleeps."""

    def wait(self, seconds: float) -> None:
        """Return after `seconds`, or earlier if `find` may have a new result."""

    def wake(self) -> None:
        """End the current `wait`, or else the next one. Any thread may call it."""


@runtime_checkable
class ClosableDiscovery(Discovery, Protocol):
    """A discovery that owns a resource: a thread, a connection."""

    def close(self) -> None:
        """Release it. Idempotent; it is the last call, after `wake`."""
