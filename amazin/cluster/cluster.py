"""The read and write rules: all nodes as one object store.

A write is acknowledged when `r` nodes of the key's home hold it, or a newer version;
a read asks so many nodes of the home that it can't miss one of them. What the home is,
the roster says, which may change meanwhile: so an answer counts only if the roster by
which the nodes were asked may still be acted on when they have answered.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from amazin.cluster.downloads import ResumedObject, open_copy
from amazin.cluster.listing import Listing
from amazin.cluster.lookup import MAX_ATTEMPTS, Found, Lookup, require_home
from amazin.cluster.placement import Placement, differ
from amazin.cluster.uploads import Draft, Fanout, Stored, complete
from amazin.errors import (
    ConflictError,
    HTTPError,
    NodeError,
    NodeProtocolError,
    NoSuchKeyError,
    NotSupportedError,
    PreconditionError,
)
from amazin.membership.member import Member
from amazin.membership.membership import Membership
from amazin.model.bodies import Body, HeldBody, hold_if_small
from amazin.model.objects import BUCKET, ByteRange, Label, ObjectInfo, ObjectName, Stamp
from amazin.nodes.interface import NodeObject, Pending

TOMBSTONE = HeldBody(b"amazin: this object was deleted\n")
TOMBSTONE_ETAG = "6c1a1fbb203cd6af9e4c014c2b4f8a0c"
"""Its MD5; with its size what a tombstone is known by in a listing."""

Chooser = Callable[[ObjectInfo], ByteRange | None]
"""Given what an object is, returns which bytes to read (None: all), or raises."""


@dataclass(slots=True)
class Download:
    """An open object; `byte_range` is what the chooser chose."""

    member: Member
    content: NodeObject
    byte_range: ByteRange | None = None


def different_content() -> HTTPError:
    """Return the refusal to store other bytes under a name that has some."""
    message = "Something else is stored under this id; its bytes never change"
    return HTTPError(409, "DifferentContent", message)


class Cluster:
    """All nodes as one store. Stateless, but for the last stamp it gave out."""

    def __init__(
        self, membership: Membership, clock_ns: Callable[[], int] = time.time_ns
    ) -> None:
        self._membership = membership
        self._lookup = Lookup(membership)
        self._clock_ns = clock_ns
        self._last_ns = 0
        self._stamp_lock = threading.Lock()

    # Reading

    def get(self, name: ObjectName, choose: Chooser | None = None) -> Download:
        """Open an object; the caller closes its content.

        With a chooser the object is looked at first, and what is opened is that
        version.

        Raises:
            NoSuchKeyError: enough nodes said so.
            NodeError, NoNodesError, ConflictError: it can't be told, or read, now.
        """
        for _ in range(MAX_ATTEMPTS):
            found = self._lookup.find(name, opens=choose is None)
            byte_range = choose(found.info) if choose else None
            try:
                return self._open(name, found, byte_range)
            except PreconditionError:  # overwritten between the two questions
                continue
        raise ConflictError("the object keeps changing")

    def head(self, name: ObjectName) -> Stored:
        """Find the newest version of an object. Raises: as `get`."""
        found = self._lookup.find(name)
        return Stored(info=found.info, member=found.member)

    def holder(self, name: ObjectName) -> Member:
        """Return a node that gives out an object's bytes as clients know them.

        Raises:
            NotSupportedError: none does; the object lies in parts.
            Else as `get`.
        """
        return self.head(name).member

    def _told(self, info: ObjectInfo) -> ObjectInfo:
        """Return what clients are told of what nodes hold."""
        return info

    def _is_whole(self, info: ObjectInfo) -> bool:
        """Whether all is there that a stored object consists of. Raises: as `get`."""
        return True

    def list(
        self, prefix: str = "", after: str = ""
    ) -> Iterator[tuple[str, ObjectInfo]]:
        """Yield the keys of `BUCKET` that start so and sort behind `after`.

        Each once, in its newest version, in the order of their UTF-8. Raises, also in
        the middle: NodeError, NoNodesError, ConflictError: see `Listing.run`.
        """
        return Listing(self._lookup, BUCKET, prefix, after).run()

    def _open(
        self, name: ObjectName, found: Found, byte_range: ByteRange | None
    ) -> Download:
        """Open what was found on the first node that still has it."""
        try:
            info = found.info
        except NoSuchKeyError:
            if found.content:
                found.content.close()
            raise
        others = self._possible_holders(found)
        content, member = found.content, found.member
        failure: Exception | None = None
        while content is None:
            try:
                content = open_copy(member, name, info, byte_range)
            except (NodeError, PreconditionError) as exc:
                if failure is None and isinstance(exc, PreconditionError):
                    raise
                failure = failure or exc
                other = next(others, None)
                if other is None:
                    raise failure from None
                member = other
        if not found.placement.is_single:
            content = ResumedObject(content, name, byte_range, others)
        return Download(member, content, byte_range)

    def _possible_holders(self, found: Found) -> Iterator[Member]:
        """Yield the nodes beside the first that may hold what was found."""
        names = [name for name, _ in found.copies]
        for quorum in found.placement.quorums:
            names += [member.name for member in quorum.members]
        members = found.snapshot.members
        for name in [*dict.fromkeys(names)][1:]:
            yield members[name]

    # Writing

    def put(
        self,
        name: ObjectName,
        body: Body,
        headers: Mapping[str, str],
        *,
        if_match: str | None = None,
        if_absent: bool = False,
    ) -> Stored:
        """Store an object on `r` nodes of its home, over what may be there.

        With `if_match` or `if_absent` the body must be here already (it can restart):
        some nodes lock the key while a conditional upload arrives.

        Raises:
            PreconditionError: `if_match` or `if_absent` does not hold.
            BodyError: the client sent less than it announced; nothing is stored.
            NodeError, NoNodesError: it may or may not be stored.
            NotSupportedError: the condition can't be judged atomically now.
        """
        self._lookup.place(name, is_write=True)
        body = hold_if_small(body)
        draft = Draft(name, body.length, Label(Stamp(0, 0)), headers)
        if if_match or if_absent:
            draft = replace(draft, if_match=if_match, if_absent=if_absent)

        return self._lookup.with_fresh_keys(
            lambda: self._write(draft, body), body.can_restart
        )

    def put_once(
        self, name: ObjectName, body: Body, headers: Mapping[str, str]
    ) -> Stored:
        """Store an object whose name says what its bytes are, unless it is stored.

        What is there stays, with its headers; then the body is not read.

        Raises:
            HTTPError: 409, something of another size has this name.
            BodyError, NodeError, NoNodesError: as `put`.
        """
        self._lookup.place(name, is_write=True)
        found = self._lookup.find(name, is_write=True)
        try:
            info = self._told(found.info)
        except NoSuchKeyError:
            return self.put(name, body, headers)
        if differ(found.copies):
            return self.put(name, body, info.headers)
        if info.size != body.length:
            raise different_content()
        home = {member.name for member in found.placement.home}
        copies = sum(node in home for node, _ in found.copies)
        is_stored = copies >= require_home(found.placement).replicas
        if is_stored and self._is_whole(found.info):
            return Stored(found.member, info)
        return self.put(name, body, info.headers)

    def delete(self, name: ObjectName) -> Member:
        """Delete an object; returns a node that took part.

        Where there is but one copy, it is removed. Else a tombstone is written over
        it: a node that is away could bring back an older version.

        Raises:
            NodeError, NoNodesError: it may or may not have happened.
        """
        return self._lookup.with_fresh_keys(lambda: self._delete(name))

    def _delete(self, name: ObjectName) -> Member:
        placement = self._lookup.place(name, is_write=True)[1]
        if placement.is_single:
            home = placement.home[0]
            home.ask(lambda node: node.start_delete(name)).wait()
            if self._lookup.same_write_set(placement, [home]):
                return home
        found = self._lookup.find(name, is_write=True)
        is_there = bool(found.copies) and not found.copies[0][1].is_deleted
        if not is_there and self._lookup.is_gone(name):
            return found.member
        draft = Draft(name, TOMBSTONE.length, Label(Stamp(0, 0), is_deleted=True), {})
        return self._write(draft, TOMBSTONE, found).member

    def _write(self, draft: Draft, body: Body, found: Found | None = None) -> Stored:
        """Store a body; again, if the set of nodes changed meanwhile.

        `found` is what a look at the object has shown, if there was one.
        """
        stored: list[Stored] = []
        failure: NodeError | None = None
        for _ in range(MAX_ATTEMPTS):
            placement, draft = self._prepare(draft, found)
            found = None
            candidates = iter(placement.home)
            copies: list[Stored] = []
            if not stored or body.can_restart():
                fanout = Fanout(draft, candidates)
                copies = fanout.send(body, placement.replicas, self._guard(draft))
                failure = fanout.failure
            missing = placement.replicas - len(copies)
            copies += complete(copies or stored, candidates, draft, missing)
            if len(copies) < placement.replicas:
                raise failure or NodeError("too few nodes confirmed the upload")
            if len({copy.info.etag for copy in copies}) > 1:
                raise NodeProtocolError("nodes stored different bytes")
            if self._lookup.same_write_set(placement, [copy.member for copy in copies]):
                return copies[0]
            stored += copies
            draft = replace(draft, if_match=None, if_absent=False)  # it held
        raise ConflictError("the set of nodes keeps changing")

    def _guard(self, draft: Draft) -> Callable[[], None] | None:
        """Return what a long upload has to pass before its last piece is sent.

        Without it an upload that took an hour could replace what came meanwhile, by
        then older than copies that a node kept of what came in between.
        """

        def refuse_if_outdone() -> None:
            copies = self._lookup.find(draft.name, is_write=True).copies
            if copies and copies[0][1].version[0] > draft.label.stamp:
                raise ConflictError("another upload of the object was faster")

        is_needed = draft.keeps_newer and not draft.is_guarded
        return refuse_if_outdone if is_needed else None

    def _prepare(self, draft: Draft, found: Found | None) -> tuple[Placement, Draft]:
        """Decide where an upload goes, and its stamp: greater than any seen."""
        placement = self._lookup.place(draft.name, is_write=True)[1]
        is_deleted = draft.label.is_deleted
        is_blind = placement.is_single and not is_deleted
        newest_stamp = Stamp(0, 0)
        if draft.is_conditional:
            draft = self._judged(draft, placement)
        if not is_blind:
            found = found or self._lookup.find(draft.name, is_write=True)
            placement = require_home(found.placement)
            draft = replace(draft, seen=found.seen)
            newest_stamp = (
                found.copies[0][1].version[0] if found.copies else newest_stamp
            )
        label = Label(self._next_stamp(newest_stamp), placement.epoch, is_deleted)
        return placement, replace(draft, label=label, keeps_newer=not is_blind)

    def _judged(self, draft: Draft, placement: Placement) -> Draft:
        """Return a draft whose condition the one node judges as a client means it."""
        self._require_single(placement)
        held = placement.home[0].head(draft.name)
        if held is None or not held.is_deleted:
            return draft
        if draft.if_match:
            raise PreconditionError("the object was deleted")
        return replace(draft, if_absent=False, if_match=TOMBSTONE_ETAG)

    def require_conditional(self, name: ObjectName) -> None:
        """Return if an upload of the object may have a condition.

        Raises: NotSupportedError; NoNodesError, if that is not known.
        """
        self._require_single(self._lookup.place(name, is_write=True)[1])

    def _require_single(self, placement: Placement) -> None:
        """Raise NotSupportedError if no one node can judge a condition."""
        if not placement.is_single:
            raise NotSupportedError(
                "A conditional upload needs REPLICAS=1 and a set of nodes that does "
                "not change now"
            )

    # Nodes

    def states(self) -> dict[str, str]:
        """Ask every node whether it can serve; `up`, or what is wrong, by name."""
        members = list(self._membership.snapshot().members.values())
        started: list[Pending[object] | NodeError] = []
        for member in members:
            try:
                started.append(member.ask(lambda node: node.start_check()))
            except NodeError as exc:
                started.append(exc)
        return {
            member.name: describe(pending)
            for member, pending in zip(members, started, strict=True)
        }

    def problem(self) -> str:
        """Return why nodes may be missing; empty if discovery is well."""
        return self._membership.snapshot().problem

    def _next_stamp(self, seen: Stamp) -> Stamp:
        with self._stamp_lock:
            self._last_ns = max(
                self._clock_ns(), self._last_ns + 1, seen.nanoseconds + 1
            )
            return Stamp(self._last_ns, secrets.randbits(32))


def describe(pending: Pending[object] | NodeError) -> str:
    """Wait for a check; returns `up`, or why the node can't serve."""
    try:
        if isinstance(pending, NodeError):
            return str(pending)
        pending.wait()
    except NodeError as exc:
        return str(exc)
    return "up"
