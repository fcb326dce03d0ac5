"""Finds the newest version of an object, by a roster that may be acted on.

An answer counts only if the roster by which the nodes were asked may still be acted on
when they have answered: no request is too slow to be right.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from amazin.cluster.placement import Placement, Quorum, differ, newest, place
from amazin.cluster.quorum import ask
from amazin.errors import (
    ConflictError,
    NodeAccessError,
    NodeError,
    NodeProtocolError,
    NoNodesError,
    NoSuchKeyError,
)
from amazin.membership.member import Member
from amazin.membership.membership import Membership, Snapshot
from amazin.membership.roster import Roster
from amazin.model.objects import ObjectInfo, ObjectName
from amazin.nodes.interface import NodeObject

MAX_ATTEMPTS = 3
"""How often a request starts anew because the object or the roster changed."""


@dataclass(slots=True)
class Placed:
    """Where an object's copies lie, by the nodes as they were seen."""

    snapshot: Snapshot
    placement: Placement


@dataclass(slots=True)
class Found:
    """The newest version of an object, as a read quorum knows it."""

    placed: Placed
    copies: list[tuple[str, ObjectInfo]]
    """Name of the node, and what it holds; empty: there is no such object."""
    seen: Mapping[str, ObjectInfo | None]
    """What each node that was asked holds."""
    content: NodeObject | None = None
    """The first of the copies, if it was opened."""

    @property
    def info(self) -> ObjectInfo:
        """What the object is. Raises: NoSuchKeyError, also if it was deleted."""
        if not self.copies or self.copies[0][1].is_deleted:
            raise NoSuchKeyError("no such object")
        return self.copies[0][1]

    @property
    def member(self) -> Member:
        """The node that has it; if none does, the first one that was asked."""
        if not self.copies:
            return self.placed.placement.quorums[0].members[0]
        return self.placed.snapshot.members[self.copies[0][0]]


class Lookup:
    """Where objects are. Stateless."""

    def __init__(self, membership: Membership) -> None:
        self.membership = membership

    def find(
        self,
        name: ObjectName,
        *,
        opens: bool = False,
        is_write: bool = False,
        placed: Placed | None = None,
    ) -> Found:
        """Ask a read quorum, or two while the set of nodes changes.

        With `opens` the content is open, if the node that was asked for it has it.
        With `is_write` copies may differ that should be the same: they are written
        over. `placed` is where the object is, if that was just worked out.

        Raises: NodeError, NoNodesError, ConflictError, if it can't be told now.
        """
        for _ in range(MAX_ATTEMPTS):
            placed = placed or self.place(name)
            try:
                found = self._ask(name, placed, opens)
            except NodeAccessError as exc:
                if not self.has_new_keys(exc.node, placed.snapshot):
                    raise
                placed = None
                continue
            is_torn = not is_write and len(found.copies) > 1 and differ(found.copies)
            if not is_torn and self.still_holds(placed.snapshot):
                return found
            if found.content:
                found.content.close()
            if is_torn:
                raise NodeProtocolError("copies of one version are not the same")
            placed = None
        raise ConflictError("the set of nodes keeps changing")

    def _ask(self, name: ObjectName, placed: Placed, opens: bool) -> Found:
        answers = ask(
            placed.placement.quorums,
            lambda node: node.start_head(name),
            (lambda node: node.start_get(name)) if opens else None,
        )
        seen: dict[str, ObjectInfo | None] = {}
        opened: dict[str, NodeObject] = {}
        for node, answer in answers.items():
            if answer is None or isinstance(answer, ObjectInfo):
                seen[node] = answer
            else:
                seen[node], opened[node] = answer.info, answer
        copies = newest(placed.placement, seen.items())
        content = opened.pop(copies[0][0], None) if copies else None
        for other in opened.values():
            other.close()
        return Found(placed, copies, seen, content)

    def is_gone(self, name: ObjectName) -> bool:
        """Whether every node where it might lie says that there is no such object.

        A read quorum is not enough: what a failed upload left on another node would be
        there again although a delete was acknowledged.
        """
        placed = self.place(name)
        quorums = placed.placement.quorums
        everyone = [Quorum(q.members, len(q.members)) for q in quorums]
        try:
            answers = ask(everyone, lambda node: node.start_head(name))
        except NodeError:
            return False
        seen = [(node, info_of(answer)) for node, answer in answers.items()]
        held = [info for _, info in newest(placed.placement, seen)]
        is_deleted = all(info.is_deleted for info in held)
        is_safe = not held or len(held) >= placed.placement.replicas
        return is_deleted and is_safe and self.still_holds(placed.snapshot)

    def place(self, name: ObjectName) -> Placed:
        """Return where an object's copies lie.

        Raises:
            NoSuchKeyError: nothing was ever stored.
            NoNodesError: it is not known now.
        """
        snapshot, roster = self.current()
        return Placed(snapshot, place(roster, snapshot.members, name.hash_key))

    def place_for_write(self, name: ObjectName) -> Placed:
        """Return where an object's copies lie; nodes become a cluster if need be.

        Raises: NoNodesError, also if it can't be written to now.
        """
        snapshot, roster = self._current_for_write()
        placement = place(roster, snapshot.members, name.hash_key)
        if not placement.home:  # maybe another gateway has made a cluster of them now
            self.membership.refresh()
            snapshot, roster = self._current_for_write()
            placement = place(roster, snapshot.members, name.hash_key)
        require_home(placement)
        return Placed(snapshot, placement)

    def current(self) -> tuple[Snapshot, Roster]:
        """Return the nodes, and a roster that may be acted on. Raises: as `place`."""
        snapshot = self.membership.fresh_snapshot()
        roster = snapshot.roster
        if roster is None and snapshot.is_empty:
            raise NoSuchKeyError("nothing is stored yet")
        if roster is None or not self.membership.is_fresh(snapshot):
            raise NoNodesError(snapshot.reason)
        return snapshot, roster

    def _current_for_write(self) -> tuple[Snapshot, Roster]:
        snapshot = self.membership.fresh_snapshot()
        if snapshot.roster is None:
            snapshot = self.membership.bootstrap()
        roster = snapshot.roster
        if roster is None or not self.membership.is_fresh(snapshot):
            raise NoNodesError(snapshot.reason)
        return snapshot, roster

    def still_holds(self, snapshot: Snapshot) -> bool:
        """Whether what was found by this roster may be told to a client."""
        now = self.membership.fresh_snapshot()
        if now is not snapshot and (now.roster, now.lost) != (
            snapshot.roster,
            snapshot.lost,
        ):
            return False
        return self.membership.is_fresh(now)

    def same_write_set(self, placed: Placed, members: Iterable[Member]) -> bool:
        """Whether writes still go by the same set, and no copy was lost."""
        now = self.membership.fresh_snapshot()
        if now is not placed.snapshot and (
            now.roster is None
            or now.roster.write_set != placed.placement.roster.write_set
            or not now.lost.isdisjoint(member.name for member in members)
        ):
            return False
        return self.membership.is_fresh(now)

    def has_new_keys(self, node: str, before: Snapshot) -> bool:
        """Whether a node that refused its keys may be asked with others now."""
        self.membership.refresh()
        now = self.membership.snapshot().members
        return now.get(node) is not before.members.get(node)


def info_of(answer: ObjectInfo | NodeObject | None) -> ObjectInfo | None:
    """Return what an answer says of the object."""
    if answer is None or isinstance(answer, ObjectInfo):
        return answer
    return answer.info


def require_home(placement: Placement) -> None:
    """Return if a placement can be written to. Raises: NoNodesError."""
    if not placement.home:
        raise NoNodesError("The set of nodes is changing; try again in a moment")
    if len(placement.home) < placement.replicas:
        raise NoNodesError(
            f"{placement.replicas} nodes are needed, {len(placement.home)} are known"
        )
