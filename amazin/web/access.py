"""Access control: who asks, and whether that is allowed.

A request shows who asks by a token, by a signature in its query, or not at all. A
signature covers method, address and query. The rest of the request must not extend it:
a header that names another object counts only if it is signed.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from hashlib import sha256
from urllib.parse import parse_qsl
from wsgiref.types import WSGIEnvironment

from amazin.access.grants import (
    EVERYTHING,
    NOBODY,
    OPEN,
    WHOLE,
    Credential,
    Principal,
)
from amazin.access.rules import (
    CHECKED,
    Rules,
    digest_of,
    key_for,
    signer_of,
    with_settings,
)
from amazin.errors import HTTPError, SignatureError
from amazin.settings.settings import Settings
from amazin.signing.urls import (
    SignedRequest,
    SigningKey,
    claimed_key_id,
    is_signed,
    verify,
)
from amazin.web.messages import Header, Request, Response, Route, no_credentials
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
_SHARED = ("/object/", "/objects/")
"""The paths that pages of other origins may use, if rules say so."""


_ASKED_METHOD = "HTTP_ACCESS_CONTROL_REQUEST_METHOD"
_ASKED_HEADERS = "HTTP_ACCESS_CONTROL_REQUEST_HEADERS"
_HEADER_NAMES = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~, -]{0,4096}")
_SHOWN_DIGITS = 8


class Access:
    """Decides on requests, by the settings and by `ACCESS_FILE`."""

    def __init__(self, settings: Settings) -> None:
        """Raises: SettingsError, if the access file is wrong when the server starts."""
        self._settings = settings
        self._is_open = settings.access == "open"
        known = with_settings(Rules(), settings)
        self.rules: Callable[[], Rules] = lambda: known
        self._file: AccessFile | None = None
        if settings.access_file:
            # The module imports YAML, which is needed only if there is a file.
            from amazin.access.source import AccessFile

            is_replacement = CHECKED in os.environ
            path = settings.access_file
            self._file = AccessFile(path, settings, is_replacement=is_replacement)
            self.rules = self._file.rules

    @property
    def is_file_good(self) -> bool | None:
        """Whether the rules are those of the access file; None: there is none."""
        return self._file.is_good if self._file else None

    def admit(self, request: Request, route: Route, groups: Sequence[str]) -> None:
        """Check that the request is permitted: its host, its page, who asks for what.

        A signed query is verified even if no signature is needed: it is never ignored.

        Raises:
            HTTPError: 400, 401 without credentials, 403 with wrong ones, for what is
                not allowed, or for a write of a foreign page, 421 for an unknown host,
                501 if URLs can't be verified here, 503 if no rules are known.
            SignatureError: the signature in the query is not valid.
        """
        if route.action == OPEN:
            if not self._is_open:
                self._recognize(request)
            return
        environ, settings = request.environ, self._settings
        request.is_audited = not self._is_open
        if settings.served_hosts:
            require_served_host(environ, settings.served_hosts, settings.public_url)
        if not environ.keys().isdisjoint(PAGE_VARIABLES):
            self._admit_page(request, route, groups)
        query = environ.get("QUERY_STRING", "")
        if not self._is_open:
            self._authenticate(request)
            if not request.principal.grants:
                request.require(route.action, WHOLE)
            place = route.place(request, settings, groups)
            request.decision = (route.action, place)
            request.require(route.action, place)
        elif query and is_signed(query):
            self._verify(request, self.rules())

    def _authenticate(self, request: Request) -> None:
        """Note who asks. Raises: as `admit`."""
        rules, environ = self.rules(), request.environ
        query = environ.get("QUERY_STRING", "")
        given = environ.get("HTTP_AUTHORIZATION", "").strip()
        if query and is_signed(query):
            if given:
                message = "Send a signed URL or the header Authorization, not both"
                raise HTTPError(400, "TwoCredentials", message)
            self._verify(request, rules)
        elif given:
            request.principal, request.credential = principal_of(given, rules)
        else:
            request.principal = rules.anonymous

    def _recognize(self, request: Request) -> None:
        """Note who asks, where everybody may."""
        request.principal = NOBODY
        with suppress(HTTPError, SignatureError):
            self._authenticate(request)

    def _verify(self, request: Request, rules: Rules) -> None:
        """Note whose signature is in the query. Raises: HTTPError, SignatureError."""
        environ = request.environ
        query = environ["QUERY_STRING"]
        if not rules.keys:
            require_secret(self._settings)
        key_id = claimed_key_id(query)
        key, credential = key_for(rules, self._settings, key_id)
        signed = SignedRequest(
            request.method, request.path, query, lambda name: _header(environ, name)
        )
        try:
            covered = verify(key, signed, time.time(), self._settings.public_url)
            require_unexpired(credential)
        except SignatureError:
            if credential is None:
                message = "This URL was signed with a key unknown here"
                raise SignatureError("UnknownKeyId", message) from None
            raise
        _require_signed_sources(environ, covered)
        _refuse_other_operations(environ)
        assert credential is not None  # nobody has the secret of an unknown key
        request.principal = credential.principal
        request.credential = sha256(key_id.encode()).hexdigest()[:_SHOWN_DIGITS]
        request.is_presigned = True

    # Pages of other origins

    def _admit_page(
        self, request: Request, route: Route, groups: Sequence[str]
    ) -> None:
        """Check what a page asks for. Raises: HTTPError 403."""
        environ = request.environ
        headers = self._page_headers(request, route, groups, request.method)
        if headers:
            request.page_headers = headers
        elif request.method not in _READING:
            require_own_page(environ, self._settings.public_url)

    def _page_headers(
        self, request: Request, route: Route, groups: Sequence[str], method: str
    ) -> Sequence[Header]:
        """Return the headers that let a page of another origin ask so; else none."""
        origin = request.environ.get("HTTP_ORIGIN", "").strip()
        if not origin or self._is_open or not request.path.startswith(_SHARED):
            return ()
        place = route.place(request, self._settings, groups)
        rule = self.rules().cors_rule(origin, method, place)
        if rule is None:
            return ()
        exposed = ", ".join(rule.expose)
        return (
            ("Access-Control-Allow-Origin", origin),
            ("Access-Control-Max-Age", str(rule.max_age)),
            *((("Access-Control-Expose-Headers", exposed),) if exposed else ()),
            ("Vary", "Origin"),
        )

    def asked_method(self, request: Request) -> str:
        """Return the method for which a page asks beforehand; else the request's."""
        if self._is_open or "HTTP_ORIGIN" not in request.environ:
            return request.method
        asked: str = request.environ.get(_ASKED_METHOD, request.method)
        return asked if self.rules().cors else request.method

    def preflight(
        self, request: Request, route: Route, groups: Sequence[str]
    ) -> Response:
        """Answer a page that asks beforehand. Raises: HTTPError 403."""
        headers = self._page_headers(request, route, groups, route.method)
        if not headers:
            message = "No rule in the access file lets a page of this origin do that"
            raise HTTPError(403, "CrossOrigin", message)
        asked = request.environ.get(_ASKED_HEADERS, "")
        allowed = [("Access-Control-Allow-Methods", route.method)]
        if asked and _HEADER_NAMES.fullmatch(asked):
            allowed.append(("Access-Control-Allow-Headers", asked))
        return Response(204, [*headers, *allowed])


def principal_of(given: str, rules: Rules) -> tuple[Principal, str]:
    """Return whose token is in the header, and what the log shows of it.

    Raises: HTTPError 401 or 403.
    """
    scheme, _, token = given.partition(" ")
    if scheme.lower() != "bearer":
        raise no_credentials()
    digest = digest_of(token.strip().encode("latin-1", "replace"))
    credential = rules.tokens.get(digest)
    if credential is None:
        raise HTTPError(403, "UnknownToken", "This API token is not known here")
    if credential.expires is not None and time.time() >= credential.expires:
        raise HTTPError(403, "ExpiredToken", "This API token has expired")
    return credential.principal, digest.hex()[:_SHOWN_DIGITS]


def require_unexpired(credential: Credential | None) -> None:
    """Raises: SignatureError, if the key is not valid any more."""
    ends = credential.expires if credential else None
    if ends is not None and time.time() >= ends:
        raise SignatureError("ExpiredUrl", "The key of this URL has expired")


def require_secret(settings: Settings) -> None:
    """Raises: HTTPError 501, if there are no URLs of the gateway's own."""
    if not settings.signing_secret:
        message = "Signed URLs are off: the gateway's setting SIGNING_SECRET is empty"
        raise HTTPError(501, "NotSupported", message)


def signing_key(settings: Settings, principal: Principal) -> SigningKey:
    """Return the key for URLs in a principal's name. Raises: HTTPError 401, 501."""
    require_secret(settings)
    if not (principal.is_named or principal.grants is EVERYTHING):
        raise no_credentials()
    return signer_of(settings, principal)


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
