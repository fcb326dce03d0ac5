"""The basic types: an object's name, its version, and the info about one copy. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

CHUNK_BYTES = 256 * 1024
"""Size of one read of a body; below 64 KiB the system calls dominate."""
BUCKET = "store"
"""The bucket on each node that holds everything clients store."""
DATA_BUCKETS = (BUCKET,)
"""The buckets for objects; every node of the cluster has them."""
UNKNOWN_SIZE = -1
"""Size of a blob on a server that does not send it; only the end of the body shows
it."""
_LABEL = re.compile(
    r"([0-9]{1,19})\.([0-9]{1,10})(?:\.([0-9]{1,18}))?(\.deleted)?", re.ASCII
)
"""Nanoseconds up to the year 2286, 32 random bits, the epoch, and the tombstone
mark."""


class ObjectName(NamedTuple):
    """Bucket and key of an object, the same on every node."""

    bucket: str
    key: str

    @property
    def hash_key(self) -> bytes:
        """The bytes that placement hashes: `bucket/key` in UTF-8."""
        return f"{self.bucket}/{self.key}".encode()


ROSTER_NAME = ObjectName("amazin-system", "roster")
"""Where each node keeps its copy of the set of nodes: small, and always overwritten."""


class Stamp(NamedTuple):
    """The version of an object: the greater one is newer, compared as integers."""

    nanoseconds: int
    tie_break: int


class Label(NamedTuple):
    """What a gateway writes on each copy that it stores."""

    stamp: Stamp
    epoch: int = 0
    """Number of the set of nodes by which the copy was placed on this node."""
    is_deleted: bool = False
    """Whether the copy is a tombstone: the object was deleted."""

    def __str__(self) -> str:
        deleted = ".deleted" if self.is_deleted else ""
        return "{}.{}.{}{}".format(*self.stamp, self.epoch, deleted)

    @classmethod
    def parse(cls, text: str) -> Label | None:
        """Parse the text that `str` makes; None for any other text."""
        match = _LABEL.fullmatch(text)
        if not match or int(match[1]) >= 2**63:
            return None
        stamp = Stamp(int(match[1]), int(match[2]))
        return cls(stamp, int(match[3] or 0), bool(match[4]))


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """Everything about one stored copy except its bytes."""

    size: int
    etag: str
    """The body's MD5 in hex, without quotes."""
    modified_ns: int
    """Unix time in nanoseconds: from the stamp, else from the node's Last-Modified."""
    label: Label | None = None
    """None for objects that other programs wrote: they are older than any label."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """To be sent with a download: Content-Type, X-..., with names like
    `X-Some-Name`."""
    is_damaged: bool = field(default=False, compare=False)
    """Whether the node knows that the bytes of its copy are damaged or gone."""

    @property
    def version(self) -> tuple[Stamp, int]:
        """Orders the copies of one key: the newest copy has the greatest."""
        return (self.label.stamp if self.label else Stamp(0, 0), self.modified_ns)

    @property
    def epoch(self) -> int:
        """The epoch of the label, or 0 without a label."""
        return self.label.epoch if self.label else 0

    @property
    def is_deleted(self) -> bool:
        """Whether the copy is a tombstone."""
        return self.label is not None and self.label.is_deleted


ByteRange = tuple[int, int]
