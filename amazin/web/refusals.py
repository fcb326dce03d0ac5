"""What a client is told of a request that the server could not read. Pure.

The messages repeat nothing of the request.
"""

from __future__ import annotations

import re

from amazin.errors import HTTPError

_ENDS_WELL = re.compile(r" HTTP/1\.[0-9]'+$")
"""The end of a request line: what is wrong must be in the address."""


def refusal(status: int, detail: str) -> HTTPError:
    """Return the error for a status; `detail` is what gunicorn says of it."""
    is_line = detail.startswith(("Invalid Request Line", "Invalid HTTP Version"))
    if is_line and (not detail.isascii() or _ENDS_WELL.search(detail)):
        message = "Percent-encode blanks and what is not ASCII in the address, as %20"
        return HTTPError(400, "UnescapedAddress", message)
    return _REFUSALS.get(status) or HTTPError(
        status, "MalformedRequest", "This is no well-formed HTTP/1.1 request"
    )


_REFUSALS = {
    error.status: error
    for error in (
        HTTPError(414, "AddressTooLong", "The address may have 8190 bytes at most"),
        HTTPError(417, "UnknownExpectation", "Expect takes 100-continue only"),
        HTTPError(
            431, "HeadersTooLarge", "There are too many headers, or one is too long"
        ),
        HTTPError(500, "InternalError", "The gateway failed: a bug"),
        HTTPError(501, "NotSupported", "Only the transfer encoding chunked is known"),
    )
}
