"""What an S3 node promises when the server, or the network, misbehaves."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from amazin.errors import (
    GatewayError,
    NodeAccessError,
    NodeError,
    NodeFullError,
    NodeProtocolError,
    NodeTimeoutError,
    NodeUnreachableError,
    NoSuchBucketError,
    NoSuchKeyError,
    PreconditionError,
)
from amazin.model.node_specs import NodeSpec, TimeLimits
from amazin.model.objects import CHUNK_BYTES, Label, ObjectInfo, ObjectName, Stamp
from amazin.nodes.build import AbsentNode
from amazin.nodes.interface import Pending, Upload
from amazin.nodes.s3.answers import (
    metadata_lines,
    read_label,
    read_modified,
    stored_headers,
)
from amazin.nodes.s3.node import S3Node, S3Object
from amazin.nodes.s3.uploads import MAX_SENDINGS
from amazin.nodes.transport.connection import NoAnswerError
from tests.support.peers import (
    RESET,
    STAY_SILENT,
    TAKE_HEAD,
    TAKE_REQUEST,
    Peer,
    Step,
    answer,
)

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


QUESTIONS = {
    "GET": lambda node: get(node),
    "HEAD": lambda node: node.start_head(NAME).wait(),
    "DELETE": lambda node: node.start_delete(NAME).wait(),
}
GOOD = {"GET": OBJECT, "HEAD": HEAD_OBJECT, "DELETE": s3_answer("204 No Content")}
METHODS = pytest.mark.parametrize("method", list(QUESTIONS))


# What is sent.


def test_requests_are_signed_and_say_what_is_wanted() -> None:
    partial = s3_answer(
        "206 Partial Content", b"el", [TAG, MODIFIED, "Content-Range: bytes 1-2/5"]
    )
    with playing([TAKE_REQUEST, partial]) as (node, peer):
        content = node.start_get(NAME, byte_range=(1, 2), if_match="0123").wait()
        assert content.info == ObjectInfo(5, "0123", MODIFIED_NS)
        assert content.read() + content.read() == b"el"
    head = peer.requests[0].head.decode()
    assert head.startswith("GET /store/abc HTTP/1.1\r\n")
    assert '\r\nRange: bytes=1-2\r\nIf-Match: "0123"\r\n' in head
    assert "\r\nAuthorization: AWS4-HMAC-SHA256 Credential=AKID/" in head


def send_whole(node: S3Node, headers: Mapping[str, str], **conditions: Any) -> Any:
    return node.start_put(NAME, b"hi", LABEL, headers, **conditions)


def send_in_chunks(node: S3Node, headers: Mapping[str, str], **conditions: Any) -> Any:
    upload = node.start_upload(NAME, 2, LABEL, headers, **conditions)
    upload.write(b"h")
    upload.write(b"i")
    return upload.start_commit()


@pytest.mark.parametrize(
    ("send", "probe"),
    [(send_whole, []), (send_in_chunks, [TAKE_REQUEST, s3_answer()])],
    ids=["small", "streamed"],
)
def test_an_upload_carries_its_label_and_headers(
    send: Callable[..., Pending[ObjectInfo]], probe: list[Step]
) -> None:
    headers = {"Content-Type": "text/plain", "X-Name": "a  ü%\r\n"}
    with playing([*probe, TAKE_REQUEST, STORED]) as (node, peer):
        pending = send(node, headers, if_match="9", if_absent=True)
        assert pending.wait() == ObjectInfo(2, "0123", STAMP.nanoseconds, LABEL)
    head = peer.requests[-1].head.decode()
    assert "\r\nContent-Length: 2\r\n" in head
    assert "\r\nContent-Type: text/plain\r\n" in head
    assert "\r\nx-amz-meta-x-name: a%20%20%FC%25%0D%0A\r\n" in head
    assert "\r\nx-amz-meta-amazin-stamp: 1700000000123456789.7.3\r\n" in head
    assert '\r\nIf-Match: "9"\r\n' in head
    assert "\r\nIf-None-Match: *\r\n" in head
    assert peer.requests[-1].body == b"hi"


def test_a_version_can_be_deleted() -> None:
    script = [
        TAKE_REQUEST,
        GOOD["DELETE"],
        TAKE_REQUEST,
        error("412 P", "Precondition"),
    ]
    with playing(script) as (node, peer):
        node.start_delete(NAME, if_match="0123").wait()
        with pytest.raises(PreconditionError):
            node.start_delete(NAME, if_match="0123").wait()
    assert b'\r\nIf-Match: "0123"\r\n' in peer.requests[0].head


def test_keeping_what_is_newer_changes_nothing() -> None:
    """No S3 server can do that."""
    with playing([TAKE_REQUEST, STORED, TAKE_REQUEST, STORED]) as (node, peer):
        put(node)
        put(node, keeps_newer=True)
    first, second = [request.head.splitlines() for request in peer.requests]
    names = [{line.split(b":")[0] for line in head} for head in (first, second)]
    assert names[0] == names[1]


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


# A kept connection that has died.


@METHODS
def test_a_question_on_a_dead_connection_is_asked_once_more(method: str) -> None:
    first = [TAKE_REQUEST, GOOD[method], TAKE_REQUEST]
    with playing(first, [TAKE_REQUEST, GOOD[method]]) as (node, peer):
        assert QUESTIONS[method](node) == QUESTIONS[method](node)
    assert peer.lines == [f"{method} /store/abc"] * 3


@METHODS
@pytest.mark.parametrize("end", [[], [RESET]], ids=["closed", "reset"])
def test_a_question_is_asked_twice_at_most(method: str, end: list[Step]) -> None:
    first = [TAKE_REQUEST, GOOD[method], TAKE_REQUEST, *end]
    with playing(first, [TAKE_REQUEST, *end]) as (node, _):
        QUESTIONS[method](node)
        with pytest.raises(NodeError):
            QUESTIONS[method](node)


@METHODS
def test_a_question_on_a_new_connection_is_asked_once(method: str) -> None:
    with playing([TAKE_REQUEST]) as (node, _), pytest.raises(NoAnswerError):
        QUESTIONS[method](node)


@METHODS
def test_a_question_is_not_asked_again_after_a_part_of_an_answer(method: str) -> None:
    first = [TAKE_REQUEST, GOOD[method], TAKE_REQUEST, GOOD[method][:30]]
    with playing(first) as (node, _):
        QUESTIONS[method](node)
        with pytest.raises(NodeProtocolError):
            QUESTIONS[method](node)


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
        assert time.monotonic() - started < 2 * LIMITS.answer
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
    first = [TAKE_REQUEST, s3_answer(), closed.wait, *end]
    with playing(first, [TAKE_REQUEST, STORED]) as (node, peer):
        upload = begin(node, LARGE)
        closed.set()
        time.sleep(0.1)
        upload.write(bytes(LARGE))
        assert upload.start_commit().wait().etag == "0123"
    assert peer.lines == ["GET /store/amazin.probe", "PUT /store/abc"]


@pytest.mark.parametrize("interim", ["100 Continue", "102 Processing"])
def test_an_interim_answer_in_the_middle_of_a_stream_means_nothing(
    interim: str,
) -> None:
    told, written = threading.Event(), threading.Event()
    line = f"HTTP/1.1 {interim}\r\n\r\n".encode()
    told_twice = [TAKE_HEAD, line * 2, told.set, written.wait]
    script = [TAKE_REQUEST, s3_answer(), *told_twice, line + STORED, STAY_SILENT]
    with playing(script) as (node, _):
        upload = begin(node, LARGE)
        assert told.wait(5)
        time.sleep(0.1)
        upload.write(bytes(LARGE - 1))
        upload.write(b"1")
        written.set()
        assert upload.start_commit().wait().etag == "0123"


def test_an_interim_answer_may_come_in_pieces() -> None:
    told, seen, written = (threading.Event() for _ in range(3))
    begun = [TAKE_HEAD, b"HTTP/1.1 100 Continue\r\n", told.set, seen.wait]
    ended = [b"\r\n", written.wait, STORED, STAY_SILENT]
    with playing([TAKE_REQUEST, s3_answer(), *begun, *ended]) as (node, _):
        upload = begin(node, LARGE)
        assert told.wait(5)
        threading.Timer(0.2, seen.set).start()
        time.sleep(0.1)
        upload.write(bytes(LARGE))
        written.set()
        assert upload.start_commit().wait().etag == "0123"


def test_an_interim_answer_that_never_ends_fails_the_upload() -> None:
    told = threading.Event()
    begun = [TAKE_HEAD, b"HTTP/1.1 100 Continue\r\n", told.set, STAY_SILENT]
    with playing([TAKE_REQUEST, s3_answer(), *begun]) as (node, _):
        upload = begin(node, LARGE)
        assert told.wait(5)
        time.sleep(0.1)
        with pytest.raises(NodeTimeoutError):
            upload.write(bytes(LARGE))


def test_what_follows_an_interim_answer_counts() -> None:
    told = threading.Event()
    full = b"HTTP/1.1 100 Continue\r\n\r\n" + error("507 Insufficient Storage", "")
    script = [TAKE_REQUEST, s3_answer(), TAKE_HEAD, full, told.set, STAY_SILENT]
    with playing(script) as (node, _):
        upload = begin(node, 2 * LARGE)
        assert told.wait(5)
        time.sleep(0.1)
        with pytest.raises(NodeFullError):
            upload.write(bytes(LARGE))


# Whether an answer has come.


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
EVERY_PENDING = pytest.mark.parametrize(
    ("start", "steps", "data"), PENDING.values(), ids=PENDING
)
PATIENT = TimeLimits(connect=1.0, answer=10.0, transfer=10.0)


@EVERY_PENDING
def test_an_answer_is_ready_when_it_has_come(
    start: Callable[[S3Node], Pending[object]], steps: list[Step], data: bytes
) -> None:
    go = threading.Event()
    script = [*steps, go.wait, data, STAY_SILENT]
    with playing(script, limits=PATIENT) as (node, _):
        pending = start(node)
        assert not pending.is_ready(0)
        started = time.monotonic()
        assert not pending.is_ready(0.05)
        assert 0.05 <= time.monotonic() - started < 1
        go.set()
        assert pending.is_ready(10)
        assert pending.is_ready(0)
        assert time.monotonic() - started < 5
        found = pending.wait()
        assert pending.is_ready(0)
        if isinstance(found, S3Object):
            found.close()


@EVERY_PENDING
@pytest.mark.parametrize("end", [[], [RESET]], ids=["closed", "reset"])
def test_a_failure_is_ready_when_it_has_come(
    start: Callable[[S3Node], Pending[object]],
    steps: list[Step],
    data: bytes,
    end: list[Step],
) -> None:
    with playing([*steps, *end], limits=PATIENT) as (node, _):
        pending = start(node)
        assert pending.is_ready(10)
        assert pending.is_ready(0)
        with pytest.raises(NodeError):
            pending.wait()


@EVERY_PENDING
def test_silence_is_ready_at_its_time_limit(
    start: Callable[[S3Node], Pending[object]], steps: list[Step], data: bytes
) -> None:
    """For an upload that is when the node doesn't answer anything else either."""
    is_upload = data == STORED
    beside = [[TAKE_REQUEST, STAY_SILENT]] if is_upload else []
    with playing([*steps, STAY_SILENT], *beside) as (node, _):
        pending = start(node)
        started = time.monotonic()
        assert pending.is_ready(30)
        assert 0.9 * LIMITS.answer < time.monotonic() - started < 2 * LIMITS.answer
        assert pending.is_ready(0)
        with pytest.raises(NodeTimeoutError):
            pending.wait()
        assert time.monotonic() - started < 2 * LIMITS.answer


def test_a_slow_upload_is_not_ready_while_its_node_lives() -> None:
    go = threading.Event()
    probes = [TAKE_REQUEST, s3_answer(), TAKE_REQUEST, s3_answer(), go.set]
    with playing([TAKE_REQUEST, go.wait, STORED], probes) as (node, _):
        pending = small(node)
        while not pending.is_ready(0.01):
            pass
        assert go.is_set()
        assert pending.wait() == ObjectInfo(5, "0123", STAMP.nanoseconds, LABEL)


@EVERY_PENDING
def test_who_comes_late_for_an_answer_still_gets_it(
    start: Callable[[S3Node], Pending[object]], steps: list[Step], data: bytes
) -> None:
    """While another node was waited for, the time of this one went by."""
    limits, told = TimeLimits(connect=1.0, answer=0.3, transfer=0.3), threading.Event()
    with playing([*steps, data, told.set, STAY_SILENT], limits=limits) as (node, _):
        pending = start(node)
        assert told.wait(5)
        time.sleep(0.31)
        assert pending.is_ready(0)
        found = pending.wait()
        if isinstance(found, S3Object):
            assert found.read() == b"hello"


def test_a_dead_connection_is_ready_and_asked_on_another() -> None:
    first = [TAKE_REQUEST, STORED, TAKE_REQUEST]
    with playing(first, [TAKE_REQUEST, STORED], limits=PATIENT) as (node, peer):
        put(node)
        pending = small(node)
        assert pending.is_ready(10)
        assert pending.wait() == ObjectInfo(5, "0123", STAMP.nanoseconds, LABEL)
    assert peer.lines == ["PUT /store/abc"] * 3


@EVERY_PENDING
def test_what_was_cancelled_is_ready_and_leaves_others_alone(
    start: Callable[[S3Node], Pending[object]], steps: list[Step], data: bytes
) -> None:
    taken = threading.Event()
    first = [*steps, taken.set, STAY_SILENT]
    with playing(first, [TAKE_REQUEST, OBJECT]) as (node, _):
        pending = start(node)
        assert taken.wait(5)
        pending.cancel()
        pending.cancel()
        assert pending.is_ready(0)
        assert get(node) == b"hello"


# Several nodes at once.


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


# Giving up.


def test_cancelling_closes_the_connection_and_nobody_elses() -> None:
    first = [TAKE_REQUEST, error("403 Forbidden", "AccessDenied")]
    script = [*first, TAKE_REQUEST, OBJECT, TAKE_REQUEST, STAY_SILENT]
    with playing(script) as (node, _):
        question = node.start_get(NAME)
        with pytest.raises(NodeAccessError):
            question.wait()
        other = node.start_get(NAME)
        question.cancel()  # as one does with all, after a failure
        content = other.wait()
        assert content.read() == b"hello"
        abandoned = node.start_get(NAME)
        abandoned.cancel()
        abandoned.cancel()


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


# What answers mean.


@METHODS
@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        ("400 Bad Request", "InvalidArgument", NodeProtocolError),
        ("401 Unauthorized", "", NodeAccessError),
        ("403 Forbidden", "SignatureDoesNotMatch", NodeAccessError),
        ("405 Method Not Allowed", "MethodNotAllowed", NodeProtocolError),
        ("409 Conflict", "OperationAborted", NodeError),
        ("416 Range Not Satisfiable", "InvalidRange", NodeProtocolError),
        ("301 Moved Permanently", "PermanentRedirect", NodeProtocolError),
        ("429 Too Many Requests", "", NodeError),
        ("500 Internal Server Error", "InternalError", NodeError),
        ("503 Service Unavailable", "SlowDown", NodeError),
        ("507 Insufficient Storage", "", NodeFullError),
    ],
)
def test_errors_by_status(method: str, status: str, code: str, kind: type) -> None:
    data = error(status, code)
    if method == "HEAD":
        data = data[: data.index(b"\r\n\r\n") + 4]
    with (
        playing([TAKE_REQUEST, data]) as (node, _),
        pytest.raises(GatewayError) as caught,
    ):
        QUESTIONS[method](node)
    assert type(caught.value) is kind


def test_a_full_node_says_so_by_its_code() -> None:
    data = error("400 Bad Request", "XMinioStorageFull")
    with playing([TAKE_REQUEST, data]) as (node, _), pytest.raises(NodeFullError):
        put(node)


def test_what_is_not_there() -> None:
    not_found = error("404 Not Found", "NoSuchKey")
    bodiless = s3_answer("404 Not Found", headers=["x-minio-error-code: NoSuchKey"])
    script = [TAKE_REQUEST, not_found, TAKE_REQUEST, bodiless, TAKE_REQUEST, not_found]
    with playing(script) as (node, _):
        with pytest.raises(NoSuchKeyError):
            get(node)
        with pytest.raises(NoSuchKeyError):
            node.start_head(NAME).wait()
        node.start_delete(NAME).wait()


@METHODS
def test_a_missing_bucket_is_a_failure_of_the_node(method: str) -> None:
    missing = error("404 Not Found", "NoSuchBucket")
    if method == "HEAD":
        missing = s3_answer(
            "404 Not Found", headers=["x-minio-error-code: NoSuchBucket"]
        )
    with (
        playing([TAKE_REQUEST, missing]) as (node, _),
        pytest.raises(NoSuchBucketError),
    ):
        QUESTIONS[method](node)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("NoSuchKey", NoSuchKeyError),
        ("NoSuchBucket", NoSuchBucketError),
        ("XAdminUserNotFound", NodeAccessError),
    ],
)
def test_what_is_missing_is_asked_for_where_head_does_not_tell(
    code: str, kind: type[GatewayError]
) -> None:
    """versitygw says 404 of an unknown access key, too, and for HEAD nothing else."""
    bodiless = [TAKE_REQUEST, s3_answer("404 Not Found")]
    explained = [TAKE_REQUEST, error("404 Not Found", code)]
    with playing([*bodiless, *explained]) as (node, peer), pytest.raises(kind):
        node.start_head(NAME).wait()
    assert peer.lines == ["HEAD /store/abc", "GET /store/abc"]


def test_a_condition_that_does_not_hold() -> None:
    failed = error("412 Precondition Failed", "PreconditionFailed")
    asked: list[Callable[[S3Node], object]] = [
        lambda node: get(node, if_match="0123"),
        lambda node: node.start_delete(NAME, if_match="0123").wait(),
        lambda node: put(node, if_match="0123"),
        lambda node: put(node, if_absent=True),
    ]
    for ask in asked:
        with (
            playing([TAKE_REQUEST, failed]) as (node, _),
            pytest.raises(PreconditionError),
        ):
            ask(node)


@METHODS
def test_a_condition_that_was_not_set_is_not_judged(method: str) -> None:
    """Or a client would be told that a condition of his own does not hold."""
    failed = answer("412 Precondition Failed", b"", [S3])
    if method == "HEAD":
        failed = failed.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    with playing([TAKE_REQUEST, failed]) as (node, _), pytest.raises(NodeProtocolError):
        QUESTIONS[method](node)


@pytest.mark.parametrize("body", [b"hello", bytes(LARGE)], ids=["small", "large"])
@pytest.mark.parametrize(
    ("status", "code"),
    [("412 Precondition Failed", "PreconditionFailed"), ("404 Not Found", "NoSuchKey")],
)
def test_a_condition_that_no_upload_set_is_not_judged(
    body: bytes, status: str, code: str
) -> None:
    probed = [TAKE_REQUEST, s3_answer()] if len(body) == LARGE else []
    script = [*probed, TAKE_REQUEST, error(status, code)]
    with playing(script) as (node, _), pytest.raises(NodeProtocolError):
        put(node, body)


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_404_without_a_code_is_not_believed(method: str) -> None:
    with (
        playing([TAKE_REQUEST, s3_answer("404 Not Found")]) as (node, _),
        pytest.raises(NodeProtocolError),
    ):
        QUESTIONS[method](node)


@METHODS
@pytest.mark.parametrize("status", ["200 OK", "404 Not Found", "403 Forbidden"])
def test_what_is_no_s3_server_is_not_believed(method: str, status: str) -> None:
    """Another service at the node's old address must not make objects vanish."""
    data = answer(status, headers=[TAG, MODIFIED])
    with playing([TAKE_REQUEST, data]) as (node, _), pytest.raises(NodeProtocolError):
        QUESTIONS[method](node)


@pytest.mark.parametrize(
    "data",
    [
        s3_answer(body=b"x", headers=[MODIFIED]),
        s3_answer(body=b"x", headers=[MODIFIED, "ETag: 0123"]),
        s3_answer(body=b"x", headers=[MODIFIED, 'ETag: W/"0123"']),
        s3_answer(body=b"x", headers=[TAG]),
        s3_answer(body=b"x", headers=[TAG, "Last-Modified: yesterday"]),
        s3_answer("206 Partial Content", b"x", [TAG, MODIFIED]),
        s3_answer("204 No Content", headers=[TAG, MODIFIED, "Content-Range: x"]),
        f"HTTP/1.1 200 OK\r\n{S3}\r\n{TAG}\r\n{MODIFIED}\r\n\r\nx".encode(),
    ],
)
def test_an_object_that_makes_no_sense(data: bytes) -> None:
    with playing([TAKE_REQUEST, data]) as (node, _), pytest.raises(NodeProtocolError):
        get(node)


@pytest.mark.parametrize(
    "data",
    [
        OBJECT,
        s3_answer("206 P", b"el", [TAG, MODIFIED]),
        s3_answer("206 P", b"el", [TAG, MODIFIED, "Content-Range: bytes 0-1/5"]),
        s3_answer("206 P", b"ell", [TAG, MODIFIED, "Content-Range: bytes 1-3/5"]),
        s3_answer("206 P", b"e", [TAG, MODIFIED, "Content-Range: bytes 1-2/5"]),
        s3_answer("206 P", b"el", [TAG, MODIFIED, "Content-Range: bytes 1-2/*"]),
        (
            f"HTTP/1.1 206 P\r\n{S3}\r\n{TAG}\r\n{MODIFIED}\r\nContent-Range: bytes "
            "1-2/5\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nel\r\n0\r\n\r\n"
        ).encode(),
    ],
)
def test_another_range_is_not_passed_on(data: bytes) -> None:
    with playing([TAKE_REQUEST, data]) as (node, _), pytest.raises(NodeProtocolError):
        get(node, byte_range=(1, 2))


def test_another_version_is_not_passed_on() -> None:
    with (
        playing([TAKE_REQUEST, OBJECT]) as (node, _),
        pytest.raises(NodeProtocolError, match="If-Match"),
    ):
        get(node, if_match="9999")


def test_a_body_that_is_cut_off_raises() -> None:
    with playing([TAKE_REQUEST, OBJECT[:-1]]) as (node, _):
        content = node.start_get(NAME).wait()
        assert content.read() == b"hell"
        with pytest.raises(NodeProtocolError):
            content.read()


def test_a_body_that_stops_raises_at_its_time_limit() -> None:
    limits = TimeLimits(1.0, 1.0, 0.1)
    script = [TAKE_REQUEST, OBJECT[:-1], STAY_SILENT]
    with playing(script, limits=limits) as (node, _):
        content = node.start_get(NAME).wait()
        content.read()
        with pytest.raises(NodeTimeoutError):
            content.read()


# Uploads.


def test_an_early_error_is_reported_and_its_connection_dropped() -> None:
    """What was not sent of the body would be read from the next request."""
    told, written = threading.Event(), threading.Event()
    full = [error("507 Insufficient Storage", ""), told.set, written.wait, STAY_SILENT]
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
        (error("403 Forbidden", "AccessDenied"), NodeAccessError),
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
    assert isinstance(caught.value, NodeAccessError) == (gone is DENIED)
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


# Time limits.


def test_a_frozen_node_fails_a_small_upload_within_the_answer_limit() -> None:
    silent = [TAKE_REQUEST, STAY_SILENT]
    with playing(silent, silent, limits=TimeLimits(1.0, 0.4, 30.0)) as (node, peer):
        started = time.monotonic()
        with pytest.raises(NodeTimeoutError):
            put(node)
        assert time.monotonic() - started < 0.8
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
    slow = [TAKE_REQUEST, probed.wait, STORED]
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


@METHODS
def test_a_silent_node_fails_a_question_within_the_answer_limit(method: str) -> None:
    with playing([TAKE_REQUEST, STAY_SILENT]) as (node, _):
        started = time.monotonic()
        with pytest.raises(NodeTimeoutError):
            QUESTIONS[method](node)
        assert time.monotonic() - started < 2 * LIMITS.answer


def test_nobody_listens() -> None:
    node = node_of("http://127.0.0.1:1")
    for question in QUESTIONS.values():
        with pytest.raises(NodeUnreachableError):
            question(node)
    with pytest.raises(NodeUnreachableError):
        put(node)
    with pytest.raises(NodeUnreachableError):
        node.make_bucket("store")
    with pytest.raises(NodeUnreachableError):
        list(node.list_objects("store"))


# Checks and listings.


@pytest.mark.parametrize("code", ["NoSuchKey", "NoSuchBucket"])
def test_a_check_needs_no_bucket(code: str) -> None:
    with playing([TAKE_REQUEST, error("404 Not Found", code)]) as (node, _):
        node.start_check().wait()


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


def test_a_listing() -> None:
    with playing([TAKE_REQUEST, s3_answer(body=listing("a", "b"))]) as (node, peer):
        found = list(node.list_objects("store", "p", "after"))
    assert found == [(key, ObjectInfo(5, "0123", MODIFIED_NS)) for key in "ab"]
    assert "prefix=p" in peer.lines[0]
    assert "start-after=after" in peer.lines[0]


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (s3_answer(body=b"<not xml"), NodeProtocolError),
        (s3_answer(body=b"<Other/>"), NodeProtocolError),
        (s3_answer(body=b""), NodeProtocolError),
        (s3_answer(body=listing("a").replace(b"2023-", b"x")), NodeProtocolError),
        (s3_answer(body=listing("a").replace(b">5<", b">many<")), NodeProtocolError),
        (answer("200 OK", b"<html/>"), NodeProtocolError),
        (error("403 Forbidden", "AccessDenied"), NodeAccessError),
        (error("503 Service Unavailable", "SlowDown"), NodeError),
        (error("412 Precondition Failed", "PreconditionFailed"), NodeProtocolError),
        (b"nonsense\r\n\r\n", NodeError),
        (OBJECT[:-3], NodeError),
    ],
)
def test_a_listing_that_fails_raises(data: bytes, kind: type[NodeError]) -> None:
    with playing([TAKE_REQUEST, data]) as (node, _), pytest.raises(kind):
        list(node.list_objects("store"))


def test_a_missing_bucket_lists_nothing() -> None:
    with playing([TAKE_REQUEST, error("404 Not Found", "NoSuchBucket")]) as (node, _):
        assert list(node.list_objects("store")) == []


# A node that is known to be down.


def test_an_absent_node_refuses_everything() -> None:
    node = AbsentNode("node")
    questions: list[Callable[[], object]] = [
        lambda: node.start_get(NAME, byte_range=(0, 1), if_match="0123"),
        lambda: node.start_head(NAME),
        lambda: node.start_put(NAME, b"hello", LABEL, {}, keeps_newer=True),
        lambda: node.start_upload(NAME, 5, LABEL, {}, keeps_newer=True),
        lambda: node.start_delete(NAME, if_match="0123"),
        lambda: node.make_bucket("store"),
        lambda: node.start_check(),
        lambda: node.list_objects("store"),
    ]
    for question in questions:
        with pytest.raises(NodeUnreachableError):
            question()
    node.close()


# Metadata.

LATIN = st.text(st.characters(max_codepoint=0xFF), max_size=50)


@given(LATIN.filter(lambda text: not set(map(chr, range(32))) & set(text)))
@example(" two  spaces ")
@example("100%, %41, %")
@example("Grüße")
@example("")
def test_values_come_back_as_they_were(value: str) -> None:
    if "\x7f" in value:
        return
    metadata, _ = metadata_lines({"X-Name": value}, LABEL)
    for _, sent in metadata:
        assert sent.isascii()
        assert sent == sent.strip()
        assert "  " not in sent
    assert dict(stored_headers(dict(metadata))) == {"X-Name": value}
    assert read_label(dict(metadata)) == LABEL


@given(LATIN | st.text("%0aDd19 ", max_size=20))
@example("a%0D%0ASet-Cookie: b")
@example("%00")
@example("%7F")
def test_no_metadata_of_others_makes_a_control_character(value: str) -> None:
    received = value.translate(dict.fromkeys((*range(32), 127)))
    headers = dict(stored_headers({"x-amz-meta-x-name": received}))
    assert not set(map(chr, (*range(9), *range(10, 32), 127))) & set(headers["X-Name"])


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("5.7", Label(Stamp(5, 7))),
        ("5.7.0", Label(Stamp(5, 7))),
        ("5.7.12", Label(Stamp(5, 7), 12)),
        ("5.7.12.deleted", Label(Stamp(5, 7), 12, True)),
        ("", None),
        ("5.7.12.deleted, 5.7.12", None),
    ],
)
def test_a_label_is_read_with_its_object(text: str, label: Label | None) -> None:
    """Gateways of old wrote no epoch."""
    meta = f"x-amz-meta-amazin-stamp: {text}"
    data = s3_answer(body=b"hello", headers=[TAG, MODIFIED, meta])
    with playing([TAKE_REQUEST, data]) as (node, _):
        content = node.start_get(NAME).wait()
        assert content.info.label == label
        assert content.info.modified_ns == (5 if label else MODIFIED_NS)
        content.close()


@settings(max_examples=300)
@given(
    st.text(max_size=60)
    | st.from_regex(r"[0-9]{1,60}\.[0-9]{1,60}(\.[0-9]{1,60}(\.deleted)?)?")
)
@example("9" * 5000 + ".1")
@example(f"{2**63}.1")
@example("1.2\n")
def test_a_label_of_others_is_one_or_none(text: str) -> None:
    label = read_label({"x-amz-meta-amazin-stamp": text})
    if label is not None:
        assert 0 <= label.stamp.nanoseconds < 2**63
        assert text.isascii()


DATES = st.from_regex(
    r"(Mon, )?[0-9]{1,3} (Jan|Foo) [0-9]{1,6} [0-9]{2}:[0-9]{2}:[0-9]{2} "
    r"(GMT|-0000|[+-][0-9]{1,12})",
    fullmatch=True,
)


@settings(max_examples=300)
@given(DATES | st.text(max_size=40))
@example("Wed, 01 Nov 2023 10:00:00 GMT")
@example("Mon, 01 Jan 0001 00:00:00 +2300")
def test_a_date_is_one_or_an_error(text: str) -> None:
    headers: Mapping[str, str] = {"last-modified": text}
    try:
        modified = read_modified(headers)
    except NodeProtocolError:
        return
    assert modified // 10**9 == int(parsedate_to_datetime(text).timestamp())
