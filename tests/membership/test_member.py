"""One node as a process sees it: skipped while it fails, refused once it lost its
disk."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from contextvars import copy_context
from dataclasses import replace

import pytest

from amazin.errors import (
    NodeAccessError,
    NodeError,
    NodeFullError,
    NodePermissionError,
    NodeReadOnlyError,
    NodeTimeoutError,
    NodeUnreachableError,
    NoSuchBucketError,
)
from amazin.membership.member import Member
from amazin.membership.states import State, state_of, try_uploads
from amazin.model.node_specs import NodeSpec
from amazin.model.objects import Label, ObjectInfo, ObjectName, Stamp
from amazin.nodes.build import AbsentNode
from amazin.nodes.interface import Node, Pending, Upload
from amazin.request_limits import request_deadline
from tests.support.cleanup import closed_later
from tests.support.fakes import FakeClock, FakeDisk, FakeNode
from tests.support.waiting import await_that
from tests.support.world import fail_at

A = NodeSpec("a", "http://a:9000")
THING = ObjectName("store", "abc")
LABEL = Label(Stamp(1, 1))


def member_of(disk: FakeDisk, spec: NodeSpec = A) -> Member:
    return new_member(spec, FakeNode(spec, disk))


def new_member(spec: NodeSpec, node: Node, first_pause_seconds: float = 0.01) -> Member:
    return closed_later(Member(spec, node, first_pause_seconds))


def filled(failing: BaseException | None = None) -> FakeDisk:
    disk = FakeDisk(failing=failing)
    disk.put(THING, b"")
    return disk


def start_head(node: Node) -> Pending[ObjectInfo]:
    return node.start_head(THING)


def start_put(node: Node) -> Pending[ObjectInfo]:
    return node.start_put(THING, b"new", LABEL, {})


def start_upload(node: Node) -> Upload:
    return node.start_upload(THING, 3, LABEL, {})


def ask_in_halves(member: Member) -> None:
    member.wait(member.ask(start_head))


def check(member: Member) -> None:
    member.call(start_head)


def put_in_halves(member: Member) -> None:
    member.wait(member.ask(start_put))


def put(member: Member) -> None:
    member.call(start_put)


def store(member: Member) -> None:
    member.store(start_upload, (b"new",))


def upload(member: Member) -> None:
    sent = member.upload(start_upload)
    with member.noting():
        sent.write(b"new")
        sent.start_commit().wait()


def named(value: object) -> str:
    return getattr(value, "__name__", str(value))


LASTING = [NodeUnreachableError("x"), NodeTimeoutError("x"), NodeAccessError("x")]


def kind(error: BaseException) -> str:
    return type(error).__name__


# Nodes that fail.


@pytest.mark.parametrize("ask", [ask_in_halves, check, Member.head], ids=named)
@pytest.mark.parametrize("error", LASTING, ids=kind)
def test_a_failing_node_is_skipped_until_it_answers_a_probe(
    error: NodeError, ask: Callable[..., object]
) -> None:
    disk = filled(failing=error)
    member = member_of(disk)
    arguments = (THING,) if ask is Member.head else ()
    for raised in (type(error), NodeUnreachableError):
        with pytest.raises(raised) as caught:
            ask(member, *arguments)
        assert caught.value.node == "a"
    for start in (member.ask, member.call, member.upload):
        with pytest.raises(NodeUnreachableError):
            start(lambda node: pytest.fail("asked"))
    with pytest.raises(NodeUnreachableError):
        member.store(lambda node: pytest.fail("asked"), ())
    assert disk.calls.count("head") == 1
    await_that(lambda: disk.calls.count("check") > 1)
    assert member.is_skipped
    disk.failing = None
    await_that(lambda: not member.is_skipped)
    check(member)


@pytest.mark.parametrize("error", [NodeError("x"), NodeFullError("x")], ids=kind)
def test_a_failure_that_may_pass_skips_nothing(error: NodeError) -> None:
    disk = FakeDisk(failing=error)
    member = member_of(disk)
    for _ in range(2):
        with pytest.raises(type(error)):
            check(member)
    assert disk.calls.count("head") == 2


def test_a_node_without_the_bucket_is_not_skipped() -> None:
    member = member_of(FakeDisk())
    with pytest.raises(NoSuchBucketError) as caught:
        check(member)
    assert caught.value.node == "a"
    assert not member.is_skipped


@pytest.mark.parametrize(
    ("send", "moment"),
    [
        *itertools.product((put_in_halves, put), ("put", "commit")),
        *itertools.product((store, upload), ("put", "write", "commit")),
    ],
    ids=named,
)
def test_an_upload_that_fails_is_noted_too(
    send: Callable[[Member], None], moment: str
) -> None:
    disk = filled()

    def fail() -> None:
        raise NodeTimeoutError("x")

    disk.before[moment] = fail
    member = new_member(A, FakeNode(A, disk), first_pause_seconds=60.0)
    with pytest.raises(NodeTimeoutError) as caught:
        send(member)
    assert caught.value.node == "a"
    assert member.is_skipped
    assert disk.objects[THING][1] == b""


@pytest.mark.parametrize("send", [put_in_halves, put, store, upload], ids=named)
def test_an_upload_is_stored(send: Callable[[Member], None]) -> None:
    disk = filled()
    member = member_of(disk)
    send(member)
    assert disk.objects[THING][1] == b"new"
    assert not member.is_skipped


@pytest.mark.parametrize("moment", ["write", "commit"])
def test_what_fails_in_the_middle_of_an_upload_is_aborted(moment: str) -> None:
    disk = filled()
    fail_at(disk, moment, NodeError("x"))
    with pytest.raises(NodeError):
        store(member_of(disk))
    assert disk.calls == ["put", "abort"]
    assert disk.objects[THING][1] == b""


def test_an_upload_that_is_given_up_is_given_up_by_the_node() -> None:
    disk = filled()
    member_of(disk).upload(start_upload).abort()
    assert disk.calls == ["put", "abort"]


def test_a_question_can_be_polled_and_given_up() -> None:
    disk = filled()
    disk.is_silent = True
    member = member_of(disk)
    question = member.ask(start_head)
    assert not question.is_ready(0.0)
    question.cancel()
    assert not member.is_skipped


def test_a_node_with_a_bug_is_probed_on() -> None:
    disk = FakeDisk(failing=NodeTimeoutError("x"))
    member = member_of(disk)
    with pytest.raises(NodeError):
        check(member)
    disk.failing = ZeroDivisionError("a bug")
    checks = disk.calls.count("check")
    await_that(lambda: disk.calls.count("check") > checks + 1)
    disk.failing = None
    await_that(lambda: not member.is_skipped)


def probes(spec: NodeSpec) -> list[threading.Thread]:
    name = f"probe {spec.name}"
    return [thread for thread in threading.enumerate() if thread.name == name]


def test_a_replaced_node_is_probed_no_more() -> None:
    spec = replace(A, name="replaced")
    disk = FakeDisk(failing=NodeTimeoutError("x"))
    member = member_of(disk, spec)
    question = member.ask(start_head)
    with pytest.raises(NodeError):
        check(member)
    assert len(probes(spec)) == 1
    member.retire()
    await_that(lambda: not probes(spec))
    with pytest.raises(NodeTimeoutError):
        member.wait(question)  # was under way when the member was replaced
    with pytest.raises(NodeUnreachableError):
        check(member)
    assert not probes(spec)


def test_a_node_that_is_known_to_be_down_is_not_probed() -> None:
    spec = replace(A, endpoint=None)
    member = new_member(spec, AbsentNode("a"))
    for _ in range(2):
        with pytest.raises(NodeUnreachableError, match="not running"):
            check(member)
    assert not member.is_skipped


def test_a_hundred_failures_start_one_probe() -> None:
    spec = replace(A, name="hundred")
    member = member_of(FakeDisk(failing=NodeTimeoutError("x")), spec)
    for _ in range(100):
        member.note_failure(NodeTimeoutError("x"))
    assert len(probes(spec)) == 1


# Nodes that lost their disk.


def test_a_lost_node_is_asked_nothing() -> None:
    disk = filled()
    member = member_of(disk)
    member.is_lost = True
    for ask in (ask_in_halves, check, put_in_halves, put, store, upload):
        with pytest.raises(NoSuchBucketError) as caught:
            ask(member)
        assert caught.value.node == "a"
    with pytest.raises(NoSuchBucketError):
        member.head(THING)
    assert disk.calls == []
    assert not member.is_skipped


def test_a_lost_node_can_be_filled_again() -> None:
    disk = filled()
    member = member_of(disk)
    member.is_lost = True
    member.wait(member.ask(start_head, even_lost=True))
    assert member.head(THING, even_lost=True) == disk.objects[THING][0]
    member.call(start_put, even_lost=True)
    assert disk.objects[THING][1] == b"new"
    member.upload(start_upload, even_lost=True).abort()
    disk.put(THING, b"")
    member.store(start_upload, (b"n", b"ew"), even_lost=True)
    assert disk.objects[THING][1] == b"new"
    member.is_lost = False
    check(member)


def test_a_lost_node_that_fails_is_skipped() -> None:
    member = member_of(filled(failing=NodeTimeoutError("x")))
    member.is_lost = True
    with pytest.raises(NodeTimeoutError):
        member.call(start_head, even_lost=True)
    for start in (member.ask, member.call, member.upload):
        with pytest.raises(NodeUnreachableError):
            start(lambda node: pytest.fail("asked"), even_lost=True)


def test_that_it_lost_its_disk_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    member = member_of(filled())
    for is_lost in (False, True, True, False, False):
        member.is_lost = is_lost
    assert caplog.messages == [
        "node a has lost its disk; `amazin repair` fills it again",
        "node a is in use again",
    ]


def test_a_member_is_called_by_its_name() -> None:
    assert repr(member_of(filled())) == "<Member a>"


def test_a_node_is_not_blamed_for_a_request_without_time() -> None:
    member = member_of(filled(NodeTimeoutError("silent")))

    def run() -> None:
        request_deadline.set(0.0)
        with pytest.raises(NodeTimeoutError):
            member.call(start_head)

    copy_context().run(run)
    assert not member.is_skipped


# Nodes that answer, and store nothing.

REFUSALS = [
    NodeFullError("ENOSPC"),
    NodeReadOnlyError("EROFS"),
    NodePermissionError("AccessDenied"),
    NodeError("EIO"),
]


@pytest.mark.parametrize("error", REFUSALS, ids=kind)
def test_a_node_that_stores_nothing_is_read_and_tried_until_it_does(
    error: NodeError, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("WARNING", "amazin.membership")
    disk = filled()
    disk.refusal = error
    member = member_of(disk)
    member.node.trial_seconds = 0.01  # type: ignore[attr-defined]
    for _ in range(3):
        with pytest.raises(type(error)):
            put(member)
        check(member)
    assert not member.is_skipped
    assert await_that(lambda: member.refusal is not None)
    assert state_of(member) == State(error.state, str(error), can_read=True)
    disk.refusal = None
    assert await_that(lambda: member.refusal is None)
    assert state_of(member) == State("up", "", can_read=True)
    assert await_that(lambda: not probes(A))
    assert caplog.messages == [
        f"node a stores nothing: {error.state}: {error}",
        "node a stores again",
    ]


def test_who_asks_for_the_state_of_a_node_that_just_failed_has_it_tried() -> None:
    disk = filled()
    node = FakeNode(A, disk)
    member = new_member(A, node, first_pause_seconds=1000.0)
    member.note_stored()
    try_uploads([member])
    assert "trial" not in disk.calls
    disk.refusal = NodePermissionError("EACCES")
    with pytest.raises(NodePermissionError):
        put(member)
    try_uploads([member])
    assert state_of(member).word == "no permission"


def test_a_node_that_is_full_for_some_uploads_only_fills_no_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = FakeClock()
    member = closed_later(Member(A, FakeNode(A, filled()), 1000.0, clock))
    seen = []
    for second in range(600):
        clock.now = second
        member.note_failure(NodeFullError("ENOSPC"))
        member.note_stored()
        seen.append(state_of(member).word)
    assert seen.count("full") > 550
    assert len(caplog.messages) < 20
    for _ in range(2):  # what lasted is told at once
        clock.now += 1000
        member.note_stored()
        clock.now += 100
        member.note_failure(NodeFullError("ENOSPC"))
        assert state_of(member).word == "full"
        member.note_stored()
        assert state_of(member).word == "up"


def test_a_failure_that_a_trial_does_not_confirm_is_nobodys_news(
    caplog: pytest.LogCaptureFixture,
) -> None:
    disk = filled()

    def fail() -> None:
        raise NodePermissionError("a delete removed the directory")

    disk.before["put"] = fail
    member = member_of(disk)
    with pytest.raises(NodePermissionError):
        put(member)
    assert await_that(lambda: "trial" in disk.calls)
    assert await_that(lambda: not probes(A))
    assert member.refusal is None
    assert caplog.messages == []


def test_what_a_skipped_node_fails_with_is_said_to_all() -> None:
    member = member_of(filled(failing=NodeAccessError("InvalidAccessKeyId")))
    for _ in range(2):
        with pytest.raises(NodeError, match="InvalidAccessKeyId") as caught:
            check(member)
        assert caught.value.state == "wrong keys"
