"""Nodes as an operator writes them: `name=http://key:secret@host:port[;weight=2]`.

Pure; also says what may be a name and a weight, wherever they are written.
No message repeats what was written: it may be part of a secret.
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

_NOT_IN_NAMES = frozenset("/\\ ,;:=@%?#\"'")
_DEFAULT_PORTS = {"http": 80, "https": 443}


def as_name(text: str) -> str | None:
    """Return `text` if it can be the stable name of a node or a group, else None."""
    usable = text.isprintable() and not _NOT_IN_NAMES & set(text)
    return text if text and usable else None


def as_weight(text: str) -> float | None:
    """Return the weight that `text` says, or None: not a decimal number."""
    is_number = re.fullmatch(r"[0-9]{0,9}\.?[0-9]{1,9}", text)
    return float(text) if is_number else None


def parse_list(entries: Iterable[tuple[str, str]]) -> Sequence[NodeSpec]:
    """Read `name=http://key:secret@host:port[;weight=2][;group=a]`, skip blank entries.

    Takes pairs of the place an error is to name, and the text; returns by name.

    Raises:
        SettingsError: repeats nothing of the text, which may hold a secret.
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
    """Return the endpoint of a URL as `NodeSpec` has it. Raises: ValueError."""
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
    """Return a host as URLs have it: IPv6 in brackets. Raises: ValueError."""
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
    """For the first byte of the answer to GET, HEAD and DELETE."""
    transfer: float = 30.0
    """Between two pieces of a body, and for storing an upload."""


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """What discovery says of one node; equal specs are served by one `Node`."""

    name: str
    """The stable name that placement hashes; survives restarts and new addresses."""
    endpoint: str | None
    """`http://host:port`, `https://...` or `file:///folder`; None: known, but down."""
    access_key: str = field(default="", repr=False)
    secret_key: str = field(default="", repr=False)
    weight: float = 1.0
    """Its share of the objects; 0: it gets no new ones, and `repair` empties it."""
    group: str = ""
    """The mirror set that it belongs to; "" is one, too."""
    identity: str = ""
    """Changes when the node behind the name is another one (a container's id)."""
    region: str = "us-east-1"
    """What requests to an S3 server are signed for."""


class Discovery(Protocol):
    """Knows the nodes. Its methods are called by one thread at a time."""

    def find(self) -> Sequence[NodeSpec]:
        """Return all nodes of now, with different names; those that are down too.

        Raises:
            DiscoveryError: it can't be known now; the message is shown to clients.
        """


@runtime_checkable
class WatchingDiscovery(Discovery, Protocol):
    """A discovery that notices changes by itself; for others a caller just sleeps."""

    def wait(self, seconds: float) -> None:
        """Return after `seconds`, or as soon as `find` may say something new."""

    def wake(self) -> None:
        """End the `wait` that runs, else the next one. From any thread."""


@runtime_checkable
class ClosableDiscovery(Discovery, Protocol):
    """A discovery that holds something: a thread, a connection."""

    def close(self) -> None:
        """Release it. Idempotent; called last, after what waits was woken."""
