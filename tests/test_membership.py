"""What a process knows of the nodes, whatever discovery and the nodes do."""

from __future__ import annotations

import logging
import os
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import replace

import pytest
from fakes import FakeDiscovery, FakeDisk, FakeNode

from errors import (
    DiscoveryError,
    NodeAccessError,
    NodeError,
    NodeFullError,
    NodeTimeoutError,
    NodeUnreachableError,
)
from membership import Member, Membership
from nodes import Node, NodeSpec, ObjectName
from nodes.absent import AbsentNode

A, B, C = (NodeSpec(name, f"http://{name}:9000") for name in "abc")
PATIENCE_SECONDS = 10.0


class Builder:
    """Builds fake nodes, and remembers them."""

    def __init__(self) -> None:
        self.built: list[Node] = []
        self.disks: dict[str, FakeDisk] = {}
        self.error: Exception | None = None

    def __call__(self, spec: NodeSpec) -> Node:
        if self.error:
            raise self.error
        node: Node = AbsentNode(spec.name, spec.weight)
        if spec.endpoint:
            disk = self.disks.setdefault(spec.name, FakeDisk())
            node = FakeNode(spec, disk)
        self.built.append(node)
        return node


def follow(*specs: NodeSpec) -> tuple[Membership, FakeDiscovery, Builder]:
    discovery, builder = FakeDiscovery(*specs), Builder()
    membership = Membership(
        discovery, builder, 60.0, first_list_seconds=5.0, first_pause_seconds=0.01
    )
    membership.snapshot()
    return membership, discovery, builder


def endpoints(membership: Membership) -> dict[str, str | None]:
    members = membership.snapshot().members
    return {name: member.spec.endpoint for name, member in members.items()}


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


# Names.


def test_the_first_question_waits_for_the_first_list() -> None:
    membership, _, _ = follow(A, B)
    assert endpoints(membership) == {"a": A.endpoint, "b": B.endpoint}
    assert membership.snapshot().problem == ""


def test_the_first_question_does_not_wait_for_ever() -> None:
    discovery = FakeDiscovery(A)
    discovery.gate.clear()
    membership = Membership(discovery, Builder(), 60.0, first_list_seconds=0.05)
    snapshot = membership.snapshot()
    assert not snapshot.members
    assert snapshot.problem
    discovery.gate.set()
    wait_until(lambda: membership.snapshot().members)


def test_nothing_is_asked_before_the_first_question() -> None:
    discovery = FakeDiscovery(A)
    Membership(discovery, Builder(), 60.0)
    assert discovery.finds == 0


def test_a_name_once_seen_stays_known_and_is_unreachable() -> None:
    membership, discovery, _ = follow(A, replace(B, weight=3.0))
    discovery.specs = [A]
    membership.refresh()
    gone = membership.snapshot().members["b"]
    assert (gone.spec.endpoint, gone.spec.weight) == (None, 3.0)
    name = ObjectName("store", "abc")
    for start in ("start_get", "start_head", "start_delete"):
        with pytest.raises(NodeUnreachableError):
            gone.ask(lambda node, start=start: getattr(node, start)(name))
    with pytest.raises(NodeUnreachableError):
        gone.node.list_objects("store")
    gone.node.close()
    membership.refresh()
    assert membership.snapshot().members["b"] is gone


def test_a_name_comes_back() -> None:
    membership, discovery, _ = follow(A)
    discovery.specs = []
    membership.refresh()
    discovery.specs = [A]
    membership.refresh()
    assert endpoints(membership) == {"a": A.endpoint}


def test_an_equal_spec_keeps_the_same_node() -> None:
    membership, discovery, builder = follow(A, B)
    before = membership.snapshot().members
    discovery.specs = [replace(B), replace(A), C]
    membership.refresh()
    now = membership.snapshot().members
    assert (now["a"], now["b"]) == (before["a"], before["b"])
    assert len(builder.built) == 3


@pytest.mark.parametrize(
    "changes",
    [
        {"endpoint": "http://elsewhere:9000"},
        {"secret_key": "new"},
        {"weight": 2.0},
        {"identity": "another container"},
    ],
)
def test_a_changed_spec_replaces_the_node(changes: dict[str, object]) -> None:
    membership, discovery, builder = follow(A, B)
    before = membership.snapshot().members
    discovery.specs = [replace(A, **changes), B]
    membership.refresh()
    now = membership.snapshot().members
    assert now["a"] is not before["a"]
    assert now["b"] is before["b"]
    assert [node.is_closed for node in builder.built] == [True, False, False]


def test_ranking_covers_all_known_names() -> None:
    membership, discovery, _ = follow(A, B)
    discovery.specs = [C]
    membership.refresh()
    ranked = membership.snapshot().ranked(b"store/abc")
    assert sorted(member.name for member in ranked) == ["a", "b", "c"]


# Discovery that fails.


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (DiscoveryError("The daemon is away"), "The daemon is away"),
        (RuntimeError("/secret/path"), "Discovery failed with RuntimeError"),
    ],
)
def test_a_failing_discovery_keeps_the_last_list(
    error: Exception, problem: str
) -> None:
    membership, discovery, _ = follow(A)
    before = membership.snapshot().members["a"]
    discovery.error = error
    membership.refresh()
    assert membership.snapshot().members == {"a": before}
    assert membership.snapshot().problem == problem
    discovery.error = None
    membership.refresh()
    assert membership.snapshot().problem == ""


@pytest.mark.parametrize(
    "nonsense",
    [
        None,
        [A, None],
        ["a"],
        [A, replace(A, endpoint="http://other")],
        [replace(A, weight=0.0)],
        [replace(A, weight=float("nan"))],
        [replace(A, weight="heavy")],
    ],
)
def test_a_nonsensical_list_keeps_the_last_one(nonsense: object) -> None:
    membership, discovery, _ = follow(A)
    before = membership.snapshot().members
    discovery.specs = nonsense
    membership.refresh()
    assert membership.snapshot().members == before
    assert membership.snapshot().problem


def test_a_list_of_which_a_node_cannot_be_built_keeps_the_last_one() -> None:
    membership, discovery, builder = follow(A)
    before = membership.snapshot().members
    builder.error = ValueError("no such kind of node")
    discovery.specs = [A, B]
    membership.refresh()
    assert membership.snapshot().members == before


def test_the_thread_survives_everything() -> None:
    membership, discovery, _ = follow()
    for error in (DiscoveryError("x"), KeyError("x"), RecursionError("x")):
        discovery.error = error
        waits = discovery.waits
        discovery.wake()
        wait_until(lambda waits=waits: discovery.waits > waits)
    discovery.error = None
    discovery.specs = [A]
    discovery.wake()
    wait_until(lambda: membership.snapshot().members)


class Sleepless(FakeDiscovery):
    """A discovery of which only `find` works."""

    def __init__(self, *specs: NodeSpec) -> None:
        super().__init__(*specs)
        self.is_over = threading.Event()

    def find(self) -> list[NodeSpec]:
        if self.is_over.is_set():
            threading.Event().wait()  # leaves the thread in peace
        return super().find()

    def wait(self, seconds: float) -> None:
        self.waits += 1
        raise OSError("the wait is broken")


def test_a_discovery_that_cannot_wait_is_asked_now_and_then(
    caplog: pytest.LogCaptureFixture,
) -> None:
    discovery = Sleepless(A)
    membership = Membership(discovery, Builder(), 0.01)
    membership.snapshot()
    wait_until(lambda: discovery.finds > 2)
    discovery.is_over.set()
    assert caplog.text.count("can't wait for changes") == 1


class Plain:
    """The smallest discovery of one's own."""

    def __init__(self) -> None:
        self.finds = 0
        self.is_over = threading.Event()

    def find(self) -> list[NodeSpec]:
        if self.is_over.is_set():
            threading.Event().wait()  # leaves the thread in peace
        self.finds += 1
        return [A]


def test_a_discovery_without_wait_is_asked_periodically() -> None:
    discovery = Plain()
    Membership(discovery, Builder(), 0.01).snapshot()
    wait_until(lambda: discovery.finds > 2)
    discovery.is_over.set()


def test_a_problem_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    membership, discovery, _ = follow(A)
    discovery.error = DiscoveryError("The daemon is away")
    for _ in range(3):
        membership.refresh()
    assert caplog.text.count("The daemon is away") == 1


def test_keys_are_never_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    keys = {"access_key": "AKID", "secret_key": "hush"}
    membership, discovery, _ = follow(replace(A, **keys))
    discovery.specs = [replace(A, **keys, weight=2.0)]
    membership.refresh()
    assert "node a is there (changed)" in caplog.text
    assert "hush" not in caplog.text
    assert "AKID" not in caplog.text


def test_of_many_that_want_a_fresh_list_one_reads_it() -> None:
    membership, discovery, _ = follow(A)
    discovery.gate.clear()
    finds = discovery.finds
    threads = [threading.Thread(target=membership.refresh) for _ in range(10)]
    for thread in threads:
        thread.start()
    discovery.gate.set()
    for thread in threads:
        thread.join()
    assert finds < discovery.finds <= finds + 10
    assert not any(thread.is_alive() for thread in threads)


# Nodes that fail.


def member_of(disk: FakeDisk, spec: NodeSpec = A) -> Member:
    return Member(spec, FakeNode(spec, disk), first_pause_seconds=0.01)


def check(member: Member) -> None:
    member.ask(lambda node: node.start_head(ObjectName("store", "abc"))).wait()


LASTING = [NodeUnreachableError("x"), NodeTimeoutError("x"), NodeAccessError("x")]


@pytest.mark.parametrize("error", LASTING, ids=lambda error: type(error).__name__)
def test_a_failing_node_is_skipped_until_it_answers_a_probe(error: NodeError) -> None:
    disk = FakeDisk(failing=error)
    disk.put(ObjectName("store", "abc"), b"")
    member = member_of(disk)
    with pytest.raises(type(error)):
        check(member)
    assert error.node == "a"
    with pytest.raises(NodeUnreachableError) as caught:
        check(member)
    assert caught.value.node == "a"
    with pytest.raises(NodeUnreachableError):
        member.upload(lambda node: pytest.fail("asked"))
    assert disk.calls.count("head") == 1
    wait_until(lambda: disk.calls.count("check") > 1)
    assert member.is_skipped
    disk.failing = None
    wait_until(lambda: not member.is_skipped)
    check(member)


@pytest.mark.parametrize("error", [NodeError("x"), NodeFullError("x")])
def test_a_failure_that_may_pass_skips_nothing(error: NodeError) -> None:
    disk = FakeDisk(failing=error)
    member = member_of(disk)
    for _ in range(2):
        with pytest.raises(type(error)):
            check(member)
    assert disk.calls == ["head", "head"]


def test_a_node_with_a_bug_is_probed_on() -> None:
    disk = FakeDisk(failing=NodeTimeoutError("x"))
    member = member_of(disk)
    with pytest.raises(NodeError):
        check(member)
    disk.failing = ZeroDivisionError("a bug")
    checks = disk.calls.count("check")
    wait_until(lambda: disk.calls.count("check") > checks + 1)
    disk.failing = None
    wait_until(lambda: not member.is_skipped)


def probes(spec: NodeSpec) -> list[threading.Thread]:
    name = f"probe {spec.name}"
    return [thread for thread in threading.enumerate() if thread.name == name]


def test_a_replaced_node_is_probed_no_more() -> None:
    spec = replace(A, name="replaced")
    disk = FakeDisk(failing=NodeTimeoutError("x"))
    member = member_of(disk, spec)
    question = member.ask(lambda node: node.start_head(ObjectName("store", "abc")))
    with pytest.raises(NodeError):
        check(member)
    assert len(probes(spec)) == 1
    member.retire()
    wait_until(lambda: not probes(spec))
    with pytest.raises(NodeTimeoutError):
        question.wait()  # was under way when the member was replaced
    with pytest.raises(NodeUnreachableError):
        check(member)
    assert not probes(spec)


def test_a_node_that_is_known_to_be_down_is_not_probed() -> None:
    spec = replace(A, endpoint=None)
    member = Member(spec, AbsentNode("a", 1.0), first_pause_seconds=0.01)
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
    member.retire()


# Fork.


def test_a_forked_process_follows_by_itself() -> None:
    membership, discovery, builder = follow(A)
    disk = builder.disks["a"]
    disk.failing = NodeTimeoutError("x")
    member = membership.snapshot().members["a"]
    with pytest.raises(NodeError):
        check(member)
    membership._refresh_lock.acquire()  # another thread is in the middle of it
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        status = 1
        try:
            discovery.specs = [B]
            snapshot = membership.snapshot()
            is_new = snapshot.members["a"] is not member
            is_fresh = not snapshot.members["a"].is_skipped
            names = {name: m.spec.endpoint for name, m in snapshot.members.items()}
            is_right = names == {"a": None, "b": B.endpoint}
            status = 0 if is_new and is_fresh and is_right else 2
        finally:
            os._exit(status)
    membership._refresh_lock.release()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert membership.snapshot().members["a"] is member
    member.retire()
