"""What clients say about the bytes they send, and bodies that are checked against it.

Pure: knows no headers. Source of the CRCs: Koopman's and the CRC catalogue's
CRC-32/ISO-HDLC, CRC-32/ISCSI (crc32c) and CRC-64/NVME.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from amazin.errors import DigestError
from amazin.model.bodies import ClosableBody

DIGEST_BYTES: Mapping[str, int] = {
    "crc32": 4,
    "crc32c": 4,
    "crc64nvme": 8,
    "md5": 16,
    "sha1": 20,
    "sha256": 32,
    "sha512": 64,
}
"""The size of a digest, by its algorithm."""
_CRC_MODELS = {"crc32c": "CRC32-ISCSI", "crc64nvme": "CRC64-NVME"}


class Hash(Protocol):
    """What is asked of an object of `hashlib`."""

    def update(self, data: bytes, /) -> None:
        """Take the next bytes."""

    def digest(self) -> bytes:
        """Return the digest of all bytes so far."""


class Claim(NamedTuple):
    """What a client says about the bytes of a body."""

    source: str
    """What says it, for messages: the name of a header."""
    algorithm: str
    digest: bytes


class Crc:
    """A CRC as a `Hash`; its digest is big-endian, as in S3's headers."""

    def __init__(self, calculate: Callable[[bytes, int], int], size: int) -> None:
        """`calculate` continues the CRC of earlier bytes, of none: 0."""
        self._calculate = calculate
        self._size = size
        self._value = 0

    def update(self, data: bytes, /) -> None:
        """See `Hash`."""
        self._value = self._calculate(data, self._value)

    def digest(self) -> bytes:
        """See `Hash`."""
        return self._value.to_bytes(self._size, "big")


def new_hash(algorithm: str) -> Hash:
    """Return a hash without bytes; the algorithm is one of `DIGEST_BYTES`."""
    if algorithm == "crc32":
        return Crc(zlib.crc32, DIGEST_BYTES[algorithm])
    if model := _CRC_MODELS.get(algorithm):
        import anycrc  # not at the start: few clients need it, and it takes 10 ms

        return Crc(anycrc.Model(model).calc, DIGEST_BYTES[algorithm])
    return hashlib.new(algorithm, usedforsecurity=False)


class CheckedBody:
    """A body whose last piece comes only if all that is said about its bytes is true.

    So whoever stores it piece by piece never has all of a wrong one.
    """

    def __init__(self, body: ClosableBody, claims: Sequence[Claim]) -> None:
        self.length = body.length
        self._body = body
        self._claims = claims

    def chunks(self) -> Iterator[bytes]:
        """See `Body`. Raises: DigestError, instead of the last piece."""
        hashes = {claim.algorithm: new_hash(claim.algorithm) for claim in self._claims}
        held = b""
        for chunk in self._body.chunks():
            for hashed in hashes.values():
                hashed.update(chunk)
            if held:
                yield held
            held = chunk
        for source, algorithm, digest in self._claims:
            if hashes[algorithm].digest() != digest:
                raise DigestError(f"{source} is not the {algorithm} of what arrived")
        if held:
            yield held

    def can_restart(self) -> bool:
        """See `Body`."""
        return self._body.can_restart()

    def close(self) -> None:
        """Close the body."""
        self._body.close()
