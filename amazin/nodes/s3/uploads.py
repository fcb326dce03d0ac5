"""Uploads to one S3 server: small ones sent whole, large ones streamed.

Nothing is hashed, retried or stored here but what `Node` promises.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from amazin.errors import (
    GatewayError,
    NodeProtocolError,
    NoSuchBucketError,
    NoSuchKeyError,
    PreconditionError,
)
from amazin.model.objects import Label, ObjectInfo
from amazin.nodes.s3.answers import (
    DeniedError,
    RemovedDirectoryError,
    read_etag,
    require_success,
)
from amazin.nodes.s3.client import S3Client
from amazin.nodes.transport.exchange import send_first, send_on_new
from amazin.nodes.transport.response import Response
from amazin.nodes.transport.slow_exchange import SlowExchange
from amazin.nodes.transport.streamed_upload import StreamedRequest

MAX_SENDINGS = 5
"""How often a small upload is sent whose directory is removed under it."""


class Put(NamedTuple):
    """What is known of an upload before its bytes."""

    head: bytes
    size: int
    label: Label
    is_conditional: bool

    def read_stored(self, response: Response) -> ObjectInfo:
        """Return what is stored. Raises: as `require_success`.

        PreconditionError also for `If-Match` without an object: S3 says 404.
        """
        try:
            require_success(response, is_conditional=self.is_conditional)
        except NoSuchKeyError as exc:
            if self.is_conditional:
                raise PreconditionError("there is no object to match") from exc
            raise NodeProtocolError(
                "the node said of an upload that it isn't there"
            ) from exc
        label = self.label
        etag = read_etag(response)
        return ObjectInfo(self.size, etag, label.stamp.nanoseconds, label)


def send_whole(
    client: S3Client, put: Put, data: bytes, *, is_repeatable: bool
) -> SlowExchange[ObjectInfo]:
    """Send a small object at once; again, where a kept connection turns out dead.

    One with a client's condition isn't repeatable: if the answer to a first try is
    lost, a second one would judge the condition on what the first has stored.
    """
    request, timeout = put.head + data, client.limits.answer
    if is_repeatable:
        connection = send_first(client.pool, request, timeout)
    else:  # a kept connection may be dying, which would look like a lost answer
        connection = send_on_new(client.pool, request, timeout)
        request = b""
    reader = stored_reader(client, put, request)
    return SlowExchange(client, connection, "PUT", reader, request)


def stored_reader(
    client: S3Client, put: Put, request: bytes = b"", sendings: int = 1
) -> Callable[[Response], ObjectInfo]:
    """Return what reads the answer to a PUT, sent so many times by now.

    Where `request` is given, it is sent anew if its directory was removed under it.
    """

    def read(response: Response) -> ObjectInfo:
        try:
            info = put.read_stored(response)
        except (RemovedDirectoryError, DeniedError):
            if not request or sendings == MAX_SENDINGS:
                raise
            again = send_on_new(client.pool, request, client.limits.answer)
            reader = stored_reader(client, put, request, sendings + 1)
            return SlowExchange(client, again, "PUT", reader).wait()
        response.read_all(client.limits.transfer)
        return info

    return read


class StreamedUpload(StreamedRequest):
    """See `Upload`: each chunk goes to the node as it comes.

    The node is asked for its bucket first: keys that are no longer valid, a frozen node
    and a missing bucket show before a byte is read from the client.
    """

    def __init__(self, client: S3Client, bucket: str, put: Put) -> None:
        """Ask, and send the head. Raises: NodeError, NoSuchBucketError."""
        if not client.ask_for_bucket(bucket).wait():
            raise NoSuchBucketError("the node has no such bucket")
        self._missing = put.size
        super().__init__(client, "PUT", put.head, stored_reader(client, put))

    def write(self, chunk: bytes) -> None:
        """See `Upload`."""
        self._missing -= len(chunk)
        if self._missing < 0:  # the rest would be read as the next request
            self.abort()
            raise GatewayError("an upload is longer than was announced")
        self._send_next(chunk)

    def start_commit(self) -> SlowExchange[ObjectInfo]:
        """See `Upload`."""
        if self._missing:
            self.abort()
            raise GatewayError("an upload was committed before it was complete")
        return self._await_answer()
