"""The call that uses the MinIO SDK: making a bucket.

Imports the SDK; `client.py` imports this module on the first of these calls.
"""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

import urllib3
from minio import Minio
from minio.error import MinioException, S3Error

from amazin.errors import NodeProtocolError
from amazin.model.node_specs import NodeSpec
from amazin.nodes.s3.answers import error_for
from amazin.nodes.transport.response import Response

Send = Callable[[str, bytes], Response]
"""Sends a whole request with this method; returns the response when it begins."""


class OwnConnections(urllib3.PoolManager):
    """Sends the SDK's requests on our connections.

    urllib3's have no bounds: not for what a node sends, nor for how long it may take.
    """

    def __init__(self, send: Send, seconds: float) -> None:
        """`seconds` is the time limit for the body of a response."""
        super().__init__()
        self._send = send
        self._seconds = seconds

    def urlopen(  # type: ignore[override]
        self, method: str, url: str, redirect: bool = True, **options: Any
    ) -> urllib3.HTTPResponse:
        """See `PoolManager`. Raises: NodeError."""
        body: bytes = options["body"] or b""
        target = urlsplit(url)._replace(scheme="", netloc="").geturl()
        fields = {**options["headers"], "Content-Length": str(len(body))}
        lines = "".join([f"{name}: {value}\r\n" for name, value in fields.items()])
        head = f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode("latin-1")
        response = self._send(method, head + body)
        # Without its encoding a body is never unpacked.
        headers = {**response.headers, "content-encoding": "identity"}
        data = BytesIO(response.read_all(self._seconds))
        return urllib3.HTTPResponse(data, headers, response.status)


def make_bucket(
    spec: NodeSpec, connections: OwnConnections, bucket: str, exists: Callable[[], bool]
) -> None:
    """Make a bucket, unless it exists; `exists` asks the server whether it does.

    Raises: NodeError.
    """
    endpoint = urlsplit(spec.endpoint or "")
    sdk = Minio(
        endpoint.netloc,
        spec.access_key,
        spec.secret_key,
        secure=endpoint.scheme == "https",
        region=spec.region,
        http_client=connections,
    )
    try:
        sdk.make_bucket(bucket)
    except S3Error as exc:
        if exc.code in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
            return
        # versitygw may answer so if another client makes the bucket now.
        if exc.response.status != 500 or not exists():
            raise error_for(exc.response.status, exc.code or "") from exc
    except (MinioException, ValueError, SyntaxError) as exc:  # the last: broken XML
        raise NodeProtocolError("the node's answer can't be understood") from exc
