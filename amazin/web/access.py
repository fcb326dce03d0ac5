"""Who may do what: signed URLs, and API tokens where `ACCESS=signed`. Holds no state.

A signature covers method, address and query. What else a request says must not reach
beyond them: so headers that name another object count only if they are signed.
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

_REACHING = "HTTP_X_COPY_SOURCE"
"""Headers of this beginning name another object, to be read."""
_OTHER_REQUESTS = frozenset(
    (
        *("acl", "attributes", "encryption", "legal-hold", "partnumber"),
        *("renameobject", "restore", "retention", "select", "select-type"),
        *("tagging", "torrent", "uploadid", "uploads", "versionid"),
    )
)
"""Parameters, in lower case, with which S3 does something else to an object."""
_BLANKS = (" ", "\t")


def require_access(request: Request, settings: Settings) -> None:
    """Let a request pass that may do what it asks for.

    A signed query is verified also where nobody needs one: it never means nothing.

    Raises:
        HTTPError: 401 without credentials, 403 with wrong ones, 501 if URLs can't be
            verified here.
    """
    query = request.environ.get("QUERY_STRING", "")
    if query and is_signed(query):
        _require_signature(request, settings)
    elif settings.access == "signed":
        require_token(request, settings)


def require_token(request: Request, settings: Settings) -> None:
    """Let a request pass that carries an API token. Raises: HTTPError 401 or 403."""
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


def signing_key(settings: Settings) -> SigningKey:
    """Return the key of the gateway's own URLs. Raises: HTTPError 501."""
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
    _require_no_reach(environ, covered)
    _require_same_meaning(environ)


def _require_no_reach(environ: WSGIEnvironment, covered: Collection[str]) -> None:
    """Raise HTTPError 403, if a header names another object than was signed for."""
    for variable, value in environ.items():
        if not variable.startswith(_REACHING):
            continue
        name = variable.removeprefix("HTTP_").replace("_", "-").lower()
        if name not in covered:
            message = f"A signed URL takes the header {name} only if it is signed, too"
            raise HTTPError(403, "UnsignedHeader", message)
        if any(blank in value.strip() for blank in _BLANKS):
            # Signatures don't tell one blank from two.
            message = f"With a signed URL blanks in {name} must be percent-encoded"
            raise HTTPError(403, "UnsignedHeader", message)


def _require_same_meaning(environ: WSGIEnvironment) -> None:
    """Raise HTTPError 501, if S3 means what isn't done here: a part, a version, ...

    A tool that wants to remove an old version must not remove the object.
    """
    pairs = parse_qsl(environ["QUERY_STRING"], keep_blank_values=True)
    if _OTHER_REQUESTS.isdisjoint(name.lower() for name, _ in pairs):
        if "HTTP_X_AMZ_COPY_SOURCE" not in environ:
            return
        message = "Objects are copied with X-Copy-Source here, not X-Amz-Copy-Source"
    else:
        message = "Of S3's requests only GET, HEAD, PUT and DELETE of objects are taken"
    raise HTTPError(501, "NotSupported", message)


def _header(environ: WSGIEnvironment, name: str) -> str | None:
    """As `Request.header`, which remembers names: these are the client's own."""
    key = name.upper().replace("-", "_")
    is_special = key in ("CONTENT_TYPE", "CONTENT_LENGTH")
    value: str | None = environ.get(key if is_special else "HTTP_" + key)
    return value


@lru_cache(maxsize=8)
def _digests(tokens: tuple[str, ...]) -> tuple[bytes, ...]:
    """Return the hashes of tokens: of one length."""
    return tuple(sha256(token.encode()).digest() for token in tokens)
