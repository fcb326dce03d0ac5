"""Removes every copy of an object: a deletion on nodes too full for tombstones.

A tombstone is an upload, which a full node refuses, although it would take a delete. If
*every* node that may hold the object answers, none is needed: the copies are removed,
and then all these nodes confirm that they hold none. So no node can bring the object
back. If a node does not answer, nothing is removed: it may hold a copy.

What a tombstone can do, and a removal can't: tell later writes the stamp of what was
deleted, if a node fails between its answer and the removal, and the clocks of gateways
differ; and stop a `repair` that is copying the object at this moment.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import suppress

from amazin.cluster.lookup import Lookup
from amazin.errors import ConflictError, NodeError, PreconditionError
from amazin.membership.member import Member
from amazin.model.objects import ObjectInfo, ObjectName, Stamp

MAX_LOOKS = 5
"""How often the nodes are asked, while copies of the object keep arriving."""


def remove_everywhere(lookup: Lookup, name: ObjectName, stamp: Stamp) -> Member:
    """Remove all copies up to a stamp; returns a node that confirmed it.

    What is newer was stored after the deletion began, and stays, however slow this
    process was. The oldest go first, so what remains says the same until the last one
    is removed. A tombstone must not remain on fewer nodes than a write needs: its stamp
    could be greater than that of a later write which did not see it.

    Raises:
        NodeError, NoNodesError: a node failed; if it did so late, copies may be gone.
        ConflictError: copies kept arriving, or the set of nodes kept changing.
    """
    for _ in range(MAX_LOOKS):
        placed = lookup.place(name)
        members = placed.snapshot.members
        seen = lookup.ask_everyone(name, placed)
        held = [
            (info, node)
            for node, info in seen.items()
            if info and info.version[0] <= stamp
        ]
        if not held and lookup.still_holds(placed.snapshot):
            return members[next(iter(seen))]
        for info, node in sorted(held, key=lambda copy: copy[0].version):
            remove(members[node], name, info)
    raise ConflictError("the object keeps changing")


def make_room(members: Iterable[Member], name: ObjectName, deleted: ObjectInfo) -> None:
    """Remove older copies from full nodes: enough others hold the tombstone `deleted`.

    Nodes that fail keep theirs, which no read returns.
    """
    for member in members:
        with suppress(NodeError):
            held = member.head(name) if member.is_full else None
            if held and held.version < deleted.version:
                remove(member, name, held)


def remove(member: Member, name: ObjectName, seen: ObjectInfo) -> None:
    """Remove a copy, unless another version has replaced it. Raises: NodeError."""
    held = member.head(name)  # the last moment: MinIO ignores If-Match
    if held is None or held.version != seen.version:
        return
    with suppress(PreconditionError):
        member.call(lambda node: node.start_delete(name, if_match=seen.etag))
    member.tried_at = -math.inf  # it may have room now
