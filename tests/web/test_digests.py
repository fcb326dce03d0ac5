"""What requests say about their bodies, in all forms that there are."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amazin.errors import HTTPError
from amazin.model.digests import Claim, new_hash
from amazin.web.digests import CLAIMS, claims_of

BODY = b"a cat"


def digest(algorithm: str) -> bytes:
    hashed = new_hash(algorithm)
    hashed.update(BODY)
    return hashed.digest()


def encoded(algorithm: str) -> str:
    return b64encode(digest(algorithm)).decode()


def said(**headers: str) -> list[tuple[str, bytes]]:
    """Return algorithms and digests; headers as in the environ, without HTTP_."""
    environ = {f"HTTP_{name}": value for name, value in headers.items()}
    return [(algorithm, value) for _, algorithm, value in claims_of(environ)]


def refusal(**headers: str) -> HTTPError:
    with pytest.raises(HTTPError) as caught:
        said(**headers)
    assert (caught.value.status, caught.value.code) == (400, "InvalidDigest")
    return caught.value


@pytest.mark.parametrize(
    "algorithm", ["crc32", "crc32c", "crc64nvme", "sha1", "sha256"]
)
def test_checksums_of_s3(algorithm: str) -> None:
    header = f"X_AMZ_CHECKSUM_{algorithm.upper()}"
    expected = [(algorithm, digest(algorithm))]
    assert said(**{header: encoded(algorithm)}) == expected
    query = f"a=b&X-Amz-Checksum-{algorithm.title()}={quote(encoded(algorithm))}"
    ((name, *rest),) = claims_of({"QUERY_STRING": query})
    assert [tuple(rest)] == expected
    assert name == f"X-Amz-Checksum-{algorithm.title()}"


def test_a_trailer_in_the_query_counts_as_its_header() -> None:
    with pytest.raises(HTTPError, match="trailers"):
        claims_of({"QUERY_STRING": "X-Amz-Trailer=x-amz-checksum-crc32"})
    assert claims_of({"QUERY_STRING": "X-Amz-Trailer=x-amz-meta-a"}) == []


def test_content_md5() -> None:
    expected = Claim("Content-MD5", "md5", hashlib.md5(BODY).digest())
    assert claims_of({"HTTP_CONTENT_MD5": f" {encoded('md5')}\t"}) == [expected]


def test_the_hash_that_signatures_have() -> None:
    text = digest("sha256").hex()
    for value in (text, text.upper()):
        assert said(X_AMZ_CONTENT_SHA256=value) == [("sha256", digest("sha256"))]
    assert said(X_AMZ_CONTENT_SHA256="UNSIGNED-PAYLOAD") == []
    query = f"X-Amz-Content-Sha256={text}"
    (claim,) = claims_of({"QUERY_STRING": query})
    assert claim.digest == digest("sha256")


@pytest.mark.parametrize("header", ["CONTENT_DIGEST", "REPR_DIGEST"])
@pytest.mark.parametrize(
    ("text", "algorithms"),
    [
        ("sha-256=:{sha256}:", ["sha256"]),
        ("sha-512=:{sha512}:,sha-256=:{sha256}:", ["sha256", "sha512"]),
        ("md5=:{md5}:;because=old", ["md5"]),
        ("unixsum=:AAA=:, sha-256=:{sha256}:", ["sha256"]),
        ('other=(1 "a, sha-256" ?1);x=:AA==:, sha=:AAAA:', []),
        ("sha-256=:AAAA:, sha-256=:{sha256}:", ["sha256"]),
        ("", []),
    ],
)
def test_digests_of_the_rfc(header: str, text: str, algorithms: list[str]) -> None:
    digests = {name: encoded(name) for name in ("md5", "sha256", "sha512")}
    expected = [(name, digest(name)) for name in algorithms]
    assert said(**{header: text.format(**digests)}) == expected


def test_all_that_is_said_counts() -> None:
    found = said(
        CONTENT_MD5=encoded("md5"),
        REPR_DIGEST=f"md5=:{encoded('md5')}:",
        X_AMZ_CHECKSUM_CRC32=encoded("crc32"),
    )
    assert sorted(name for name, _ in found) == ["crc32", "md5", "md5"]


@pytest.mark.parametrize(
    ("header", "values"),
    [
        (
            "CONTENT_MD5",
            ["", "x", "AAAA", encoded("sha1"), digest("md5").hex(), "\xe9", "===="],
        ),
        ("CONTENT_MD5", [f"{encoded('md5')},{encoded('md5')}", encoded("md5")[:-1]]),
        ("X_AMZ_CHECKSUM_CRC32", ["", "AAAAAA", "AAAAAA==-3", "00000000", "AA AAAA=="]),
        ("X_AMZ_CHECKSUM_SHA256", [encoded("sha256") + "-2", digest("sha256").hex()]),
        (
            "X_AMZ_CONTENT_SHA256",
            ["", "0" * 63, "g" * 64, "unsigned-payload", "STREAMING-X", "\u0660" * 64],
        ),
        (
            "CONTENT_DIGEST",
            [
                encoded("sha256"),
                f"sha-256={encoded('sha256')}",
                f'sha-256="{encoded("sha256")}"',
                f"SHA-256=:{encoded('sha256')}:",
                "sha-256",
                "sha-256=:AAAA:",
                "sha-256=(:AAAA:)",
                "sha-512=:AA\xe9:",
                "md5=:%:",
                ",",
                "=",
            ],
        ),
    ],
)
def test_what_is_malformed_is_refused(header: str, values: list[str]) -> None:
    name = header.replace("_", "-").title().replace("Md5", "MD5")
    for value in values:
        assert refusal(**{header: value}).message.startswith(f"{name} "), value


def test_of_the_query_no_other_header_is_read() -> None:
    assert (
        claims_of({"QUERY_STRING": "content-md5=x&x-amz-checksum-mode=ENABLED"}) == []
    )
    with pytest.raises(HTTPError):
        claims_of({"QUERY_STRING": "x-amz-checksum-crc32="})


def test_what_is_no_digest_is_not_read() -> None:
    assert (
        said(X_AMZ_CHECKSUM_ALGORITHM="CRC32", X_AMZ_SDK_CHECKSUM_ALGORITHM="x") == []
    )
    assert (
        said(X_AMZ_CHECKSUM_XXH3="x", WANT_CONTENT_DIGEST="sha-256=1", DIGEST="x") == []
    )


@given(
    st.dictionaries(
        st.sampled_from(sorted(CLAIMS)),
        st.text(st.characters(max_codepoint=255), max_size=30)
        | st.text('sha-256md5=:,;()"\\? AQ/+-', max_size=40),
    )
)
def test_hostile_headers_are_read_or_refused(environ: dict[str, str]) -> None:

    try:
        assert all(isinstance(claim, Claim) for claim in claims_of(environ))
    except HTTPError as exc:
        assert exc.status == 400
