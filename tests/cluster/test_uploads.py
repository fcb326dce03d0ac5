"""One body to several nodes: sent once, complete or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from amazin.cluster.uploads import Draft, Fanout, Stored, complete, copy
from amazin.errors import (
    BodyError,
    LateError,
    NodeError,
    NodeFullError,
    NodeProtocolError,
    NoNodesError,
    NoSuchBucketError,
    PreconditionError,
)
from amazin.membership.member import Member
from amazin.model.bodies import Body, HeldBody, hold_if_small
from amazin.model.node_specs import NodeSpec
from amazin.model.objects import CHUNK_BYTES, Label, ObjectInfo, ObjectName, Stamp
from tests.support.fakes import FakeDisk, FakeNode
from tests.support.world import Bytes, Once

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


SMALL = b"hello"
any_body = pytest.mark.parametrize("data", [SMALL, LONG], ids=["small", "streamed"])


def body_of(data: bytes, *, is_stream: bool = True) -> Body:
    """Return a body as a cluster sends it: held if it is small."""
    if len(data) <= CHUNK_BYTES:
        return HeldBody(data)
    return Bytes(*CHUNKS, is_stream=is_stream)


def moments(small: str, streamed: str) -> pytest.MarkDecorator:
    """Have bodies of both kinds, and what may fail of each."""
    rows = [(SMALL, method) for method in small.split()]
    rows += [(LONG, method) for method in streamed.split()]
    names = [f"{len(data)}-{method}" for data, method in rows]
    return pytest.mark.parametrize(("data", "method"), rows, ids=names)


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


def test_a_small_body_is_one_request_to_each_of_the_first_nodes(nodes: Nodes) -> None:
    unguarded = replace(draft(len(SMALL)), keeps_newer=False)
    copies = Fanout(unguarded, nodes.candidates()).send(HeldBody(SMALL), 2)
    assert names(copies) == ["node-0", "node-1"]
    assert nodes.bodies() == [SMALL, SMALL, None]
    assert [c.info for c in copies] == [d.objects[NAME][0] for d in nodes.disks[:2]]
    assert copies[0].info.headers == HEADERS
    assert copies[0].info.label == LABEL
    assert [disk.calls for disk in nodes.disks] == [["put"], ["put"], []]


def test_all_nodes_are_asked_before_one_is_waited_for(nodes: Nodes) -> None:
    moments = []
    for disk in nodes.disks:
        disk.before["put"] = lambda: moments.append("put")
        disk.before["commit"] = lambda: moments.append("wait")
    Fanout(draft(len(SMALL)), nodes.candidates()).send(HeldBody(SMALL), 3)
    assert moments == ["put"] * 3 + ["wait"] * 3


def test_an_empty_body_is_an_object(nodes: Nodes) -> None:
    assert len(Fanout(draft(0), nodes.candidates()).send(HeldBody(b""), 2)) == 2
    assert nodes.bodies() == [b"", b"", None]


@any_body
def test_nodes_that_refuse_at_once_are_passed_over(nodes: Nodes, data: bytes) -> None:
    nodes.disks[0].failing = BROKEN
    copies = Fanout(draft(len(data)), nodes.candidates()).send(body_of(data), 2)
    assert names(copies) == ["node-1", "node-2"]


@any_body
@pytest.mark.parametrize("keeps_newer", [True, False])
def test_if_too_few_can_be_asked_nothing_is_stored(
    nodes: Nodes, data: bytes, keeps_newer: bool
) -> None:
    nodes.members[1].is_lost = nodes.members[2].is_lost = True
    one = replace(draft(len(data)), keeps_newer=keeps_newer)
    with pytest.raises(NoSuchBucketError) as caught:
        Fanout(one, nodes.candidates()).send(body_of(data), 2)
    assert caught.value.node == "node-2"
    assert nodes.bodies() == [None, None, None]


def test_if_too_few_say_what_they_hold_nothing_is_stored(nodes: Nodes) -> None:
    nodes.disks[0].failing = BROKEN
    nodes.disks[2].failing = NodeFullError("full")
    with pytest.raises(NodeFullError) as caught:
        Fanout(draft(len(SMALL)), nodes.candidates()).send(HeldBody(SMALL), 2)
    assert caught.value.node == "node-2"
    assert [disk.calls for disk in nodes.disks] == [["head"]] * 3


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


@moments("put commit", "put write commit")
def test_what_can_be_sent_again_is_sent_to_the_next(
    nodes: Nodes, data: bytes, method: str
) -> None:
    nodes.disks[0].before[method] = lambda: nodes.disks[0].failures.append(BROKEN)
    body = body_of(data, is_stream=False)
    copies = Fanout(draft(len(data)), nodes.candidates()).send(body, 2)
    assert names(copies) == ["node-1", "node-2"]
    assert nodes.bodies() == [None, data, data]


def test_a_small_body_that_comes_too_late_is_sent_nowhere(nodes: Nodes) -> None:
    """That is judged when all is known that nodes are asked for before."""

    class Late(HeldBody):
        def read(self) -> bytes:
            assert [disk.calls for disk in nodes.disks] == [["head"], ["head"], []]
            raise LateError("too late")

    with pytest.raises(LateError):
        Fanout(draft(len(SMALL)), nodes.candidates()).send(Late(SMALL), 2)
    assert [disk.calls for disk in nodes.disks] == [["head"], ["head"], []]


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


@any_body
def test_a_condition_that_does_not_hold_is_no_failure_of_the_node(
    nodes: Nodes, data: bytes
) -> None:
    nodes.stored(0, body=b"old")
    conditional = Draft(NAME, len(data), LABEL, HEADERS, if_absent=True)
    with pytest.raises(PreconditionError):
        Fanout(conditional, nodes.candidates()).send(body_of(data), 1)
    assert nodes.bodies() == [b"old", None, None]


@any_body
def test_where_conflicts_are_tolerated_the_next_node_takes_the_place(
    nodes: Nodes, data: bytes
) -> None:
    nodes.stored(0, body=b"old")
    conditional = Draft(NAME, len(data), LABEL, HEADERS, if_absent=True)
    fanout = Fanout(conditional, nodes.candidates(), tolerates_conflicts=True)
    body = body_of(data, is_stream=False)
    assert names(fanout.send(body, 2)) == ["node-1", "node-2"]
    assert fanout.has_conflict
    assert nodes.bodies() == [b"old", data, data]
    alone = Fanout(conditional, nodes.candidates(), tolerates_conflicts=True)
    with pytest.raises(NodeError, match="there is one"):
        alone.send(body, 3)
    assert alone.has_conflict


@any_body
@pytest.mark.parametrize("moment", ["put", "commit"])
def test_what_was_sent_is_given_up_if_this_process_ends(
    nodes: Nodes, data: bytes, moment: str
) -> None:
    def end() -> None:
        raise KeyboardInterrupt

    nodes.disks[1].before[moment] = end
    with pytest.raises(KeyboardInterrupt):
        Fanout(draft(len(data)), nodes.candidates()).send(body_of(data), 3)
    assert nodes.bodies()[1:] == [None, None]
    other = nodes.disks[0 if moment == "put" else 2]
    assert "abort" in other.calls or other.cancelled


def test_a_small_body_is_sent_anew_where_another_was_faster(nodes: Nodes) -> None:
    """What the other stored is older, so this upload takes its place."""
    faster = Once(lambda: nodes.disks[0].put(NAME, b"faster", Stamp(6, 0)))
    nodes.disks[0].before["put"] = faster
    copies = Fanout(draft(len(SMALL)), nodes.candidates()).send(HeldBody(SMALL), 2)
    assert names(copies) == ["node-0", "node-1"]
    assert nodes.bodies() == [SMALL, SMALL, None]
    assert nodes.disks[0].calls == ["head", "put", "head", "put"]


# Copying.


@any_body
def test_a_copy_has_the_bytes_the_label_and_the_headers(
    nodes: Nodes, data: bytes
) -> None:
    (source,) = nodes.stored(0, body=data)
    made = copy(source, nodes.members[1], draft(len(data)))
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


@moments("head put commit", "head put write commit")
def test_a_target_that_fails_is_told_from_the_source(
    nodes: Nodes, data: bytes, method: str
) -> None:
    (source,) = nodes.stored(0, body=data)
    target = nodes.disks[1]
    target.before[method] = lambda: target.failures.append(NodeError("500"))
    with pytest.raises(NodeError) as caught:
        copy(source, nodes.members[1], draft(len(data)))
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
