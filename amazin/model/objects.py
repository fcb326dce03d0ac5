"""The nouns: an object's name, its version, and what a node holds of it. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

CHUNK_BYTES = 256 * 1024
"""Size of one read of a body; below 64 KiB the system calls dominate."""
BUCKET = "store"
"""Where nodes keep what clients store."""
DATA_BUCKETS = (BUCKET,)
"""Buckets for objects; every node that takes part has them."""
UNKNOWN_SIZE = -1
"""Size of a blob on a server that tells it only by the end of its bytes."""
_LABEL = re.compile(
    r"([0-9]{1,19})\.([0-9]{1,10})(?:\.([0-9]{1,18}))?(\.deleted)?", re.ASCII
)
"""Nanoseconds up to the year 2286, 32 random bits, the epoch, and a mark."""


class ObjectName(NamedTuple):
    """Where an object lives: bucket and key, the same on every node."""

    bucket: str
    key: str

    @property
    def hash_key(self) -> bytes:
        """The bytes that placement hashes: `bucket/key` in UTF-8."""
        return f"{self.bucket}/{self.key}".encode()


class Stamp(NamedTuple):
    """The version of an object: greater is newer (compared as integers)."""

    nanoseconds: int
    tie_break: int


class Label(NamedTuple):
    """What a gateway writes on each copy that it stores."""

    stamp: Stamp
    epoch: int = 0
    """Number of the set of nodes under which the copy was placed here."""
    is_deleted: bool = False
    """Whether it is a tombstone: the object was deleted."""

    def __str__(self) -> str:
        deleted = ".deleted" if self.is_deleted else ""
        return "{}.{}.{}{}".format(*self.stamp, self.epoch, deleted)

    @classmethod
    def parse(cls, text: str) -> Label | None:
        """Read what `str` wrote; None for anything else."""
        match = _LABEL.fullmatch(text)
        if not match or int(match[1]) >= 2**63:
            return None
        stamp = Stamp(int(match[1]), int(match[2]))
        return cls(stamp, int(match[3] or 0), bool(match[4]))


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One stored copy, without its bytes."""

    size: int
    etag: str
    """The body's MD5 in hex, without quotes."""
    modified_ns: int
    """Unix time in nanoseconds: of the stamp, else the node's own Last-Modified."""
    label: Label | None = None
    """None for objects that something else than a gateway wrote: older than any."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """To be given back on download: Content-Type, X-..., names as in `X-Some-Name`."""

    @property
    def version(self) -> tuple[Stamp, int]:
        """What orders copies of one key, newest greatest."""
        return (self.label.stamp if self.label else Stamp(0, 0), self.modified_ns)

    @property
    def epoch(self) -> int:
        """See `Label`; 0 without one."""
        return self.label.epoch if self.label else 0

    @property
    def is_deleted(self) -> bool:
        """Whether this is a tombstone."""
        return self.label is not None and self.label.is_deleted


ByteRange = tuple[int, int]
