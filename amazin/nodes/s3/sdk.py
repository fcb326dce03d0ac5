"""The calls that use the MinIO SDK: making a bucket, and listing one.

Imports the SDK; `client.py` imports this module on the first of these calls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import SplitResult
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
from amazin.model.node_specs import TimeLimits
from amazin.model.objects import ObjectInfo
from amazin.nodes.s3.answers import error_for, read_label, stored_headers

_PAGE_KEYS = 1000
"""The maximum number of keys in one response of a server."""
_UNREADABLE_NAME = xml_errors.codes[xml_errors.XML_ERROR_INVALID_TOKEN]


class SDK:
    """The SDK's client of one server; its exceptions are translated to node errors."""

    def __init__(
        self,
        endpoint: SplitResult,
        keys: tuple[str, str],
        region: str,
        limits: TimeLimits,
    ) -> None:
        """Take the server's address and keys; nothing is connected yet."""
        self._endpoint = endpoint
        self._keys = keys
        self._region = region
        self._limits = limits

    def make_bucket(self, bucket: str, exists: Callable[[], bool]) -> None:
        """Make a bucket, unless it exists; `exists` asks the server whether it does."""
        with translated_errors():
            try:
                self._client().make_bucket(bucket)
            except S3Error as exc:
                if exc.code in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
                    return
                # versitygw may answer so if another client makes the bucket now.
                if exc.response.status != 500 or not exists():
                    raise

    def list_objects(
        self, bucket: str, prefix: str, after: str
    ) -> Iterator[tuple[str, ObjectInfo]]:
        """See `Node`."""
        with translated_errors():
            try:
                for found in self._listed(bucket, prefix, after):
                    yield found.object_name or "", listed_info(found)
            except S3Error as exc:
                if exc.code != "NoSuchBucket":
                    raise

    def _listed(self, bucket: str, prefix: str, after: str) -> Iterator[Object]:
        """List in steps that leave nothing out.

        When MinIO continues a listing after a place, which it also does within a long
        listing, it counts the keys that it reads before that place, and may end there.
        """
        for directory, last in steps_behind(prefix, after):
            count = 0
            for found in self._pages(bucket, directory, last):
                yield found
                count, last = count + 1, found.object_name or last
            if count >= _PAGE_KEYS:
                yield from self._listed(bucket, directory, last)

    def _pages(self, bucket: str, prefix: str, after: str) -> Iterator[Object]:
        """List with metadata, which MinIO supports; after a parse error, without.

        MinIO turns the names of all metadata into XML elements, also names that can't
        be one. Only other programs than the gateway store such names.
        """
        for with_metadata in (True, False):
            try:
                for found in self._client().list_objects(
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

    def _client(self) -> Minio:
        limits = self._limits
        timeout = urllib3.Timeout(connect=limits.connect, read=limits.transfer)
        return Minio(
            self._endpoint.netloc,
            *self._keys,
            secure=self._endpoint.scheme == "https",
            region=self._region,
            http_client=urllib3.PoolManager(timeout=timeout, retries=False),
        )


def steps_behind(prefix: str, after: str) -> Iterator[tuple[str, str]]:
    """Yield (prefix, after) of listings that together list the keys behind `after`.

    The first lists the rest of its directory, the next the rest of the directory above,
    and so on up to the prefix. Each starts behind the previous directory: at `a0`
    behind `a/`. (So it leaves out a key `a0` itself; a gateway stores none there.)
    """
    if not after.startswith(prefix):
        if after.encode() < prefix.encode():
            yield prefix, after
        return
    while (end := after.rfind("/") + 1) > len(prefix):
        yield after[:end], after
        after = after[: end - 1] + "0"  # the character after the slash
    yield prefix, after


def listed_info(found: Object) -> ObjectInfo:
    """Return the info that a listing has about an object, which may be incomplete."""
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
def translated_errors() -> Iterator[None]:
    """Translate the SDK's exceptions to node errors; by status, not by class."""
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
