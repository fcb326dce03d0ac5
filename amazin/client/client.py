"""`GatewayClient`: one method for each operation on a gateway."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

from amazin.client.http import Transport
from amazin.client.objects import (
    StoredObject,
    as_size,
    checked_headers,
    copy_source,
    encoded,
    entry_of,
    info_of,
    kept_headers,
    nonsense,
    path_of,
    quoted,
)
from amazin.client.streams import Digest, ObjectStream, Readable, Upload
from amazin.errors import ClientError, DamagedError, RefusedError

DEFAULT_URL = "http://localhost:3000"
PAGE_KEYS = 1000
"""The most keys that one request lists or removes."""
JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Unremoved:
    """A key that could not be removed, and the reason."""

    key: str
    reason: str


Headers = dict[str, str]
Page = list[StoredObject]
Names = list[str]
Left = list[Unremoved]


class GatewayClient:
    """A client of one gateway; its package's docstring has an example. Thread-safe."""

    def __init__(
        self,
        url: str = DEFAULT_URL,
        token: str | None = None,
        sleep: Callable[[float], object] = time.sleep,
        bytes_per_second: float | None = None,
    ) -> None:
        """Send nothing yet.

        `url` may have a path. `token` is an API token of the gateway; None: none.
        `sleep` is called with seconds, to pause before a request is sent again.
        `bytes_per_second` limits all uploads and downloads together; None: no limit.

        Raises: ClientError: the URL or the token is not valid.
        """
        self._transport = Transport(url, token, sleep, bytes_per_second)

    def close(self) -> None:
        """Close the idle connections. The client can't be used afterwards."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def put(
        self,
        address: str,
        body: bytes | Readable,
        length: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> StoredObject:
        """Store an object; return what the gateway stored.

        `length` is in bytes, and not needed for `bytes`. None: the whole body is sent
        chunked.

        Raises:
            DamagedError: the gateway stored other bytes than were sent.
            ClientError: nothing is stored: refused, failed, or the body is too short.
        """
        if isinstance(body, bytes):
            length = len(body)
            body = io.BytesIO(body)
        upload = Upload(self._transport, body, length)
        given = checked_headers(headers or {})
        if length is not None:
            given["Content-Length"] = str(length)
        conditional = any(name.lower().startswith("if-") for name in given)
        can_repeat = upload.can_repeat and not conditional
        path = path_of(address)
        answer = self._transport.ask("PUT", path, given, upload.pieces, can_repeat)
        stored = entry_of(answer)
        is_other = stored.has_md5 and stored.etag != upload.digest.hexdigest()
        if is_other or stored.size != upload.sent:
            raise DamagedError("The gateway stored other bytes than were sent")
        return stored

    def get(
        self,
        address: str,
        start: int = 0,
        etag: str = "",
        digest: Digest | None = None,
    ) -> ObjectStream:
        """Open a download of the bytes from `start` on.

        To continue a download, give the `etag` of its version, and as `digest` the MD5
        of the bytes before `start`; without it the MD5 is checked only from 0 on.

        Raises:
            ObjectChangedError: the object has another ETag now.
            RefusedError: 404: there is no such object.
            ClientError: the request failed.
        """
        return ObjectStream(self._transport, address, start, etag, digest)

    def head(self, address: str) -> StoredObject:
        """Return the properties of an object.

        Raises:
            RefusedError: 404: there is no such object.
            ClientError: the request failed.
        """
        return self.inspect(address)[0]

    def inspect(self, address: str) -> tuple[StoredObject, Headers]:
        """Return the properties of an object, and the headers that are kept with it.

        Raises: as `head`.
        """
        try:
            answer = self._transport.send("HEAD", path_of(address))
        except RefusedError as exc:
            if exc.status != 404:
                raise
            # An answer to HEAD has no body that says so.
            message = "There is no such object"
            raise RefusedError(404, "NoSuchObject", message) from exc
        self._transport.finish(answer)
        size = as_size(answer.headers.get("Content-Length"))
        return info_of(address, answer, size), kept_headers(answer)

    def copy(self, source: str, target: str) -> StoredObject:
        """Store a copy of an object, with its headers; its bytes don't come here.

        Both addresses have a bucket.

        Raises: RefusedError: 404: there is no such object. ClientError.
        """
        headers = {"X-Copy-Source": copy_source(source), "Content-Length": "0"}
        return entry_of(self._transport.ask("PUT", path_of(target), headers))

    def list(
        self,
        bucket: str,
        prefix: str = "",
        recursive: bool = True,
        after: str = "",
        page_keys: int = PAGE_KEYS,
    ) -> Iterator[StoredObject]:
        """Yield the objects of a bucket whose keys begin with `prefix`, in key order.

        Only keys after the key `after` are listed. Without `recursive`, keys with the
        same text up to a slash behind the prefix are one entry, whose `is_prefix` is
        true. `page_keys` are asked for at a time.

        Raises: ClientError, also midway; RefusedError: 404: there is no such bucket.
        """
        while True:
            page = self._page(bucket, prefix, recursive, after, page_keys)
            yield from page
            if len(page) < page_keys:
                return
            after = page[-1].key

    def _page(
        self, bucket: str, prefix: str, recursive: bool, after: str, count: int
    ) -> Page:
        query = {"limit": str(count), "recursive": str(recursive).lower()}
        if prefix:
            query["prefix"] = prefix
        if after:
            query["after"] = after
        path = f"/objects/{quoted(bucket)}/list?{encoded(query)}"
        answer = self._transport.ask("GET", path)
        if not isinstance(answer, list) or len(answer) > count:
            raise nonsense()
        page = [entry_of(entry) for entry in answer]
        keys = [after.encode(), *(entry.key.encode() for entry in page)]
        if page and any(a >= b for a, b in pairwise(keys)):
            raise nonsense()
        return page

    def delete(self, address: str) -> None:
        """Remove an object, if it exists. Raises: ClientError."""
        self._transport.finish(self._transport.send("DELETE", path_of(address)))

    def delete_all(self, bucket: str, keys: Iterable[str]) -> Left:
        """Remove up to `PAGE_KEYS` objects of a bucket; return those that failed.

        Raises: ClientError: the whole request failed.
        """
        try:
            data = json.dumps({"keys": [*keys]}, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ClientError("A key is UTF-8") from None
        headers = {**JSON, "Content-Length": str(len(data))}
        path = f"/objects/{quoted(bucket)}/delete"
        answer = self._transport.ask("POST", path, headers, lambda: [data])
        try:
            return [Unremoved(str(e["key"]), str(e["error"])) for e in answer["errors"]]
        except (TypeError, KeyError):
            raise nonsense() from None

    def make_bucket(self, bucket: str) -> None:
        """Make a bucket, unless it exists. Raises: ClientError."""
        path = f"/buckets/{quoted(bucket)}"
        self._transport.ask("POST", path, {"Content-Length": "0"})

    def has_bucket(self, bucket: str, is_patient: bool = True) -> bool:
        """Whether there is such a bucket; asks once only if not `is_patient`.

        Raises: ClientError.
        """
        send = self._transport.send if is_patient else self._transport.send_once
        try:
            answer = send("HEAD", f"/buckets/{quoted(bucket)}")
        except RefusedError as exc:
            if exc.status in (404, 422):  # no bucket, or a name that none may have
                return False
            raise
        self._transport.finish(answer)
        return True

    def remove_bucket(self, bucket: str) -> None:
        """Remove an empty bucket.

        Raises:
            RefusedError: 404: there is none. 409: it holds objects.
            ClientError: the request failed.
        """
        path = f"/buckets/{quoted(bucket)}"
        self._transport.finish(self._transport.send("DELETE", path))

    def presign(self, address: str, method: str = "GET", seconds: int = 900) -> str:
        """Return a URL that permits GET or PUT of an object for some time.

        The address has a bucket.

        Raises: RefusedError: 501: the gateway signs no URLs. ClientError.
        """
        path = path_of(address).replace("/objects/", "/presigned-url/", 1)
        data = json.dumps({"method": method, "expiry": f"{seconds}s"}).encode()
        headers = {**JSON, "Content-Length": str(len(data))}
        answer = self._transport.ask("POST", path, headers, lambda: [data])
        if not isinstance(answer, dict) or not isinstance(answer.get("url"), str):
            raise nonsense()
        url: str = answer["url"]
        return url

    def buckets(self) -> Names:
        """Return the sorted names of all buckets. Raises: ClientError."""
        names = self._transport.ask("GET", "/buckets")
        if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
            raise nonsense()
        return names
