"""What is remembered of the files of sos that were verified, in this process only."""

from __future__ import annotations

from typing import NamedTuple

from amazin.model.objects import ObjectInfo

_MOST_FILES = 10_000
_MOST_BYTES = 16 * 2**20


class Verdict(NamedTuple):
    """What was found of a file."""

    sums: bytes = b""
    """Its checksums; empty: not known."""
    lost_at: float = 0.0
    """Unix time at which it was last found damaged or unreadable; 0: it was not."""


class Verdicts:
    """The verdicts on the last files, as many as fit into memory. Thread-safe."""

    def __init__(self, most_bytes: int = _MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._verdicts: dict[tuple[str, int, int], Verdict] = {}

    def of(self, blob_id: str, info: ObjectInfo) -> Verdict:
        """Return what is known of a file."""
        return self._verdicts.get(version(blob_id, info), Verdict())

    def note(self, blob_id: str, info: ObjectInfo, verdict: Verdict) -> None:
        """Remember what was found; the newest in any case."""
        known, key = self._verdicts, version(blob_id, info)
        known.pop(key, None)
        known[key] = verdict
        size = sum(len(each.sums) for each in list(known.values()))
        for oldest in list(known)[:-1]:
            if size <= self._most_bytes and len(known) <= _MOST_FILES:
                return
            size -= len(known.pop(oldest, Verdict()).sums)


def version(blob_id: str, info: ObjectInfo) -> tuple[str, int, int]:
    """Return what changes with the file of an old blob."""
    return blob_id, info.size, info.modified_ns
