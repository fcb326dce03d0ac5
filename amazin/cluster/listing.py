"""All objects in a range of names, in their order, by the read rule.

A read asks so many nodes of a key's home that it can't miss the newest version. A
listing asks so many of *all* nodes that this holds for every key there may be: all but
`r-1`; while the set of nodes changes, of both sets. It takes what their listings say,
key by key, each key once in its newest version; keys of which a node's listing does
not tell the version are looked up.

While it goes on nodes may fail and their set may change: then it goes on behind the
last key with the nodes that are right now, or fails. What is yielded was read under a
roster that may be acted on at that moment. A copy is only ever removed where a newer
roster, or another node of the home, has it: so no key is missed that was there all the
time, though the nodes' pages are read one after the other.

In constant memory: one page of each node.
"""

from __future__ import annotations

import heapq
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing

from amazin.cluster.lookup import MAX_ATTEMPTS, Lookup
from amazin.cluster.placement import Placement, Quorum, differ, newest, place
from amazin.cluster.quorum import ask
from amazin.errors import ConflictError, NodeError, NoSuchKeyError
from amazin.membership.member import Member
from amazin.membership.membership import Snapshot
from amazin.membership.roster import NodeSet, Roster
from amazin.model.objects import ObjectInfo, ObjectName

PROBE_KEY = "-"
"""No object has this key. A node that says so has the bucket, which the listing of a
missing bucket does not tell."""

Listed = tuple[str, ObjectInfo]


class Listing:
    """One walk over the keys of a bucket."""

    def __init__(self, lookup: Lookup, bucket: str, prefix: str, after: str) -> None:
        self._lookup = lookup
        self._bucket = bucket
        self._prefix = prefix
        self._last = after
        """The walk goes on behind this key."""

    def run(self) -> Iterator[Listed]:
        """Yield keys with what the objects are, in the order of the keys' UTF-8.

        Raises: NodeError, NoNodesError, ConflictError: it can't be told now, or from
            here on.
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
        """Return nodes enough for every key. Raises: NodeError, NoNodesError."""
        quorums = quorums_of_all(roster, snapshot.members)
        probe = ObjectName(self._bucket, PROBE_KEY)
        answers = ask(quorums, lambda node: node.start_head(probe))
        return [snapshot.members[name] for name in answers]

    def _open(self, member: Member) -> Generator[tuple[bytes, str, ObjectInfo]]:
        """Yield (key in UTF-8, node, info) of what one node lists."""
        try:
            for key, info in member.node.list_objects(
                self._bucket, self._prefix, self._last
            ):
                yield key.encode(), member.name, info
        except NodeError as exc:
            member.note_failure(exc)
            raise
        member.head(ObjectName(self._bucket, PROBE_KEY))

    def _decide(
        self, name: ObjectName, placement: Placement, seen: Mapping[str, ObjectInfo]
    ) -> ObjectInfo | None:
        """Return what an object is; None: by the read rule there is none."""
        counting = newest(placement, asked_anyway(placement, seen))
        if any(is_unknown(info) for info in seen.values()) or differ(counting):
            counting = self._lookup.find(name).copies
        if not counting or counting[0][1].is_deleted:
            return None
        return counting[0][1]


class _ViewChanged(Exception):  # noqa: N818 - no error: the walk begins anew
    """The set of nodes changed."""


def merged(
    cursors: Iterable[Iterator[tuple[bytes, str, ObjectInfo]]],
) -> Iterator[tuple[str, dict[str, ObjectInfo]]]:
    """Yield each key once, with what each node says of it."""
    key, seen = b"", dict[str, ObjectInfo]()
    for found, node, info in heapq.merge(*cursors, key=lambda entry: entry[0]):
        if found != key and seen:
            yield key.decode(), seen
            seen = {}
        key = found
        seen[node] = info
    if seen:
        yield key.decode(), seen


def asked_anyway(
    placement: Placement, seen: Mapping[str, ObjectInfo]
) -> list[tuple[str, ObjectInfo]]:
    """Return what the nodes hold that a read of the key would ask."""
    names = dict.fromkeys(
        m.name for quorum in placement.quorums for m in quorum.members
    )
    return [(name, seen[name]) for name in names if name in seen]


def is_unknown(info: ObjectInfo) -> bool:
    """Whether a listing told no more than size and ETag."""
    return info.label is None and not info.headers


def quorums_of_all(roster: Roster, members: Mapping[str, Member]) -> list[Quorum]:
    """Return how many of all nodes a listing needs, so that no key can be missed."""
    if roster.settled is None:
        return list(place(roster, members, b"").quorums)
    return [
        Quorum(
            there := present(nodes, roster, members), len(there) - spare(nodes, roster)
        )
        for nodes in roster.sets
    ]


def present(
    nodes: NodeSet, roster: Roster, members: Mapping[str, Member]
) -> list[Member]:
    """Return the nodes of a set but those that are given up."""
    return [members[name] for name in sorted(nodes.names - set(roster.forgotten))]


def spare(nodes: NodeSet, roster: Roster) -> int:
    """Return how many nodes may be missing while each home has a read quorum."""
    gone = len(nodes.names & set(roster.forgotten))
    return max(0, nodes.home_size - nodes.read_count - gone)
