"""Uploads to one blob server: small ones in one request, others streamed.

Our servers never replace the bytes of an id, with or without a condition; old ones
always do.
"""

from __future__ import annotations

from collections.abc import Mapping

from amazin.blobs.node.answers import blob_headers, require_stored, sent_headers
from amazin.blobs.node.client import BlobClient
from amazin.errors import GatewayError
from amazin.model.objects import ObjectInfo
from amazin.nodes.transport.response import Response
from amazin.nodes.transport.slow_exchange import SlowExchange
from amazin.nodes.transport.streamed_upload import StreamedRequest

_LAST_CHUNK = b"0\r\n\r\n"


class BlobPost:
    """The framing of an upload, and the meaning of its response."""

    def __init__(
        self, blob_id: str, length: int | None, headers: Mapping[str, str]
    ) -> None:
        """`length` is in bytes; None: unknown, sent chunked."""
        self.path = f"/blob/{blob_id}"
        self.length = length
        self.written = 0
        """The number of bytes framed so far."""
        framing = (
            ("Transfer-Encoding", "chunked")
            if length is None
            else ("Content-Length", str(length))
        )
        lines = sent_headers(headers)
        self.lines = [framing, *lines]
        self._id = blob_id
        self._headers = blob_headers({name.lower(): value for name, value in lines})

    def framed(self, chunk: bytes) -> bytes:
        """Return the chunk as it is sent. Raises: GatewayError: too many bytes."""
        self.written += len(chunk)
        if self.length is None:
            return b"%x\r\n%b\r\n" % (len(chunk), chunk) if chunk else b""
        if self.written > self.length:  # the rest would be read as the next request
            raise GatewayError("an upload is longer than was announced")
        return chunk

    def end(self) -> bytes:
        """Return the end of the body. Raises: GatewayError: too few bytes."""
        if self.length is None:
            return _LAST_CHUNK
        if self.written < self.length:
            raise GatewayError("an upload was committed before it was complete")
        return b""

    def read_stored(self, response: Response) -> ObjectInfo:
        """Return the info about the stored blob. Raises: as `require_stored`."""
        require_stored(response, self._id, self.written)
        return ObjectInfo(self.written, "", 0, None, self._headers)


def send_whole(
    client: BlobClient, blob_id: str, data: bytes, headers: Mapping[str, str]
) -> SlowExchange[ObjectInfo]:
    """Send a small blob in one request, again if a kept connection was closed."""
    post = BlobPost(blob_id, len(data), headers)
    body = post.framed(data)
    return client.ask_slowly("POST", post.path, post.read_stored, post.lines, body)


class StreamedBlob(StreamedRequest):
    """An upload whose chunks are sent as they come: an `Upload`.

    The server is probed first.
    """

    def __init__(self, client: BlobClient, post: BlobPost) -> None:
        """Probe the server, and send the head. Raises: NodeError."""
        client.probe().wait()
        self._post = post
        head = client.request_head("POST", post.path, post.lines)
        super().__init__(client, "POST", head, post.read_stored)

    def write(self, chunk: bytes) -> None:
        """See `Upload`."""
        try:
            data = self._post.framed(chunk)
        except GatewayError:
            self.abort()
            raise
        self._send_next(data)

    def start_commit(self) -> SlowExchange[ObjectInfo]:
        """See `Upload`."""
        try:
            end = self._post.end()
        except GatewayError:
            self.abort()
            raise
        if end:
            self._send(end)
        return self._await_answer()
