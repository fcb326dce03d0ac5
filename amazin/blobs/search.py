"""Finds a blob on servers: asks in a given order, more at once if some are silent."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from amazin.errors import NodeError, NodeTimeoutError, NoNodesError, NoSuchKeyError
from amazin.membership.member import Member
from amazin.nodes.interface import Node, Pending

PATIENCE_SECONDS = 1.0
"""How long a server may be silent before the next ones are asked as well."""
POLL_SECONDS = 0.005
"""Between two looks at several pending requests."""
SILENT = "the node was silent, others answered"

T = TypeVar("T")
Start = Callable[[Node], Pending[T]]


@dataclass(slots=True)
class _Request(Generic[T]):
    """A request to one server."""

    member: Member
    pending: Pending[T]
    silent_from: float
    """When the server counts as silent, on the monotonic clock."""


class Search(Generic[T]):
    """Asks servers until one has the blob: tier by tier, all of a tier at once."""

    def __init__(
        self,
        tiers: Iterable[Sequence[Member]],
        start: Start[T],
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self._tiers = tiers
        self._start = start
        self._patience_seconds = patience_seconds
        self._requests: list[_Request[T]] = []
        self._failure: NodeError | None = None
        self.absent: set[str] = set()
        """The names of the servers that answered that they have no such blob."""

    def run(self) -> tuple[Member, T]:
        """Return the first server that has the blob, and its answer.

        Raises:
            NoSuchKeyError: all servers answered that they have no such blob.
            NodeError: no server has it, and some gave no usable answer.
        """
        try:
            found = self._find()
        finally:
            for request in self._requests:
                request.pending.cancel()
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
            request = _Request(member, member.ask(self._start), silent_from)
            self._requests.append(request)
        except NodeError as exc:
            self._failure = self._failure or exc

    def _await(self, seconds: float) -> tuple[Member, T] | None:
        """Receive answers for some seconds; None: none of them has the blob."""
        deadline = time.monotonic() + seconds
        while self._requests:
            for request in list(self._requests):
                if request.pending.is_ready(0) and (found := self._take(request)):
                    return found
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                break
            if self._requests:
                is_last = len(self._requests) == 1
                pause = remaining if is_last else min(POLL_SECONDS, remaining)
                self._requests[0].pending.is_ready(pause)
        return None

    def _take(self, request: _Request[T]) -> tuple[Member, T] | None:
        self._requests.remove(request)
        try:
            return request.member, request.member.wait(request.pending)
        except NoSuchKeyError:
            self.absent.add(request.member.name)
        except NodeError as exc:
            self._failure = self._failure or exc
        return None

    def _note_silent(self) -> None:
        """Note a failure of each server that was silent for too long."""
        now = time.monotonic()
        for request in self._requests:
            if request.silent_from < now:
                request.member.note_failure(NodeTimeoutError(SILENT))


def find_copies(
    members: Iterable[Member],
    start: Start[T],
    patience_seconds: float = PATIENCE_SECONDS,
) -> dict[str, T]:
    """Ask all servers at once; return the answers of those with the blob, by name.

    Servers that are silent after `patience_seconds` are left out, unless all are.
    """
    silent_from = time.monotonic() + patience_seconds
    requests = []
    for member in members:
        try:
            requests.append(_Request(member, member.ask(start), silent_from))
        except NodeError:
            continue
    found: dict[str, T] = {}
    silent = []
    for request in requests:
        if request.pending.is_ready(max(0.0, silent_from - time.monotonic())):
            _note_answer(request, found)
        else:
            silent.append(request)
    for request in silent:
        if len(silent) == len(requests):
            _note_answer(request, found)
        else:
            request.pending.cancel()
            request.member.note_failure(NodeTimeoutError(SILENT))
    return found


def _note_answer(request: _Request[T], found: dict[str, T]) -> None:
    try:
        found[request.member.name] = request.member.wait(request.pending)
    except (NoSuchKeyError, NodeError):
        return
