"""Every setting as data: name, unit, default, meaning, and how it is read.

Pure: `Settings.from_environ` takes a mapping. Only `wsgi.py` (and the tests) hand it
the process environment. The README's table holds the same rows; a test compares them.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from errors import SettingsError
from nodelist import as_name, as_weight
from nodes import TimeLimits

_SIZE_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_SIZE_UNITS |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off", "")


def _text(value: str) -> str:
    return value


def _one_of(*choices: str) -> Callable[[str], str]:
    def convert(value: str) -> str:
        if value.lower() not in choices:
            raise ValueError(f"expected one of {', '.join(choices)}")
        return value.lower()

    return convert


def _flag(value: str) -> bool:
    if value.lower() in _TRUE:
        return True
    if value.lower() in _FALSE:
        return False
    raise ValueError("expected true or false")


def _integer(low: int, high: int) -> Callable[[str], int]:
    def convert(value: str) -> int:
        if not re.fullmatch(r"-?[0-9]{1,18}", value) or not low <= int(value) <= high:
            raise ValueError(f"expected a whole number from {low} to {high}")
        return int(value)

    return convert


def _seconds(value: str) -> float:
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", value) or float(value) <= 0:
        raise ValueError("expected a number of seconds above 0")
    return float(value)


def _bytes(value: str) -> int:
    match = re.fullmatch(r"([0-9]{1,18}) ?([A-Za-z]*)", value)
    if not match or match[2].upper() not in _SIZE_UNITS:
        raise ValueError(
            "expected bytes: a whole number, or one with KB, MiB, GiB, ..."
        )
    return int(match[1]) * _SIZE_UNITS[match[2].upper()]


def _selector(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", value):
        raise ValueError("expected part of a container name: letters, digits, _ . -")
    return value


def _discovery(value: str) -> str:
    if value in ("docker", "static", "folders"):
        return value
    if re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*", value):
        return value
    raise ValueError("expected docker, static, folders or package.module:Class")


def _host(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9.:_-]+", value):
        raise ValueError("expected an address or a host name, without a port")
    return value


def _docker_host(value: str) -> str:
    if not re.fullmatch(r"(unix|tcp|http|https)://\S+", value):
        raise ValueError(
            "expected unix:///path, tcp://host:port or http(s)://host:port"
        )
    return value


def parse_networks(text: str) -> list[Network]:
    """Read addresses and networks, with commas; `*` is all. Raises: ValueError."""
    if text.strip() == "*":
        text = "0.0.0.0/0,::/0"
    parts = [part.strip() for part in text.split(",")]
    return [ipaddress.ip_network(part, strict=False) for part in parts if part]


def _networks(value: str) -> str:
    try:
        parse_networks(value)
    except ValueError:
        raise ValueError("expected IP addresses or networks, with commas") from None
    return value


def parse_group_weights(text: str) -> dict[str, float]:
    """Read `fast=2,slow=1`, blank entries skipped. Raises: ValueError."""
    weights: dict[str, float] = {}
    for part in filter(None, map(str.strip, text.split(","))):
        group, _, number = part.partition("=")
        weight = as_weight(number)
        if not as_name(group) or not weight:
            raise ValueError("expected group=weight,... with weights above 0")
        if group in weights:
            raise ValueError("expected each group once")
        weights[group] = weight
    return weights


def _group_weights(value: str) -> str:
    parse_group_weights(value)
    return value


def _setting(
    convert: Callable[[str], Any], default: Any, unit: str, meaning: str
) -> Any:
    is_secret = meaning.startswith("Secret")
    metadata = {
        "convert": convert,
        "unit": unit,
        "meaning": meaning,
        "is_secret": is_secret,
    }
    return field(default=default, metadata=metadata, repr=not is_secret)


@dataclass(frozen=True)
class Settings:
    """What an operator decides. The environment's name of a field is its upper case."""

    host: str = _setting(_host, "0.0.0.0", "", "Address to listen on.")
    port: int = _setting(_integer(1, 65535), 3000, "", "Port to listen on.")
    discovery: str = _setting(
        _discovery,
        "docker",
        "",
        "Who the nodes are: `docker`, `static`, `folders` or `package.module:Class`.",
    )
    storage_instances_selector: str = _setting(
        _selector,
        "amazin-object-storage-node",
        "",
        "Docker: a node's container has this in its name.",
    )
    node_port: int = _setting(
        _integer(1, 65535), 9000, "", "Docker: the port nodes listen on."
    )
    docker_host: str = _setting(
        _docker_host,
        "unix:///var/run/docker.sock",
        "",
        "Docker: URL of the daemon or of a read-only socket proxy.",
    )
    nodes: str = _setting(
        _text,
        "",
        "",
        "Secret. Static: `name=http://key:secret@host:port[;weight=2][;group=a],...`.",
    )
    nodes_file: str = _setting(
        _text, "", "", "Static: a file with one node a line, in the form of `NODES`."
    )
    data_dir: str = _setting(
        _text, "data", "", "Folders: where `node-1`, `node-2`, ... lie."
    )
    folder_nodes: int = _setting(
        _integer(1, 1000), 3, "", "Folders: how many there are."
    )
    refresh_seconds: float = _setting(
        _seconds, 5.0, "s", "How often the list of nodes is read anew."
    )
    replicas: int = _setting(
        _integer(1, 9), 1, "", "On how many nodes each object is stored."
    )
    group_weights: str = _setting(
        _group_weights,
        "",
        "",
        "Groups: shares of the objects other than 1, `group=weight,...`.",
    )
    max_object_bytes: int = _setting(
        _bytes, 5 * 2**30, "bytes", "Larger uploads are refused (413)."
    )
    spool_dir: str = _setting(
        _text, "/var/tmp", "", "Disk folder for uploads of unknown length."
    )
    spool_bytes: int = _setting(
        _bytes, 10 * 2**30, "bytes", "Room for all of them at once, per worker (507)."
    )
    node_connect_timeout: float = _setting(
        _seconds, 1.0, "s", "For a connection to a node."
    )
    node_answer_timeout: float = _setting(
        _seconds, 5.0, "s", "For the first byte of a node's answer to a read."
    )
    node_transfer_timeout: float = _setting(
        _seconds, 30.0, "s", "Between two pieces of a body, and for storing it."
    )
    forwarded_allow_ips: str = _setting(
        _networks,
        "127.0.0.1,::1",
        "",
        "Proxies whose `X-Forwarded-For` is believed, with commas; `*` for all.",
    )
    log_level: str = _setting(
        _one_of("debug", "info", "warning", "error"), "info", "", "Least level logged."
    )
    log_debug: bool = _setting(_flag, False, "", "The same as `LOG_LEVEL=debug`.")
    workers: int = _setting(_integer(1, 256), 2, "", "Gateway processes.")
    server: str = _setting(
        _one_of("gunicorn", "granian"),
        "gunicorn",
        "",
        "What serves HTTP: `gunicorn`, or the faster `granian` (docs/servers.md).",
    )

    def __post_init__(self) -> None:
        if self.discovery == "static" and not (self.nodes or self.nodes_file):
            raise SettingsError("NODES: DISCOVERY=static needs NODES or NODES_FILE")
        if self.discovery == "static" and self.nodes and self.nodes_file:
            raise SettingsError("NODES_FILE: set NODES or NODES_FILE, not both")
        if self.max_object_bytes > 5 * 2**30:
            raise SettingsError(
                "MAX_OBJECT_BYTES: nodes take at most 5 GiB in one upload"
            )

    @property
    def least_level(self) -> str:
        """The least level that is logged, in lower case."""
        return "debug" if self.log_debug else self.log_level

    @property
    def node_limits(self) -> TimeLimits:
        """How long a node may take."""
        return TimeLimits(
            self.node_connect_timeout,
            self.node_answer_timeout,
            self.node_transfer_timeout,
        )

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Settings:
        """Read the settings; unset and empty variables take their defaults.

        Raises:
            SettingsError: naming the variable and what was expected.
        """
        values = {}
        for setting in fields(cls):
            text = environ.get(setting.name.upper(), "").strip()
            if not text:
                continue
            try:
                values[setting.name] = setting.metadata["convert"](text)
            except ValueError as exc:
                shown = "" if setting.metadata["is_secret"] else f" {text!r}"
                name = setting.name.upper()
                raise SettingsError(f"{name}:{shown} can't be used: {exc}") from None
        return cls(**values)
