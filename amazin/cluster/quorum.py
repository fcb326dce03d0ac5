"""Asks so many nodes that a quorum has answered: as few as possible, in parallel.

Which nodes these are is decided in `placement.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from amazin.cluster.placement import Quorum
from amazin.errors import NodeError, NodeTimeoutError, NoNodesError, NoSuchKeyError
from amazin.membership.member import Member
from amazin.model.objects import ObjectInfo
from amazin.nodes.interface import Node, NodeObject, Pending

PATIENCE_SECONDS = 1.0
"""After so much silence of one node the next one is asked as well."""
POLL_SECONDS = 0.02

Answer = ObjectInfo | NodeObject
Start = Callable[[Node], Pending[Answer]]


@dataclass(slots=True)
class _Inquiry:
    """One node that was asked."""

    member: Member
    pending: Pending[Answer]
    deadline: float
    """On the monotonic clock: from then on the node is silent."""
    is_over: bool = False
    is_silent: bool = False


def ask(
    quorums: Sequence[Quorum], start: Start, start_first: Start | None = None
) -> Mapping[str, Answer | None]:
    """Ask as few nodes as the quorums allow; returns answers by name, see `QuorumRead`.

    Raises: NodeError, NoNodesError: too few nodes gave a usable answer.
    """
    if len(quorums) == 1 and len(quorums[0].members) == 1:  # who else?
        member = quorums[0].members[0]
        try:
            return {member.name: member.ask(start_first or start).wait()}
        except NoSuchKeyError:
            return {member.name: None}
    survey = QuorumRead(quorums, start, start_first)
    survey.run()
    return survey.answers


class QuorumRead:
    """Asks as few nodes as the quorums allow, in parallel; more if some fail."""

    def __init__(
        self,
        quorums: Sequence[Quorum],
        start: Start,
        start_first: Start | None = None,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        """`start_first` is what the best node is asked, `start` the others."""
        self._quorums = quorums
        self._start = start
        self._start_first = start_first
        self._patience_seconds = patience_seconds
        self._has_spare = any(q.needed < len(q.members) for q in quorums)
        self._inquiries: dict[str, _Inquiry] = {}
        self._failures: dict[str, NodeError] = {}
        self.answers: dict[str, Answer | None] = {}
        """By name; None stands for "no such key"."""

    def run(self) -> None:
        """Ask until all quorums have answered.

        Raises:
            NodeError: too few nodes gave a usable answer.
        """
        try:
            self._ask_enough()
            self._wait_patiently()
            self._wait_for_any()
        except BaseException:
            self._dispose()
            raise
        finally:
            self._cancel()

    def _ask_enough(self) -> None:
        """Ask what is missing, counting on the nodes that still may answer."""
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
        return known[0] if known else NoNodesError("There are too few nodes")

    def _is_asked(self, member: Member) -> bool:
        """Ask a node, if need be; return whether its answer is to be hoped for."""
        name = member.name
        if name in self.answers:
            return True
        if name in self._failures:
            return False
        inquiry = self._inquiries.get(name)
        if inquiry:
            return not inquiry.is_silent
        start = self._start if self._inquiries else self._start_first or self._start
        try:
            deadline = time.monotonic() + self._patience_seconds
            self._inquiries[name] = _Inquiry(member, member.ask(start), deadline)
        except NodeError as exc:
            self._failures[name] = exc
            return False
        return True

    def _wait_patiently(self) -> None:
        """Take the answers in order; the silent ones are left for later."""
        while inquiry := self._next_waiting():
            patience = inquiry.deadline - time.monotonic()
            if self._has_spare and not inquiry.pending.is_ready(max(0.0, patience)):
                inquiry.is_silent = True
            else:
                self._take(inquiry)
            self._ask_enough()

    def _next_waiting(self) -> _Inquiry | None:
        for inquiry in self._inquiries.values():
            if not inquiry.is_over and not inquiry.is_silent:
                return inquiry
        return None

    def _wait_for_any(self) -> None:
        while not self._is_enough():
            open_ones = [i for i in self._inquiries.values() if not i.is_over]
            for inquiry in open_ones:
                if inquiry.pending.is_ready(POLL_SECONDS / len(open_ones)):
                    self._take(inquiry)
            self._ask_enough()

    def _take(self, inquiry: _Inquiry) -> None:
        inquiry.is_over = True
        name = inquiry.member.name
        try:
            self.answers[name] = inquiry.pending.wait()
        except NoSuchKeyError:
            self.answers[name] = None
        except NodeError as exc:
            self._failures[name] = exc

    def _is_enough(self) -> bool:
        return all(
            sum(member.name in self.answers for member in quorum.members)
            >= quorum.needed
            for quorum in self._quorums
        )

    def _cancel(self) -> None:
        """Give up those that were overtaken; others answered, so they are ill."""
        for inquiry in self._inquiries.values():
            if not inquiry.is_over:
                inquiry.pending.cancel()
                if inquiry.is_silent and self.answers:
                    error = NodeTimeoutError("the node was overtaken by others")
                    inquiry.member.note_failure(error)

    def _dispose(self) -> None:
        for answer in self.answers.values():
            if answer is not None and not isinstance(answer, ObjectInfo):
                answer.close()
