"""The lists of the blob servers of a group: written to disk, and merged.

Needs constant memory for any number of blobs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import IO, NamedTuple, Protocol

from amazin.blobs.store import is_sha1
from amazin.model.objects import UNKNOWN_SIZE

_MD5 = re.compile(r"[0-9a-f]{32}")


class Lister(Protocol):
    """A blob server that lists its blobs, in the order of the ids."""

    def ids(self) -> Iterator[str]:
        """Yield the ids of all blobs. Raises: NodeError."""

    def details(self) -> Iterator[tuple[str, int, str]] | None:
        """Return an iterator over (id, size, ETag) of all; None: an old server.

        Raises: NodeError.
        """


class ListedCopy(NamedTuple):
    """The properties of one copy of a blob, from a list."""

    size: int = UNKNOWN_SIZE
    etag: str = ""
    """The MD5 in hex; empty: unknown."""


class Blob(NamedTuple):
    """One id, and the copies on the servers of the group."""

    id: str
    copies: tuple[ListedCopy | None, ...]
    """For each server, in the group's order; None: the server has no copy."""

    @property
    def is_everywhere(self) -> bool:
        """Whether all servers have a copy."""
        return None not in self.copies

    def must_be_read(self) -> bool:
        """Whether only their bytes can show that the copies are the same.

        Copies whose id is a SHA-1 count as the same, unless their ETags differ.
        """
        copies = [copy for copy in self.copies if copy is not None]
        tagged = {copy for copy in copies if copy.etag}
        if len(tagged) > 1:
            return True
        if len(copies) < 2 or is_sha1(self.id):
            return False
        return not all(copy.etag for copy in copies)


def write_list(server: Lister, file: IO[str]) -> bool:
    """Write a server's list into a file; return whether the server is one of ours.

    False: it is an old one, or its list is empty.

    Raises:
        NodeError: the list can't be read to its end.
        OSError: the file can't be written.
    """
    is_ours = False
    details = server.details()
    if details is None:
        file.writelines(f"{blob_id}\n" for blob_id in server.ids())
    else:
        for blob_id, size, etag in details:
            is_ours = True
            fields = f" {size} {etag}" if _MD5.fullmatch(etag) else ""
            file.write(f"{blob_id}{fields}\n")
    file.flush()
    return is_ours


def read_list(file: IO[str]) -> Iterator[tuple[str, ListedCopy]]:
    """Yield (id, copy) from a file that `write_list` wrote, from its beginning."""
    file.seek(0)
    unknown = ListedCopy()
    for line in file:
        blob_id, *rest = line.split()
        yield blob_id, ListedCopy(int(rest[0]), rest[1]) if rest else unknown


def merged(lists: Sequence[Iterator[tuple[str, ListedCopy]]]) -> Iterator[Blob]:
    """Merge sorted lists; yield every blob once, in the order of the ids."""
    heads = [next(entries, None) for entries in lists]
    while ids := [head[0] for head in heads if head]:
        least = min(ids)
        copies: list[ListedCopy | None] = [None] * len(heads)
        for place, head in enumerate(heads):
            if head and head[0] == least:
                copies[place] = head[1]
                heads[place] = next(lists[place], None)
        yield Blob(least, tuple(copies))
