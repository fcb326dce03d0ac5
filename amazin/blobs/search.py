"""Finding a blob on servers that are asked in an order, several at once if need be."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from amazin.errors import (
    LostCopyError,
    NodeError,
    NodeTimeoutError,
    NoNodesError,
    NoSuchKeyError,
)
from amazin.membership.member import Member
from amazin.nodes.interface import Node, Pending

PATIENCE_SECONDS = 1.0
"""After so much silence of a server the next ones are asked as well."""
POLL_SECONDS = 0.005
SILENT = "the node was silent, others answered"

T = TypeVar("T")
Start = Callable[[Node], Pending[T]]


@dataclass(slots=True)
class _Inquiry(Generic[T]):
    """One server that was asked."""

    member: Member
    pending: Pending[T]
    silent_from: float
    """On the monotonic clock: from then on it is silent."""


class Search(Generic[T]):
    """Asks servers until one has the blob: tier by tier, those of a tier at once."""

    def __init__(
        self,
        tiers: Iterable[Sequence[Member]],
        start: Start[T],
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self._tiers = tiers
        self._start = start
        self._patience_seconds = patience_seconds
        self._inquiries: list[_Inquiry[T]] = []
        self._failure: NodeError | None = None
        self.absent: set[str] = set()
        """The names of the servers that have no such blob."""

    def run(self) -> tuple[Member, T]:
        """Return the first copy that is found, and where.

        Raises:
            NoSuchKeyError: all servers said that they have none.
            NodeError: none said that it has one, some gave no usable answer.
        """
        try:
            found = self._find()
        finally:
            for inquiry in self._inquiries:
                inquiry.pending.cancel()
        if found:
            self._note_silent()
            return found
        if self._failure:
            raise self._failure
        if not self.absent:
            raise NoNodesError("No blob servers are known")
        raise NoSuchKeyError("no server has the blob")

    def _find(self) -> tuple[Member, T] | None:
        for tier in self._tiers:
            for member in tier:
                self._ask(member)
            if found := self._await(self._patience_seconds):
                return found
        return self._await(math.inf)

    def _ask(self, member: Member) -> None:
        silent_from = time.monotonic() + self._patience_seconds
        try:
            inquiry = _Inquiry(member, member.ask(self._start), silent_from)
            self._inquiries.append(inquiry)
        except NodeError as exc:
            self._note_failure(exc)

    def _await(self, seconds: float) -> tuple[Member, T] | None:
        """Take answers for so long; None: nothing was found, or too many are silent."""
        deadline = time.monotonic() + seconds
        while self._inquiries:
            for inquiry in list(self._inquiries):
                if inquiry.pending.is_ready(0) and (found := self._take(inquiry)):
                    return found
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                break
            if self._inquiries:
                is_last = len(self._inquiries) == 1
                pause = remaining if is_last else min(POLL_SECONDS, remaining)
                self._inquiries[0].pending.is_ready(pause)
        return None

    def _take(self, inquiry: _Inquiry[T]) -> tuple[Member, T] | None:
        self._inquiries.remove(inquiry)
        try:
            return inquiry.member, inquiry.member.wait(inquiry.pending)
        except NoSuchKeyError:
            self.absent.add(inquiry.member.name)
        except NodeError as exc:
            self._note_failure(exc)
        return None

    def _note_failure(self, error: NodeError) -> None:
        """Keep the first; a copy is not lost while another server may have one."""
        if self._failure is None or isinstance(self._failure, LostCopyError):
            self._failure = error

    def _note_silent(self) -> None:
        """Note a failure of those that were silent although they had longer."""
        now = time.monotonic()
        for inquiry in self._inquiries:
            if inquiry.silent_from < now:
                inquiry.member.note_failure(NodeTimeoutError(SILENT))


def ask_all(
    members: Iterable[Member],
    start: Start[T],
    patience_seconds: float = PATIENCE_SECONDS,
) -> dict[str, T]:
    """Ask all these servers at once; return by name what those say that have the blob.

    When some have answered, the others are not waited for any longer than this.
    """
    silent_from = time.monotonic() + patience_seconds
    inquiries = []
    for member in members:
        try:
            inquiries.append(_Inquiry(member, member.ask(start), silent_from))
        except NodeError:
            continue
    found: dict[str, T] = {}
    silent = []
    for inquiry in inquiries:
        if inquiry.pending.is_ready(max(0.0, silent_from - time.monotonic())):
            _note_answer(inquiry, found)
        else:
            silent.append(inquiry)
    for inquiry in silent:
        if len(silent) == len(inquiries):
            _note_answer(inquiry, found)
        else:
            inquiry.pending.cancel()
            inquiry.member.note_failure(NodeTimeoutError(SILENT))
    return found


def _note_answer(inquiry: _Inquiry[T], found: dict[str, T]) -> None:
    try:
        found[inquiry.member.name] = inquiry.member.wait(inquiry.pending)
    except (NoSuchKeyError, NodeError):
        return
