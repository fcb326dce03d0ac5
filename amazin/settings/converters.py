"""Converters from a setting's text to its value, and the dataclass field of a setting.

Pure. Every converter takes text without surrounding blanks, from the environment or the
configuration file. It raises ValueError with a sentence that says what was expected;
the sentence repeats nothing of the text, which may be a secret.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import field
from functools import partial
from typing import Any, NamedTuple

from amazin.errors import SettingsError
from amazin.model.headers import METADATA_NAME
from amazin.model.metadata_names import BLOB_METADATA, object_metadata
from amazin.model.names import check_bucket
from amazin.model.node_specs import NodeSpec, as_name, as_weight, parse_list

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off", "")


class Given(NamedTuple):
    """The text of a setting, and where it was written."""

    text: str
    name: str
    """The setting's name at that place: `PORT`, `server.port`."""
    file_line: str = ""
    """`file:line`; "" for a variable of the environment."""

    def __str__(self) -> str:
        return f"{self.file_line}: {self.name}" if self.file_line else self.name


def setting(
    convert: Callable[[str], Any],
    default: Any,
    meaning: str,
    *,
    unit: str = "",
    place: str = "",
    in_file: Any = None,
    is_list: bool = False,
    only_for: tuple[str, ...] = (),
) -> Any:
    """Return the dataclass field of a setting.

    `place` is the path in the file, with dots (default: the field's name); `in_file` is
    the value in a newly written file (default: none, the default is a comment there).
    `is_list`: the text has commas, and the file may have a list instead; `default` is
    then text as well, from which the converter makes the value. `only_for` has the
    kinds of discovery, or `registration`, that use it (default: it is always used). If
    `meaning` begins with "Secret", the value is a secret.
    """
    is_secret = meaning.startswith("Secret")
    metadata = {
        "convert": convert,
        "default": default,
        "unit": unit,
        "meaning": meaning,
        "is_secret": is_secret,
        "place": place,
        "in_file": in_file,
        "is_list": is_list,
        "only_for": only_for,
    }
    if is_list:
        make = partial(convert, default)
        return field(default_factory=make, metadata=metadata, repr=not is_secret)
    return field(default=default, metadata=metadata, repr=not is_secret)


# Words


def text(value: str) -> str:
    """Accept any printable text."""
    if not value.isprintable():
        raise ValueError("expected text without line breaks or control characters")
    return value


def word(value: str) -> str:
    """Accept ASCII without blanks, as in a header."""
    if not re.fullmatch(r"[!-~]+", value):
        raise ValueError("expected one word of ASCII characters, without blanks")
    return value


def name(value: str) -> str:
    """Accept what can be part of an id in a URL."""
    if not re.fullmatch(r"[A-Za-z0-9._:-]{1,128}", value):
        raise ValueError("expected up to 128 letters, digits, or any of . _ : -")
    return value


def words(value: str) -> tuple[str, ...]:
    """Accept words separated by commas."""
    parts = tuple(filter(None, map(str.strip, value.split(","))))
    if not all(re.fullmatch(r"[!-~]+", part) for part in parts):
        raise ValueError("expected words with commas, without blanks in them")
    return parts


def metadata_headers(value: str) -> re.Pattern[str]:
    """Accept names of headers; return what matches the names that objects keep."""
    names = words(value)
    for name in names:
        if not METADATA_NAME.fullmatch(name.title()) or not BLOB_METADATA.fullmatch(
            name
        ):
            raise ValueError("expected X-... headers that no proxy or login adds")
    return object_metadata(names)


def folder(value: str) -> str:
    """Accept a valid path; a `~` at its beginning is expanded."""
    try:
        is_path = not re.search(rb"[\x00-\x1f\x7f]", os.fsencode(value))
    except UnicodeEncodeError:
        is_path = False
    if not is_path:
        raise ValueError("expected a path, without control characters")
    path = os.path.expanduser(value)  # noqa: PTH111 - Path's removes a slash at the end
    if path.startswith("~"):
        raise ValueError("expected a path; nobody knows the home that ~ stands for")
    return path


def absolute(path: str) -> str:
    """Return the path from the root on, to be shown."""
    with suppress(OSError):  # the current folder was removed
        return os.path.abspath(path)  # noqa: PTH100 - removes `..` as well
    return path


def one_of(*choices: str, **others: str) -> Callable[[str], str]:
    """Return a converter for these words; `others` maps synonyms to them."""

    def convert(value: str) -> str:
        chosen = others.get(value.lower(), value.lower())
        if chosen not in choices:
            raise ValueError(f"expected one of {', '.join(choices)}")
        return chosen

    return convert


def only(choice: str, reason: str) -> Callable[[str], str]:
    """Return a converter for a single word; other words are refused with `reason`."""

    def convert(value: str) -> str:
        if value.lower() != choice:
            raise ValueError(reason)
        return choice

    return convert


def secret(value: str) -> str:
    """Accept a secret for signatures that is not trivially short."""
    if len(word(value)) < 8:
        raise ValueError("expected 8 characters or more")
    return value


# Numbers


def flag(value: str) -> bool:
    """Accept true or false, in any common notation."""
    if value.lower() in _TRUE:
        return True
    if value.lower() in _FALSE:
        return False
    raise ValueError("expected true or false")


def integer(low: int, high: int) -> Callable[[str], int]:
    """Return a converter for whole numbers from `low` to `high`."""

    def convert(value: str) -> int:
        if not re.fullmatch(r"-?[0-9]{1,18}", value) or not low <= int(value) <= high:
            raise ValueError(f"expected a whole number from {low} to {high}")
        return int(value)

    return convert


# Nodes


def selector(value: str) -> str:
    """Accept part of a container's name."""
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", value):
        raise ValueError("expected part of a container name: letters, digits, _ . -")
    return value


DISCOVERIES = ("docker", "static", "folders", "consul", "dns")


def discovery(value: str) -> str:
    """Accept a kind of discovery, or the class of a user's own."""
    if value in DISCOVERIES:
        return value
    if re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*", value):
        return value
    kinds = ", ".join(DISCOVERIES)
    raise ValueError(f"expected one of {kinds}, or package.module:Class")


def nodes(value: str) -> tuple[NodeSpec, ...]:
    """Accept nodes in the notation of NODES."""
    entries = enumerate(value.split(","), start=1)
    try:
        found = parse_list((f"entry {number}", entry) for number, entry in entries)
    except SettingsError as exc:
        raise ValueError(str(exc)) from None
    if value and not found:
        raise ValueError("there is no node in it")
    return tuple(found)


def group_weights(value: str) -> Mapping[str, float]:
    """Accept weights of groups, `fast=2,slow=1`; blank entries are skipped."""
    weights: dict[str, float] = {}
    for part in filter(None, map(str.strip, value.split(","))):
        group, _, number = part.partition("=")
        weight = as_weight(number)
        if not as_name(group) or not weight:
            raise ValueError("expected group=weight,... with weights above 0")
        if group in weights:
            raise ValueError("expected each group once")
        weights[group] = weight
    return weights


def bucket(value: str) -> str:
    """Accept the name of a bucket."""
    check_bucket(value)
    return value


# Addresses


def host(value: str) -> str:
    """Accept an address or host name to listen on."""
    if not re.fullmatch(r"[A-Za-z0-9.:_-]+", value):
        raise ValueError("expected an address or a host name, without a port")
    return value


def host_names(value: str) -> tuple[str, ...]:
    """Accept host names separated by commas."""
    names = words(value)
    if not all(re.fullmatch(r"[A-Za-z0-9._-]+", name) for name in names):
        raise ValueError("expected host names with commas, without ports")
    return tuple(name.lower().removesuffix(".") for name in names)


def host_port(value: str) -> str:
    """Accept a host with an optional port; IPv6 in brackets."""
    match = re.fullmatch(
        r"(?:\[([0-9A-Fa-f:.]+)\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?", value
    )
    if not match or not 1 <= int(match[2] or 1) <= 65535 or not _is_ipv6(match[1]):
        raise ValueError("expected host:port, without http://")
    return value


def _is_ipv6(address: str | None) -> bool:
    try:
        return address is None or bool(ipaddress.IPv6Address(address))
    except ValueError:
        return False


def agent_address(value: str) -> str:
    """Accept the address of a Consul agent."""
    try:
        host_port(re.sub(r"^https?://", "", value))
    except ValueError:
        raise ValueError("expected host:port, or http(s)://host:port") from None
    return value


def docker_host(value: str) -> str:
    """Accept the URL of a Docker daemon, as the `docker` command takes it."""
    host = r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9][A-Za-z0-9_.-]*)(:[0-9]{1,5})?"
    user = r"([A-Za-z0-9_][A-Za-z0-9_.+-]*@)?"
    forms = rf"unix://\S+|(tcp|http|https)://{host}/?|ssh://{user}{host}/?"
    if not re.fullmatch(forms, value):
        raise ValueError(
            "expected unix:///path, tcp://host:port, http(s)://host:port or "
            "ssh://user@host"
        )
    return value


def base_url(value: str) -> str:
    """Accept an origin; a slash at its end is removed."""
    scheme, _, address = value.removesuffix("/").partition("://")
    try:
        if scheme.lower() not in ("http", "https"):
            raise ValueError
        return f"{scheme.lower()}://{host_port(address)}"
    except ValueError:
        raise ValueError("expected http(s)://host:port, without a path") from None


def path(value: str) -> str:
    """Accept the path of a URL."""
    if not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", value):
        raise ValueError("expected a path as /health")
    return value


def networks(value: str) -> tuple[Network, ...]:
    """Accept addresses and networks separated by commas; `*` stands for all."""
    if value.strip() == "*":
        value = "0.0.0.0/0,::/0"
    parts = filter(None, map(str.strip, value.split(",")))
    try:
        return tuple(ipaddress.ip_network(part, strict=False) for part in parts)
    except ValueError:
        raise ValueError("expected IP addresses or networks, with commas") from None
