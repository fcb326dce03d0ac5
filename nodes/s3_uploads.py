"""Uploads to one S3 server: small ones held in memory, large ones streamed.

Nothing is hashed, retried or stored here but what `Upload` promises.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from errors import (
    GatewayError,
    NodeError,
    NodeProtocolError,
    NodeTimeoutError,
    NoSuchBucketError,
    NoSuchKeyError,
    PreconditionError,
)
from nodes import ObjectInfo
from nodes.http1 import Connection, NoAnswerError, Response
from nodes.s3_answers import read_etag, require_success
from nodes.s3_client import Question, S3Client, send_again, send_first, send_on_new

PROBE_BUCKET = "store"
"""Asked for when a node is silent; whether it exists doesn't matter."""


class SmallUpload:
    """See `Upload`: held in memory, sent at once and, if needed, once more.

    One with a client's condition isn't repeatable: if the answer to a first try is
    lost, a second one would judge the condition on what the first has stored.
    """

    def __init__(
        self, client: S3Client, head: bytes, stored: ObjectInfo, is_repeatable: bool
    ) -> None:
        """Take what the commit will return, its ETag yet missing."""
        self._client = client
        self._stored = stored
        self._is_repeatable = is_repeatable
        self._pieces = [head]
        self._missing = stored.size
        self._commit: Commit | None = None

    def write(self, chunk: bytes) -> None:
        """See `Upload`."""
        self._pieces.append(chunk)
        self._missing -= len(chunk)

    def start_commit(self) -> Commit:
        """See `Upload`."""
        if self._missing:
            raise GatewayError("an upload was committed before it was complete")
        client, data = self._client, b"".join(self._pieces)
        if self._is_repeatable:
            connection = send_first(client, data, client.limits.answer)
            self._commit = Commit(client, connection, self._stored, data)
        else:  # a kept connection may be dying, which would look like a lost answer
            connection = send_on_new(client, data, client.limits.answer)
            self._commit = Commit(client, connection, self._stored)
        return self._commit

    def abort(self) -> None:
        """See `Upload`."""
        self._pieces.clear()
        if self._commit:
            self._commit.cancel()


class StreamedUpload:
    """See `Upload`: each chunk goes to the node as it comes.

    A stream can't be sent twice, so the node is asked for its bucket first: keys that
    are no longer valid, a frozen node and a missing bucket show before a byte is read
    from the client, and the connection is known to live.
    """

    def __init__(
        self, client: S3Client, bucket: str, head: bytes, stored: ObjectInfo
    ) -> None:
        """Take what the commit will return, its ETag yet missing."""
        if not client.ask_for_bucket(bucket).wait():
            raise NoSuchBucketError("the node has no such bucket")
        self._client = client
        self._stored = stored
        self._missing = stored.size
        self._commit: Commit | None = None
        self._is_over = False
        """Whether the connection is closed, or the commit's."""
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
        LateAnswer(self._client, self._connection, Connection.close).receive()
        raise NodeProtocolError("the node answered before the upload was complete")

    def start_commit(self) -> Commit:
        """See `Upload`."""
        if self._missing:
            self.abort()
            raise GatewayError("an upload was committed before it was complete")
        self._is_over = True
        self._commit = Commit(self._client, self._connection, self._stored)
        return self._commit

    def abort(self) -> None:
        """See `Upload`."""
        if self._commit:
            self._commit.cancel()
        elif not self._is_over:
            self._is_over = True
            self._connection.close()


class Commit:
    """See `Pending`: an upload that was sent to its end."""

    def __init__(
        self,
        client: S3Client,
        connection: Connection,
        stored: ObjectInfo,
        repeatable: bytes = b"",
    ) -> None:
        """Take the whole request, if it may be sent again on a new connection."""
        self._client = client
        self._stored = stored
        self._repeatable = repeatable if connection.is_reused else b""
        self._answer = LateAnswer(client, connection)
        self._is_over = False
        """Whether the connection is closed, or somebody else's again."""

    def is_ready(self, timeout: float) -> bool:
        """See `Pending`."""
        return self._is_over or self._answer.is_ready(timeout)

    def wait(self) -> ObjectInfo:
        """See `Pending`."""
        self._is_over = True
        try:
            etag = self._answer.receive()
        except NoAnswerError:
            if not self._repeatable:
                raise
            client, timeout = self._client, self._client.limits.answer
            connection = send_again(client, self._repeatable, timeout)
            etag = LateAnswer(client, connection).receive()
        return replace(self._stored, etag=etag)

    def cancel(self) -> None:
        """See `Pending`."""
        if not self._is_over:
            self._is_over = True
            self._answer.close()


class LateAnswer:
    """The answer to a PUT, which may take long.

    A slow disk may be slow; a frozen node shall not. So a node that is silent for
    half of the time limit of an answer is asked something easy beside it, and has the
    other half for that.
    """

    def __init__(
        self,
        client: S3Client,
        connection: Connection,
        release: Callable[[Connection], None] | None = None,
    ) -> None:
        """Take the connection on which the whole request was sent just now."""
        now = time.monotonic()
        self._client = client
        self._connection = connection
        self._response = Response(connection, "PUT", release or client.pool.give_back)
        self._deadline = now + client.limits.transfer
        self._patience = client.limits.answer / 2
        self._patient_until = min(now + self._patience, self._deadline)
        self._probe: Question[bool] | None = None
        self._failure: NodeError | None = None

    def is_ready(self, timeout: float) -> bool:
        """Whether it, or a failure, begins to arrive within `timeout` seconds.

        May take longer by the time limit of connecting, if the node is gone.
        """
        until = time.monotonic() + timeout
        while self._failure is None:
            moment = min(until, self._patient_until)
            if self._connection.wait_readable(moment - time.monotonic()):
                return True
            if time.monotonic() < self._patient_until:
                return False
            try:
                self._probe_node()
            except NodeError as exc:
                self._failure = exc
        return True

    def receive(self) -> str:
        """Return the ETag.

        Raises:
            PreconditionError: also for `If-Match` without an object, as S3 says 404.
            NodeError: no usable answer.
        """
        try:
            self._receive_head()
            require_success(self._response)
            self._response.read_all(self._client.limits.transfer)
            return read_etag(self._response)
        except NoSuchKeyError as exc:
            raise PreconditionError("there is no object to match") from exc
        finally:
            self.close()

    def _receive_head(self) -> None:
        while self._failure is None:
            try:
                self._response.receive_head(self._patient_until)
                return
            except NodeTimeoutError:
                self._probe_node()
        raise self._failure

    def _probe_node(self) -> None:
        """Ask again whether the node lives; raises if the last time it didn't say."""
        if time.monotonic() >= self._deadline:
            raise NodeTimeoutError("the node was silent for too long")
        if self._probe:
            self._probe.wait()
        self._probe = self._client.ask_for_bucket(PROBE_BUCKET, self._patience)
        self._patient_until = min(time.monotonic() + self._patience, self._deadline)

    def close(self) -> None:
        """Release the connection, if it isn't yet. Idempotent."""
        self._response.close()
        if self._probe:
            self._probe.cancel()
