"""One body to several nodes: sent once, complete or not at all."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from amazin.cluster.uploads import Draft, Fanout, Stored, complete, copy
from amazin.errors import (
    BodyError,
    NodeError,
    NodeFullError,
    NodeProtocolError,
    NoNodesError,
    PreconditionError,
)
from amazin.membership.member import Member
from amazin.model.bodies import HeldBody, hold_if_small
from amazin.model.node_specs import NodeSpec
from amazin.model.objects import CHUNK_BYTES, Label, ObjectInfo, ObjectName, Stamp
from tests.support.fakes import FakeDisk, FakeNode
from tests.support.world import Bytes

NAME = ObjectName("store", "abc")
LABEL = Label(Stamp(7, 7), 3)
HEADERS = {"Content-Type": "text/plain"}
CHUNKS = [b"1" * CHUNK_BYTES, b"2" * CHUNK_BYTES, b"3"]
LONG = b"".join(CHUNKS)
BROKEN = NodeError("500")


class Nodes:
    """Members on fake disks, in order; failures are not remembered."""

    def __init__(self, count: int = 3) -> None:
        self.disks = [FakeDisk(buckets={"store"}) for _ in range(count)]
        self.members = [
            member_on(disk, f"node-{number}") for number, disk in enumerate(self.disks)
        ]

    def candidates(self) -> Iterator[Member]:
        return iter(self.members)

    def stored(self, *numbers: int, body: bytes = LONG) -> list[Stored]:
        """Let some nodes hold a copy."""
        for number in numbers:
            self.disks[number].store(NAME, body, LABEL, HEADERS)
        return [
            Stored(self.members[number], self.disks[number].objects[NAME][0])
            for number in numbers
        ]

    def bodies(self) -> list[bytes | None]:
        return [disk.objects.get(NAME, (None, None))[1] for disk in self.disks]


def member_on(disk: FakeDisk, name: str) -> Member:
    spec = NodeSpec(name, None)
    return Member(spec, FakeNode(spec, disk))


def draft(length: int = len(LONG), label: Label = LABEL) -> Draft:
    return Draft(NAME, length, label, HEADERS)


def stream(*chunks: bytes, missing: int = 0) -> Bytes:
    return Bytes(*chunks, is_stream=True, missing=missing)


@pytest.fixture
def nodes() -> Nodes:
    return Nodes()


def names(copies: list[Stored]) -> list[str]:
    return [copy.member.name for copy in copies]


# Small bodies are held.


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES])
def test_a_small_body_is_read_whole_and_can_be_sent_again(size: int) -> None:
    body = hold_if_small(stream(bytes(size)))
    assert (body.length, body.can_restart()) == (size, True)
    for _ in range(2):
        assert b"".join(body.chunks()) == bytes(size)
    assert all(body.chunks())  # never an empty chunk


def test_a_long_body_is_not_read() -> None:
    body = stream(bytes(CHUNK_BYTES), b"1")
    assert hold_if_small(body) is body
    assert body.reads == 0


def test_a_body_that_was_begun_is_not_held() -> None:
    body = stream(b"12", b"34")
    next(iter(body.chunks()))
    assert hold_if_small(body) is body


def test_a_small_body_that_is_short_is_refused_at_once() -> None:
    with pytest.raises(BodyError):
        hold_if_small(stream(b"1", missing=1))


# Sending.


def test_the_first_nodes_get_the_body(nodes: Nodes) -> None:
    body = stream(*CHUNKS)
    candidates = nodes.candidates()
    copies = Fanout(draft(), candidates).send(body, 2)
    assert names(copies) == ["node-0", "node-1"]
    assert nodes.bodies() == [LONG, LONG, None]
    assert [c.info for c in copies] == [d.objects[NAME][0] for d in nodes.disks[:2]]
    assert copies[0].info.headers == HEADERS
    assert copies[0].info.label == LABEL
    assert next(candidates) is nodes.members[2]
    assert body.reads == len(CHUNKS)


def test_an_empty_body_is_an_object(nodes: Nodes) -> None:
    assert len(Fanout(draft(0), nodes.candidates()).send(HeldBody(b""), 2)) == 2
    assert nodes.bodies() == [b"", b"", None]


def test_nodes_that_refuse_at_once_are_passed_over(nodes: Nodes) -> None:
    nodes.disks[0].failing = BROKEN
    copies = Fanout(draft(), nodes.candidates()).send(stream(*CHUNKS), 2)
    assert names(copies) == ["node-1", "node-2"]


def test_if_too_few_take_it_nothing_is_read(nodes: Nodes) -> None:
    nodes.disks[0].failing = BROKEN
    nodes.disks[2].failing = NodeFullError("full")
    body = stream(*CHUNKS)
    with pytest.raises(NodeFullError) as caught:
        Fanout(draft(), nodes.candidates()).send(body, 2)
    assert caught.value.node == "node-2"
    assert body.reads == 0
    assert nodes.disks[1].calls == ["put", "abort"]
    with pytest.raises(NoNodesError):
        Fanout(draft(), iter([])).send(body, 1)


@pytest.mark.parametrize("method", ["write", "commit"])
def test_a_stream_goes_on_to_those_that_are_left(nodes: Nodes, method: str) -> None:
    nodes.disks[0].before[method] = lambda: nodes.disks[0].failures.append(BROKEN)
    body = stream(*CHUNKS)
    copies = Fanout(draft(), nodes.candidates()).send(body, 2)
    assert names(copies) == ["node-1"]
    assert nodes.bodies() == [None, LONG, None]
    assert body.reads == len(CHUNKS)
    assert "abort" in nodes.disks[0].calls


@pytest.mark.parametrize("method", ["write", "commit"])
def test_what_can_be_sent_again_is_sent_to_the_next(nodes: Nodes, method: str) -> None:
    nodes.disks[0].before[method] = lambda: nodes.disks[0].failures.append(BROKEN)
    copies = Fanout(draft(5), nodes.candidates()).send(HeldBody(b"hello"), 2)
    assert names(copies) == ["node-1", "node-2"]
    assert nodes.bodies() == [None, b"hello", b"hello"]


def test_a_body_of_which_no_node_takes_more_is_not_read_to_its_end() -> None:
    nodes = Nodes(2)
    for disk in nodes.disks:
        disk.before["write"] = lambda disk=disk: disk.failures.append(BROKEN)
    body = stream(*CHUNKS)
    with pytest.raises(NodeError, match="500"):
        Fanout(draft(), nodes.candidates()).send(body, 2)
    assert body.reads == 1
    assert nodes.bodies() == [None, None]


@pytest.mark.parametrize(
    "error", [BodyError("short"), KeyboardInterrupt()], ids=["short", "killed"]
)
def test_a_body_that_breaks_is_committed_nowhere(
    nodes: Nodes, error: BaseException
) -> None:
    def break_off() -> None:
        raise error

    body = stream(*CHUNKS)
    body.before = [lambda: None, break_off]
    with pytest.raises(type(error)):
        Fanout(draft(), nodes.candidates()).send(body, 2)
    assert nodes.bodies() == [None, None, None]
    assert [disk.calls for disk in nodes.disks] == [["put", "abort"]] * 2 + [[]]


def test_a_condition_that_does_not_hold_is_no_failure_of_the_node(
    nodes: Nodes,
) -> None:
    nodes.stored(0)
    conditional = Draft(NAME, 5, LABEL, HEADERS, if_absent=True)
    with pytest.raises(PreconditionError):
        Fanout(conditional, nodes.candidates()).send(HeldBody(b"hello"), 1)
    assert nodes.bodies() == [LONG, None, None]


# Copying.


def test_a_copy_has_the_bytes_the_label_and_the_headers(nodes: Nodes) -> None:
    (source,) = nodes.stored(0)
    made = copy(source, nodes.members[1], draft())
    assert made == Stored(nodes.members[1], source.info)
    assert nodes.disks[1].objects == nodes.disks[0].objects
    assert nodes.disks[0].opened[0].is_closed


def test_a_copy_may_have_a_newer_label_also_on_the_same_node(nodes: Nodes) -> None:
    (source,) = nodes.stored(0)
    newer = Label(Stamp(9, 9), 4)
    for target in nodes.members[1], nodes.members[0]:
        made = copy(source, target, draft(label=newer))
        assert (made.info.label, made.info.etag) == (newer, source.info.etag)
    assert nodes.bodies() == [LONG, LONG, None]


@pytest.mark.parametrize(
    ("body", "stamp"),
    [(b"other", 7), (LONG, 8), (None, 0)],
    ids=["etag", "stamp", "gone"],
)
def test_a_source_that_changed_is_not_copied(
    nodes: Nodes, body: bytes | None, stamp: int
) -> None:
    (source,) = nodes.stored(0)
    del nodes.disks[0].objects[NAME]
    if body:
        nodes.disks[0].put(NAME, body, Stamp(stamp, 7))
    with pytest.raises(PreconditionError):
        copy(source, nodes.members[1], draft())
    assert nodes.bodies()[1] is None
    assert all(content.is_closed for content in nodes.disks[0].opened)


def test_a_source_that_breaks_is_copied_nowhere(nodes: Nodes) -> None:
    (source,) = nodes.stored(0)
    nodes.disks[0].breaks_at = CHUNK_BYTES + 5
    with pytest.raises(NodeError, match="broke"):
        copy(source, nodes.members[1], draft())
    assert nodes.bodies()[1] is None
    assert nodes.disks[1].calls == ["put", "abort"]
    assert nodes.disks[0].opened[0].is_closed


@pytest.mark.parametrize("method", ["put", "write", "commit"])
def test_a_target_that_fails_is_told_from_the_source(nodes: Nodes, method: str) -> None:
    (source,) = nodes.stored(0)
    target = nodes.disks[1]
    target.before[method] = lambda: target.failures.append(BROKEN)
    with pytest.raises(NodeError) as caught:
        copy(source, nodes.members[1], draft())
    assert caught.value.node == "node-1"
    assert nodes.disks[0].opened[0].is_closed


def test_a_copy_that_comes_out_different_is_none(nodes: Nodes) -> None:
    """A node's disk has changed a byte, under the same ETag."""
    (source,) = nodes.stored(0)
    info, body = nodes.disks[0].objects[NAME]
    nodes.disks[0].objects[NAME] = (info, b"x" + body[1:])
    with pytest.raises(NodeProtocolError):
        copy(source, nodes.members[1], draft())


# What is missing.


def test_no_more_copies_are_made_than_asked_for(nodes: Nodes) -> None:
    sources = nodes.stored(0)
    targets = iter(nodes.members[1:])
    assert complete(sources, targets, draft(), 0) == []
    assert nodes.bodies() == [LONG, None, None]


def test_copies_are_made_on_the_first_targets_that_can() -> None:
    nodes = Nodes(4)
    sources = nodes.stored(0)
    nodes.disks[1].failing = BROKEN
    made = complete(sources, nodes.members[1:], draft(), 1)
    assert names(made) == ["node-2"]
    assert nodes.bodies() == [LONG, None, LONG, None]


def test_another_source_takes_over() -> None:
    nodes = Nodes(4)
    sources = nodes.stored(0, 1)
    nodes.disks[0].failing = BROKEN
    made = complete(sources, nodes.members[2:], draft(), 2)
    assert names(made) == ["node-2", "node-3"]


def test_what_was_just_made_is_a_source_too() -> None:
    """When copies get a newer label, each of them ends an older one."""
    nodes = Nodes(2)
    sources = nodes.stored(0)
    newer = Label(Stamp(9, 9), 4)
    made = complete(sources, nodes.members, draft(label=newer), 2)
    assert names(made) == ["node-0", "node-1"]
    assert {info_of(disk).label for disk in nodes.disks} == {newer}


def info_of(disk: FakeDisk) -> ObjectInfo:
    return disk.objects[NAME][0]


def test_too_few_targets_make_too_few_copies(nodes: Nodes) -> None:
    sources = nodes.stored(0)
    nodes.disks[2].failing = BROKEN
    made = complete(sources, nodes.members[1:], draft(), 2)
    assert names(made) == ["node-1"]
