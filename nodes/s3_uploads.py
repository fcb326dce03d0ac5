"""Uploads to one S3 server: small ones held in memory, large ones streamed.

Nothing is hashed, retried or stored here but what `Upload` promises.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from errors import (
    GatewayError,
    NodeError,
    NodeProtocolError,
    NodeTimeoutError,
    NoSuchKeyError,
    PreconditionError,
)
from nodes import ObjectInfo, Stamp
from nodes.http1 import Connection, NoAnswerError, Response
from nodes.s3_answers import read_etag, require_success
from nodes.s3_client import S3Client, send_again, send_first, send_on_new

PROBE_BUCKET = "store"
"""Asked for when a node is silent; whether it exists doesn't matter."""


class NoBucketError(NodeError):
    """The bucket does not exist, so nothing was stored."""


class SmallUpload:
    """See `Upload`: held in memory, sent at once and, if needed, once more.

    A conditional one isn't repeatable: if the answer to a first try is lost, a second
    one would judge the condition on what the first has stored.
    """

    def __init__(
        self,
        client: S3Client,
        bucket: str,
        head: bytes,
        length: int,
        stamp: Stamp,
        is_repeatable: bool,
    ) -> None:
        self._client = client
        self._bucket = bucket
        self._length = length
        self._stamp = stamp
        self._is_repeatable = is_repeatable
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
        except NoBucketError:
            self._client.make_bucket(self._bucket)
            etag = self._put(data)
        return ObjectInfo(self._length, etag, self._stamp.nanoseconds, self._stamp)

    def _put(self, data: bytes) -> str:
        client, timeout = self._client, self._client.limits.answer
        if not self._is_repeatable:
            # A kept connection may be dying, which would look like a lost answer.
            return receive_commit(client, send_on_new(client, data, timeout))
        connection = send_first(client, data, timeout)
        try:
            return receive_commit(client, connection)
        except NoAnswerError:
            if not connection.is_reused:
                raise
        return receive_commit(client, send_again(client, data, timeout))

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
        self._connection = send_first(client, head, client.limits.answer)

    def write(self, chunk: bytes) -> None:
        """See `Upload`."""
        self._missing -= len(chunk)
        if self._missing < 0:  # the rest would be read as the next request
            self.abort()
            raise GatewayError("an upload is longer than was announced")
        if self._connection.has_input():
            self._explain()
        try:
            self._connection.send(chunk, self._client.limits.transfer)
        except NodeTimeoutError:
            self.abort()
            raise
        except NodeError:
            self._explain()

    def _explain(self) -> None:
        """The node ended the upload early: raise what it says of that, if anything.

        The connection, on which a body is unfinished, is of no further use.
        """
        self._is_over = True
        receive_commit(self._client, self._connection, Connection.close)
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


def receive_commit(
    client: S3Client,
    connection: Connection,
    release: Callable[[Connection], None] | None = None,
) -> str:
    """Receive the answer to a PUT and return the ETag.

    Raises:
        NoBucketError: nothing is stored.
        PreconditionError: also for `If-Match` without an object, as S3 says 404.
        NodeError: no usable answer.
    """
    response = Response(connection, "PUT", release or client.pool.give_back)
    try:
        receive_late_head(client, response)
        require_success(response)
        response.read_all(client.limits.transfer)
        return read_etag(response)
    except NoSuchKeyError as exc:
        if str(exc) == "NoSuchKey":
            raise PreconditionError("there is no object to match") from exc
        raise NoBucketError("the node has no such bucket") from exc
    finally:
        response.close()


def receive_late_head(client: S3Client, response: Response) -> None:
    """Receive the head of an answer that may take long.

    A slow disk may be slow; a frozen node shall not. So a node that is silent for
    half of the time limit of an answer is asked something easy beside it.
    """
    deadline = time.monotonic() + client.limits.transfer
    patience = client.limits.answer / 2
    while True:
        try:
            response.receive_head(min(deadline, time.monotonic() + patience))
            return
        except NodeTimeoutError:
            if time.monotonic() >= deadline:
                raise
        client.ask_for_bucket(PROBE_BUCKET, patience).wait()
