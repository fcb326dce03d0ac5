"""Finds the newest version of an object, by a roster that may be acted on.

An answer counts only if the roster by which the nodes were asked may still be acted on
when they have answered: no request is too slow to be right.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

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

T = TypeVar("T")


@dataclass(slots=True)
class Found:
    """The newest version of an object, as a read quorum knows it."""

    snapshot: Snapshot
    placement: Placement
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
            return self.placement.quorums[0].members[0]
        return self.snapshot.members[self.copies[0][0]]


class Lookup:
    """Where objects are. Stateless."""

    def __init__(self, membership: Membership) -> None:
        self.membership = membership

    def find(
        self, name: ObjectName, opens: bool = False, is_write: bool = False
    ) -> Found:
        """Ask a read quorum, or two while the set of nodes changes.

        With `opens` the content is open, if the node that was asked for it has it.
        With `is_write` copies may differ that should be the same: they are written
        over.

        Raises: NodeError, NoNodesError, ConflictError, if it can't be told now.
        """
        for _ in range(MAX_ATTEMPTS):
            found = self.with_fresh_keys(lambda: self._ask(name, opens))
            is_torn = not is_write and differ(found.copies)
            if not is_torn and self.still_holds(found.snapshot):
                return found
            if found.content:
                found.content.close()
            if is_torn:
                raise NodeProtocolError("copies of one version are not the same")
        raise ConflictError("the set of nodes keeps changing")

    def _ask(self, name: ObjectName, opens: bool) -> Found:
        snapshot, placement = self.place(name)
        answers = ask(
            placement.quorums,
            lambda node: node.start_head(name),
            (lambda node: node.start_get(name)) if opens else None,
        )
        seen = {node: info_of(answer) for node, answer in answers.items()}
        copies = newest(placement, seen.items())
        best = copies[0][0] if copies else ""
        content = None
        for node, answer in answers.items():
            if answer is None or isinstance(answer, ObjectInfo):
                continue
            if node == best:
                content = answer
            else:
                answer.close()
        return Found(snapshot, placement, copies, seen, content)

    def is_gone(self, name: ObjectName) -> bool:
        """Whether every node where it might lie says that there is no such object.

        A read quorum is not enough: what a failed upload left on another node would be
        there again although a delete was acknowledged.
        """
        snapshot, placement = self.place(name)
        everyone = [Quorum(q.members, len(q.members)) for q in placement.quorums]
        try:
            answers = ask(everyone, lambda node: node.start_head(name))
        except NodeError:
            return False
        seen = {node: info_of(answer) for node, answer in answers.items()}
        held = [info for _, info in newest(placement, seen.items())]
        is_deleted = all(info.is_deleted for info in held)
        is_safe = not held or len(held) >= placement.replicas
        return is_deleted and is_safe and self.still_holds(snapshot)

    def place(
        self, name: ObjectName, *, is_write: bool = False
    ) -> tuple[Snapshot, Placement]:
        """Return where an object's copies lie.

        Raises:
            NoSuchKeyError: nothing was ever stored.
            NoNodesError: it is not known now, or can't be written to.
        """
        snapshot, roster = self.current(is_write=is_write)
        placement = place(roster, snapshot.members, name.hash_key)
        if is_write and not placement.home:  # maybe another gateway has formed it now
            self.membership.refresh()
            snapshot, roster = self.current(is_write=is_write)
            placement = place(roster, snapshot.members, name.hash_key)
        if is_write:
            require_home(placement)
        return snapshot, placement

    def current(self, *, is_write: bool = False) -> tuple[Snapshot, Roster]:
        """Return the nodes, and a roster that may be acted on. Raises: as `place`."""
        membership = self.membership
        snapshot = membership.fresh_snapshot()
        if snapshot.roster is None and is_write:
            snapshot = membership.bootstrap()
        if snapshot.roster is None and snapshot.is_empty and not is_write:
            raise NoSuchKeyError("nothing is stored yet")
        if snapshot.roster is None or not membership.is_fresh(snapshot):
            raise NoNodesError(snapshot.reason)
        return snapshot, snapshot.roster

    def still_holds(self, snapshot: Snapshot) -> bool:
        """Whether what was found by this roster may be told to a client."""
        now = self.membership.fresh_snapshot()
        return self.membership.is_fresh(now) and (
            now is snapshot
            or (now.roster == snapshot.roster and now.lost == snapshot.lost)
        )

    def same_write_set(self, placement: Placement, members: list[Member]) -> bool:
        """Whether writes still go by the same set, and no copy was lost."""
        now = self.membership.fresh_snapshot()
        return (
            self.membership.is_fresh(now)
            and now.roster is not None
            and now.roster.write_set == placement.roster.write_set
            and not now.lost.intersection(member.name for member in members)
        )

    def with_fresh_keys(
        self, attempt: Callable[[], T], can_restart: Callable[[], bool] = lambda: True
    ) -> T:
        """Run `attempt`, once more if a node refused keys that have changed since."""
        before = self.membership.snapshot().members
        try:
            return attempt()
        except NodeAccessError as exc:
            self.membership.refresh()
            now = self.membership.snapshot().members
            if now.get(exc.node) is before.get(exc.node) or not can_restart():
                raise
        return attempt()


def info_of(answer: ObjectInfo | NodeObject | None) -> ObjectInfo | None:
    """Return what an answer says of the object."""
    if answer is None or isinstance(answer, ObjectInfo):
        return answer
    return answer.info


def require_home(placement: Placement) -> Placement:
    """Return a placement that can be written to. Raises: NoNodesError."""
    if not placement.home:
        raise NoNodesError("The set of nodes is changing; try again in a moment")
    if len(placement.home) < placement.replicas:
        raise NoNodesError(
            f"{placement.replicas} nodes are needed, {len(placement.home)} are known"
        )
    return placement
