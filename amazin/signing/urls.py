"""AWS Signature Version 4 in a URL's query: signing and verifying. Pure.

Bodies are usually not signed (`UNSIGNED-PAYLOAD`). Where the hash of one is, in the
query or in a signed header, whoever reads the body compares it. A client may escape the
URL differently than the signer did: the unescaped values count.

Source: Amazon S3 API Reference, "Authenticating Requests: Using Query Parameters (AWS
Signature Version 4)".
"""

from __future__ import annotations

import hmac
import re
import time
from calendar import timegm
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import product
from urllib.parse import quote, unquote, unquote_to_bytes, urlsplit

from amazin.errors import SignatureError
from amazin.signing.sigv4 import ALGORITHM, PAYLOAD, derived_key

LONGEST_SECONDS = 7 * 24 * 60 * 60
"""The longest time for which a URL may be valid; S3 has the same limit."""
SKEW_SECONDS = 5 * 60
"""How far a signer's clock may be ahead of the gateway's."""
MAX_PARAMETERS = 100
"""Queries with more parameters are refused: parsing costs time before the client is
known."""

_NAMES = (
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-SignedHeaders",
    "X-Amz-Signature",
)
_METHODS = ("GET", "HEAD", "PUT", "POST", "DELETE")
_CREDENTIAL = re.compile(r"(.{1,128})/(([0-9]{8})/[A-Za-z0-9_-]{1,64}/s3/aws4_request)")
_DATE = re.compile(r"[0-9]{8}T[0-9]{6}Z")
_EXPIRES = re.compile(r"[0-9]{1,6}")
_HEADERS = re.compile(r"[a-z0-9-]+(?:;[a-z0-9-]+)*")
_SIGNATURE = _SHA256 = re.compile(r"[0-9a-f]{64}")
_PAYLOAD_HEADER = "x-amz-content-sha256"
_MISREAD_SLASH = re.compile(r"(?<!^)/(?=\.{1,2}(?:/|$))|(?<=/\.)/|(?<=/\.\.)/|/$")
_BLANKS = re.compile(r"[ \t]+")


@dataclass(frozen=True, slots=True)
class SigningKey:
    """The id of a key, and the secret that only signer and verifier know."""

    key_id: str
    secret: str = field(repr=False)
    region: str = "us-east-1"
    """The region in the URLs that this key signs; URLs of any region are accepted."""


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """The parts of a request that a signature may cover."""

    method: str
    path: str
    """Decoded once; bytes that aren't UTF-8 are surrogates."""
    query: str
    """As it was sent."""
    header: Callable[[str], str | None]
    """Returns a header's value by its name in lower case; None if the header is
    missing."""


@dataclass(frozen=True, slots=True)
class _Claim:
    """What a signed query states; well-formed, but not verified."""

    key_id: str
    scope: str
    date: str
    signed_at: int
    """`date` as Unix time in seconds."""
    expires: int
    headers: Sequence[str]
    signature: str
    query: str
    """All parameters but the signature, in canonical form."""
    payload: str
    """What the query says about the body: its SHA-256, or that it is not signed."""


def signed_url(
    key: SigningKey, method: str, base: str, path: str, expires: int, now: float
) -> str:
    """Return a URL that allows `method` on `base` + `path` for `expires` seconds.

    `base` is `http://host[:port]`; `path` is not escaped yet, and begins with a slash.
    The slashes beside segments `.` and `..` are escaped, because clients would resolve
    these, browsers also where their dots are escaped. So is a slash at the end, because
    curl would append the name of the uploaded file to it.
    """
    scheme, host = _place_of(base)
    date = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    scope = f"{date[:8]}/{key.region}/s3/aws4_request"
    values = (ALGORITHM, f"{key.key_id}/{scope}", date, str(expires), "host")
    query = _joined(
        (name, quote(value, safe=""))
        for name, value in zip(_NAMES[:-1], values, strict=True)
    )
    text = _canonical_request(method, path, query, [("host", host)], PAYLOAD)
    signature = _signature(key, date, scope, text)
    shown = _MISREAD_SLASH.sub("%2F", _escaped_path(path))
    return f"{scheme}://{host}{shown}?{query}&X-Amz-Signature={signature}"


def is_signed(query: str) -> bool:
    """Whether a query has a parameter of a signature; others may be missing."""
    names = (part.partition("=")[0] for part in query.split("&"))
    return any((unquote(name) if "%" in name else name) in _NAMES for name in names)


def claimed_key_id(query: str) -> str:
    """Return the id of the key with which a query is said to be signed.

    Raises: SignatureError: the query is malformed.
    """
    return _read_claim(query).key_id


def verify(
    key: SigningKey, request: SignedRequest, now: float, public_url: str = ""
) -> Sequence[str]:
    """Return the headers that the signature covers, in lower case, with `host`.

    `public_url` is another address of the gateway that the client may have used. A URL
    is valid up to the end of the last second that it names.

    Raises:
        SignatureError: says why the signature is not valid. It says that a URL has
            expired only if this gateway's key signed the URL.
    """
    claim = _read_claim(request.query)
    if claim.key_id != key.key_id:
        raise _refusal("UnknownKeyId", "This URL was signed with a key unknown here")
    missing = [name for name in claim.headers if request.header(name) is None]
    if missing:
        message = f"Headers that are signed were not sent: {', '.join(missing)}"
        raise _refusal("MissingSignedHeader", message)
    host = request.header("host") or ""
    hosts = {host, host.lower()}  # boto3 always signs the host in lower case
    if public_url:
        hosts.add(_place_of(public_url)[1])
    if not _fits(key, claim, request, request.method, hosts):
        for method in _METHODS:
            if _fits(key, claim, request, method, hosts):
                raise _refusal("WrongMethod", f"This URL is for {method} only")
        message = "The signature does not fit: the URL or a signed header was altered"
        raise _refusal("SignatureMismatch", message)
    _require_time(claim, now)
    return claim.headers


def _fits(
    key: SigningKey,
    claim: _Claim,
    request: SignedRequest,
    method: str,
    hosts: Iterable[str],
) -> bool:
    fits = False
    payloads = {claim.payload}
    if _PAYLOAD_HEADER in claim.headers:  # some signers sign its value twice
        payloads.add(request.header(_PAYLOAD_HEADER) or "")
    for host, payload in product(hosts, payloads):
        headers = [
            (name, host if name == "host" else request.header(name) or "")
            for name in claim.headers
        ]
        text = _canonical_request(method, request.path, claim.query, headers, payload)
        expected = _signature(key, claim.date, claim.scope, text)
        fits |= hmac.compare_digest(expected, claim.signature)
    return fits


def _require_time(claim: _Claim, now: float) -> None:
    ends = claim.signed_at + claim.expires
    if int(now) > ends:
        shown = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(ends))
        raise _refusal("ExpiredUrl", f"This URL expired at {shown}; ask for a new one")
    if claim.signed_at > now + SKEW_SECONDS:
        message = "This URL is not valid yet: its signer's clock, or ours, is wrong"
        raise _refusal("NotYetValid", message)


def _read_claim(query: str) -> _Claim:
    """Parse a signed query. Raises: SignatureError."""
    if query.count("&") >= MAX_PARAMETERS:
        raise _malformed(f"there are more than {MAX_PARAMETERS} parameters")
    pairs = _canonical_pairs(query)
    credential, date, expires, headers, signature = _read_values(pairs)
    scope = _CREDENTIAL.fullmatch(credential)
    names = headers.split(";")
    if not scope or scope[3] != date[:8]:
        message = "must be <key id>/<day of X-Amz-Date>/<region>/s3/aws4_request"
        raise _malformed(f"X-Amz-Credential {message}")
    if not _EXPIRES.fullmatch(expires) or not 1 <= int(expires) <= LONGEST_SECONDS:
        raise _malformed(f"X-Amz-Expires must be 1 to {LONGEST_SECONDS} seconds")
    if not _HEADERS.fullmatch(headers) or names != sorted({*names, "host"}):
        message = "must name `host` and others once each, in lower case, sorted"
        raise _malformed(f"X-Amz-SignedHeaders {message}")
    if not _SIGNATURE.fullmatch(signature):
        raise _malformed("X-Amz-Signature must be 64 hexadecimal digits")
    return _Claim(
        scope[1],
        scope[2],
        date,
        _seconds_of(date),
        int(expires),
        names,
        signature,
        _joined(pair for pair in pairs if pair[0] != "X-Amz-Signature"),
        dict(pairs).get("X-Amz-Content-Sha256", PAYLOAD),
    )


def _read_values(pairs: Sequence[tuple[str, str]]) -> Sequence[str]:
    """Return the values of the parameters `_NAMES[1:]`, unescaped."""
    given = dict(pairs)
    if len(given) < len(pairs):
        raise _malformed("a parameter is there twice")
    if missing := [name for name in _NAMES if name not in given]:
        raise _malformed(f"it lacks {', '.join(missing)}")
    if given["X-Amz-Algorithm"] != ALGORITHM:
        raise _malformed(f"X-Amz-Algorithm must be {ALGORITHM}")
    payload = given.get("X-Amz-Content-Sha256", PAYLOAD)
    if payload != PAYLOAD and not _SHA256.fullmatch(payload):
        raise _malformed(f"X-Amz-Content-Sha256 must be {PAYLOAD}, or a SHA-256")
    return [unquote(given[name]) for name in _NAMES[1:]]


def _seconds_of(date: str) -> int:
    if _DATE.fullmatch(date):
        try:
            return timegm(time.strptime(date, "%Y%m%dT%H%M%SZ"))
        except ValueError:  # a 13th month
            pass
    raise _malformed("X-Amz-Date must be a time like 20260131T235900Z")


def _canonical_pairs(query: str) -> list[tuple[str, str]]:
    """Return a query's parameters, sorted, with canonical escapes."""
    parts = [part.partition("=") for part in query.split("&") if part]
    return sorted((_reescaped(name), _reescaped(value)) for name, _, value in parts)


def _reescaped(text: str) -> str:
    raw = text.replace("+", " ").encode("latin-1", "replace")
    return quote(unquote_to_bytes(raw), safe="")


def _joined(pairs: Iterable[tuple[str, str]]) -> str:
    return "&".join(f"{name}={value}" for name, value in pairs)


def _escaped_path(path: str) -> str:
    return quote(path, safe="/", errors="surrogateescape")


def _canonical_request(
    method: str,
    path: str,
    query: str,
    headers: Sequence[tuple[str, str]],
    payload: str,
) -> str:
    names = ";".join(name for name, _ in headers)
    lines = "".join(
        f"{name}:{_BLANKS.sub(' ', value).strip(' ')}\n" for name, value in headers
    )
    return f"{method}\n{_escaped_path(path)}\n{query}\n{lines}\n{names}\n{payload}"


def _signature(key: SigningKey, date: str, scope: str, text: str) -> str:
    secret = derived_key(key.secret, scope)
    hashed = sha256(text.encode("latin-1", "replace")).hexdigest()
    signed = f"{ALGORITHM}\n{date}\n{scope}\n{hashed}"
    return hmac.digest(secret, signed.encode(), "sha256").hex()


def _place_of(base: str) -> tuple[str, str]:
    """Return scheme and host as clients send them: without the default port."""
    parts = urlsplit(base)
    host = parts.netloc.rpartition("@")[2].lower()
    implied = ":443" if parts.scheme == "https" else ":80"
    return parts.scheme, host.removesuffix(implied)


def _malformed(reason: str) -> SignatureError:
    return _refusal("MalformedSignature", f"The signature can't be read: {reason}")


def _refusal(code: str, message: str) -> SignatureError:
    return SignatureError(code, message)
