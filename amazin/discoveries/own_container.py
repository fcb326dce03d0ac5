"""What a process can tell about the container that it runs in, if it runs in one.

Reads the files of `/proc/self`. It knows neither the daemon nor its containers: these
are compared with the traces in `docker_viewpoint.py`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_ID = r"(?<![0-9a-f])([0-9a-f]{64})(?![0-9a-f])"
_OWN_FILES = re.compile(
    r"^\S+ \S+ \S+ (\S+) (?:/etc/(?:hostname|hosts|resolv\.conf)|/run/\.containerenv) ",
    re.MULTILINE,
)
"""The mounts that engines make in each container, as mountinfo has them: what of the
source is mounted."""
_OVERLAY_ROOT = re.compile(r"^(?:\S+ ){4}/ .* - (?:fuse[.-])?overlay(?:fs)? ", re.M)
_MARKERS = (".dockerenv", "run/.containerenv")
_FIRST_PID_NAMESPACE = "pid:[4026531836]"
"""That of the machine itself: a constant of Linux, PROC_PID_INIT_INO."""


class Traces(NamedTuple):
    """Where the process runs, as far as it can be told from inside."""

    is_in_container: bool
    ids: tuple[str, ...]
    """Ids that the container may have, the best first. There are several where one
    container runs in another, or uses the network of another."""
    hostname: str
    addresses: frozenset[str]
    """IP addresses of the process's network, in their short form."""


def read_traces(process: Path, hostname: str) -> Traces:
    """Read the traces of a process: `/proc/self`, or a folder with files as there."""
    mountinfo = _read(process / "mountinfo")
    cgroups = _read(process / "cgroup")
    ids = tuple(dict.fromkeys((*cgroup_ids(cgroups), *mounted_ids(mountinfo))))
    return Traces(
        bool(ids) or _is_marked(process, mountinfo),
        ids,
        hostname,
        frozenset(_addresses(process)),
    )


def mounted_ids(mountinfo: str) -> Iterator[str]:
    """Yield the ids of containers whose files are mounted into this one.

    Known forms are `/var/lib/docker/containers/<id>/hostname`, `/<id>/hostname` (the
    data root is a mount of its own) and Podman's
    `.../overlay-containers/<id>/userdata/hostname`. Other mounts don't count: the
    host's own list has the `/dev/shm` of every container.
    """
    for source in _OWN_FILES.findall(mountinfo):
        yield from re.findall(_ID, source)[-1:]


def cgroup_ids(cgroups: str) -> Iterator[str]:
    """Yield the ids in `/proc/self/cgroup`, the innermost container's of each line.

    With cgroup v2 there are usually none, as the container sees itself as the root.
    """
    for line in cgroups.splitlines():
        yield from re.findall(_ID, line)[-1:]


def local_addresses(fib_trie: str) -> Iterator[str]:
    """Yield the IPv4 addresses in `/proc/self/net/fib_trie`, loopback's too."""
    yield from re.findall(r"\|-- (\S+)\n\s+/32 host LOCAL", fib_trie)


def local_ipv6_addresses(if_inet6: str) -> Iterator[str]:
    """Yield the addresses in `/proc/self/net/if_inet6`, loopback's too."""
    for digits in re.findall(r"^([0-9a-f]{32}) ", if_inet6, re.MULTILINE):
        yield str(ipaddress.IPv6Address(int(digits, 16)))


def _addresses(process: Path) -> Iterator[str]:
    found = [
        *local_addresses(_read(process / "net/fib_trie")),
        *local_ipv6_addresses(_read(process / "net/if_inet6")),
    ]
    for address in found:
        parsed = ipaddress.ip_address(address)
        if not parsed.is_loopback and not parsed.is_link_local:
            yield address


def _is_marked(process: Path, mountinfo: str) -> bool:
    """Whether an engine left its mark.

    A machine that was made from an image has the mark, too, but not the namespace.
    """
    root = process / "root"
    if not any((root / marker).exists() for marker in _MARKERS):
        return False
    try:
        namespace = str((process / "ns/pid").readlink())
    except OSError:
        namespace = ""
    is_overlay = _OVERLAY_ROOT.search(mountinfo) is not None
    return is_overlay or namespace != _FIRST_PID_NAMESPACE


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:  # not on this system, or without IPv6
        return ""
