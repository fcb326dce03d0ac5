"""What clients are told of the errors that the rules raise."""

from __future__ import annotations

from amazin.errors import HTTPError
from amazin.web.errors import as_http_error


def told(error: Exception) -> HTTPError:
    """Return what a client is told of an error, which is none of a bug."""
    answer = error if isinstance(error, HTTPError) else as_http_error(error)
    assert answer, error
    return answer
