"""Reads the copies of the roster on the nodes, and records the steps that are due.

`transitions.py` decides which steps are due. The only state kept here is how long the
newest roster has been on all its nodes. Used by one thread at a time.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from typing import TypeVar

from amazin.errors import (
    GatewayError,
    LostCopyError,
    NodeError,
    NoSuchBucketError,
    NoSuchKeyError,
    PreconditionError,
    RosterError,
)
from amazin.membership.asking import ask_all
from amazin.membership.member import Member
from amazin.membership.roster import Roster
from amazin.membership.states import try_uploads
from amazin.membership.transitions import (
    DesiredNodes,
    RosterView,
    arbiter,
    bootstrap,
    step,
)
from amazin.model.bodies import HeldBody
from amazin.model.node_specs import NodeSpec
from amazin.model.objects import (
    DATA_BUCKETS,
    ROSTER_NAME,
    Label,
    ObjectInfo,
    ObjectName,
    Stamp,
)
from amazin.nodes.interface import Node, NodeObject, Pending

MAX_BYTES = 16 * 2**20
READ_SECONDS = 2.0
"""How long each round waits for a node: what the others answered gets old meanwhile."""
MAX_ROUNDS = 8
"""The maximum number of steps in one call of `follow`."""

T = TypeVar("T")

log = logging.getLogger("amazin.roster")


@dataclass(frozen=True)
class Copy:
    """A node's copy of the roster, and its ETag, on which changes are conditional."""

    roster: Roster
    etag: str


class RosterStore:
    """Follows the roster on the nodes, and proposes what `desired` asks for."""

    def __init__(
        self,
        desired: DesiredNodes | None,
        wait_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`wait_seconds` is for clusters that are formed here; see `Roster`."""
        self._desired = desired
        self.wait_seconds = wait_seconds
        """After this time no gateway uses what it read before."""
        self._clock = clock
        self._recorded: tuple[Roster | None, float] = (None, 0.0)
        self._lost_since: dict[str, float] = {}
        self._copies: dict[str, Copy] = {}
        self._last: Roster | None = None
        self._warned: set[str] = set()
        self.looked_at = 0.0
        """When the reading began whose result `follow` returned last."""

    def follow(
        self,
        members: Mapping[str, Member],
        found: Iterable[NodeSpec],
        may_bootstrap: bool,
    ) -> RosterView:
        """Read the copies on the nodes, and record the steps that are due.

        With `may_bootstrap` empty nodes become a cluster, because a client stores
        something. A step that another gateway recorded first is followed at once. If a
        roster spreads while the copies are read, a node may only seem to have lost its
        disk; so a loss is believed when it was seen twice.
        """
        specs = list(found)
        view = self._read_view(members)
        for _ in range(MAX_ROUNDS):
            new = self._due(view, specs, may_bootstrap)
            is_done = new is not None and self.decide(new, view, members)
            if new and is_done:
                log.info("the set of nodes changes: %s", describe(new))
            elif view.roster and view.outdated:  # also while no step can be taken
                recorded = [
                    self._record(name, view.roster, members) for name in view.outdated
                ]
                is_done = all(recorded)
            elif new is None and self.looked_at in self._lost_since.values():
                is_done = True
            elif new is None:
                break
            before, view = view, self._read_view(members)
            if view == before and not is_done:
                break
        return view

    def has_waited(self, roster: Roster) -> bool:
        """Whether all nodes have had it so long that no gateway uses an older one."""
        recorded, since = self._recorded
        return recorded == roster and self._clock() - since >= self.wait_seconds

    def is_due(self, roster: Roster) -> bool:
        """Whether `repair` may move the data to the next set of nodes."""
        return roster.is_open and self.has_waited(roster)

    def is_known_lost(self, names: Set[str]) -> bool:
        """Whether by now every gateway knows that these nodes lost their disks."""
        now = self._clock()
        return all(
            now - self._lost_since.get(name, now) >= self.wait_seconds for name in names
        )

    def decide(
        self, new: Roster, view: RosterView, members: Mapping[str, Member]
    ) -> bool:
        """Record a step from the last view; False: another did first, or not now."""
        name = arbiter(view.roster, new)
        if name not in view.empty.union(view.copies) - view.lost:
            self._warn_once(f"the set of nodes can't change while {name} is away")
            return False
        return self._record(name, new, members)

    def readmit(self, name: str, roster: Roster, members: Mapping[str, Member]) -> bool:
        """Write the roster to a node that had lost its disk and was filled again.

        False: not possible now, or the node has lost its disk once more.
        """
        member = members[name]
        try:
            for bucket in DATA_BUCKETS:
                probe = ObjectName(bucket, ROSTER_NAME.key)
                member.head(probe, even_lost=True)
            member.node.make_bucket(ROSTER_NAME.bucket)
            write_copy(member, roster, None)
        except (NodeError, PreconditionError) as exc:
            self._warn_once(f"{name} can't be used yet: {exc}")
            return False
        return True

    def _due(
        self, view: RosterView, specs: list[NodeSpec], may_bootstrap: bool
    ) -> Roster | None:
        current = view.roster.newest if view.roster else None
        known = view.empty.union(view.copies, current.names if current else ())
        offered = [(s.name, s.weight, s.group) for s in specs if s.name in known]
        if self._desired is None:
            if current is None:
                return None
            wanted = current
        else:
            wanted = self._desired.wanted(current, offered)
        if current and len(wanted.weights) < wanted.replicas:
            self._warn_once(
                f"REPLICAS={wanted.replicas} needs as many nodes: not changed"
            )
            wanted = replace(wanted, replicas=current.replicas)
        if not view.copies:
            if len(specs) < wanted.replicas and specs:
                self._warn_once(
                    f"REPLICAS={wanted.replicas} needs as many nodes: nothing is stored"
                )
            is_wanted = may_bootstrap or bool(view.with_data)
            if not is_wanted or self._recorded[0]:
                return None
            return bootstrap(view, wanted, secrets.token_hex(8), self.wait_seconds)
        roster = view.roster
        return step(view, wanted, roster is not None and self.has_waited(roster))

    def _read_view(self, members: Mapping[str, Member]) -> RosterView:
        self.looked_at = self._clock()
        copies, empty, unreachable = self._read_copies(members)
        self._copies = copies
        rosters = {name: copy.roster for name, copy in copies.items()}
        view = RosterView(rosters, frozenset(empty), unreachable=frozenset(unreachable))
        joining = empty - (view.roster.names if view.roster else set())
        with_data, unclear = find_data([members[name] for name in joining])
        unclear |= refusing([members[name] for name in joining])
        view = RosterView(
            rosters, view.empty - unclear, with_data, view.unreachable | unclear
        )
        self._lost_since = {
            name: self._lost_since.get(name, self.looked_at) for name in view.lost
        }
        if view.roster:
            self.wait_seconds = view.roster.wait_seconds
        if view.is_recorded and self._recorded[0] != view.roster:
            self._recorded = (view.roster, self._clock())
        return view

    def _read_copies(
        self, members: Mapping[str, Member]
    ) -> tuple[dict[str, Copy], set[str], set[str]]:
        copies: dict[str, Copy] = {}
        empty, unreachable, lost = set[str](), set[str](), list[str]()
        deadline = time.monotonic() + READ_SECONDS
        known = [members[name] for name in members if name in self._copies]
        for name, info in ask_all(
            known, start_head, even_lost=True, deadline=deadline
        ).items():
            if isinstance(info, ObjectInfo) and self._is_known(name, info):
                copies[name] = self._copies[name]
            elif isinstance(info, NodeError) and not is_none(info):
                unreachable.add(name)
        decided = copies.keys() | unreachable
        unknown = [members[name] for name in members if name not in decided]
        for name, content in ask_all(
            unknown, start_get, even_lost=True, deadline=deadline
        ).items():
            if is_none(content):
                empty.add(name)
                continue
            try:
                copies[name] = self._copy_of(name, content)
            except (NodeError, RosterError) as exc:
                unreachable.add(name)
                if isinstance(exc, LostCopyError):
                    lost.append(name)
                if isinstance(exc, RosterError):
                    self._warn_once(f"node {name} can't be used: {exc}")
        for name in lost:
            if copy := self._restored(members[name], copies):
                copies[name] = copy
                unreachable.discard(name)
        return copies, empty, unreachable

    def _is_known(self, name: str, info: ObjectInfo) -> bool:
        return info.etag == self._copies[name].etag and not info.is_damaged

    def _restored(self, member: Member, copies: Mapping[str, Copy]) -> Copy | None:
        """Write a copy anew whose bytes the node has lost; None: nobody knows them.

        No other bytes than those: the node may have known a later step than all others.
        """
        with suppress(NodeError, PreconditionError):
            held = member.head(ROSTER_NAME, even_lost=True)
            for copy in (*copies.values(), *self._copies.values()):
                body = HeldBody(copy.roster.dump(member.name))
                if held and held.etag == body.etag:
                    write_copy(member, copy.roster, held.etag)
                    log.info("node %s has its roster again", member.name)
                    return Copy(copy.roster, held.etag)
        return None

    def _copy_of(self, name: str, content: NodeObject | GatewayError) -> Copy:
        """Receive a node's copy. Raises: NodeError, RosterError.

        Equal rosters of several nodes share one object.
        """
        copy = read_copy(name, content)
        if copy.roster == self._last:
            return Copy(self._last, copy.etag)
        self._last = copy.roster
        return copy

    def _record(self, name: str, roster: Roster, members: Mapping[str, Member]) -> bool:
        """Write a node's copy, if it is still the one read; return whether it was."""
        seen = self._copies.get(name)
        try:
            if seen is None:
                for bucket in (*DATA_BUCKETS, ROSTER_NAME.bucket):
                    members[name].node.make_bucket(bucket)
            write_copy(members[name], roster, seen.etag if seen else None)
        except PreconditionError:
            return False
        except (NodeError, KeyError) as exc:
            self._warn_once(f"the set of nodes can't be recorded on {name}: {exc}")
            return False
        return True

    def _warn_once(self, message: str) -> None:
        """Log a message, once, about something that lasts until an operator acts."""
        if message not in self._warned:
            self._warned.add(message)
            log.warning("%s", message)


def start_head(node: Node) -> Pending[ObjectInfo]:
    """Request the ETag of a node's copy."""
    return node.start_head(ROSTER_NAME)


def start_get(node: Node) -> Pending[NodeObject]:
    """Request a node's copy."""
    return node.start_get(ROSTER_NAME)


def is_none(answer: object) -> bool:
    """Whether a node answered that it holds no roster."""
    return isinstance(answer, NoSuchBucketError | NoSuchKeyError)


def read_copy(name: str, content: NodeObject | GatewayError) -> Copy:
    """Receive a node's copy. Raises: NodeError, RosterError."""
    if isinstance(content, GatewayError):
        raise content
    try:
        if content.info.size > MAX_BYTES:
            raise RosterError("the node's roster is too long")
        data = b"".join(iter(content.read, b""))
    finally:
        content.close()
    return Copy(Roster.load(data, name), content.info.etag)


def find_data(members: Iterable[Member]) -> tuple[frozenset[str], frozenset[str]]:
    """Return which of these nodes hold objects, and of which that is unknown."""
    with_data, unclear = set[str](), set[str]()
    for member in members:
        try:
            for bucket in DATA_BUCKETS:
                found = member.node.list_objects(bucket)
                with_data.update(member.name for _ in islice(found, 1))
        except NodeError:
            unclear.add(member.name)
    return frozenset(with_data), frozenset(unclear)


def refusing(joining: Sequence[Member]) -> frozenset[str]:
    """Return which of these nodes store nothing: none of them may join."""
    try_uploads(joining)
    return frozenset(member.name for member in joining if member.refusal)


def write_copy(member: Member, roster: Roster, etag: str | None) -> None:
    """Replace the node's copy that has this ETag; None: write the node's first copy.

    Raises: PreconditionError, NodeError.
    """
    data = roster.dump(member.name)
    label = Label(Stamp(roster.generation, 0), roster.newest.epoch)
    headers = {"Content-Type": "application/json"}

    def start(node: Node) -> Pending[ObjectInfo]:
        return node.start_put(
            ROSTER_NAME,
            data,
            label,
            headers,
            if_match=etag,
            if_absent=etag is None,
        )

    member.call(start, even_lost=True)


def describe(roster: Roster) -> str:
    """Return a summary of the roster for operators, on one line."""
    parts = [f"generation {roster.generation}"]
    for title, nodes in (("settled", roster.settled), ("next", roster.next)):
        if nodes:
            names = ", ".join(
                name if weight == 1 else f"{name} ({weight:g})"
                for name, weight in sorted(nodes.weights.items())
            )
            parts.append(f"{title} {names} with {nodes.replicas} replicas")
    if roster.next:
        parts.append("open" if roster.is_open else "announced")
    return "; ".join(parts)
