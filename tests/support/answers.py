"""What clients are told of the errors that the rules raise, and browsers of bytes."""

from __future__ import annotations

from amazin.errors import HTTPError
from amazin.web.errors import as_http_error
from tests.support.app import Answer


def require_no_origin(answer: Answer) -> None:
    """Check that a browser runs nothing in it, and guesses no type."""
    assert answer.status < 300
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Security-Policy"] == (
        "sandbox; default-src 'none'; style-src 'unsafe-inline'; "
        "img-src 'self' data:; media-src 'self'"
    )


def told(error: Exception) -> HTTPError:
    """Return what a client is told of an error, which is none of a bug."""
    answer = error if isinstance(error, HTTPError) else as_http_error(error)
    assert answer, error
    return answer
