"""An S3 server in memory, as much of it as a gateway uses; signatures aren't judged.

Knows no sockets: `faulty.py` puts it behind one, as it does with a real server.
"""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from email.utils import formatdate
from itertools import islice
from typing import NamedTuple
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.sax.saxutils import escape

PAGE_KEYS = 4
"""So few keys are in one page of a listing: most listings have several."""
XML = "Content-Type: application/xml"
NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
_KEPT = ("content-", "cache-control", "x-amz-meta-")


class Request(NamedTuple):
    """A request's head, as it came and taken apart."""

    head: bytes
    method: str
    bucket: str
    key: str
    query: Mapping[str, str]
    headers: Mapping[str, str]

    @classmethod
    def parse(cls, head: bytes) -> Request:
        """Take a head with its final empty line."""
        line, *fields = head.decode("latin-1").rstrip("\r\n").split("\r\n")
        method, target, _ = line.split(" ")
        url = urlsplit(target)
        _, bucket, *key = url.path.split("/", 2)
        query = {name: value for name, (value, *_) in parse_qs(url.query).items()}
        pairs = (field.partition(":") for field in fields)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        return cls(head, method, bucket, unquote("".join(key)), query, headers)

    @property
    def kind(self) -> str:
        """The method; of requests about a bucket: `list` or `bucket`."""
        if self.key:
            return self.method
        return "list" if self.method == "GET" else "bucket"

    @property
    def length(self) -> int:
        """Of its body."""
        return int(self.headers.get("content-length", "0"))


class Answer(NamedTuple):
    """An answer in two parts."""

    head: bytes
    body: bytes

    @property
    def raw(self) -> bytes:
        """All of it."""
        return self.head + self.body


def answer(
    status: int, body: bytes = b"", fields: Sequence[str] = (), *, has_id: bool = True
) -> Answer:
    """Return an answer as S3 servers give it; `has_id`: if one gives it at all."""
    lines = [f"HTTP/1.1 {status} Because", *fields]
    if status != 204 and not any(f.startswith("Content-Length") for f in fields):
        lines.append(f"Content-Length: {len(body)}")
    if has_id:
        lines.append("x-amz-request-id: 17")
    return Answer("\r\n".join([*lines, "", ""]).encode("latin-1"), body)


def error(
    status: int, code: str, method: str = "GET", *, has_more: bool = True
) -> Answer:
    """Return an error as S3 servers give it: without a body for HEAD.

    Without `has_more` it is the connection's last.
    """
    fields = [f"x-minio-error-code: {code}", XML]
    if not has_more:
        fields.append("Connection: close")
    text = f"<Error><Code>{code}</Code><Message>No</Message></Error>"
    body = b"" if method == "HEAD" else text.encode()
    return answer(status, body, fields)


@dataclass(frozen=True)
class Stored:
    """An object."""

    body: bytes
    etag: str
    modified: float
    fields: Sequence[str]


class MemoryS3:
    """See the module. Thread-safe."""

    def __init__(self) -> None:
        self._buckets: dict[str, dict[str, Stored]] = {}
        self._lock = threading.Lock()

    def exchange(self, request: Request, body: Iterable[bytes]) -> Answer:
        """Do what a request asks for; nothing, if its body breaks off."""
        data = b"".join(body)
        with self._lock:
            if request.kind == "bucket":
                return self._make_bucket(request)
            if request.bucket not in self._buckets:
                return error(404, "NoSuchBucket", request.method)
            act = getattr(self, f"_{request.kind.lower()}")
            found: Answer = act(request, self._buckets[request.bucket], data)
            return found

    def _make_bucket(self, request: Request) -> Answer:
        if request.bucket in self._buckets:
            return error(409, "BucketAlreadyOwnedByYou")
        self._buckets[request.bucket] = {}
        return answer(200)

    def _put(self, request: Request, bucket: dict[str, Stored], data: bytes) -> Answer:
        held = bucket.get(request.key)
        if "if-match" in request.headers and held is None:
            return error(404, "NoSuchKey")
        if not holds(request.headers, held):
            return error(412, "PreconditionFailed")
        fields = [f"{k}: {v}" for k, v in request.headers.items() if is_kept(k)]
        etag = hashlib.md5(data).hexdigest()
        bucket[request.key] = Stored(data, etag, time.time(), fields)
        return answer(200, fields=[f'ETag: "{etag}"'])

    def _get(self, request: Request, bucket: dict[str, Stored], data: bytes) -> Answer:
        held = bucket.get(request.key)
        if held is None:
            return error(404, "NoSuchKey", request.method)
        if not holds(request.headers, held):
            return error(412, "PreconditionFailed", request.method)
        modified = formatdate(held.modified, usegmt=True)
        fields = [f'ETag: "{held.etag}"', f"Last-Modified: {modified}", *held.fields]
        if found := re.fullmatch("bytes=(.+)-(.+)", request.headers.get("range", "")):
            first, last = int(found[1]), int(found[2])
            size = len(held.body)
            fields.append(f"Content-Range: bytes {first}-{last}/{size}")
            return answer(206, held.body[first : last + 1], fields)
        return answer(200, held.body, fields)

    def _head(self, request: Request, bucket: dict[str, Stored], data: bytes) -> Answer:
        return self._get(request, bucket, data)._replace(body=b"")

    def _delete(
        self, request: Request, bucket: dict[str, Stored], data: bytes
    ) -> Answer:
        bucket.pop(request.key, None)
        return answer(204)

    def _list(self, request: Request, bucket: dict[str, Stored], data: bytes) -> Answer:
        query = request.query
        after = max(query.get("start-after", ""), query.get("continuation-token", ""))
        prefix = query.get("prefix", "")
        keys = (key for key in sorted(bucket) if key > after)
        page = list(islice((k for k in keys if k.startswith(prefix)), PAGE_KEYS + 1))
        more, page = page[PAGE_KEYS:], page[:PAGE_KEYS]
        parts = [*map(bucket_entry(bucket), page), "<EncodingType>url</EncodingType>"]
        if more:
            token = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>"
            parts += ["<IsTruncated>true</IsTruncated>", token]
        name = f"<Name>{request.bucket}</Name>"
        text = f"<ListBucketResult xmlns='{NAMESPACE}'>{name}{''.join(parts)}"
        return answer(200, f"{text}</ListBucketResult>".encode(), [XML])


def bucket_entry(bucket: Mapping[str, Stored]):  # type: ignore[no-untyped-def]
    """Return a function that says what a listing says of a key."""

    def entry(key: str) -> str:
        held = bucket[key]
        moment = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(held.modified))
        return (
            f"<Contents><Key>{quote(key)}</Key><LastModified>{moment}</LastModified>"
            f'<ETag>"{held.etag}"</ETag><Size>{len(held.body)}</Size></Contents>'
        )

    return entry


def is_kept(name: str) -> bool:
    """Whether a header of an upload is given back."""
    return name.startswith(_KEPT) and name != "content-length"


def holds(headers: Mapping[str, str], held: Stored | None) -> bool:
    """Whether a request's conditions hold."""
    if headers.get("if-none-match") == "*" and held:
        return False
    wanted = headers.get("if-match")
    return wanted is None or (held is not None and wanted == f'"{held.etag}"')
