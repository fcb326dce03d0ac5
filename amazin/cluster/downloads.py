"""Downloads that continue with another copy if a node fails."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

from amazin.errors import (
    GatewayError,
    LostCopyError,
    NodeError,
    NodeProtocolError,
    NoSuchKeyError,
    PreconditionError,
)
from amazin.membership.member import Member
from amazin.model.objects import ByteRange, ObjectInfo, ObjectName
from amazin.nodes.interface import Node, NodeObject, Pending
from amazin.request_limits import has_node_failed

Failure = TypeVar("Failure", bound=GatewayError)


def open_copy(
    member: Member, name: ObjectName, info: ObjectInfo, byte_range: ByteRange | None
) -> NodeObject:
    """Open the copy on this node that `info` describes.

    Raises:
        PreconditionError: the node holds another version, or none.
        NodeError: the response is not usable, or there is none.
    """

    def start(node: Node) -> Pending[NodeObject]:
        return node.start_get(name, byte_range=byte_range, if_match=info.etag)

    try:
        content = member.call(start)
    except NoSuchKeyError as exc:
        raise PreconditionError("deleted between the two requests") from exc
    if content.info.version != info.version:
        content.close()
        raise PreconditionError("overwritten between the two requests")
    if content.info.size != info.size:
        content.close()
        raise NodeProtocolError("the node sent another number of bytes")
    return content


class OtherVersionError(PreconditionError):
    """A node failed, and another holds another version: an older or a newer one."""


def open_any(
    member: Member,
    others: Iterator[Member],
    name: ObjectName,
    info: ObjectInfo,
    byte_range: ByteRange | None,
) -> tuple[Member, NodeObject]:
    """Open the copy on this node; if it fails, on the first of the others that has it.

    Raises:
        PreconditionError: the first node holds another version, or none.
        OtherVersionError: it failed, and another holds another version, or none.
        NodeError: no response is usable.
    """
    failure: NodeError | None = None
    has_other = False
    while True:
        try:
            return member, open_copy(member, name, info, byte_range)
        except PreconditionError:
            if failure is None:
                raise
            has_other = True
        except NodeError as exc:
            failure = exc if failure is None else worse(failure, exc)
        following = next(others, None)
        if following is None:
            break
        member = following
    if has_other:
        raise OtherVersionError("another version is there") from failure
    raise failure


def worse(failure: Failure, later: Failure) -> Failure:
    """Return which of two nodes' errors to raise: the first.

    But an object is lost only if all copies are, and not if another node failed.
    """
    return later if isinstance(failure, LostCopyError) else failure


class ResumedObject:
    """A `NodeObject` that continues with the next node if one fails."""

    def __init__(
        self,
        content: NodeObject,
        name: ObjectName,
        byte_range: ByteRange | None,
        others: Iterator[Member],
    ) -> None:
        """`others` are the nodes that may hold the same version."""
        self.info = content.info
        self._content = content
        self._name = name
        self._first, self._last = byte_range or (0, content.info.size - 1)
        self._others = others

    def read(self) -> bytes:
        """See `NodeObject`."""
        while True:
            try:
                chunk = self._content.read()
                if chunk or self._first > self._last:
                    break
                raise NodeError("the node's answer is too short")
            except NodeError as exc:
                self._content.close()
                self._content = self._resume(exc)
        self._first += len(chunk)
        return chunk

    def _resume(self, error: NodeError) -> NodeObject:
        has_node_failed.set(True)
        rest = (self._first, self._last)
        for member in self._others:
            try:
                return open_copy(member, self._name, self.info, rest)
            except (NodeError, PreconditionError):
                continue
        raise error

    def close(self) -> None:
        """See `NodeObject`."""
        self._content.close()


class NamedObject:
    """A `NodeObject` among many of one response: its errors say which one it is."""

    def __init__(self, content: NodeObject, key: str, node: str) -> None:
        self.info = content.info
        self._content = content
        self._key = key
        self._node = node

    def read(self) -> bytes:
        """See `NodeObject`."""
        try:
            return self._content.read()
        except NodeError as exc:
            exc.key, exc.node = self._key, exc.node or self._node
            raise

    def close(self) -> None:
        """See `NodeObject`."""
        self._content.close()
