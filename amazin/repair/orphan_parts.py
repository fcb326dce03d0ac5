"""Removes the parts of large objects that no object needs: for `repair`.

What an overwritten, deleted or broken upload leaves. A part goes if it is a day old
and no node holds a manifest that names its upload. Nobody can write such a manifest
any more, because an upload has to end within half a day (`large_objects.py`); nor can
one come to light, because it is asked for when all nodes take part and every object has
been brought into its place.

One upload after the other, in constant memory.
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
"""No younger part is removed."""

Copies = Mapping[str, ObjectInfo]
"""By node: what it holds of a part."""
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
        """`begin_ns`: when the run began that brought all objects into their places.

        Counts in the key_repair's report, with a dry run what there is to do.
        """
        self._context = context
        self._key_repair = key_repair
        self._is_dry_run = is_dry_run
        self._newest_ns = begin_ns - PART_NS

    def run(self, listed: Iterable[tuple[ObjectName, Copies]]) -> Iterator[None]:
        """Judge all parts that are listed, in key order; stops after each.

        Raises:
            RepairError: the set of nodes changed.
            NodeError: as `listed`.
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
        """Remove a part that may go; returns whether others of its upload may, too.

        Raises: NodeError, RepairError.
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
        """Return what nodes hold, where their listings don't tell: by asking them."""
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
        """Remove a copy that is still what was seen; returns its bytes."""
        member = self._context.members[node]

        def start(node: Node) -> Pending[None]:
            return node.start_delete(name, if_match=seen.etag)

        self._key_repair.check()  # it may be long since the nodes were listed
        held = head(member, name)
        if held is None or held.version != seen.version:
            return 0
        try:
            member.call(start, even_lost=True)
        except PreconditionError:
            return 0
        return seen.size


class _PartUsage:
    """Whether the parts of one upload are needed; asks once for each owner."""

    def __init__(self, context: RepairContext, upload_id: str) -> None:
        self._context = context
        self._upload_id = upload_id
        self._unneeded: set[ObjectName] = set()
        """Owners that no node knows this upload of."""

    def may_go(self, part: ObjectInfo) -> bool:
        """Whether no manifest needs a part. Raises: NodeError, if that's not known."""
        owner = owner_of(part)
        if owner is None:
            return False
        if owner not in self._unneeded:
            if self._is_needed(owner):
                return False
            self._unneeded.add(owner)
        return True

    def _is_needed(self, owner: ObjectName) -> bool:
        """Whether any copy of the owner, wherever it is, names the upload."""
        context = self._context
        home = [member.name for member in context.place(owner).home]
        best = [name for name in home if name in context.names]
        for name in dict.fromkeys([*best, *sorted(context.names)]):
            # A bucket that was there, and is not now, is no answer.
            ask = head if name in context.snapshot.lost else Member.head
            held = ask(context.members[name], owner)
            if held and refers_to(held, self._upload_id):
                return True
        return False
