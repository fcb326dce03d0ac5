"""Sends requests to one blob server, over pooled connections.

`node.py` and `uploads.py` use it.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from typing import TypeVar
from urllib.parse import quote, unquote, urlsplit

from amazin.errors import NodeProtocolError
from amazin.model.node_specs import TimeLimits
from amazin.nodes.transport.exchange import Exchange, Interpret, send_first
from amazin.nodes.transport.pool import ConnectionPool
from amazin.nodes.transport.response import Response
from amazin.nodes.transport.slow_exchange import SlowExchange

_KEPT_IN_PATHS = "/%:@!$&'()*+,;=-._~"

T = TypeVar("T")


class BlobClient:
    """The URL of one blob server, and the connections to it."""

    def __init__(self, url: str, limits: TimeLimits) -> None:
        """Open no connection yet.

        A path in the URL is a prefix of all request paths. `http://USER:PASSWORD@host`
        sends basic authentication; `http://TOKEN@host` sends an API token.
        """
        self.limits = limits
        endpoint = urlsplit(url)
        self.pool = ConnectionPool(endpoint, limits.connect)
        self._base = quote(endpoint.path.rstrip("/"), safe=_KEPT_IN_PATHS)
        user, _, self._host = endpoint.netloc.rpartition("@")
        lines = f"Host: {self._host}\r\n"
        if user:
            lines += f"Authorization: {credentials(user)}\r\n"
        self._lines = lines

    def request_head(
        self, method: str, path: str, headers: Sequence[tuple[str, str]] = ()
    ) -> bytes:
        """Return the bytes of a request's head."""
        lines = "".join([f"{name}: {value}\r\n" for name, value in headers])
        line = f"{method} {self._base}{path} HTTP/1.1\r\n"
        return f"{line}{self._lines}{lines}\r\n".encode("latin-1")

    def ask(
        self,
        method: str,
        path: str,
        interpret: Interpret[T],
        headers: Sequence[tuple[str, str]] = (),
        timeout: float | None = None,
    ) -> Exchange[T]:
        """Send a request without a body; `interpret` turns the response into a value.

        `timeout` is in seconds. Raises: NodeError.
        """
        request = self.request_head(method, path, headers)
        timeout = timeout or self.limits.answer
        connection = send_first(self.pool, request, timeout)
        return Exchange(self.pool, connection, method, interpret, timeout, request)

    def ask_slowly(
        self,
        method: str,
        path: str,
        interpret: Interpret[T],
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
    ) -> SlowExchange[T]:
        """Send a request whose response may take long. Raises: NodeError.

        An old server reads a whole blob before it sends the first byte.
        """
        request = self.request_head(method, path, headers) + body
        connection = send_first(self.pool, request, self.limits.answer)
        return SlowExchange(self, connection, method, interpret, request)

    def probe(self, timeout: float | None = None) -> Exchange[None]:
        """Ask whether a blob server is alive."""

        def interpret(response: Response) -> None:
            body = response.read_all(self.limits.answer)
            if response.status != 200 or body.strip() != b"alive":
                raise NodeProtocolError("what answers there is no blob server")

        return self.ask("GET", "/alive", interpret, (), timeout)

    def __repr__(self) -> str:
        return f"<BlobClient of {self._host}>"


def credentials(user: str) -> str:
    """Return the value of `Authorization` for the user information of a URL."""
    name, colon, _ = user.partition(":")
    if colon:
        return "Basic " + b64encode(unquote(user).encode()).decode()
    return "Bearer " + quote(unquote(name), safe="!$&'()*+,;=-._~/:@")
