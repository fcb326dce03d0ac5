"""Whether nodes have room for uploads: found out by trying, as S3 has no other way."""

from __future__ import annotations

import time
from collections.abc import Iterable

from amazin.errors import GatewayError, NodeFullError
from amazin.membership.asking import ask_all
from amazin.membership.member import Member
from amazin.model.objects import ROSTER_NAME, Label, ObjectInfo, Stamp
from amazin.nodes.interface import Node, Pending

TRIAL_NAME = ROSTER_NAME._replace(key="room")
TRIAL_BYTES = 2**16
KNOWN_SECONDS = 30.0
"""For how long the result of an upload, or of a trial, says whether there is room."""
TRIAL_SECONDS = 2.0
"""Who waits for the state of a node waits no longer for a trial."""


def try_uploads(members: Iterable[Member]) -> None:
    """Store a small object on those nodes that showed nothing lately.

    It has the same name each time. The result is in each member's `is_full`; a node
    that fails otherwise, or has no roster yet, keeps its state.
    """
    now = time.monotonic()
    members = [member for member in members if member.tried_at < now - KNOWN_SECONDS]
    answers = ask_all(members, _start_trial, deadline=now + TRIAL_SECONDS)
    for member in members:
        if isinstance(answers[member.name], ObjectInfo):
            member.note_room()


ANSWERING = ("up", "full")
"""The states of nodes that answer."""


def state_of(member: Member, answer: object) -> str:
    """Return `up`, `full`, or what is wrong, given a node's response to a check."""
    if isinstance(answer, GatewayError) and not isinstance(answer, NodeFullError):
        return str(answer)
    return "full" if member.is_full else "up"


def _start_trial(node: Node) -> Pending[ObjectInfo]:
    label = Label(Stamp(time.time_ns(), 0))
    return node.start_put(TRIAL_NAME, bytes(TRIAL_BYTES), label, {})
