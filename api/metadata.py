"""Which headers of an upload are kept and given back; an allow-list both ways. Pure."""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Iterable, Mapping
from urllib.parse import quote
from wsgiref.types import WSGIEnvironment

from errors import HTTPError

DEFAULT_TYPE = "application/octet-stream"
MAX_METADATA_BYTES = 2048
_PER_HEADER_BYTES = 11
"""What nodes add to each name (`x-amz-meta-`) and count."""
_OWN_BYTES = 80
"""Room that the gateway's own stamp takes among the 2 KiB that nodes allow."""

KEPT = (
    "Content-Disposition",
    "Content-Encoding",
    "Content-Language",
    "Cache-Control",
    "Expires",
)
_REFUSED = re.compile(
    r"X-(?:(?:Forwarded|Real|Request|Accel|Amz|Minio|Amazin)-.*|Sendfile.*|Copy-Source.*"
    r"|Frame-Options|Xss-Protection|Content-Type-Options|Dns-Prefetch-Control"
    r"|Download-Options|Permitted-Cross-Domain-Policies|Ua-Compatible"
    r"|Content-Security-Policy.*|Webkit-Csp.*)"
)
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


def uploaded_headers(environ: WSGIEnvironment, key: str) -> dict[str, str]:
    """Return what to store with an object: Content-Type, the kept ones, X-....

    Raises: HTTPError 400, if it is more than a node takes; 501 for `aws-chunked`.
    """
    headers = {"Content-Type": environ.get("CONTENT_TYPE") or guessed_type(key)}
    for name in KEPT:
        value = environ.get("HTTP_" + name.upper().replace("-", "_"))
        if value:
            headers[name] = value
    if "aws-chunked" in headers.get("Content-Encoding", "").lower():
        message = "Send the plain bytes: the encoding aws-chunked is not supported"
        raise HTTPError(501, "NotSupported", message)
    for variable, value in environ.items():
        if variable.startswith("HTTP_X_"):
            name = variable[5:].replace("_", "-").title()
            if not _REFUSED.fullmatch(name):
                headers[name] = value
    require_fit(headers)
    return headers


def guessed_type(key: str) -> str:
    """Return the content type that the key's extension suggests."""
    content_type, encoding = mimetypes.guess_type(key)
    if encoding:
        return f"application/{encoding}"
    return content_type or DEFAULT_TYPE


def require_fit(headers: Mapping[str, str]) -> None:
    """Raise HTTPError 400 if these headers can't be stored."""
    size = _OWN_BYTES
    for name, value in headers.items():
        if not _VALUE.fullmatch(value):
            message = f"The header {name} has characters that can't be stored"
            raise HTTPError(400, "InvalidHeader", message)
        is_plain = not name.startswith("X-")
        stored = value if is_plain else quote(value, " ", encoding="latin-1")
        size += _PER_HEADER_BYTES + len(name) + len(stored)
    if size > MAX_METADATA_BYTES:
        message = "The headers to be stored with the object have more than 2 KiB"
        raise HTTPError(400, "MetadataTooLarge", message)


def returned_headers(stored: Mapping[str, str]) -> Iterable[tuple[str, str]]:
    """Yield what a download carries of it; Content-Type always.

    Filters again: other programs write to nodes too.
    """
    yield "Content-Type", stored.get("Content-Type") or DEFAULT_TYPE
    for name, value in stored.items():
        is_ours = name in KEPT or (
            name.startswith("X-") and not _REFUSED.fullmatch(name)
        )
        if is_ours and _VALUE.fullmatch(value):
            yield name, value
