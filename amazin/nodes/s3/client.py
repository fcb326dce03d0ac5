"""Signed requests to one S3 server, on our own connections.

Knows neither the Node protocol nor uploads nor listings: `node.py`, `uploads.py` and
`listing.py` are built on this. The use of the SDK is in `sdk.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar
from urllib.parse import urlsplit

from amazin.model.node_specs import NodeSpec, TimeLimits
from amazin.model.objects import ObjectName
from amazin.nodes.s3.answers import bucket_exists
from amazin.nodes.transport.exchange import Exchange, Interpret, send_first
from amazin.nodes.transport.pool import ConnectionPool
from amazin.nodes.transport.response import Response
from amazin.nodes.transport.slow_exchange import SlowExchange
from amazin.signing.sigv4 import Signer, canonical_path, canonical_query

PROBE_BUCKET = "store"
"""The bucket that probes ask for; it need not exist."""
PROBE_KEY = "amazin.probe"
"""No object has this key: a gateway never stores one."""

T = TypeVar("T")


class S3Client:
    """One server: its address, the access keys, the connections."""

    def __init__(self, spec: NodeSpec, limits: TimeLimits) -> None:
        """Take the server's address and keys; nothing is connected yet."""
        self.limits = limits
        self._endpoint = urlsplit(spec.endpoint or "")
        self._spec = spec
        self.pool = ConnectionPool(self._endpoint, limits.connect)
        self._signer = Signer(
            self._endpoint.netloc, spec.access_key, spec.secret_key, spec.region
        )

    def request_head(
        self,
        method: str,
        name: ObjectName,
        headers: Sequence[tuple[str, str]] = (),
        amz_headers: Sequence[tuple[str, str]] = (),
    ) -> bytes:
        """Return the head of a signed request, ready to be sent."""
        path = canonical_path(*name)
        signed = self._signer.sign(method, path, amz_headers)
        lines = ""
        for key, value in headers:
            lines += f"{key}: {value}\r\n"
        return f"{method} {path} HTTP/1.1\r\n{signed}{lines}\r\n".encode("latin-1")

    def ask(
        self,
        method: str,
        name: ObjectName,
        interpret: Interpret[T],
        headers: Sequence[tuple[str, str]] = (),
        timeout: float | None = None,
    ) -> Exchange[T]:
        """Send a request without a body; `interpret` makes a value of the response."""
        request = self.request_head(method, name, headers)
        timeout = timeout or self.limits.answer
        connection = send_first(self.pool, request, timeout)
        return Exchange(self.pool, connection, method, interpret, timeout, request)

    def probe(self, timeout: float | None = None) -> Exchange[bool]:
        """Send a request that any node able to serve answers."""
        return self.ask_for_bucket(PROBE_BUCKET, timeout)

    def ask_for_bucket(
        self, bucket: str, timeout: float | None = None
    ) -> Exchange[bool]:
        """Ask whether a bucket exists, by a GET of an object that doesn't exist.

        The response to a HEAD of the bucket would not distinguish a missing bucket from
        a missing user.
        """
        name = ObjectName(bucket, PROBE_KEY)
        return self.ask("GET", name, bucket_exists, (), timeout)

    def ask_slowly(
        self,
        bucket: str,
        query: Sequence[tuple[str, str]],
        interpret: Interpret[T],
    ) -> SlowExchange[T]:
        """Ask for something about a bucket, which may take a while."""
        path, text = canonical_path(bucket), canonical_query(query)
        lines = self._signer.sign("GET", path, (), text)
        request = f"GET {path}?{text} HTTP/1.1\r\n{lines}\r\n".encode("latin-1")
        return self._send("GET", request, interpret)

    def _send(
        self, method: str, request: bytes, interpret: Interpret[T]
    ) -> SlowExchange[T]:
        connection = send_first(self.pool, request, self.limits.answer)
        return SlowExchange(self, connection, method, interpret, request)

    def make_bucket(self, bucket: str) -> None:
        """See `Node`."""
        # Importing the SDK takes a third of the start-up time, and many processes never
        # need it.
        from amazin.nodes.s3.sdk import OwnConnections, make_bucket

        def send(method: str, request: bytes) -> Response:
            return self._send(method, request, lambda response: response).wait()

        connections = OwnConnections(send, self.limits.transfer)
        exists = self.ask_for_bucket
        make_bucket(self._spec, connections, bucket, lambda: exists(bucket).wait())

    def __repr__(self) -> str:
        return f"<S3Client of {self._endpoint.netloc}>"
