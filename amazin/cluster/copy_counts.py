"""What lies on a node, counted by kind from a listing. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from amazin.cluster.cluster import TOMBSTONE, TOMBSTONE_ETAG
from amazin.model.objects import ObjectInfo
from amazin.model.stored_names import MARKERS, PARTS, RESULTS


@dataclass
class Copies:
    """The copies on one node, or on several."""

    objects: int = 0
    """Copies of what clients stored; an object in parts counts once."""
    parts: int = 0
    tombstones: int = 0
    """What remains for a while of deleted objects."""
    markers: int = 0
    """The small objects that make buckets exist, and the results of repair."""
    bytes: int = 0
    """The size of all of these together."""
    damaged: int = 0
    """Those of these that the node knows to be damaged or gone."""

    @property
    def copies(self) -> int:
        """The number of all copies, of any kind: placement spreads all of them."""
        return self.objects + self.parts + self.tombstones + self.markers

    def add(self, key: str, info: ObjectInfo) -> None:
        """Count one more copy."""
        self.bytes += info.size
        self.damaged += info.is_damaged
        if is_tombstone(info):
            self.tombstones += 1
        elif key.startswith((MARKERS, RESULTS)):
            self.markers += 1
        elif key.startswith(PARTS):
            self.parts += 1
        else:
            self.objects += 1


def is_tombstone(info: ObjectInfo) -> bool:
    """Whether a listing shows a tombstone; some nodes list no labels."""
    looks_like_one = info.size == TOMBSTONE.length and info.etag == TOMBSTONE_ETAG
    return info.is_deleted or looks_like_one


def total(counts: Iterable[Copies]) -> Copies:
    """Return the sum of the counts."""
    found = Copies()
    for count in counts:
        found.objects += count.objects
        found.parts += count.parts
        found.tombstones += count.tombstones
        found.markers += count.markers
        found.bytes += count.bytes
        found.damaged += count.damaged
    return found
