"""Old blob servers as one store, while they are well, dead, full or wrong."""

from __future__ import annotations

import re
import threading
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from random import Random

import pytest

from amazin.api.blobs import FETCH_ROUTES, shown_as
from amazin.api.content import get_content
from amazin.blobs.search import POLL_SECONDS, Search, find_copies
from amazin.blobs.server_store import ServerBlobs, blob_member
from amazin.blobs.sos_conf import BlobServer
from amazin.blobs.store import BLOB_BUCKET
from amazin.errors import (
    BodyError,
    DifferentContentError,
    HTTPError,
    LostCopyError,
    NodeError,
    NodeFullError,
    NodeProtocolError,
    NodeTimeoutError,
    NoNodesError,
    NoSuchKeyError,
)
from amazin.membership.member import Member
from amazin.model.bodies import HeldBody
from amazin.model.node_specs import NodeSpec, TimeLimits
from amazin.model.objects import UNKNOWN_SIZE, ByteRange, ObjectInfo, ObjectName
from amazin.serving.blob_apps import ServerServices
from amazin.settings.settings import Settings
from amazin.web.messages import Request, Response
from amazin.web.spool import SpoolRoom
from gateway import Gateway
from tests.support.answers import told
from tests.support.app import Answer, Said, call
from tests.support.blob_servers import LIMITS, OurServer, Servers, sha1
from tests.support.cleanup import closed_later
from tests.support.collision import FIRST, SECOND
from tests.support.fakes import FakeDisk, FakeNode
from tests.support.folder_node import content
from tests.support.old_sos import KINDS, OldBlobServer, old_server
from tests.support.ports import free_port
from tests.support.waiting import PATIENCE_SECONDS

BIG = bytes(range(256)) * 4096 * 2
SMALL = b"a small blob"
HEADERS = {"X-Mime-Type": "image/png", "X-A": "b"}
SHOWN = {**HEADERS, "Content-Type": "image/png"}


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    with closing(Servers(tmp_path)) as servers:
        yield servers


@pytest.fixture
def ours(tmp_path: Path) -> Iterator[OurServer]:
    server = OurServer(tmp_path / "ours")
    yield server
    server.stop()


@pytest.fixture
def ours_too(tmp_path: Path) -> Iterator[OurServer]:
    server = OurServer(tmp_path / "ours too")
    yield server
    server.stop()


class StreamedBody:
    """A body that can be read once, of which the end may be missing."""

    def __init__(self, data: bytes, missing: int = 0) -> None:
        self.length = len(data)
        self._data = data[: len(data) - missing]
        self._is_read = False

    def chunks(self) -> Iterator[bytes]:
        self._is_read = True
        for start in range(0, len(self._data), 2**16):
            yield self._data[start : start + 2**16]
        if len(self._data) < self.length:
            raise BodyError("cut off")

    def can_restart(self) -> bool:
        return not self._is_read


def put(
    store: ServerBlobs, data: bytes, headers: Mapping[str, str] | None = None
) -> str:
    store.put(sha1(data), HeldBody(data), headers or {})
    return sha1(data)


def get(
    store: ServerBlobs,
    blob_id: str,
    choose: Callable[[ObjectInfo], ByteRange | None] | None = None,
) -> tuple[ObjectInfo, bytes]:
    download = store.get(blob_id, choose)
    with closing(download.content) as content:
        return content.info, b"".join(iter(content.read, b""))


# Old programs


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("data", [b"", SMALL, BIG], ids=["empty", "small", "big"])
def test_a_blob_is_stored_and_found(
    servers: Servers, tmp_path: Path, kind: str, data: bytes
):
    with ExitStack() as stack:
        urls = [
            stack.enter_context(old_server(kind, tmp_path / name)) for name in "abc"
        ]
        store = servers.over([BlobServer("g", url) for url in urls], 2)
        blob_id = put(store, data, HEADERS)
        assert [(tmp_path / name / blob_id).exists() for name in "abc"] == [1, 1, 0]
        info, found = get(store, blob_id)
        assert (found, info.headers) == (data, SHOWN)
        assert info.size == (UNKNOWN_SIZE if data == BIG else len(data))
        assert store.head(blob_id).info.size == UNKNOWN_SIZE
        with pytest.raises(NoSuchKeyError):
            store.get(sha1(b"another"))
        with pytest.raises(NoSuchKeyError):
            store.head(sha1(b"another"))


# Where a blob goes


@pytest.mark.parametrize(
    ("names", "replicas", "holders"),
    [
        ("1a 1b 1c", 1, "1a"),
        ("1a 1b 1c", 2, "1a 1b"),
        ("!1a 1b 1c", 2, "1b 1c"),
        ("1a !1b 1c", 2, "1a 1c"),
        ("1a 1b 2a 2b", 2, "1a 1b"),
        ("!1a !1b 2a 2b", 2, "2a 2b"),
        ("1a 2a 2b", 2, "2a 2b"),
        ("2a 1a 2b 1b", 1, "2a"),
    ],
)
@pytest.mark.parametrize("data", [SMALL, BIG], ids=["small", "big"])
def test_a_write_goes_to_the_first_servers_of_the_first_group_that_takes_it(
    servers: Servers, names: str, replicas: int, holders: str, data: bytes
):
    store = servers.store(names, replicas)
    blob_id = put(store, data)
    assert servers.holders(blob_id) == holders
    assert get(store, blob_id)[1] == data


def test_a_full_server_moves_the_write_on_to_the_next_group(servers: Servers):
    store = servers.store("1a 1b 2a 2b")
    servers["1a"].is_full = True
    blob_id = put(store, BIG)
    assert not servers["1b"].has(blob_id)
    assert servers["2a"].get(blob_id) == (BIG, {})
    assert get(store, blob_id)[1] == BIG


def test_the_rest_that_a_full_old_server_keeps_is_no_copy(servers: Servers):
    store = servers.store("1a 1b")
    servers["1a"].is_full = True
    for data in (SMALL, BIG):
        with pytest.raises(NodeFullError):
            put(store, data)
        servers["1a"].is_full = False
        blob_id = put(store, data)
        assert servers["1a"].get(blob_id) == (data, {})
        servers["1a"].is_full = True


def test_all_full_is_full_and_some_dead_is_a_failure(servers: Servers):
    store = servers.store("1a 2a")
    for name in ("1a", "2a"):
        servers[name].is_full = True
    with pytest.raises(NodeFullError):
        put(store, SMALL)
    store = servers.store("1a !2a")
    with pytest.raises(NodeError) as caught:
        put(store, SMALL)
    assert not isinstance(caught.value, NodeFullError)


def test_too_few_servers_take_no_write(servers: Servers):
    for names in ("1a", "1a 2a", "1a !1b"):
        store = servers.store(names, 2)
        with pytest.raises((NodeError, NoNodesError)):
            put(store, SMALL)


def test_no_servers_are_no_store():
    store = ServerBlobs([], LIMITS, 1)
    with pytest.raises(NoNodesError):
        put(store, SMALL)
    with pytest.raises(NoNodesError):
        store.get(sha1(SMALL))


# What is there already


@pytest.mark.parametrize("data", [SMALL, BIG], ids=["small", "big"])
def test_a_blob_that_is_there_is_stored_once(servers: Servers, data: bytes):
    store = servers.store("1a 1b 2a")
    servers["1b"].store(sha1(data), data, HEADERS)
    blob_id = put(store, data, {"X-New": "1"})
    assert servers.holders(blob_id) == "1b"
    assert get(store, blob_id)[0].headers == SHOWN
    for server in servers.running.values():
        assert not any(line.startswith("POST") for line in server.requests)


@pytest.mark.parametrize("data", [SMALL, BIG], ids=["small", "big"])
def test_missing_copies_are_made_up_in_the_group_that_has_it(
    servers: Servers, data: bytes
):
    store = servers.store("1a 1b 2a 2b", 2)
    servers["2b"].store(sha1(data), data, HEADERS)
    blob_id = put(store, data, {"X-New": "1"})
    assert servers.holders(blob_id) == "2a 2b"
    assert servers["2a"].get(blob_id) == (data, HEADERS)


def test_a_damaged_copy_of_an_old_server_is_replaced(servers: Servers):
    store = servers.store("1a 1b", 2)
    servers["1a"].store(sha1(SMALL), b"a smaLl blob", {})
    blob_id = put(store, SMALL)
    assert servers["1a"].get(blob_id) == (SMALL, {})
    assert servers["1b"].get(blob_id) == (SMALL, {})


def test_other_bytes_under_an_id_of_ones_own_are_refused(servers: Servers):
    store = servers.store("1a 1b")
    store.put("mine", HeldBody(b"one"), {})
    store.put("mine", HeldBody(b"one"), {"X-A": "b"})
    with pytest.raises(DifferentContentError) as caught:
        store.put("mine", HeldBody(b"two"), {})
    assert told(caught.value).status == 409
    assert servers["1a"].get("mine") == (b"one", {})
    assert servers.holders("mine") == "1a"


# Bodies that come once


def test_a_body_that_is_cut_off_is_not_stored(servers: Servers):
    store = servers.store("1a 1b", 2)
    for data in (SMALL, BIG):
        with pytest.raises(BodyError):
            store.put(sha1(data), StreamedBody(data, missing=1), {})
        assert servers.holders(sha1(data)) == ""


def test_a_body_that_comes_once_is_stored_on_all_at_once(servers: Servers):
    store = servers.store("!1a 1b 1c", 2)
    store.put(sha1(BIG), StreamedBody(BIG), {})
    assert servers.holders(sha1(BIG)) == "1b 1c"


# Reading


@pytest.mark.parametrize("names", ["!1a 1b", "1a !1b", "1a !2a", "!1a !1b"])
def test_a_missing_blob_is_404_only_if_all_say_so(servers: Servers, names: str):
    store = servers.store(names)
    for _ in range(2):
        with pytest.raises(NodeError):
            store.get(sha1(SMALL))
        with pytest.raises(NodeError):
            store.head(sha1(SMALL))


def test_a_file_that_an_old_server_cannot_read_is_not_missing(servers: Servers):
    store = servers.store("1a")
    (servers["1a"].folder / "folder").mkdir()
    with pytest.raises(NodeError):
        store.get("folder")


def test_dead_servers_are_passed_by(servers: Servers):
    store = servers.store("!1a 1b !2a 2b")
    servers["2b"].store(sha1(SMALL), SMALL, {})
    assert get(store, sha1(SMALL))[1] == SMALL
    assert store.head(sha1(SMALL)).member.name == servers["2b"].url


def test_a_silent_server_is_overtaken(servers: Servers):
    store = servers.store("1a 1b 2a")
    for name in ("1a", "1b"):
        servers[name].store(sha1(SMALL), SMALL, {})
    servers["1a"].moves.clear()
    assert get(store, sha1(SMALL))[1] == SMALL
    assert store.head(sha1(SMALL)).member.name == servers["1b"].url
    put(store, BIG)
    assert servers.holders(sha1(BIG)) == "1b"
    asked = [line for line in servers["1a"].requests if "/alive" not in line]
    assert asked == [f"GET /blob/{sha1(SMALL)}"]


def test_a_silent_server_may_be_the_one_that_has_it(servers: Servers):
    store = servers.store("1a 1b")
    servers["1a"].store(sha1(SMALL), SMALL, {})
    servers["1a"].moves.clear()
    timer = threading.Timer(1.2, servers["1a"].moves.set)
    timer.start()
    try:
        assert get(store, sha1(SMALL))[1] == SMALL
    finally:
        timer.join(PATIENCE_SECONDS)


def test_a_server_that_is_back_is_asked_again(servers: Servers, tmp_path: Path):
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    store = servers.over([BlobServer("g", url)], 1)
    with pytest.raises(NodeError):
        put(store, SMALL)
    with old_server("stand-in", tmp_path, port):
        moment = threading.Event()
        for _ in range(500):
            try:
                put(store, SMALL)
                break
            except NodeError:
                moment.wait(0.02)
        assert get(store, sha1(SMALL))[1] == SMALL


# Breaks and damage


@pytest.mark.parametrize("cut_at", [0, 1, 100_000, 300_000, len(BIG) - 1])
def test_a_download_that_breaks_goes_on_from_another_server(
    servers: Servers, cut_at: int
):
    store = servers.store("1a 1b !2a 2b")
    for name in ("1a", "2b"):
        servers[name].store(sha1(BIG), BIG, {})
    servers["1a"].cut_at = cut_at
    assert get(store, sha1(BIG))[1] == BIG
    servers["2b"].cut_at = cut_at
    with pytest.raises(NodeError):
        get(store, sha1(BIG))


def test_a_small_damaged_blob_comes_from_the_next_server(servers: Servers):
    store = servers.store("1a 1b 1c")
    servers["1a"].store(sha1(SMALL), b"a smaLl blob", {"X-Wrong": "1"})
    servers["1b"].store(sha1(SMALL), b"a", {})
    servers["1c"].store(sha1(SMALL), SMALL, HEADERS)
    info, data = get(store, sha1(SMALL))
    assert (data, info.headers, info.size) == (SMALL, SHOWN, len(SMALL))


def test_a_small_damaged_blob_is_never_given_out(servers: Servers):
    store = servers.store("1a 1b")
    servers["1a"].store(sha1(SMALL), b"", {})
    with pytest.raises(NodeProtocolError):
        store.get(sha1(SMALL))


@pytest.mark.parametrize("wrong_at", [0, 600_000, len(BIG) - 1])
def test_a_big_damaged_blob_is_never_given_out_whole(servers: Servers, wrong_at: int):
    store = servers.store("1a 1b")
    wrong = bytearray(BIG)
    wrong[wrong_at] ^= 1
    for data in (bytes(wrong), BIG[:-1], BIG + b"x", BIG[: len(BIG) // 2]):
        servers["1a"].store(sha1(BIG), data, {})
        given = b""
        content = store.get(sha1(BIG)).content
        with closing(content), pytest.raises(NodeProtocolError):
            for chunk in iter(content.read, b""):
                given += chunk
        assert len(given) < len(data)


@pytest.mark.parametrize("size", [0, 1, 300_000, len(BIG) - 1])
def test_what_an_old_server_has_of_a_blob_is_gone_on_with_from_another(
    servers: Servers, size: int
):
    store = servers.store("1a 1b 1c 1d")
    servers["1a"].store(sha1(BIG), BIG[:size], {})
    servers["1b"].store(sha1(BIG), BIG[: size + 1], {})
    servers["1c"].store(sha1(BIG), b"x" * len(BIG), {})
    servers["1d"].store(sha1(BIG), BIG, {})
    if size < len(BIG) - 1:
        servers["1b"].store(sha1(BIG), BIG[: len(BIG) // 2], {})
    assert get(store, sha1(BIG))[1] == BIG


def test_ids_of_ones_own_are_not_checked(servers: Servers):
    store = servers.store("1a")
    for data in (SMALL, BIG, b""):
        servers["1a"].store("custom", data, {})
        assert get(store, "custom")[1] == data


# Ranges and choosers


def test_a_range_of_a_blob_of_unknown_size_is_all_of_it(servers: Servers):
    store = servers.store("1a 1b")
    put(store, BIG)
    seen: list[int] = []

    def choose(info: ObjectInfo) -> ByteRange | None:
        seen.append(info.size)
        return None

    assert get(store, sha1(BIG), choose)[1] == BIG
    assert seen == [UNKNOWN_SIZE]


def test_what_a_chooser_raises_goes_through(servers: Servers):
    store = servers.store("1a 1b")
    put(store, SMALL)

    def choose(_: ObjectInfo) -> ByteRange | None:
        raise HTTPError(304, "NotModified", "")

    with pytest.raises(HTTPError):
        store.get(sha1(SMALL), choose)
    with pytest.raises(NoSuchKeyError):
        store.get(sha1(BIG), choose)


def test_a_password_in_an_address_is_in_no_name():
    member = blob_member("http://me:secret@127.0.0.1:1/x", LIMITS)
    assert member.name == "http://127.0.0.1:1/x"
    assert "secret" not in repr(member.node)


def test_a_server_of_two_groups_is_one(servers: Servers):
    servers.store("1a")
    url = servers["1a"].url
    store = servers.over([BlobServer("1", url), BlobServer("2", url)], 1)
    assert get(store, put(store, SMALL))[1] == SMALL


def test_many_at_once(servers: Servers):
    store = servers.store("1a 1b 2a 2b", 2)
    blobs = [b"%d" % n + BIG[: n * 5000] for n in range(40)]

    def work(part: list[bytes]) -> bool:
        for data in part:
            put(store, data, HEADERS)
        return all(get(store, sha1(data))[1] == data for data in part)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, [blobs[n % 4 :: 2] for n in range(8)]))
    for data in blobs:
        assert servers.holders(sha1(data)) == "1a 1b"


# Our servers, which tell more


def mixed(servers: Servers, *members: OurServer | OldBlobServer) -> ServerBlobs:
    """Return a store over one group of these servers, for one copy."""
    return servers.over([BlobServer("g", member.url) for member in members], 1)


def middle(_: ObjectInfo) -> ByteRange:
    return (300_000, len(BIG) - 5)


@pytest.mark.parametrize("data", [b"", SMALL, BIG], ids=["empty", "small", "big"])
def test_our_servers_tell_the_size(servers: Servers, ours: OurServer, data: bytes):
    store = mixed(servers, ours)
    blob_id = put(store, data, HEADERS)
    assert put(store, data, {"X-New": "1"}) == blob_id
    info = store.head(blob_id).info
    assert (info.size, info.headers["X-A"]) == (len(data), "b")
    found, given = get(store, blob_id)
    assert (found.size, found.headers["X-A"], given) == (len(data), "b", data)


def test_a_range_is_asked_of_a_server_that_knows_ranges(
    servers: Servers, ours: OurServer
):
    store = mixed(servers, ours)
    put(store, BIG)
    first, last = middle(store.head(sha1(BIG)).info)
    assert get(store, sha1(BIG), middle)[1] == BIG[first : last + 1]
    assert ours.ranges[-1] == f"bytes={first}-{last}"


@pytest.mark.parametrize("cut_at", [0, 100_000, 1_000_000])
def test_a_range_that_breaks_goes_on_from_any_server(
    servers: Servers, ours: OurServer, ours_too: OurServer, cut_at: int
):
    old = OldBlobServer(servers.folder / "old")
    servers.running["1x"] = old
    for member in (ours, ours_too, old):
        put(mixed(servers, member), BIG)
    ours.cut_at = cut_at
    first, last = middle(mixed(servers, ours_too).head(sha1(BIG)).info)
    for other in (ours_too, old):
        store = mixed(servers, ours, other)
        assert get(store, sha1(BIG), middle)[1] == BIG[first : last + 1]
        assert get(store, sha1(BIG))[1] == BIG
    assert ours_too.ranges[-1] == (f"bytes={cut_at}-{len(BIG) - 1}" if cut_at else "")


def fetch(store: ServerBlobs, blob_id: str, byte_range: str, room: Path) -> Answer:
    """Ask an api-server over the store for a range."""
    services = ServerServices(store, Settings(), SpoolRoom(str(room), 0))
    app = Gateway(FETCH_ROUTES, services)
    headers = {"Range": f"bytes={byte_range}"}
    environ = {"SERVER_PROTOCOL": "HTTP/1.1"}
    return call(app, "GET", f"/fetch/{blob_id}", headers=headers, environ=environ)


@pytest.mark.parametrize("cut_at", [None, 0, 100_000, 1_000_000])
def test_a_range_that_ours_told_the_size_for_may_come_from_an_old_server(
    servers: Servers, ours: OurServer, cut_at: int | None
):
    put(mixed(servers, ours), BIG)
    ours.is_failing = True
    servers.store("1a 1b")
    for name in ("1a", "1b"):
        servers[name].store(sha1(BIG), BIG, {})
    servers["1a"].cut_at = cut_at
    store = mixed(servers, ours, servers["1a"], servers["1b"])
    for first, last in ((0, 0), (100, 1_500_000), (300_000, len(BIG) - 1)):
        answer = fetch(store, sha1(BIG), f"{first}-{last}", servers.folder)
        assert (answer.status, answer.body) == (206, BIG[first : last + 1])
        assert answer.headers["Content-Range"] == f"bytes {first}-{last}/{len(BIG)}"
        assert answer.headers["Content-Length"] == str(last - first + 1)


def test_a_range_of_an_old_servers_other_size_breaks_off(
    servers: Servers, ours: OurServer
):
    put(mixed(servers, ours), BIG)
    ours.is_failing = True
    servers.store("1a")
    store = mixed(servers, ours, servers["1a"])
    for size in (0, 100, 2000):  # told at once
        servers["1a"].store(sha1(BIG), BIG[:size], {})
        answer = fetch(store, sha1(BIG), "10-1999999", servers.folder)
        assert (answer.status, answer.code) == (502, "NodeNonsense")
    servers["1a"].store(sha1(BIG), BIG[:1_000_000], {})  # seen at its end
    with pytest.raises(NodeError):
        fetch(store, sha1(BIG), "10-1999999", servers.folder)


@pytest.mark.parametrize("other", [BIG + b"x", BIG[:-1]])
def test_a_range_of_an_old_server_never_goes_on_with_another_size(
    servers: Servers, ours: OurServer, ours_too: OurServer, other: bytes
):
    put(mixed(servers, ours), BIG)
    ours.is_failing = True
    ours_too.hold(other, sha1(BIG))
    servers.store("1a")
    servers["1a"].store(sha1(BIG), BIG, {})
    servers["1a"].cut_at = 600_000
    store = mixed(servers, ours, servers["1a"], ours_too)
    with pytest.raises(NodeError):
        fetch(store, sha1(BIG), "100-1500000", servers.folder)


@pytest.mark.parametrize("cut_at", [0, 100_000, 1_000_000])
def test_an_old_server_that_breaks_is_gone_on_with_from_ours(
    servers: Servers, ours: OurServer, cut_at: int
):
    old = OldBlobServer(servers.folder / "old")
    servers.running["1x"] = old
    for member in (ours, old):
        put(mixed(servers, member), BIG)
    old.cut_at = cut_at
    assert get(mixed(servers, old, ours), sha1(BIG))[1] == BIG


def test_who_got_the_beginning_of_a_damaged_blob_never_gets_the_end_of_another(
    servers: Servers, ours: OurServer, ours_too: OurServer
):
    wrong = bytearray(BIG)
    wrong[10] ^= 1
    ours.hold(bytes(wrong), sha1(BIG))
    put(mixed(servers, ours_too), BIG)
    store = mixed(servers, ours, ours_too)
    content = store.get(sha1(BIG)).content
    with closing(content), pytest.raises(NodeProtocolError):
        list(iter(content.read, b""))
    resumed = store.get(sha1(BIG), middle)
    with closing(resumed.content):
        assert resumed.byte_range is None
        assert b"".join(iter(resumed.content.read, b"")) == BIG


def test_a_download_never_goes_on_with_other_content(
    servers: Servers, ours: OurServer, ours_too: OurServer
):
    for server, data in ((ours, BIG), (ours_too, BIG[::-1])):
        request = urllib.request.Request(f"{server.url}/blob/mine", data=data)
        urllib.request.urlopen(request).close()
    ours.cut_at = 1_000_000
    content = mixed(servers, ours, ours_too).get("mine").content
    with closing(content), pytest.raises(NodeError):
        list(iter(content.read, b""))


@pytest.mark.parametrize("wrong", [b"a smaLl blob", b"short", b""])
def test_our_server_with_other_bytes_is_passed_by(
    servers: Servers, ours: OurServer, ours_too: OurServer, wrong: bytes
):
    alone = mixed(servers, ours)
    ours.hold(wrong, sha1(SMALL))
    store = mixed(servers, ours, ours_too)
    put(store, SMALL)
    assert get(store, sha1(SMALL))[1] == SMALL
    with pytest.raises(DifferentContentError) as caught:
        put(alone, SMALL)
    assert told(caught.value).status == 409


@pytest.mark.parametrize("is_old", [False, True])
@pytest.mark.parametrize("more", [b"", BIG], ids=len)
def test_two_contents_with_one_sha1_are_never_taken_for_each_other(
    servers: Servers, ours: OurServer, ours_too: OurServer, more: bytes, is_old: bool
):
    servers.store("1a")
    first = servers["1a"] if is_old else ours
    put(mixed(servers, first), FIRST + more)
    store = mixed(servers, first, ours_too)
    for _ in range(2):
        with pytest.raises(DifferentContentError):
            put(store, SECOND + more)
    put(store, FIRST + more)
    assert get(store, sha1(FIRST + more))[1] == FIRST + more
    with pytest.raises(NoSuchKeyError):
        get(mixed(servers, ours_too), sha1(FIRST + more))


def test_other_bytes_on_ours_under_an_id_of_ones_own_are_refused(
    servers: Servers, ours: OurServer
):
    store = mixed(servers, ours)
    store.put("mine", HeldBody(b"one"), {})
    store.put("mine", HeldBody(b"one"), {"X-A": "b"})
    for data in (b"two", b"three"):
        with pytest.raises(DifferentContentError) as caught:
            store.put("mine", HeldBody(data), {})
        assert told(caught.value).status == 409
    assert get(store, "mine")[1] == b"one"


# Whatever the servers are like


class ChanceCopy:
    """What a blob server has of a blob, and how it is, by chance."""

    def __init__(
        self, random: Random, name: str, data: bytes, *, may_be_wrong: bool = True
    ) -> None:
        self.name = name
        self.is_old = random.random() < 0.6
        self.piece_bytes = random.choice((10_000, 2**16, 2**18))
        self.cut_at = random.choice((2**30, 2**30, random.randrange(len(data) + 1)))
        self.is_dead = random.random() < 0.2
        place = random.randrange(len(data))
        wrong = data[:place] + b"\xff" + data[place + 1 :] if may_be_wrong else data
        kinds = (data, data, data[:place], wrong, data + b"x", b"", None)
        self.data = random.choice(kinds) or b""
        self.is_absent = random.random() < 0.2
        self.tells_only = random.random() < 0.2

    def node(self, blob_id: str) -> FakeNode:
        """Return the server."""
        node = bare_node(self.name)
        disk, size = node.disk, UNKNOWN_SIZE if self.is_old else len(self.data)
        disk.piece_bytes = self.piece_bytes
        disk.breaks_at = self.cut_at if self.cut_at < len(self.data) else None
        disk.failing = NodeError("dead") if self.is_dead else None
        if self.tells_only:
            disk.before["get"] = self._fail
        if not self.is_absent:
            name = ObjectName(BLOB_BUCKET, blob_id)
            disk.objects[name] = (ObjectInfo(size, "", 0), self.data)
        return node

    def _fail(self) -> None:
        raise (
            NoSuchKeyError if self.is_absent else NodeError("HEAD is answered, no GET")
        )


def chance_copies(
    random: Random, data: bytes, *, may_be_wrong: bool = True
) -> list[ChanceCopy]:
    """Return what the servers of two groups have."""
    return [
        ChanceCopy(random, f"{n % 2}{n}", data, may_be_wrong=may_be_wrong)
        for n in range(random.randrange(1, 6))
    ]


def bare_node(name: str) -> FakeNode:
    """Return an empty blob server."""
    spec = NodeSpec(name, f"http://{name}")
    return FakeNode(spec, FakeDisk(buckets={BLOB_BUCKET}))


def over_fakes(nodes: Iterable[FakeNode]) -> ServerBlobs:
    """Return a store over these; their names begin with those of their groups."""
    known = {node.spec.endpoint: node for node in nodes}
    servers = [BlobServer(node.name[0], url) for url, node in known.items()]

    def make_member(url: str, _: TimeLimits) -> Member:
        return closed_later(Member(known[url].spec, known[url]))

    return ServerBlobs(servers, LIMITS, 1, make_member)


def test_a_blob_is_looked_for_by_the_first_servers_of_the_groups_first():
    """They answer at once: who is slow, as real ones may be, has others asked too."""
    nodes = {name: bare_node(name) for name in ("1a", "1b", "1c", "2a", "2b")}
    nodes["2b"].disk.put(ObjectName(BLOB_BUCKET, sha1(SMALL)), SMALL)
    assert get(over_fakes(nodes.values()), sha1(SMALL))[1] == SMALL
    asked = [name for name, node in nodes.items() if node.disk.calls]
    assert asked == ["1a", "1b", "2a", "2b"]


class SilentAnswer(Said):
    """A question that others are asked beside; it becomes ready late."""

    def __init__(self, polls: int) -> None:
        super().__init__("found")
        self._polls = polls
        self.waited: list[float] = []

    def is_ready(self, timeout: float) -> bool:
        self.waited.append(timeout)
        return len(self.waited) > self._polls


def test_no_answer_waits_for_that_of_a_silent_server():
    answers = {"slow": SilentAnswer(1000), "quick": SilentAnswer(3)}
    members = [
        closed_later(Member(node.spec, node)) for node in map(bare_node, answers)
    ]
    search = Search([members], lambda node: answers[node.name])
    assert search.run()[0].name == "quick"
    assert max(answers["slow"].waited) <= POLL_SECONDS


@pytest.mark.parametrize(
    "look",
    [
        lambda members, start: Search([members], start).run(),
        lambda members, start: find_copies(members, start),
    ],
    ids=["one", "all"],
)
def test_a_server_that_fails_to_answer_is_skipped(look: Callable[..., object]):
    answers = {"bad": Said(NodeTimeoutError("silent")), "good": Said("found")}
    members = [
        closed_later(Member(node.spec, node, 60.0)) for node in map(bare_node, answers)
    ]
    look(members, lambda node: answers[node.name])
    assert [member.is_skipped for member in members] == [True, False]
    for member in members:
        member.retire()


@pytest.mark.parametrize("seed", range(400))
def test_no_mixture_of_servers_gives_out_wrong_bytes_as_a_whole(seed: int):
    random = Random(seed)
    data = random.randbytes(random.choice((5, 200_000, 2**18, 300_000, 700_000)))
    copies = chance_copies(random, data)
    store = over_fakes(copy.node(sha1(data)) for copy in copies)
    may_be_missing = all(c.is_absent and not c.is_dead for c in copies)
    given, size = b"", UNKNOWN_SIZE
    try:
        content = store.get(sha1(data)).content
        size = content.info.size
        for chunk in iter(content.read, b""):
            given += chunk
    except NoSuchKeyError:
        assert may_be_missing
    except NodeError:
        assert len(given) != size
    else:
        assert given == data
        assert size in (UNKNOWN_SIZE, len(data))


@pytest.mark.parametrize("seed", range(400))
def test_no_mixture_of_servers_gives_out_a_range_as_something_else(seed: int):
    """All copies are beginnings of the same bytes: a range can't be checked."""
    random = Random(seed)
    data = random.randbytes(random.choice((5, 200_000, 2**18, 300_000, 700_000)))
    copies = chance_copies(random, data, may_be_wrong=False)
    for copy in copies:
        copy.tells_only = random.random() < 0.4
    first = random.randrange(len(data))
    asked = f"bytes={first}-{random.choice((first, len(data) - 1, 2**20))}"
    request = Request("GET", "/", {"HTTP_RANGE": asked}, "")
    opened = partial(over_fakes(c.node(sha1(data)) for c in copies).get, sha1(data))
    given = b""
    try:
        answer = get_content(request, opened, shown_as(sha1(data), ""))
        body = (answer.body,) if isinstance(answer.body, bytes) else answer.body
        for chunk in body:
            given += chunk
    except NoSuchKeyError:
        assert all(c.is_absent and not c.is_dead for c in copies)
        return
    except HTTPError as exc:
        assert exc.status == 416
        return
    except NodeError:
        return
    if answer.status == 200:
        assert given == data
        return
    assert answer.status == 206
    assert answer.length in (None, len(given))
    start, last, size = content_range(answer)
    assert start == first
    assert given == (data + b"x")[start : last + 1]
    assert size in {len(c.data) for c in copies if not c.is_old}


def content_range(answer: Response) -> tuple[int, int, int]:
    """Return the first and last byte of a part, and the size of the whole."""
    part = dict(answer.headers)["Content-Range"]
    found = re.fullmatch(r"bytes ([0-9]+)-([0-9]+)/([0-9]+)", part)
    assert found
    start, last, size = map(int, found.groups())
    return start, last, size


# Our servers, whose copies are damaged or gone


def read(store: ServerBlobs, blob_id: str) -> bytes:
    with closing(store.get(blob_id).content) as found:
        return b"".join(iter(found.read, b""))


def lose(server: OurServer) -> None:
    """Change the bytes of all that a server has."""
    for path in content(server.folder):
        path.write_bytes(path.read_bytes()[:-1] + b"~")


def test_a_lost_blob_is_read_from_another_server(
    servers: Servers, ours: OurServer, ours_too: OurServer
) -> None:
    store = servers.over([BlobServer("1", s.url) for s in (ours, ours_too)], 2)
    blob_id = sha1(SMALL)
    store.put(blob_id, HeldBody(SMALL), HEADERS)
    lose(ours)
    for _ in range(2):
        assert read(store, blob_id) == SMALL
        store.head(blob_id)
    lose(ours_too)
    for _ in range(2):
        with pytest.raises(LostCopyError):
            read(store, blob_id)
        with pytest.raises(LostCopyError):
            store.head(blob_id)
    store.put(blob_id, HeldBody(SMALL), {})
    assert read(store, blob_id) == SMALL
    assert store.head(blob_id).info.size == len(SMALL)


def test_a_blob_is_not_lost_while_a_server_is_away(
    servers: Servers, ours: OurServer
) -> None:
    dead = f"http://127.0.0.1:{free_port()}"
    store = servers.over([BlobServer("1", ours.url), BlobServer("2", dead)], 1)
    blob_id = sha1(SMALL)
    store.put(blob_id, HeldBody(SMALL), HEADERS)
    lose(ours)
    for look in (store.get, store.head):
        with pytest.raises(NodeError) as caught:
            look(blob_id)
        assert not isinstance(caught.value, LostCopyError)
