"""The client of a gateway, a method for each thing to do; see the package."""

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
    encoded,
    entry_of,
    info_of,
    nonsense,
    path_of,
    quoted,
)
from amazin.client.streams import Digest, ObjectStream, Readable, Upload
from amazin.errors import ClientError, DamagedError

DEFAULT_URL = "http://localhost:3000"
PAGE_KEYS = 1000
"""So many keys are listed, or removed, by one request."""
JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Unremoved:
    """A key that could not be removed, and why."""

    key: str
    reason: str


Page = list[StoredObject]
Names = list[str]
Left = list[Unremoved]


class GatewayClient:
    """See the package. Raises: ClientError, if the URL or the token can't be one."""

    def __init__(
        self,
        url: str = DEFAULT_URL,
        token: str | None = None,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._transport = Transport(url, token, sleep)

    def close(self) -> None:
        """Close what is connected; nothing can be asked any more."""
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
        """Store an object, and return what the gateway says that it has stored.

        Of bytes the length is known; without one the body is sent chunked.

        Raises:
            DamagedError: the gateway stored other bytes than were sent.
            ClientError: refused or failed; nothing is stored, if it was the body.
        """
        if isinstance(body, bytes):
            length = len(body)
            body = io.BytesIO(body)
        upload = Upload(body, length)
        given = checked_headers(headers or {})
        if length is not None:
            given["Content-Length"] = str(length)
        conditional = any(name.lower().startswith("if-") for name in given)
        told = self._transport.ask(
            "PUT",
            path_of(address),
            given,
            upload.pieces,
            upload.can_repeat and not conditional,
        )
        stored = entry_of(told)
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
        """Return the bytes of an object; to go on with a download, from `start` on.

        Then `etag` is the version that was begun, `digest` the MD5 of its bytes so far.

        Raises:
            ObjectChangedError: it has another version now.
            RefusedError: 404: there is none.
        """
        return ObjectStream(self._transport, address, start, etag, digest)

    def head(self, address: str) -> StoredObject:
        """Return what an object is. Raises: RefusedError 404."""
        answer = self._transport.send("HEAD", path_of(address))
        self._transport.finish(answer)
        return info_of(address, answer, as_size(answer.headers.get("Content-Length")))

    def list(
        self, bucket: str, prefix: str = "", recursive: bool = True, after: str = ""
    ) -> Iterator[StoredObject]:
        """Yield the objects of a bucket whose keys begin with `prefix`, in key order.

        Behind the key `after`. Without `recursive` keys with a slash behind the prefix
        are one entry, which `is_prefix`. It ends where the list does, or raises.
        """
        while True:
            page = self._page(bucket, prefix, recursive, after)
            yield from page
            if len(page) < PAGE_KEYS:
                return
            after = page[-1].key

    def _page(self, bucket: str, prefix: str, recursive: bool, after: str) -> Page:
        query = {"limit": str(PAGE_KEYS), "recursive": str(recursive).lower()}
        if prefix:
            query["prefix"] = prefix
        if after:
            query["after"] = after
        path = f"/objects/{quoted(bucket)}/list?{encoded(query)}"
        answer = self._transport.ask("GET", path)
        if not isinstance(answer, list) or len(answer) > PAGE_KEYS:
            raise nonsense()
        page = [entry_of(entry) for entry in answer]
        keys = [after.encode(), *(entry.key.encode() for entry in page)]
        if page and any(a >= b for a, b in pairwise(keys)):
            raise nonsense()
        return page

    def delete(self, address: str) -> None:
        """Remove an object; that there is none is fine."""
        self._transport.finish(self._transport.send("DELETE", path_of(address)))

    def delete_all(self, bucket: str, keys: Iterable[str]) -> Left:
        """Remove up to `PAGE_KEYS` objects of a bucket; return those that are left."""
        try:
            data = json.dumps({"keys": [*keys]}, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ClientError("A key is UTF-8") from None
        headers = {**JSON, "Content-Length": str(len(data))}
        path = f"/objects/{quoted(bucket)}/delete"
        told = self._transport.ask("POST", path, headers, lambda: [data])
        try:
            return [Unremoved(str(e["key"]), str(e["error"])) for e in told["errors"]]
        except (TypeError, KeyError):
            raise nonsense() from None

    def make_bucket(self, bucket: str) -> None:
        """Make a bucket; that it is there is fine."""
        path = f"/buckets/{quoted(bucket)}"
        self._transport.ask("POST", path, {"Content-Length": "0"})

    def buckets(self) -> Names:
        """Return the names of all buckets, in order."""
        told = self._transport.ask("GET", "/buckets")
        if not isinstance(told, list) or not all(isinstance(n, str) for n in told):
            raise nonsense()
        return told
