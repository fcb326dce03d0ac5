"""Which nodes hold a key, and how many of them must be asked. Sends no requests.

`r` copies are written to the home, which is the first `m = min(2r-1, n)` nodes of a
key's ranking, and `m-r+1` nodes of it are read: the two always have a node in common.
While the set of nodes changes there are two homes, and a read needs enough nodes of
each.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from amazin.membership.member import Member
from amazin.membership.roster import NodeSet, Roster
from amazin.model.objects import ObjectInfo


@dataclass(slots=True)
class Quorum:
    """A read needs `needed` of these nodes to answer, preferably the first ones."""

    members: Sequence[Member]
    needed: int


@dataclass(slots=True)
class Placement:
    """Where the copies of one key are, according to one roster."""

    roster: Roster
    home: Sequence[Member]
    """The nodes for writes, best score first; empty: writes have to wait."""
    quorums: Sequence[Quorum]
    """A read needs all of these quorums."""
    old_home: frozenset[str] | None
    """Node names of the settled home, where copies of any epoch count; None: no change
    is under way, or nothing is settled."""

    @property
    def replicas(self) -> int:
        """The number of nodes of the home that must have a write."""
        return self.roster.replicas

    @property
    def epoch(self) -> int:
        """The epoch in the label of copies that are written now."""
        nodes = self.roster.write_set
        return nodes.epoch if nodes else 0

    @property
    def is_single(self) -> bool:
        """Whether there is one copy, which can be on one node only."""
        return self.roster.next is None and self.roster.replicas == 1

    def counts(self, name: str, epoch: int) -> bool:
        """Whether a copy on this node is part of the object.

        Outside the settled home, only copies that were written for the next set are:
        older ones are leftovers.
        """
        if self.old_home is None or self.roster.next is None:
            return True
        return name in self.old_home or epoch == self.roster.next.epoch


def place(roster: Roster, members: Mapping[str, Member], hash_key: bytes) -> Placement:
    """Return the placement of a key."""
    settled, coming = roster.settled, roster.next
    if settled is None:
        names = roster.newest.ranker.rank(hash_key)
        names += sorted(roster.holders.difference(names))
        all_members = [members[name] for name in names]
        lost = [member for member in all_members if member.is_lost]
        if len(lost) < roster.newest.replicas:  # other nodes have copies of their data
            all_members = [m for m in all_members if not m.is_lost]
        everyone = Quorum(all_members, len(all_members))
        home = _home(roster.newest, members, hash_key) if roster.is_open else ()
        return Placement(roster, home, (everyone,), None)
    old = list(map(members.__getitem__, settled.home(hash_key)))
    if roster.forgotten:
        old = [member for member in old if member.name not in roster.forgotten]
    quorums = [Quorum(old, min(settled.read_count, len(old)))]
    if coming is None:
        return Placement(roster, old, quorums, None)
    new = _home(coming, members, hash_key)
    quorums.append(Quorum(new, coming.read_count))
    names_of_old = frozenset(member.name for member in old)
    if roster.is_open:
        return Placement(roster, new, quorums[::-1], names_of_old)
    return Placement(roster, old, quorums, names_of_old)


def _home(
    nodes: NodeSet, members: Mapping[str, Member], hash_key: bytes
) -> list[Member]:
    return list(map(members.__getitem__, nodes.home(hash_key)))


def newest(
    placement: Placement, infos: Iterable[tuple[str, ObjectInfo | None]]
) -> list[tuple[str, ObjectInfo]]:
    """Return the copies of the newest version that count, in the order given."""
    counting = []
    for name, info in infos:
        if info and (placement.old_home is None or placement.counts(name, info.epoch)):
            counting.append((name, info))
    if len(counting) < 2:
        return counting
    versions = [info.version for _, info in counting]
    best = max(versions)
    return [
        copy
        for copy, version in zip(counting, versions, strict=True)
        if version == best
    ]


def differ(copies: Sequence[tuple[str, ObjectInfo]]) -> bool:
    """Whether copies that a gateway stored as one version have different bytes."""
    return (
        len(copies) > 1
        and len({(info.size, info.etag) for _, info in copies if info.label}) > 1
    )


def is_valid(placement: Placement, name: str, info: ObjectInfo) -> bool:
    """Whether a copy may be part of the object, rather than a leftover.

    Acknowledged versions are in the settled home. So a copy on any other node is at
    most the rest of an upload or of a move.
    """
    if placement.roster.settled and not placement.roster.next:
        return any(member.name == name for member in placement.home)
    return placement.counts(name, info.epoch)
