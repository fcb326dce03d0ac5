"""Uploads to one S3 server: small ones are sent whole, large ones streamed.

Does no placement and no retries but those that `Node` allows.
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
"""How often a small upload is sent if concurrent deletes remove its directory."""


class Put(NamedTuple):
    """An upload request before its body."""

    head: bytes
    size: int
    label: Label
    is_conditional: bool

    def read_stored(self, response: Response) -> ObjectInfo:
        """Return the info about what is stored. Raises: as `require_success`.

        Also raises PreconditionError for `If-Match` without an object: S3 answers 404.
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
    """Send a small object at once; again, if the kept connection turns out to be dead.

    An upload with a client's condition is not repeated: if the response to the first
    attempt was lost, the second attempt would check the condition against the result of
    the first.
    """
    request, timeout = put.head + data, client.limits.answer
    if is_repeatable:
        connection = send_first(client.pool, request, timeout)
    else:  # a dead kept connection would look like a lost response
        connection = send_on_new(client.pool, request, timeout)
        request = b""
    reader = stored_reader(client, put, request)
    return SlowExchange(client, connection, "PUT", reader, request)


def stored_reader(
    client: S3Client, put: Put, request: bytes = b"", sendings: int = 1
) -> Callable[[Response], ObjectInfo]:
    """Return the function that reads the response to a PUT sent `sendings` times.

    If `request` is given, the function sends it again when a concurrent delete removed
    its directory.
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
    """See `Upload`: each chunk is sent to the node as it arrives.

    First, the node is asked for its bucket: so invalid keys, a frozen node and a
    missing bucket show before a byte is read from the client.
    """

    def __init__(self, client: S3Client, bucket: str, put: Put) -> None:
        """Ask for the bucket, send the head. Raises: NodeError, NoSuchBucketError."""
        if not client.ask_for_bucket(bucket).wait():
            raise NoSuchBucketError("the node has no such bucket")
        self._missing = put.size
        super().__init__(client, "PUT", put.head, stored_reader(client, put))

    def write(self, chunk: bytes) -> None:
        """See `Upload`."""
        self._missing -= len(chunk)
        if self._missing < 0:  # the node would read the rest as the next request
            self.abort()
            raise GatewayError("an upload is longer than was announced")
        self._send_next(chunk)

    def start_commit(self) -> SlowExchange[ObjectInfo]:
        """See `Upload`."""
        if self._missing:
            self.abort()
            raise GatewayError("an upload was committed before it was complete")
        return self._await_answer()
