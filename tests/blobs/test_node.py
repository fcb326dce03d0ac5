"""A blob server as a node: the old program, its stand-in, and what misbehaves."""

from __future__ import annotations

import logging
import socket
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from amazin.blobs.node.client import BlobClient
from amazin.blobs.node.json_stream import array_items
from amazin.blobs.node.node import BlobNode
from amazin.errors import (
    GatewayError,
    NodeAccessError,
    NodeError,
    NodeFullError,
    NodeProtocolError,
    NodeTimeoutError,
    NodeUnreachableError,
    NoSuchKeyError,
    NotSupportedError,
    PreconditionError,
)
from amazin.model.node_specs import TimeLimits
from amazin.model.objects import (
    CHUNK_BYTES,
    UNKNOWN_SIZE,
    Label,
    ObjectInfo,
    ObjectName,
    Stamp,
)
from tests.support.old_sos import (
    KINDS,
    SOS,
    OldBlobServer,
    go_post,
    old_replicate,
    old_server,
    old_upload,
)
from tests.support.peers import SameAnswer
from tests.support.ports import free_port

LIMITS = TimeLimits(connect=2.0, answer=2.0, transfer=5.0)
SHORT = TimeLimits(connect=0.5, answer=0.2, transfer=0.5)
LABEL = Label(Stamp(1, 2))
BIG = bytes(range(256)) * 4096 * 3
SIZES = (0, 1, 2048, 2049, 300_000, len(BIG))


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def url(kind: str, tmp_path: Path) -> Iterator[str]:
    with old_server(kind, tmp_path / "store") as url:
        yield url


@pytest.fixture
def node(url: str) -> Iterator[BlobNode]:
    with closing(BlobNode("a", url, LIMITS)) as node:
        yield node


def name_of(blob_id: str) -> ObjectName:
    return ObjectName("blobs", blob_id)


def put(
    node: BlobNode,
    blob_id: str,
    data: bytes,
    length: int | None,
    headers: dict[str, str] | None = None,
    *,
    streams: bool = False,
) -> ObjectInfo:
    """Store a blob as a cluster does, small ones whole; or stream it in any case."""
    if length is not None and length <= CHUNK_BYTES and not streams:
        return node.start_put(name_of(blob_id), data, LABEL, headers or {}).wait()
    upload = node.start_upload(name_of(blob_id), length, LABEL, headers or {})
    try:
        for start in range(0, len(data), 100_000):
            upload.write(data[start : start + 100_000])
        return upload.start_commit().wait()
    finally:
        upload.abort()


def get(
    node: BlobNode, blob_id: str, byte_range: tuple[int, int] | None = None
) -> tuple[ObjectInfo, bytes]:
    content = node.start_get(name_of(blob_id), byte_range=byte_range).wait()
    with closing(content):
        return content.info, b"".join(iter(content.read, b""))


# The old programs


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("way", ["whole if small", "streamed", "chunked"])
def test_what_was_uploaded_is_downloaded(node: BlobNode, size: int, way: str):
    data = BIG[:size]
    length = None if way == "chunked" else size
    stored = put(node, "a1", data, length, streams=way == "streamed")
    assert stored.size == size
    info, found = get(node, "a1")
    assert found == data
    assert info.size == (size if size <= 2048 else UNKNOWN_SIZE)
    assert info.etag == ""
    assert info.headers == {}


def test_headers_of_a_blob_come_back_and_ours_stay_here(node: BlobNode):
    put(
        node,
        "a1",
        b"x",
        1,
        {
            "X-Mime-Type": "image/jpeg",
            "X-Orig-Name": "a b; c",
            "X-Amazin-Stamp": "1.2",
            "X-Request-Id": "abc",
            "Content-Type": "text/plain",
            "Cache-Control": "no-store",
        },
    )
    expected = {
        "X-Mime-Type": "image/jpeg",
        "X-Orig-Name": "a b; c",
        "Content-Type": "image/jpeg",
    }
    assert get(node, "a1")[0].headers == expected


def test_the_sniffed_type_of_an_old_server_is_not_the_blobs(node: BlobNode):
    put(node, "a1", b"<html>", 6)
    assert get(node, "a1")[0].headers == {}


def test_a_question_tells_only_that_there_is_a_blob(node: BlobNode):
    put(node, "a1", b"abc", 3, {"X-A": "b"})
    found = node.start_head(name_of("a1")).wait()
    assert (found.size, found.etag) == (UNKNOWN_SIZE, "")


def test_what_is_missing_is_missing(node: BlobNode):
    with pytest.raises(NoSuchKeyError):
        node.start_head(name_of("nothing")).wait()
    with pytest.raises(NoSuchKeyError):
        node.start_get(name_of("nothing")).wait()


@pytest.mark.parametrize("size", [10, 300_000])
@pytest.mark.parametrize("place", ["start", "middle", "end"])
def test_a_range_of_a_server_that_knows_none_is_cut_out(
    node: BlobNode, size: int, place: str
):
    put(node, "a1", BIG[:size], size)
    ranges = {"start": (0, 3), "middle": (4, size - 3), "end": (size - 1, size - 1)}
    first, last = ranges[place]
    assert get(node, "a1", (first, last))[1] == BIG[first : last + 1]


def test_a_range_beyond_a_blob_is_an_error_and_no_short_answer(node: BlobNode):
    put(node, "a1", b"abc", 3)
    with pytest.raises(NodeProtocolError, match="shorter"):
        get(node, "a1", (1, 3))


def test_an_upload_that_is_given_up_leaves_nothing(node: BlobNode):
    for length in (None, len(BIG)):
        upload = node.start_upload(name_of("cut"), length, LABEL, {})
        upload.write(BIG[:500_000])
        upload.abort()
        upload.abort()
    put(node, "other", b"", 0)
    assert list(node.ids()) == ["other"]


def test_an_upload_of_another_length_is_not_committed(node: BlobNode):
    for length in (5, 500_000):
        upload = node.start_upload(name_of("a1"), length, LABEL, {})
        upload.write(b"1234")
        with pytest.raises(GatewayError, match="before it was complete"):
            upload.start_commit()
        upload.abort()
    upload = node.start_upload(name_of("a1"), 3, LABEL, {})
    with pytest.raises(GatewayError, match="longer than was announced"):
        upload.write(b"1234")
    upload.abort()
    assert list(node.ids()) == []


def test_the_list_is_that_of_the_ids(
    node: BlobNode, kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    assert list(node.ids()) == []
    for blob_id in ("b2", "a1", "9"):
        put(node, blob_id, b"x", 1, {"X-A": "b"})
    for stray in ("Thumbs.db", "lost+found", "a-b", "UPPER"):
        (tmp_path / "store" / stray).write_bytes(b"")
    assert list(node.ids()) == ["9", "a1", "b2"]
    assert len(caplog.records) == 1
    assert node.details() is None
    listed = [key for key, _ in node.list_objects("blobs", "", "9")]
    assert listed == ["a1", "b2"]
    assert list(node.list_objects("store")) == []


def test_a_check_asks_whether_a_blob_server_is_there(node: BlobNode):
    node.start_check().wait()


@pytest.mark.parametrize("path", ["", "/", "///"])
def test_slashes_behind_the_address_do_not_matter(url: str, path: str):
    with closing(BlobNode("a", url + path, LIMITS)) as node:
        put(node, "a1", b"abc", 3)
        assert list(node.ids()) == ["a1"]
        assert get(node, "a1")[1] == b"abc"


def test_a_blob_server_deletes_nothing_and_judges_no_condition(node: BlobNode):
    with pytest.raises(NotSupportedError):
        node.start_delete(name_of("a1"))
    with pytest.raises(NotSupportedError):
        node.start_upload(name_of("a1"), 1, LABEL, {}, if_match="x")
    with pytest.raises(NotSupportedError):
        node.start_put(name_of("a1"), b"x", LABEL, {}, if_match="x")


def test_connections_are_kept(tmp_path: Path):
    server = OldBlobServer(tmp_path)
    try:
        node = BlobNode("a", server.url, LIMITS)
        for number in range(3):
            put(node, f"a{number}", BIG, None)
            get(node, f"a{number}")
        assert server.connections == 1
        node.close()
    finally:
        server.stop()


def test_a_kept_connection_that_died_is_replaced(tmp_path: Path):
    port = free_port()
    for _ in range(2):
        with old_server("stand-in", tmp_path, port):
            node = BlobNode("a", f"http://127.0.0.1:{port}", LIMITS)
            put(node, "a1", b"x", 1)
        with old_server("stand-in", tmp_path, port):
            assert get(node, "a1")[1] == b"x"
        with old_server("stand-in", tmp_path, port):
            put(node, "a2", b"y", 1)
        with old_server("stand-in", tmp_path, port):
            put(node, "a3", BIG, None)
        node.close()


def test_a_full_old_server_says_so(tmp_path: Path):
    server = OldBlobServer(tmp_path)
    server.is_full = True
    try:
        with closing(BlobNode("a", server.url, LIMITS)) as node:
            for length in (len(BIG), None):
                with pytest.raises(NodeFullError):
                    put(node, "a1", BIG, length)
    finally:
        server.stop()


@pytest.mark.parametrize("cut_at", [0, 1, 3000, 299_999])
def test_a_body_that_is_cut_off_is_an_error(tmp_path: Path, cut_at: int):
    server = OldBlobServer(tmp_path)
    try:
        with closing(BlobNode("a", server.url, LIMITS)) as node:
            put(node, "a1", BIG[:300_000], None)
            server.cut_at = cut_at
            with pytest.raises(NodeError):
                get(node, "a1")
    finally:
        server.stop()


def test_a_frozen_server_is_noticed_before_the_body_is_read(tmp_path: Path):
    server = OldBlobServer(tmp_path)
    server.moves.clear()
    try:
        with closing(BlobNode("a", server.url, SHORT)) as node:
            with pytest.raises(NodeTimeoutError):
                node.start_upload(name_of("a1"), None, LABEL, {})
            with pytest.raises(NodeTimeoutError):
                node.start_get(name_of("a1")).wait()
            with pytest.raises(NodeTimeoutError):
                node.start_upload(name_of("a1"), 5, LABEL, {})
            with pytest.raises(NodeTimeoutError):
                put(node, "a1", b"small", 5)
    finally:
        server.stop()


def test_a_dead_server_is_unreachable():
    with closing(BlobNode("a", f"http://127.0.0.1:{free_port()}", SHORT)) as node:
        for act in (
            lambda: node.start_get(name_of("a1")).wait(),
            lambda: node.start_head(name_of("a1")).wait(),
            lambda: node.start_check().wait(),
            lambda: put(node, "a1", b"x", 1),
            lambda: put(node, "a1", b"x", 1, streams=True),
            lambda: put(node, "a1", b"x", None),
            lambda: list(node.ids()),
            lambda: node.details(),
        ):
            with pytest.raises(NodeUnreachableError):
                act()


# Answers that mean something else


def http(status: int, body: bytes = b"", *lines: str) -> bytes:
    head = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *lines]
    return ("\r\n".join(head) + "\r\n\r\n").encode("latin-1") + body


@pytest.fixture
def scripted() -> Iterator[Callable[[bytes], tuple[BlobNode, SameAnswer]]]:
    with ExitStack() as stack:

        def start(answer: bytes) -> tuple[BlobNode, SameAnswer]:
            server = stack.enter_context(closing(SameAnswer(answer)))
            node = BlobNode("a", server.url, LIMITS)
            stack.enter_context(closing(node))
            return node, server

        yield start


Start = Callable[[bytes], tuple[BlobNode, SameAnswer]]


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (409, PreconditionError),
        (500, NodeFullError),
        (507, NodeFullError),
        (401, NodeAccessError),
        (403, NodeAccessError),
        (404, NodeProtocolError),
        (405, NodeProtocolError),
        (422, NodeProtocolError),
        (301, NodeProtocolError),
        (204, NodeProtocolError),
        (503, NodeError),
        (429, NodeError),
    ],
)
@pytest.mark.parametrize(
    ("length", "streams"),
    [(3, False), (3, True), (None, True)],
    ids=["whole", "streamed", "chunked"],
)
def test_each_refusal_of_an_upload_has_its_error(
    scripted: Start,
    status: int,
    error: type[Exception],
    length: int | None,
    streams: bool,
):
    node, _ = scripted(http(status))
    with pytest.raises(error) as caught:
        put(node, "a1", b"abc", length, streams=streams)
    assert caught.type is error


@pytest.mark.parametrize(
    "body",
    [
        b'{"error":"upload failed"}',
        b"failed to write to storage\n",
        b'{"id":"a1","status":"OK","size":2}',
        b'{"id":"b1","status":"OK","size":3}',
        b'{"id":"a1","status":"no","size":3}',
        b'{"id":"a1","status":"OK"}',
        b"[]",
        b"3",
        b"",
        b"\xff",
        b"[" * 50_000,
        b" " * 100_000,
    ],
)
@pytest.mark.parametrize("streams", [False, True])
def test_200_alone_is_not_believed(scripted: Start, body: bytes, streams: bool):
    node, _ = scripted(http(200, body))
    with pytest.raises(NodeProtocolError):
        put(node, "a1", b"abc", 3, streams=streams)


def test_an_answer_before_the_end_of_an_upload_ends_it(scripted: Start):
    node, _ = scripted(http(409))
    upload = node.start_upload(name_of("a1"), None, LABEL, {})
    with pytest.raises(PreconditionError):
        for _ in range(1000):
            upload.write(BIG[:200_000])
    upload.abort()


def test_a_yes_before_the_end_of_an_upload_is_nonsense(scripted: Start):
    node, _ = scripted(http(200, b'{"id":"a1","status":"OK","size":3}'))
    upload = node.start_upload(name_of("a1"), None, LABEL, {})
    with pytest.raises(NodeError):
        for _ in range(1000):
            upload.write(BIG[:200_000])
    upload.abort()


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (404, NoSuchKeyError),
        (412, NodeProtocolError),
        (401, NodeAccessError),
        (500, NodeError),
        (503, NodeError),
        (416, NodeProtocolError),
        (301, NodeProtocolError),
        (204, NodeProtocolError),
    ],
)
@pytest.mark.parametrize("method", ["get", "head"])
def test_each_refusal_of_a_question_has_its_error(
    scripted: Start, status: int, error: type[Exception], method: str
):
    node, _ = scripted(http(status))
    start = node.start_get if method == "get" else node.start_head
    with pytest.raises(error) as caught:
        start(name_of("a1")).wait()
    assert caught.type is error


def test_a_condition_that_does_not_hold(scripted: Start):
    node, _ = scripted(http(412))
    with pytest.raises(PreconditionError):
        node.start_get(name_of("a1"), if_match="x").wait()


def test_what_our_servers_tell_is_known(scripted: Start):
    lines = ('ETag: "abc"', "X-Content-Type-Options: nosniff", "X-A: b")
    node, _ = scripted(http(200, b"abc", *lines, "X-Request-Id: 1"))
    info, data = get(node, "a1")
    assert (info.size, info.etag, info.headers) == (3, "abc", {"X-A": "b"})
    assert data == b"abc"


def test_a_length_of_head_counts_from_our_servers_only(scripted: Start):
    node, _ = scripted(http(200, b"", "Connection: close"))
    assert node.start_head(name_of("a1")).wait().size == UNKNOWN_SIZE
    answer = http(200, b"", 'ETag: "abc"').replace(b"h: 0", b"h: 77")
    node, _ = scripted(answer)
    assert node.start_head(name_of("a1")).wait().size == 77


def test_a_part_is_what_was_asked_for(scripted: Start):
    node, server = scripted(http(206, b"bc", "Content-Range: bytes 1-2/3"))
    info, data = get(node, "a1", (1, 2))
    assert (info.size, data) == (3, b"bc")
    assert b"Range: bytes=1-2" in server.heads[0]
    for wrong in ((0, 1), None):
        with pytest.raises(NodeProtocolError):
            get(node, "a1", wrong)


@pytest.mark.parametrize("etag", ['ETag: "x"', "X-A: b"])
def test_other_bytes_are_noticed_where_that_is_told(scripted: Start, etag: str):
    node, server = scripted(http(200, b"abc", etag))
    question = node.start_get(name_of("a1"), if_match="y")
    if etag.startswith("ETag"):
        with pytest.raises(PreconditionError):
            question.wait()
    else:
        question.wait().close()
    assert b'If-Match: "y"' in server.heads[0]


def test_a_body_without_an_end_is_refused(scripted: Start):
    node, _ = scripted(b"HTTP/1.1 200 OK\r\n\r\nabc")
    with pytest.raises(NodeProtocolError):
        get(node, "a1")


def test_what_is_no_blob_server_is_not_alive():
    for alive in (http(200, b"hello"), http(404, b"alive")):
        server = SameAnswer(b"", alive)
        with closing(server), closing(BlobNode("a", server.url, LIMITS)) as node:
            question = node.start_check()
            with pytest.raises(NodeProtocolError):
                question.wait()


def test_a_password_in_the_address_is_sent_and_a_path_stands_in_front(scripted: Start):
    _, server = scripted(http(404))
    address = server.url.replace("//", "//me:s%20x@") + "/below/"
    with closing(BlobNode("a", address, LIMITS)) as node:
        with pytest.raises(NoSuchKeyError):
            get(node, "a1")
        assert "s%20x" not in repr(node)
    head = server.heads[0].decode()
    assert head.startswith("GET /below/blob/a1 HTTP/1.1\r\n")
    assert "Authorization: Basic bWU6cyB4\r\n" in head + "\r\n"
    assert "@" not in head


# Lists


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"null",
        b'"a"',
        b"[1]",
        b'["a"',
        b'["a",',
        b'["a",]',
        b'["a" "b"]',
        b'["a"]x',
        b'["a","b',
        b'["b","a"]',
        b'["a","a"]',
        b'["a",{"id":"b"}]',
        b'["' + b"a" * 100_000 + b'"]',
        b"<html>",
        b'["a\n"]',
    ],
)
def test_a_list_that_is_none_is_refused(scripted: Start, body: bytes):
    node, _ = scripted(http(200, body))
    with pytest.raises(NodeProtocolError):
        list(node.ids())


@pytest.mark.parametrize("status", [404, 500, 301])
def test_a_list_that_is_refused_is_no_empty_one(scripted: Start, status: int):
    node, _ = scripted(http(status, b"[]"))
    with pytest.raises(NodeError):
        list(node.ids())


def test_details_are_id_size_and_etag(scripted: Start):
    body = b'[{"id":"a","size":1,"etag":"x"}, {"id":"b","size":0,"etag":"y","z":[1]} ]'
    node, server = scripted(http(200, body))
    assert list(node.details() or ()) == [("a", 1, "x"), ("b", 0, "y")]
    assert server.heads[0].startswith(b"GET /blobs?details HTTP/1.1")
    assert [info.size for _, info in node.list_objects("blobs")] == [1, 0]


@pytest.mark.parametrize(
    "body",
    [
        b'[{"id":"a","size":"1","etag":"x"}]',
        b'[{"id":"a","size":true,"etag":"x"}]',
        b'[{"id":"a","size":1}]',
        b'[{"id":1,"size":1,"etag":"x"}]',
        b'[{"id":"a","size":1,"etag":"x"},"b"]',
        b"[[]]",
    ],
)
def test_strange_details_are_refused(scripted: Start, body: bytes):
    node, _ = scripted(http(200, body))
    with pytest.raises(NodeProtocolError):
        list(node.details() or ())


@pytest.mark.parametrize("step", [1, 2, 7, 1000])
def test_a_list_is_the_same_however_it_is_cut(step: int):
    text = ' [ "a" ,{"x":[1,"]"]},\n"\\"é,\\u00e9", [] ] '
    data = text.encode()
    pieces = [data[i : i + step] for i in range(0, len(data), step)]
    assert list(array_items(pieces)) == ["a", {"x": [1, "]"]}, '"é,é', []]


def test_a_long_list_takes_no_memory():
    def chunks() -> Iterator[bytes]:
        yield b'["'
        for number in range(20_000):
            yield b'%040x","' % number
        yield b'z"]'

    tracemalloc.start()
    try:
        count = sum(1 for _ in array_items(chunks()))
        assert count == 20_001
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_a_list_that_breaks_off_is_an_error(scripted: Start):
    node, _ = scripted(http(200, b'["a","b"]').replace(b"h: 9", b"h: 99"))
    found = node.ids()
    assert next(found) == "a"
    with pytest.raises(NodeError):
        list(found)


# The stand-in, and old clients

ID_256 = "a" * 256
QUESTIONS: tuple[tuple[str, str], ...] = (
    *(("GET", path) for path in ("/alive", "/blobs", "/blobs/", "/blobs?x", "/", "/x")),
    *(("HEAD", path) for path in ("/alive", "/blobs", "/x")),
    *(
        (method, f"/blob/{blob_id}")
        for method in ("GET", "HEAD")
        for blob_id in ("typed", "zero", "plain", "edge", "big", "empty", "folder")
    ),
    *(
        (method, f"/blob/{blob_id}")
        for method in ("GET", "HEAD", "PUT", "DELETE")
        for blob_id in ("none", "UP", "a-b", "a.b", "%C3%A9", "a%20b", "a%2Fb", ID_256)
    ),
    ("GET", "/blob/"),
    ("PUT", "/blob/plain"),
    ("DELETE", "/blob/plain"),
)
POSTS: tuple[tuple[str, bytes, dict[str, str]], ...] = (
    ("typed", b"hello", {"x-mime-type": "text/x-foo", "X-TWO": "a b", "Via": "x"}),
    ("zero", bytes(1200), {}),
    ("plain", b"a" * 2048, {}),
    ("edge", b"a" * 2049, {"X-A": ""}),
    ("big", BIG, {}),
    ("empty", b"", {}),
    ("folder", b"x", {}),
    ("typed", b"other", {}),
    ("zero", b"\x00", {"X-New": "1"}),
    ("UP", b"x", {}),
    ("a-b", b"x", {}),
    (ID_256, b"x", {}),
)


def whole_answer(url: str, method: str, path: str) -> tuple[int, list[str], bytes]:
    """Return status, sorted headers without the date, and the body as it was framed."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as sock:
        sock.settimeout(5.0)
        request = f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        sock.sendall(request.encode())
        data = b"".join(iter(lambda: sock.recv(65536), b""))
    head, _, body = data.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    told = [line for line in lines if not line.startswith(("Date:", "Connection:"))]
    return int(status.split()[1]), sorted(told), body


@pytest.mark.skipif(not SOS, reason="no sos: set SOS to its path")
def test_the_stand_in_answers_as_the_program(tmp_path: Path):
    with ExitStack() as stack:
        urls = [
            stack.enter_context(old_server(kind, tmp_path / kind)) for kind in KINDS
        ]
        for kind in KINDS:
            (tmp_path / kind / "folder").mkdir()
        for blob_id, data, headers in POSTS:
            ours, theirs = (
                go_post(f"{url}/blob/{blob_id}", data, headers) for url in urls
            )
            assert ours == theirs, blob_id
        for method, path in QUESTIONS:
            ours, theirs = (whole_answer(url, method, path) for url in urls)
            assert ours == theirs, (method, path)


def test_old_clients_and_ours_share_a_server(node: BlobNode, url: str):
    assert old_upload([f"http://127.0.0.1:{free_port()}", url], "a1", BIG) == (
        b'{"id":"a1","status":"OK","size":%d}' % len(BIG)
    )
    info, data = get(node, "a1")
    assert (info.headers, data) == ({"X-Orig-Id": "a1"}, BIG)


def test_the_old_way_of_mirroring_works_with_what_we_stored(
    node: BlobNode, url: str, tmp_path: Path
):
    put(node, "a1", BIG, None, {"X-Mime-Type": "image/png"})
    with old_server("stand-in", tmp_path / "b") as other:
        assert old_replicate([url, other]) == [("a1", other)]
        with closing(BlobNode("b", other, LIMITS)) as mirror:
            assert get(mirror, "a1") == get(node, "a1")


def test_a_warning_names_a_stray_file_safely(
    scripted: Start, caplog: pytest.LogCaptureFixture
):
    node, _ = scripted(http(200, b'["\\u001b[2J","a"]'))
    with caplog.at_level(logging.WARNING):
        assert list(node.ids()) == ["a"]
    assert caplog.text.rstrip("\n").isprintable()


@pytest.mark.parametrize(
    ("user", "header"),
    [
        ("ann:secret", "Basic YW5uOnNlY3JldA=="),
        ("ann:", "Basic YW5uOg=="),
        ("t0ken", "Bearer t0ken"),
        ("t%2Fo", "Bearer t/o"),
    ],
)
def test_a_url_may_have_a_password_or_a_token(user: str, header: str) -> None:
    client = BlobClient(f"http://{user}@localhost:1", TimeLimits())
    assert f"Authorization: {header}\r\n".encode() in client.request_head("GET", "/")
