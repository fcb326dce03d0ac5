"""What `amazin status` counts, on scripted nodes."""

from __future__ import annotations

import threading
import tracemalloc
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

from amazin.cluster.cluster import TOMBSTONE
from amazin.cluster.copy_counts import total
from amazin.errors import NodeError, NodeTimeoutError
from amazin.membership.member import Member
from amazin.model.node_specs import NodeSpec
from amazin.model.objects import Label, ObjectInfo, Stamp
from amazin.model.stored_names import MARKERS, PARTS
from amazin.status.counts import RETRY_SECONDS, Count, Counting
from tests.support.cleanup import closed_later
from tests.support.waiting import PATIENCE_SECONDS, await_that


class ListedNode:
    """A node of which a listing is scripted."""

    def __init__(self, entries: Callable[[], Iterator[tuple[str, ObjectInfo]]]) -> None:
        self._entries = entries

    def list_objects(self, bucket: str) -> Iterator[tuple[str, ObjectInfo]]:
        return self._entries()


def counting_of(
    entries: Callable[[], Iterator[tuple[str, ObjectInfo]]], **options: Any
) -> Counting:
    node: Any = ListedNode(entries)
    member = Member(NodeSpec("a", "http://a:1"), node)
    return closed_later(Counting(lambda name: member, **options))


INFO = ObjectInfo(7, "x", 1)
DEAD = ObjectInfo(TOMBSTONE.length, "6c1a1fbb203cd6af9e4c014c2b4f8a0c", 1)
LABELLED = ObjectInfo(1, "x", 1, Label(Stamp(1, 1), is_deleted=True))


def test_tombstones_are_known_with_and_without_their_label() -> None:
    count = Count()
    keys = ["a", f"{MARKERS}a", f"{PARTS}a", "-o/photos/k/a "]
    for key in keys:
        for info in (INFO, DEAD, LABELLED):
            count.add(key, info)
    found = (count.objects, count.markers, count.parts, count.tombstones)
    assert found == (2, 1, 1, 8)
    assert count.copies == 12
    assert count.bytes == 4 * (7 + DEAD.size + 1)
    assert total([count, count]).bytes == 2 * count.bytes


def test_a_long_listing_is_counted_in_constant_memory() -> None:
    def entries() -> Iterator[tuple[str, ObjectInfo]]:
        return ((f"key{number}", INFO) for number in range(100_000))

    counting = counting_of(entries)
    tracemalloc.start()
    try:
        counting.begin("a")
        assert counting.wait(PATIENCE_SECONDS)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert counting.counts()["a"].objects == 100_000
    assert peak < 200_000


def test_all_nodes_are_counted_at_once() -> None:
    gate = threading.Barrier(20, timeout=PATIENCE_SECONDS)

    def entries() -> Iterator[tuple[str, ObjectInfo]]:
        gate.wait()
        yield "a", INFO

    counting = counting_of(entries)
    counting.begin(map(str, range(20)))
    assert counting.wait(PATIENCE_SECONDS)
    assert {count.objects for count in counting.counts().values()} == {1}


def test_a_count_stays_until_the_next_is_complete_and_has_its_age() -> None:
    now, pauses, answers = [100.0], list[float](), [2, NodeTimeoutError("silent"), 3]
    seen: list[tuple[int, str, float | None]] = []

    def entries() -> Iterator[tuple[str, ObjectInfo]]:
        answer = answers.pop(0)
        yield "first", INFO
        now[0] += 10
        if isinstance(answer, NodeError):
            raise answer
        yield from ((str(number), INFO) for number in range(1, answer))

    def sleep(seconds: float) -> bool:
        pauses.append(seconds)
        count = counting.counts()["a"]
        seen.append((count.objects, count.problem, counting.age(count)))
        return not answers

    counting = counting_of(entries, repeats=True, clock=lambda: now[0], sleep=sleep)
    counting.begin(["a"])
    assert counting.wait(PATIENCE_SECONDS)
    assert seen == [(2, "", 0), (2, "", 10), (3, "", 0)]
    assert pauses == [100.0, RETRY_SECONDS, 100.0]


def test_what_has_been_counted_up_to_now_is_shown_as_such() -> None:
    seen, go_on = threading.Event(), threading.Event()

    def entries() -> Iterator[tuple[str, ObjectInfo]]:
        yield "a", INFO
        seen.set()
        go_on.wait(PATIENCE_SECONDS)
        yield "b", INFO

    counting = counting_of(entries)
    counting.begin(["a"])
    assert seen.wait(PATIENCE_SECONDS)
    count = counting.counts()["a"]
    assert (count.objects, counting.age(count)) == (1, None)
    assert not counting.wait(0)
    go_on.set()
    assert counting.wait(PATIENCE_SECONDS)


def test_counting_again_and_again_ends_when_it_is_closed() -> None:
    counting = counting_of(lambda: iter([("a", INFO)]), repeats=True)
    counting.begin(["a"])
    await_that(lambda: counting.counts()["a"].ended_at)
    assert not counting.wait(0)
    counting.close()
    assert counting.wait(0)


def test_a_count_that_is_closed_in_the_middle_is_no_count() -> None:
    counting = counting_of(lambda: ((str(number), INFO) for number in count(1)))
    counting.begin(["a"])
    await_that(lambda: counting.counts()["a"].objects)
    counting.close()
    assert counting.wait(0)
    assert counting.age(counting.counts()["a"]) is None
