"""Which web pages may write here, and under which host names the gateway is served.

A browser sends what a foreign page tells it to, also to addresses that only its own
network can reach. Programs send no `Origin`, and are not concerned. Pure.

Source: RFC 6454 section 7; W3C Fetch Metadata; RFC 9110 section 7.4.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from wsgiref.types import WSGIEnvironment

from amazin.errors import HTTPError

PAGE_VARIABLES = ("HTTP_ORIGIN", "HTTP_SEC_FETCH_SITE")
"""Headers that only a browser sends, named as in the environ."""
_PORT = re.compile(r":[0-9]+\Z")
_HOST = re.compile(r"\[?([^\]]*?)\]?(?::[0-9]*)?")


def require_own_page(environ: WSGIEnvironment, public_url: str) -> None:
    """Check that a write is not the doing of a foreign page.

    A page is foreign if its host and port are neither those of the request nor those of
    `public_url`. Raises: HTTPError 403.
    """
    site = environ.get("HTTP_SEC_FETCH_SITE", "").lower()
    origin = environ.get("HTTP_ORIGIN")
    is_own = origin is None or _is_own(environ, origin, public_url)
    if "cross-site" in site or not is_own:
        message = "A page of another origin may not write here; see PUBLIC_URL"
        raise HTTPError(403, "CrossOrigin", message)


def _is_own(environ: WSGIEnvironment, origin: str, public_url: str) -> bool:
    scheme, _, host = origin.strip().lower().partition("://")
    place = _with_port(scheme, host)
    public_scheme, _, public_host = public_url.lower().partition("://")
    # Of a request the scheme is not known: a proxy may have had it under another one.
    own = {
        _with_port(scheme, environ.get("HTTP_HOST", "").lower()),
        _with_port(public_scheme, public_host),
    }
    return bool(scheme and host) and place in own


def _with_port(scheme: str, host: str) -> str:
    """Return `host:port`, with the port that the scheme implies."""
    if not host or _PORT.search(host):
        return host
    return f"{host}:443" if scheme == "https" else f"{host}:80"


def require_json(environ: WSGIEnvironment) -> None:
    """Check that the body is announced as JSON: forms of foreign pages can't do that.

    Raises: HTTPError 415.
    """
    given = environ.get("CONTENT_TYPE") or ""
    if given.partition(";")[0].strip().lower() != "application/json":
        message = "Send the body with Content-Type: application/json"
        raise HTTPError(415, "UnsupportedMediaType", message)


def require_served_host(
    environ: WSGIEnvironment, names: Collection[str], public_url: str
) -> None:
    """Check that the request is for one of these host names, which are in lower case.

    Otherwise a foreign page whose name was made to point here could read everything, as
    if it were ours (DNS rebinding). Addresses can't be made to point elsewhere, so all
    are accepted, as are `localhost` and the host of `public_url`.

    Raises: HTTPError 421.
    """
    host = host_name(environ.get("HTTP_HOST", ""))
    own = (*names, "localhost", host_name(public_url.partition("://")[2]))
    if host and host not in own and not _is_address(host):
        message = "This host name is not one of SERVED_HOSTS"
        raise HTTPError(421, "UnknownHost", message)


def host_name(host: str) -> str:
    """Return the name or address in a Host header, in lower case."""
    found = _HOST.fullmatch(host.strip().lower())
    return (found[1] if found else host).removesuffix(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
