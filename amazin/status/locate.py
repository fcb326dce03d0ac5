"""Finds out where one object is, by asking every node. Changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from amazin.cluster.copy_reading import read_copy
from amazin.cluster.placement import Placement, is_valid, place
from amazin.errors import (
    GatewayError,
    NodeError,
    NoSuchBucketError,
    NoSuchKeyError,
)
from amazin.membership.asking import ask_all
from amazin.membership.member import Member
from amazin.membership.roster import NodeSet, Roster
from amazin.membership.snapshot import Snapshot
from amazin.model.objects import ObjectInfo, ObjectName
from amazin.model.stored_names import shown
from amazin.units import counted

FOUND, DELETED, ABSENT, UNKNOWN = "found", "deleted", "not found", "can't be told"
LOST = "lost"
"""The newest version is known, and the bytes of no copy are left."""


@dataclass(frozen=True)
class Holding:
    """One node's copy of the object, and its place in the ranking."""

    node: str
    rank: int | None
    """From 1, in the newest set of nodes; None: the node is not in the set."""
    is_home: bool
    is_next_home: bool
    """While the set of nodes changes: whether the node is in the next home."""
    state: str
    """`up`, or the `NodeError.state` of its failure."""
    problem: str = ""
    info: ObjectInfo | None = None
    is_newest: bool = False


@dataclass(frozen=True)
class Location:
    """Where an object is."""

    name: ObjectName
    verdict: str
    reason: str
    holdings: list[Holding]
    """Best rank first."""

    @property
    def sentence(self) -> str:
        """A summary for operators."""
        reason = f": {self.reason}" if self.reason else ""
        return f"{shown(self.name)}: {self.verdict}{reason}"


Answer = ObjectInfo | GatewayError
"""What a node holds; NoSuchKeyError: nothing; NodeError: that can't be told."""


def locate(snapshot: Snapshot, name: ObjectName, *, is_check: bool = False) -> Location:
    """Ask all known nodes, also those that are skipped just now.

    With `is_check` the copies are read: else only that damage is known that a node has
    noticed.
    """
    members = snapshot.members.values()
    answers = ask_all(members, lambda node: node.start_head(name), even_skipped=True)
    if is_check:
        answers = {
            node: checked(snapshot.members[node], name, answer)
            for node, answer in answers.items()
        }
    roster = snapshot.roster
    if roster is None:
        verdict = ABSENT if snapshot.is_empty else UNKNOWN
        reason = "nothing is stored yet" if snapshot.is_empty else snapshot.reason
        holdings = [holding(n, None, name, answers, snapshot) for n in sorted(answers)]
        return Location(name, verdict, reason, holdings)
    placement = place(roster, snapshot.members, name.hash_key)
    newest = newest_copies(placement, answers)
    ranked = roster.newest.ranker.rank(name.hash_key)
    names = [*ranked, *sorted(answers.keys() - set(ranked))]
    return Location(
        name,
        *judge(placement, snapshot, answers, newest),
        [holding(n, roster, name, answers, snapshot, n in newest) for n in names],
    )


def checked(member: Member, name: ObjectName, answer: Answer) -> Answer:
    """Read the copy that a node says that it has; return what it is."""
    if not isinstance(answer, ObjectInfo) or answer.is_deleted:
        return answer
    try:
        return read_copy(member, name) or NoSuchKeyError("gone meanwhile")
    except NodeError as exc:
        return exc


def newest_copies(
    placement: Placement, answers: Mapping[str, Answer]
) -> dict[str, ObjectInfo]:
    """Return the copies of the newest version, as reads and `repair` see it."""
    valid = {
        node: info
        for node, info in answers.items()
        if isinstance(info, ObjectInfo) and is_valid(placement, node, info)
    }
    best = max((info.version for info in valid.values()), default=None)
    return {node: info for node, info in valid.items() if info.version == best}


def judge(
    placement: Placement,
    snapshot: Snapshot,
    answers: Mapping[str, Answer],
    newest: Mapping[str, ObjectInfo],
) -> tuple[str, str]:
    """Return the verdict and its reason; as many nodes must answer as for a read."""
    good = {
        node for node, answer in answers.items() if not isinstance(answer, NodeError)
    }
    good -= snapshot.lost
    for quorum in placement.quorums:
        if sum(member.name in good for member in quorum.members) < quorum.needed:
            return UNKNOWN, "too few nodes of its home answer"
    if not newest:
        is_left_over = any(
            isinstance(answer, ObjectInfo) for answer in answers.values()
        )
        return ABSENT, "its copies are leftovers" if is_left_over else ""
    info = next(iter(newest.values()))
    if info.is_deleted:
        return DELETED, moment(info)
    whole = sum(not copy.is_damaged for copy in newest.values())
    if not whole:
        return LOST, "its bytes are damaged or gone on every node that has it"
    if whole < placement.replicas:
        return FOUND, f"{whole} of {placement.replicas} copies"
    return FOUND, counted(whole, "copy")


def holding(
    node: str,
    roster: Roster | None,
    name: ObjectName,
    answers: Mapping[str, Answer],
    snapshot: Snapshot,
    is_newest: bool = False,
) -> Holding:
    """Return what is known about one node."""
    answer = answers.get(node)
    settled, coming = (roster.settled, roster.next) if roster else (None, None)
    state, problem = "up", ""
    if node in snapshot.lost:
        state = "lost"
    elif isinstance(answer, NodeError) and not isinstance(answer, NoSuchBucketError):
        state, problem = answer.state, str(answer)
    return Holding(
        node,
        rank(node, roster, name),
        is_at_home(node, settled, name),
        is_at_home(node, coming, name),
        state,
        problem,
        answer if isinstance(answer, ObjectInfo) else None,
        is_newest,
    )


def rank(node: str, roster: Roster | None, name: ObjectName) -> int | None:
    """Return the node's rank for a key."""
    ranked = roster.newest.ranker.rank(name.hash_key) if roster else []
    return ranked.index(node) + 1 if node in ranked else None


def is_at_home(node: str, nodes: NodeSet | None, name: ObjectName) -> bool:
    """Whether the node is in the key's home."""
    return nodes is not None and node in nodes.home(name.hash_key)


def moment(info: ObjectInfo) -> str:
    """Return when a copy's version was written, as RFC 3339."""
    time = datetime.fromtimestamp(info.modified_ns // 10**9, UTC)
    return f"{time:%Y-%m-%dT%H:%M:%S}.{info.modified_ns % 10**9 // 1000:06d}Z"
