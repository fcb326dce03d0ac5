"""Which headers of an upload are kept and given back; an allow-list both ways. Pure."""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Mapping
from wsgiref.types import WSGIEnvironment

from amazin.errors import HTTPError
from amazin.model.headers import (
    KEPT,
    MAX_METADATA_BYTES,
    METADATA_NAME,
    METADATA_VALUE,
    require_fit,
)

DEFAULT_TYPE = "application/octet-stream"
_OTHER_TYPES = {
    "gzip": "application/gzip",
    "br": "application/x-brotli",
    "bzip2": "application/x-bzip2",
    "compress": "application/x-compress",
    "xz": "application/x-xz",
}
"""Of files that are compressed: their bytes are served as they are."""

_REFUSED = re.compile(
    r"X-(?:(?:Forwarded|Real|Request|Accel|Amz|Minio|Amazin)-.*|Sendfile.*|Copy-Source.*"
    r"|Frame-Options|Xss-Protection|Content-Type-Options|Dns-Prefetch-Control"
    r"|Download-Options|Permitted-Cross-Domain-Policies|Ua-Compatible"
    r"|Content-Security-Policy.*|Webkit-Csp.*)"
)
_KEPT_VARIABLES = [(name, "HTTP_" + name.upper().replace("-", "_")) for name in KEPT]
_TYPES = mimetypes.MimeTypes()
"""Python's own table: the machine's would make gateways differ."""


def uploaded_headers(
    environ: WSGIEnvironment, key: str, most_bytes: int = MAX_METADATA_BYTES
) -> dict[str, str]:
    """Return what to store with an object: Content-Type, the kept ones, X-....

    Raises: HTTPError 400, if it is more than a node takes; 501 for `aws-chunked`.
    """
    refuse_wrapped(environ)
    content_type = cleaned(environ.get("CONTENT_TYPE") or "")
    headers = {"Content-Type": content_type or guessed_type(key)}
    for name, variable in _KEPT_VARIABLES:
        if variable in environ and (value := cleaned(environ[variable])):
            headers[name] = value
    for variable in environ:
        if variable.startswith("HTTP_X_"):
            name = variable[5:].replace("_", "-").title()
            if not _REFUSED.fullmatch(name):
                headers[name] = cleaned(environ[variable])
    require_fit(headers, most_bytes)
    return headers


def cleaned(value: str) -> str:
    """Return a header's value as it is stored: tabs become spaces, as HTTP reads them.

    A tab is a control character: no WSGI response may have it.
    """
    return value.replace("\t", " ").strip(" ")


def refuse_wrapped(environ: WSGIEnvironment) -> None:
    """Raise HTTPError if the body is not the object's plain bytes, but wraps them."""
    coding = environ.get("HTTP_CONTENT_ENCODING", "").lower()
    signing = environ.get("HTTP_X_AMZ_CONTENT_SHA256", "")
    if "aws-chunked" in coding or signing.startswith("STREAMING-"):
        message = "Send the plain bytes: the encoding aws-chunked is not supported"
        raise HTTPError(501, "NotSupported", message)
    if environ.get("HTTP_X_AMZ_COPY_SOURCE") is not None:
        message = "Copy an object of a bucket with X-Copy-Source: /bucket/key"
        raise HTTPError(501, "NotSupported", message)
    if environ.get("HTTP_CONTENT_RANGE") is not None:
        message = "Send whole objects: uploads of a Content-Range are not supported"
        raise HTTPError(400, "PartialUpload", message)


def refuse_copy(environ: WSGIEnvironment, *names: str) -> None:
    """Raise HTTPError 501 if the request asks for a copy that is not made here."""
    for name in names:
        if environ.get("HTTP_" + name.upper().replace("-", "_")) is not None:
            message = (
                f"{name} is not supported here, only X-Copy-Source under /objects/"
            )
            raise HTTPError(501, "NotSupported", message)


def guessed_type(key: str) -> str:
    """Return the content type that the key's extension suggests."""
    content_type, encoding = _TYPES.guess_type("./" + key, strict=False)
    if encoding:
        return _OTHER_TYPES.get(encoding, DEFAULT_TYPE)
    return content_type or DEFAULT_TYPE


def returned_headers(stored: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return what a download carries of it; Content-Type always, and first.

    Filters again: other programs write to nodes too.
    """
    content_type = stored.get("Content-Type", "")
    is_sendable = content_type and METADATA_VALUE.fullmatch(content_type)
    headers = [("Content-Type", content_type if is_sendable else DEFAULT_TYPE)]
    for name, value in stored.items():
        is_ours = name in KEPT or (
            METADATA_NAME.fullmatch(name) and not _REFUSED.fullmatch(name.title())
        )
        if is_ours and METADATA_VALUE.fullmatch(value):
            headers.append((name, value))
    return headers
