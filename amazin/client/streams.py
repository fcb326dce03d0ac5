"""Streams of uploads and downloads, which check the MD5."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Protocol, Self

from amazin.client.http import Answer, Transport
from amazin.client.objects import StoredObject, as_size, info_of, nonsense, path_of
from amazin.errors import (
    ClientError,
    DamagedError,
    LocalError,
    ObjectChangedError,
    RefusedError,
)
from amazin.model.headers import content_range


class Digest(Protocol):
    """A hash that is being computed."""

    def update(self, data: bytes, /) -> None:
        """Add more bytes."""

    def hexdigest(self) -> str:
        """Return the digest so far, in hex."""


class Readable(Protocol):
    """The source of an upload; it can be sent again if it has `seek` and `tell`."""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes; b"" at the end."""


class ObjectStream:
    """The bytes of one version of an object, in pieces; use it in a `with`.

    If the connection breaks, the download continues on a new one, as long as more bytes
    come. Iteration ends normally only if all bytes came; if the ETag is an MD5, they
    have this MD5.

    Iteration raises:
        ObjectChangedError: the object has another ETag now.
        DamagedError: the bytes have another MD5.
        ClientError: the download can't continue.
    """

    def __init__(
        self,
        transport: Transport,
        address: str,
        start: int,
        etag: str,
        digest: Digest | None,
    ) -> None:
        self._transport = transport
        self._address = address
        self._path = path_of(address)
        self._etag = etag
        self._digest = md5() if digest is None and not start else digest
        self.position = start
        """The position of the next byte in the object."""
        self._answer: Answer | None = None
        self.info = self._open(transport.send)
        """The properties of the object."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the connection. Idempotent."""
        answer, self._answer = self._answer, None
        if answer:
            answer.close()

    def __iter__(self) -> Iterator[bytes]:
        patience = self._transport.patience()
        while self.position < self.info.size:
            try:
                if self._answer is None:
                    self._open(self._transport.send_once)
                piece = self._read()
            except ClientError as exc:
                self.close()
                patience.pause(exc)
                continue
            patience.progress()
            yield piece
        if self._answer:
            self._transport.finish(self._answer)
        if self._digest and self.info.has_md5:
            self._compare(self._digest.hexdigest())

    def _compare(self, found: str) -> None:
        if found != self.info.etag:
            raise DamagedError("What came is not what was stored: its MD5 is another")

    def _read(self) -> bytes:
        assert self._answer is not None
        piece = self._transport.read(self._answer)
        if not piece:
            raise ClientError("The download ended early", 0.0)
        if len(piece) > self.info.size - self.position:
            raise nonsense()
        self._transport.throttle.take(len(piece))
        if self._digest:
            self._digest.update(piece)
        self.position += len(piece)
        return piece

    def _open(self, send: Callable[..., Answer]) -> StoredObject:
        headers = {}
        if self.position:
            headers["Range"] = f"bytes={self.position}-"
        if self._etag:
            headers["If-Match"] = f'"{self._etag}"'
        try:
            answer = send("GET", self._path, headers)
        except RefusedError as exc:
            if exc.status in (412, 416) or (self._etag and exc.status == 404):
                raise changed() from exc
            raise
        self._answer = answer
        try:
            info = info_of(self._address, answer, self._checked_size(answer))
            if self._etag and info.etag != self._etag:
                raise changed()
        except ClientError:
            self.close()
            raise
        self._etag = info.etag
        return info

    def _checked_size(self, answer: Answer) -> int:
        """Return the size of the object if the answer has the requested bytes.

        Raises: ClientError, ObjectChangedError.
        """
        if answer.status == 200 and not self.position:
            return as_size(answer.headers.get("Content-Length"))
        found = content_range(answer.headers)
        if answer.status != 206 or not found:
            raise changed()  # a server or proxy without ranges sends all bytes
        first, last, size = found
        if first != self.position or last != size - 1:
            raise nonsense()
        return size


class Upload:
    """The body of an upload, which can be sent several times if it has `seek`."""

    def __init__(
        self, transport: Transport, body: Readable, length: int | None
    ) -> None:
        self._transport = transport
        self._body = body
        self._length = length
        self._start = start_of(body)
        self.digest = md5()
        self.sent = 0

    @property
    def can_repeat(self) -> bool:
        """Whether the body can be sent again."""
        return self._start is not None

    def pieces(self) -> Iterator[bytes]:
        """Yield the body from its beginning. Raises: ClientError: it is too short."""
        if self.sent:
            self._body.seek(self._start)  # type: ignore[attr-defined]
        self.digest, self.sent = md5(), 0
        while (size := self._wanted()) and (piece := self._read(size)):
            self._transport.throttle.take(len(piece))
            self.digest.update(piece)
            self.sent += len(piece)
            yield piece
        if self._length is not None and self.sent < self._length:
            raise ClientError("What is to be stored is shorter than it was")

    def _wanted(self) -> int:
        most = self._transport.piece_bytes
        return most if self._length is None else min(most, self._length - self.sent)

    def _read(self, size: int) -> bytes:
        try:
            return self._body.read(size)
        # The transport would take an OSError for an error of the connection.
        except OSError as exc:
            raise LocalError(f"It can't be read: {exc.strerror}") from exc


def start_of(body: Readable) -> int | None:
    """Return the start position of a body; None: it can't be read again."""
    try:
        start: int = body.tell()  # type: ignore[attr-defined]
        body.seek(start)  # type: ignore[attr-defined]
    except (AttributeError, OSError):
        return None
    return start


def md5() -> hashlib._Hash:
    """Return a new MD5, which detects accidental damage but no attack."""
    return hashlib.md5(usedforsecurity=False)


def changed() -> ObjectChangedError:
    """Return the error for a download whose object was replaced."""
    return ObjectChangedError("The object changed while it was fetched")
