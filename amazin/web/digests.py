"""What a request says about the bytes of its body: digests in headers. Pure.

Also in the query, where some programs put the headers of the URLs that they sign.

Source: RFC 1864 (Content-MD5); RFC 9530 (Content-Digest, Repr-Digest; an upload is
whole, so both mean the same bytes); Amazon S3 API Reference, PutObject (x-amz-...).
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator, Mapping
from typing import cast
from urllib.parse import parse_qsl
from wsgiref.types import WSGIEnvironment

from amazin.errors import HTTPError
from amazin.model.bodies import HeldBody
from amazin.model.digests import DIGEST_BYTES, CheckedBody, Claim

_CHECKSUM = "x-amz-checksum-"
_PAYLOAD = "x-amz-content-sha256"
_BASE64 = {
    "content-md5": "md5",
    **{
        _CHECKSUM + name: name
        for name in ("crc32", "crc32c", "crc64nvme", "sha1", "sha256")
    },
}
"""Headers that are one digest in base64, and its algorithm."""
_DICTIONARIES = ("content-digest", "repr-digest")
_ALGORITHMS = {"md5": "md5", "sha-256": "sha256", "sha-512": "sha512"}
"""By their names in RFC 9530; others there are ignored."""
_HEX = re.compile(r"[0-9a-fA-F]{64}")
_UNSIGNED = "UNSIGNED-PAYLOAD"
CLAIMS: Mapping[str, str] = {
    "HTTP_" + name.upper().replace("-", "_"): name
    for name in (*_BASE64, *_DICTIONARIES, _PAYLOAD)
}
"""The names of all these headers, by their keys in the environ."""
_TRAILERS = {"HTTP_TRAILER": "trailer", "HTTP_X_AMZ_TRAILER": "x-amz-trailer"}
"""Headers that name what comes behind the body, which no server gives to us."""
_READ = {**CLAIMS, **_TRAILERS}
READ = frozenset(_READ)
"""The keys in the environ of all headers that are read here."""


def claims_of(environ: WSGIEnvironment) -> list[Claim]:
    """Return all that is said about the body.

    Raises: HTTPError 400, malformed; 501, if a digest is announced as a trailer.
    """
    given = [(name, environ[key]) for key, name in _READ.items() if key in environ]
    for name, value in parse_qsl(environ.get("QUERY_STRING", ""), True):
        if name.lower().startswith((_CHECKSUM, _PAYLOAD, "x-amz-trailer")):
            given.append((name.lower(), value))
    return [claim for name, value in given for claim in _read(name, value.strip(" \t"))]


def require_claims(environ: WSGIEnvironment, data: bytes) -> None:
    """Check what is said about a body that is known. Raises: DigestError, HTTPError."""
    list(CheckedBody(HeldBody(data), claims_of(environ)).chunks())


def _read(name: str, value: str) -> Iterator[Claim]:
    """Yield what a header says; nothing if its name is unknown. Raises: HTTPError."""
    if algorithm := _BASE64.get(name):
        yield _claim(name, algorithm, _decoded(name, value))
    elif name in _TRAILERS.values():
        _refuse_trailers(value)
    elif name in _DICTIONARIES:
        yield from _read_dictionary(name, value)
    elif name == _PAYLOAD and value != _UNSIGNED:
        if not _HEX.fullmatch(value):
            raise _malformed(name)
        yield _claim(name, "sha256", bytes.fromhex(value))


def _refuse_trailers(value: str) -> None:
    """Raises: HTTPError, if one of these headers is a digest: it would be ignored."""
    for name in value.lower().split(","):
        if name.strip(" \t") in CLAIMS.values() or _CHECKSUM in name:
            message = "Send digests in headers: those in trailers can't be checked here"
            raise HTTPError(501, "NotSupported", message)


def _read_dictionary(name: str, value: str) -> Iterator[Claim]:
    import http_sf  # not at the start: few clients need it, and it takes 20 ms

    try:
        found = http_sf.parse(value.encode("latin-1"), tltype="dictionary")
    except ValueError:
        raise _malformed(name) from None
    members = cast(Mapping[str, tuple[object, object]], found)
    for key, algorithm in _ALGORITHMS.items():
        if key in members:
            yield _claim(name, algorithm, members[key][0])


def _decoded(name: str, value: str) -> bytes:
    try:
        return binascii.a2b_base64(value, strict_mode=True)
    except ValueError:
        raise _malformed(name) from None


def _claim(name: str, algorithm: str, digest: object) -> Claim:
    if not isinstance(digest, bytes) or len(digest) != DIGEST_BYTES[algorithm]:
        raise _malformed(name)
    return Claim(_shown(name), algorithm, digest)


def _shown(name: str) -> str:
    return name.title().replace("Md5", "MD5")


def _malformed(name: str) -> HTTPError:
    message = f"{_shown(name)} is not well-formed: a digest, encoded as its header asks"
    return HTTPError(400, "InvalidDigest", message)
