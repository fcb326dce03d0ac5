"""S3 nodes whose servers play a script, and what servers say."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from amazin.model.node_specs import NodeSpec, TimeLimits
from amazin.model.objects import CHUNK_BYTES, Label, ObjectInfo, ObjectName, Stamp
from amazin.nodes.interface import Pending, Upload
from amazin.nodes.s3.node import S3Node
from tests.support.peers import TAKE_REQUEST, Peer, Step, answer

NAME = ObjectName("store", "abc")
STAMP = Stamp(1_700_000_000_123_456_789, 7)
LABEL = Label(STAMP, 3)
MODIFIED = "Last-Modified: Wed, 01 Nov 2023 10:00:00 GMT"
MODIFIED_NS = 1_698_832_800 * 10**9
S3 = "x-amz-request-id: 1"
TAG = 'ETag: "0123"'
LIMITS = TimeLimits(connect=1.0, answer=0.4, transfer=2.0)
LARGE = CHUNK_BYTES + 1


def s3_answer(
    status: str = "200 OK", body: bytes = b"", headers: Sequence[str] = ()
) -> bytes:
    return answer(status, body, [S3, *headers])


def error(status: str, code: str) -> bytes:
    body = f"<Error><Code>{code}</Code></Error>".encode()
    return s3_answer(status, body, ["Content-Type: application/xml"])


OBJECT = s3_answer(body=b"hello", headers=[TAG, MODIFIED])
STORED = s3_answer(headers=[TAG])
HEAD_OBJECT = b"".join(OBJECT.partition(b"\r\n\r\n")[:2])


def node_of(url: str, limits: TimeLimits = LIMITS) -> S3Node:
    return S3Node(NodeSpec("node", url, "AKID", "secret"), limits)


@contextmanager
def playing(
    *scripts: Sequence[Step], limits: TimeLimits = LIMITS
) -> Iterator[tuple[S3Node, Peer]]:
    with Peer(*scripts) as peer:
        node = node_of(peer.url, limits)
        try:
            yield node, peer
        finally:
            node.close()


def begin(node: S3Node, length: int, **conditions: Any) -> Upload:
    return node.start_upload(NAME, length, LABEL, {}, **conditions)


def put(node: S3Node, body: bytes = b"hello", **conditions: Any) -> ObjectInfo:
    """Store a body as a cluster does: small ones whole."""
    if len(body) <= CHUNK_BYTES:
        return node.start_put(NAME, body, LABEL, {}, **conditions).wait()
    return stream(node, body, **conditions)


def stream(node: S3Node, body: bytes, **conditions: Any) -> ObjectInfo:
    upload = begin(node, len(body), **conditions)
    try:
        for start in range(0, len(body), CHUNK_BYTES):
            upload.write(body[start : start + CHUNK_BYTES])
        return upload.start_commit().wait()
    finally:
        upload.abort()


def get(node: S3Node, **options: Any) -> bytes:
    content = node.start_get(NAME, **options).wait()
    try:
        return b"".join(iter(content.read, b""))
    finally:
        content.close()


def listing(*keys: str) -> bytes:
    entries = "".join(
        f"<Contents><Key>{key}</Key><LastModified>2023-11-01T10:00:00.000Z"
        f'</LastModified><ETag>"0123"</ETag><Size>5</Size></Contents>'
        for key in keys
    )
    return (
        '<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/'
        f'2006-03-01/"><Name>store</Name><Prefix></Prefix><MaxKeys>1000</MaxKeys>'
        f"<IsTruncated>false</IsTruncated>{entries}</ListBucketResult>"
    ).encode()


QUESTIONS: Mapping[str, Callable[[S3Node], object]] = {
    "GET": lambda node: get(node),
    "HEAD": lambda node: node.start_head(NAME).wait(),
    "DELETE": lambda node: node.start_delete(NAME).wait(),
}
GOOD = {"GET": OBJECT, "HEAD": HEAD_OBJECT, "DELETE": s3_answer("204 No Content")}


def small(node: S3Node) -> Pending[object]:
    return node.start_put(NAME, b"hello", LABEL, {})


def streamed(node: S3Node) -> Pending[object]:
    upload = begin(node, LARGE)
    upload.write(bytes(LARGE))
    return upload.start_commit()


PENDING: dict[str, tuple[Callable[[S3Node], Pending[object]], list[Step], bytes]] = {
    "GET": (lambda node: node.start_get(NAME), [TAKE_REQUEST], OBJECT),
    "HEAD": (lambda node: node.start_head(NAME), [TAKE_REQUEST], HEAD_OBJECT),
    "DELETE": (lambda node: node.start_delete(NAME), [TAKE_REQUEST], GOOD["DELETE"]),
    "PUT": (small, [TAKE_REQUEST], STORED),
    "stream": (streamed, [TAKE_REQUEST, s3_answer(), TAKE_REQUEST], STORED),
}
