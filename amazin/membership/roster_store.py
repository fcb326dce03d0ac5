"""Reads the copies of the roster on the nodes, and takes the steps that are due.

What is due is decided in `transitions.py`. Nothing here is kept but for how long the
newest roster has been on all its nodes. Used by one thread at a time.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass, replace
from itertools import islice
from typing import TypeVar

from amazin.errors import (
    GatewayError,
    NodeError,
    NoSuchBucketError,
    NoSuchKeyError,
    PreconditionError,
    RosterError,
)
from amazin.membership.asking import ask_all
from amazin.membership.member import Member
from amazin.membership.roster import Roster
from amazin.membership.transitions import (
    DesiredNodes,
    RosterView,
    arbiter,
    bootstrap,
    step,
)
from amazin.model.node_specs import NodeSpec
from amazin.model.objects import DATA_BUCKETS, Label, ObjectInfo, ObjectName, Stamp
from amazin.nodes.interface import Node, NodeObject, Pending

ROSTER_NAME = ObjectName("amazin-system", "roster")
MAX_BYTES = 16 * 2**20
LOOK_SECONDS = 2.0
"""Longer no node is waited for: what was seen of the others gets old meanwhile."""
MAX_ROUNDS = 8
"""How many steps are taken in one go at most."""

T = TypeVar("T")

log = logging.getLogger("amazin.roster")


@dataclass(frozen=True)
class Copy:
    """A node's copy, and the ETag that a change of it is conditional on."""

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
        """`wait_seconds` is for a cluster that is formed; see `Roster`."""
        self._desired = desired
        self.wait_seconds = wait_seconds
        """After so long no gateway acts on what it saw before."""
        self._clock = clock
        self._recorded: tuple[Roster | None, float] = (None, 0.0)
        self._lost_since: dict[str, float] = {}
        self._copies: dict[str, Copy] = {}
        self._last: Roster | None = None
        self._told: set[str] = set()
        self.looked_at = 0.0
        """When the look began that `follow` returned last."""

    def follow(
        self,
        members: Mapping[str, Member],
        found: Iterable[NodeSpec],
        may_bootstrap: bool,
    ) -> RosterView:
        """Look at the nodes, and take the steps that are due.

        With `may_bootstrap` empty nodes become a cluster: something is to be stored. A
        step that somebody else was faster with is followed at once. A node seems to
        have lost its disk, too, if a roster spreads while the nodes are looked at: that
        is believed if it is seen again.
        """
        specs = list(found)
        view = self._look(members)
        for _ in range(MAX_ROUNDS):
            new = self._due(view, specs, may_bootstrap)
            is_done = new is not None and self.decide(new, view, members)
            if new and is_done:
                log.info("the set of nodes changes: %s", describe(new))
            elif view.roster and view.outdated:  # also while no step can be taken
                told = [
                    self._record(name, view.roster, members) for name in view.outdated
                ]
                is_done = all(told)
            elif new is None and self.looked_at in self._lost_since.values():
                is_done = True
            elif new is None:
                break
            before, view = view, self._look(members)
            if view == before and not is_done:
                break
        return view

    def has_waited(self, roster: Roster) -> bool:
        """Whether it is on all its nodes for so long that nobody acts on older ones."""
        recorded, since = self._recorded
        return recorded == roster and self._clock() - since >= self.wait_seconds

    def is_due(self, roster: Roster) -> bool:
        """Whether `repair` may bring everything under the next set of nodes."""
        return roster.is_open and self.has_waited(roster)

    def is_known_lost(self, names: Set[str]) -> bool:
        """Whether every gateway knows by now that these nodes lost their disks."""
        now = self._clock()
        return all(
            now - self._lost_since.get(name, now) >= self.wait_seconds for name in names
        )

    def decide(
        self, new: Roster, view: RosterView, members: Mapping[str, Member]
    ) -> bool:
        """Take a step from what was seen last; False: somebody else did, or not now."""
        name = arbiter(view.roster, new)
        if name not in view.empty.union(view.copies) - view.lost:
            self._tell(f"the set of nodes can't change while {name} is away")
            return False
        return self._record(name, new, members)

    def readmit(self, name: str, roster: Roster, members: Mapping[str, Member]) -> bool:
        """Give a node that had lost its disk, and was filled again, its copy.

        False: not now, or it has lost its disk once more.
        """
        member = members[name]
        try:
            for bucket in DATA_BUCKETS:
                probe = ObjectName(bucket, ROSTER_NAME.key)
                member.head(probe, even_lost=True)
            member.node.make_bucket(ROSTER_NAME.bucket)
            write_copy(member, roster, None)
        except (NodeError, PreconditionError) as exc:
            self._tell(f"{name} can't be counted on yet: {exc}")
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
            self._tell(f"REPLICAS={wanted.replicas} needs as many nodes: not changed")
            wanted = replace(wanted, replicas=current.replicas)
        if not view.copies:
            is_wanted = may_bootstrap or bool(view.with_data)
            if not is_wanted or self._recorded[0]:
                return None
            return bootstrap(view, wanted, secrets.token_hex(8), self.wait_seconds)
        roster = view.roster
        return step(view, wanted, roster is not None and self.has_waited(roster))

    def _look(self, members: Mapping[str, Member]) -> RosterView:
        self.looked_at = self._clock()
        copies, empty, unreachable = self._read_copies(members)
        self._copies = copies
        rosters = {name: copy.roster for name, copy in copies.items()}
        view = RosterView(rosters, frozenset(empty), unreachable=frozenset(unreachable))
        joining = empty - (view.roster.names if view.roster else set())
        with_data, unclear = look_into([members[name] for name in joining])
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
        empty, unreachable = set[str](), set[str]()
        deadline = time.monotonic() + LOOK_SECONDS
        known = [members[name] for name in members if name in self._copies]
        for name, info in ask_all(
            known, start_head, even_lost=True, deadline=deadline
        ).items():
            if isinstance(info, ObjectInfo) and info.etag == self._copies[name].etag:
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
                if isinstance(exc, RosterError):
                    self._tell(f"node {name} can't be used: {exc}")
        return copies, empty, unreachable

    def _copy_of(self, name: str, content: NodeObject | GatewayError) -> Copy:
        """Receive a node's copy. Raises: NodeError, RosterError.

        What all nodes say the same is held once.
        """
        copy = read_copy(name, content)
        if copy.roster == self._last:
            return Copy(self._last, copy.etag)
        self._last = copy.roster
        return copy

    def _record(self, name: str, roster: Roster, members: Mapping[str, Member]) -> bool:
        """Write a node's copy, if it still is what was seen; return whether it is."""
        seen = self._copies.get(name)
        try:
            if seen is None:
                for bucket in (*DATA_BUCKETS, ROSTER_NAME.bucket):
                    members[name].node.make_bucket(bucket)
            write_copy(members[name], roster, seen.etag if seen else None)
        except PreconditionError:
            return False
        except (NodeError, KeyError) as exc:
            self._tell(f"the set of nodes can't be recorded on {name}: {exc}")
            return False
        return True

    def _tell(self, message: str) -> None:
        """Log, once, what is not going to change by itself."""
        if message not in self._told:
            self._told.add(message)
            log.warning("%s", message)


def start_head(node: Node) -> Pending[ObjectInfo]:
    """Ask a node for its copy's ETag."""
    return node.start_head(ROSTER_NAME)


def start_get(node: Node) -> Pending[NodeObject]:
    """Ask a node for its copy."""
    return node.start_get(ROSTER_NAME)


def is_none(answer: object) -> bool:
    """Whether a node said that it holds no roster."""
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


def look_into(members: Iterable[Member]) -> tuple[frozenset[str], frozenset[str]]:
    """Return which of these nodes hold objects, and of which it can't be told."""
    with_data, unclear = set[str](), set[str]()
    for member in members:
        try:
            for bucket in DATA_BUCKETS:
                found = member.node.list_objects(bucket)
                with_data.update(member.name for _ in islice(found, 1))
        except NodeError:
            unclear.add(member.name)
    return frozenset(with_data), frozenset(unclear)


def write_copy(member: Member, roster: Roster, etag: str | None) -> None:
    """Write a node's copy over the one with this ETag; None: where there is none.

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
    """Return what an operator wants to know of it, on one line."""
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
