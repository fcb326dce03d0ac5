"""One download from several copies: never a byte of another version."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from amazin.cluster.downloads import ResumedObject, open_copy
from amazin.errors import (
    NodeError,
    NodeProtocolError,
    NodeUnreachableError,
    PreconditionError,
)
from amazin.membership.member import Member
from amazin.model.node_specs import NodeSpec
from amazin.model.objects import CHUNK_BYTES, ByteRange, ObjectInfo, ObjectName, Stamp
from tests.support.fakes import FakeContent, FakeDisk, FakeNode

NAME = ObjectName("store", "abc")
STAMP, OTHER_STAMP = Stamp(5, 5), Stamp(6, 0)
BODY = bytes(range(251)) * (3 * CHUNK_BYTES // 251)
BROKEN = NodeError("500")


def disk_with(
    body: bytes, stamp: Stamp = STAMP, breaks_at: int | None = None
) -> FakeDisk:
    disk = FakeDisk(breaks_at=breaks_at)
    disk.put(NAME, body, stamp)
    return disk


def member_on(disk: FakeDisk) -> Member:
    spec = NodeSpec("node", None)
    return Member(spec, FakeNode(spec, disk))


def info_of(disk: FakeDisk) -> ObjectInfo:
    return disk.objects[NAME][0]


def resumed(*disks: FakeDisk, byte_range: ByteRange | None = None) -> ResumedObject:
    """Return a download that begins on the first of the disks."""
    first, *others = map(member_on, disks)
    content = open_copy(first, NAME, info_of(disks[0]), byte_range)
    return ResumedObject(content, NAME, byte_range, iter(others))


def read(content: ResumedObject) -> bytes:
    return b"".join(iter(content.read, b""))


def ranges(disks: Sequence[FakeDisk]) -> list[list[ByteRange | None]]:
    return [[content.byte_range for content in disk.opened] for disk in disks]


# Opening one copy.


def test_a_copy_is_opened_by_its_etag() -> None:
    disk = disk_with(b"hello")
    content = open_copy(member_on(disk), NAME, info_of(disk), (1, 3))
    assert content.info == info_of(disk)
    assert content.read() == b"ell"


@pytest.mark.parametrize(
    ("body", "stamp"),
    [(b"other", STAMP), (b"hello", OTHER_STAMP), (b"other", OTHER_STAMP)],
)
def test_another_version_is_not_opened(body: bytes, stamp: Stamp) -> None:
    disk = disk_with(body, stamp)
    with pytest.raises(PreconditionError):
        open_copy(member_on(disk), NAME, info_of(disk_with(b"hello")), None)
    assert all(content.is_closed for content in disk.opened)


def test_a_copy_that_is_gone_is_another_version() -> None:
    disk = FakeDisk(buckets={"store"})
    with pytest.raises(PreconditionError):
        open_copy(member_on(disk), NAME, info_of(disk_with(b"hello")), None)


def test_a_node_that_fails_says_nothing_of_its_copy() -> None:
    disk = disk_with(b"hello")
    disk.failing = BROKEN
    with pytest.raises(NodeError, match="500"):
        open_copy(member_on(disk), NAME, info_of(disk), None)


@pytest.mark.parametrize("size", [0, 4, 6])
def test_a_copy_of_another_size_is_not_opened(size: int) -> None:
    disk = disk_with(b"hello")
    said = info_of(disk)
    disk.objects[NAME] = (replace(said, size=size), b"hello!"[:size])
    with pytest.raises(NodeProtocolError):
        open_copy(member_on(disk), NAME, said, None)
    assert disk.opened[0].is_closed


# Going on.


def test_what_does_not_break_is_read_from_one_node() -> None:
    disks = [disk_with(BODY), disk_with(BODY)]
    content = resumed(*disks)
    assert read(content) == BODY
    assert content.read() == b""
    content.close()
    assert ranges(disks) == [[None], []]
    assert disks[0].opened[0].is_closed


@pytest.mark.parametrize("size", [0, 1])
def test_small_objects_end(size: int) -> None:
    disk = disk_with(bytes(size))
    assert read(resumed(disk)) == bytes(size)


@pytest.mark.parametrize(
    "at", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, len(BODY) - 1]
)
def test_a_broken_download_goes_on_at_the_byte_that_is_missing(at: int) -> None:
    disks = [disk_with(BODY, breaks_at=at), disk_with(BODY)]
    content = resumed(*disks)
    assert read(content) == BODY
    assert ranges(disks) == [[None], [(at, len(BODY) - 1)]]
    assert disks[0].opened[0].is_closed
    content.close()
    assert disks[1].opened[0].is_closed


@pytest.mark.parametrize("at", [100, 150, CHUNK_BYTES + 100, CHUNK_BYTES + 200])
def test_a_broken_range_goes_on_within_the_range(at: int) -> None:
    byte_range = (100, CHUNK_BYTES + 200)
    disks = [disk_with(BODY, breaks_at=at), disk_with(BODY)]
    assert read(resumed(*disks, byte_range=byte_range)) == BODY[100 : byte_range[1] + 1]
    assert ranges(disks) == [[byte_range], [(at, byte_range[1])]]


def test_a_download_may_break_again_and_again() -> None:
    disks = [disk_with(BODY, breaks_at=at) for at in (10, 20, CHUNK_BYTES + 30)]
    disks.append(disk_with(BODY))
    assert read(resumed(*disks)) == BODY
    last = len(BODY) - 1
    assert ranges(disks) == [
        [None],
        [(10, last)],
        [(20, last)],
        [(CHUNK_BYTES + 30, last)],
    ]
    assert all(content.is_closed for disk in disks[:-1] for content in disk.opened)


def test_copies_that_can_not_be_used_are_passed_over() -> None:
    empty = FakeDisk(buckets={"store"})
    failing = disk_with(BODY)
    failing.failing = NodeUnreachableError("down")
    wiped = FakeDisk()
    disks = [
        disk_with(BODY, breaks_at=10),
        disk_with(BODY, OTHER_STAMP),
        disk_with(BODY[::-1], STAMP),
        empty,
        failing,
        wiped,
        disk_with(BODY),
    ]
    assert read(resumed(*disks)) == BODY
    assert all(content.is_closed for disk in disks[:-1] for content in disk.opened)


@pytest.mark.parametrize(
    ("body", "stamp"), [(BODY, OTHER_STAMP), (BODY[::-1], STAMP), (BODY + b"x", STAMP)]
)
def test_another_version_never_goes_on(body: bytes, stamp: Stamp) -> None:
    disks = [disk_with(BODY, breaks_at=10), disk_with(body, stamp)]
    content = resumed(*disks)
    assert content.read() == BODY[:10]
    with pytest.raises(NodeError, match="broke"):
        content.read()
    content.close()
    assert all(content.is_closed for disk in disks for content in disk.opened)


def test_without_another_copy_the_first_failure_is_raised() -> None:
    content = resumed(disk_with(BODY, breaks_at=10))
    assert content.read() == BODY[:10]
    with pytest.raises(NodeError, match="broke"):
        content.read()


class Short(FakeContent):
    """An answer that ends before its time, as if all were well."""

    def __init__(self, disk: FakeDisk, size: int) -> None:
        info, body = disk.objects[NAME]
        super().__init__(info, body[:size])


def test_an_answer_that_ends_early_has_failed() -> None:
    disks = [disk_with(BODY), disk_with(BODY)]
    content = ResumedObject(
        Short(disks[0], 10), NAME, None, iter([member_on(disks[1])])
    )
    assert read(content) == BODY
    alone = ResumedObject(Short(disks[0], 10), NAME, None, iter([]))
    assert alone.read() == BODY[:10]
    with pytest.raises(NodeError, match="short"):
        alone.read()


@pytest.mark.parametrize("size", [0, 10, len(BODY) - 1])
@pytest.mark.parametrize("byte_range", [None, (0, len(BODY) - 1)], ids=["", "range"])
def test_copies_that_all_end_early_are_never_a_whole_one(
    size: int, byte_range: ByteRange | None
) -> None:
    disks = [disk_with(BODY) for _ in range(3)]
    for disk in disks:
        disk.objects[NAME] = (info_of(disk), BODY[:size])
    content = resumed(*disks, byte_range=byte_range)
    received = bytearray()
    with pytest.raises(NodeError, match="short"):
        for piece in iter(content.read, b""):
            received += piece
    assert received == BODY[:size]
    content.close()
    assert [len(disk.opened) for disk in disks] == [1, 1, 1]
    assert all(content.is_closed for disk in disks for content in disk.opened)
