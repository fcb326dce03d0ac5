"""Removes the parts of large objects that no manifest names; used by `repair`.

Overwritten, deleted and failed uploads leave such parts. A part is removed if it is a
day old and no node holds a manifest that names its upload. No such manifest can be
written later: an upload has to end within half a day (`cluster/large_objects.py`). Nor
can one be on a node that was not asked: all nodes take part, and all objects were
repaired before.

Uploads are checked one after another, in constant memory.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Iterator, Mapping

from amazin.errors import NodeError, PreconditionError
from amazin.membership.member import Member
from amazin.model.manifest import owner_of, refers_to
from amazin.model.objects import ObjectInfo, ObjectName
from amazin.model.stored_names import shown, upload_of_part
from amazin.nodes.interface import Node, Pending
from amazin.repair.objects import KeyRepair, RepairContext, head

PART_NS = 24 * 3600 * 10**9
"""A part younger than this is not removed."""

Copies = Mapping[str, ObjectInfo]
"""The info about each copy of a part, by node."""
log = logging.getLogger("amazin.repair")


class OrphanParts:
    """One run over all parts."""

    def __init__(
        self,
        context: RepairContext,
        key_repair: KeyRepair,
        is_dry_run: bool,
        begin_ns: int,
    ) -> None:
        """`begin_ns` is the Unix time at which the repair of all objects began.

        Counts removed parts in the report of `key_repair`; in a dry run, the parts that
        would be removed.
        """
        self._context = context
        self._key_repair = key_repair
        self._is_dry_run = is_dry_run
        self._newest_ns = begin_ns - PART_NS

    def run(self, listed: Iterable[tuple[ObjectName, Copies]]) -> Iterator[None]:
        """Remove the unneeded ones of these parts, which are in key order.

        Yields after each part.

        Raises:
            RepairError: the set of nodes changed.
            NodeError: `listed` raised it.
        """
        for upload_id, parts in itertools.groupby(
            listed, key=lambda part: upload_of_part(part[0])
        ):
            usage = _PartUsage(self._context, upload_id or "")
            is_kept = upload_id is None
            for name, copies in parts:
                try:
                    is_kept = is_kept or not self._collect(name, copies, usage)
                except NodeError as exc:
                    log.warning("%s can't be judged now: %s", shown(name), exc)
                    self._key_repair.note_failure()
                    is_kept = True
                yield

    def _collect(self, name: ObjectName, copies: Copies, usage: _PartUsage) -> bool:
        """Remove a part if it is unneeded; return False if its upload is needed.

        A part that is too young stays. Raises: NodeError, RepairError.
        """
        held = self._labelled(name, copies)
        if not all(self._is_old(info) for info in held.values()):
            return True
        if not all(usage.may_go(info) for info in held.values()):
            return False
        sizes = [
            info.size if self._is_dry_run else self._remove(name, node, info)
            for node, info in held.items()
        ]
        report = self._key_repair.report
        report.parts += any(sizes)
        report.part_bytes += sum(sizes)
        return True

    def _labelled(self, name: ObjectName, copies: Copies) -> Copies:
        """Return the copies with their labels; ask nodes whose listings have none."""
        members = self._context.members
        asked = {
            node: info if info.label else head(members[node], name)
            for node, info in copies.items()
        }
        return {node: info for node, info in asked.items() if info}

    def _is_old(self, info: ObjectInfo) -> bool:
        stamp = info.label.stamp if info.label else None
        return stamp is not None and stamp.nanoseconds <= self._newest_ns

    def _remove(self, name: ObjectName, node: str, seen: ObjectInfo) -> int:
        """Remove a copy that has not changed; return its bytes, 0 if it stays."""
        member = self._context.members[node]

        def start(node: Node) -> Pending[None]:
            return node.start_delete(name, if_match=seen.etag)

        self._key_repair.check()  # the listing may be long ago
        held = head(member, name)
        if held is None or held.version != seen.version:
            return 0
        try:
            member.call(start, even_lost=True)
        except PreconditionError:
            return 0
        return seen.size


class _PartUsage:
    """Whether the parts of one upload are needed.

    The owner of a part is the object that it was uploaded for; nodes are asked once for
    each owner.
    """

    def __init__(self, context: RepairContext, upload_id: str) -> None:
        self._context = context
        self._upload_id = upload_id
        self._unneeded: set[ObjectName] = set()
        """Owners without a manifest that names this upload."""

    def may_go(self, part: ObjectInfo) -> bool:
        """Whether no manifest needs a part. Raises: NodeError: a node can't say."""
        owner = owner_of(part)
        if owner is None:
            return False
        if owner not in self._unneeded:
            if self._is_needed(owner):
                return False
            self._unneeded.add(owner)
        return True

    def _is_needed(self, owner: ObjectName) -> bool:
        """Whether a copy of the owner on any node names the upload."""
        context = self._context
        home = [member.name for member in context.place(owner).home]
        best = [name for name in home if name in context.names]
        for name in dict.fromkeys([*best, *sorted(context.names)]):
            # `Member.head` raises if the bucket is missing: only a node that lost its
            # disk may have none.
            ask = head if name in context.snapshot.lost else Member.head
            held = ask(context.members[name], owner)
            if held and refers_to(held, self._upload_id):
                return True
        return False
