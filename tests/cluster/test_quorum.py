"""Where copies lie, who has to be asked, and what the answers come to."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from amazin.cluster.placement import Placement, Quorum, newest, place
from amazin.cluster.quorum import QuorumRead, ask
from amazin.errors import (
    LostCopyError,
    NodeError,
    NodeTimeoutError,
    NodeUnreachableError,
    NoNodesError,
)
from amazin.membership.member import Member
from amazin.membership.roster import NodeSet, Roster
from amazin.model.node_specs import NodeSpec
from amazin.model.objects import Label, ObjectInfo, ObjectName, Stamp
from amazin.nodes.interface import Node, Pending
from tests.support.fakes import FakeDisk, FakeNode

NAME = ObjectName("store", "abc")
SILENT = NodeTimeoutError("silent")
BROKEN = NodeError("500")
LOST = LostCopyError("lost")


class Nodes:
    """Members on fake disks; asking for endpoints makes no threads."""

    def __init__(self, names: str) -> None:
        self.disks = {name: FakeDisk(buckets={"store"}) for name in names}
        self.members = {name: self._member(name) for name in names}

    def _member(self, name: str) -> Member:
        spec = NodeSpec(name, None)
        return Member(spec, FakeNode(spec, self.disks[name]))

    def quorum(self, names: str, needed: int) -> Quorum:
        return Quorum([self.members[name] for name in names], needed)

    def asked(self) -> str:
        """Who was asked, as often as it was."""
        return "".join(name * len(disk.calls) for name, disk in self.disks.items())


def read_of(*quorums: Quorum, opens: bool = False) -> QuorumRead:
    return QuorumRead(
        quorums,
        lambda node: node.start_head(NAME),
        (lambda node: node.start_get(NAME)) if opens else None,
        patience_seconds=0.01,
    )


@pytest.fixture
def nodes() -> Nodes:
    return Nodes("abcde")


# Where copies lie.


def names_of(members: Sequence[Member]) -> list[str]:
    return [member.name for member in members]


def set_of(names: str, replicas: int = 1, epoch: int = 1) -> NodeSet:
    return NodeSet(replicas, dict.fromkeys(names, 1.0), epoch=epoch)


def place_by(nodes: Nodes, roster: Roster) -> Placement:
    return place(roster, nodes.members, NAME.hash_key)


@pytest.mark.parametrize(
    ("replicas", "count", "home", "needed"),
    [
        (1, 1, 1, 1),
        (1, 5, 1, 1),
        (2, 2, 2, 1),
        (2, 3, 3, 2),
        (2, 5, 3, 2),
        (3, 3, 3, 1),
        (3, 4, 4, 2),
        (3, 5, 5, 3),
        (3, 9, 5, 3),
        (4, 9, 7, 4),
        (3, 2, 2, 1),  # fewer nodes than replicas: it can be read
    ],
)
def test_a_write_and_a_read_always_share_a_node(
    replicas: int, count: int, home: int, needed: int
) -> None:
    nodes = Nodes("abcdefghi"[:count])
    placement = place_by(nodes, Roster("x", 1, set_of("abcdefghi"[:count], replicas)))
    (quorum,) = placement.quorums
    assert len(placement.home) == len(quorum.members) == home
    assert quorum.needed == needed
    assert list(placement.home) == list(quorum.members)
    assert (placement.replicas, placement.epoch) == (replicas, 1)
    if count >= replicas:
        assert replicas + needed == home + 1


def test_the_home_is_the_beginning_of_the_ranking(nodes: Nodes) -> None:
    settled = set_of("abcde", replicas=2)
    placement = place_by(nodes, Roster("x", 1, settled))
    assert names_of(placement.home) == settled.ranker.rank(NAME.hash_key)[:3]


@pytest.mark.parametrize(("replicas", "expected"), [(1, True), (2, False)])
def test_one_copy_in_one_place(nodes: Nodes, replicas: int, expected: bool) -> None:
    roster = Roster("x", 1, set_of("abc", replicas))
    assert place_by(nodes, roster).is_single == expected
    changing = replace(roster, next=set_of("abcd", replicas, epoch=2))
    for is_open in (False, True):
        assert not place_by(nodes, replace(changing, is_open=is_open)).is_single


@pytest.mark.parametrize("is_open", [False, True])
def test_while_the_set_changes_both_homes_are_read_and_one_is_written(
    nodes: Nodes, is_open: bool
) -> None:
    settled, coming = set_of("abc", 1), set_of("abcde", 2, epoch=7)
    roster = Roster("x", 7, settled, coming, is_open)
    placement = place_by(nodes, roster)
    homes = {
        1: settled.home(NAME.hash_key),
        2: coming.home(NAME.hash_key),
    }
    quorums = {
        len(q.members): (names_of(q.members), q.needed) for q in placement.quorums
    }
    assert quorums == {1: (homes[1], 1), 3: (homes[2], 2)}
    assert names_of(placement.home) == homes[2 if is_open else 1]
    assert placement.quorums[0].members == placement.home
    assert placement.replicas == (2 if is_open else 1)
    assert placement.epoch == (7 if is_open else 1)


def test_outside_the_settled_home_the_next_sets_copies_count_alone(
    nodes: Nodes,
) -> None:
    roster = Roster("x", 7, set_of("abc"), set_of("abcde", epoch=7), is_open=True)
    placement = place_by(nodes, roster)
    (old,) = names_of(placement.quorums[1].members)
    for name in "abcde":
        for epoch in (0, 1, 6, 8):
            assert placement.counts(name, epoch) == (name == old)
        assert placement.counts(name, 7)


def test_where_nothing_is_settled_everyone_is_asked(nodes: Nodes) -> None:
    roster = Roster("x", 2, None, set_of("abc", 2, epoch=2), leaving=("e",))
    placement = place_by(nodes, roster)
    (everyone,) = placement.quorums
    assert sorted(names_of(everyone.members)) == ["a", "b", "c", "e"]
    assert everyone.needed == 4
    assert placement.home == ()  # writes have to wait
    assert all(placement.counts(name, epoch) for name in "abce" for epoch in (0, 9))
    opened = place_by(nodes, replace(roster, is_open=True))
    assert len(opened.home) == 3


def test_nobody_waits_for_a_node_that_is_given_up(nodes: Nodes) -> None:
    roster = Roster("x", 3, None, set_of("ab", epoch=3), forgotten=("c",))
    (everyone,) = place_by(nodes, roster).quorums
    assert sorted(names_of(everyone.members)) == ["a", "b"]


# The newest.


def info(*version: int, epoch: int = 1, modified_ns: int = 0) -> ObjectInfo:
    label = Label(Stamp(version[0], version[1]), epoch) if version else None
    return ObjectInfo(5, "tag", modified_ns, label)


def test_the_newest_are_all_copies_of_one_version_in_order(nodes: Nodes) -> None:
    placement = place_by(nodes, Roster("x", 1, set_of("abcde", 3)))
    found = {"a": info(9, 2), "b": info(10, 1), "c": info(), "d": info(10, 1)}
    copies = newest(placement, found.items())
    assert [name for name, _ in copies] == ["b", "d"]
    assert newest(placement, []) == []


def test_without_stamps_the_last_modified_is_the_newest(nodes: Nodes) -> None:
    placement = place_by(nodes, Roster("x", 1, set_of("abc", 2)))
    found = {"a": info(modified_ns=8), "b": info(modified_ns=9)}
    assert [name for name, _ in newest(placement, found.items())] == ["b"]


def test_what_does_not_count_is_not_the_newest(nodes: Nodes) -> None:
    roster = Roster("x", 7, set_of("abc"), set_of("abcde", epoch=7))
    placement = place_by(nodes, roster)
    (old,) = names_of(placement.quorums[0].members)
    other = next(name for name in "abcde" if name != old)
    found = {other: info(99, 0, epoch=6), old: info(1, 0)}
    assert [name for name, _ in newest(placement, found.items())] == [old]


# Asking.


def test_no_more_nodes_are_asked_than_needed(nodes: Nodes) -> None:
    for needed, expected in ((1, "a"), (2, "ab"), (5, "abcde")):
        asked = read_of(nodes.quorum("abcde", needed))
        asked.run()
        assert nodes.asked() == expected
        assert asked.answers == dict.fromkeys(expected)
        for disk in nodes.disks.values():
            disk.calls.clear()


def test_a_node_of_two_homes_is_asked_once(nodes: Nodes) -> None:
    read_of(nodes.quorum("abc", 2), nodes.quorum("cab", 2)).run()
    assert nodes.asked() == "abc"


def test_the_first_that_can_be_asked_is_asked_for_the_object(nodes: Nodes) -> None:
    nodes.members["a"].is_lost = True
    read_of(nodes.quorum("abc", 2), opens=True).run()
    assert [disk.calls for disk in nodes.disks.values()] == [
        [],
        ["get"],
        ["head"],
        [],
        [],
    ]


@pytest.mark.parametrize("failing", list(itertools.combinations("abcde", 2)), ids=str)
def test_others_are_asked_for_those_that_fail(
    nodes: Nodes, failing: tuple[str, str]
) -> None:
    nodes.disks[failing[0]].failing = BROKEN
    nodes.disks[failing[1]].failing = NodeUnreachableError("down")
    asked = read_of(nodes.quorum("abcde", 3))
    asked.run()
    assert len(asked.answers) == 3
    assert not set(failing) & asked.answers.keys()


def test_too_few_answers_raise_what_the_best_node_said(nodes: Nodes) -> None:
    nodes.disks["b"].failing = NodeError("second")
    nodes.disks["a"].failing = NodeError("first")
    with pytest.raises(NodeError, match="first") as caught:
        read_of(nodes.quorum("abc", 2)).run()
    assert caught.value.node == "a"


def test_a_quorum_without_enough_nodes_is_never_reached(nodes: Nodes) -> None:
    with pytest.raises(NoNodesError):
        read_of(nodes.quorum("", 1)).run()


def test_one_home_that_fails_is_enough_to_fail(nodes: Nodes) -> None:
    nodes.disks["e"].failing = BROKEN
    with pytest.raises(NodeError):
        read_of(nodes.quorum("abc", 2), nodes.quorum("e", 1)).run()


def test_what_was_opened_is_closed_if_the_question_fails(nodes: Nodes) -> None:
    nodes.disks["a"].put(NAME, b"hello")
    nodes.disks["e"].failing = BROKEN
    with pytest.raises(NodeError):
        read_of(nodes.quorum("abc", 1), nodes.quorum("e", 1), opens=True).run()
    assert nodes.disks["a"].opened[0].is_closed


@pytest.mark.parametrize("opens", [False, True])
def test_a_node_that_tells_nothing_of_a_lost_copy_is_not_asked_for_ever(
    nodes: Nodes, opens: bool
) -> None:
    nodes.disks["a"].failing = LOST
    start, start_first = (
        read_of(opens=opens)._start,
        read_of(opens=opens)._start_first,
    )
    with pytest.raises(LostCopyError):
        ask([nodes.quorum("a", 1)], start, start_first)
    with pytest.raises(LostCopyError):
        read_of(nodes.quorum("ab", 2), opens=opens).run()
    assert nodes.asked() == "a" * 2 * (1 + opens) + "b"


def test_of_failures_a_lost_copy_is_said_last(nodes: Nodes) -> None:
    nodes.disks["a"].failing, nodes.disks["b"].failing = LOST, BROKEN
    with pytest.raises(NodeError, match="500"):
        read_of(nodes.quorum("abc", 2)).run()


def test_a_bug_in_a_node_closes_what_was_opened_and_goes_on(nodes: Nodes) -> None:
    nodes.disks["a"].put(NAME, b"hello")
    nodes.disks["b"].failing = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        read_of(nodes.quorum("abc", 2), opens=True).run()
    assert nodes.disks["a"].opened[0].is_closed


class Slow(Pending[ObjectInfo]):
    """A question that is answered after some polls; remembers its end."""

    def __init__(self, polls: int, answer: ObjectInfo | Exception) -> None:
        self.polls = polls
        self.answer = answer
        self.end = ""

    def is_ready(self, timeout: float) -> bool:
        self.polls -= 1
        if self.polls >= 0:
            time.sleep(timeout)
        return self.polls < 0

    def wait(self) -> ObjectInfo:
        self.end = "answered"
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def cancel(self) -> None:
        self.end = "cancelled"


def ask_slow(nodes: Nodes, needed: int, **slow: Slow) -> QuorumRead:
    """Ask nodes `a`, `b`, ... of which some are slow."""

    def start(node: Node) -> Pending[ObjectInfo]:
        return slow.get(node.name) or node.start_head(NAME)

    return QuorumRead([nodes.quorum("abc", needed)], start, patience_seconds=0.01)


def test_a_silent_node_is_cancelled_when_others_have_answered(nodes: Nodes) -> None:
    slow = Slow(100, info(1, 1))
    asked = ask_slow(nodes, 2, a=slow)
    asked.run()
    assert slow.end == "cancelled"
    assert asked.answers == {"b": None, "c": None}


def test_a_slow_node_that_is_needed_is_waited_for(nodes: Nodes) -> None:
    slow, broken = Slow(3, info(1, 1)), Slow(2, BROKEN)
    asked = ask_slow(nodes, 2, a=slow, b=broken)
    asked.run()
    assert (slow.end, broken.end) == ("answered", "answered")
    assert asked.answers == {"a": info(1, 1), "c": None}


def test_of_slow_nodes_the_first_answers_count(nodes: Nodes) -> None:
    slow = {
        "a": Slow(9, info(1, 1)),
        "b": Slow(2, info(2, 2)),
        "c": Slow(2, info(3, 3)),
    }
    asked = ask_slow(nodes, 2, **slow)
    asked.run()
    assert asked.answers == {"b": info(2, 2), "c": info(3, 3)}
    assert slow["a"].end == "cancelled"


def test_all_questions_end_answered_or_cancelled(nodes: Nodes) -> None:
    slow = {"a": Slow(9, BROKEN), "b": Slow(0, BROKEN), "c": Slow(2, BROKEN)}
    with pytest.raises(NodeError):
        ask_slow(nodes, 2, **slow).run()
    assert all(pending.end for pending in slow.values())


@pytest.fixture
def skipping() -> Iterator[Nodes]:
    """Nodes of which failures are remembered."""
    nodes = Nodes("abc")
    for name, disk in nodes.disks.items():
        spec = NodeSpec(name, "http://" + name)
        nodes.members[name] = Member(spec, FakeNode(spec, disk), 60.0)
    yield nodes
    for member in nodes.members.values():
        member.retire()


def test_who_was_silent_while_others_answered_is_skipped(skipping: Nodes) -> None:
    skipping.disks["a"].is_silent = True
    asked = read_of(skipping.quorum("abc", 2))
    asked.run()
    assert asked.answers.keys() == {"b", "c"}
    assert skipping.members["a"].is_skipped
    skipping.disks["a"].calls.clear()
    read_of(skipping.quorum("abc", 2)).run()
    assert skipping.disks["a"].calls == []


def test_who_was_not_waited_for_is_not_to_blame(skipping: Nodes) -> None:
    skipping.disks["a"].is_silent = True
    for name in "bc":
        skipping.disks[name].failing = BROKEN
    with pytest.raises(NodeError):
        read_of(skipping.quorum("abc", 2)).run()
    assert not skipping.members["a"].is_skipped


def test_if_all_are_silent_it_is_their_time_limit_that_counts(skipping: Nodes) -> None:
    for disk in skipping.disks.values():
        disk.is_silent = True
    with pytest.raises(NodeTimeoutError):
        read_of(skipping.quorum("abc", 2)).run()
