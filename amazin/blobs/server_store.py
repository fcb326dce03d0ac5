"""One store of blobs on several blob servers, old `sos` ones and ours.

The configuration gives the groups of servers and their order; the servers of a group
are mirrors. A blob is written to `replicas` servers of the first group that takes it,
and read from any server that has it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import zip_longest

from amazin.blobs.download import CheckedContent
from amazin.blobs.node.node import BlobNode
from amazin.blobs.search import Search
from amazin.blobs.sos_conf import BlobServer, shown
from amazin.blobs.store import BLOB_BUCKET
from amazin.blobs.upload import Groups, Writing
from amazin.cluster.cluster import Chooser, Download
from amazin.cluster.uploads import Stored
from amazin.errors import NodeError, NodeProtocolError, NoSuchKeyError
from amazin.membership.member import Member
from amazin.model.bodies import Body
from amazin.model.node_specs import NodeSpec, TimeLimits
from amazin.model.objects import UNKNOWN_SIZE, ByteRange, ObjectInfo, ObjectName
from amazin.nodes.interface import Node, NodeObject, Pending

log = logging.getLogger("amazin.blobs")

MAX_DAMAGED = 10_000
"""How many damaged copies are remembered."""


def blob_member(url: str, limits: TimeLimits) -> Member:
    """Return the member for a server; its name has no password."""
    name = shown(url)
    return Member(NodeSpec(name, url), BlobNode(name, url, limits))


class ServerBlobs:
    """The blobs of several servers, as `Blobs`. Thread-safe.

    A server that failed is skipped until it answers a probe.
    """

    def __init__(
        self,
        servers: Sequence[BlobServer],
        limits: TimeLimits,
        replicas: int,
        make_member: Callable[[str, TimeLimits], Member] = blob_member,
    ) -> None:
        """Send nothing yet. `replicas`: the number of copies of a new blob."""
        members: dict[str, Member] = {}
        groups: dict[str, list[Member]] = {}
        for server in servers:
            if server.url not in members:
                members[server.url] = make_member(server.url, limits)
            groups.setdefault(server.group, []).append(members[server.url])
        self._members = list(members.values())
        self._groups: Groups = list(groups.values())
        self._replicas = replicas
        self._damaged: dict[tuple[str, str], None] = {}
        """(id, server) of the last copies that were found damaged; an ordered set."""

    def get(self, blob_id: str, choose: Chooser | None = None) -> Download:
        """See `Blobs`. A whole blob whose id is a SHA-1 is checked."""
        name = ObjectName(BLOB_BUCKET, blob_id)
        damaged = [m for m in self._members if (blob_id, m.name) in self._damaged]
        tiers = [[m for m in tier if m not in damaged] for tier in self._tiers()]
        tiers.append(damaged)
        info: ObjectInfo | None = None
        byte_range: ByteRange | None = None
        if choose:
            first, info = Search(tiers, starting_head(name)).run()
            byte_range = choose(info)
            # The client may have the beginning of a damaged copy: send all bytes.
            if damaged:
                byte_range = None
            tiers = [[first], *tiers]
        search = Search(tiers, starting_get(name, byte_range))
        try:
            member, content = search.run()
        except NoSuchKeyError:
            self._refuse_if_unreadable(name)
            raise
        size = info.size if byte_range and info else UNKNOWN_SIZE
        if UNKNOWN_SIZE not in (size, content.info.size) and size != content.info.size:
            content.close()
            raise NodeProtocolError("the servers hold different bytes")
        others = self._others(member, search.absent)
        note_damage = partial(self._note_damage, blob_id)
        checked = CheckedContent(
            name, (member, content), others, byte_range, note_damage, size
        )
        return Download(checked.member, checked, byte_range)

    def head(self, blob_id: str) -> Stored:
        """See `Blobs`. The size may be unknown."""
        name = ObjectName(BLOB_BUCKET, blob_id)
        return Stored(*Search(self._tiers(), starting_head(name)).run())

    def put(self, blob_id: str, body: Body, headers: Mapping[str, str]) -> Stored:
        """See `Blobs`. A stored blob is copied until `replicas` servers have it."""
        name = ObjectName(BLOB_BUCKET, blob_id)
        return Writing(name, body, headers, self._groups, self._replicas).run()

    def close(self) -> None:
        """Close idle connections, and stop probing servers."""
        for member in self._members:
            member.close()

    def _note_damage(self, blob_id: str, member: Member) -> None:
        """Ask this server last for this blob from now on."""
        self._damaged[blob_id, member.name] = None
        while len(self._damaged) > MAX_DAMAGED:
            self._damaged.pop(next(iter(self._damaged)), None)

    def _refuse_if_unreadable(self, name: ObjectName) -> None:
        """Raise NodeError if HEAD finds the blob on a server.

        An old server answers 404 to GET also if it can't read the file.
        """
        with suppress(NoSuchKeyError):
            member, _ = Search(self._tiers(), starting_head(name)).run()
            error = NodeError("the server can't read the blob now")
            error.node = member.name
            raise error

    def _tiers(self) -> Iterator[Sequence[Member]]:
        """Yield the first servers of the groups, then the second ones, and so on."""
        for tier in zip_longest(*self._groups):
            yield [member for member in tier if member]

    def _others(self, opened: Member, absent: set[str]) -> Iterator[Member]:
        for tier in self._tiers():
            for member in tier:
                if member is not opened and member.name not in absent:
                    yield member

    def __repr__(self) -> str:
        return f"<ServerBlobs {self._groups!r}>"


def starting_head(name: ObjectName) -> Callable[[Node], Pending[ObjectInfo]]:
    """Return what starts a HEAD of a blob on a node."""
    return lambda node: node.start_head(name)


def starting_get(
    name: ObjectName, byte_range: ByteRange | None
) -> Callable[[Node], Pending[NodeObject]]:
    """Return what starts a GET of a blob, or of a range, on a node."""

    def start(node: Node) -> Pending[NodeObject]:
        log.debug("Attempting retrieval from %s/blob/%s", node.name, name.key)
        return node.start_get(name, byte_range=byte_range)

    return start
