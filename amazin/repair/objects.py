"""Repairs single keys: copies objects to their homes, and removes stale copies.

`plan.py` decides what has to be done. All writes are conditional on the copies that
were found, and a copy is removed only if a second look finds the same.
"""

from __future__ import annotations

import hashlib
import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import IO

from amazin.cluster.copy_reading import may_be
from amazin.cluster.downloads import open_copy, worse
from amazin.cluster.placement import Placement, place
from amazin.cluster.uploads import Draft
from amazin.errors import (
    GatewayError,
    LostCopyError,
    NodeError,
    NodeProtocolError,
    NoSuchBucketError,
    NoSuchKeyError,
    PreconditionError,
    RepairError,
)
from amazin.membership.asking import ask_all
from amazin.membership.member import Member
from amazin.membership.membership import Membership
from amazin.membership.roster import Roster
from amazin.membership.snapshot import Snapshot
from amazin.model.objects import CHUNK_BYTES, Label, ObjectInfo, ObjectName, Stamp
from amazin.nodes.interface import Node, NodeObject, Pending
from amazin.repair.plan import TOMBSTONE_BYTES, CopyStep, Plan, Seen, plan
from amazin.repair.report import Options, Report
from amazin.workers import Throttle

MAX_LOOKS = 6
"""Times that a key is looked at before it is left for the next run."""
HELD_BYTES = 8 * 2**20
"""Objects up to this size are buffered in memory, larger ones on disk."""


class RepairContext:
    """The nodes and the roster that a run works with."""

    def __init__(
        self,
        snapshot: Snapshot,
        roster: Roster,
        names: frozenset[str],
        is_complete: bool,
    ) -> None:
        self.snapshot = snapshot
        self.roster = roster
        self.names = names
        """The nodes that take part."""
        self.members = snapshot.members
        self.is_complete = is_complete
        """Whether all nodes take part and no gateway acts by an older roster."""

    def place(self, name: ObjectName) -> Placement:
        """Return the homes of a key."""
        return place(self.roster, self.members, name.hash_key)


class KeyRepair:
    """Repairs single keys, and counts in `report`. Thread-safe."""

    def __init__(
        self,
        membership: Membership,
        context: RepairContext,
        options: Options,
        clock_ns: Callable[[], int],
    ) -> None:
        self._membership = membership
        self._context = context
        self._options = options
        self._clock_ns = clock_ns
        self.throttle = Throttle(options.bytes_per_second)
        self._lock = threading.Lock()
        self.report = Report()

    def repair(
        self,
        name: ObjectName,
        listed: Mapping[str, ObjectInfo],
        damaged: Mapping[str, ObjectInfo] | None = None,
    ) -> int:
        """Repair one key, until a look finds nothing left to do; once in a dry run.

        `listed`: its entries in the nodes' listings, by node; `damaged`: the copies
        found so. Returns how many damaged copies were replaced.

        Raises:
            RepairError: the set of nodes changed; the run has to end.
            NodeError, PreconditionError: this key has to wait for another run.
        """
        bad, before, mended = dict(damaged or {}), Plan(), 0
        for look in range(MAX_LOOKS):
            placement = self._context.place(name)
            seen = with_damage(self._look(placement, name, listed), bad)
            todo = self._plan(placement, seen)
            self._note_seen(todo, before, is_first=look == 0)
            if self._options.is_dry_run:
                self._count(todo)
                return 0
            self._require_sound(todo)
            self.check()
            if todo.copies:
                mended += self._copy_all(placement, name, seen, todo.copies, bad)
            elif todo.removals and todo == before:
                self._remove_all(name, seen, todo.removals)
            elif not todo.removals:
                if todo.is_short:
                    raise NodeError("too few nodes of its home can be reached")
                return mended
            before = todo
        raise NodeError("it keeps changing")

    def note_failure(self, count: int = 1, *, is_lost: bool = False) -> None:
        """Count a key that has to wait for another run; `is_lost`: no copy is whole."""
        with self._lock:
            self.report.failures += count
            self.report.left.waiting += count
            self.report.left.unrepairable += is_lost

    def _note_seen(self, todo: Plan, before: Plan, *, is_first: bool) -> None:
        """Note what a look at a key found, in place of what the look before found."""
        with self._lock:
            left = self.report.left
            left.under_replicated += todo.is_scarce - before.is_scarce
            left.misplaced += todo.is_misplaced - before.is_misplaced
            if is_first:
                self.report.under_replicated += todo.is_scarce
                self.report.misplaced += todo.is_misplaced

    def _count(self, todo: Plan) -> None:
        with self._lock:
            self.report.copies += len(todo.copies)
            self.report.bytes += sum(step.info.size for step in todo.copies)
            self.report.removals += len(todo.removals)
            self.report.lost += todo.is_lost
        is_failure = todo.is_short or todo.is_torn or todo.is_lost
        self.note_failure(int(is_failure), is_lost=todo.is_lost)

    def _plan(self, placement: Placement, seen: Seen) -> Plan:
        return plan(placement, seen, self._context.is_complete, self._clock_ns())

    def _require_sound(self, todo: Plan) -> None:
        """Raises: NodeError, if no copy can be told to be the right one."""
        if todo.is_torn:
            raise NodeProtocolError("copies of one version are not the same")
        if todo.is_lost:
            with self._lock:
                self.report.lost += 1
            raise LostCopyError("all its copies are damaged or gone")

    def check(self) -> None:
        """Check that nodes and roster are as at the start. Raises: RepairError."""
        now = self._membership.fresh_snapshot()
        if not self._membership.is_fresh(now) or now.roster != self._context.roster:
            raise RepairError("the set of nodes changed")
        if now.lost - self._context.snapshot.lost:
            raise RepairError("a node has lost its disk")

    def _look(
        self,
        placement: Placement,
        name: ObjectName,
        listed: Mapping[str, ObjectInfo],
    ) -> Seen:
        """Ask all nodes that may hold the key; leave out those that fail.

        Raises: NodeError, if too few answer to be sure of the newest version.
        """
        context = self._context
        names = {
            member.name for quorum in placement.quorums for member in quorum.members
        }
        names.update(listed)
        # A small object may be a tombstone, which any node may hold.
        if any(info.size <= TOMBSTONE_BYTES for info in listed.values()):
            names.update(context.roster.holders)
        members = [context.members[node] for node in names & context.names]
        answers = ask_all(members, lambda node: node.start_head(name), even_lost=True)
        seen: dict[str, ObjectInfo | None] = {}
        for node, answer in answers.items():
            if isinstance(answer, ObjectInfo):
                seen[node] = answer
            elif isinstance(answer, NoSuchBucketError | NoSuchKeyError):
                seen[node] = None
            elif context.is_complete:
                raise answer
        for quorum in placement.quorums:
            answered = seen.keys() - context.snapshot.lost
            if sum(m.name in answered for m in quorum.members) < quorum.needed:
                raise NodeError("too few nodes of its home can be reached")
        return seen

    def _copy_all(
        self,
        placement: Placement,
        name: ObjectName,
        seen: Seen,
        steps: Iterable[CopyStep],
        bad: dict[str, ObjectInfo],
    ) -> int:
        """Make these copies; return how many were made in place of damaged ones."""
        mended = 0
        for step in steps:
            try:
                self._copy(placement, name, step)
            except PreconditionError:  # a client wrote meanwhile; the next look sees it
                continue
            bad.pop(step.target, None)
            old = seen.get(step.target)
            mended += old is not None and old.is_damaged
        with self._lock:
            self.report.mended += mended
        return mended

    def _copy(self, placement: Placement, name: ObjectName, step: CopyStep) -> None:
        """Copy one object through a temporary file.

        MinIO locks the key while the body arrives, so that must not take long.
        """
        with tempfile.SpooledTemporaryFile(
            HELD_BYTES, dir=self._options.spool_dir
        ) as file:
            self._fetch(name, step, file)
            file.seek(0)
            if step.info.size > CHUNK_BYTES or self._options.bytes_per_second:
                self._require_source(name, step)
            stored = self._send(placement, name, step, file)
        if stored.etag != step.info.etag:
            raise NodeProtocolError("the copy has another ETag than its source")
        with self._lock:
            self.report.copies += 1
            self.report.bytes += step.info.size

    def _fetch(self, name: ObjectName, step: CopyStep, file: IO[bytes]) -> None:
        """Read the object into `file` from the first source that succeeds.

        Raises: NodeError, PreconditionError: the error of the first source; but
            LostCopyError only if all sources are damaged.
        """
        failure: GatewayError | None = None
        for source in step.sources:
            file.seek(0)
            file.truncate()
            try:
                member = self._context.members[source]
                content = open_copy(member, name, step.info, None)
                with closing(content):
                    self._receive(content, file)
                return
            except (NodeError, PreconditionError) as exc:
                failure = worse(failure, exc) if failure else exc
        raise failure or NodeError("no node has it")

    def _receive(self, content: NodeObject, file: IO[bytes]) -> None:
        """Raises: NodeError, also if the node sends other bytes than it was sent."""
        digest = hashlib.md5(usedforsecurity=False)
        for chunk in iter(content.read, b""):
            self.throttle.take(len(chunk))
            digest.update(chunk)
            file.write(chunk)
        if not may_be(content.info.etag, digest.hexdigest()):
            raise LostCopyError("the copy is damaged")

    def _require_source(self, name: ObjectName, step: CopyStep) -> None:
        """Check that a node still has what was read, which took long.

        Full nodes remove what is deleted, without a tombstone: a copy would be back.
        Raises: PreconditionError, NodeError.
        """
        for source in step.sources:
            held = head(self._context.members[source], name)
            if held and held.version == step.info.version:
                return
        raise PreconditionError("the object was changed or removed")

    def _send(
        self, placement: Placement, name: ObjectName, step: CopyStep, file: IO[bytes]
    ) -> ObjectInfo:
        info = step.info
        label = info.label or Label(Stamp(max(1, info.modified_ns), 0))

        draft = Draft(
            name,
            info.size,
            label._replace(epoch=placement.epoch),
            info.headers,
            if_match=step.if_match,
            if_absent=step.if_match is None,
        )
        target = self._context.members[step.target]
        if info.size <= CHUNK_BYTES:
            put = partial(draft.put(target), file.read())
            return target.call(put, even_lost=True)
        chunks = iter(partial(file.read, CHUNK_BYTES), b"")
        return target.store(draft.upload(target), chunks, even_lost=True)

    def _remove_all(
        self, name: ObjectName, seen: Seen, removals: Iterable[tuple[str, str]]
    ) -> None:
        for member_name, etag in removals:
            member = self._context.members[member_name]

            def start(node: Node, etag: str = etag) -> Pending[None]:
                return node.start_delete(name, if_match=etag)

            self.check()  # the last look may be long ago
            held = head(member, name)
            if held != seen.get(member_name):
                return
            try:
                member.call(start, even_lost=True)
            except PreconditionError:
                return
            with self._lock:
                self.report.removals += 1


def with_damage(seen: Seen, bad: Mapping[str, ObjectInfo]) -> Seen:
    """Return what the nodes hold; those copies damaged that still are what was bad."""

    def known(node: str, info: ObjectInfo | None) -> ObjectInfo | None:
        is_bad = info and node in bad and info.version == bad[node].version
        return replace(info, is_damaged=True) if info and is_bad else info

    return {node: known(node, info) for node, info in seen.items()} if bad else seen


def head(member: Member, name: ObjectName) -> ObjectInfo | None:
    """Return the info about a node's copy; None: no key, or no bucket.

    A node that lost its disk is asked, too. Raises: NodeError.
    """
    try:
        return member.head(name, even_lost=True)
    except NoSuchBucketError:
        return None
