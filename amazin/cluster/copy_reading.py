"""Reads one copy of an object on one node, to tell whether its bytes are right."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace

from amazin.errors import LostCopyError, NodeBusyError, NodeError, NoSuchKeyError
from amazin.membership.member import SKIP_AFTER, Member
from amazin.model.objects import ObjectInfo, ObjectName
from amazin.nodes.interface import NodeObject, VerifyingNode

_MD5 = re.compile("[0-9a-f]{32}")
_IS_UNREAD = (NodeBusyError, *SKIP_AFTER)
"""Failures that tell nothing of the copy."""
Take = Callable[[int], object]
"""Called with the size of each piece before it is used."""


def may_be(etag: str, md5: str) -> bool:
    """Whether bytes with this MD5 may have the ETag; not every ETag is an MD5."""
    return etag == md5 or not _MD5.fullmatch(etag)


def read_copy(
    member: Member, name: ObjectName, take: Take = lambda size: None
) -> ObjectInfo | None:
    """Read a whole copy; return its info, which says whether it is damaged or gone.

    None: the node has none. Raises: NodeError, if it can't be told now.
    """
    try:
        return _read_again(member, name, take)
    except NoSuchKeyError:
        return None
    except _IS_UNREAD:
        raise
    except NodeError as exc:
        # The node answers, and can't send it: so do S3 nodes that verify what they
        # read. HEAD tells whether it still knows what that was.
        if is_verifying(member) and not isinstance(exc, LostCopyError):
            raise
        info = member.head(name)
        return info and replace(info, is_damaged=True)


def _read_again(member: Member, name: ObjectName, take: Take) -> ObjectInfo:
    try:
        return _read(member, name, take)
    except (LostCopyError, *_IS_UNREAD):
        raise
    except NodeError:  # it may have been the network
        return _read(member, name, take)


def _read(member: Member, name: ObjectName, take: Take) -> ObjectInfo:
    content = member.call(lambda node: node.start_get(name))
    with closing(content):
        is_right = _is_right(content, is_verifying(member), take)
    return replace(content.info, is_damaged=not is_right)


def _is_right(content: NodeObject, is_verified: bool, take: Take) -> bool:
    size, digest = 0, hashlib.md5(usedforsecurity=False)
    for chunk in iter(content.read, b""):
        take(len(chunk))
        size += len(chunk)
        if not is_verified:
            digest.update(chunk)
    is_same = is_verified or may_be(content.info.etag, digest.hexdigest())
    return is_same and size == content.info.size


def is_verifying(member: Member) -> bool:
    """Whether the node has verified what it sends."""
    return isinstance(member.node, VerifyingNode)
