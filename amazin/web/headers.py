"""Which headers of an upload are stored, and which are sent with a download. Pure.

Both are allow-lists. `X-...` headers are in them by the pattern `kept` of their names,
which `model/metadata_names.py` makes.
"""

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
"""Content types of compressed files, because their bytes are served as they are."""

_KEPT_VARIABLES = [(name, "HTTP_" + name.upper().replace("-", "_")) for name in KEPT]
_TYPES = mimetypes.MimeTypes()
"""Python's own table: with the machine's table, gateways would differ."""


def uploaded_headers(
    environ: WSGIEnvironment,
    key: str,
    kept: re.Pattern[str],
    most_bytes: int = MAX_METADATA_BYTES,
) -> dict[str, str]:
    """Return the headers to store with an object: Content-Type, the kept ones, X-....

    Raises: HTTPError 501 for `aws-chunked`, 400 for partial uploads; as `require_fit`.
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
            if kept.fullmatch(name):
                headers[name] = cleaned(environ[variable])
    require_fit(headers, most_bytes)
    return headers


def cleaned(value: str) -> str:
    """Return a header's value as it is stored: tabs become spaces, which HTTP allows.

    A tab is a control character, and no WSGI response may have one.
    """
    return value.replace("\t", " ").strip(" ")


def refuse_wrapped(environ: WSGIEnvironment) -> None:
    """Raises: HTTPError, if the body is not exactly the object's bytes."""
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
    """Raises: HTTPError 501, if one of these headers requests a copy."""
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


def returned_headers(
    stored: Mapping[str, str], kept: re.Pattern[str]
) -> list[tuple[str, str]]:
    """Return the stored headers that a download sends; Content-Type always, and first.

    They are filtered again, because other programs write to nodes, too, and earlier
    versions of this one kept more.
    """
    content_type = stored.get("Content-Type", "")
    is_sendable = content_type and METADATA_VALUE.fullmatch(content_type)
    headers = [("Content-Type", content_type if is_sendable else DEFAULT_TYPE)]
    for name, value in stored.items():
        is_ours = name in KEPT or (
            METADATA_NAME.fullmatch(name) and kept.fullmatch(name)
        )
        if is_ours and METADATA_VALUE.fullmatch(value):
            headers.append((name, value))
    return headers
