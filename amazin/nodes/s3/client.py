"""Talking to one S3 server: signed requests over our own connections, the SDK's calls.

Knows no Node protocol and no uploads; those are built of this (`node.py`,
`uploads.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar
from urllib.parse import urlsplit
from xml.etree.ElementTree import ParseError
from xml.parsers.expat import errors as xml_errors

import urllib3
from minio import Minio
from minio.datatypes import Object
from minio.error import MinioException, S3Error

from amazin.errors import (
    NodeError,
    NodeProtocolError,
    NodeTimeoutError,
    NodeUnreachableError,
)
from amazin.model.node_specs import NodeSpec, TimeLimits
from amazin.model.objects import ObjectInfo, ObjectName
from amazin.nodes.s3.answers import bucket_exists, error_for, read_label, stored_headers
from amazin.nodes.transport.connection import Connection
from amazin.nodes.transport.exchange import Exchange, Interpret, send_first
from amazin.nodes.transport.pool import ConnectionPool
from amazin.nodes.transport.slow_exchange import SlowExchange
from amazin.signing.sigv4 import Signer, canonical_path

PROBE_BUCKET = "store"
"""Asked for when a node is silent; whether it exists doesn't matter."""
PROBE_KEY = "amazin.probe"
"""No object has this key: a gateway never stores one."""
_PAGE_KEYS = 1000
"""Keys in one answer of a server, at most."""
_UNREADABLE_NAME = xml_errors.codes[xml_errors.XML_ERROR_INVALID_TOKEN]

T = TypeVar("T")


class S3Client:
    """One server: where it is, the keys for it, the connections to it."""

    def __init__(self, spec: NodeSpec, limits: TimeLimits) -> None:
        """Take where the server is and its keys; nothing is connected yet."""
        self.limits = limits
        self._endpoint = urlsplit(spec.endpoint or "")
        self._keys = (spec.access_key, spec.secret_key)
        self._region = spec.region
        self.pool = ConnectionPool(self._endpoint, limits.connect)
        self._signer = Signer(self._endpoint.netloc, *self._keys, spec.region)

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
        lines = ""
        for key, value in headers:
            lines += f"{key}: {value}\r\n"
        return f"{method} {path} HTTP/1.1\r\n{signed}{lines}\r\n".encode("latin-1")

    def ask(
        self,
        method: str,
        name: ObjectName,
        interpret: Interpret[T],
        headers: Sequence[tuple[str, str]] = (),
        timeout: float | None = None,
    ) -> Exchange[T]:
        """Send a request without a body; `interpret` makes the answer a value."""
        request = self.request_head(method, name, headers)
        timeout = timeout or self.limits.answer
        connection = send_first(self.pool, request, timeout)
        return Exchange(self.pool, connection, method, interpret, timeout, request)

    def await_slowly(
        self,
        connection: Connection,
        method: str,
        interpret: Interpret[T],
        request: bytes = b"",
    ) -> SlowExchange[T]:
        """Await the answer to what was sent on a connection; see `SlowExchange`."""
        return SlowExchange(
            self.pool, connection, method, interpret, self.limits, self._probe, request
        )

    def _probe(self, timeout: float) -> Exchange[bool]:
        return self.ask_for_bucket(PROBE_BUCKET, timeout)

    def ask_for_bucket(
        self, bucket: str, timeout: float | None = None
    ) -> Exchange[bool]:
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
                for found in self._listed(bucket, prefix, after):
                    yield found.object_name or "", listed_info(found)
            except S3Error as exc:
                if exc.code != "NoSuchBucket":
                    raise

    def _listed(self, bucket: str, prefix: str, after: str) -> Iterator[Object]:
        """List in such steps that nothing is left out.

        Where MinIO goes on behind a place, which it also does in the middle of a long
        listing, it counts what it reads before that place, and may end there.
        """
        for directory, last in steps_behind(prefix, after):
            count = 0
            for found in self._pages(bucket, directory, last):
                yield found
                count, last = count + 1, found.object_name or last
            if count >= _PAGE_KEYS:
                yield from self._listed(bucket, directory, last)

    def _pages(self, bucket: str, prefix: str, after: str) -> Iterator[Object]:
        """List with metadata, which MinIO tells; but from where that fails without.

        MinIO makes XML elements of the names of all metadata, also of such as were
        stored past the gateway and can't be one.
        """
        for with_metadata in (True, False):
            try:
                for found in self._sdk().list_objects(
                    bucket,
                    prefix,
                    recursive=True,
                    start_after=after or None,
                    include_user_meta=with_metadata,
                ):
                    after = found.object_name or after
                    yield found
                return
            except ParseError as exc:
                if exc.code != _UNREADABLE_NAME or not with_metadata:
                    raise

    def _sdk(self) -> Minio:
        limits = self.limits
        timeout = urllib3.Timeout(connect=limits.connect, read=limits.transfer)
        return Minio(
            self._endpoint.netloc,
            *self._keys,
            secure=self._endpoint.scheme == "https",
            region=self._region,
            http_client=urllib3.PoolManager(timeout=timeout, retries=False),
        )

    def __repr__(self) -> str:
        return f"<S3Client of {self._endpoint.netloc}>"


def steps_behind(prefix: str, after: str) -> Iterator[tuple[str, str]]:
    """Yield (prefix, place) of listings that together are one behind `after`.

    First the rest of its directory, then that of the one above, up to the prefix: there
    each place is behind the directory before, `a0` behind `a/`. (So a key that is just
    this is left out; a gateway stores none there.)
    """
    if not after.startswith(prefix):
        if after.encode() < prefix.encode():
            yield prefix, after
        return
    while (end := after.rfind("/") + 1) > len(prefix):
        yield after[:end], after
        after = after[: end - 1] + "0"  # what comes behind the slash
    yield prefix, after


def listed_info(found: Object) -> ObjectInfo:
    """Return what a listing says of an object, which may be little."""
    metadata = {name.lower(): value for name, value in (found.metadata or {}).items()}
    label = read_label(metadata)
    if label:
        modified_ns = label.stamp.nanoseconds
    else:
        modified = found.last_modified
        modified_ns = int((modified.timestamp() if modified else 0) * 10**9)
    headers = stored_headers(metadata)
    return ObjectInfo(found.size or 0, found.etag or "", modified_ns, label, headers)


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
