"""What an S3 node promises when the server, or the network, misbehaves."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextvars import copy_context
from typing import Any

import pytest

from amazin.errors import (
    NodeAccessError,
    NodeError,
    NodeFullError,
    NodePermissionError,
    NodeProtocolError,
    NodeTimeoutError,
    NodeUnreachableError,
    PreconditionError,
)
from amazin.model.node_specs import TimeLimits
from amazin.model.objects import ObjectInfo
from amazin.nodes.build import AbsentNode
from amazin.nodes.interface import Pending
from amazin.nodes.s3.node import S3Node, S3Object
from amazin.nodes.transport.connection import NoAnswerError
from amazin.request_limits import request_deadline
from tests.support.peers import (
    RESET,
    STAY_SILENT,
    TAKE_HEAD,
    TAKE_REQUEST,
    Step,
)
from tests.support.s3_peers import (
    GOOD,
    HEAD_OBJECT,
    LABEL,
    LIMITS,
    MODIFIED,
    MODIFIED_NS,
    NAME,
    OBJECT,
    PENDING,
    QUESTIONS,
    STAMP,
    STORED,
    TAG,
    error,
    get,
    node_of,
    playing,
    put,
    s3_answer,
    small,
)

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


# Whether an answer has come.


EVERY_PENDING = pytest.mark.parametrize(
    ("start", "steps", "data"), PENDING.values(), ids=PENDING
)
PATIENT = TimeLimits(connect=1.0, answer=10.0, transfer=10.0)


@EVERY_PENDING
def test_an_answer_is_ready_when_it_has_come(
    start: Callable[[S3Node], Pending[object]], steps: list[Step], data: bytes
) -> None:
    go = threading.Event()
    script = [*steps, go, data, STAY_SILENT]
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
        assert 0.9 * LIMITS.answer < time.monotonic() - started < 3 * LIMITS.answer
        assert pending.is_ready(0)
        with pytest.raises(NodeTimeoutError):
            pending.wait()
        assert time.monotonic() - started < 3 * LIMITS.answer


def test_a_slow_upload_is_not_ready_while_its_node_lives() -> None:
    go = threading.Event()
    probes = [TAKE_REQUEST, s3_answer(), TAKE_REQUEST, s3_answer(), go.set]
    with playing([TAKE_REQUEST, go, STORED], probes) as (node, _):
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
        time.sleep(limits.answer + 0.01)  # its time goes by
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


# Giving up.


def test_cancelling_closes_the_connection_and_nobody_elses() -> None:
    first = [TAKE_REQUEST, error("403 Forbidden", "AccessDenied")]
    script = [*first, TAKE_REQUEST, OBJECT, TAKE_REQUEST, STAY_SILENT]
    with playing(script) as (node, _):
        question = node.start_get(NAME)
        with pytest.raises(NodePermissionError):
            question.wait()
        other = node.start_get(NAME)
        question.cancel()  # as one does with all, after a failure
        content = other.wait()
        assert content.read() == b"hello"
        abandoned = node.start_get(NAME)
        abandoned.cancel()
        abandoned.cancel()


# Trials.

NOT_MATCHED = [TAKE_REQUEST, error("412 Precondition Failed", "PreconditionFailed")]
REMOVED = [TAKE_REQUEST, s3_answer("204 No Content")]


def test_a_trial_leaves_nothing() -> None:
    with playing([*NOT_MATCHED, TAKE_REQUEST, STORED, *REMOVED]) as (node, peer):
        node.start_trial().wait()
    assert peer.lines == [
        "PUT /store/amazin.probe",
        "PUT /amazin-system/room",
        "DELETE /amazin-system/room",
    ]


@pytest.mark.parametrize(
    ("scripts", "kind"),
    [
        ([[TAKE_REQUEST, error("403 Forbidden", "AccessDenied")]], NodePermissionError),
        ([[TAKE_REQUEST, error("403 Forbidden", "SignatureX")]], NodeAccessError),
        (
            [[*NOT_MATCHED, TAKE_REQUEST, error("507 Insufficient Storage", "")]],
            NodeFullError,
        ),
    ],
)
def test_a_trial_says_why_nothing_can_be_stored(
    scripts: list[list[Step]], kind: type[NodeError]
) -> None:
    with playing(*scripts) as (node, _), pytest.raises(kind):
        node.start_trial().wait()


# Time limits.


@METHODS
def test_a_silent_node_fails_a_question_within_the_answer_limit(method: str) -> None:
    with playing([TAKE_REQUEST, STAY_SILENT]) as (node, _):
        started = time.monotonic()
        with pytest.raises(NodeTimeoutError):
            QUESTIONS[method](node)
        assert time.monotonic() - started < 3 * LIMITS.answer


SLOW = TimeLimits(connect=30.0, answer=60.0, transfer=60.0)


@pytest.mark.parametrize("method", [*QUESTIONS, "list", "body"])
def test_a_silent_node_has_no_more_time_than_the_request(method: str) -> None:
    started = [HEAD_OBJECT + b"hel"] if method == "body" else []
    ask = QUESTIONS.get("GET" if method == "body" else method)

    def run() -> None:
        request_deadline.set(time.monotonic() + 0.1)
        with pytest.raises(NodeTimeoutError):
            ask(node) if ask else list(node.list_objects("store"))

    script = [TAKE_REQUEST, *started, STAY_SILENT]
    with playing(script, limits=SLOW) as (node, _):
        copy_context().run(run)


def test_a_node_that_takes_nothing_has_no_more_time_than_the_request() -> None:
    taken = threading.Event()

    def run() -> None:
        request_deadline.set(time.monotonic() + 0.2)
        with pytest.raises(NodeTimeoutError):
            put(node, bytes(2**24))
        taken.set()

    script: list[Step] = [TAKE_REQUEST, s3_answer(), TAKE_HEAD, taken]
    with playing(script, limits=SLOW) as (node, _):
        copy_context().run(run)


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


@pytest.mark.parametrize("code", ["NoSuchKey", "NoSuchBucket"])
def test_a_check_needs_no_bucket(code: str) -> None:
    with playing([TAKE_REQUEST, error("404 Not Found", code)]) as (node, _):
        node.start_check().wait()


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
