"""What has to be done for one key, case by case.

Copies are written as versions: `a5` is version 5 on node a, `a5x` a tombstone, `a5/2`
one of the second epoch, `a5!` has other bytes than `a5`, `a5~` is damaged, `a?` is an
object of another program, `a-` no such object. Nodes that are not named did not answer.
"""

from __future__ import annotations

import pytest

from amazin.cluster.placement import Placement, Quorum
from amazin.membership.member import Member
from amazin.membership.roster import NodeSet, Roster
from amazin.model.node_specs import NodeSpec
from amazin.model.objects import Label, ObjectInfo, Stamp
from amazin.repair.plan import TOMBSTONE_NS, CopyStep, Plan, is_well, plan
from tests.support.fakes import FakeDisk, FakeNode

NOW_NS = TOMBSTONE_NS + 1000
"""Versions of a few nanoseconds are older than a day by now."""
SETTLED = NodeSet(2, dict.fromkeys("abcde", 1.0), epoch=1)
NEXT = NodeSet(2, dict.fromkeys("bcdef", 1.0), epoch=2)


def member(name: str, is_lost: bool = False) -> Member:
    spec = NodeSpec(name, None)
    made = Member(spec, FakeNode(spec, FakeDisk()))
    made.is_lost = is_lost
    return made


def at_rest(lost: str = "") -> Placement:
    """The home of the key is a, b and c; d and e are other nodes."""
    home = [member(name, name in lost) for name in "abc"]
    return Placement(Roster("x", 1, SETTLED), home, [Quorum(home, 2)], None)


def changing() -> Placement:
    """Writes go to b, c and d; what is settled lies on a, b and c."""
    old, new = [member(name) for name in "abc"], [member(name) for name in "bcd"]
    roster = Roster("x", 3, SETTLED, NEXT, is_open=True)
    quorums = [Quorum(new, 2), Quorum(old, 2)]
    return Placement(roster, new, quorums, frozenset("abc"))


def info_of(text: str) -> ObjectInfo | None:
    if text == "-":
        return None
    if text == "?":
        return ObjectInfo(100, "e?", 1)
    version, _, epoch = text.partition("/")
    is_deleted = version.endswith("x")
    is_damaged = version.endswith("~")
    number = int(version.rstrip("x!~"))
    tag = f"e{number}" + "!" * version.endswith("!")
    label = Label(Stamp(number, 0), int(epoch or 1), is_deleted)
    size = 32 if is_deleted else 100
    return ObjectInfo(size, tag, number, label, is_damaged=is_damaged)


def read(text: str) -> dict[str, ObjectInfo | None]:
    return {word[0]: info_of(word[1:]) for word in text.split()}


def write(todo: Plan) -> str:
    """Return a plan as text: `c<5(ab)` copies version 5 of a or b to c."""
    words = [f"{step.target}<{what(step)}" for step in todo.copies]
    words += [f"-{node}({etag})" for node, etag in todo.removals]
    states = [("short", todo.is_short), ("torn", todo.is_torn), ("lost", todo.is_lost)]
    return " ".join(words + [word for word, is_so in states if is_so])


def what(step: CopyStep) -> str:
    over = f" over {step.if_match}" if step.if_match else ""
    return f"{step.info.etag[1:]}({''.join(sorted(step.sources))}){over}"


AT_REST = [
    ("a5 b5 c- d- e-", "", "as it should be"),
    ("a5 b5 c5 d- e-", "", "a spare copy within the home stays"),
    ("a5 b- c- d- e-", "b<5(a)", "a copy is missing"),
    ("a- b- c5 d- e-", "a<5(c) b<5(c)", "the best of the home get theirs"),
    ("a5 b4 c- d- e-", "b<5(a) over e4", "an old version is overwritten"),
    ("a5 b5 c4 d- e-", "c<5(ab) over e4", "also where none is needed"),
    ("a5 b4 c3 d- e-", "b<5(a) over e4 c<5(a) over e3", "two old versions"),
    ("a5 b5 c- d5 e-", "-d(e5)", "a copy elsewhere goes"),
    ("a5 b5 c- d9 e-", "-d(e9)", "also one of a later upload: it was never confirmed"),
    ("a5 b- c- d5 e-", "b<5(a)", "but not before the home has all of its copies"),
    ("a- b- c- d5 e-", "-d(e5)", "outside the home alone it is no object"),
    ("a- b- c- d? e-", "", "what another program wrote outside the home stays"),
    ("a? b- c- d- e-", "b<?(a)", "what it wrote within is an object"),
    ("a? b5 c- d- e-", "a<5(b) over e?", "but older than any"),
    ("a- b- c- d- e-", "", "nothing"),
    ("a5 b5! c- d- e-", "torn", "which one is right is not known"),
    ("a6 b5! c5 d- e-", "b<6(a) over e5! c<6(a) over e5", "what is newer is right"),
    ("a5 b5 c- d5! e-", "-d(e5!)", "outside the home it doesn't matter"),
    ("a5x b5x c- d- e-", "-a(e5) -b(e5)", "a tombstone goes when it is a day old"),
    ("a5x b5x c4 d3 e-", "-d(e3) -c(e4) -a(e5) -b(e5)", "what it hides goes first"),
    ("a5x b4 c- d5x e-", "-b(e4) -d(e5) -a(e5)", "copies of it elsewhere do too"),
]


@pytest.mark.parametrize(
    ("seen", "expected"),
    [(seen, expected) for seen, expected, _ in AT_REST],
    ids=[reason for *_, reason in AT_REST],
)
def test_while_all_nodes_answer(seen: str, expected: str) -> None:
    assert write(plan(at_rest(), read(seen), True, NOW_NS)) == expected


DAMAGED = [
    ("a5~ b5 c- d- e-", "a<5(b) over e5", "it is replaced"),
    ("a5 b5 c5~ d- e-", "c<5(ab) over e5", "also one that is not needed"),
    ("a5~ b4 c5 d- e-", "a<5(c) over e5 b<5(c) over e4", "by the newest version only"),
    ("a5~ b5~ c- d- e-", "lost", "no version comes back for it"),
    ("a5~ b4 c4 d4 e-", "lost", "an older one stays what it is"),
    ("a5~ b- c- d5 e-", "a<5(d) over e5 b<5(d)", "a copy elsewhere is as good"),
    ("a5 b5 c- d5~ e-", "-d(e5)", "elsewhere it just goes"),
]


@pytest.mark.parametrize(
    ("seen", "expected"),
    [(seen, expected) for seen, expected, _ in DAMAGED],
    ids=[reason for *_, reason in DAMAGED],
)
def test_a_copy_whose_bytes_are_lost(seen: str, expected: str) -> None:
    assert write(plan(at_rest(), read(seen), True, NOW_NS)) == expected


YOUNG = [
    ("a5x b5x c- d- e-", "", "it stays"),
    ("a5x b4 c- d- e-", "b<5(a) over e4", "it is brought where it is missing"),
    ("a5x b5x c- d4 e-", "-d(e4)", "an old copy elsewhere goes"),
]


@pytest.mark.parametrize(
    ("seen", "expected"),
    [(seen, expected) for seen, expected, _ in YOUNG],
    ids=[reason for *_, reason in YOUNG],
)
def test_while_a_tombstone_is_younger_than_a_day(seen: str, expected: str) -> None:
    assert write(plan(at_rest(), read(seen), True, TOMBSTONE_NS)) == expected


AWAY = [
    ("b5 c- d- e-", "c<5(b)", "the third one gets the copy of the one that is away"),
    ("b5 c5 d5 e-", "", "nothing is removed"),
    ("a5x b5x d- e-", "", "no tombstone is either: c may hold what it hides"),
    ("a- b5 d5 e-", "a<5(b)", "copies are made"),
    ("b5 d- e-", "short", "one node of the home can't hold two copies"),
    ("b- c- d5 e-", "", "what lies elsewhere may be all there is"),
]


@pytest.mark.parametrize(
    ("seen", "expected"),
    [(seen, expected) for seen, expected, _ in AWAY],
    ids=[reason for *_, reason in AWAY],
)
def test_while_a_node_is_away(seen: str, expected: str) -> None:
    assert write(plan(at_rest(), read(seen), False, NOW_NS)) == expected


CHANGING = [
    ("a5 b5 c- d-", "c<5(ab)", "a copy is made first"),
    ("a5 b5 c5/2 d-", "-a(e5)", "then the old one is removed"),
    ("a5 b5 c5/2 d9", "d<5(abc) over e9", "a later leftover is not the object"),
    (
        "a5 b4 c- d9/2",
        "b<9(d) over e4 c<9(d)",
        "what was put there for the next set is",
    ),
    ("a- b5x c5x d-", "", "a tombstone stays as long as the change goes on"),
]


@pytest.mark.parametrize(
    ("seen", "expected"),
    [(seen, expected) for seen, expected, _ in CHANGING],
    ids=[reason for *_, reason in CHANGING],
)
def test_while_the_set_of_nodes_changes(seen: str, expected: str) -> None:
    assert write(plan(changing(), read(seen), True, NOW_NS)) == expected


WELL = [
    ("a5 b5", "abcde", True, "as it should be"),
    ("a5 b5 c5", "abcde", True, "a spare copy within the home"),
    ("b5 c5", "bcde", True, "another one stands in for one that is away"),
    ("b5 c5", "abcde", False, "it is back, and has nothing"),
    ("a5", "abcde", False, "a copy is missing"),
    ("a5", "acde", False, "the third one could have it"),
    ("a5 b4", "abcde", False, "the copies differ"),
    ("a5 b5 d5", "abcde", False, "there is one outside the home"),
    ("a5x b5x", "abcde", False, "it may be a tombstone"),
]


@pytest.mark.parametrize(
    ("listed", "present", "expected"),
    [case[:3] for case in WELL],
    ids=[reason for *_, reason in WELL],
)
def test_what_listings_alone_tell(listed: str, present: str, expected: bool) -> None:
    entries = {name: info for name, info in read(listed).items() if info}
    assert is_well(at_rest(), entries, set(present)) == expected


def test_listings_tell_nothing_while_a_disk_is_filled() -> None:
    entries = {name: info for name, info in read("a5 b5").items() if info}
    assert is_well(at_rest(), entries, set("abcde"))
    assert not is_well(at_rest(lost="c"), entries, set("abcde"))


def test_listings_tell_nothing_during_a_change() -> None:
    entries = {name: info for name, info in read("b5 c5").items() if info}
    assert not is_well(changing(), entries, set("abcdef"))
