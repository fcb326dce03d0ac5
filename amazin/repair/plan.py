"""Decides what has to be done for one key, given the copies on the nodes. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from amazin.cluster.placement import Placement, differ, is_valid
from amazin.model.objects import ObjectInfo

TOMBSTONE_BYTES = 64
"""A tombstone has at most this size."""
TOMBSTONE_NS = 24 * 3600 * 10**9
"""How long a tombstone is kept: a day."""

Seen = Mapping[str, ObjectInfo | None]
"""The info about each copy, by node; None: the node has no copy. Nodes that did not
answer are missing."""


@dataclass(frozen=True, slots=True)
class CopyStep:
    """Copy the newest version to one node."""

    sources: tuple[str, ...]
    """Nodes that hold it."""
    target: str
    info: ObjectInfo
    """About the copies of the sources."""
    if_match: str | None
    """The ETag of the target's copy; None: it has none."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What has to be done: first the copies; the removals after another look."""

    copies: Sequence[CopyStep] = ()
    removals: Sequence[tuple[str, str]] = ()
    """(node, ETag), in this order."""
    is_short: bool = False
    """Whether too few nodes of the home answered to hold all replicas."""
    is_torn: bool = False
    """Whether copies of the newest version have different bytes."""
    is_lost: bool = False
    """Whether the bytes of all copies of the newest version are damaged or gone."""
    is_scarce: bool = False
    """Whether an object has fewer whole copies than it should, wherever they are."""
    is_misplaced: bool = False
    """Whether it has enough, but some are not where they belong."""


def is_well(
    placement: Placement, listed: Mapping[str, ObjectInfo], present: Set[str]
) -> bool:
    """Whether the listings show that nothing has to be done for an object.

    `present` are the nodes that take part. Listings show no versions, so the result is
    False while the set of nodes changes or a home is being refilled, and for objects
    that may be tombstones.
    """
    if placement.roster.next or any(member.is_lost for member in placement.home):
        return False
    if any(i.size <= TOMBSTONE_BYTES or i.is_damaged for i in listed.values()):
        return False
    home = [member.name for member in placement.home]
    best = [name for name in home[: placement.replicas] if name in present]
    if not listed.keys() <= set(home) or not listed.keys() >= set(best):
        return False
    if len(listed) < placement.replicas:
        return False
    return len({(info.size, info.etag) for info in listed.values()}) == 1


def plan(placement: Placement, seen: Seen, is_complete: bool, now_ns: int) -> Plan:
    """Return what has to be done for one key.

    `is_complete`: all nodes take part, so that copies may be removed.
    """
    held = {name: info for name, info in seen.items() if info}
    home = [member.name for member in placement.home]
    valid = {
        name: info for name, info in held.items() if is_valid(placement, name, info)
    }
    if not valid:
        ours = {name: info for name, info in held.items() if info.label}
        return Plan(removals=_removals(ours, home) if is_complete else ())
    best = max(valid.values(), key=lambda info: info.version)
    newest = [n for n in valid if valid[n].version == best.version]
    if not best.is_deleted and differ([(name, valid[name]) for name in newest]):
        return Plan(is_torn=True)
    sources = whole(valid, best) or whole(held, best)
    if not sources:
        return Plan(is_lost=True)
    good = [name for name in home if name in valid and name in sources]
    if is_complete and is_outdated(placement, best, now_ns):
        return Plan(removals=_removals(held, home, best))
    stale = [name for name in home if name in held and name not in good]
    free = missing(placement, home, seen, len(good) + len(stale))
    copies = [
        CopyStep(sources, name, best, held[name].etag if name in held else None)
        for name in (*stale, *free)
    ]
    is_short = len(good) + len(copies) < placement.replicas
    outside = {name: info for name, info in held.items() if name not in home}
    may_go = is_complete and not copies and not is_short
    removals = _removals(outside, home) if may_go else ()
    is_scarce = not best.is_deleted and len(sources) < placement.replicas
    is_misplaced = not (best.is_deleted or is_scarce) and bool(copies or outside)
    return Plan(
        copies, removals, is_short, is_scarce=is_scarce, is_misplaced=is_misplaced
    )


def whole(held: Mapping[str, ObjectInfo], best: ObjectInfo) -> tuple[str, ...]:
    """Return the nodes with a copy of this version whose bytes are not known as lost.

    Nobody reads the bytes of a tombstone.
    """
    return tuple(
        name
        for name, info in held.items()
        if info.version == best.version and (info.is_deleted or not info.is_damaged)
    )


def missing(
    placement: Placement, home: Sequence[str], seen: Seen, count: int
) -> list[str]:
    """Return the nodes of the home that need a copy; `count` others have one.

    These are the `r` best, and the next ones while some of the best don't answer.
    """
    replicas = placement.replicas
    empty = [name for name in home if name in seen and seen[name] is None]
    best = [name for name in empty if name in home[:replicas]]
    others = [name for name in empty if name not in best]
    return best + others[: max(0, replicas - count - len(best))]


def is_outdated(placement: Placement, best: ObjectInfo, now_ns: int) -> bool:
    """Whether the object was deleted so long ago that its tombstone may go."""
    if not best.is_deleted or not placement.roster.is_settled:
        return False
    return now_ns - best.version[0].nanoseconds > TOMBSTONE_NS


def _removals(
    held: Mapping[str, ObjectInfo],
    home: Sequence[str],
    newest: ObjectInfo | None = None,
) -> list[tuple[str, str]]:
    """Return (node, ETag) of copies, in the order in which to remove them.

    The newest version is the last, so that older ones never become the newest; and
    within one version, the home is the last.
    """

    def order(name: str) -> tuple[bool, bool, str]:
        is_newest = newest is not None and held[name].version == newest.version
        return (is_newest, name in home, name)

    return [(name, held[name].etag) for name in sorted(held, key=order)]
