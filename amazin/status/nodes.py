"""The status of each node, without counting its objects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from amazin.blocking import pause
from amazin.errors import NodeError, NoSuchBucketError
from amazin.membership.member import UP, Member
from amazin.membership.roster import NodeSet, Roster
from amazin.membership.snapshot import Snapshot
from amazin.membership.states import (
    UNREADABLE_ROSTER,
    State,
    check,
    state_of,
    try_uploads,
)
from amazin.model.node_specs import NodeSpec
from amazin.nodes.interface import MeasuredNode

UNUSABLE = "unusable"
MOST_THREADS = 64
MOST_KEYS, LEAST_KEYS, MOST_HASHES = 2**16, 2**14, 2**21
"""Limits for the number of keys that are placed to estimate the nodes' shares."""


KEYS_AT_ONCE = 64
"""So many are placed before other requests of the process run."""


@dataclass(frozen=True)
class NodeStatus:
    """One node at one moment."""

    name: str
    state: str
    """As `State.word`; or `unusable`: its copy of the roster can't be read."""
    problem: str
    """Why the node is not up."""
    weight: float
    group: str
    role: str
    """The node's role in the roster; "" if there is no roster."""
    due: float | None
    """The share of all copies that placement gives the node, from 0 to 1; None:
    unknown."""
    can_read: bool = True
    """Whether what it holds can be read."""
    endpoint: str = ""
    """Its URL, or the path of its folder; "": only the roster names it."""
    free_bytes: int | None = None
    """The space that is left for uploads; None: the node doesn't tell, or fails."""

    @property
    def is_well(self) -> bool:
        """Whether nobody has to do anything about the node."""
        return self.state == UP or self.role == "forgotten"


def statuses(snapshot: Snapshot, shares: Mapping[str, float]) -> list[NodeStatus]:
    """Check all nodes; return their statuses, sorted by name.

    `shares` is the result of `due_shares`.
    """
    members = snapshot.members
    with ThreadPoolExecutor(min(len(members), MOST_THREADS) or 1) as pool:
        failures = dict(zip(members, pool.map(check, members.values()), strict=True))
    try_uploads(members[name] for name in members if failures[name] is None)
    return described(snapshot, shares, failures, lambda name: free_bytes(members[name]))


def described(
    snapshot: Snapshot,
    shares: Mapping[str, float],
    failures: Mapping[str, NodeError | None],
    free: Callable[[str], int | None],
) -> list[NodeStatus]:
    """Return the statuses of nodes whose checks failed so, or not.

    `free` returns the space that is left on a node that can be read.
    """
    members, roster = snapshot.members, snapshot.roster
    found = []
    for name, member in sorted(members.items()):
        spec = member.spec
        state = judged(name, snapshot, failures[name])
        weight, group = recorded(spec, roster)
        due = shares.get(name, 0.0) if roster else None
        status = NodeStatus(
            name,
            state.word,
            state.cause,
            weight,
            group,
            role(spec, roster),
            due,
            state.can_read,
            spec.endpoint or "",
            free(name) if state.can_read else None,
        )
        found.append(status)
    return found


def free_bytes(member: Member) -> int | None:
    """Return the space that is left on a node; None: it doesn't tell."""
    if isinstance(member.node, MeasuredNode):
        with suppress(NodeError):
            return member.node.free_bytes()
    return None


def judged(name: str, snapshot: Snapshot, failure: NodeError | None) -> State:
    """Return a node's state, given the error of a check, if there was one."""
    state = state_of(snapshot.members[name], failure)
    if not state.can_read:
        return state
    if name in snapshot.lost:
        cause = "it answers with an empty disk; `amazin repair` fills it again"
        return State(NoSuchBucketError.state, cause, can_read=True)
    if name in snapshot.view.unreachable and state.word == UP:
        return State(UNUSABLE, UNREADABLE_ROSTER, can_read=True)
    return state


def recorded(spec: NodeSpec, roster: Roster | None) -> tuple[float, str]:
    """Return weight and group; from the roster, if discovery doesn't find the node."""
    if spec.endpoint is None and roster and spec.name in roster.newest.names:
        return share(spec.name, roster.newest)
    return spec.weight, spec.group


def share(name: str, nodes: NodeSet) -> tuple[float, str]:
    """Return weight and group in a set of nodes; weight 0: the node is not in it."""
    return nodes.weights.get(name, 0.0), nodes.groups.get(name, "")


def role(spec: NodeSpec, roster: Roster | None) -> str:
    """Return a node's role in the roster, or the change that discovery asks for."""
    name = spec.name
    if roster is None:
        return ""
    if name in roster.forgotten:
        return "forgotten"
    then = share(name, roster.newest)
    before = share(name, roster.settled) if roster.settled else (0.0, "")
    if before != then and roster.next:
        return change(before, then, "joining", "draining")
    if spec.endpoint is not None and then != (spec.weight, spec.group):
        wanted = (spec.weight, spec.group)
        if then[0] or wanted[0]:
            return change(then, wanted, "new", "to be drained")
    return "settled" if then[0] else "drained"


def change(
    old: tuple[float, str], new: tuple[float, str], comes: str, goes: str
) -> str:
    """Return the change of a node's weight and group, in words."""
    if not old[0]:
        return comes
    if not new[0]:
        return goes
    parts = []
    if old[0] != new[0]:
        parts.append(f"weight {old[0]:g} to {new[0]:g}")
    if old[1] != new[1]:
        parts.append(f"group '{old[1]}' to '{new[1]}'")
    return ", ".join(parts)


def due_shares(nodes: NodeSet) -> dict[str, float]:
    """Return the share of all copies that placement gives to each node; the sum is 1.

    Exact if all nodes are equal. Otherwise it is estimated by placing enough keys for
    an error of a few thousandths of all copies.
    """
    names = list(nodes.names)
    groups = {nodes.groups.get(name, "") for name in names}
    if len(groups) == 1 and len(set(nodes.weights.values())) == 1:
        return dict.fromkeys(names, 1 / len(names))
    count = min(MOST_KEYS, max(LEAST_KEYS, MOST_HASHES // len(names)))
    first = partial(nodes.ranker.first, count=nodes.replicas)
    found: Counter[str] = Counter()
    for number in range(count):
        if number % KEYS_AT_ONCE == 0:
            pause()
        found.update(first(b"%d" % number))
    copies = found.total()
    return {name: found[name] / copies for name in names}
