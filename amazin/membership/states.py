"""The state of a node in words: what can't be done with it, and why.

Whether a node stores is found out by trying: a check of an S3 server shows only whether
it can be read. The words are those of the errors (`NodeError.state`).
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import NamedTuple

from amazin.errors import NodeError, NodeRefusalError, NodeTimeoutError
from amazin.membership.asking import ask_all
from amazin.membership.member import UP, Member
from amazin.nodes.interface import Node, Pending, TriedNode

CHECK_SECONDS = 2.0
"""How long a check waits for a node."""
STATES_SECONDS = 5.0
"""So long whoever wants the states of all nodes waits for their checks."""
TRIAL_SECONDS = 2.0
"""Who waits for the state of a node waits no longer for a trial."""

UNREADABLE_ROSTER = "its copy of the roster can't be read"
"""The cause where a node answers, and does not say which cluster it is of."""


class State(NamedTuple):
    """What can be done with a node at one moment."""

    word: str
    """`up` (it can be read and stores), or the `NodeError.state` of its failure."""
    cause: str
    """Empty, if it is up; for operators."""
    can_read: bool
    """Whether what it holds can be read."""


STORES = State(UP, "", can_read=True)


def check(member: Member) -> NodeError | None:
    """Check one node directly, even if it is skipped now; None: it works."""
    try:
        pending = member.node.start_check()
        if not pending.is_ready(CHECK_SECONDS):
            pending.cancel()
            return NodeTimeoutError("the node is silent")
        pending.wait()
    except NodeError as exc:
        return exc
    return None


def try_uploads(members: Iterable[Member]) -> None:
    """Try those nodes that showed nothing lately; the result is in the members.

    A node that does not answer, or has no roster yet, keeps its state.
    """
    due = {}
    for member in members:
        node = member.node
        if isinstance(node, TriedNode) and member.needs_trial(node.trial_seconds):
            due[member.name] = member
    deadline = time.monotonic() + TRIAL_SECONDS
    for name, answer in ask_all(due.values(), start_trial, deadline=deadline).items():
        due[name].note_trial(answer)


def start_trial(node: Node) -> Pending[object]:
    """Begin a trial of a `TriedNode`."""
    assert isinstance(node, TriedNode)
    return node.start_trial()


def state_of(member: Member, failure: object = None) -> State:
    """Return the state of a node, given the error of a check, if there was one."""
    if isinstance(failure, NodeError) and not isinstance(failure, NodeRefusalError):
        return State(failure.state, str(failure), can_read=False)
    refusal = failure if isinstance(failure, NodeRefusalError) else member.refusal
    return State(refusal.state, str(refusal), can_read=True) if refusal else STORES
