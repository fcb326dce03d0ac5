"""What mirroring promises, on blob servers in memory, old ones and ours."""

from __future__ import annotations

import io
import time
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amazin.blobs.replication.lists import (
    Blob,
    ListedCopy,
    merged,
    read_list,
    write_list,
)
from amazin.blobs.replication.mirrors import PATIENCE
from amazin.blobs.replication.run import Options, Replication, Stage
from amazin.blobs.replication.work import MAX_PROBLEMS, Report
from amazin.errors import (
    NodeError,
    NodeFullError,
    NodeProtocolError,
    NodeTimeoutError,
    NodeUnreachableError,
    RepairError,
)
from tests.support.fake_blob_server import (
    PIECE,
    A,
    B,
    C,
    FakeServer,
    ManyBlobs,
    Run,
    dying_at,
    md5,
    raising,
    sha1,
)

kinds = pytest.mark.parametrize("is_old", [True, False], ids=["old", "ours"])


# Lists


def test_lists_become_who_lacks_what() -> None:
    one, two = ListedCopy(1, "e"), ListedCopy()
    lists = [[("a", one), ("c", one)], [("b", two), ("c", two)], []]
    assert list(merged([iter(entries) for entries in lists])) == [
        Blob("a", (one, None, None)),
        Blob("b", (None, two, None)),
        Blob("c", (one, two, None)),
    ]


@given(st.lists(st.sets(st.text("ab01", min_size=1, max_size=3)), max_size=4))
def test_every_id_comes_once_in_order_with_all_that_have_it(
    servers: list[set[str]],
) -> None:
    found = list(merged([((i, ListedCopy()) for i in sorted(ids)) for ids in servers]))
    assert [blob.id for blob in found] == sorted(set().union(*servers))
    for blob in found:
        assert [copy is not None for copy in blob.copies] == [
            blob.id in ids for ids in servers
        ]


@kinds
def test_a_list_on_disk_is_the_list(is_old: bool) -> None:
    server = FakeServer(is_old)
    first, second = sorted([server.put(b"one"), server.put(b"other")])
    file = io.StringIO()
    assert write_list(server, file) is not is_old
    expected = [
        (name, ListedCopy() if is_old else ListedCopy(len(data), md5(data)))
        for name, data in sorted(server.blobs.items())
    ]
    assert list(read_list(file)) == expected
    assert list(read_list(file)) == expected, "also a second time"
    assert [name for name, _ in expected] == [first, second]


@pytest.mark.parametrize(
    ("blob_id", "copies", "must_be_read"),
    [
        ("custom", [ListedCopy(1, "e"), ListedCopy(1, "e")], False),
        ("custom", [ListedCopy(1, "e"), None], False),
        ("custom", [ListedCopy(1, "e"), ListedCopy(1, "f")], True),
        ("custom", [ListedCopy(1, "e"), ListedCopy(2, "e")], True),
        ("custom", [ListedCopy(1, "e"), ListedCopy()], True),
        ("custom", [ListedCopy(), ListedCopy()], True),
        ("custom", [ListedCopy(), None], False),
        (sha1(b"x"), [ListedCopy(), ListedCopy()], False),
        (sha1(b"x"), [ListedCopy(1, "e"), ListedCopy()], False),
        (sha1(b"x"), [ListedCopy(1, "e"), ListedCopy(1, "f")], True),
    ],
)
def test_only_what_lists_cannot_tell_is_read(
    blob_id: str, copies: list[ListedCopy | None], must_be_read: bool
) -> None:
    assert Blob(blob_id, tuple(copies)).must_be_read() is must_be_read


def test_an_etag_that_is_no_md5_tells_nothing() -> None:
    ours, old = FakeServer(), FakeServer(shown_etag="12-ab")
    ours.put(b"same", "custom")
    old.put(b"same", "custom")
    run = Run({A: ours, B: old})
    assert run.report.is_well
    assert "read" in ours.calls


@pytest.mark.parametrize("etag", ["", "12-ab"])
def test_two_unknown_etags_are_not_the_same(etag: str) -> None:
    one, two = FakeServer(shown_etag=etag), FakeServer(shown_etag=etag)
    one.put(b"first", "custom")
    two.put(b"other", "custom")
    assert Run({A: one, B: two}).report.differing == 1


# Copying


@pytest.mark.parametrize("olds", range(8))
def test_disjoint_sets_become_one(olds: int) -> None:
    servers = {url: FakeServer(bool(olds & 1 << i)) for i, url in enumerate((A, B, C))}
    expected = {}
    for url, server in servers.items():
        for size in (0, 1, PIECE, PIECE + 1, 5 * PIECE):
            data = (url * 9).encode()[:size] if size else b""
            expected[server.put(data, **{"X-From": url})] = data
        expected[server.put(b"custom of " + url.encode(), f"custom{url[7]}")] = (
            b"custom of " + url.encode()
        )
    report = Run(servers).report
    assert report.is_well
    assert all(server.blobs == expected for server in servers.values())
    assert report.blobs == len(expected)
    assert all(server.is_closed for server in servers.values())


def test_what_was_copied_is_counted() -> None:
    servers = {A: FakeServer(), B: FakeServer(True), C: FakeServer()}
    servers[A].put(b"twelve bytes")
    servers[C].put(b"four")
    servers[B].put(b"four")
    report = Run(servers).report
    assert (report.blobs, report.copied, report.copies) == (2, 2, 3)
    assert report.bytes == 2 * 12 + 4


@kinds
def test_headers_travel(is_old: bool) -> None:
    source, target = FakeServer(is_old), FakeServer(is_old)
    blob_id = source.put(b"data", **{"X-Owner": "me", "X-Mime-Type": "image/png"})
    assert Run({A: source, B: target}).report.is_well
    assert target.headers[blob_id] == {"X-Owner": "me", "X-Mime-Type": "image/png"}


@kinds
def test_what_all_have_is_neither_read_nor_asked_for(is_old: bool) -> None:
    servers = {url: FakeServer(is_old) for url in (A, B, C)}
    for server in servers.values():
        server.put(b"data")
    assert Run(servers).report.is_well
    assert all(set(s.calls) == {"list", "end of list"} for s in servers.values())


def test_groups_do_not_mix() -> None:
    servers = {url: FakeServer() for url in (A, B, C)}
    one, two = servers[A].put(b"one"), servers[C].put(b"two")
    assert Run(servers, groups={"1": [A, B], "2": [C]}).report.is_well
    assert set(servers[B].blobs) == {one}
    assert set(servers[C].blobs) == {two}


def test_one_server_alone_is_not_even_asked() -> None:
    server = FakeServer()
    assert Run({A: server}).report.is_well
    assert server.calls == []


@kinds
@pytest.mark.parametrize("size", [1, PIECE, 3 * PIECE])
def test_wrong_bytes_are_never_stored(is_old: bool, size: int) -> None:
    good, bad, empty = FakeServer(is_old), FakeServer(is_old), FakeServer(is_old)
    data = b"123456789012"[:size]
    blob_id = good.put(data)
    bad.put(bytes(size), blob_id)
    run = Run({A: bad, B: empty, C: good})
    assert empty.blobs == {blob_id: data}
    assert run.report.damaged == 1
    assert f"{blob_id} is damaged on {A}" in run.report.problems[0]
    assert run.report.bytes == size
    assert bad.blobs[blob_id] == bytes(size), "it is reported, not repaired"


@kinds
def test_wrong_bytes_without_a_good_copy_go_nowhere(is_old: bool) -> None:
    bad, empty = FakeServer(is_old), FakeServer(is_old)
    blob_id = bad.put(b"damaged bytes", sha1(b"the right ones"))
    report = Run({A: bad, B: empty}).report
    assert empty.blobs == {}
    assert (report.copied, report.bytes, report.damaged) == (0, 0, 1)
    assert any(f"{blob_id} can't be copied to {B}" in p for p in report.problems)


def test_a_bad_source_is_tried_once_for_all_targets() -> None:
    bad, one, two = FakeServer(), FakeServer(), FakeServer()
    bad.put(b"wrong", sha1(b"right"))
    report = Run({A: bad, B: one, C: two}).report
    assert report.damaged == 1
    assert bad.calls.count("get") == 1


def test_a_copy_is_a_source_as_good_as_any() -> None:
    source, one, two = FakeServer(), FakeServer(), FakeServer()
    blob_id = source.put(b"data")
    gets = iter([None, NodeError("the blob server answered 500")])

    def once() -> None:
        if error := next(gets):
            raise error

    source.scripts["get"] = once
    assert Run({A: source, B: one, C: two}).report.is_well
    assert two.blobs == {blob_id: b"data"}


@kinds
@pytest.mark.parametrize("breaks_at", [0, PIECE, 2 * PIECE])
def test_a_source_that_breaks_is_replaced_by_another(
    is_old: bool, breaks_at: int
) -> None:
    broken, good, empty = (FakeServer(is_old) for _ in range(3))
    blob_id = broken.put(b"0123456789")
    good.put(b"0123456789")
    broken.breaks_at = breaks_at
    report = Run({A: broken, B: good, C: empty}).report
    assert empty.blobs == {blob_id: b"0123456789"}
    assert report.is_well
    assert report.bytes == 10


@kinds
@pytest.mark.parametrize("breaks_at", [0, PIECE, 2 * PIECE])
def test_a_source_that_breaks_leaves_nothing_half(is_old: bool, breaks_at: int) -> None:
    broken, empty = FakeServer(is_old), FakeServer(is_old)
    blob_id = broken.put(b"0123456789")
    broken.breaks_at = breaks_at
    report = Run({A: broken, B: empty}).report
    assert empty.blobs == {}
    assert report.failures == 1
    assert report.bytes == 0
    assert f"{blob_id} can't be copied to {B}: {A}: " in report.problems[0]


def test_what_came_to_an_old_server_meanwhile_is_not_replaced() -> None:
    source, old = FakeServer(), FakeServer(True)
    source.put(b"ours", "custom")
    source.scripts["get"] = lambda: old.put(b"theirs", "custom")
    run = Run({A: source, B: old})
    assert old.blobs == {"custom": b"theirs"}
    assert run.lines[-1] == f"\tObject custom is present on {B}"
    assert run.report.copied == 0


def test_an_empty_list_does_not_make_an_old_server_one_of_ours() -> None:
    source, old = FakeServer(True), FakeServer(True)
    source.put(b"ours", "custom")
    Run({A: source, B: old})
    assert old.calls[-3:] == ["head", "put", "commit"]


def test_a_blob_of_one_piece_is_one_request() -> None:
    source, target = FakeServer(), FakeServer()
    source.put(b"a" * PIECE, "one", **{"X-A": "b"})
    source.put(b"", "empty")
    Run({A: source, B: target}, jobs=1)
    assert target.blobs == {"one": b"a" * PIECE, "empty": b""}
    assert target.headers["one"] == {"X-A": "b"}
    sent = [call for call in target.calls if call in ("put", "write", "commit")]
    assert sent == ["put", "commit"] * 2


def test_nor_what_came_while_its_bytes_were_on_the_way() -> None:
    source, old = FakeServer(), FakeServer(True)
    source.put(b"ours, in more than one piece", "custom")
    old.scripts["write"] = lambda: old.put(b"theirs", "custom")
    Run({A: source, B: old})
    assert old.blobs == {"custom": b"theirs"}


def test_what_came_to_one_of_ours_meanwhile_is_reported() -> None:
    source, target = FakeServer(), FakeServer()
    source.put(b"ours", "custom")
    target.scripts["put"] = lambda: target.put(b"theirs", "custom")
    report = Run({A: source, B: target}).report
    assert target.blobs == {"custom": b"theirs"}
    assert report.differing == 1
    assert "other bytes under this id" in report.problems[0]


def test_a_server_that_has_other_bytes_is_offered_them_once() -> None:
    one, two, target = FakeServer(), FakeServer(), FakeServer()
    for source in (one, two):
        source.put(b"ours", "custom")
    target.put(b"that it is one of ours")
    target.scripts["put"] = lambda: target.put(b"theirs", "custom")
    Run({A: one, B: two, C: target})
    assert target.calls.count("put") == 1


# Different contents


@pytest.mark.parametrize("olds", range(4))
@pytest.mark.parametrize("others", [b"second", b"other length"])
def test_different_contents_are_reported_and_stay(olds: int, others: bytes) -> None:
    one, two = FakeServer(bool(olds & 1)), FakeServer(bool(olds & 2))
    empty = FakeServer()
    one.put(b"first!", "custom")
    two.put(others, "custom")
    report = Run({A: one, B: two, C: empty}).report
    assert (one.blobs["custom"], two.blobs["custom"]) == (b"first!", others)
    assert empty.blobs == {}, "nobody knows which is right"
    assert report.differing == 1
    assert report.problems == [
        f"custom has different contents: {A} has 6 bytes with the SHA-1 "
        f"{sha1(b'first!')}, {B} has {len(others)} bytes with the SHA-1 {sha1(others)}"
    ]


def test_a_damaged_copy_is_told_from_the_right_one_by_its_name() -> None:
    good, bad, empty = FakeServer(), FakeServer(), FakeServer()
    blob_id = good.put(b"right")
    bad.put(b"wrong", blob_id)
    report = Run({A: bad, B: good, C: empty}).report
    assert (report.damaged, report.differing) == (1, 0)
    assert empty.blobs == {blob_id: b"right"}


def test_old_servers_are_trusted_by_name_unless_told_to_check() -> None:
    one, two = FakeServer(True), FakeServer(True)
    blob_id = one.put(b"right")
    two.put(b"wrong", blob_id)
    assert Run({A: one, B: two}).report.is_well
    report = Run({A: one, B: two}, is_check=True).report
    assert report.damaged == 1
    assert f"{blob_id} is damaged on {B}" in report.problems[0]


@kinds
def test_a_check_reads_every_copy_also_of_a_server_alone(is_old: bool) -> None:
    server = FakeServer(is_old)
    server.put(b"fine")
    server.put(b"wrong", sha1(b"right"))
    server.put(b"whatever", "custom")
    report = Run({A: server}, is_check=True).report
    assert (report.blobs, report.damaged, report.failures) == (3, 1, 0)
    assert server.calls.count("get") == 3


@kinds
def test_a_copy_that_cannot_be_read_is_a_failure_of_a_check(is_old: bool) -> None:
    good, bad = FakeServer(is_old), FakeServer(is_old)
    for server in (good, bad):
        server.put(b"0123456789")
    bad.breaks_at = PIECE
    report = Run({A: good, B: bad}, is_check=True).report
    assert report.failures == 1
    assert f"can't be read on {B}: " in report.problems[0]


# Servers that fail


@pytest.mark.parametrize(
    "error", [NodeUnreachableError("refused"), NodeProtocolError("nonsense")]
)
@pytest.mark.parametrize("call", ["list", "end of list"])
@kinds
def test_a_server_without_a_list_is_left_out(
    is_old: bool, call: str, error: NodeError
) -> None:
    servers = {url: FakeServer(is_old) for url in (A, B, C)}
    one, two = servers[A].put(b"one"), servers[C].put(b"two")
    servers[B].scripts[call] = raising(error)
    report = Run(servers).report
    assert set(servers[A].blobs) == set(servers[C].blobs) == {one, two}
    assert servers[B].blobs == {}
    assert report.left_out == {B: str(error)}
    assert not report.is_well


def test_a_server_left_alone_by_dead_ones_is_no_error_of_its_own() -> None:
    alone, dead = FakeServer(), FakeServer()
    alone.put(b"data")
    dead.scripts["list"] = raising(NodeUnreachableError("refused"))
    report = Run({A: alone, B: dead}).report
    assert report.left_out == {B: "refused"}
    assert report.problems == []


@kinds
@pytest.mark.parametrize(
    ("call", "data"),
    [
        ("put", b"%d"),
        ("commit", b"%d"),
        ("put", b"blob %d" * PIECE),
        ("write", b"blob %d" * PIECE),
        ("commit", b"blob %d" * PIECE),
    ],
)
def test_a_target_that_dies_is_left_out_soon(
    is_old: bool, call: str, data: bytes
) -> None:
    source, dying, other = (FakeServer(is_old) for _ in range(3))
    ids = {source.put(data.replace(b"%d", b"%d" % number)) for number in range(50)}
    dying.scripts[call] = dying_at(5, dying)
    report = Run({A: source, B: dying, C: other}, jobs=1).report
    assert set(other.blobs) == ids, "others get all"
    assert report.failures == PATIENCE
    assert len(report.problems) == PATIENCE
    assert report.left_out.keys() == {B}
    undone = 50 - len(dying.blobs) - PATIENCE
    assert report.left_out[B].endswith(f"; {undone} copies were not made")
    assert all(dying.blobs[name] == source.blobs[name] for name in dying.blobs)


@kinds
@pytest.mark.parametrize("call", ["get", "read"])
def test_a_source_that_dies_is_left_out_soon(is_old: bool, call: str) -> None:
    dying, other = FakeServer(is_old), FakeServer(is_old)
    for number in range(50):
        dying.put(f"blob {number}".encode() * 9)
    own = other.put(b"own")
    dying.scripts[call] = dying_at(9, dying)
    report = Run({A: dying, B: other}, jobs=1).report
    assert report.left_out.keys() == {A}
    assert len(report.problems) <= PATIENCE
    assert dying.calls.count("get") < 20
    undone = 51 - report.copies - report.failures
    assert report.left_out[A].endswith(f"; {undone} copies were not made")
    assert all(other.blobs[i] == dying.blobs[i] for i in other.blobs if i != own)


def test_a_server_that_lives_is_kept_whatever_blobs_fail() -> None:
    source, target = FakeServer(), FakeServer()
    bad = {source.put(f"bad {n}".encode(), f"bad{n}") for n in range(9)}
    good = {source.put(f"good {n}".encode(), f"good{n}") for n in range(9)}

    def fail_for_bad() -> None:
        if source.calls.count("get") <= len(bad):
            raise NodeError("the blob server answered 500")

    source.scripts["get"] = fail_for_bad
    report = Run({A: source, B: target}, jobs=1).report
    assert set(target.blobs) == good
    assert report.failures == len(bad)
    assert report.left_out == {}


def test_failures_now_and_then_are_no_reason_to_ask_whether_it_lives() -> None:
    source, target = FakeServer(), FakeServer()
    for number in range(30):
        source.put(b"%d" % number)
    calls = iter(range(99))

    def fail_often() -> None:
        if next(calls) % PATIENCE:
            raise NodeError("the blob server answered 503")

    target.scripts["commit"] = fail_often
    report = Run({A: source, B: target}, jobs=1).report
    assert report.failures == 20
    assert "check" not in target.calls


def test_a_server_too_full_for_some_blobs_still_gets_the_others() -> None:
    source, target = FakeServer(), FakeServer()
    for number in range(30):
        source.put(b"%d" % number)
    calls = iter(range(99))

    def refuse_often() -> None:
        if next(calls) % PATIENCE:
            raise NodeFullError("no room")

    target.scripts["commit"] = refuse_often
    report = Run({A: source, B: target}, jobs=1).report
    assert (report.failures, len(target.blobs)) == (20, 10)
    assert report.left_out == {}


def test_a_server_that_dies_in_a_check_is_left_out_soon() -> None:
    good, dying = FakeServer(), FakeServer()
    for number in range(30):
        good.put(b"%d" % number)
        dying.put(b"%d" % number)
    dying.scripts["get"] = dying_at(11, dying)
    report = Run({A: good, B: dying}, is_check=True, jobs=1).report
    assert report.failures == PATIENCE
    assert good.calls.count("get") == 30
    assert dying.calls.count("get") == 10 + PATIENCE
    assert report.left_out[B].endswith(f"; {20 - PATIENCE} copies were not made")


@kinds
def test_a_full_server_gets_no_more_but_still_gives(is_old: bool) -> None:
    full, other = FakeServer(is_old), FakeServer(is_old)
    for number in range(20):
        other.put(f"blob {number}".encode(), f"a{number}")
    given = full.put(b"from the full one", "z")
    full.scripts["commit"] = raising(NodeFullError("no room"))
    report = Run({A: full, B: other}, jobs=1).report
    assert other.blobs[given] == b"from the full one"
    assert report.failures == PATIENCE
    left = 20 - PATIENCE
    assert report.left_out == {
        A: f"it takes no more uploads; {left} copies were not made"
    }
    assert ("a part" in report.problems[0]) is is_old


def test_a_silent_server_costs_its_time_limit_a_few_times_only() -> None:
    source, silent = FakeServer(), FakeServer()
    for number in range(500):
        source.put(b"%d" % number)
    late = raising(NodeTimeoutError("the node was silent for too long"))
    silent.scripts = {"commit": late, "check": late}
    report = Run({A: source, B: silent}, jobs=4).report
    assert silent.calls.count("commit") <= PATIENCE + 2 * 4
    assert report.left_out.keys() == {B}


def test_no_more_sentences_than_can_be_read() -> None:
    source, target = FakeServer(), FakeServer()
    count = MAX_PROBLEMS // 2 + 50
    for number in range(count):
        source.put(b"wrong", sha1(b"%d" % number))
    report = Run({A: source, B: target}).report
    assert len(report.problems) == MAX_PROBLEMS
    assert report.more_problems == 100
    assert (report.damaged, report.failures) == (count, count)


def test_no_room_for_lists_ends_it_with_a_sentence() -> None:
    server = FakeServer()

    def full() -> None:
        raise OSError(28, "No space left on device")

    server.scripts["list"] = full
    with pytest.raises(RepairError, match=r"SPOOL_DIR: .*No space left"):
        Run({A: server, B: FakeServer()})
    with pytest.raises(RepairError, match=r"SPOOL_DIR: .*No such file"):
        options = Options(spool_dir="/nonexistent")
        Replication(lambda url: server, options).run({"default": [A, B]})


def test_an_error_of_the_program_ends_it() -> None:
    source, target = FakeServer(), FakeServer()
    for number in range(100):
        source.put(b"%d" % number)
    target.scripts["put"] = raising(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        Run({A: source, B: target})
    assert target.calls.count("put") < 20


def test_also_one_in_the_last_blob() -> None:
    source, target = FakeServer(), FakeServer()
    source.put(b"data")
    target.scripts["put"] = raising(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        Run({A: source, B: target})


# What is said


def test_the_lines_are_those_of_the_old_program() -> None:
    servers = {A: FakeServer(True), B: FakeServer(True)}
    servers[B].put(b"b", "b")
    servers[A].put(b"a", "a")
    servers[B].put(b"a", "a")
    assert Run(servers, groups={"1": [A, B], "2": [C]}).lines == [
        "Syncing group: 1",
        f"\tGroup member: {A}",
        f"\tGroup member: {B}",
        f"\tObject a is present on {A}",
        f"\tObject a is present on {B}",
        f"\tObject b is missing on {A}",
        f"\t\tMirroring b from {B} to {A}",
        f"\tFetching :{B}/blob/b",
        f"\tUploading :{A}/blob/b",
        "Syncing group: 2",
        f"\tGroup member: {C}",
    ]


def test_lines_of_one_copy_stay_together() -> None:
    servers = {A: FakeServer(), B: FakeServer(), C: FakeServer()}
    for number in range(200):
        servers[A].put(b"%d" % number)
    run = Run(servers, jobs=8)
    copies = [block for block in run.blocks if "missing" in block[0]]
    assert len(copies) == 400
    for first, *rest in copies:
        blob_id = first.split()[1]
        assert len(rest) == 3
        assert all(blob_id in line for line in rest)


def test_a_second_source_has_lines_of_its_own() -> None:
    broken, good, empty = FakeServer(), FakeServer(), FakeServer()
    broken.put(b"x", "x")
    good.put(b"x", "x")
    broken.breaks_at = 0
    assert Run({A: broken, B: good, C: empty}).blocks[-1] == [
        f"\tObject x is missing on {C}",
        f"\t\tMirroring x from {A} to {C}",
        f"\tFetching :{A}/blob/x",
        f"\t\tMirroring x from {B} to {C}",
        f"\tFetching :{B}/blob/x",
        f"\tUploading :{C}/blob/x",
    ]


def test_a_source_that_breaks_in_the_middle_is_not_said_again() -> None:
    broken, good, empty = FakeServer(), FakeServer(), FakeServer()
    broken.put(b"0123456789", "x")
    good.put(b"0123456789", "x")
    broken.breaks_at = 2 * PIECE
    first, second = Run({A: broken, B: good, C: empty}).blocks[-2:]
    assert first[0] == f"\tObject x is missing on {C}"
    assert second == [
        f"\t\tMirroring x from {B} to {C}",
        f"\tFetching :{B}/blob/x",
        f"\tUploading :{C}/blob/x",
    ]


def test_what_failed_is_said_as_far_as_it_came() -> None:
    broken, empty = FakeServer(), FakeServer()
    broken.put(b"x", "x")
    broken.breaks_at = 0
    assert Run({A: broken, B: empty}).blocks[-1] == [
        f"\tObject x is missing on {B}",
        f"\t\tMirroring x from {A} to {B}",
        f"\tFetching :{A}/blob/x",
    ]


def test_progress_counts_what_there_is_to_do() -> None:
    servers = {A: FakeServer(), B: FakeServer()}
    for number in range(30):
        servers[A].put(b"%d" % number)
    for number in range(10):
        servers[B].put(b"%d" % number)
    stages: list[Stage] = []
    Run(servers, tell=stages.append)
    assert stages[0].total is None
    assert {stage.total for stage in stages[1:]} == {20}
    assert [stage.done for stage in stages] == sorted(stage.done for stage in stages)
    assert stages[-1].done == 20
    assert stages[-1].report.blobs == 30


# Size


def peak(numbers: range, missing: int) -> tuple[int, Report]:
    """Return the most memory that a run took, and its report."""
    servers = {A: ManyBlobs(numbers), B: ManyBlobs(numbers[missing:])}
    tracemalloc.start()
    try:
        run = Replication(lambda url: servers[url], Options())
        report = run.run({"default": [A, B]})
        return tracemalloc.get_traced_memory()[1], report
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_number_of_blobs() -> None:
    few, _ = peak(range(1000), 100)
    many, report = peak(range(10_000), 3000)
    assert (report.blobs, report.copied) == (10_000, 3000)
    assert many < few + 2**18


@pytest.mark.parametrize(
    "count", [10_000, pytest.param(100_000, marks=pytest.mark.slow)]
)
def test_many_blobs_with_nothing_missing_take_seconds(count: int) -> None:
    servers = {url: ManyBlobs(range(count)) for url in (A, B, C)}
    start = time.monotonic()
    report = Replication(lambda url: servers[url], Options()).run(
        {"default": [A, B, C]}
    )
    assert report.blobs == count
    assert time.monotonic() - start < 10
