"""Talking to one S3 server: signed requests over our own connections, the SDK's calls.

Knows no Node protocol and no uploads; those are built of this (`s3.py`,
`s3_uploads.py`). The only retry is that of a request whose kept connection had died.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Generic, TypeVar
from urllib.parse import urlsplit
from xml.etree.ElementTree import ParseError

import urllib3
from minio import Minio
from minio.error import MinioException, S3Error

from errors import (
    NodeError,
    NodeProtocolError,
    NodeTimeoutError,
    NodeUnreachableError,
)
from nodes import NodeSpec, ObjectInfo, ObjectName, TimeLimits
from nodes.http1 import Connection, NoAnswerError, Response
from nodes.pool import ConnectionPool
from nodes.s3_answers import bucket_exists, error_for
from nodes.sigv4 import Signer, canonical_path

REGION = "us-east-1"
PROBE_KEY = "amazin.probe"
"""No object has this key: a gateway never stores one."""

T = TypeVar("T")


class S3Client:
    """One server: where it is, the keys for it, the connections to it."""

    def __init__(self, spec: NodeSpec, limits: TimeLimits) -> None:
        """Take where the server is and its keys; nothing is connected yet."""
        self.limits = limits
        self._endpoint = urlsplit(spec.endpoint or "")
        self._keys = (spec.access_key, spec.secret_key)
        self.pool = ConnectionPool(self._endpoint, limits.connect)
        self._signer = Signer(self._endpoint.netloc, *self._keys, REGION)

    def request_head(
        self,
        method: str,
        name: ObjectName,
        headers: Sequence[tuple[str, str]] = (),
        amz_headers: Sequence[tuple[str, str]] = (),
    ) -> bytes:
        """Return a signed request's head, ready to be sent."""
        path = canonical_path(*name)
        signed = self._signer.sign(method, path, amz_headers)
        lines = "".join([f"{key}: {value}\r\n" for key, value in headers])
        return f"{method} {path} HTTP/1.1\r\n{signed}{lines}\r\n".encode("latin-1")

    def ask(
        self,
        method: str,
        name: ObjectName,
        interpret: Callable[[Response], T],
        headers: Sequence[tuple[str, str]] = (),
        timeout: float | None = None,
    ) -> Question[T]:
        """Send a request without a body; `interpret` makes the answer a value."""
        head = self.request_head(method, name, headers)
        return Question(self, method, head, interpret, timeout or self.limits.answer)

    def ask_for_bucket(
        self, bucket: str, timeout: float | None = None
    ) -> Question[bool]:
        """Ask whether a bucket exists, by an object in it that doesn't.

        The answer to HEAD of the bucket would not tell a missing bucket from a missing
        user.
        """
        name = ObjectName(bucket, PROBE_KEY)
        return self.ask("GET", name, bucket_exists, (), timeout)

    def make_bucket(self, bucket: str) -> None:
        """See `Node`."""
        with translated_sdk_errors():
            try:
                self._sdk().make_bucket(bucket)
            except S3Error as exc:
                if exc.code in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
                    return
                # So versitygw may answer the slower one of two who make it at once.
                if exc.response.status != 500 or not self.ask_for_bucket(bucket).wait():
                    raise

    def list_objects(
        self, bucket: str, prefix: str, after: str
    ) -> Iterator[tuple[str, ObjectInfo]]:
        """See `Node`."""
        with translated_sdk_errors():
            try:
                for found in self._sdk().list_objects(
                    bucket, prefix, recursive=True, start_after=after or None
                ):
                    modified = found.last_modified
                    seconds = modified.timestamp() if modified else 0
                    modified_ns = int(seconds * 10**9)
                    info = ObjectInfo(found.size or 0, found.etag or "", modified_ns)
                    yield found.object_name or "", info
            except S3Error as exc:
                if exc.code != "NoSuchBucket":
                    raise

    def _sdk(self) -> Minio:
        limits = self.limits
        timeout = urllib3.Timeout(connect=limits.connect, read=limits.transfer)
        return Minio(
            self._endpoint.netloc,
            *self._keys,
            secure=self._endpoint.scheme == "https",
            region=REGION,
            http_client=urllib3.PoolManager(timeout=timeout, retries=False),
        )

    def __repr__(self) -> str:
        return f"<S3Client of {self._endpoint.netloc}>"


class Question(Generic[T]):
    """A request without a body, sent; it may be sent again on a new connection."""

    def __init__(
        self,
        client: S3Client,
        method: str,
        head: bytes,
        interpret: Callable[[Response], T],
        timeout: float,
    ) -> None:
        self._client = client
        self._method = method
        self._head = head
        self._interpret = interpret
        self._timeout = timeout
        self._deadline = time.monotonic() + timeout
        self._is_over = False
        """Whether the connection is the response's, or somebody else's again."""
        self._connection = send_first(client, head, self._timeout)

    def is_ready(self, timeout: float) -> bool:
        """See `Pending`. It is ready at its time limit: then waiting fails at once."""
        if self._is_over:
            return True
        remaining = self._deadline - time.monotonic()
        is_readable = self._connection.wait_readable(min(timeout, remaining))
        return is_readable or remaining <= timeout

    def wait(self) -> T:
        """See `Pending`."""
        self._is_over = True
        try:
            response = self._receive(self._connection)
        except NoAnswerError:
            if not self._connection.is_reused:
                raise
            self._deadline = time.monotonic() + self._timeout
            again = send_again(self._client, self._head, self._timeout)
            response = self._receive(again)
        try:
            return self._interpret(response)
        except BaseException:
            response.close()
            raise

    def _receive(self, connection: Connection) -> Response:
        response = Response(connection, self._method, self._client.pool.give_back)
        try:
            response.receive_head(self._deadline)
        except BaseException:
            response.close()
            raise
        return response

    def cancel(self) -> None:
        """See `Pending`."""
        if not self._is_over:
            self._is_over = True
            self._connection.close()


def send_first(client: S3Client, data: bytes, timeout: float) -> Connection:
    """Send on a kept connection, on a new one if that one is dead."""
    connection = client.pool.take()
    try:
        connection.send(data, timeout)
    except NodeTimeoutError:
        connection.close()
        raise
    except NodeError:
        connection.close()
        if not connection.is_reused:
            raise
        return send_again(client, data, timeout)
    return connection


def send_again(client: S3Client, data: bytes, timeout: float) -> Connection:
    """Send on a new connection; those kept are as old as the dead one: drop them."""
    client.pool.clear()
    return send_on_new(client, data, timeout)


def send_on_new(client: S3Client, data: bytes, timeout: float) -> Connection:
    """Send on a new connection."""
    connection = client.pool.connect()
    try:
        connection.send(data, timeout)
    except NodeError:
        connection.close()
        raise
    return connection


@contextmanager
def translated_sdk_errors() -> Iterator[None]:
    """Turn what the SDK raises into what a node did; by status, not by class."""
    try:
        yield
    except S3Error as exc:
        raise error_for(exc.response.status, exc.code or "") from exc
    except urllib3.exceptions.NewConnectionError as exc:
        raise NodeUnreachableError("no connection to the node") from exc
    except urllib3.exceptions.TimeoutError as exc:
        raise NodeTimeoutError("the node was silent for too long") from exc
    except urllib3.exceptions.HTTPError as exc:
        raise NodeError("the connection to the node broke") from exc
    except (MinioException, ValueError, ParseError) as exc:
        raise NodeProtocolError("the node's answer can't be understood") from exc
