"""Uploads to one S3 server: small ones held in memory, large ones streamed.

Nothing is hashed, retried or stored here but what `Upload` promises.
"""

from __future__ import annotations

import time

from errors import (
    GatewayError,
    NodeError,
    NodeProtocolError,
    NodeTimeoutError,
    NoSuchKeyError,
)
from nodes import ObjectInfo, Stamp
from nodes.http1 import Connection, NoAnswerError, Response
from nodes.s3_answers import read_etag, require_success
from nodes.s3_client import S3Client, send_first, send_on_new

PROBE_BUCKET = "store"
"""Asked for when a node is silent; whether it exists doesn't matter."""


class SmallUpload:
    """See `Upload`: held in memory, sent at once and, if needed, once more."""

    def __init__(
        self, client: S3Client, bucket: str, head: bytes, length: int, stamp: Stamp
    ) -> None:
        self._client = client
        self._bucket = bucket
        self._length = length
        self._stamp = stamp
        self._pieces = [head]
        self._missing = length

    def write(self, chunk: bytes) -> None:
        """See `Upload`."""
        self._pieces.append(chunk)
        self._missing -= len(chunk)

    def commit(self) -> ObjectInfo:
        """See `Upload`."""
        if self._missing:
            raise GatewayError("an upload was committed before it was complete")
        data = b"".join(self._pieces)
        try:
            etag = self._put(data)
        except NoSuchKeyError:
            self._client.make_bucket(self._bucket)
            etag = self._put(data)
        return ObjectInfo(self._length, etag, self._stamp.nanoseconds, self._stamp)

    def _put(self, data: bytes) -> str:
        connection = send_first(self._client, data, self._client.limits.transfer)
        try:
            return receive_commit(self._client, connection)
        except NoAnswerError:
            if not connection.is_reused:
                raise
        connection = send_on_new(self._client, data, self._client.limits.transfer)
        return receive_commit(self._client, connection)

    def abort(self) -> None:
        """See `Upload`."""
        self._pieces.clear()


class StreamedUpload:
    """See `Upload`: each chunk goes to the node as it comes.

    A stream can't be sent twice, so the node is asked for its bucket first: keys that
    are no longer valid, a frozen node and a missing bucket show before a byte is read
    from the client, and the connection is known to live.
    """

    def __init__(
        self, client: S3Client, bucket: str, head: bytes, length: int, stamp: Stamp
    ) -> None:
        if not client.ask_for_bucket(bucket).wait():
            client.make_bucket(bucket)
        self._client = client
        self._length = length
        self._stamp = stamp
        self._missing = length
        self._is_over = False
        """Whether the connection is closed, or somebody else's again."""
        self._connection = send_first(client, head, client.limits.transfer)

    def write(self, chunk: bytes) -> None:
        """See `Upload`."""
        if self._connection.has_input():
            self._explain()
        try:
            self._connection.send(chunk, self._client.limits.transfer)
        except NodeTimeoutError:
            self.abort()
            raise
        except NodeError:
            self._explain()
        self._missing -= len(chunk)

    def _explain(self) -> None:
        """The node ended the upload early: raise what it says of that, if anything."""
        self._is_over = True
        receive_commit(self._client, self._connection)
        raise NodeProtocolError("the node answered before the upload was complete")

    def commit(self) -> ObjectInfo:
        """See `Upload`."""
        if self._missing:
            self.abort()
            raise GatewayError("an upload was committed before it was complete")
        self._is_over = True
        etag = receive_commit(self._client, self._connection)
        return ObjectInfo(self._length, etag, self._stamp.nanoseconds, self._stamp)

    def abort(self) -> None:
        """See `Upload`."""
        if not self._is_over:
            self._is_over = True
            self._connection.close()


def receive_commit(client: S3Client, connection: Connection) -> str:
    """Receive the answer to a PUT and return the ETag.

    A slow disk may take long; a frozen node shall not. So a node that is silent for
    half of the time limit of an answer is asked something easy beside it.
    """
    start = time.monotonic()
    patience = client.limits.answer / 2
    response = Response(connection, "PUT", client.pool.give_back)
    try:
        try:
            response.receive_head(start + patience)
        except NodeTimeoutError:
            client.ask_for_bucket(PROBE_BUCKET, patience).wait()
            response.receive_head(start + client.limits.transfer)
        require_success(response)
        response.read_all(client.limits.transfer)
        return read_etag(response)
    except BaseException:
        response.close()
        raise
