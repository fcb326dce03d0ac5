"""Which blob servers of a group have which blobs: their lists, on disk, merged.

Constant memory for any number of blobs. Decides nothing but what has to be read in
order to know.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import IO, NamedTuple, Protocol

from amazin.blobs.store import is_sha1
from amazin.model.objects import UNKNOWN_SIZE

_MD5 = re.compile(r"[0-9a-f]{32}")


class Lister(Protocol):
    """What is asked of a blob server for its list; in the order of the ids."""

    def ids(self) -> Iterator[str]:
        """Yield the ids of all blobs. Raises: NodeError."""

    def details(self) -> Iterator[tuple[str, int, str]] | None:
        """Yield id, size and ETag of all; None: an old server, which tells ids only.

        Raises: NodeError.
        """


class Copy(NamedTuple):
    """What a list tells of one copy of a blob."""

    size: int = UNKNOWN_SIZE
    etag: str = ""
    """Its MD5; empty: the server doesn't tell it."""


class Blob(NamedTuple):
    """One id, and which servers of the group have it."""

    id: str
    copies: tuple[Copy | None, ...]
    """For each server, in the group's order; None: it has none."""

    @property
    def is_everywhere(self) -> bool:
        """Whether no server lacks it."""
        return None not in self.copies

    def must_be_read(self) -> bool:
        """Whether the copies must be read to tell whether they are the same.

        A SHA-1 is trusted as the name of the same bytes where the lists don't object.
        """
        copies = [copy for copy in self.copies if copy is not None]
        told = {copy for copy in copies if copy.etag}
        if len(told) > 1:
            return True
        if len(copies) < 2 or is_sha1(self.id):
            return False
        return not all(copy.etag for copy in copies)


def write_list(server: Lister, file: IO[str]) -> bool:
    """Write a server's list into a file; return whether it surely is one of ours.

    An empty list may be anybody's.

    Raises:
        NodeError: the list can't be had, or not to its end.
        OSError: there is no room for it.
    """
    is_ours = False
    details = server.details()
    if details is None:
        file.writelines(f"{blob_id}\n" for blob_id in server.ids())
    else:
        for blob_id, size, etag in details:
            is_ours = True
            told = f" {size} {etag}" if _MD5.fullmatch(etag) else ""
            file.write(f"{blob_id}{told}\n")
    file.flush()
    return is_ours


def read_list(file: IO[str]) -> Iterator[tuple[str, Copy]]:
    """Yield what `write_list` wrote, from the beginning."""
    file.seek(0)
    unknown = Copy()
    for line in file:
        blob_id, *told = line.split()
        yield blob_id, Copy(int(told[0]), told[1]) if told else unknown


def merged(lists: Sequence[Iterator[tuple[str, Copy]]]) -> Iterator[Blob]:
    """Yield every blob that any of the sorted lists has, in the order of the ids."""
    heads = [next(entries, None) for entries in lists]
    while ids := [head[0] for head in heads if head]:
        least = min(ids)
        copies: list[Copy | None] = [None] * len(heads)
        for place, head in enumerate(heads):
            if head and head[0] == least:
                copies[place] = head[1]
                heads[place] = next(lists[place], None)
        yield Blob(least, tuple(copies))
