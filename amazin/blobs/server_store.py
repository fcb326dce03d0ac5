"""Blob servers, old `sos` ones and ours, as one store of blobs.

Their set and order are the configuration's. A group's servers are mirrors: a blob is
written to `replicas` of the first group that takes it, and read from wherever it is.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import zip_longest

from amazin.blobs.download import CheckedContent
from amazin.blobs.node.node import BLOB_BUCKET, BlobNode
from amazin.blobs.search import Search
from amazin.blobs.sos_conf import BlobServer, shown
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

MOST_DAMAGED = 10_000
"""Wrong copies that are remembered."""


def blob_member(url: str, limits: TimeLimits) -> Member:
    """Return a server as this process sees it, its name without a password."""
    name = shown(url)
    return Member(NodeSpec(name, url), BlobNode(name, url, limits))


class ServerBlobs:
    """See `Blobs`. Thread-safe; servers that fail are skipped for a while."""

    def __init__(
        self,
        servers: Sequence[BlobServer],
        limits: TimeLimits,
        replicas: int,
        make_member: Callable[[str, TimeLimits], Member] = blob_member,
    ) -> None:
        """Take where the servers are; none is asked yet."""
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
        """Blobs, and servers that were found to have a wrong copy; the last ones."""

    def get(self, blob_id: str, choose: Chooser | None = None) -> Download:
        """See `Blobs`. A whole blob whose id is a SHA-1 is never given out wrong."""
        name = ObjectName(BLOB_BUCKET, blob_id)
        damaged = [m for m in self._members if (blob_id, m.name) in self._damaged]
        tiers = [[m for m in tier if m not in damaged] for tier in self._tiers()]
        tiers.append(damaged)
        info: ObjectInfo | None = None
        byte_range: ByteRange | None = None
        if choose:
            first, info = Search(tiers, starting_head(name)).run()
            byte_range = choose(info)
            if damaged:  # who asks may have begun with a wrong copy: all of it
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
        """See `Blobs`. What is stored is brought to `replicas` servers."""
        name = ObjectName(BLOB_BUCKET, blob_id)
        return Writing(name, body, headers, self._groups, self._replicas).run()

    def close(self) -> None:
        """Drop idle connections, and probe no server any more."""
        for member in self._members:
            member.close()

    def _note_damage(self, blob_id: str, member: Member) -> None:
        """Ask this server for this blob last from now on."""
        self._damaged[blob_id, member.name] = None
        while len(self._damaged) > MOST_DAMAGED:
            self._damaged.pop(next(iter(self._damaged)), None)

    def _refuse_if_unreadable(self, name: ObjectName) -> None:
        """Raise NodeError if a server has the blob after all.

        An old one also says that it has none where it can't read the file.
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
    """Return the question what is known of a blob."""
    return lambda node: node.start_head(name)


def starting_get(
    name: ObjectName, byte_range: ByteRange | None
) -> Callable[[Node], Pending[NodeObject]]:
    """Return the question for a blob, or a range of it."""

    def start(node: Node) -> Pending[NodeObject]:
        log.debug("Attempting retrieval from %s/blob/%s", node.name, name.key)
        return node.start_get(name, byte_range=byte_range)

    return start
