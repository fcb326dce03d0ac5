"""Buckets: whether one exists, making it and removing it. No HTTP, no listing.

A bucket exists while its *marker* does: a small object that is stored under the same
rules as any other object. Marker and objects are on different nodes, and nothing is
locked. So each side writes first and checks second:

- An upload stores its object, then checks the marker. No marker: no acknowledgement.
- A removal deletes the marker, then lists. Any object: it writes the marker again.

Therefore no acknowledged object is in a removed bucket. If the object was stored before
the removal began to list, the listing has it, and the bucket stays. Otherwise it was
stored after the marker was deleted, and the upload checks even later: it finds no
marker, unless a client has made the bucket again, and then the object is in the new
bucket.

A removal also writes the marker again if it fails, or can't tell whether the bucket is
empty. A bucket that is never empty never loses its marker, because a first listing
refuses the removal before anything is changed. If a bucket is made while it is being
removed, either of the two may count as the last, which is correct for concurrent
requests. If two removals overlap, one may succeed while the other writes the marker
again: then an empty bucket remains, or one with the objects stored meanwhile.

One case remains: a gateway may stop between the two steps of a removal, or fail to
write the marker again, while an upload has stored an object. Then the bucket has
objects but no marker. They can still be read under their names, and are in the bucket
when it is made again. The same holds for an object whose upload found no marker.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from amazin.cluster.bucket_listing import list_keys
from amazin.cluster.cluster import Cluster
from amazin.errors import BucketNotEmptyError, BucketNotFoundError, NoSuchKeyError
from amazin.model.bodies import HeldBody
from amazin.model.stored_names import marker_name

KNOWN_SECONDS = 2.0
"""How long a positive bucket check is cached, in seconds."""
MAX_KNOWN = 10_000
"""The maximum number of buckets in the cache."""
MARKER = HeldBody(b"amazin: this is a bucket\n")
MARKER_HEADERS = {"Content-Type": "text/plain"}


class Buckets:
    """The buckets of a cluster. Thread-safe; caches checks for `KNOWN_SECONDS`."""

    def __init__(
        self, cluster: Cluster, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._cluster = cluster
        self._clock = clock
        self._known: dict[str, float] = {}
        """By bucket: until when, on the clock, it is assumed to exist."""

    def is_there(self, bucket: str) -> bool:
        """Whether a bucket exists now. Raises: as `Cluster.head`, but for a miss."""
        try:
            self._cluster.head(marker_name(bucket))
        except NoSuchKeyError:
            self._known.pop(bucket, None)
            return False
        self._remember(bucket)
        return True

    def was_there(self, bucket: str) -> bool:
        """Whether a bucket exists, or existed within the last `KNOWN_SECONDS`."""
        return self._known.get(bucket, 0.0) > self._clock() or self.is_there(bucket)

    def make(self, bucket: str) -> None:
        """Make a bucket, unless it exists. Raises: as `Cluster.put`."""
        if not self.is_there(bucket):
            self._mark(bucket)

    def remove(self, bucket: str) -> None:
        """Remove an empty bucket.

        Raises:
            BucketNotFoundError: there is no such bucket.
            BucketNotEmptyError: it holds objects.
            NodeError, NoNodesError, ConflictError: not possible now; the bucket remains
                or was empty.
        """
        if not self.is_there(bucket):
            raise BucketNotFoundError
        if not self._is_empty(bucket):
            raise BucketNotEmptyError
        self._known.pop(bucket, None)
        try:
            self._cluster.delete(marker_name(bucket))
            is_empty = self._is_empty(bucket)
        except BaseException:
            self._mark(bucket)
            raise
        if not is_empty:
            self._mark(bucket)
            raise BucketNotEmptyError

    def _is_empty(self, bucket: str) -> bool:
        entries = list_keys(self._cluster, bucket)
        return next(entries, None) is None

    def _mark(self, bucket: str) -> None:
        self._cluster.put(marker_name(bucket), MARKER, MARKER_HEADERS)
        self._remember(bucket)

    def _remember(self, bucket: str) -> None:
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        self._known[bucket] = self._clock() + KNOWN_SECONDS
