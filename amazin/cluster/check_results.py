"""What a check of all copies has found so far: an object that the nodes keep.

`amazin repair --check` writes it, and goes on from it after it was stopped; `amazin
status` shows it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from amazin.cluster.cluster import Cluster
from amazin.cluster.stored_results import StoredResult, read_stored, write_stored
from amazin.model.stored_names import CHECK_NAME

MOST_LOST_NAMES = 20


@dataclass
class CheckResult(StoredResult):
    """A check; grows while it runs. Times are Unix times in nanoseconds."""

    began_ns: int
    ended_ns: int = 0
    """0: it was not at its end when this was written."""
    written_ns: int = 0
    after: str = ""
    """The stored key up to which all copies were read."""
    copies: int = 0
    """Copies that were read, as far as they can be."""
    size: int = 0
    """Their bytes."""
    unread: int = 0
    """Copies that could not be read, because a node failed."""
    damaged: int = 0
    """Copies whose bytes are damaged or gone."""
    mended: int = 0
    """Those of them that were replaced."""
    lost: int = 0
    """Objects of which no copy is whole."""
    lost_names: list[str] = field(default_factory=list)
    """Of the first of these, as people know them."""
    is_whole: bool = True
    """Whether all nodes took part."""


def read_result(cluster: Cluster) -> CheckResult | None:
    """Return the last check; None: there was none. Raises: as `Cluster.get`."""
    return read_stored(cluster, CHECK_NAME, CheckResult)


def write_result(cluster: Cluster, result: CheckResult) -> None:
    """Store what was found. Raises: as `Cluster.put`."""
    write_stored(cluster, CHECK_NAME, result)
