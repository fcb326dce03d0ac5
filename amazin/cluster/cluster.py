"""The read and write rules: all nodes as one object store.

A write is acknowledged when `r` nodes of the key's home hold it, or a newer version. A
read asks enough nodes of the home that it can't miss such a write. The roster defines
the home, and may change during a request. So a response counts only if the roster by
which the nodes were chosen is still valid after they have answered.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from amazin.cluster.downloads import OtherVersionError, ResumedObject, open_any
from amazin.cluster.listing import Listing
from amazin.cluster.lookup import MAX_ATTEMPTS, Found, Lookup, Placed, require_home
from amazin.cluster.placement import Placement
from amazin.cluster.removals import make_room, remove_everywhere
from amazin.cluster.stamps import Stamps
from amazin.cluster.uploads import Draft, Fanout, Stored, complete
from amazin.errors import (
    ConflictError,
    GatewayError,
    NodeAccessError,
    NodeError,
    NodeFullError,
    NodeProtocolError,
    NoNodesError,
    NoSuchKeyError,
    NotSupportedError,
    PreconditionError,
)
from amazin.membership.asking import ask_all
from amazin.membership.member import Member
from amazin.membership.membership import Membership
from amazin.membership.snapshot import Snapshot
from amazin.membership.states import STATES_SECONDS, State, state_of, try_uploads
from amazin.model.bodies import Body, HeldBody, hold_if_small
from amazin.model.objects import (
    BUCKET,
    ByteRange,
    Label,
    ObjectInfo,
    ObjectName,
    Stamp,
)
from amazin.nodes.interface import NodeObject

TOMBSTONE = HeldBody(b"amazin: this object was deleted\n")
TOMBSTONE_ETAG = "6c1a1fbb203cd6af9e4c014c2b4f8a0c"
"""Its MD5. A listing identifies tombstones by this and by their size."""

Chooser = Callable[[ObjectInfo], ByteRange | None]
"""Takes the object's info, and returns the bytes to read (None: all), or raises."""


@dataclass(slots=True)
class Download:
    """An open object; `byte_range` is the result of the chooser."""

    member: Member
    content: NodeObject
    byte_range: ByteRange | None = None


class Cluster:
    """All nodes as one store. Its only state is the last stamp it has issued."""

    def __init__(self, membership: Membership, stamps: Stamps | None = None) -> None:
        self._membership = membership
        self.lookup = Lookup(membership)
        self._stamps = stamps or Stamps()

    # Reading

    def get(self, name: ObjectName, choose: Chooser | None = None) -> Download:
        """Open an object; the caller closes its content.

        With a chooser, the object's info is requested first, and then exactly that
        version is opened.

        Raises:
            NoSuchKeyError: enough nodes answered that there is no such object.
            NodeError, NoNodesError, ConflictError: it can't be found or read now.
        """
        asks_all = False
        for _ in range(MAX_ATTEMPTS):
            opens = choose is None and not asks_all
            found = self.lookup.find(name, opens=opens, asks_all=asks_all)
            byte_range = choose(found.info) if choose else None
            try:
                return self._open(name, found, byte_range)
            except PreconditionError as exc:  # overwritten between the two requests
                asks_all = isinstance(exc, OtherVersionError)
        raise ConflictError("the object keeps changing")

    def head(self, name: ObjectName) -> Stored:
        """Return the newest version of an object, not its bytes. Raises: as `get`."""
        found = self.lookup.find(name)
        if not found.info.is_damaged:
            return Stored(info=found.info, member=found.member)
        download = self.get(name)  # what it finds is right for HEAD, too
        download.content.close()
        return Stored(info=download.content.info, member=download.member)

    def list(
        self, prefix: str = "", after: str = ""
    ) -> Iterator[tuple[str, ObjectInfo]]:
        """Yield the keys of `BUCKET` that start with `prefix` and sort behind `after`.

        Each key once, with its newest version, in the order of the keys' UTF-8. Raises
        NodeError, NoNodesError, ConflictError, possibly after some keys: see
        `Listing.run`.
        """
        return Listing(self.lookup, BUCKET, prefix, after).run()

    def _open(
        self, name: ObjectName, found: Found, byte_range: ByteRange | None
    ) -> Download:
        """Open the found version on the first node that still has it.

        Raises: as `open_any`; NoSuchKeyError.
        """
        try:
            info = found.info
        except NoSuchKeyError:
            if found.content:
                found.content.close()
            raise
        content, member = found.content, found.member
        if content and found.placed.placement.is_single:
            return Download(member, content, byte_range)
        others = self._possible_holders(found)
        if content is None:
            member, content = open_any(member, others, name, info, byte_range)
        if not found.placed.placement.is_single:
            content = ResumedObject(content, name, byte_range, others)
        return Download(member, content, byte_range)

    def _possible_holders(self, found: Found) -> Iterator[Member]:
        """Yield all nodes but the first that may hold the found version.

        If all were asked, those that answered otherwise are left out: the version can
        be lost although they hold an older one.
        """
        names = [name for name, _ in found.copies]
        known = found.seen if found.is_wide else ()
        for quorum in found.placed.placement.quorums:
            names += [m.name for m in quorum.members if m.name not in known]
        members = found.placed.snapshot.members
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
        """Store an object on `r` nodes of its home, replacing an older version.

        With `if_match` or `if_absent` the body must be able to restart, because some
        nodes lock the key while a conditional upload arrives.

        Raises:
            PreconditionError: `if_match` or `if_absent` does not hold.
            BodyError: the client sent less than it announced; nothing is stored.
            NodeError, NoNodesError: the object may or may not be stored.
            NotSupportedError: the condition can't be checked atomically now.
        """
        placed = self.lookup.place_for_write(name)
        body = hold_if_small(body)
        label = Label(Stamp(0, 0))
        draft = Draft(name, body.length, label, headers, if_match, if_absent)
        try:
            return self._write(draft, body, placed)
        except NodeAccessError as exc:
            if not self._may_repeat(exc, placed) or not body.can_restart():
                raise
        return self._write(draft, body, self.lookup.place_for_write(name))

    def delete(self, name: ObjectName) -> Member:
        """Delete an object; returns a node that took part.

        A single copy is removed. Otherwise a tombstone is written over the object: with
        a removal, a node that is down could bring back an older version. If nodes are
        too full for it, and all answer, the copies are removed.

        Raises:
            NodeFullError: nodes are full, and not all nodes of the object answer.
            NodeError, NoNodesError: the object may or may not be deleted.
        """
        placed = self.lookup.place_for_write(name)
        try:
            return self._delete(name, placed)
        except NodeAccessError as exc:
            if not self._may_repeat(exc, placed):
                raise
        return self._delete(name, self.lookup.place_for_write(name))

    def _may_repeat(self, error: NodeAccessError, placed: Placed) -> bool:
        """Whether the node that refused the gateway's keys has new keys now."""
        return self.lookup.has_new_keys(error.node, placed.snapshot)

    def _delete(self, name: ObjectName, placed: Placed) -> Member:
        placement = placed.placement
        if placement.is_single:
            home = placement.home[0]
            home.call(lambda node: node.start_delete(name))
            home.tried_at = -math.inf  # it may have room now
            if self.lookup.same_write_set(placed, [home]):
                return home
        found = self.lookup.find(name, is_write=True)
        is_there = bool(found.copies) and not found.copies[0][1].is_deleted
        if not is_there and self.lookup.is_gone(name):
            return found.member
        newest = found.copies[0][1].version[0] if found.copies else Stamp(0, 0)
        stamp = self._stamps.next(newest)
        label = Label(stamp, is_deleted=True)
        draft = Draft(name, TOMBSTONE.length, label, {})
        members = found.placed.placement.home
        try:
            stored = self._write(draft, TOMBSTONE, found.placed, found)
        except NodeError as exc:
            has_full = any(member.is_full for member in members)
            if isinstance(exc, NodeAccessError) or not has_full:
                raise
            return self._delete_from_full_nodes(draft, stamp)
        make_room(members, name, stored.info)
        return stored.member

    def _delete_from_full_nodes(self, draft: Draft, stamp: Stamp) -> Member:
        try:
            return remove_everywhere(self.lookup, draft.name, stamp)
        except (NodeError, NoNodesError, ConflictError):
            # If some copies are gone, there may be room for what tells so.
            placed = self.lookup.place_for_write(draft.name)
        try:
            return self._write(draft, TOMBSTONE, placed).member
        except NodeError as exc:
            error = NodeFullError("the node is full, and others don't answer")
            error.node = exc.node
            raise error from exc

    def _write(
        self, draft: Draft, body: Body, placed: Placed, found: Found | None = None
    ) -> Stored:
        """Store a body; again, if the set of nodes changed meanwhile.

        `found` is the object's newest version, if it was looked up already; then the
        draft has its stamp.
        """
        stored: list[Stored] = []
        failure: NodeError | None = None
        for _ in range(MAX_ATTEMPTS):
            placed, draft = self._prepare(draft, placed, found)
            replicas = placed.placement.replicas
            candidates = iter(placed.placement.home)
            copies: list[Stored] = []
            if not stored or body.can_restart():
                fanout = Fanout(draft, candidates)
                copies = fanout.send(body, replicas, self._guard(draft))
                failure = fanout.failure
            if len(copies) < replicas:
                missing = replicas - len(copies)
                copies += complete(copies or stored, candidates, draft, missing)
            if len(copies) < replicas:
                raise failure or NodeError("too few nodes confirmed the upload")
            require_same(copies)
            if self.lookup.same_write_set(placed, [copy.member for copy in copies]):
                for copy in copies:
                    if copy.member.refusal and copy.member.is_full:
                        copy.member.note_stored()
                return copies[0]
            stored += copies
            # The condition held on the first nodes, and must not be checked again.
            draft = replace(draft, if_match=None, if_absent=False)
            placed, found = self.lookup.place_for_write(draft.name), None
        raise ConflictError("the set of nodes keeps changing")

    def _guard(self, draft: Draft) -> Callable[[], None] | None:
        """Return a check to call before the last piece of a long upload is sent.

        Without the check, an upload that took an hour could replace a newer version,
        which was stored meanwhile. That version would then be lost on this node.
        """
        if draft.is_guarded or not draft.keeps_newer:
            return None

        def refuse_if_superseded() -> None:
            copies = self.lookup.find(draft.name, is_write=True).copies
            if copies and copies[0][1].version[0] > draft.label.stamp:
                raise ConflictError("another upload of the object was faster")

        return refuse_if_superseded

    def _prepare(
        self, draft: Draft, placed: Placed, found: Found | None
    ) -> tuple[Placed, Draft]:
        """Choose the placement of an upload, and a stamp greater than those found.

        If `found` is given, the draft has such a stamp already.
        """
        is_deleted, is_stamped = draft.label.is_deleted, found is not None
        is_blind = placed.placement.is_single and not is_deleted
        newest_stamp = Stamp(0, 0)
        if draft.if_match is not None or draft.if_absent:
            draft = self._translate_condition(draft, placed.placement)
        if not is_blind:
            found = found or self.lookup.find(draft.name, is_write=True, placed=placed)
            placed = found.placed
            require_home(placed.placement)
            draft = replace(draft, seen=found.seen)
            if found.copies:
                newest_stamp = found.copies[0][1].version[0]
        stamp = draft.label.stamp if is_stamped else self._stamps.next(newest_stamp)
        label = Label(stamp, placed.placement.epoch, is_deleted)
        return placed, replace(draft, label=label, keeps_newer=not is_blind)

    def _translate_condition(self, draft: Draft, placement: Placement) -> Draft:
        """Return a draft whose condition treats a tombstone as no object."""
        require_single(placement)
        held = placement.home[0].head(draft.name)
        if held is None or not held.is_deleted:
            return draft
        if draft.if_match:
            raise PreconditionError("the object was deleted")
        return replace(draft, if_absent=False, if_match=TOMBSTONE_ETAG)

    def require_conditional(self, name: ObjectName) -> None:
        """Check that an upload of the object may have a condition.

        Raises: NotSupportedError; NoNodesError, if that is unknown.
        """
        require_single(self.lookup.place_for_write(name).placement)

    # Nodes

    def start(self) -> None:
        """Begin to follow the nodes, before the first request needs them."""
        self._membership.start()

    def close(self) -> None:
        """Stop following the nodes."""
        self._membership.close()

    def states(self, seconds: float = STATES_SECONDS) -> dict[str, State]:
        """Check all nodes, and try whether they store; return their states by name.

        A node whose check takes longer than that is silent.
        """
        members = self._membership.snapshot().members
        deadline = time.monotonic() + seconds
        answers = ask_all(
            members.values(), lambda node: node.start_check(), deadline=deadline
        )
        try_uploads(
            members[name]
            for name, answer in answers.items()
            if not isinstance(answer, GatewayError)
        )
        return {
            name: state_of(members[name], answer) for name, answer in answers.items()
        }

    def skipped(self, states: Mapping[str, State]) -> dict[str, State]:
        """Return new states for those that `states` tells to answer but are skipped."""
        members = self._membership.snapshot().members
        return {
            name: state_of(members[name], members[name].failure)
            for name, state in states.items()
            if state.can_read and name in members and members[name].is_skipped
        }

    def snapshot(self, seconds: float = math.inf) -> Snapshot:
        """Return the nodes as known here; waits that long for their first list."""
        return self._membership.snapshot(seconds)


def require_single(placement: Placement) -> None:
    """Raises: NotSupportedError, if there is no single node to check a condition."""
    if not placement.is_single:
        raise NotSupportedError(
            "A conditional upload needs REPLICAS=1 and a set of nodes that does "
            "not change now"
        )


def require_same(copies: Sequence[Stored]) -> None:
    """Raises: NodeProtocolError, if nodes confirmed different bytes."""
    for copy in copies:
        if copy.info.etag != copies[0].info.etag:
            raise NodeProtocolError("nodes stored different bytes")
