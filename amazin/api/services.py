"""The services that handlers use."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from amazin.api.recent import Recent
from amazin.blobs.store import Blobs, ClusterBlobs
from amazin.cluster.buckets import Buckets
from amazin.cluster.cluster import Cluster
from amazin.cluster.large_objects import LargeObjectStore
from amazin.membership.states import State
from amazin.settings.settings import Settings
from amazin.status.viewer import Viewer
from amazin.web.access import Access
from amazin.web.messages import Served
from amazin.web.spool import SpoolRoom

if TYPE_CHECKING:  # it imports a library that is not needed without metrics
    from amazin.metrics.metrics import Metrics

STATES_SECONDS = 1.0
"""So old may the nodes' states be: whoever asks for them needs no credentials."""


class BlobServices(Served, Protocol):
    """The services of blob handlers."""

    @property
    def blobs(self) -> Blobs:
        """The store of blobs."""


@dataclass(frozen=True)
class Services:
    """The services of the gateway's handlers."""

    cluster: Cluster
    settings: Settings
    spool: SpoolRoom
    access: Access | None = None
    metrics: Metrics | None = None
    """None: nothing is counted."""

    def start(self) -> None:
        """See `Served`."""
        self.cluster.start()
        if self.metrics:
            self.metrics.start(self.spool)

    def close(self) -> None:
        """See `Served`."""
        self.cluster.close()
        self.spool.close()
        if self.metrics:
            self.metrics.close()

    @cached_property
    def objects(self) -> LargeObjectStore:
        """The cluster's objects as clients see them."""
        return LargeObjectStore(self.cluster, self.settings.chunk_bytes)

    @cached_property
    def blobs(self) -> ClusterBlobs:
        """The cluster as a store of blobs."""
        return ClusterBlobs(self.objects)

    @cached_property
    def buckets(self) -> Buckets:
        """The cluster's buckets, with this process's cache."""
        return Buckets(self.cluster)

    @cached_property
    def viewer(self) -> Viewer:
        """Shows the state of the cluster, and what repair has found."""
        return Viewer(self.cluster)

    def states(self) -> dict[str, State]:
        """Return the state of each node, as `Cluster.states` did a moment ago.

        Except that a node which failed since then is not told to answer.
        """
        states = self._recent_states.get()
        return {**states, **self.cluster.skipped(states)}

    @cached_property
    def _recent_states(self) -> Recent[dict[str, State]]:
        return Recent(self.cluster.states, STATES_SECONDS)
