"""Uploads to an S3 node, when the server, or the network, misbehaves."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from amazin.errors import (
    GatewayError,
    NodeAccessError,
    NodeError,
    NodeFullError,
    NodePermissionError,
    NodeProtocolError,
    NodeTimeoutError,
    NodeUnreachableError,
    NoSuchBucketError,
    PreconditionError,
)
from amazin.model.node_specs import TimeLimits
from amazin.nodes.s3.uploads import MAX_SENDINGS
from amazin.nodes.transport.connection import NoAnswerError
from tests.support.peers import (
    RESET,
    STAY_SILENT,
    TAKE_HEAD,
    TAKE_REQUEST,
    Step,
    answer,
)
from tests.support.s3_peers import (
    LABEL,
    LARGE,
    LIMITS,
    NAME,
    OBJECT,
    PENDING,
    S3,
    STORED,
    TAG,
    begin,
    error,
    get,
    playing,
    put,
    s3_answer,
    small,
    stream,
)


@pytest.mark.parametrize("length", [3, LARGE])
def test_a_streamed_upload_must_be_whole_and_no_longer(length: int) -> None:
    script = [TAKE_REQUEST, s3_answer(), TAKE_HEAD, STAY_SILENT]
    with playing(script, script) as (node, _):
        upload = begin(node, length)
        upload.write(bytes(length - 1))
        with pytest.raises(GatewayError):
            upload.start_commit()
        upload = begin(node, length)
        with pytest.raises(GatewayError):
            upload.write(bytes(length + 1))


def test_a_small_upload_on_a_dead_connection_is_sent_once_more() -> None:
    first = [TAKE_REQUEST, STORED, TAKE_REQUEST]
    with playing(first, [TAKE_REQUEST, STORED]) as (node, peer):
        put(node)
        put(node)
    assert [request.body for request in peer.requests] == [b"hello"] * 3


def test_a_small_upload_that_is_sent_once_more_may_meet_a_frozen_node() -> None:
    first = [TAKE_REQUEST, STORED, TAKE_REQUEST]
    silent, probe = [TAKE_REQUEST, STAY_SILENT], [TAKE_REQUEST, STAY_SILENT]
    with playing(first, silent, probe) as (node, peer):
        put(node)
        started = time.monotonic()
        with pytest.raises(NodeTimeoutError):
            put(node)
        assert time.monotonic() - started < 3 * LIMITS.answer
    lines = ["GET /store/amazin.probe", *["PUT /store/abc"] * 3]
    assert sorted(peer.lines) == lines


def test_a_small_upload_on_a_new_connection_is_sent_once() -> None:
    with playing([TAKE_REQUEST]) as (node, _), pytest.raises(NoAnswerError):
        put(node)


@pytest.mark.parametrize("conditions", [{"if_absent": True}, {"if_match": "0123"}])
def test_a_guarded_upload_on_a_dead_connection_is_sent_once_more(
    conditions: dict[str, Any],
) -> None:
    first = [TAKE_REQUEST, STORED, TAKE_REQUEST]
    with playing(first, [TAKE_REQUEST, STORED]) as (node, peer):
        put(node)
        put(node, keeps_newer=True, **conditions)
    assert peer.lines == ["PUT /store/abc"] * 3


@pytest.mark.parametrize("conditions", [{"if_absent": True}, {"if_match": "0123"}])
def test_a_conditional_upload_is_never_sent_twice(conditions: dict[str, Any]) -> None:
    """The second try would meet what the first has stored: 412 for a success."""
    with playing([TAKE_REQUEST, STORED, STAY_SILENT], [TAKE_REQUEST]) as (node, peer):
        put(node)
        with pytest.raises(NodeError):
            put(node, **conditions)
    assert len(peer.requests) == 2


def test_an_upload_is_not_sent_again_after_a_part_of_an_error() -> None:
    chunked = f"HTTP/1.1 500 x\r\n{S3}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    with playing([TAKE_REQUEST, STORED, TAKE_REQUEST, chunked]) as (node, _):
        put(node)
        with pytest.raises(NodeError):
            put(node)


@pytest.mark.parametrize("size", [5, LARGE])
@pytest.mark.parametrize("end", [[], [RESET]], ids=["closed", "reset"])
def test_a_stream_is_never_sent_twice(end: list[Step], size: int) -> None:
    with (
        playing([TAKE_REQUEST, s3_answer(), TAKE_REQUEST, *end]) as (node, peer),
        pytest.raises(NodeError),
    ):
        stream(node, bytes(size))
    assert peer.lines == ["GET /store/amazin.probe", "PUT /store/abc"]


@pytest.mark.parametrize("end", [[], [RESET]], ids=["closed", "reset"])
def test_a_stream_moves_to_a_new_connection_before_its_first_byte(
    end: list[Step],
) -> None:
    """As of a node that closes after each answer, and doesn't announce it."""
    closed = threading.Event()
    first = [TAKE_REQUEST, s3_answer(), closed, *end]
    with playing(first, [TAKE_REQUEST, STORED]) as (node, peer):
        upload = begin(node, LARGE)
        closed.set()
        assert peer.ended.acquire(timeout=5)
        upload.write(bytes(LARGE))
        assert upload.start_commit().wait().etag == "0123"
    assert peer.lines == ["GET /store/amazin.probe", "PUT /store/abc"]


@pytest.mark.parametrize("interim", ["100 Continue", "102 Processing"])
def test_an_interim_answer_in_the_middle_of_a_stream_means_nothing(
    interim: str,
) -> None:
    told, written = threading.Event(), threading.Event()
    line = f"HTTP/1.1 {interim}\r\n\r\n".encode()
    told_twice = [TAKE_HEAD, line * 2, told.set, written]
    script = [TAKE_REQUEST, s3_answer(), *told_twice, line + STORED, STAY_SILENT]
    with playing(script) as (node, _):
        upload = begin(node, LARGE)
        assert told.wait(5)
        upload.write(bytes(LARGE - 1))
        upload.write(b"1")
        written.set()
        assert upload.start_commit().wait().etag == "0123"


def test_an_interim_answer_may_come_in_pieces() -> None:
    told, seen, written = (threading.Event() for _ in range(3))
    begun = [TAKE_HEAD, b"HTTP/1.1 100 Continue\r\n", told.set, seen]
    ended = [b"\r\n", written, STORED, STAY_SILENT]
    with playing([TAKE_REQUEST, s3_answer(), *begun, *ended]) as (node, _):
        upload = begin(node, LARGE)
        assert told.wait(5)
        threading.Timer(0.2, seen.set).start()
        upload.write(bytes(LARGE))
        written.set()
        assert upload.start_commit().wait().etag == "0123"


def test_an_interim_answer_that_never_ends_fails_the_upload() -> None:
    told = threading.Event()
    begun = [TAKE_HEAD, b"HTTP/1.1 100 Continue\r\n", told.set, STAY_SILENT]
    with playing([TAKE_REQUEST, s3_answer(), *begun]) as (node, _):
        upload = begin(node, LARGE)
        assert told.wait(5)
        with pytest.raises(NodeTimeoutError):
            upload.write(bytes(LARGE))


def test_what_follows_an_interim_answer_counts() -> None:
    told = threading.Event()
    full = b"HTTP/1.1 100 Continue\r\n\r\n" + error("507 Insufficient Storage", "")
    script = [TAKE_REQUEST, s3_answer(), TAKE_HEAD, full, told.set, STAY_SILENT]
    with playing(script) as (node, _):
        upload = begin(node, 2 * LARGE)
        assert told.wait(5)
        with pytest.raises(NodeFullError):
            upload.write(bytes(LARGE))


@pytest.mark.parametrize("size", [5, LARGE], ids=["small", "large"])
def test_nodes_store_at_the_same_time(size: int) -> None:
    """Each answers only when the other has the whole upload, too."""
    both = threading.Barrier(2, timeout=5)
    probe = [TAKE_REQUEST, s3_answer()] if size == LARGE else []
    script = [*probe, TAKE_REQUEST, both.wait, STORED]
    with playing(script) as (one, _), playing(script) as (other, _):
        if size == LARGE:
            uploads = [begin(node, size) for node in (one, other)]
            for upload in uploads:
                upload.write(bytes(size))
            commits = [upload.start_commit() for upload in uploads]
        else:
            commits = [
                node.start_put(NAME, bytes(size), LABEL, {}) for node in (one, other)
            ]
        assert [commit.wait().etag for commit in commits] == ["0123", "0123"]


def test_aborting_an_upload_closes_its_connection() -> None:
    script = [TAKE_REQUEST, s3_answer(), TAKE_HEAD, STAY_SILENT]
    with playing(script) as (node, peer):
        upload = begin(node, LARGE)
        upload.write(b"some")
        upload.abort()
        upload.abort()
    assert peer.lines == ["GET /store/amazin.probe", "PUT /store/abc"]


@pytest.mark.parametrize("length", [0, 5, LARGE])
def test_aborting_releases_a_commit_that_nobody_waits_for(length: int) -> None:
    _, steps, _ = PENDING["stream"]
    taken = threading.Event()
    with playing([*steps, taken.set, STAY_SILENT]) as (node, _):
        upload = begin(node, length)
        upload.write(bytes(length))
        commit = upload.start_commit()
        assert taken.wait(5)
        upload.abort()
        upload.abort()
        assert commit.is_ready(0)


def test_aborting_a_slow_commit_gives_up_the_question_beside_it() -> None:
    taken = threading.Event()
    probed = [TAKE_REQUEST, s3_answer(), TAKE_REQUEST, STAY_SILENT]
    beside = [TAKE_REQUEST, taken.set, STAY_SILENT]
    with playing(probed, beside) as (node, _):
        upload = begin(node, 0)
        commit = upload.start_commit()
        assert not commit.is_ready(0.75 * LIMITS.answer)
        assert taken.wait(5)
        upload.abort()


def test_cancelling_a_slow_upload_gives_up_the_question_beside_it() -> None:
    taken = threading.Event()
    beside = [TAKE_REQUEST, taken.set, STAY_SILENT]
    with playing([TAKE_REQUEST, STAY_SILENT], beside) as (node, _):
        pending = small(node)
        assert not pending.is_ready(0.75 * LIMITS.answer)
        assert taken.wait(5)
        pending.cancel()


def test_aborting_after_commit_leaves_the_connection_to_others() -> None:
    script = [TAKE_REQUEST, s3_answer(), TAKE_REQUEST, STORED, TAKE_REQUEST, OBJECT]
    with playing(script) as (node, _):
        upload = begin(node, LARGE)
        upload.write(bytes(LARGE))
        upload.start_commit().wait()
        upload.abort()
        assert get(node) == b"hello"


def test_an_early_error_is_reported_and_its_connection_dropped() -> None:
    """What was not sent of the body would be read from the next request."""
    told, written = threading.Event(), threading.Event()
    full = [error("507 Insufficient Storage", ""), told.set, written, STAY_SILENT]
    first = [TAKE_REQUEST, s3_answer(), TAKE_HEAD, *full]
    with playing(first, [TAKE_REQUEST, OBJECT]) as (node, _):
        upload = begin(node, 4 * LARGE)
        assert told.wait(5)
        written.set()
        with pytest.raises(NodeFullError):
            for _ in range(4):
                upload.write(bytes(LARGE))
        upload.abort()
        assert get(node) == b"hello"


def test_an_early_success_is_none() -> None:
    told = threading.Event()
    script = [TAKE_REQUEST, s3_answer(), TAKE_HEAD, STORED, told.set, STAY_SILENT]
    with playing(script, [TAKE_REQUEST, OBJECT]) as (node, _):
        upload = begin(node, 2 * LARGE)
        assert told.wait(5)
        with pytest.raises(NodeProtocolError):
            upload.write(bytes(LARGE))
        assert get(node) == b"hello"


def test_a_node_that_breaks_a_stream_is_an_error() -> None:
    broken = threading.Event()
    script = [TAKE_REQUEST, s3_answer(), TAKE_HEAD, RESET, broken.set]
    with playing(script) as (node, _):
        upload = begin(node, 100 * LARGE)
        assert broken.wait(5)
        with pytest.raises(NodeError):
            for _ in range(100):
                upload.write(bytes(LARGE))


@pytest.mark.parametrize("length", [0, 5, LARGE])
def test_refused_keys_show_before_a_stream_is_read(length: int) -> None:
    forbidden = s3_answer("403 Forbidden")
    with (
        playing([TAKE_REQUEST, forbidden]) as (node, peer),
        pytest.raises(NodeAccessError),
    ):
        begin(node, length)
    assert peer.lines == ["GET /store/amazin.probe"]


@pytest.mark.parametrize(
    ("body", "lines"),
    [
        (b"hello", ["PUT /store/abc"]),
        (bytes(LARGE), ["GET /store/amazin.probe"]),
    ],
    ids=["small", "large"],
)
def test_an_upload_makes_no_bucket(body: bytes, lines: list[str]) -> None:
    """A bucket that is gone tells of a new disk; and a stream is not even begun."""
    missing = error("404 Not Found", "NoSuchBucket")
    with (
        playing([TAKE_REQUEST, missing]) as (node, peer),
        pytest.raises(NoSuchBucketError),
    ):
        put(node, body)
    assert peer.lines == lines


def test_making_a_bucket() -> None:
    with playing([TAKE_REQUEST, s3_answer()]) as (node, peer):
        node.make_bucket("store")
    assert peer.lines == ["PUT /store"]


@pytest.mark.parametrize("code", ["BucketAlreadyOwnedByYou", "BucketAlreadyExists"])
def test_a_bucket_that_is_there_already_is_fine(code: str) -> None:
    with playing([TAKE_REQUEST, error("409 Conflict", code)]) as (node, _):
        node.make_bucket("store")


def test_a_bucket_that_another_made_meanwhile_is_fine() -> None:
    """versitygw says 500 to the slower one of two."""
    failed = [TAKE_REQUEST, error("500 Internal Server Error", "InternalError")]
    there = [TAKE_REQUEST, error("404 Not Found", "NoSuchKey")]
    with playing(failed, there) as (node, peer):
        node.make_bucket("store")
    assert peer.lines == ["PUT /store", "GET /store/amazin.probe"]
    missing = [TAKE_REQUEST, error("404 Not Found", "NoSuchBucket")]
    with playing(failed, missing) as (node, _), pytest.raises(NodeError, match="500"):
        node.make_bucket("store")


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (error("403 Forbidden", "AccessDenied"), NodePermissionError),
        (error("403 Forbidden", "InvalidAccessKeyId"), NodeAccessError),
        (error("507 Insufficient Storage", ""), NodeFullError),
        (error("503 Service Unavailable", "SlowDown"), NodeError),
        (answer("200 OK", b"<html/>")[:-3], NodeError),
        (b"nonsense\r\n\r\n", NodeError),
    ],
)
def test_a_bucket_that_can_not_be_made(data: bytes, kind: type[NodeError]) -> None:
    with playing([TAKE_REQUEST, data]) as (node, _), pytest.raises(kind):
        node.make_bucket("store")


GONE = [TAKE_REQUEST, error("409 Conflict", "ExistingObjectIsDirectory")]
"""What versitygw says if a delete removes an upload's directory as it ends."""
DENIED: list[Step] = [TAKE_REQUEST, error("403 Forbidden", "AccessDenied")]
"""What MinIO says then, rarely."""
REMOVED = pytest.mark.parametrize("gone", [GONE, DENIED], ids=["versitygw", "minio"])


@REMOVED
def test_an_upload_whose_directory_was_removed_is_sent_again(gone: list[Step]) -> None:
    stored = [TAKE_REQUEST, s3_answer(headers=[TAG])]
    with playing(gone, gone, stored) as (node, peer):
        assert put(node, b"hello").etag == "0123"
    assert peer.lines == ["PUT /store/abc"] * 3


@REMOVED
def test_an_upload_whose_directory_is_always_removed(gone: list[Step]) -> None:
    scripts = [gone] * MAX_SENDINGS
    with playing(*scripts) as (node, peer), pytest.raises(NodeError) as caught:
        put(node, b"hello")
    assert isinstance(caught.value, NodePermissionError) == (gone is DENIED)
    assert len(peer.lines) == MAX_SENDINGS


@REMOVED
def test_a_guarded_upload_whose_directory_was_removed_is_sent_again(
    gone: list[Step],
) -> None:
    """What it does not find then is what others have stored."""
    stored = [TAKE_REQUEST, s3_answer(headers=[TAG])]
    with playing(gone, stored) as (node, peer):
        assert put(node, if_absent=True, keeps_newer=True).etag == "0123"
    assert peer.lines == ["PUT /store/abc"] * 2


@REMOVED
def test_what_can_not_be_sent_again_fails_with_its_directory(gone: list[Step]) -> None:
    for body, condition in ((bytes(LARGE), {}), (b"hello", {"if_absent": True})):
        probe = [TAKE_REQUEST, s3_answer()] if len(body) == LARGE else []
        with (
            playing([*probe, *gone]) as (node, peer),
            pytest.raises(NodeError) as caught,
        ):
            put(node, body, **condition)
        assert not isinstance(caught.value, NodeUnreachableError)
        assert len([line for line in peer.lines if line.startswith("PUT")]) == 1


@pytest.mark.parametrize("body", [b"hello", bytes(LARGE)], ids=["small", "large"])
def test_matching_a_missing_object_is_a_failed_precondition(body: bytes) -> None:
    probe = [TAKE_REQUEST, s3_answer()] if len(body) == LARGE else []
    missing = error("404 Not Found", "NoSuchKey")
    with (
        playing([*probe, TAKE_REQUEST, missing]) as (node, _),
        pytest.raises(PreconditionError),
    ):
        put(node, body, if_match="0123")


def test_a_frozen_node_fails_a_small_upload_within_the_answer_limit() -> None:
    silent = [TAKE_REQUEST, STAY_SILENT]
    with playing(silent, silent, limits=TimeLimits(1.0, 0.4, 30.0)) as (node, peer):
        started = time.monotonic()
        with pytest.raises(NodeTimeoutError):
            put(node)
        assert time.monotonic() - started < 3 * LIMITS.answer
    assert sorted(peer.lines) == ["GET /store/amazin.probe", "PUT /store/abc"]


def test_a_node_that_freezes_during_a_commit_is_noticed() -> None:
    """It was asked once and answered; so it is asked again."""
    probes = [TAKE_REQUEST, s3_answer(), TAKE_REQUEST, STAY_SILENT]
    limits = TimeLimits(1.0, 0.2, 30.0)
    with playing([TAKE_REQUEST, STAY_SILENT], probes, limits=limits) as (node, _):
        started = time.monotonic()
        with pytest.raises(NodeTimeoutError):
            put(node)
        assert time.monotonic() - started < 2


def test_a_slow_node_that_lives_may_take_its_time() -> None:
    probed = threading.Event()
    slow = [TAKE_REQUEST, probed, STORED]
    with playing(slow, [TAKE_REQUEST, s3_answer(), probed.set]) as (node, _):
        assert put(node).etag == "0123"


def test_a_node_that_never_commits_fails_at_the_transfer_limit() -> None:
    limits = TimeLimits(1.0, 0.2, 0.35)
    probes = [TAKE_REQUEST, s3_answer()] * 3
    with (
        playing([TAKE_REQUEST, STAY_SILENT], probes, limits=limits) as (node, _),
        pytest.raises(NodeTimeoutError),
    ):
        put(node)
