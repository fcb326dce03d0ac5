"""What repair does and has found: an object that the nodes keep.

`amazin repair` writes it while it runs and at its end. `amazin status` and the gateways
show it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

from amazin.cluster.cluster import Cluster
from amazin.cluster.copy_counts import Copies
from amazin.cluster.stored_results import StoredResult, read_stored, write_stored
from amazin.model.stored_names import REPAIR_NAME

MOST_PROBLEMS = 20
SILENT_NS = 60 * 10**9
"""A run that has written nothing for so long does not run any more."""


@dataclass
class Left:
    """What a run could not mend: as it left the objects that it looked at."""

    under_replicated: int = 0
    """Objects that have too few whole copies."""
    misplaced: int = 0
    """Objects with enough copies, of which some are not where they belong."""
    unrepairable: int = 0
    """Objects of which no copy is whole: some of `waiting`."""
    waiting: int = 0
    """Objects and parts of objects that wait for another run, whatever the reason."""


@dataclass
class RepairRun:
    """What one run did. Times are Unix times in nanoseconds."""

    began_ns: int
    ended_ns: int = 0
    """0: it was not at its end when this was written."""
    objects: int = 0
    """Keys that were looked at."""
    copies: int = 0
    """Copies that were made."""
    bytes: int = 0
    """Their size."""
    removals: int = 0
    mended: int = 0
    under_replicated: int = 0
    """Objects that had too few whole copies when the run came to them."""
    misplaced: int = 0
    """Objects with enough copies, of which some were not where they belong."""
    waiting: int = 0
    """Objects and parts of objects that wait for another run."""
    is_whole: bool = False
    """Whether all nodes took part and all keys were listed."""
    is_well: bool = False
    """Whether nothing was left to be done."""
    problems: list[str] = field(default_factory=list)
    """The first of them, as sentences."""


@dataclass
class RepairResult(StoredResult):
    """The newest run, and what the last ones left to be known."""

    run: RepairRun
    written_ns: int = 0
    last: RepairRun | None = None
    """The last run that came to its end, be it `run`."""
    well_ns: int = 0
    """When the last run ended that left nothing to be done; 0: never."""
    counted_ns: int = 0
    """When all keys had been looked at, for `nodes` and `left`; 0: never."""
    nodes: dict[str, Copies] = field(default_factory=dict)
    """What lies on each node that took part."""
    left: Left = field(default_factory=Left)
    """What the last run left that looked at all keys."""

    @classmethod
    def of(cls, fields: dict[str, Any]) -> Self:
        """See `StoredResult`."""
        fields["run"] = RepairRun(**fields["run"])
        fields["last"] = RepairRun(**fields["last"]) if fields["last"] else None
        fields["left"] = Left(**fields.get("left", {}))
        nodes = fields["nodes"].items()
        fields["nodes"] = {name: Copies(**found) for name, found in nodes}
        return cls(**fields)

    @classmethod
    def never(cls) -> Self:
        """Return what is known before repair ever ran."""
        return cls(RepairRun(0))

    def is_running(self, now_ns: int) -> bool:
        """Whether the newest run is going on."""
        return not self.run.ended_ns and now_ns < self.written_ns + SILENT_NS


def read_repair(cluster: Cluster) -> RepairResult | None:
    """Return what repair has found; None: it never ran. Raises: as `Cluster.get`."""
    return read_stored(cluster, REPAIR_NAME, RepairResult)


def write_repair(cluster: Cluster, result: RepairResult) -> None:
    """Store what repair has found. Raises: as `Cluster.put`."""
    write_stored(cluster, REPAIR_NAME, result)
