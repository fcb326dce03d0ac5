"""Uploads of blobs: to `replicas` servers of the first group that takes the blob."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import cached_property

from amazin.blobs.search import find_copies
from amazin.blobs.store import is_sha1
from amazin.cluster.uploads import Draft, Fanout, Stored
from amazin.errors import (
    DifferentContentError,
    GatewayError,
    NodeError,
    NodeFullError,
    NoNodesError,
    NoSuchKeyError,
    PreconditionError,
)
from amazin.membership.member import Member
from amazin.model.bodies import Body, digest_of, hold_if_small
from amazin.model.objects import Label, ObjectInfo, ObjectName, Stamp

Groups = Sequence[Sequence[Member]]
"""The servers of each group, in the configuration's order."""

log = logging.getLogger("amazin.blobs")


class Writing:
    """One upload of a blob; servers that have the blob are not sent it again."""

    def __init__(
        self,
        name: ObjectName,
        body: Body,
        headers: Mapping[str, str],
        groups: Groups,
        replicas: int,
    ) -> None:
        self._name = name
        self._body = hold_if_small(body)
        self._headers = headers
        self._groups = groups
        self._replicas = replicas
        self._is_different = False
        """Whether a server holds other bytes under the id."""

    def run(self) -> Stored:
        """Store the blob; copies of a stored blob keep its headers.

        Raises:
            DifferentContentError: other bytes are stored under the id.
            NodeFullError: every group is full.
            NodeError, NoNodesError: in no group did enough servers store it.
        """
        members = {member.name: member for group in self._groups for member in group}
        found = find_copies(members.values(), lambda node: node.start_head(self._name))
        failures: list[GatewayError] = []
        for group in self._by_copies(found):
            try:
                return self._store_in(group, found)
            except PreconditionError as exc:
                raise DifferentContentError from exc
            except (NodeError, NoNodesError) as exc:
                failures.append(exc)
            if not self._body.can_restart():
                break
        if self._is_different:
            raise DifferentContentError
        raise next(
            (exc for exc in failures[::-1] if not isinstance(exc, NodeFullError)),
            failures[-1] if failures else NoNodesError("No blob servers are known"),
        )

    def _by_copies(self, found: Mapping[str, ObjectInfo]) -> Groups:
        """Return the groups, those with the most copies first."""
        return sorted(
            self._groups,
            key=lambda group: sum(member.name in found for member in group),
            reverse=True,
        )

    def _store_in(
        self, group: Sequence[Member], found: Mapping[str, ObjectInfo]
    ) -> Stored:
        """Store the blob on `replicas` servers of a group; return one of the copies.

        Raises: DifferentContentError, NodeError, NoNodesError: as `run`.
        """
        copies: list[Stored] = []
        targets: list[Member] = []
        for member in group:
            if member.name not in found:
                targets.append(member)
            elif len(copies) < self._replicas:
                self._judge(Stored(member, found[member.name]), copies, targets)
        missing = self._replicas - len(copies)
        if missing > 0:
            headers = copies[0].info.headers if copies else self._headers
            copies += self._send(targets, missing, headers)
        return copies[0]

    def _send(
        self, targets: Sequence[Member], count: int, headers: Mapping[str, str]
    ) -> list[Stored]:
        if len(targets) < count:
            raise NoNodesError("Too few blob servers can store the blob")
        length, label = self._body.length, Label(Stamp(0, 0))
        draft = Draft(self._name, length, label, headers, keeps_newer=False)

        def until_full() -> Iterator[Member]:
            """Yield targets until one is full: then its mirrors are full, too."""
            for member in targets:
                if isinstance(fanout.failure, NodeFullError):
                    return
                yield member

        # If the id is a SHA-1, a server with other bytes has a damaged copy: the upload
        # continues with other servers.
        fanout = Fanout(
            draft, until_full(), tolerates_conflicts=is_sha1(self._name.key)
        )
        try:
            stored = fanout.send(self._body, count)
        finally:
            self._is_different |= fanout.has_conflict
        if len(stored) < count:
            raise fanout.failure or NodeError("too few servers confirmed the upload")
        return stored

    def _judge(self, copy: Stored, copies: list[Stored], targets: list[Member]) -> None:
        """Add a copy to `copies` if it has the right bytes, or its server to `targets`.

        A server is a target if the upload replaces the copy. Only old servers, which
        have no ETag, do that; their copies may be the beginnings of blobs.

        Raises: DifferentContentError.
        """
        info = copy.info
        if info.size == self._body.length and info.etag in ("", self._md5):
            copies.append(copy)
            return
        try:
            stored, digest = read_copy(copy.member, self._name)
        except NoSuchKeyError:
            targets.append(copy.member)
            return
        except NodeError:
            return
        if digest in ("", self._sha1):
            copies.append(stored)
            return
        if not is_sha1(self._name.key):
            raise DifferentContentError
        log.warning("blob %s is damaged on %s", self._name.key, copy.member.name)
        if info.etag:
            self._is_different = True
        else:
            targets.append(copy.member)

    @cached_property
    def _md5(self) -> str:
        """The MD5 of the body; empty if it can be read only once."""
        return self._digest("md5")

    @cached_property
    def _sha1(self) -> str:
        """The id if it is a SHA-1, else the body's; empty if it is read only once."""
        key = self._name.key
        return key if is_sha1(key) else self._digest("sha1")

    def _digest(self, algorithm: str) -> str:
        if not self._body.can_restart():
            return ""
        return digest_of(self._body.chunks(), algorithm)[1]


def read_copy(member: Member, name: ObjectName) -> tuple[Stored, str]:
    """Read a stored copy; return it, its size known now, and its SHA-1.

    Raises: NoSuchKeyError, NodeError.
    """
    with closing(member.call(lambda node: node.start_get(name))) as content:
        size, sha1 = digest_of(iter(content.read, b""), "sha1")
    return Stored(member, replace(content.info, size=size)), sha1
