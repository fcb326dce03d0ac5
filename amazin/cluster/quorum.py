"""Asks nodes in parallel until each quorum has answered: as few nodes as possible.

`placement.py` decides which nodes these are.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from amazin.cluster.placement import Quorum
from amazin.errors import (
    GatewayError,
    LostCopyError,
    NodeError,
    NodeTimeoutError,
    NoNodesError,
    NoSuchKeyError,
)
from amazin.membership.asking import ask_all
from amazin.membership.member import Member
from amazin.model.objects import ObjectInfo
from amazin.nodes.interface import Node, NodeObject, Pending

PATIENCE_SECONDS = 1.0
"""If a node is silent for this long, the next node is asked as well."""
POLL_SECONDS = 0.02

Answer = ObjectInfo | NodeObject
Start = Callable[[Node], Pending[Answer]]


@dataclass(slots=True)
class _Inquiry:
    """A request to one node."""

    member: Member
    pending: Pending[Answer]
    deadline: float
    """On the monotonic clock: without a response by then, the node is silent."""
    opens: bool = False
    """Whether the copy is asked for, and not only which version it is."""
    is_over: bool = False
    is_silent: bool = False


def ask(
    quorums: Sequence[Quorum], start: Start, start_first: Start | None = None
) -> Mapping[str, Answer | None]:
    """Ask as few nodes as the quorums allow; return their responses by name.

    None stands for "no such key". The best node is asked with `start_first`, if it is
    given; if the bytes of its copy are lost, it still answers `start`: which version
    that is.

    Raises: NodeError, NoNodesError: too few nodes gave a usable response.
    """
    if len(quorums) == 1 and len(quorums[0].members) == 1:  # no parallel requests
        member = quorums[0].members[0]
        try:
            return {member.name: member.call(start_first or start)}
        except LostCopyError:
            if start_first is None:
                raise
            return ask(quorums, start)
        except NoSuchKeyError:
            return {member.name: None}
    read = QuorumRead(quorums, start, start_first)
    read.run()
    return read.answers


def ask_widely(quorums: Sequence[Quorum], start: Start) -> Mapping[str, Answer | None]:
    """Ask all nodes of the quorums; those that fail are not in the result.

    Raises: NodeError: too few nodes gave a usable response.
    """
    answers: dict[str, Answer | None] = {}
    failures: dict[str, NodeError] = {}
    members = {member.name: member for q in quorums for member in q.members}
    for node, answer in ask_all(members.values(), start).items():
        if isinstance(answer, NodeError):
            failures[node] = answer
        elif isinstance(answer, NoSuchKeyError):
            answers[node] = None
        elif isinstance(answer, GatewayError):
            raise answer
        else:
            answers[node] = answer
    for quorum in quorums:
        failed = [m.name for m in quorum.members if m.name in failures]
        if len(quorum.members) - len(failed) < quorum.needed:
            raise failures[failed[0]]
    return answers


class QuorumRead:
    """Asks as few nodes as the quorums allow, in parallel; more if some fail."""

    def __init__(
        self,
        quorums: Sequence[Quorum],
        start: Start,
        start_first: Start | None = None,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        """The best node is asked with `start_first`, the others with `start`."""
        self._quorums = quorums
        self._start = start
        self._start_first = start_first
        self._patience_seconds = patience_seconds
        self._inquiries: dict[str, _Inquiry] = {}
        self._waiting: list[_Inquiry] = []
        """Requests in the order in which their responses are taken; grows meanwhile."""
        self._failures: dict[str, NodeError] = {}
        self.answers: dict[str, Answer | None] = {}
        """By node name; None stands for "no such key"."""

    def run(self) -> None:
        """Ask until all quorums have answered.

        Raises:
            NodeError: too few nodes gave a usable response.
        """
        try:
            self._ask_enough()
            self._wait_in_order()
            self._wait_for_any()
        except BaseException:
            self._dispose()
            raise
        finally:
            self._cancel()

    def _ask_enough(self) -> None:
        """Ask as many nodes as are missing; failed and silent ones don't count."""
        for quorum in self._quorums:
            counted = 0
            for member in quorum.members:
                if counted == quorum.needed:
                    break
                counted += self._is_asked(member)
            if counted < quorum.needed and not self._is_possible(quorum):
                raise self._last_failure(quorum)

    def _is_possible(self, quorum: Quorum) -> bool:
        alive = [m for m in quorum.members if m.name not in self._failures]
        return len(alive) >= quorum.needed

    def _last_failure(self, quorum: Quorum) -> Exception:
        failures = [self._failures.get(member.name) for member in quorum.members]
        known = [failure for failure in failures if failure]
        known.sort(key=lambda failure: isinstance(failure, LostCopyError))
        return known[0] if known else NoNodesError("There are too few nodes")

    def _is_asked(self, member: Member) -> bool:
        """Ask a node, unless it was asked; return whether it may still answer."""
        name = member.name
        if name in self.answers:
            return True
        if name in self._failures:
            return False
        inquiry = self._inquiries.get(name)
        if inquiry:
            return not inquiry.is_silent
        first = None if self._inquiries else self._start_first
        try:
            deadline = time.monotonic() + self._patience_seconds
            pending = member.ask(first or self._start)
            inquiry = _Inquiry(member, pending, deadline, first is not None)
        except NodeError as exc:
            self._failures[name] = exc
            return False
        self._inquiries[name] = inquiry
        self._waiting.append(inquiry)
        return True

    def _wait_in_order(self) -> None:
        """Take the responses in order; those of silent nodes are left for later."""
        has_spare = False
        for quorum in self._quorums:
            has_spare |= quorum.needed < len(quorum.members)
        for inquiry in self._waiting:  # `_ask_enough` may append to it
            patience = max(0.0, inquiry.deadline - time.monotonic())
            inquiry.is_silent = has_spare and not inquiry.pending.is_ready(patience)
            if inquiry.is_silent or not self._has_answered(inquiry):
                self._ask_enough()

    def _wait_for_any(self) -> None:
        while not self._is_enough():
            open_ones = [i for i in self._inquiries.values() if not i.is_over]
            for inquiry in open_ones:
                if inquiry.pending.is_ready(POLL_SECONDS / len(open_ones)):
                    self._has_answered(inquiry)
            self._ask_enough()

    def _has_answered(self, inquiry: _Inquiry) -> bool:
        """Take a response; False: the request failed."""
        inquiry.is_over = True
        name = inquiry.member.name
        try:
            self.answers[name] = inquiry.member.wait(inquiry.pending)
        except NoSuchKeyError:
            self.answers[name] = None
        except NodeError as exc:
            if inquiry.opens and isinstance(exc, LostCopyError):
                return self._has_version(inquiry.member)
            self._failures[name] = exc
            return False
        return True

    def _has_version(self, member: Member) -> bool:
        """Ask which version it is that the node has lost; False: the request failed."""
        try:
            inquiry = _Inquiry(member, member.ask(self._start), 0.0)
        except NodeError as exc:
            self._failures[member.name] = exc
            return False
        return self._has_answered(inquiry)

    def _is_enough(self) -> bool:
        for quorum in self._quorums:
            missing = quorum.needed
            for member in quorum.members:
                missing -= member.name in self.answers
            if missing > 0:
                return False
        return True

    def _cancel(self) -> None:
        """Cancel open requests; skip silent nodes from now on, if others answered."""
        for inquiry in self._inquiries.values():
            if not inquiry.is_over:
                inquiry.pending.cancel()
                if inquiry.is_silent and self.answers:
                    error = NodeTimeoutError("the node was silent, others answered")
                    inquiry.member.note_failure(error)

    def _dispose(self) -> None:
        for answer in self.answers.values():
            if answer is not None and not isinstance(answer, ObjectInfo):
                answer.close()
