"""Requests to nodes are counted once each, with the right word, on any kind of node."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from amazin.errors import (
    ClientGoneError,
    GatewayError,
    LateError,
    NodeAccessError,
    NodeBusyError,
    NodeError,
    NodeFullError,
    NodeProtocolError,
    NodeTimeoutError,
    NoSuchBucketError,
    NoSuchKeyError,
    PreconditionError,
)
from amazin.metrics.meters import result_of
from amazin.model.node_specs import NodeSpec
from amazin.model.objects import CHUNK_BYTES, ObjectInfo, ObjectName
from amazin.nodes.folder.node import FolderNode
from amazin.nodes.interface import (
    MeasuredNode,
    Node,
    TriedNode,
    VerifyingNode,
)
from amazin.nodes.metered import SILENT_SECONDS, TimedPending, metered
from amazin.nodes.s3.node import S3Node
from tests.support.app import Said
from tests.support.fakes import FakeDisk, FakeNode
from tests.support.peers import RESET, STAY_SILENT, TAKE_HEAD, TAKE_REQUEST
from tests.support.ports import free_port
from tests.support.s3_peers import (
    HEAD_OBJECT,
    LABEL,
    LARGE,
    LIMITS,
    NAME,
    OBJECT,
    STORED,
    error,
    get,
    listing,
    node_of,
    playing,
    put,
    s3_answer,
)

NO_CONTENT = s3_answer("204 No Content")


class Noted:
    """A `NodeMeter` that remembers: operation and word, and bytes."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str]] = []
        self.seconds: list[float] = []
        self.sent = self.received = 0

    def note(
        self, operation: str, seconds: float, error: Exception | None = None
    ) -> None:
        self.requests.append((operation, result_of(error) if error else "ok"))
        self.seconds.append(seconds)

    def note_sent(self, size: int) -> None:
        self.sent += size

    def note_received(self, size: int) -> None:
        self.received += size


@pytest.fixture
def noted() -> Noted:
    """What was counted."""
    return Noted()


@pytest.fixture
def folder(tmp_path: Path, noted: Noted) -> Iterator[Node]:
    """A metered folder node, with the bucket of `NAME`."""
    with closing(FolderNode("node-1", tmp_path)) as node:
        node.make_bucket(NAME.bucket)
        yield metered(node, noted)


def put_small(node: Node, body: bytes = b"hello", **conditions: Any) -> ObjectInfo:
    return node.start_put(NAME, body, LABEL, {}, **conditions).wait()


def put_large(node: Node, length: int = LARGE) -> ObjectInfo:
    upload = node.start_upload(NAME, length, LABEL, {})
    try:
        for start in range(0, length, CHUNK_BYTES):
            upload.write(bytes(min(CHUNK_BYTES, length - start)))
        return upload.start_commit().wait()
    finally:
        upload.abort()


def read(node: Node, **options: Any) -> bytes:
    content = node.start_get(NAME, **options).wait()
    try:
        return b"".join(iter(content.read, b""))
    finally:
        content.close()


# What a node is


@pytest.mark.parametrize("kind", [TriedNode, VerifyingNode, MeasuredNode])
def test_a_node_stays_of_its_kind(tmp_path: Path, noted: Noted, kind: type) -> None:
    specs = NodeSpec("node", "http://localhost:1", "AKID", "secret")
    makers: tuple[Callable[[], Node], ...] = (
        lambda: FolderNode("node", tmp_path),
        lambda: S3Node(specs, LIMITS),
    )
    for make in makers:
        node = make()
        before = isinstance(node, kind)
        assert metered(node, noted) is node
        assert isinstance(node, kind) is before
        node.close()


# A request is counted once


def test_each_request_to_a_folder_is_counted_once(folder: Node, noted: Noted) -> None:
    put_small(folder)
    put_large(folder)
    folder.start_head(NAME).wait()
    read(folder)
    folder.start_check().wait()
    list(folder.list_objects(NAME.bucket))
    folder.start_delete(NAME).wait()
    operations = ["put", "put", "head", "get", "check", "list", "delete"]
    assert noted.requests == [(operation, "ok") for operation in operations]
    assert noted.sent == 5 + LARGE
    assert noted.received == LARGE


def test_each_request_to_a_server_is_counted_once(noted: Noted) -> None:
    answers = [STORED, HEAD_OBJECT, OBJECT, s3_answer(), NO_CONTENT]
    script = [step for answer in answers for step in (TAKE_REQUEST, answer)]
    with playing(script) as (node, peer):
        metered(node, noted)
        put(node)
        node.start_head(NAME).wait()
        assert get(node) == b"hello"
        node.start_check().wait()
        node.start_delete(NAME).wait()
    operations = ["put", "head", "get", "check", "delete"]
    assert noted.requests == [(operation, "ok") for operation in operations]
    assert len(peer.requests) == 5
    assert (noted.sent, noted.received) == (5, 5)


def test_a_streamed_upload_to_a_server_is_counted_once(noted: Noted) -> None:
    with playing([TAKE_REQUEST, s3_answer(), TAKE_REQUEST, STORED]) as (node, _):
        metered(node, noted)
        put_large(node)
    assert noted.requests == [("put", "ok")]
    assert noted.sent == LARGE


def test_a_trial_is_counted_as_a_trial_only(noted: Noted) -> None:
    first = [TAKE_REQUEST, error("412 Precondition Failed", "PreconditionFailed")]
    rest = [TAKE_REQUEST, STORED, TAKE_REQUEST, NO_CONTENT]
    with playing([*first, *rest]) as (node, peer):
        metered(node, noted)
        node.start_trial().wait()
    assert len(peer.requests) == 3
    assert noted.requests == [("trial", "ok")]
    assert noted.sent == 0


def test_a_trial_that_is_refused_is_counted_once(noted: Noted) -> None:
    with playing([TAKE_REQUEST, error("403 Forbidden", "AccessDenied")]) as (node, _):
        metered(node, noted)
        with pytest.raises(NodeError):
            node.start_trial().wait()
    assert noted.requests == [("trial", "refused")]


def test_a_listing_is_counted_with_the_time_of_its_first_entry(noted: Noted) -> None:
    page = s3_answer(body=listing("a", "b"), headers=["Content-Type: application/xml"])
    with playing([TAKE_REQUEST, page]) as (node, _):
        metered(node, noted)
        entries = node.list_objects("store")
        assert noted.requests == []
        assert next(entries)[0] == "a"
        began = time.monotonic()
        while time.monotonic() < began + 0.05:
            pass
        assert [key for key, _ in entries] == ["b"]
    assert noted.requests == [("list", "ok")]


def test_a_listing_that_nobody_reads_to_its_end_is_a_good_one(
    folder: Node, noted: Noted
) -> None:
    put_small(folder)
    entries = folder.list_objects(NAME.bucket)
    next(entries)
    entries.close()  # type: ignore[attr-defined]
    assert noted.requests[1:] == [("list", "ok")]


# How it ended

RESULTS: dict[str, tuple[bytes, str]] = {
    "missing": (error("404 Not Found", "NoSuchBucket"), "missing"),
    "full": (error("507 Insufficient Storage", "XMinioStorageFull"), "full"),
    "wrong key": (error("403 Forbidden", "InvalidAccessKeyId"), "refused"),
    "busy": (error("503 Service Unavailable", "SlowDown"), "refused"),
    "nonsense": (b"SSH-2.0\r\n\r\n", "broken"),
}


@pytest.mark.parametrize(("answer", "word"), RESULTS.values(), ids=RESULTS)
@pytest.mark.parametrize("streams", [False, True])
def test_an_upload_that_fails_is_counted_once_with_its_word(
    noted: Noted, answer: bytes, word: str, *, streams: bool
) -> None:
    probe = [TAKE_REQUEST, s3_answer()] if streams else []
    with playing([*probe, TAKE_REQUEST, answer]) as (node, _):
        metered(node, noted)
        with pytest.raises(GatewayError):
            put_large(node) if streams else put_small(node, if_absent=True)
    assert noted.requests == [("put", word)]


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (error("404 Not Found", "NoSuchKey"), "missing"),
        (error("404 Not Found", "NoSuchBucket"), "missing"),
        (error("412 Precondition Failed", "PreconditionFailed"), "precondition"),
        (error("403 Forbidden", "InvalidAccessKeyId"), "refused"),
        (error("503 Service Unavailable", "SlowDown"), "refused"),
        (b"SSH-2.0\r\n\r\n", "broken"),
    ],
)
def test_a_download_that_fails_is_counted_with_its_word(
    noted: Noted, answer: bytes, word: str
) -> None:
    with playing([TAKE_REQUEST, answer]) as (node, _):
        metered(node, noted)
        with pytest.raises(GatewayError):
            get(node, if_match="0123")
    assert noted.requests == [("get", word)]
    assert noted.received == 0


def test_a_node_that_is_silent(noted: Noted) -> None:
    with playing([TAKE_REQUEST, STAY_SILENT]) as (node, _):
        metered(node, noted)
        with pytest.raises(NodeTimeoutError):
            node.start_head(NAME).wait()
    assert noted.requests == [("head", "silent")]
    assert noted.seconds[0] >= LIMITS.answer


def test_a_node_that_nobody_can_reach(noted: Noted) -> None:
    with closing(node_of(f"http://127.0.0.1:{free_port()}")) as node:
        metered(node, noted)
        for start in (node.start_head, node.start_get, node.start_delete):
            with pytest.raises(NodeError):
                start(NAME).wait()
        with pytest.raises(NodeError):
            put_small(node)
        with pytest.raises(NodeError):
            put_large(node)
        with pytest.raises(NodeError):
            list(node.list_objects("store"))
    operations = ["head", "get", "delete", "put", "put", "list"]
    assert noted.requests == [(operation, "broken") for operation in operations]


def test_an_upload_that_breaks_in_the_middle_is_counted_once(noted: Noted) -> None:
    with playing([TAKE_HEAD, RESET]) as (node, _):
        metered(node, noted)
        with pytest.raises(NodeError):
            put_large(node, 64 * CHUNK_BYTES)
    assert noted.requests == [("put", "broken")]
    assert noted.sent < 64 * CHUNK_BYTES


def test_an_upload_that_is_given_up_is_nobodys_failure(
    folder: Node, noted: Noted
) -> None:
    upload = folder.start_upload(NAME, 10, LABEL, {})
    upload.write(b"12345")
    upload.abort()
    assert noted.requests == []
    assert noted.sent == 5


def test_what_a_folder_does_not_have(folder: Node, noted: Noted) -> None:
    with pytest.raises(NoSuchKeyError):
        read(folder)
    with pytest.raises(NoSuchKeyError):
        folder.start_head(NAME).wait()
    with pytest.raises(NoSuchBucketError):
        folder.start_head(ObjectName("other", "a")).wait()
    with pytest.raises(PreconditionError):
        put_small(folder, if_match="abc")
    assert noted.requests == [
        ("get", "missing"),
        ("head", "missing"),
        ("head", "missing"),
        ("put", "precondition"),
    ]


def test_a_download_that_breaks_was_a_good_answer_before(noted: Noted) -> None:
    disk = FakeDisk(breaks_at=3, piece_bytes=2)
    disk.put(NAME, b"hello")
    node = metered(FakeNode(NodeSpec("node", None), disk), noted)
    with pytest.raises(NodeError):
        read(node)
    assert noted.requests == [("get", "ok")]
    assert noted.received == 3


@pytest.mark.parametrize(
    ("failure", "word"),
    [
        (NodeFullError(), "full"),
        (NodeAccessError(), "refused"),
        (NodeBusyError(), "refused"),
        (NodeTimeoutError(), "silent"),
        (NodeProtocolError(), "broken"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_failure_at_once_and_one_that_is_waited_for_are_the_same(
    noted: Noted, failure: NodeError, word: str
) -> None:
    disk = FakeDisk(buckets={NAME.bucket}, failing=failure)
    node = metered(FakeNode(NodeSpec("node", None), disk), noted)
    for ask in (
        lambda: put_small(node),  # fails at once
        lambda: put_large(node),
        lambda: node.start_head(NAME).wait(),
        lambda: node.start_trial().wait(),  # type: ignore[attr-defined]
        lambda: list(node.list_objects(NAME.bucket)),
    ):
        with pytest.raises(NodeError):
            ask()
    operations = ["put", "put", "head", "trial", "list"]
    assert noted.requests == [(operation, word) for operation in operations]


@pytest.mark.parametrize("failure", [LateError("late"), ClientGoneError("gone")])
def test_a_listing_that_its_client_ends_is_not_the_nodes_failure(
    noted: Noted, failure: GatewayError
) -> None:
    disk = FakeDisk()
    disk.put(NAME, b"hello")
    node = metered(FakeNode(NodeSpec("node", None), disk), noted)
    disk.before["entry"] = lambda: raise_(failure)
    with pytest.raises(LateError):
        list(node.list_objects(NAME.bucket))
    assert noted.requests == []


def raise_(error: Exception) -> None:
    raise error


# Requests that are given up


class Unready(Said):
    """Its answer has not begun to arrive."""

    def is_ready(self, timeout: float) -> bool:
        return False


def began_before(seconds: float, said: Said, noted: Noted) -> TimedPending[Any]:
    return TimedPending(said, noted, "head", time.monotonic() - seconds)


def test_a_node_that_is_given_up_after_a_second_was_silent(noted: Noted) -> None:
    said = Unready(None)
    pending = began_before(SILENT_SECONDS, said, noted)
    pending.cancel()
    pending.cancel()
    assert noted.requests == [("head", "silent")]
    assert said.is_cancelled


def test_a_node_that_was_not_given_its_time_is_not_blamed(noted: Noted) -> None:
    said = Unready(None)
    began_before(0.0, said, noted).cancel()
    assert noted.requests == []
    assert said.is_cancelled


def test_a_node_that_has_answered_is_not_blamed(noted: Noted) -> None:
    began_before(SILENT_SECONDS, Said(None), noted).cancel()
    assert noted.requests == []


def test_an_answer_that_was_received_is_not_given_up_any_more(noted: Noted) -> None:
    for answer in (None, NodeFullError()):
        pending = began_before(SILENT_SECONDS, Unready(answer), noted)
        with suppress(NodeFullError):
            pending.wait()
        pending.cancel()
    assert noted.requests == [("head", "ok"), ("head", "full")]


def test_a_download_that_is_given_up(noted: Noted) -> None:
    with playing([TAKE_REQUEST, STAY_SILENT]) as (node, _):
        metered(node, noted)
        node.start_get(NAME).cancel()
    assert noted.requests == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_refuses(folder: Node, noted: Noted, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(NodeError):
        folder.start_trial().wait()  # type: ignore[attr-defined]
    tmp_path.chmod(0o700)
    assert noted.requests == [("trial", "refused")]
