"""Uploads to one blob server: small ones sent whole, others streamed.

The server has but one condition, which can't be left out: ours never stores other
bytes under an id that has some; an old one replaces whatever is there.
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
    """An upload without its bytes: how they are framed, and what the answer means."""

    def __init__(
        self, blob_id: str, length: int | None, headers: Mapping[str, str]
    ) -> None:
        """A `length` of None is unknown: the upload is sent chunked."""
        self.path = f"/blob/{blob_id}"
        self.length = length
        self.written = 0
        """How many bytes of the blob were framed so far."""
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
        """Return the next bytes as they are sent. Raises: GatewayError, too many."""
        self.written += len(chunk)
        if self.length is None:
            return b"%x\r\n%b\r\n" % (len(chunk), chunk) if chunk else b""
        if self.written > self.length:  # the rest would be read as the next request
            raise GatewayError("an upload is longer than was announced")
        return chunk

    def end(self) -> bytes:
        """Return what is sent behind all bytes. Raises: GatewayError, too few."""
        if self.length is None:
            return _LAST_CHUNK
        if self.written < self.length:
            raise GatewayError("an upload was committed before it was complete")
        return b""

    def read_stored(self, response: Response) -> ObjectInfo:
        """Return what is stored. Raises: as `require_stored`."""
        require_stored(response, self._id, self.written)
        return ObjectInfo(self.written, "", 0, None, self._headers)


def send_whole(
    client: BlobClient, blob_id: str, data: bytes, headers: Mapping[str, str]
) -> SlowExchange[ObjectInfo]:
    """Send a small blob at once; again, where a kept connection turns out dead."""
    post = BlobPost(blob_id, len(data), headers)
    body = post.framed(data)
    return client.ask_slowly("POST", post.path, post.read_stored, post.lines, body)


class StreamedBlob(StreamedRequest):
    """See `Upload`: each chunk goes to the server as it comes.

    It is asked first whether it lives.
    """

    def __init__(self, client: BlobClient, post: BlobPost) -> None:
        """Ask, and send the head. Raises: NodeError."""
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
