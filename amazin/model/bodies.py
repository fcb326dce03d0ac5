"""What clients upload, whole in memory or as it comes; and digests of bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Protocol

from amazin.model.objects import CHUNK_BYTES


class Body(Protocol):
    """The body of an upload."""

    length: int

    def chunks(self) -> Iterable[bytes]:
        """Yield `length` bytes in all. Raises: BodyError, if the client sends fewer."""

    def can_restart(self) -> bool:
        """Whether a call of `chunks` now would yield the body from its beginning."""


class ClosableBody(Body, Protocol):
    """A body that may own a resource: a file, a node's connection."""

    def close(self) -> None:
        """Release the resource. Idempotent."""


class HeldBody:
    """A small body held in memory, so that it can be sent more than once."""

    def __init__(self, data: bytes) -> None:
        self.length = len(data)
        self._data = data

    @property
    def etag(self) -> str:
        """The body's MD5 in hex."""
        return hashlib.md5(self._data, usedforsecurity=False).hexdigest()

    def read(self) -> bytes:
        """Return the whole body."""
        return self._data

    def chunks(self) -> Iterable[bytes]:
        """See `Body`."""
        data = self.read()
        return (data,) if data else ()

    def can_restart(self) -> bool:
        """See `Body`."""
        return True

    def close(self) -> None:
        """Do nothing: the body owns nothing."""


def digest_of(chunks: Iterable[bytes], algorithm: str) -> tuple[int, str]:
    """Read all chunks; return their size and their digest in hex."""
    size, (digest,) = digests_of(chunks, algorithm)
    return size, digest


def digests_of(chunks: Iterable[bytes], *algorithms: str) -> tuple[int, list[str]]:
    """As `digest_of`, for several algorithms."""
    size, digests = 0, [hashlib.new(name, usedforsecurity=False) for name in algorithms]
    for chunk in chunks:
        size += len(chunk)
        for digest in digests:
            digest.update(chunk)
    return size, [digest.hexdigest() for digest in digests]


def hold_if_small(body: Body) -> Body:
    """Return the body, read into memory if it is small. Raises: BodyError."""
    if isinstance(body, HeldBody) or body.length > CHUNK_BYTES:
        return body
    if body.can_restart():
        return HeldBody(b"".join(body.chunks()))
    return body
