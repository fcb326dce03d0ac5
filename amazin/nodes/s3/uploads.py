"""Uploads to one S3 server: small ones held in memory, large ones streamed.

Nothing is hashed, retried or stored here but what `Upload` promises.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from amazin.errors import (
    GatewayError,
    NodeProtocolError,
    NoSuchBucketError,
    NoSuchKeyError,
    PreconditionError,
)
from amazin.model.objects import ObjectInfo
from amazin.nodes.s3.answers import (
    DeniedError,
    RemovedDirectoryError,
    read_etag,
    require_success,
)
from amazin.nodes.s3.client import S3Client
from amazin.nodes.transport.connection import Connection
from amazin.nodes.transport.exchange import send_again, send_first, send_on_new
from amazin.nodes.transport.response import Response
from amazin.nodes.transport.slow_exchange import LateAnswer, LateQuestion
from amazin.nodes.transport.streamed_upload import StreamedRequest

PROBE_BUCKET = "store"
"""Asked for when a node is silent; whether it exists doesn't matter."""
MAX_SENDINGS = 5
"""How often a small upload is sent whose directory is removed under it."""


class Put(NamedTuple):
    """What is known of an upload before its bytes."""

    head: bytes
    stored: ObjectInfo
    """What the commit returns, its ETag yet missing."""
    is_conditional: bool


class SmallUpload:
    """See `Upload`: held in memory, sent at once and, if needed, once more.

    One with a client's condition isn't repeatable: if the answer to a first try is
    lost, a second one would judge the condition on what the first has stored.
    """

    def __init__(self, client: S3Client, put: Put, *, is_repeatable: bool) -> None:
        """Take an upload of a small size; nothing is sent yet."""
        self._client = client
        self._put = put
        self._is_repeatable = is_repeatable
        self._pieces = [put.head]
        self._missing = put.stored.size
        self._commit: LateQuestion[ObjectInfo] | None = None

    def write(self, chunk: bytes) -> None:
        """See `Upload`."""
        self._pieces.append(chunk)
        self._missing -= len(chunk)

    def start_commit(self) -> LateQuestion[ObjectInfo]:
        """See `Upload`."""
        if self._missing:
            raise GatewayError("an upload was committed before it was complete")
        client, data = self._client, b"".join(self._pieces)
        if self._is_repeatable:
            connection = send_first(client.pool, data, client.limits.answer)
            self._commit = commit(client, connection, self._put, data)
        else:  # a kept connection may be dying, which would look like a lost answer
            connection = send_on_new(client.pool, data, client.limits.answer)
            self._commit = commit(client, connection, self._put)
        return self._commit

    def abort(self) -> None:
        """See `Upload`."""
        self._pieces.clear()
        if self._commit:
            self._commit.cancel()


class StreamedUpload(StreamedRequest):
    """See `Upload`: each chunk goes to the node as it comes.

    The node is asked for its bucket first: keys that are no longer valid, a frozen node
    and a missing bucket show before a byte is read from the client.
    """

    def __init__(self, client: S3Client, bucket: str, put: Put) -> None:
        """Ask, and send the head. Raises: NodeError, NoSuchBucketError."""
        if not client.ask_for_bucket(bucket).wait():
            raise NoSuchBucketError("the node has no such bucket")
        self._client = client
        self._put = put
        self._missing = put.stored.size
        super().__init__(client.pool, put.head, client.limits)

    def write(self, chunk: bytes) -> None:
        """See `Upload`."""
        self._missing -= len(chunk)
        if self._missing < 0:  # the rest would be read as the next request
            self.abort()
            raise GatewayError("an upload is longer than was announced")
        self._send_next(chunk)

    def start_commit(self) -> LateQuestion[ObjectInfo]:
        """See `Upload`."""
        if self._missing:
            self.abort()
            raise GatewayError("an upload was committed before it was complete")
        return self._await(commit(self._client, self._connection, self._put))

    def _early_answer(self, connection: Connection) -> LateAnswer:
        return late_answer(self._client, connection, Connection.close)

    def _judge(self, response: Response) -> None:
        require_stored(response, self._put)


def late_answer(
    client: S3Client,
    connection: Connection,
    release: Callable[[Connection], None] | None = None,
) -> LateAnswer:
    """Return the answer that is to come to a PUT."""
    probe = partial(client.ask_for_bucket, PROBE_BUCKET)
    return LateAnswer(client.pool, connection, "PUT", client.limits, probe, release)


def commit(
    client: S3Client,
    connection: Connection,
    put: Put,
    repeatable: bytes = b"",
) -> LateQuestion[ObjectInfo]:
    """Return the commit of what was sent.

    Takes the whole request, if it may be sent again on a new connection.
    """
    timeout = client.limits.answer
    sendings = 1

    def interpret(response: Response) -> ObjectInfo:
        nonlocal sendings
        try:
            require_stored(response, put)
        except (RemovedDirectoryError, DeniedError):
            if not repeatable or sendings == MAX_SENDINGS:
                raise
            sendings += 1
            again = send_on_new(client.pool, repeatable, timeout)
            return late_answer(client, again).receive(interpret)
        response.read_all(client.limits.transfer)
        return replace(put.stored, etag=read_etag(response))

    def repeat() -> LateAnswer:
        return late_answer(client, send_again(client.pool, repeatable, timeout))

    may_repeat = repeatable and connection.is_reused
    answer = late_answer(client, connection)
    return LateQuestion(answer, interpret, repeat if may_repeat else None)


def require_stored(response: Response, put: Put) -> None:
    """Return if a PUT succeeded. Raises: as `require_success`.

    PreconditionError also for `If-Match` without an object: S3 says 404.
    """
    try:
        require_success(response, is_conditional=put.is_conditional)
    except NoSuchKeyError as exc:
        if put.is_conditional:
            raise PreconditionError("there is no object to match") from exc
        raise NodeProtocolError(
            "the node said of an upload that it isn't there"
        ) from exc
