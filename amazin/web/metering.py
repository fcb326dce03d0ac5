"""What counts the requests of clients, as the gateway sees it."""

from __future__ import annotations

from typing import Protocol

from amazin.errors import HTTPError
from amazin.web.messages import Request


class RequestMeter(Protocol):
    """Takes what there is to count of requests."""

    in_flight: int
    """Requests that have begun and not ended."""

    def note_error(self, error: HTTPError, cause: Exception) -> None:
        """Count a request that is refused, because of `cause`."""

    def note_end(
        self, request: Request, status: int, started: float, first_at: float, sent: int
    ) -> None:
        """Count a response.

        Times are on the monotonic clock; `first_at` is that of the first byte of the
        body, 0: there was none. `sent` is the body's bytes.
        """

    def note_broken(self, api: str) -> None:
        """Count a response that ended too early, and not because its client left."""

    def note_failover(self) -> None:
        """Count a read that was answered although a node failed."""
