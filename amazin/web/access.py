"""Access control: signed URLs, and API tokens if `ACCESS=signed`. Holds no state.

A signature covers method, address and query. The rest of the request must not extend
it: a header that names another object counts only if it is signed.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Collection
from functools import lru_cache
from hashlib import sha256
from urllib.parse import parse_qsl
from wsgiref.types import WSGIEnvironment

from amazin.errors import HTTPError
from amazin.settings.settings import Settings
from amazin.signing.urls import SignedRequest, SigningKey, is_signed, verify
from amazin.web.messages import Request
from amazin.web.origins import PAGE_VARIABLES, require_own_page, require_served_host

_SOURCE_PREFIX = "HTTP_X_COPY_SOURCE"
"""Prefix of headers that name another object to read."""
_OTHER_OPERATIONS = frozenset(
    (
        *("acl", "attributes", "encryption", "legal-hold", "partnumber"),
        *("renameobject", "restore", "retention", "select", "select-type"),
        *("tagging", "torrent", "uploadid", "uploads", "versionid"),
    )
)
"""Query parameters, in lower case, with which S3 performs another operation."""
_READING = ("GET", "HEAD")
_BLANKS = (" ", "\t")


def require_access(request: Request, settings: Settings) -> None:
    """Check that the request is permitted: its host, its page, its credentials.

    A signed query is verified even if no signature is needed: it is never ignored.

    Raises:
        HTTPError: 401 without credentials, 403 with wrong ones or a write of a foreign
            page, 421 for an unknown host, 501 if URLs can't be verified here.
    """
    environ = request.environ
    if settings.served_hosts:
        require_served_host(environ, settings.served_hosts, settings.public_url)
    if request.method not in _READING and not environ.keys().isdisjoint(PAGE_VARIABLES):
        require_own_page(environ, settings.public_url)
    query = environ.get("QUERY_STRING", "")
    if query and is_signed(query):
        _require_signature(request, settings)
    elif settings.access == "signed":
        require_token(request, settings)


def require_token(request: Request, settings: Settings) -> None:
    """Check that the request has an API token. Raises: HTTPError 401 or 403."""
    scheme, _, token = (request.header("Authorization") or "").strip().partition(" ")
    if scheme.lower() != "bearer":
        message = "Send an API token (Authorization: Bearer ...), or use a signed URL"
        challenge = ("WWW-Authenticate", "Bearer")
        raise HTTPError(401, "NoCredentials", message, [challenge])
    given = sha256(token.strip().encode("latin-1", "replace")).digest()
    is_known = False
    for digest in _digests(settings.api_tokens):
        is_known |= hmac.compare_digest(given, digest)
    if not is_known:
        raise HTTPError(403, "UnknownToken", "This API token is not known here")


def has_token(request: Request, settings: Settings) -> bool:
    """Whether the request has an API token, or needs none."""
    if settings.access != "signed":
        return True
    try:
        require_token(request, settings)
    except HTTPError:
        return False
    return True


def signing_key(settings: Settings) -> SigningKey:
    """Return the key for the gateway's own URLs. Raises: HTTPError 501."""
    if not settings.signing_secret:
        message = "Signed URLs are off: the gateway's setting SIGNING_SECRET is empty"
        raise HTTPError(501, "NotSupported", message)
    return SigningKey(settings.signing_key_id, settings.signing_secret)


def _require_signature(request: Request, settings: Settings) -> None:
    environ = request.environ
    signed = SignedRequest(
        request.method,
        request.path,
        environ.get("QUERY_STRING", ""),
        lambda name: _header(environ, name),
    )
    covered = verify(signing_key(settings), signed, time.time(), settings.public_url)
    _require_signed_sources(environ, covered)
    _refuse_other_operations(environ)


def _require_signed_sources(environ: WSGIEnvironment, covered: Collection[str]) -> None:
    """Raises: HTTPError 403, if an unsigned header names another object."""
    for variable, value in environ.items():
        if not variable.startswith(_SOURCE_PREFIX):
            continue
        name = variable.removeprefix("HTTP_").replace("_", "-").lower()
        if name not in covered:
            message = f"A signed URL takes the header {name} only if it is signed, too"
            raise HTTPError(403, "UnsignedHeader", message)
        if any(blank in value.strip() for blank in _BLANKS):
            # Signatures don't distinguish one blank from two.
            message = f"With a signed URL blanks in {name} must be percent-encoded"
            raise HTTPError(403, "UnsignedHeader", message)


def _refuse_other_operations(environ: WSGIEnvironment) -> None:
    """Raises: HTTPError 501, if S3 would do something else: with a part, a version.

    A tool that wants to remove an old version must not remove the object.
    """
    pairs = parse_qsl(environ["QUERY_STRING"], keep_blank_values=True)
    if _OTHER_OPERATIONS.isdisjoint(name.lower() for name, _ in pairs):
        if "HTTP_X_AMZ_COPY_SOURCE" not in environ:
            return
        message = "Objects are copied with X-Copy-Source here, not X-Amz-Copy-Source"
    else:
        message = "Of S3's requests only GET, HEAD, PUT and DELETE of objects are taken"
    raise HTTPError(501, "NotSupported", message)


def _header(environ: WSGIEnvironment, name: str) -> str | None:
    """Like `Request.header`, but caches nothing: clients choose these names."""
    key = name.upper().replace("-", "_")
    is_special = key in ("CONTENT_TYPE", "CONTENT_LENGTH")
    value: str | None = environ.get(key if is_special else "HTTP_" + key)
    return value


@lru_cache(maxsize=8)
def _digests(tokens: tuple[str, ...]) -> tuple[bytes, ...]:
    """Return the hashes of the tokens, which all have the same length."""
    return tuple(sha256(token.encode()).digest() for token in tokens)
