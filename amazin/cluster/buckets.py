"""Buckets: which there are, and how one is made and removed. No HTTP, no listing.

A bucket exists while its *marker* does: a small object, stored under the same rules as
any other. Markers and objects lie on different nodes and nothing is locked, so each
side writes first and looks second:

- An upload stores its object, then looks for the marker; gone: no acknowledgement.
- A removal deletes the marker, then lists; something there: it puts the marker back.

No acknowledged object is in a bucket that was removed: if the object was stored before
the removal began to list, the listing shows it, and the bucket stays. If not, it was
stored after the marker was deleted, and the upload looks later still: it finds no
marker, unless somebody has made the bucket anew, and then the object is in that one.

A removal that fails, or can't tell whether the bucket is empty, puts the marker back,
too. A bucket that holds something all the time is never without its marker: a first
look refuses the removal before anything is touched. Making a bucket while it is being
removed is either made before the removal (and gone, if empty) or after it (and there):
both are true of two requests at the same time. If two removals overlap, one may say
"removed" and the other put the marker back: then there is an empty bucket, or one with
what was stored meanwhile.

What remains: a gateway that dies between the two steps of a removal, or can't put the
marker back, leaves a bucket without marker which an upload has entered meanwhile. Its
objects are still read under their names, and are in the bucket when it is made again;
so is what an upload had stored before it learned that the bucket was gone.
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
"""Buckets that are remembered at once."""
MARKER = HeldBody(b"amazin: this is a bucket\n")
MARKER_HEADERS = {"Content-Type": "text/plain"}


class Buckets:
    """The buckets of a cluster. Thread-safe; forgets within `KNOWN_SECONDS`."""

    def __init__(
        self, cluster: Cluster, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._cluster = cluster
        self._clock = clock
        self._known: dict[str, float] = {}
        """Until when, on the clock, a bucket is taken to exist."""

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
        """Whether a bucket existed within the last `KNOWN_SECONDS`."""
        return self._known.get(bucket, 0.0) > self._clock() or self.is_there(bucket)

    def make(self, bucket: str) -> None:
        """Make a bucket; that it is there already is fine. Raises: as `Cluster.put`."""
        if not self.is_there(bucket):
            self._mark(bucket)

    def remove(self, bucket: str) -> None:
        """Remove a bucket that is empty.

        Raises:
            BucketNotFoundError: there is none.
            BucketNotEmptyError: it holds objects.
            NodeError, NoNodesError, ConflictError: it can't be told now; the bucket
                stays, or else was empty.
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
