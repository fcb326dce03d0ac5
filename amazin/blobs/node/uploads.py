"""Uploads to one blob server: small ones held in memory, others streamed.

The server has but one condition, which can't be left out: ours never stores other
bytes under an id that has some; an old one replaces whatever is there.
"""

from __future__ import annotations

from collections.abc import Mapping

from amazin.blobs.node.answers import blob_headers, require_stored, sent_headers
from amazin.blobs.node.client import BlobClient
from amazin.errors import GatewayError
from amazin.model.objects import ObjectInfo
from amazin.nodes.transport.connection import Connection
from amazin.nodes.transport.exchange import send_again, send_first
from amazin.nodes.transport.response import Response
from amazin.nodes.transport.slow_exchange import LateAnswer, LateQuestion
from amazin.nodes.transport.streamed_upload import StreamedRequest

_LAST_CHUNK = b"0\r\n\r\n"


class BlobPost:
    """What is known of an upload before its bytes; makes sense of the answer."""

    def __init__(
        self,
        client: BlobClient,
        blob_id: str,
        length: int | None,
        headers: Mapping[str, str],
    ) -> None:
        """`length` None: it is sent in chunks, to an end that isn't known yet."""
        self.client = client
        self.length = length
        self.written = 0
        """Bytes of the blob so far."""
        framing = (
            ("Transfer-Encoding", "chunked")
            if length is None
            else ("Content-Length", str(length))
        )
        lines = sent_headers(headers)
        self.head = client.request_head("POST", f"/blob/{blob_id}", [framing, *lines])
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

    def interpret(self, response: Response) -> ObjectInfo:
        """Return what is stored. Raises: as `require_stored`."""
        require_stored(response, self._id, self.written)
        return ObjectInfo(self.written, "", 0, None, self._headers)

    def answer(self, connection: Connection, *, is_early: bool = False) -> LateAnswer:
        """Return the answer to come; an early one ends the connection."""
        release = Connection.close if is_early else None
        return self.client.late_answer("POST", connection, release)


class HeldBlob:
    """See `Upload`: held in memory, sent at once and, if needed, once more."""

    def __init__(self, post: BlobPost) -> None:
        """Take an upload of a known, small length."""
        self._post = post
        self._pieces = [post.head]
        self._commit: LateQuestion[ObjectInfo] | None = None

    def write(self, chunk: bytes) -> None:
        """See `Upload`."""
        self._pieces.append(self._post.framed(chunk))

    def start_commit(self) -> LateQuestion[ObjectInfo]:
        """See `Upload`."""
        post, client = self._post, self._post.client
        data = b"".join([*self._pieces, post.end()])
        connection = send_first(client.pool, data, client.limits.answer)

        def repeat() -> LateAnswer:
            return post.answer(send_again(client.pool, data, client.limits.answer))

        self._commit = LateQuestion(
            post.answer(connection),
            post.interpret,
            repeat if connection.is_reused else None,
        )
        return self._commit

    def abort(self) -> None:
        """See `Upload`."""
        self._pieces.clear()
        if self._commit:
            self._commit.cancel()


class StreamedBlob(StreamedRequest):
    """See `Upload`: each chunk goes to the server as it comes.

    It is asked first whether it lives.
    """

    def __init__(self, post: BlobPost) -> None:
        """Ask, and send the head. Raises: NodeError."""
        client = post.client
        client.ask_for_life().wait()
        self._post = post
        super().__init__(client.pool, post.head, client.limits)

    def write(self, chunk: bytes) -> None:
        """See `Upload`."""
        try:
            data = self._post.framed(chunk)
        except GatewayError:
            self.abort()
            raise
        self._send_next(data)

    def start_commit(self) -> LateQuestion[ObjectInfo]:
        """See `Upload`."""
        try:
            end = self._post.end()
        except GatewayError:
            self.abort()
            raise
        if end:
            self._send(end)
        answer = self._post.answer(self._connection)
        return self._await(LateQuestion(answer, self._judge))

    def _early_answer(self, connection: Connection) -> LateAnswer:
        return self._post.answer(connection, is_early=True)

    def _judge(self, response: Response) -> ObjectInfo:
        return self._post.interpret(response)
