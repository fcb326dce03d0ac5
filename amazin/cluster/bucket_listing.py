"""The keys of a bucket in their order, out of the names that are stored.

Names of one form (`model/stored_names.py`) are in the order of their keys, but for
those of the long form; so a listing merges one stream for each form, as they come, in
constant memory. Knows nothing of nodes: a source gives it stored names in byte order.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from itertools import groupby
from typing import NamedTuple, Protocol

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

PATIENCE = 300
"""So many keys of one common prefix are skipped before listing anew behind it."""
SORTED_AT_ONCE = 1000
"""Long keys with the same beginning that are held in memory."""


class Entry(NamedTuple):
    """A key and its object, or a common prefix of keys."""

    key: str
    info: ObjectInfo | None
    """None: a common prefix."""


class HasInfo(Protocol):
    """What is told of one object."""

    @property
    def info(self) -> ObjectInfo:
        """What the object is."""


class Source(Protocol):
    """Where stored names come from: a cluster."""

    def list(self, prefix: str, after: str) -> Iterator[tuple[str, ObjectInfo]]:
        """Yield stored keys that start with `prefix` and sort behind `after`.

        In byte order, each with what the newest version is, none that was deleted.
        """

    def head(self, name: ObjectName) -> HasInfo:
        """Find one object. Raises: NoSuchKeyError."""


Keyed = tuple[bytes, Entry]
"""An entry behind what it is sorted by: its key in UTF-8."""


def list_keys(
    source: Source,
    bucket: str,
    prefix: str = "",
    after: str = "",
    recursive: bool = True,
) -> Iterator[Entry]:
    """Yield the keys that start with `prefix` and sort behind `after`, in key order.

    The order is that of UTF-8 bytes; both may be any text. Without `recursive` keys
    with a slash behind the prefix are given as one entry, the common prefix up to and
    including that slash, unless it is not behind `after`.

    Raises: as the source, also in the middle.
    """
    start = _bytes(prefix)
    first = max(start, _bytes(after) + b"\0" if after else b"")
    if not recursive and after.startswith(prefix):
        common = _common_prefix(after, prefix)
        first = _behind(common) if common else first
    if first.startswith(start) and len(start) <= MAX_KEY_BYTES and _is_utf8(prefix):
        if recursive:
            yield from _Walk(source, bucket, prefix).run(first)
        else:
            yield from _collapsed(_Walk(source, bucket, prefix), first)


def _collapsed(walk: _Walk, first: bytes) -> Iterator[Entry]:
    """Yield the keys behind `first` and, once each, their common prefixes."""
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
            elif (skipped := skipped + 1) >= PATIENCE:
                first, is_over = _behind(common), False
                break


class _Walk:
    """A listing of one bucket's keys with a prefix, from any place on."""

    def __init__(self, source: Source, bucket: str, prefix: str) -> None:
        self.prefix = prefix
        self._source = source
        self._bucket = bucket
        self._start = prefix.encode()

    def run(self, first: bytes) -> Iterator[Entry]:
        """Yield entries of keys that sort at or behind `first`."""
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
        """Yield stored names, hardly more than those of the keys that are asked for."""
        room = room_behind(base)
        text = form.prefix(self.prefix, room)
        if text is None:
            return iter(())
        floor = base + form.floor(first, room)
        # MinIO lists nothing behind a place that is outside the prefix.
        after = floor if floor.startswith(base + text) else ""
        return self._source.list(base + text, after)

    def _stream(self, base: str, form: Form, first: bytes) -> Iterator[Keyed]:
        """Yield keys that are stored in their order."""
        start, bucket = self._start, self._bucket
        for name, info in self._stored(base, form, first):
            key = form.decode(name[len(base) :], info.headers)
            if key is None:  # not ours: no key has this name
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
        """Yield keys that are stored in their order but for those with one beginning.

        Of those a few at a time are held; while there are more, they are all listed
        again.
        """
        listed = self._stored(base, LONG, first)
        for directory, names in groupby(listed, lambda row: row[0].rpartition("/")[0]):
            group, lowest = iter(names), first
            while True:
                found = heapq.nsmallest(
                    SORTED_AT_ONCE, self._long_keys(base, group, lowest)
                )
                yield from found
                if len(found) < SORTED_AT_ONCE:
                    break
                lowest = found[-1][0] + b"\0"
                group = self._source.list(directory + "/", "")

    def _long_keys(
        self, base: str, names: Iterator[tuple[str, ObjectInfo]], first: bytes
    ) -> Iterator[Keyed]:
        for name, listed in names:
            info = self._with_key(name, listed)
            if info is None:
                continue
            key = LONG.decode(name[len(base) :], info.headers)
            if key is None:
                raise NodeProtocolError("a long key is not stored as it should be")
            data = key.encode()
            is_asked = data.startswith(self._start) and data >= first
            if is_asked and stored_name(self._bucket, key)[0].key == name:
                yield data, Entry(key, info)

    def _with_key(self, name: str, info: ObjectInfo) -> ObjectInfo | None:
        """Return what an object is with the header that has its key; None: deleted."""
        if KEY_HEADER in info.headers:
            return info
        try:
            return self._source.head(ObjectName(BUCKET, name)).info
        except NoSuchKeyError:
            return None


def _common_prefix(key: str, prefix: str) -> str:
    """Return the key up to the first slash behind the prefix, or nothing."""
    return key[: key.find("/", len(prefix)) + 1]


def _behind(common: str) -> bytes:
    """Return the first bytes behind all keys with a prefix that ends in a slash."""
    return _bytes(common)[:-1] + b"0"  # what comes behind the slash


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogatepass")


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
