"""Finds the newest version of an object, by a roster that is valid.

A response counts only if the roster by which the nodes were chosen is still valid after
they have answered. So even a very slow request is answered correctly.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from amazin.cluster.placement import Placement, Quorum, differ, newest, place
from amazin.cluster.quorum import ask, ask_widely
from amazin.errors import (
    ConflictError,
    NodeAccessError,
    NodeError,
    NodeProtocolError,
    NoNodesError,
    NoSuchKeyError,
)
from amazin.membership.member import Member
from amazin.membership.membership import Membership
from amazin.membership.roster import Roster
from amazin.membership.snapshot import Snapshot
from amazin.model.objects import ObjectInfo, ObjectName
from amazin.nodes.interface import Node, NodeObject, Pending

MAX_ATTEMPTS = 3
"""How often a request starts again because the object or the roster changed."""


@dataclass(slots=True)
class Placed:
    """The placement of an object, and the snapshot of the nodes that it is based on."""

    snapshot: Snapshot
    placement: Placement


@dataclass(slots=True)
class Found:
    """The newest version of an object, according to a read quorum."""

    placed: Placed
    copies: list[tuple[str, ObjectInfo]]
    """Node name and info of each copy; empty: there is no such object."""
    seen: Mapping[str, ObjectInfo | None]
    """The info from each node that was asked; None: the node has no such object."""
    content: NodeObject | None = None
    """The first of the copies, if it was opened."""
    is_wide: bool = False
    """Whether all nodes were asked; those that failed are not in `seen`."""

    @property
    def info(self) -> ObjectInfo:
        """The object's info. Raises: NoSuchKeyError, also if the object was deleted."""
        if not self.copies or self.copies[0][1].is_deleted:
            raise NoSuchKeyError("no such object")
        return self.copies[0][1]

    @property
    def member(self) -> Member:
        """The node with the first copy; without copies, the first one asked."""
        if not self.copies:
            return self.placed.placement.quorums[0].members[0]
        return self.placed.snapshot.members[self.copies[0][0]]


class Lookup:
    """Finds objects on the nodes. Stateless."""

    def __init__(self, membership: Membership) -> None:
        self.membership = membership

    def find(
        self,
        name: ObjectName,
        *,
        opens: bool = False,
        asks_all: bool = False,
        is_write: bool = False,
        placed: Placed | None = None,
    ) -> Found:
        """Ask a read quorum, or two quorums while the set of nodes changes.

        With `opens`, the content is open if the first node has the newest version. With
        `asks_all`, all nodes are asked: one outside the quorum may have a newer version
        of a failed upload. With `is_write`, copies of one version may differ, because
        they will be overwritten. `placed` is the object's placement, if the caller
        knows it.

        Raises: NodeError, NoNodesError, ConflictError, if this is not possible now.
        """
        for _ in range(MAX_ATTEMPTS):
            placed = placed or self.place(name)
            try:
                found = self._ask(name, placed, opens, asks_all)
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

    def _ask(
        self, name: ObjectName, placed: Placed, opens: bool, asks_all: bool
    ) -> Found:
        def start(node: Node) -> Pending[ObjectInfo]:
            return node.start_head(name)

        quorums = placed.placement.quorums
        if asks_all:
            answers = ask_widely(quorums, start)
        else:
            start_get = (lambda node: node.start_get(name)) if opens else None
            answers = ask(quorums, start, start_get)
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
        return Found(placed, copies, seen, content, asks_all)

    def is_gone(self, name: ObjectName) -> bool:
        """Whether every node that might have the object answers that it has none.

        Enough tombstones count as none. A read quorum is not enough: a failed upload
        may have left a copy on another node, and that object would be back although its
        deletion was acknowledged.
        """
        placed = self.place(name)
        try:
            seen = self.ask_everyone(name, placed)
        except NodeError:
            return False
        held = [info for _, info in newest(placed.placement, seen.items())]
        is_deleted = all(info.is_deleted for info in held)
        is_safe = not held or len(held) >= placed.placement.replicas
        return is_deleted and is_safe and self.still_holds(placed.snapshot)

    def ask_everyone(
        self, name: ObjectName, placed: Placed
    ) -> dict[str, ObjectInfo | None]:
        """Return what every node that may have the object holds, by name.

        Raises: NodeError, NoNodesError, if one of them does not answer.
        """
        quorums = placed.placement.quorums
        everyone = [Quorum(q.members, len(q.members)) for q in quorums]
        answers = ask(everyone, lambda node: node.start_head(name))
        return {node: info_of(answer) for node, answer in answers.items()}

    def place(self, name: ObjectName) -> Placed:
        """Return the placement of an object.

        Raises:
            NoSuchKeyError: nothing was ever stored.
            NoNodesError: the placement is unknown now.
        """
        snapshot, roster = self.current()
        return Placed(snapshot, place(roster, snapshot.members, name.hash_key))

    def place_for_write(self, name: ObjectName) -> Placed:
        """Return the placement of an object; empty nodes become a cluster.

        Raises: NoNodesError, also if the object can't be written now.
        """
        snapshot, roster = self._current_for_write()
        placement = place(roster, snapshot.members, name.hash_key)
        if not placement.home:  # another gateway may have formed the cluster meanwhile
            self.membership.refresh()
            snapshot, roster = self._current_for_write()
            placement = place(roster, snapshot.members, name.hash_key)
        require_home(placement)
        return Placed(snapshot, placement)

    def current(self) -> tuple[Snapshot, Roster]:
        """Return the nodes and a valid roster. Raises: as `place`."""
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
        """Whether results that were read by this snapshot's roster are still valid."""
        now = self.membership.fresh_snapshot()
        if now is not snapshot and (now.roster, now.lost) != (
            snapshot.roster,
            snapshot.lost,
        ):
            return False
        return self.membership.is_fresh(now)

    def same_write_set(self, placed: Placed, members: Iterable[Member]) -> bool:
        """Whether writes still use the same set, and no node here lost its disk."""
        now = self.membership.fresh_snapshot()
        if now is not placed.snapshot and (
            now.roster is None
            or now.roster.write_set != placed.placement.roster.write_set
            or not now.lost.isdisjoint(member.name for member in members)
        ):
            return False
        return self.membership.is_fresh(now)

    def has_new_keys(self, node: str, before: Snapshot) -> bool:
        """Whether a node that refused the gateway's keys has new keys now."""
        self.membership.refresh()
        now = self.membership.snapshot().members
        return now.get(node) is not before.members.get(node)


def info_of(answer: ObjectInfo | NodeObject | None) -> ObjectInfo | None:
    """Return the info in a response; None if the node has no such object."""
    if answer is None or isinstance(answer, ObjectInfo):
        return answer
    return answer.info


def require_home(placement: Placement) -> None:
    """Raises: NoNodesError, if the placement can't be written to."""
    if not placement.home:
        raise NoNodesError("The set of nodes is changing; try again in a moment")
    if len(placement.home) < placement.replicas:
        raise NoNodesError(
            f"{placement.replicas} nodes are needed, {len(placement.home)} are known"
        )
