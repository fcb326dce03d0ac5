"""Lists the keys of a bucket in order, from their stored names.

The stored names of one form (`model/stored_names.py`) sort like their keys, except
those of the long form. So a listing merges one stream per form, in constant memory.
This module knows nothing of nodes: a source gives it stored names in byte order.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from contextlib import closing
from itertools import chain, groupby, islice
from typing import NamedTuple, Protocol

from amazin.cluster.sorting import SortedRows
from amazin.errors import NodeProtocolError, NoSuchKeyError
from amazin.model.names import MAX_KEY_BYTES
from amazin.model.objects import BUCKET, ObjectInfo, ObjectName
from amazin.model.stored_names import (
    KEY_HEADER,
    LONG,
    PLAIN,
    Form,
    bases,
    room_behind,
    stored_name,
)

MAX_SKIPPED_KEYS = 300
"""After this many keys with one common prefix, a new listing starts behind the
prefix."""
SORTED_IN_MEMORY = 1000
"""If more long keys have the same beginning, they are sorted in a file."""


class Entry(NamedTuple):
    """A key and its object, or a common prefix of keys."""

    key: str
    info: ObjectInfo | None
    """None: a common prefix."""


class HasInfo(Protocol):
    """The result of `Source.head`."""

    @property
    def info(self) -> ObjectInfo:
        """The object's info."""


class Source(Protocol):
    """Provides stored names; usually a cluster."""

    def list(self, prefix: str, after: str) -> Iterator[tuple[str, ObjectInfo]]:
        """Yield stored keys that start with `prefix` and sort behind `after`.

        In byte order, each with the info of its newest version; deleted objects are
        left out.
        """

    def head(self, name: ObjectName) -> HasInfo:
        """Return the info about one object. Raises: NoSuchKeyError."""


Keyed = tuple[bytes, Entry]
"""A sort key (the entry's key in UTF-8), and the entry."""


def list_keys(
    source: Source,
    bucket: str,
    prefix: str = "",
    after: str = "",
    recursive: bool = True,
) -> Iterator[Entry]:
    """Yield the keys that start with `prefix` and sort behind `after`, in key order.

    The order is that of UTF-8 bytes; both arguments may be any text. Without
    `recursive`, all keys with a slash behind the prefix become one entry: the common
    prefix up to and including that slash. It is left out if it does not sort behind
    `after`.

    Raises: as the source, possibly after some entries.
    """
    start = _bytes(prefix)
    first = max(start, _bytes(after) + b"\0" if after else b"")
    if not recursive and after.startswith(prefix):
        common = _common_prefix(after, prefix)
        first = _behind(common) if common else first
    if first.startswith(start) and len(start) <= MAX_KEY_BYTES and _is_utf8(prefix):
        with closing(_Walk(source, bucket, prefix)) as walk:
            yield from walk.run(first) if recursive else _collapsed(walk, first)


def _collapsed(walk: _Walk, first: bytes) -> Iterator[Entry]:
    """Yield the keys from `first` on, and each of their common prefixes once."""
    is_over = False
    while not is_over:
        last, skipped = "", 0
        is_over = True
        for entry in walk.run(first):
            common = _common_prefix(entry.key, walk.prefix)
            if not common:
                yield entry
            elif common != last:
                yield Entry(common, None)
                last, skipped = common, 0
            elif (skipped := skipped + 1) >= MAX_SKIPPED_KEYS:
                first, is_over = _behind(common), False
                break


class _Walk:
    """A listing of one bucket's keys with a prefix, from any key on."""

    def __init__(self, source: Source, bucket: str, prefix: str) -> None:
        self.prefix = prefix
        self._source = source
        self._bucket = bucket
        self._start = prefix.encode()
        self._sorted: SortedRows[Entry] | None = None
        self._directory = ""
        """The directory whose keys are the sorted rows."""

    def run(self, first: bytes) -> Iterator[Entry]:
        """Yield the entries whose keys sort at or behind `first`."""
        streams = [
            self._sorted_long(base, first)
            if form is LONG
            else self._stream(base, form, first)
            for base, form in bases(self._bucket)
        ]
        for _, entry in heapq.merge(*streams):
            yield entry

    def _stored(
        self, base: str, form: Form, first: bytes
    ) -> Iterator[tuple[str, ObjectInfo]]:
        """Yield stored names of one form, with few besides those of the wanted keys."""
        room = room_behind(base)
        text = form.prefix(self.prefix, room)
        if text is None:
            return iter(())
        floor, start = base + form.floor(first, room), base + text
        # MinIO lists nothing if it has to start outside the prefix.
        if floor.startswith(start):
            return self._source.list(start, floor)
        is_behind = floor.encode() > start.encode()
        return iter(()) if is_behind else self._source.list(start, "")

    def _stream(self, base: str, form: Form, first: bytes) -> Iterator[Keyed]:
        """Yield the keys of a form whose stored names sort like their keys."""
        start, bucket = self._start, self._bucket
        for name, info in self._stored(base, form, first):
            key = form.decode(name[len(base) :], info.headers)
            if key is None:  # another program's object: no key has this stored name
                continue
            data = key.encode()
            if not data.startswith(start):
                if data > start:
                    return
                continue
            is_ours = form is PLAIN or stored_name(bucket, key)[0].key == name
            if data >= first and is_ours:
                yield data, Entry(key, info)

    def _sorted_long(self, base: str, first: bytes) -> Iterator[Keyed]:
        """Yield the keys of the long form, sorting those that have the same beginning.

        If they are many, they stay sorted, for a listing that starts again among them.
        """
        if self._sorted and self._directory == base + LONG.floor(first, 0):
            yield from self._sorted.rows(first)
            first = LONG.behind(first)
        listed = self._stored(base, LONG, first)
        for directory, names in groupby(listed, lambda row: row[0].rpartition("/")[0]):
            keys = self._long_keys(base, names)
            found = sorted(islice(keys, SORTED_IN_MEMORY))
            if len(found) < SORTED_IN_MEMORY:
                yield from (row for row in found if row[0] >= first)
                continue
            self.close()
            self._sorted, self._directory = SortedRows(chain(found, keys)), directory
            yield from self._sorted.rows(first)

    def close(self) -> None:
        """Remove what was sorted. Idempotent."""
        if self._sorted:
            self._sorted.close()
            self._sorted = None

    def _long_keys(
        self, base: str, names: Iterator[tuple[str, ObjectInfo]]
    ) -> Iterator[Keyed]:
        for name, listed in names:
            info = self._with_key(name, listed)
            if info is None:
                continue
            key = LONG.decode(name[len(base) :], info.headers)
            if key is None:
                raise NodeProtocolError("a long key is not stored as it should be")
            data = key.encode()
            is_asked = data.startswith(self._start)
            if is_asked and stored_name(self._bucket, key)[0].key == name:
                yield data, Entry(key, info)

    def _with_key(self, name: str, info: ObjectInfo) -> ObjectInfo | None:
        """Return the info with the header that has the key; None: it was deleted."""
        if KEY_HEADER in info.headers:
            return info
        try:
            return self._source.head(ObjectName(BUCKET, name)).info
        except NoSuchKeyError:
            return None


def _common_prefix(key: str, prefix: str) -> str:
    """Return the key up to the first slash behind the prefix; "" without a slash."""
    return key[: key.find("/", len(prefix)) + 1]


def _behind(common: str) -> bytes:
    """Return the lowest bytes behind all keys with a prefix that ends in a slash."""
    return _bytes(common)[:-1] + b"0"  # the character after the slash


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogatepass")


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
