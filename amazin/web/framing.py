"""Where a request's body ends, and reading it within the time limit.

Source: RFC 9112 section 6; PEP 3333 on `wsgi.input`.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator
from wsgiref.types import InputStream, WSGIEnvironment

from amazin.errors import BodyError, HTTPError, LateError
from amazin.model.objects import CHUNK_BYTES

DEADLINE = "amazin.deadline"
"""Key in the environ: when the request must end, on the monotonic clock."""
_LENGTH = re.compile(r"[0-9]{1,999}")


def is_chunked(environ: WSGIEnvironment) -> bool:
    """Whether the body is chunked. Raises: HTTPError 400, 411 or 501."""
    encoding = environ.get("HTTP_TRANSFER_ENCODING", "").strip().lower()
    if not encoding:
        return False
    if environ.get("CONTENT_LENGTH"):
        message = "Send either Content-Length or Transfer-Encoding, not both"
        raise HTTPError(400, "AmbiguousLength", message)
    if encoding != "chunked":
        message = "Only the transfer encoding chunked is supported"
        raise HTTPError(501, "NotSupported", message)
    if not environ.get("wsgi.input_terminated"):
        raise HTTPError(411, "LengthRequired", "Send a Content-Length")
    return True


def content_length(environ: WSGIEnvironment) -> int | None:
    """Return the announced length in bytes; None: none. Raises: HTTPError 400."""
    text = environ.get("CONTENT_LENGTH") or ""
    if not text:
        return None
    if not _LENGTH.fullmatch(text):
        raise HTTPError(400, "InvalidLength", "Content-Length must be a number")
    return int(text)


def announced_length(environ: WSGIEnvironment, limit: int) -> int | None:
    """Return the length of a body that is allowed; None: it is chunked.

    Raises: HTTPError 400, 411, 413, 501.
    """
    if environ.get("HTTP_TRANSFER_ENCODING") and is_chunked(environ):
        return None
    length = content_length(environ)
    if length is None:
        raise HTTPError(411, "LengthRequired", "Send a Content-Length")
    if length > limit:
        raise too_large(limit)
    return length


def limited(
    stream: InputStream,
    limit: int,
    deadline: float = math.inf,
    piece_bytes: int = CHUNK_BYTES,
) -> Iterator[bytes]:
    """Yield a body of unknown length. Raises: HTTPError 413, BodyError, LateError."""
    size = 0
    while chunk := read_some(stream, piece_bytes, deadline):
        require_time(deadline)
        size += len(chunk)
        if size > limit:
            raise too_large(limit)
        yield chunk


def require_time(deadline: float) -> None:
    """Raises: LateError, if the deadline has passed."""
    if time.monotonic() > deadline:
        raise LateError("The body did not arrive within REQUEST_TIMEOUT")


def read_some(stream: InputStream, size: int, deadline: float = math.inf) -> bytes:
    """Read from the client.

    Raises: BodyError, if the connection or the framing broke; LateError, if it broke
    after the deadline, or too little came for too long.
    """
    try:
        return stream.read(size)
    except TimeoutError as exc:
        require_time(deadline)
        raise LateError("Too little of the body came for too long") from exc
    except Exception as exc:  # gunicorn's parser has exceptions without a common base
        require_time(deadline)
        raise BodyError("The body could not be read to its end") from exc


def too_large(limit: int) -> HTTPError:
    """Return the error for a body above `limit` bytes."""
    return HTTPError(413, "ObjectTooLarge", f"An object may have {limit} bytes at most")
