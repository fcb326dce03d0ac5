"""Large objects in parts are read, listed and replaced as if they were in one piece."""

from __future__ import annotations

import hashlib
import itertools
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amazin.cluster.large_objects import LONGEST_UPLOAD_NS, LargeObjectStore
from amazin.errors import (
    BodyError,
    DifferentContentError,
    HTTPError,
    LateError,
    MetadataTooLargeError,
    NodeError,
    NodeProtocolError,
    NoNodesError,
    NoSuchKeyError,
    NotSupportedError,
    PreconditionError,
)
from amazin.model.headers import MAX_METADATA_BYTES, require_fit
from amazin.model.manifest import PARTS_HEADER, outline_of
from amazin.model.objects import CHUNK_BYTES, ObjectName
from amazin.model.stored_names import PARTS, blob_name, part_name
from tests.support.answers import told
from tests.support.fakes import FakeDisk
from tests.support.large_objects import (
    BODY,
    OTHER,
    PART,
    SMALL,
    CrashError,
    calm,
    chunked,
    crash_at,
    outline_on,
    stored_parts,
    tag,
)
from tests.support.world import (
    BROKEN,
    CHUNKS,
    HEADERS,
    LONG,
    NAME,
    Bytes,
    World,
    any_replicas,
    fail_at,
    read,
    stream,
    world_of,
)


def part_range(
    cluster: LargeObjectStore, first: int, last: int, name: ObjectName = NAME
) -> bytes:
    download = cluster.get(name, lambda info: (first, last))
    assert download.byte_range == (first, last)
    return read(download)


# Reading.


@any_replicas
def test_an_object_in_parts_is_one_object(replicas: int) -> None:
    world = world_of(replicas)
    cluster = chunked(world)
    stored = cluster.put(NAME, stream(BODY), HEADERS)
    assert (stored.info.size, stored.info.etag) == (len(BODY), tag(BODY))
    assert stored.info.headers == HEADERS
    download = cluster.get(NAME)
    assert download.content.info == stored.info == cluster.head(NAME).info
    assert read(download) == BODY
    assert dict(cluster.list(NAME.key)) == {NAME.key: stored.info}
    assert len(stored_parts(world)) == 3
    outline = outline_on(world)
    for index in range(3):
        name = part_name(outline.upload_id, index)
        assert sum(name in disk.data for disk in world.disks.values()) == replicas


def test_parts_are_placed_each_for_itself() -> None:
    world = World(1)
    chunked(world, 100).put(NAME, stream(BODY), {})
    for disk in world.disks.values():
        assert 2 <= len([name for name in disk.data if name.key.startswith(PARTS)]) < 20


@pytest.mark.parametrize("size", [0, 1, PART - 1, PART])
def test_what_is_no_larger_than_a_part_is_stored_in_one_piece(size: int) -> None:
    world = World(1)
    chunked(world).put(NAME, stream(BODY[:size]), {})
    assert world.read() == BODY[:size]
    assert not stored_parts(world)
    assert world.calls() == [["put", "get"], [], []]


def test_what_is_stored_in_one_piece_is_read_with_one_request() -> None:
    world = World(1)
    cluster = chunked(world)
    cluster.put(NAME, stream(SMALL), {})
    world.forget_calls()
    assert read(cluster.get(NAME)) == SMALL
    assert world.calls() == [["get"], [], []]


def test_objects_in_parts_are_read_where_none_are_made_any_more() -> None:
    world = World(2)
    chunked(world).put(NAME, stream(BODY), HEADERS)
    off = chunked(world, 0)
    assert read(off.get(NAME)) == BODY
    assert off.head(NAME).info.etag == tag(BODY)
    off.put(NAME, stream(OTHER), {})
    assert outline_of(world.cluster.head(NAME).info) is None
    assert read(off.get(NAME)) == OTHER


@given(st.integers(1, 400), st.integers(1, 900), st.data())
def test_any_range_is_the_slice_that_it_names(
    part_bytes: int, size: int, data: Any
) -> None:
    world = World(1)
    cluster = chunked(world, part_bytes)
    body = BODY[:size]
    cuts = sorted(data.draw(st.lists(st.integers(0, size), max_size=4)))
    edges = zip([0, *cuts], [*cuts, size], strict=True)
    pieces = [body[a:b] for a, b in edges if a < b]
    cluster.put(NAME, stream(*pieces), {})
    assert read(cluster.get(NAME)) == body
    assert bool(stored_parts(world)) == (size > part_bytes)
    first = data.draw(st.integers(0, size - 1))
    last = data.draw(st.integers(first, size - 1))
    assert part_range(cluster, first, last) == body[first : last + 1]


def test_a_range_opens_only_the_parts_that_it_touches() -> None:
    world = World(1)
    cluster = chunked(world)
    cluster.put(NAME, stream(BODY), {})
    for disk in world.disks.values():
        disk.opened.clear()
    assert part_range(cluster, 1100, 1199) == BODY[1100:1200]
    opened = [c.info.size for d in world.disks.values() for c in d.opened]
    assert sorted(opened)[:-1] in ([], [len_of_manifest(world)])
    assert sorted(opened)[-1] == PART


def len_of_manifest(world: World) -> int:
    return world.cluster.head(NAME).info.size


def test_parts_are_opened_one_at_a_time_and_all_closed() -> None:
    world = World(1)
    cluster = chunked(world)
    cluster.put(NAME, stream(BODY), {})
    content = cluster.get(NAME).content
    opened = [content for disk in world.disks.values() for content in disk.opened]
    assert len(opened) == 1, "the manifest"
    assert opened[0].is_closed
    for _ in range(2):
        assert content.read()
        opened = [c for disk in world.disks.values() for c in disk.opened]
        assert sum(not c.is_closed for c in opened) == 1
    content.close()
    content.close()
    assert all(c.is_closed for disk in world.disks.values() for c in disk.opened)


def test_a_choice_is_made_of_the_whole_object() -> None:
    world = World(2)
    cluster = chunked(world)
    cluster.put(NAME, stream(BODY), HEADERS)
    told = []

    def refuse(info: Any) -> None:
        told.append(info)
        raise HTTPError(412, "No", "no")

    with pytest.raises(HTTPError):
        cluster.get(NAME, refuse)
    assert told == [cluster.head(NAME).info]


def test_a_chooser_is_asked_again_if_the_object_was_replaced_meanwhile() -> None:
    world = World(1)
    cluster = chunked(world)
    for old, new in ((BODY, SMALL), (SMALL, BODY), (BODY, OTHER)):
        cluster.put(NAME, Bytes(old), {})
        sizes = []

        def choose(
            info: Any, new: bytes = new, sizes: list[int] = sizes
        ) -> tuple[int, int]:
            sizes.append(info.size)
            if len(sizes) == 1:
                cluster.put(NAME, Bytes(new), {})
            return (1, 3)

        assert read(cluster.get(NAME, choose)) == new[1:4]
        assert sizes == [len(old), len(new)]


# A part that can't be read.


Harm = Callable[[FakeDisk, ObjectName], None]


def break_part(world: World, index: int, how: Harm) -> None:
    """Do something to all copies of a part."""
    name = part_name(outline_on(world).upload_id, index)
    for disk in world.disks.values():
        if name in disk.objects:
            how(disk, name)


def lose(disk: FakeDisk, name: ObjectName) -> None:
    del disk.objects[name]


def change(disk: FakeDisk, name: ObjectName) -> None:
    info, body = disk.objects[name]
    disk.store(name, body[::-1], info.label)


def shorten(disk: FakeDisk, name: ObjectName) -> None:
    info, body = disk.objects[name]
    disk.store(name, body[:-1], info.label)


def cut_off(disk: FakeDisk, name: ObjectName) -> None:
    info, body = disk.objects[name]
    disk.objects[name] = (info, body[:-1])


@any_replicas
@pytest.mark.parametrize("how", [lose, change, shorten, cut_off])
@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_body_without_one_of_its_parts_never_ends_cleanly(
    replicas: int, how: Harm, index: int
) -> None:
    world = world_of(replicas)
    cluster = chunked(world)
    cluster.put(NAME, stream(BODY), {})
    break_part(world, index, how)
    content = cluster.get(NAME).content
    got = b""
    with pytest.raises(NodeError):
        while chunk := content.read():
            got += chunk
    content.close()
    assert BODY.startswith(got)
    assert len(got) < (index + 1) * PART


def test_a_node_that_is_away_costs_the_parts_that_it_holds() -> None:
    world = World(1)
    cluster = chunked(world, 100)
    cluster.put(NAME, stream(BODY), {})
    for disk in world.ranked[1:]:
        assert any(name.key.startswith(PARTS) for name in disk.data), "of 26 parts"
        disk.failing = BROKEN
        with pytest.raises(NodeError):
            read(cluster.get(NAME))
        disk.failing = None
        assert read(cluster.get(NAME)) == BODY


@pytest.mark.parametrize("replicas", [2, 3])
def test_with_replicas_any_node_may_be_away_or_break_in_the_middle(
    replicas: int,
) -> None:
    world = world_of(replicas)
    cluster = chunked(world, 500)
    cluster.put(NAME, stream(BODY), {})
    for disk in world.ranked:
        disk.failing = BROKEN
        assert read(cluster.get(NAME)) == BODY
        assert part_range(cluster, 400, 1700) == BODY[400:1701]
        disk.failing = None
        disk.breaks_at = 250
        assert read(cluster.get(NAME)) == BODY
        disk.breaks_at = None


@any_replicas
def test_a_damaged_manifest_is_no_object(replicas: int) -> None:
    world = world_of(replicas)
    cluster = chunked(world)
    cluster.put(NAME, stream(BODY), {})
    for disk in world.disks.values():
        if NAME in disk.objects:
            info, _ = disk.objects[NAME]
            disk.store(NAME, b"{}", info.label, info.headers)
    with pytest.raises(NodeProtocolError):
        cluster.get(NAME)
    assert all(c.is_closed for disk in world.disks.values() for c in disk.opened)


# Writing.


def test_a_body_is_read_once_and_a_piece_at_a_time() -> None:
    world = World(2)
    pieces = [BODY[at : at + 300] for at in range(0, len(BODY), 300)]
    body = stream(*pieces)
    reads: list[int] = []
    for disk in world.disks.values():
        disk.before["commit"] = lambda: reads.append(body.reads)
    chunked(world).put(NAME, body, {})
    assert body.reads == len(pieces)
    assert reads == [4, 4, 7, 7, 9, 9, 9, 9], "each part is stored when it is read"


def test_memory_does_not_grow_with_the_object() -> None:
    class Zeros:
        """A disk would hold it: this one forgets."""

        length = 64 * 2**20

        def chunks(self) -> Iterable[bytes]:
            for _ in range(self.length // CHUNK_BYTES):
                yield bytes(CHUNK_BYTES)

        def can_restart(self) -> bool:
            return False

    world = World(1)

    def forget() -> None:
        for disk in world.disks.values():
            for name in stored_parts(world) & disk.objects.keys():
                info, _ = disk.objects[name]
                disk.objects[name] = (info, b"")

    for disk in world.disks.values():
        disk.before["put"] = forget
    tracemalloc.start()
    chunked(world, 2**20).put(NAME, Zeros(), {})
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(stored_parts(world)) == 64
    assert peak < 8 * 2**20


@any_replicas
@pytest.mark.parametrize("missing", [1, 700, 1500])
def test_a_short_body_is_never_stored(replicas: int, missing: int) -> None:
    world = world_of(replicas)
    cluster = chunked(world)
    cluster.put(NAME, stream(OTHER), {})
    for source in (stream(BODY, missing=missing), Ending(BODY, len(BODY) + missing)):
        with pytest.raises(BodyError):
            cluster.put(NAME, source, {})
        assert read(cluster.get(NAME)) == OTHER


class Ending:
    """A body that just ends too early."""

    def __init__(self, data: bytes, length: int) -> None:
        self.length = length
        self._data = data

    def chunks(self) -> Iterator[bytes]:
        yield self._data

    def can_restart(self) -> bool:
        return False


def test_an_upload_that_took_half_a_day_is_not_stored() -> None:
    world = World(2)
    cluster = chunked(world)
    cluster.put(NAME, stream(OTHER), {})

    def pass_time(nanoseconds: int) -> Bytes:
        body = stream(BODY[:2000], BODY[2000:])

        def wait() -> None:
            world.now_ns += nanoseconds

        body.before = [lambda: None, wait]
        return body

    with pytest.raises(LateError, match="12 hours"):
        cluster.put(NAME, pass_time(LONGEST_UPLOAD_NS + 1), {})
    assert read(cluster.get(NAME)) == OTHER
    cluster.put(NAME, pass_time(LONGEST_UPLOAD_NS), {})
    assert read(cluster.get(NAME)) == BODY


def test_a_gateway_that_stood_still_before_the_last_step_does_not_take_it() -> None:
    """The time is judged when the manifest is sent, not before nodes are asked."""
    world = World(2)
    cluster = chunked(world)
    cluster.put(NAME, stream(OTHER), {})
    before = stored_parts(world)

    def stand_still() -> None:
        if len(stored_parts(world) - before) == 3:
            world.now_ns += LONGEST_UPLOAD_NS + 1

    for disk in world.disks.values():
        disk.before = {"head": stand_still}
    with pytest.raises(LateError):
        cluster.put(NAME, stream(BODY), {})
    calm(world)
    assert len(stored_parts(world) - before) == 3
    assert read(cluster.get(NAME)) == OTHER


def test_headers_that_leave_no_room_are_refused_before_anything_is_stored() -> None:
    world = World(1)
    cluster = chunked(world)
    headers = {"X-A": "a" * room()}
    cluster.put(NAME, stream(BODY[:PART]), headers)
    world.forget_calls()
    body = stream(BODY)
    with pytest.raises(MetadataTooLargeError) as caught:
        cluster.put(NAME, body, headers)
    assert told(caught.value).status == 400
    assert body.reads == 0
    assert world.calls() == [[], [], []]


def room() -> int:
    """Return how long one header's value may be."""
    for length in range(MAX_METADATA_BYTES, 0, -1):
        with suppress(MetadataTooLargeError):
            require_fit({"X-A": "a" * length})
            return length
    raise AssertionError


def test_where_nothing_can_be_written_nothing_is_read() -> None:
    body = stream(BODY)
    with pytest.raises(NoNodesError):
        chunked(World(3, 2, is_formed=False)).put(NAME, body, {})
    world = World(1)
    world.ranked[0].failing = BROKEN
    with pytest.raises(NodeError):
        chunked(world).put(NAME, body, {})
    assert body.reads == 0
    assert not stored_parts(world)


def test_the_first_object_of_all_may_be_a_large_one() -> None:
    world = World(2, is_formed=False)
    cluster = chunked(world)
    cluster.put(NAME, stream(BODY), {})
    assert read(cluster.get(NAME)) == BODY


@pytest.mark.parametrize("part_bytes", [CHUNK_BYTES // 2, CHUNK_BYTES + 1000])
def test_a_node_that_stores_other_bytes_is_not_believed(part_bytes: int) -> None:
    world = World(1)
    cluster = chunked(world, part_bytes)
    cluster.put(NAME, stream(SMALL), {})
    for disk in world.disks.values():
        disk.mangles = True
    with pytest.raises(NodeProtocolError, match="other bytes"):
        cluster.put(NAME, stream(*CHUNKS), {})
    for disk in world.disks.values():
        disk.mangles = False
    assert read(cluster.get(NAME)) == SMALL


# Overwriting, deleting, conditions.


@any_replicas
def test_what_came_last_is_read(replicas: int) -> None:
    world = world_of(replicas)
    cluster = chunked(world)
    for body in (BODY, OTHER, SMALL, BODY, b"", OTHER):
        cluster.put(NAME, stream(body) if body else Bytes(), {})
        assert read(cluster.get(NAME)) == body
        assert cluster.head(NAME).info.etag == tag(body)
    cluster.delete(NAME)
    with pytest.raises(NoSuchKeyError):
        cluster.get(NAME)
    assert not dict(cluster.list(NAME.key))


def test_conditions_are_about_the_etags_that_clients_know() -> None:
    for before in (BODY, SMALL):
        for after in (OTHER, b"tiny"):
            world = World(1)
            cluster = chunked(world)
            cluster.put(NAME, stream(before), {})
            stored_tag = world.cluster.head(NAME).info.etag
            for wrong in {"0" * 32, tag(after), stored_tag} - {tag(before)}:
                with pytest.raises(PreconditionError):
                    cluster.put(NAME, Bytes(after), {}, if_match=wrong)
            with pytest.raises(PreconditionError):
                cluster.put(NAME, Bytes(after), {}, if_absent=True)
            assert read(cluster.get(NAME)) == before
            cluster.put(NAME, Bytes(after), {}, if_match=tag(before))
            assert read(cluster.get(NAME)) == after


def test_a_condition_that_does_not_hold_stores_no_parts() -> None:
    world = World(1)
    cluster = chunked(world)
    cluster.put(NAME, stream(SMALL), {})
    other = ObjectName("store", "nothing")
    for name, condition in (
        (NAME, {"if_match": "0" * 32}),
        (NAME, {"if_absent": True}),
        (other, {"if_match": tag(SMALL)}),
    ):
        with pytest.raises(PreconditionError):
            cluster.put(name, Bytes(BODY), {}, **cast(Any, condition))
    assert not stored_parts(world)


@pytest.mark.parametrize("after", [SMALL, BODY])
def test_if_absent_stores_where_nothing_is_or_was(after: bytes) -> None:
    world = World(1)
    cluster = chunked(world)
    cluster.put(NAME, Bytes(after), {}, if_absent=True)
    assert read(cluster.get(NAME)) == after
    cluster.delete(NAME)
    with pytest.raises(PreconditionError):
        cluster.put(NAME, Bytes(after), {}, if_match=tag(after))
    cluster.put(NAME, Bytes(after), {}, if_absent=True)


def test_conditions_need_one_copy_and_store_no_parts_otherwise() -> None:
    world = World(2)
    cluster = chunked(world)
    for condition in ({"if_match": tag(BODY)}, {"if_absent": True}):
        with pytest.raises(NotSupportedError):
            cluster.put(NAME, Bytes(BODY), {}, **cast(Any, condition))
    assert not stored_parts(world)


@pytest.mark.parametrize("new", [SMALL, OTHER])
def test_a_condition_holds_if_the_same_bytes_were_stored_again_meanwhile(
    new: bytes,
) -> None:
    world = World(1)
    cluster = chunked(world)
    cluster.put(NAME, Bytes(BODY), {})
    moments = [lambda: cluster.put(NAME, Bytes(BODY), {})]

    def store_again() -> None:
        calls = world.ranked[0].calls
        if moments and calls.count("head") >= 2:
            moments.pop()()

    world.ranked[0].before["put"] = store_again
    world.forget_calls()
    cluster.put(NAME, Bytes(new), {}, if_match=tag(BODY))
    assert not moments
    assert read(cluster.get(NAME)) == new


@any_replicas
def test_put_once_knows_what_is_stored_in_parts(replicas: int) -> None:
    world = world_of(replicas)
    cluster = chunked(world)
    blob = blob_name(hashlib.sha1(BODY).hexdigest())
    first = cluster.put_once(blob, stream(BODY), HEADERS)
    parts = stored_parts(world)
    body = stream(BODY)
    again = cluster.put_once(blob, body, {"X-Colour": "red"})
    assert (again.info.etag, again.info.headers) == (first.info.etag, HEADERS)
    assert body.reads == 0
    assert stored_parts(world) == parts
    with pytest.raises(DifferentContentError) as caught:
        cluster.put_once(blob, stream(BODY[:-1]), {})
    assert told(caught.value).status == 409
    assert read(cluster.get(blob)) == BODY


@any_replicas
def test_put_once_of_what_is_stored_whole_stores_nothing(replicas: int) -> None:
    world = world_of(replicas)
    cluster = chunked(world)
    cluster.put_once(NAME, Bytes(b"small"), HEADERS)
    world.forget_calls()
    cluster.put_once(NAME, Bytes(b"small"), HEADERS)
    assert {"put", "commit"}.isdisjoint(itertools.chain(*world.calls()))


def test_put_once_makes_up_for_copies_of_a_manifest_that_are_missing() -> None:
    world = World(2)
    cluster = chunked(world)
    cluster.put(NAME, stream(BODY), HEADERS)
    lose(world.ranked[0], NAME)
    stored = cluster.put_once(NAME, stream(BODY), {"X-Colour": "red"})
    assert stored.info.headers == HEADERS
    assert sum(NAME in disk.data for disk in world.disks.values()) >= 2
    assert read(cluster.get(NAME)) == BODY
    assert cluster.head(NAME).info.headers == HEADERS


def test_where_a_listing_tells_little_each_object_is_looked_at() -> None:
    world = World(2)
    cluster = chunked(world)
    cluster.put(NAME, stream(BODY), HEADERS)
    for disk in world.disks.values():
        disk.lists_briefly = True
    assert dict(cluster.list(NAME.key)) == {NAME.key: cluster.head(NAME).info}


def test_no_one_node_holds_an_object_in_parts() -> None:
    world = World(1)
    cluster = chunked(world)
    cluster.put(NAME, stream(SMALL), {})
    assert cluster.holder(NAME).name == world.names[0]
    cluster.put(NAME, stream(BODY), {})
    with pytest.raises(NotSupportedError):
        cluster.holder(NAME)


# Crashes and failures at every step.


STEPS = [
    ("put", CHUNK_BYTES // 2),
    ("commit", CHUNK_BYTES // 2),
    ("put", CHUNK_BYTES + 1000),
    ("write", CHUNK_BYTES + 1000),
    ("commit", CHUNK_BYTES + 1000),
]
"""Where parts are sent whole, and where they are sent as they come."""


@any_replicas
@pytest.mark.parametrize("old", [OTHER, SMALL, None])
def test_a_crash_at_any_step_leaves_the_old_object_or_the_new_one(
    replicas: int, old: bytes | None
) -> None:
    for step in range(200):
        world = world_of(replicas)
        cluster = chunked(world)
        if old is not None:
            cluster.put(NAME, stream(old), {})
        happened = crash_at(world, step)
        with suppress(CrashError):
            cluster.put(NAME, stream(BODY), {})
        calm(world)
        try:
            found = read(cluster.get(NAME))
        except NoSuchKeyError:
            found = None
        assert found == BODY or (happened() and found == old)
        if not happened():
            return
    raise AssertionError("it never ended")


@any_replicas
def test_nodes_that_fail_at_any_step_leave_whole_objects(replicas: int) -> None:
    """Each node fails at each step of its own, from then on."""
    for victim in range(replicas):
        for step in range(100):
            world = world_of(replicas)
            cluster = chunked(world)
            cluster.put(NAME, stream(OTHER), {})
            disk = world.ranked[victim]
            disk.failures.extend([None] * step + [BROKEN] * 500)
            is_stored = False
            with suppress(NodeError):
                cluster.put(NAME, stream(BODY), {})
                is_stored = True
            is_over = len(disk.failures) > 500
            calm(world)
            found = read(cluster.get(NAME))
            assert found == BODY or (not is_stored and found == OTHER)
            if is_over:
                break
        else:
            raise AssertionError("it never ended")


@pytest.mark.parametrize("replicas", [2, 3])
@pytest.mark.parametrize(("method", "part_bytes"), STEPS)
def test_with_replicas_a_node_may_fail_at_any_step_and_the_upload_succeeds(
    replicas: int, method: str, part_bytes: int
) -> None:
    """Whether parts are small enough to be sent twice, or are sent as they come."""
    for step in range(12):
        world = world_of(replicas)
        cluster = chunked(world, part_bytes)
        disk = world.ranked[step % len(world.ranked)]
        fail_at(disk, method, BROKEN, step // len(world.ranked))
        cluster.put(NAME, stream(*CHUNKS), {})
        calm(world)
        assert read(cluster.get(NAME)) == LONG


@pytest.mark.parametrize(("method", "part_bytes"), STEPS)
def test_with_one_copy_a_node_that_fails_in_a_part_fails_the_upload(
    method: str, part_bytes: int
) -> None:
    for step in range(4):
        world = World(1)
        cluster = chunked(world, part_bytes)
        cluster.put(NAME, stream(SMALL), {})
        left = [step]

        def count(left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise BROKEN

        for disk in world.disks.values():
            disk.before[method] = count
        with pytest.raises(NodeError):
            cluster.put(NAME, stream(*CHUNKS), {})
        calm(world)
        assert read(cluster.get(NAME)) == SMALL


@any_replicas
def test_put_once_heals_a_blob_whose_parts_are_gone(replicas: int) -> None:
    world = world_of(replicas)
    cluster = chunked(world)
    blob = blob_name(hashlib.sha1(BODY, usedforsecurity=False).hexdigest())
    cluster.put_once(blob, stream(BODY), {})
    lost = min(stored_parts(world))
    for disk in world.disks.values():
        disk.objects.pop(lost, None)
    with pytest.raises(NodeError):
        read(cluster.get(blob))
    world.now_ns += 1000
    cluster.put_once(blob, stream(BODY), {})
    assert read(cluster.get(blob)) == BODY


@pytest.mark.parametrize("text", ["v2:1", "", "0" * 32])
def test_a_manifest_of_another_kind_is_not_served_as_the_object(text: str) -> None:
    world = world_of(1)
    cluster = chunked(world)
    world.cluster.put(NAME, stream(b"{}"), {PARTS_HEADER: text})
    for ask in (cluster.get, cluster.head, cluster.holder):
        with pytest.raises(NodeProtocolError):
            ask(NAME)


def test_a_manifest_of_deep_nonsense_is_the_nodes_failure() -> None:
    world = world_of(1)
    cluster = chunked(world)
    cluster.put(NAME, stream(BODY), {})
    disk = next(disk for disk in world.disks.values() if NAME in disk.data)
    info, _ = disk.objects[NAME]
    nonsense = b"[" * 200_000
    disk.objects[NAME] = (replace(info, size=len(nonsense)), nonsense)
    with pytest.raises(NodeProtocolError):
        cluster.get(NAME)
