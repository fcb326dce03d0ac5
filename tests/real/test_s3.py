"""The whole Node protocol on real servers: MinIO and versitygw."""

from __future__ import annotations

import hashlib
import io
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from minio import Minio

from amazin.errors import (
    GatewayError,
    NodeAccessError,
    NodeError,
    NodeTimeoutError,
    NodeUnreachableError,
    NoSuchBucketError,
    NoSuchKeyError,
    PreconditionError,
)
from amazin.model.node_specs import TimeLimits
from amazin.model.objects import CHUNK_BYTES, Label, ObjectInfo, ObjectName, Stamp
from amazin.nodes.s3.node import S3Node
from tests.support.paths import PROJECT
from tests.support.servers import Server, VersityServer
from tests.support.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.integration
MIB = 2**20
STAMP = Stamp(1_700_000_000_123_456_789, 7)
LABEL = Label(STAMP, 3)
LIMITS = TimeLimits(connect=1.0, answer=2.0, transfer=10.0)
KEY = ObjectName("store", "key")
HUGE = 64 * MIB
"""More than all socket buffers hold: a transfer of it is certainly under way."""


@pytest.fixture(params=["minio_server", "versity_server"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    found: Server = request.getfixturevalue(request.param)
    yield found
    found.thaw()
    found.start()


@pytest.fixture
def node(server: Server) -> Iterator[S3Node]:
    node = S3Node(server.spec("node"), LIMITS)
    node.make_bucket("store")
    yield node
    node.close()


@pytest.fixture
def bucket(request: pytest.FixtureRequest) -> str:
    """A bucket of the test's own, not made yet."""
    return "b" + hashlib.md5(request.node.name.encode()).hexdigest()


def put(
    node: S3Node,
    name: ObjectName,
    body: bytes,
    headers: Mapping[str, str] | None = None,
    label: Label = LABEL,
    *,
    streams: bool = False,
    **conditions: Any,
) -> ObjectInfo:
    """Store a body as a cluster does, small ones whole; or stream it in any case."""
    if len(body) <= CHUNK_BYTES and not streams:
        return node.start_put(name, body, label, headers or {}, **conditions).wait()
    upload = node.start_upload(name, len(body), label, headers or {}, **conditions)
    try:
        for start in range(0, len(body), CHUNK_BYTES):
            upload.write(body[start : start + CHUNK_BYTES])
        return upload.start_commit().wait()
    finally:
        upload.abort()


def get(node: S3Node, name: ObjectName, **options: Any) -> bytes:
    content = node.start_get(name, **options).wait()
    try:
        return b"".join(iter(content.read, b""))
    finally:
        content.close()


def tag_of(body: bytes) -> str:
    return hashlib.md5(body).hexdigest()


SIZES = [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 6 * MIB]


@pytest.mark.parametrize("streams", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("size", SIZES)
def test_what_goes_in_comes_out(node: S3Node, size: int, streams: bool) -> None:
    body, name = random.Random(size).randbytes(size), ObjectName("store", f"s{size}")
    headers = {"Content-Type": "text/x-test", "X-Name": "value"}
    stored = put(node, name, body, headers, streams=streams)
    expected = ObjectInfo(size, tag_of(body), STAMP.nanoseconds, LABEL, headers)
    assert stored == replace(expected, headers={})
    assert node.start_head(name).wait() == expected
    content = node.start_get(name).wait()
    assert content.info == expected
    assert b"".join(iter(content.read, b"")) == body


def test_an_overwrite_replaces_everything(node: S3Node) -> None:
    put(node, KEY, b"old", {"X-Old": "1", "Cache-Control": "no-store"})
    label = Label(Stamp(STAMP.nanoseconds + 1, 0), 4)
    put(node, KEY, b"new!", {"X-New": "2"}, label)
    info = node.start_head(KEY).wait()
    assert (info.size, info.label) == (4, label)
    assert {name for name in info.headers if name.startswith("X-")} == {"X-New"}
    assert "Cache-Control" not in info.headers


METADATA = {
    "Content-Type": "text/plain; charset=utf-8",
    "Content-Disposition": 'attachment; filename="a b.txt"',
    "Content-Language": "de",
    "Cache-Control": "max-age=60, public",
    "Expires": "Wed, 01 Nov 2073 10:00:00 GMT",
    "X-Plain": "plain",
    "X-Spaces": "two  spaces ",
    "X-Latin": "Grüße ÿ",
    "X-Percent": "100%, %41, %0D%0A",
    "X-Marks": "!\"#$&'()*+,/:;<=>?@[\\]^`{|}~",
    "X-Long-Name-With-1-Digit": "x" * 500,
}


def test_metadata_comes_back(node: S3Node) -> None:
    put(node, KEY, b"hello", METADATA)
    assert node.start_head(KEY).wait().headers == METADATA


def test_an_encoding_is_kept_and_not_applied(node: S3Node) -> None:
    put(node, KEY, b"not gzip", {"Content-Encoding": "gzip"})
    assert node.start_head(KEY).wait().headers["Content-Encoding"] == "gzip"
    assert get(node, KEY) == b"not gzip"


@pytest.mark.parametrize(
    "byte_range", [(0, 0), (99, 99), (0, 99), (10, 19), (CHUNK_BYTES, CHUNK_BYTES + 5)]
)
def test_ranges(node: S3Node, byte_range: tuple[int, int]) -> None:
    size = 100 if byte_range[1] < 100 else MIB
    body, name = random.Random(1).randbytes(size), ObjectName("store", f"r{size}")
    info = put(node, name, body)
    first, last = byte_range
    content = node.start_get(name, byte_range=byte_range, if_match=info.etag).wait()
    assert content.info.size == size
    assert b"".join(iter(content.read, b"")) == body[first : last + 1]
    assert get(node, name, byte_range=byte_range) == body[first : last + 1]


def test_reading_another_version_is_a_failed_precondition(node: S3Node) -> None:
    put(node, KEY, b"hello")
    assert get(node, KEY, if_match=tag_of(b"hello")) == b"hello"
    with pytest.raises(PreconditionError):
        get(node, KEY, if_match=tag_of(b"other"))
    with pytest.raises(PreconditionError):
        get(node, KEY, if_match=tag_of(b"other"), byte_range=(0, 1))


def test_what_is_not_there(node: S3Node) -> None:
    name = ObjectName("store", "nothing")
    with pytest.raises(NoSuchKeyError):
        get(node, name)
    with pytest.raises(NoSuchKeyError):
        node.start_head(name).wait()


IN_A_BUCKET: dict[str, Callable[[S3Node, ObjectName], object]] = {
    "GET": get,
    "range": lambda node, name: get(node, name, byte_range=(0, 1), if_match="0" * 32),
    "HEAD": lambda node, name: node.start_head(name).wait(),
    "PUT": lambda node, name: put(node, name, b"hello"),
    "empty": lambda node, name: put(node, name, b""),
    "stream": lambda node, name: put(node, name, bytes(CHUNK_BYTES + 1)),
    "streamed": lambda node, name: put(node, name, b"hello", streams=True),
    "PUT if absent": lambda node, name: put(node, name, b"", if_absent=True),
    "PUT if same": lambda node, name: put(node, name, b"", if_match="0" * 32),
    "DELETE": lambda node, name: node.start_delete(name).wait(),
    "DELETE if same": lambda node, name: node.start_delete(
        name, if_match="0" * 32
    ).wait(),
}


@pytest.mark.parametrize("question", IN_A_BUCKET.values(), ids=IN_A_BUCKET)
def test_a_missing_bucket_is_a_failure_of_the_node(
    node: S3Node, bucket: str, question: Callable[[S3Node, ObjectName], object]
) -> None:
    with pytest.raises(NoSuchBucketError):
        question(node, ObjectName(bucket, "key"))
    assert list(node.list_objects(bucket)) == []
    with pytest.raises(NoSuchBucketError):  # nothing has made it
        get(node, ObjectName(bucket, "key"))


def test_deleting_is_idempotent(node: S3Node) -> None:
    put(node, KEY, b"hello")
    for _ in range(2):
        node.start_delete(KEY).wait()
        with pytest.raises(NoSuchKeyError):
            get(node, KEY)


def test_deleting_one_version(server: Server, node: S3Node) -> None:
    """MinIO ignores the condition."""
    name = ObjectName("store", "version")
    put(node, name, b"hello")
    if isinstance(server, VersityServer):
        with pytest.raises(PreconditionError):
            node.start_delete(name, if_match=tag_of(b"other")).wait()
        assert get(node, name) == b"hello"
    for _ in range(2):
        node.start_delete(name, if_match=tag_of(b"hello")).wait()
        with pytest.raises(NoSuchKeyError):
            get(node, name)


LABELS = [
    Label(Stamp(5, 7)),
    Label(Stamp(2**63 - 1, 2**32 - 1), 10**18 - 1),
    Label(STAMP, 3, is_deleted=True),
]


@pytest.mark.parametrize("label", LABELS, ids=str)
def test_labels_come_back(node: S3Node, label: Label) -> None:
    put(node, KEY, b"", label=label)
    assert node.start_head(KEY).wait().label == label
    content = node.start_get(KEY).wait()
    assert content.info.label == label
    assert content.info.is_deleted == label.is_deleted
    assert content.read() == b""


def test_a_label_without_an_epoch(server: Server, node: S3Node) -> None:
    """As gateways wrote it before there were epochs."""
    spec = server.spec("node")
    sdk = Minio(server.address, spec.access_key, spec.secret_key, secure=False)
    metadata = {"amazin-stamp": f"{STAMP.nanoseconds}.7"}
    sdk.put_object(*KEY, io.BytesIO(b"hello"), 5, metadata=dict(metadata))
    info = node.start_head(KEY).wait()
    assert (info.label, info.epoch, info.is_deleted) == (Label(STAMP), 0, False)
    assert info.version == (STAMP, STAMP.nanoseconds)


def test_small_uploads_to_one_node_go_on_at_the_same_time(node: S3Node) -> None:
    names = [ObjectName("store", f"beside{number}") for number in range(4)]
    uploads = [node.start_put(name, b"hello", LABEL, {}) for name in names]
    assert {upload.wait().size for upload in uploads} == {5}
    assert [get(node, name) for name in names] == [b"hello"] * 4


def test_uploads_to_one_node_go_on_at_the_same_time(node: S3Node) -> None:
    names = [ObjectName("store", f"parallel{number}") for number in range(4)]
    uploads = [node.start_upload(name, 5, LABEL, {}) for name in names]
    for upload in uploads:
        upload.write(b"hello")
    commits = [upload.start_commit() for upload in uploads]
    for commit in reversed(commits):
        assert commit.is_ready(LIMITS.transfer)
        assert commit.wait().etag == tag_of(b"hello")
    for upload, name in zip(uploads, names, strict=True):
        upload.abort()
        assert get(node, name) == b"hello"


@pytest.mark.parametrize("size", [5, CHUNK_BYTES + 1], ids=["small", "streamed"])
def test_a_bucket_is_made_when_it_is_asked_for(
    node: S3Node, bucket: str, size: int
) -> None:
    name = ObjectName(bucket, "key")
    node.start_check().wait()
    assert list(node.list_objects(bucket)) == []
    with pytest.raises(NoSuchBucketError):
        put(node, name, bytes(size))
    for _ in range(2):
        node.make_bucket(bucket)
        put(node, name, bytes(size))
        assert [key for key, _ in node.list_objects(bucket)] == ["key"]


def test_many_may_make_a_bucket_at_once(node: S3Node, bucket: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(node.make_bucket, [bucket] * 16))
    put(node, ObjectName(bucket, "key"), b"hello")


@pytest.mark.parametrize("streams", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("size", [0, 5, CHUNK_BYTES + 1])
def test_conditional_uploads(node: S3Node, size: int, streams: bool) -> None:
    name, body = ObjectName("store", f"condition{size}"), bytes(size)
    node.start_delete(name).wait()
    with pytest.raises(PreconditionError):
        put(node, name, body, streams=streams, if_match=tag_of(body))
    put(node, name, body, streams=streams, if_absent=True)
    with pytest.raises(PreconditionError):
        put(node, name, b"other", streams=streams, if_absent=True)
    with pytest.raises(PreconditionError):
        put(node, name, b"other", streams=streams, if_match=tag_of(b"another"))
    assert get(node, name) == body
    put(node, name, b"other", streams=streams, if_match=tag_of(body))
    assert get(node, name) == b"other"


def race(count: int, run: Callable[[int], object]) -> list[int]:
    """Run so many at once; returns those that were not refused."""
    barrier = threading.Barrier(count, timeout=PATIENCE_SECONDS)

    def compete(number: int) -> bool:
        barrier.wait()
        try:
            run(number)
        except PreconditionError:
            return False
        except NodeError as exc:
            assert "409" in str(exc)  # "conflicting operation": refused as well
            return False
        return True

    with ThreadPoolExecutor(count) as pool:
        return [at for at, won in enumerate(pool.map(compete, range(count))) if won]


@pytest.mark.parametrize("attempt", range(3))
@pytest.mark.parametrize("size", [8, CHUNK_BYTES + 8], ids=["small", "streamed"])
def test_of_racing_first_uploads_exactly_one_wins(
    node: S3Node, size: int, attempt: int
) -> None:
    name = ObjectName("store", f"race{size}-{attempt}")
    bodies = [f"{number:08}".encode() + bytes(size - 8) for number in range(8)]
    winners = race(8, lambda at: put(node, name, bodies[at], if_absent=True))
    assert len(winners) == 1
    assert get(node, name) == bodies[winners[0]]


@pytest.mark.parametrize("attempt", range(3))
def test_of_racing_changes_exactly_one_wins(node: S3Node, attempt: int) -> None:
    name = ObjectName("store", f"change{attempt}")
    tag = put(node, name, b"old").etag
    bodies = [f"{number:08}".encode() for number in range(8)]
    winners = race(8, lambda at: put(node, name, bodies[at], if_match=tag))
    assert len(winners) == 1
    assert get(node, name) == bodies[winners[0]]


def test_listing_is_in_key_order(node: S3Node, bucket: str) -> None:
    keys = ["A", "B1", "a", "b", "b1", "bb", "ba", "zü", "z€", "z😀", "z%41+ &<"]
    node.make_bucket(bucket)
    for key in keys:
        put(node, ObjectName(bucket, key), key.encode())
    expected = sorted(keys, key=str.encode)
    found = list(node.list_objects(bucket))
    assert [key for key, _ in found] == expected
    assert [info.etag for _, info in found] == [tag_of(k.encode()) for k in expected]
    assert [info.size for _, info in found] == [len(k.encode()) for k in expected]
    assert [key for key, _ in node.list_objects(bucket, "b")] == ["b", "b1", "ba", "bb"]
    assert [key for key, _ in node.list_objects(bucket, "b", "b1")] == ["ba", "bb"]
    assert [key for key, _ in node.list_objects(bucket, after="zü")] == ["z€", "z😀"]


@pytest.mark.parametrize(
    "changes",
    [{"secret_key": "wrong-secret"}, {"access_key": "nobody"}],
    ids=["secret", "user"],
)
def test_wrong_keys_are_refused(
    server: Server, bucket: str, changes: dict[str, str]
) -> None:
    node = S3Node(replace(server.spec("node"), **changes), LIMITS)
    name = ObjectName(bucket, "key")
    questions: list[Callable[[], object]] = [
        lambda: get(node, name),
        lambda: node.start_head(name).wait(),
        lambda: node.start_delete(name).wait(),
        lambda: node.start_check().wait(),
        lambda: put(node, name, b"hello"),
        lambda: put(node, name, bytes(CHUNK_BYTES)),
        lambda: put(node, name, bytes(CHUNK_BYTES + 1)),
        lambda: put(node, name, b"", streams=True),
        lambda: put(node, name, b"", if_absent=True),
        lambda: node.make_bucket(bucket),
        lambda: list(node.list_objects(bucket)),
    ]
    for question in questions:
        with pytest.raises(NodeAccessError):
            question()
    node.close()


@pytest.mark.parametrize("size", [100, 2 * MIB], ids=["small", "streamed"])
def test_an_aborted_upload_stores_nothing(node: S3Node, size: int) -> None:
    old, new = ObjectName("store", f"old{size}"), ObjectName("store", f"new{size}")
    node.start_delete(new).wait()
    put(node, old, b"old")
    for name in (old, new):
        upload = node.start_upload(name, size, LABEL, {})
        upload.write(bytes(size - 1))
        upload.abort()
    assert get(node, old) == b"old"
    with pytest.raises(NoSuchKeyError):
        get(node, new)


def test_uploads_beside_deletes_that_empty_their_directory(node: S3Node) -> None:
    """versitygw removes an empty directory, also under an upload that needs it."""

    def put_and_delete(worker: int) -> None:
        for turn in range(200):
            name = ObjectName("store", f"emptied/often/{worker}-{turn}")
            put(node, name, b"hello")
            assert get(node, name) == b"hello"
            node.start_delete(name).wait()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(put_and_delete, range(4)))


UPLOAD_AND_DIE = """
import os, signal, sys
from amazin.model.node_specs import NodeSpec, TimeLimits
from amazin.model.objects import Label, ObjectName, Stamp
from amazin.nodes.s3.node import S3Node

node = S3Node(NodeSpec("node", *sys.argv[1:4]), TimeLimits())
label = Label(Stamp(2**60, 0))
upload = node.start_upload(ObjectName("store", "died"), 2**21, label, {})
upload.write(bytes(2**20))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_gateway_that_dies_in_an_upload_stores_nothing(
    server: Server, node: S3Node
) -> None:
    """The kernel ends its connections; versitygw must not see an orderly end."""
    name = ObjectName("store", "died")
    put(node, name, b"old")
    spec = server.spec("node")
    command = [sys.executable, "-c", UPLOAD_AND_DIE]
    keys = [f"http://{server.address}", spec.access_key, spec.secret_key]
    died = subprocess.run(
        [*command, *keys], check=False, cwd=PROJECT, timeout=PATIENCE_SECONDS
    )
    assert died.returncode == -signal.SIGKILL
    for _ in range(10):  # the server may need a moment to make its mistake
        assert get(node, name) == b"old"
        time.sleep(0.02)


def test_killed_in_a_download(server: Server, node: S3Node) -> None:
    put_huge(node, ObjectName("store", "huge"))
    content = node.start_get(ObjectName("store", "huge")).wait()
    content.read()
    server.kill()
    with pytest.raises(NodeError):
        while content.read():
            pass
    content.close()
    with pytest.raises(NodeUnreachableError):
        get(node, KEY)
    server.start()
    put(node, KEY, b"hello")
    assert get(node, KEY) == b"hello"


def put_huge(node: S3Node, name: ObjectName) -> None:
    upload = node.start_upload(name, HUGE, LABEL, {})
    for _ in range(HUGE // MIB):
        upload.write(bytes(MIB))
    upload.start_commit().wait()


def test_killed_in_an_upload(server: Server, node: S3Node) -> None:
    name = ObjectName("store", "overwritten")
    body = random.Random(2).randbytes(2 * MIB)
    put(node, name, body)
    upload = node.start_upload(name, HUGE, LABEL, {})
    upload.write(bytes(MIB))
    server.kill()
    with pytest.raises(NodeError):
        for _ in range(HUGE // MIB):
            upload.write(bytes(MIB))
    upload.abort()
    server.start()
    assert get(node, name) == body


def test_a_restart_between_two_requests_goes_unnoticed(
    server: Server, node: S3Node
) -> None:
    put(node, KEY, b"hello")
    for stop in (server.kill, server.stop):
        stop()
        server.start()
        assert get(node, KEY) == b"hello"
        stop()
        server.start()
        put(node, KEY, b"hello", if_match=tag_of(b"hello"))


@pytest.mark.parametrize("keeps", [True, False], ids=["kept", "new"])
def test_frozen(server: Server, node: S3Node, keeps: bool) -> None:
    put(node, KEY, b"hello")
    limits = TimeLimits(0.5, 0.5, 10.0)
    frozen = S3Node(server.spec("node"), limits)
    if keeps:
        get(frozen, KEY)
    server.freeze()
    questions: list[Callable[[], object]] = [
        lambda: get(frozen, KEY),
        lambda: frozen.start_head(KEY).wait(),
        lambda: put(frozen, KEY, b"late"),
        lambda: put(frozen, KEY, bytes(CHUNK_BYTES)),
        lambda: put(frozen, KEY, bytes(MIB)),
        lambda: frozen.start_check().wait(),
    ]
    for question in questions:
        started = time.monotonic()
        with pytest.raises(NodeTimeoutError):
            question()
        assert time.monotonic() - started < 1.0
    server.thaw()
    frozen.close()
    assert get(node, KEY) is not None


def test_frozen_in_a_download(server: Server, node: S3Node) -> None:
    name = ObjectName("store", "huge")
    put_huge(node, name)
    frozen = S3Node(server.spec("node"), TimeLimits(0.5, 1.0, 0.5))
    content = frozen.start_get(name).wait()
    server.freeze()
    with pytest.raises(NodeTimeoutError):
        while content.read():
            pass
    content.close()
    frozen.close()


def test_many_threads_share_a_node(node: S3Node) -> None:
    def work(number: int) -> None:
        dice = random.Random(number)
        for _ in range(10):
            name = ObjectName("store", f"mine{number}")
            body = dice.randbytes(dice.choice([0, 1, 1000, CHUNK_BYTES, 300_000]))
            put(node, name, body)
            assert get(node, name) == body
            node.start_get(name).cancel()
            if dice.random() < 0.3:
                node.start_delete(name).wait()
                with pytest.raises(GatewayError):
                    get(node, name)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(work, range(16)))
