"""Digests of bytes, and bodies whose last piece waits for them."""

from __future__ import annotations

import pytest

from amazin.errors import DigestError
from amazin.model.bodies import HeldBody
from amazin.model.digests import DIGEST_BYTES, CheckedBody, Claim, new_hash

PIECES = [b"123", b"4567", b"89"]
CHECKED = b"123456789"
"""What catalogues of CRCs give the CRC of."""
DIGESTS = {
    "crc32": "cbf43926",
    "crc32c": "e3069283",
    "crc64nvme": "ae8b14860a799888",
    "md5": "25f9e794323b453885f5181f1b624d0b",
    "sha1": "f7c3bc1d808e04732adf679965ccc34ca7ae3441",
    "sha256": "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225",
    "sha512": (
        "d9e6762dd1c8eaf6d61b3c6192fc408d4d6d5f1176d0c29169bc24e71c3f274a"
        "d27fcd5811b313d681f7e55ec02d73d499c95455b6b5bb503acf574fba8ffe85"
    ),
}


class Pieces(HeldBody):
    """A body in these pieces, which may be closed."""

    is_closed = False

    def __init__(self, pieces: list[bytes]) -> None:
        super().__init__(b"".join(pieces))
        self._pieces = pieces

    def chunks(self) -> list[bytes]:
        return self._pieces

    def close(self) -> None:
        self.is_closed = True


def claims(**wrong: bytes) -> list[Claim]:
    """Return what is true of `CHECKED`, but for these."""
    return [
        Claim(name, name, wrong.get(name, bytes.fromhex(digest)))
        for name, digest in DIGESTS.items()
    ]


@pytest.mark.parametrize("algorithm", DIGEST_BYTES)
def test_digests(algorithm: str) -> None:
    hashed = new_hash(algorithm)
    for piece in PIECES:
        hashed.update(piece)
    assert hashed.digest().hex() == DIGESTS[algorithm]
    assert len(hashed.digest()) == DIGEST_BYTES[algorithm]
    assert len(new_hash(algorithm).digest()) == DIGEST_BYTES[algorithm]


@pytest.mark.parametrize("pieces", [PIECES, [CHECKED]])
def test_a_body_that_is_what_was_said_comes_whole(pieces: list[bytes]) -> None:
    body = CheckedBody(Pieces(pieces), claims())
    assert body.length == len(CHECKED)
    for _ in range(2):
        assert body.can_restart()
        assert list(body.chunks()) == pieces


@pytest.mark.parametrize("algorithm", DIGEST_BYTES)
def test_the_last_piece_of_another_body_never_comes(algorithm: str) -> None:
    wrong = claims(**{algorithm: bytes(DIGEST_BYTES[algorithm])})
    came = []
    with pytest.raises(DigestError, match=f"^{algorithm} is not the {algorithm} "):
        for piece in CheckedBody(Pieces(PIECES), wrong).chunks():
            came.append(piece)
    assert came == PIECES[:-1]


def test_all_claims_of_one_algorithm_count() -> None:
    digest = bytes.fromhex(DIGESTS["md5"])
    both = [Claim("one", "md5", digest), Claim("two", "md5", digest[::-1])]
    with pytest.raises(DigestError, match="two"):
        list(CheckedBody(Pieces(PIECES), both).chunks())


def test_nothing_is_not_what_was_said() -> None:
    with pytest.raises(DigestError):
        list(CheckedBody(Pieces([]), claims()).chunks())


def test_the_body_is_closed() -> None:
    inner = Pieces(PIECES)
    CheckedBody(inner, claims()).close()
    assert inner.is_closed
