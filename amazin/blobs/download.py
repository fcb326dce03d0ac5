"""Downloads of blobs: checks the bytes, and changes servers when one fails."""

from __future__ import annotations

import hashlib
import logging
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace

from amazin.blobs.store import is_sha1
from amazin.errors import (
    NodeError,
    NodeProtocolError,
    NoSuchKeyError,
    PreconditionError,
)
from amazin.membership.member import Member
from amazin.model.objects import (
    CHUNK_BYTES,
    UNKNOWN_SIZE,
    ByteRange,
    ObjectInfo,
    ObjectName,
)
from amazin.nodes.interface import NodeObject

log = logging.getLogger("amazin.blobs")


class WrongBytesError(NodeProtocolError):
    """A server sent bytes whose SHA-1 is not their id."""


class CheckedContent:
    """The bytes of a blob: a `NodeObject` that changes servers when one fails.

    If the id is a SHA-1 and the whole blob is read, the last piece is given out only
    when the SHA-1 of all bytes is right. Other downloads can't be checked.
    """

    def __init__(
        self,
        name: ObjectName,
        opened: tuple[Member, NodeObject],
        others: Iterator[Member],
        byte_range: ByteRange | None = None,
        note_damage: Callable[[Member], object] = lambda member: None,
        size: int = UNKNOWN_SIZE,
    ) -> None:
        """Read the first piece of an open copy, which is closed here.

        `others` are the servers to continue on. `size` is the size of the whole blob
        for which the range was chosen: an old server may not report it.

        Raises:
            NodeError: no server sends the first piece.
        """
        self.member, self._content = opened
        self.info = self._content.info
        if self.info.size == UNKNOWN_SIZE:
            self.info = replace(self.info, size=size)
        self._name = name
        self._others = others
        self._note_damage = note_damage
        self._first, self._last = byte_range or (0, self.info.size - 1)
        self._is_whole = byte_range is None
        self._is_measured = self.info.size != UNKNOWN_SIZE
        self._is_checked = self._is_whole and is_sha1(name.key)
        self._fetched: deque[bytes] = deque()
        """Pieces that were fetched but not returned."""
        self._rest = b""
        """The next bytes, which came in one piece with bytes that were dropped."""
        self._is_complete = False
        self._start()

    def _start(self) -> None:
        self._begin_anew()
        try:
            self._read_ahead()
        except BaseException:
            self.close()
            raise

    def _begin_anew(self) -> None:
        self._fetched.clear()
        self._next = self._first
        """The position of the next byte to fetch."""
        self._digest = hashlib.sha1(usedforsecurity=False)

    def _read_ahead(self) -> None:
        """Fetch the first `CHUNK_BYTES`; a blob that is smaller is then checked."""
        while not self._is_complete and self._next - self._first < CHUNK_BYTES:
            try:
                self._fetch()
            except WrongBytesError as exc:
                self._content.close()
                self._begin_anew()
                self._open_next(exc)
        if self._is_complete and self._next - self._first <= CHUNK_BYTES:
            self._fetched = deque([b"".join(self._fetched)])
        if self._is_complete and self._is_whole:
            self.info = replace(self.info, size=self._next)

    def read(self) -> bytes:
        """See `NodeObject`."""
        held_back = 1 if self._is_checked else 0
        while not self._is_complete and len(self._fetched) <= held_back:
            self._fetch()
        return self._fetched.popleft() if self._fetched else b""

    def _fetch(self) -> None:
        """Fetch the next piece, or note that all have come. Raises: NodeError."""
        if chunk := self._receive():
            self._next += len(chunk)
            self._fetched.append(chunk)
            if self._is_checked:
                self._digest.update(chunk)
        elif self._is_checked and self._digest.hexdigest() != self._name.key:
            self._replace_damaged()
        else:
            self._is_complete = True
            log.debug("\tFound, read %d bytes", self._next - self._first)

    def _replace_damaged(self) -> None:
        """Continue on another server: the copy may be only the beginning of the blob.

        Raises: WrongBytesError: the size was known, nothing was returned yet, or no
            other server has the blob.
        """
        log.warning("blob %s is damaged on %s", self._name.key, self.member.name)
        self._note_damage(self.member)
        error = WrongBytesError("the server has wrong bytes under this id")
        if self._is_measured or self._next < CHUNK_BYTES:
            raise error
        self._content.close()
        self._open_next(error)

    def _receive(self) -> bytes:
        """Return the next bytes, from any server; b"" at the end. Raises: NodeError."""
        while True:
            chunk, self._rest = self._rest, b""
            if chunk:
                return chunk
            try:
                chunk = self._content.read()
                if chunk or not self._is_measured or self._next > self._last:
                    return chunk
                raise NodeProtocolError("the server's answer is too short")
            except NodeError as exc:
                self._content.close()
                self.member.note_failure(exc)
                self._open_next(exc)

    def _open_next(self, error: NodeError) -> None:
        """Continue on another server. Raises: the given error, if none has the blob."""
        log.debug("\tError fetching: %s", error)
        for member in self._others:
            try:
                self._content = self._opened(member)
                self.member = member
                return
            except (NodeError, NoSuchKeyError, PreconditionError):
                continue
        raise error

    def _opened(self, member: Member) -> NodeObject:
        """Open a server's copy at the next byte. Raises: as `Pending.wait`."""
        is_begun = self._next > 0 or not self._is_whole
        wanted = (self._next, self._last) if is_begun and self._is_measured else None
        content = member.call(
            lambda node: node.start_get(self._name, byte_range=wanted)
        )
        try:
            self._require_same(content.info)
            if wanted is None:
                self._drop(content)
        except BaseException:
            content.close()
            raise
        return content

    def _require_same(self, info: ObjectInfo) -> None:
        """Check that a copy may have the same bytes. Raises: NodeProtocolError."""
        if self._is_whole and self._next == 0:
            self.info = info
            self._is_measured = info.size != UNKNOWN_SIZE
            self._last = info.size - 1
        elif UNKNOWN_SIZE not in (info.size, self.info.size) and (
            info.size != self.info.size
        ):
            raise NodeProtocolError("the server holds another number of bytes")
        elif info.etag and self.info.etag and info.etag != self.info.etag:
            raise NodeProtocolError("the server holds other bytes")

    def _drop(self, content: NodeObject) -> None:
        """Drop the bytes before the next one to fetch.

        Raises:
            NodeError: also if they differ from the bytes read so far.
        """
        missing, digest = self._next, hashlib.sha1(usedforsecurity=False)
        rest = b""
        while missing:
            chunk = content.read()
            if not chunk:
                raise NodeProtocolError("the server's copy is shorter")
            digest.update(chunk[:missing])
            rest = chunk[missing:]
            missing -= min(missing, len(chunk))
        if self._is_checked and digest.digest() != self._digest.digest():
            raise WrongBytesError("the servers have different bytes under this id")
        self._rest = rest

    def close(self) -> None:
        """See `NodeObject`."""
        self._content.close()
