"""Large objects as streams: splits uploads into parts, joins parts for reading."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator

from amazin.errors import BodyError, LateError, NodeProtocolError
from amazin.model.bodies import Body, HeldBody
from amazin.model.manifest import Span
from amazin.model.objects import ObjectInfo
from amazin.nodes.interface import NodeObject


class JoinedObject:
    """A `NodeObject` whose bytes are in parts; one part at a time is open."""

    def __init__(
        self,
        info: ObjectInfo,
        spans: Iterator[Span],
        open_part: Callable[[Span], NodeObject],
    ) -> None:
        """`open_part` opens exactly the bytes of a span. Raises: NodeError."""
        self.info = info
        self._spans = spans
        self._open_part = open_part
        self._part: NodeObject | None = None
        self._missing = 0
        """Bytes of the open part that were not read yet."""

    def read(self) -> bytes:
        """See `NodeObject`."""
        while not self._missing:
            self._close_part()
            span = next(self._spans, None)
            if span is None:
                return b""
            self._part = self._open_part(span)
            self._missing = span.length
        chunk = self._part.read() if self._part else b""
        if not chunk or len(chunk) > self._missing:
            raise NodeProtocolError("a part has another number of bytes")
        self._missing -= len(chunk)
        return chunk

    def close(self) -> None:
        """See `NodeObject`."""
        self._spans = iter(())
        self._close_part()

    def _close_part(self) -> None:
        if self._part:
            self._part.close()


class Pieces:
    """A body that is read once, in pieces of given lengths."""

    def __init__(self, body: Body) -> None:
        self._chunks = iter(body.chunks())
        self._rest = b""
        self._md5 = hashlib.md5(usedforsecurity=False)

    @property
    def md5(self) -> str:
        """The MD5 of everything read so far, in hex."""
        return self._md5.hexdigest()

    def take(self, length: int) -> Iterator[bytes]:
        """Yield the next `length` bytes. Raises: BodyError; as the body."""
        while length:
            chunk = self._rest or next(self._chunks, b"")
            if not chunk:
                raise BodyError("The body ended before its announced length")
            chunk, self._rest = chunk[:length], chunk[length:]
            length -= len(chunk)
            self._md5.update(chunk)
            yield chunk


class ManifestBody(HeldBody):
    """A manifest that is sent in time or not at all.

    It checks the time when it is sent, not before the nodes are asked, because a
    process may be suspended at any point.
    """

    def __init__(self, data: bytes, is_late: Callable[[], bool]) -> None:
        super().__init__(data)
        self._is_late = is_late

    def read(self) -> bytes:
        """See `HeldBody`. Raises: LateError."""
        if self._is_late():
            raise LateError("The upload took longer than 12 hours; nothing is stored")
        return super().read()


class PartBody:
    """The next part of a body; see `Body`."""

    def __init__(self, pieces: Pieces, length: int) -> None:
        self.length = length
        self._pieces = pieces
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._is_read = False

    @property
    def md5(self) -> str:
        """The MD5 of the bytes read so far, in hex."""
        return self._md5.hexdigest()

    def chunks(self) -> Iterable[bytes]:
        """See `Body`."""
        self._is_read = True
        for chunk in self._pieces.take(self.length):
            self._md5.update(chunk)
            yield chunk

    def can_restart(self) -> bool:
        """See `Body`."""
        return not self._is_read
