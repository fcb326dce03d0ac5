"""Large objects on a cluster in memory, and a gateway that ends in the middle."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from amazin.cluster.large_objects import LargeObjectStore
from amazin.model.manifest import Outline, outline_of
from amazin.model.objects import ObjectName
from amazin.model.stored_names import PARTS
from tests.support.world import NAME, World

PART = 1000
BODY = bytes(range(256)) * 10
OTHER = BODY[::-1]
SMALL = b"small"


def tag(body: bytes) -> str:
    """Return the ETag."""
    return hashlib.md5(body).hexdigest()


def chunked(world: World, part_bytes: int = PART) -> LargeObjectStore:
    """Return what a gateway with CHUNK_BYTES has."""
    return LargeObjectStore(world.cluster, part_bytes, lambda: world.now_ns)


def stored_parts(world: World) -> set[ObjectName]:
    """Return all parts that lie on any node."""
    return {
        name
        for disk in world.disks.values()
        for name in disk.data
        if name.key.startswith(PARTS)
    }


def outline_on(world: World, name: ObjectName = NAME) -> Outline:
    """Return how the object lies in parts."""
    found = outline_of(world.cluster.head(name).info)
    assert found
    return found


class CrashError(BaseException):
    """The process ends here."""


def crash_at(world: World, step: int) -> Callable[[], bool]:
    """Let the process end at a step of the nodes' work; returns whether it did."""
    seen = 0
    happened = False

    def count() -> None:
        nonlocal seen, happened
        seen += 1
        if seen > step:
            happened = True
            raise CrashError

    for disk in world.disks.values():
        for method in ("put", "write", "commit", "head"):
            disk.before[method] = count
    return lambda: happened


def calm(world: World) -> None:
    """Let all nodes answer again."""
    for disk in world.disks.values():
        disk.before.clear()
        disk.failures.clear()
        disk.before_object.clear()
        disk.failing = None
