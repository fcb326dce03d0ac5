"""The rules, each broken on purpose; the promise has to notice every one.

Each mutant is a function that breaks the product by replacing one attribute, and gives
it back afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

from amazin.cluster import cluster, listing, lookup, placement, quorum, stamps, uploads
from amazin.errors import GatewayError, NodeError, NoSuchBucketError
from amazin.membership import member, roster, roster_store
from amazin.model.objects import Stamp
from amazin.repair import objects


@contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Put something else in an attribute's place for a while."""
    before = vars(owner)[name]
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def write_too_few() -> Any:
    """W = r - 1."""
    real = placement.Placement.replicas.fget  # type: ignore[attr-defined]
    few = property(lambda self: max(1, real(self) - 1))
    return replaced(placement.Placement, "replicas", few)


def read_too_few() -> Any:
    """404 from too few nodes: R = m - r."""
    real = vars(roster.NodeSet)["read_count"].func
    few = property(lambda self: max(1, real(self) - 1))
    return replaced(roster.NodeSet, "read_count", few)


@contextmanager
def believe_lost_disks() -> Iterator[None]:
    """A wiped node counts as answering."""

    take, refuse = quorum.QuorumRead._has_answered, member.Member._refuse

    def believe(self: Any, inquiry: Any) -> bool:
        if take(self, inquiry):
            return True
        name = inquiry.member.name
        if isinstance(self._failures[name], NoSuchBucketError):
            del self._failures[name]
            self.answers[name] = None
        return name in self.answers

    def refuse_skipped(self: Any, even_lost: bool) -> None:
        refuse(self, even_lost=True)

    with (
        replaced(quorum.QuorumRead, "_has_answered", believe),
        replaced(member.Member, "_refuse", refuse_skipped),
    ):
        yield


def trust_own_clock() -> Any:
    """Stamps come from the local clock alone."""
    real = stamps.Stamps.next
    return replaced(stamps.Stamps, "next", lambda self, seen: real(self, Stamp(0, 0)))


def delete_for_good() -> Any:
    """Deletes without tombstones."""

    def delete(self: Any, name: Any, placed: Any) -> Any:
        done = []
        for node in placed.placement.home:
            with suppress(NodeError):
                node.call(lambda node: node.start_delete(name))
                done.append(node)
        if len(done) < placed.placement.replicas:
            raise NodeError("too few")
        return done[0]

    return replaced(cluster.Cluster, "_delete", delete)


def remove_by_a_quorum() -> Any:
    """Copies are removed from full nodes though a node is missing."""

    def ask_enough(self: Any, name: Any, placed: Any) -> Any:
        return self.find(name, is_write=True, placed=placed).seen

    return replaced(lookup.Lookup, "ask_everyone", ask_enough)


def clean_up() -> Any:
    """What a failed overwrite has stored is removed."""
    real = cluster.Cluster._write

    def write(self: Any, draft: Any, *rest: Any) -> Any:
        try:
            return real(self, draft, *rest)
        except GatewayError:
            for node in self.lookup.place(draft.name).placement.home:
                with suppress(GatewayError):
                    node.call(lambda node: node.start_delete(draft.name))
            raise

    return replaced(cluster.Cluster, "_write", write)


def repair_blindly() -> Any:
    """`repair` copies unconditionally."""
    real = objects.KeyRepair._send

    def send(self: Any, placement: Any, name: Any, step: Any, file: Any) -> Any:
        blind = BlindContext(self._context)
        self._context, context = blind, self._context
        try:
            return real(self, placement, name, step, file)
        finally:
            self._context = context

    return replaced(objects.KeyRepair, "_send", send)


class BlindContext:
    """A `RepairContext` whose nodes ignore all conditions of an upload."""

    def __init__(self, context: Any) -> None:
        self.members = {name: BlindMember(m) for name, m in context.members.items()}


class BlindMember:
    """See `BlindContext`."""

    def __init__(self, real: Any) -> None:
        self._real = real

    def call(self, start: Callable[[Any], Any], **options: Any) -> Any:
        return self._real.call(lambda node: start(BlindNode(node)), **options)

    def store(self, start: Callable[[Any], Any], *rest: Any, **options: Any) -> Any:
        return self._real.store(lambda node: start(BlindNode(node)), *rest, **options)


class BlindNode:
    """See `BlindContext`."""

    def __init__(self, real: Any) -> None:
        self._real = real

    def start_put(self, *arguments: Any, **conditions: Any) -> Any:
        return self._real.start_put(*arguments)

    def start_upload(self, *arguments: Any, **conditions: Any) -> Any:
        return self._real.start_upload(*arguments)


def write_by_next_at_once() -> Any:
    """Writes go by the next set as soon as it is announced."""
    return replaced(roster_store.RosterStore, "has_waited", lambda self, roster: True)


def repair_at_once() -> Any:
    """`repair` does not wait until all gateways write by the next set."""
    return replaced(
        roster_store.RosterStore, "is_due", lambda self, roster: roster.is_open
    )


def read_one_home() -> Any:
    """Reads ask one of the two homes only."""
    real = placement.place

    def place(*arguments: Any) -> Any:
        found = real(*arguments)
        return replace(found, quorums=found.quorums[:1])

    return replaced(lookup, "place", place)


def believe_old_views() -> Any:
    """What was read by an old roster is told all the same."""
    return replaced(lookup.Lookup, "still_holds", lambda self, snapshot: True)


def acknowledge_by_old_views() -> Any:
    """An upload is acknowledged though the set of nodes changed."""
    return replaced(lookup.Lookup, "same_write_set", lambda self, placed, members: True)


def believe_leftovers() -> Any:
    """Copies count wherever they lie, whatever their epoch."""
    return replaced(placement.Placement, "counts", lambda self, name, epoch: True)


def acknowledge_one_copy() -> Any:
    """Missing copies are not made before the acknowledgement."""
    real = uploads.complete

    def complete(sources: Any, targets: Any, draft: Any, count: int) -> Any:
        made = real(sources, targets, draft, count)
        return made + list(sources[:1]) * (count - len(made))

    return replaced(cluster, "complete", complete)


def list_too_few() -> Any:
    """A listing does without one node more than replicas cover."""
    real = listing.spare
    return replaced(listing, "spare", lambda nodes, roster: real(nodes, roster) + 1)


@contextmanager
def list_lost_disks() -> Iterator[None]:
    """What a listing does not show is not there, also on a disk that is a new one."""

    def answering(self: Any, snapshot: Any, roster: Any) -> Any:
        quorums = listing.quorums_of_all(roster, snapshot.members)
        named = {m.name: m for q in quorums for m in q.members[: q.needed]}
        return list(named.values())

    def open_blindly(self: Any, node: Any) -> Any:
        for key, info in node.node.list_objects("store", self._prefix, self._last):
            yield key.encode(), node.name, info

    with (
        replaced(listing.Listing, "_answering", answering),
        replaced(listing.Listing, "_open", open_blindly),
    ):
        yield


def forget_lost_copies() -> Any:
    """A copy whose bytes are lost counts as none."""

    def deny(self: Any, node: Any) -> bool:
        self.answers[node.name] = None
        return True

    return replaced(quorum.QuorumRead, "_has_version", deny)


MUTANTS = (
    write_too_few,
    read_too_few,
    believe_lost_disks,
    trust_own_clock,
    delete_for_good,
    remove_by_a_quorum,
    clean_up,
    repair_blindly,
    write_by_next_at_once,
    repair_at_once,
    read_one_home,
    believe_old_views,
    acknowledge_by_old_views,
    believe_leftovers,
    acknowledge_one_copy,
    list_too_few,
    list_lost_disks,
    forget_lost_copies,
)
