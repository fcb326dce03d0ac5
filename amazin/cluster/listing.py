"""Lists all objects in a range of names, in order, by the read rule.

A read asks enough nodes of a key's home that it can't miss the newest version. A
listing asks enough of *all* nodes that this holds for every possible key: all but
`r-1`, and while the set of nodes changes, all but `r-1` of both sets. It merges the
listings of these nodes, with each key once in its newest version. If a node's listing
lacks the version of a key, the key is looked up.

During a listing, nodes may fail and the set of nodes may change. Then the listing
continues behind the last key with the nodes that are right at that time, or fails.
Every key that it yields was read by a roster that was still valid at that moment. A
copy is removed only if a newer roster or another node of the home has it. So no key is
missed that existed all the time, although the nodes are read one after the other.

Uses constant memory: one page of each node.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing

from amazin.cluster.lookup import MAX_ATTEMPTS, Lookup
from amazin.cluster.placement import Placement, Quorum, differ, newest, place
from amazin.cluster.quorum import ask
from amazin.errors import ConflictError, NodeError, NoSuchKeyError
from amazin.membership.member import Member
from amazin.membership.roster import NodeSet, Roster
from amazin.membership.snapshot import Snapshot
from amazin.model.objects import ObjectInfo, ObjectName
from amazin.model.stored_names import shown

PROBE_KEY = "-"
"""No object has this key. A node that answers so has the bucket; a listing would not
tell, because a missing bucket lists as empty."""

Listed = tuple[str, ObjectInfo]


class Listing:
    """One listing of the keys of a bucket."""

    def __init__(self, lookup: Lookup, bucket: str, prefix: str, after: str) -> None:
        self._lookup = lookup
        self._bucket = bucket
        self._prefix = prefix
        self._last = after
        """The listing continues behind this key."""
        self._failed: set[str] = set()
        """Nodes whose listing failed: others are listed, if there are enough."""

    def run(self) -> Iterator[Listed]:
        """Yield keys with the info of their objects, in the order of the keys' UTF-8.

        Raises: NodeError, NoNodesError, ConflictError: the listing can't begin or
        continue.
        """
        failures = 0
        while True:
            before = self._last
            try:
                yield from self._walk()
                return
            except NoSuchKeyError:  # nothing was ever stored
                return
            except (NodeError, _ViewChanged) as exc:
                failures = failures + 1 if self._last == before else 1
                if failures == MAX_ATTEMPTS:
                    if isinstance(exc, NodeError):
                        last = ObjectName(self._bucket, self._last)
                        exc.key = f"behind {shown(last)}" if self._last else ""
                        raise
                    raise ConflictError("the set of nodes keeps changing") from exc

    def _walk(self) -> Iterator[Listed]:
        snapshot, roster = self._lookup.current()
        members = self._answering(snapshot, roster)
        with ExitStack() as stack:
            cursors = [
                stack.enter_context(closing(self._open(member))) for member in members
            ]
            for key, seen in merged(cursors):
                if not self._lookup.still_holds(snapshot):
                    raise _ViewChanged
                name = ObjectName(self._bucket, key)
                placement = place(roster, snapshot.members, name.hash_key)
                info = self._decide(name, placement, seen)
                self._last = key
                if info:
                    yield key, info
        if not self._lookup.still_holds(snapshot):
            raise _ViewChanged

    def _answering(self, snapshot: Snapshot, roster: Roster) -> list[Member]:
        """Return enough nodes for every key. Raises: NodeError, NoNodesError."""
        quorums = quorums_of_all(roster, snapshot.members)
        others = [without(self._failed, quorum) for quorum in quorums]
        if all(len(quorum.members) >= quorum.needed for quorum in others):
            quorums = others
        probe = ObjectName(self._bucket, PROBE_KEY)
        answers = ask(quorums, lambda node: node.start_head(probe))
        return [snapshot.members[name] for name in answers]

    def _open(self, member: Member) -> Generator[tuple[bytes, str, ObjectInfo]]:
        """Yield (key in UTF-8, node name, info) from one node's listing."""
        try:
            for key, info in member.node.list_objects(
                self._bucket, self._prefix, self._last
            ):
                yield key.encode(), member.name, info
        except NodeError as exc:
            member.note_failure(exc)
            self._failed.add(member.name)
            raise
        member.head(ObjectName(self._bucket, PROBE_KEY))

    def _decide(
        self, name: ObjectName, placement: Placement, seen: Mapping[str, ObjectInfo]
    ) -> ObjectInfo | None:
        """Return the newest version's info; None: no object, by the read rule."""
        counting = newest(placement, copies_in_quorums(placement, seen))
        if any(is_unknown(info) for info in seen.values()) or differ(counting):
            counting = self._lookup.find(name).copies
        if not counting or counting[0][1].is_deleted:
            return None
        return counting[0][1]


class _ViewChanged(Exception):  # noqa: N818 - no error: the listing starts again
    """The set of nodes changed."""


def merged(
    cursors: Iterable[Iterator[tuple[bytes, str, ObjectInfo]]],
) -> Iterator[tuple[str, dict[str, ObjectInfo]]]:
    """Yield each key once, with the infos from all nodes by node name."""
    key, seen = b"", dict[str, ObjectInfo]()
    for found, node, info in heapq.merge(*cursors, key=lambda entry: entry[0]):
        if found != key and seen:
            yield key.decode(), seen
            seen = {}
        key = found
        seen[node] = info
    if seen:
        yield key.decode(), seen


def copies_in_quorums(
    placement: Placement, seen: Mapping[str, ObjectInfo]
) -> list[tuple[str, ObjectInfo]]:
    """Return the infos from those nodes that a read of the key would ask."""
    names = dict.fromkeys(
        m.name for quorum in placement.quorums for m in quorum.members
    )
    return [(name, seen[name]) for name in names if name in seen]


def is_unknown(info: ObjectInfo) -> bool:
    """Whether a listing had only the size and ETag of an object."""
    return info.label is None and not info.headers


def quorums_of_all(roster: Roster, members: Mapping[str, Member]) -> list[Quorum]:
    """Return the quorums over all nodes that a listing needs to miss no key."""
    if roster.settled is None:
        return list(place(roster, members, b"").quorums)
    return [
        Quorum(
            there := present(nodes, roster, members), len(there) - spare(nodes, roster)
        )
        for nodes in roster.sets
    ]


def without(names: Collection[str], quorum: Quorum) -> Quorum:
    """Return a quorum that needs as many nodes, but none of these."""
    members = [member for member in quorum.members if member.name not in names]
    return Quorum(members, quorum.needed)


def present(
    nodes: NodeSet, roster: Roster, members: Mapping[str, Member]
) -> list[Member]:
    """Return the nodes of a set without those that were given up."""
    return [members[name] for name in sorted(nodes.names - set(roster.forgotten))]


def spare(nodes: NodeSet, roster: Roster) -> int:
    """Return how many nodes may fail while each home still has a read quorum."""
    gone = len(nodes.names & set(roster.forgotten))
    return max(0, nodes.home_size - nodes.read_count - gone)
