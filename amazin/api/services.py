"""What the handlers of all APIs work with."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from amazin.blobs.store import Blobs, ClusterBlobs
from amazin.cluster.buckets import Buckets
from amazin.cluster.cluster import Cluster
from amazin.cluster.large_objects import LargeObjectStore
from amazin.settings.settings import Settings
from amazin.web.messages import Served
from amazin.web.spool import SpoolRoom


class BlobServices(Served, Protocol):
    """What handlers of blobs work with."""

    @property
    def blobs(self) -> Blobs:
        """Where the blobs are."""


@dataclass(frozen=True)
class Services:
    """What handlers of the gateway work with."""

    cluster: Cluster
    settings: Settings
    spool: SpoolRoom

    def close(self) -> None:
        """See `Served`."""
        self.cluster.close()
        self.spool.close()

    @cached_property
    def objects(self) -> LargeObjectStore:
        """The cluster's objects as clients know them."""
        return LargeObjectStore(self.cluster, self.settings.chunk_bytes)

    @cached_property
    def blobs(self) -> ClusterBlobs:
        """The objects as a store of blobs."""
        return ClusterBlobs(self.objects)

    @cached_property
    def buckets(self) -> Buckets:
        """What this process knows of the cluster's buckets."""
        return Buckets(self.cluster)
