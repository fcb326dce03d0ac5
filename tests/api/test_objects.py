"""The object API, on three nodes: what a client is promised, request by request."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import cast
from urllib.parse import quote

import pytest

from amazin.errors import (
    NodeAccessError,
    NodeBusyError,
    NodeError,
    NodeFullError,
    NodePermissionError,
    NodeProtocolError,
    NodeReadOnlyError,
    NodeTimeoutError,
    NodeUnreachableError,
    NoSuchKeyError,
    PreconditionError,
)
from amazin.model.metadata_names import object_metadata
from amazin.model.objects import CHUNK_BYTES, ObjectName
from amazin.nodes.build import AbsentNode
from amazin.nodes.interface import Node
from amazin.settings.settings import Settings
from amazin.web.messages import SANDBOX
from gateway import Gateway
from hashing import Ranker
from tests.support.app import (
    Answer,
    BrokenInput,
    Content,
    Input,
    ScriptedNode,
    Site,
    an_object,
    call,
    call_chunked,
    content,
    make_app,
    scripted,
)
from tests.support.fakes import memory_nodes
from tests.support.waiting import within_a_second
from tests.support.world import World

MIB = 2**20
FUTURE = "Sun, 06 Nov 2044 08:49:37 GMT"
NAME = ObjectName("store", "abc")
BODY = bytes(range(256)) * 4
ETAG = f'"{hashlib.md5(BODY).hexdigest()}"'


def app_on(nodes: list[Node], replicas: int) -> Gateway:
    """Return an application for objects up to 1 MiB, spooling 2 MiB."""
    settings = Settings(replicas=replicas, max_object_bytes=MIB, spool_bytes=2 * MIB)
    return make_app(nodes, settings)


@pytest.fixture
def app(site: Site) -> Gateway:
    """An application on three nodes, with one or two replicas of each object."""
    return app_on(*site)


@pytest.fixture
def single(nodes: list[Node]) -> Gateway:
    """An application on three nodes that keeps one copy of each object."""
    return app_on(nodes, 1)


@pytest.fixture
def idle() -> Iterator[Gateway]:
    """An application whose node must not be asked."""
    app, node = scripted()
    yield app
    node.close()


def put(app: Gateway, body: bytes = BODY, path: str = "/object/abc") -> Answer:
    """Store an object that wasn't refused."""
    answer = call(app, "PUT", path, body)
    assert answer.status == 201
    return answer


def assert_same_object(app: Gateway, body: bytes | None = BODY) -> None:
    """Check that the object is still this one, None: that there is none."""
    answer = call(app, "GET", "/object/abc")
    if body is None:
        assert (answer.status, answer.code) == (404, "NoSuchObject")
    else:
        assert (answer.status, answer.body) == (200, body)


# Storing and fetching


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES, CHUNK_BYTES + 1, MIB])
def test_what_was_stored_comes_back(app: Gateway, size: int) -> None:
    body = bytes(range(256)) * (size // 256) + bytes(size % 256)
    stored = put(app, body)
    found = call(app, "GET", "/object/abc")
    assert (found.status, found.body == body) == (200, True)
    assert found.headers["Content-Length"] == str(size)
    assert found.headers["ETag"] == stored.headers["ETag"]
    stored_at, found_at = (modified(answer) for answer in (stored, found))
    assert found_at - stored_at in (timedelta(0), timedelta(seconds=1))


def modified(answer: Answer) -> datetime:
    """Return Last-Modified: a second earlier, while that of the upload is not over."""
    return parsedate_to_datetime(answer.headers["Last-Modified"])


def test_an_upload_is_answered_with_the_objects_info(app: Gateway) -> None:
    answer = put(app)
    info = answer.json
    assert list(info) == ["key", "size", "last_modified", "content_type", "etag"]
    assert (info["key"], info["size"], f'"{info["etag"]}"') == ("abc", 1024, ETAG)
    assert info["content_type"] == "application/octet-stream"
    assert info["last_modified"].endswith("Z")
    exact = datetime.fromisoformat(info["last_modified"])
    assert timedelta(0) <= exact - modified(answer) < timedelta(seconds=2)
    assert answer.headers["ETag"] == ETAG


def test_an_upload_overwrites(app: Gateway) -> None:
    put(app, b"long old bytes")
    put(app, b"new")
    assert_same_object(app, b"new")


def test_what_was_never_stored_is_404(app: Gateway) -> None:
    for method in ("GET", "HEAD"):
        assert call(app, method, "/object/abc").status == 404
    assert_same_object(app, None)


def test_ids_are_case_sensitive(app: Gateway) -> None:
    put(app, b"lower")
    put(app, b"upper", "/object/ABC")
    assert_same_object(app, b"lower")


def test_the_query_is_nobodys_business(app: Gateway) -> None:
    put(app, BODY, "/object/abc?uploads&x=/../")
    assert call(app, "GET", "/object/abc?versionId=1").body == BODY


def test_headers_of_a_download(app: Gateway) -> None:
    put(app)
    headers = dict(call(app, "GET", "/object/abc").headers)
    headers.pop("X-Request-Id")
    headers.pop("Last-Modified")
    assert headers == {
        "Content-Type": "application/octet-stream",
        "ETag": ETAG,
        "Accept-Ranges": "bytes",
        "Content-Security-Policy": SANDBOX,
        "X-Content-Type-Options": "nosniff",
        "Content-Length": "1024",
    }


@pytest.mark.parametrize("size", [0, 5, CHUNK_BYTES + 1])
def test_head_is_get_without_the_body(app: Gateway, size: int) -> None:
    put(app, bytes(size))
    got, head = within_a_second(
        lambda: [call(app, method, "/object/abc") for method in ("GET", "HEAD")]
    )
    for headers in (got.headers, head.headers):
        del headers["X-Request-Id"]
    assert (head.status, head.body) == (200, b"")
    assert head.headers.items() == got.headers.items()


def test_metadata_comes_back_and_nothing_else(app: Gateway) -> None:
    given = {
        "Content-Type": "text/html; charset=utf-8",
        "Content-Disposition": 'attachment; filename="\xe9.html"',
        "Content-Encoding": "gzip",
        "Content-Language": "de",
        "Cache-Control": "max-age=60",
        "Expires": "Sun, 06 Nov 1994 08:49:37 GMT",
        "X-Meta-Colour": "bl\xe4u 100%",
        "X-Amz-Meta-A": "b",
        "Authorization": "hush",
        "X-Amzn-Oidc-Accesstoken": "hush" * 2000,
        "X-Colour": "not named",
        "X-Forwarded-For": "203.0.113.1",
        "X-Frame-Options": "ALLOW",
        "Cookie": "hush",
    }
    answer = call(app, "PUT", "/object/abc", BODY, given)
    assert answer.json["content_type"] == given["Content-Type"]
    found = call(app, "GET", "/object/abc").headers
    for name in list(given)[:8]:
        assert found[name] == given[name]
    for name in list(given)[8:]:
        assert name not in found


def test_metadata_that_the_setting_names_comes_back_also_of_old_objects() -> None:
    nodes = memory_nodes()
    named = Settings(metadata_headers=object_metadata(["X-Owner"]))
    stored = {"X-Owner": "ann", "X-Auth-Token": "hush"}
    assert (
        call(make_app(nodes, named), "PUT", "/object/abc", BODY, stored).status == 201
    )
    before = call(make_app(nodes, named), "GET", "/object/abc").headers
    assert (before["X-Owner"], before["X-Auth-Token"]) == ("ann", None)
    for method in ("GET", "HEAD"):
        assert "X-Owner" not in call(make_app(nodes), method, "/object/abc").headers


def test_too_much_metadata_is_400_and_stores_nothing(app: Gateway) -> None:
    put(app)
    answer = call(app, "PUT", "/object/abc", b"new", {"X-Meta-A": "x" * 2048})
    assert (answer.status, answer.code) == (400, "MetadataTooLarge")
    assert_same_object(app)


def test_an_empty_type_is_none(app: Gateway) -> None:
    call(app, "PUT", "/object/abc", BODY, {"Content-Type": ""})
    found = call(app, "GET", "/object/abc").headers
    assert found["Content-Type"] == "application/octet-stream"


# Ids


@pytest.mark.parametrize("object_id", ["a", "Z", "0", "A1b2C3", "x" * 32, "%61bc"])
def test_good_ids(app: Gateway, object_id: str) -> None:
    put(app, BODY, "/object/" + object_id)
    assert call(app, "GET", "/object/" + object_id).body == BODY


BAD_IDS = ["", "x" * 33, "-", "a-b", "a_b", "a.b", "..", ".", "a b", "a+b", "a;b"]
BAD_IDS += [
    "\xe9",
    "日本",
    "٣",
    "A\u0301",
    "\uff21",
    "abc\n",
    "abc\r",
    "\0",
    "a\0",
    "*",
]


@pytest.mark.parametrize("object_id", BAD_IDS, ids=ascii)
@pytest.mark.parametrize("method", ["PUT", "GET", "HEAD", "DELETE"])
def test_bad_ids_are_422(idle: Gateway, method: str, object_id: str) -> None:
    stream = Input(BODY)
    answer = call(idle, method, "/object/" + quote(object_id), stream)
    assert answer.status == 422
    assert stream.was_read == 0
    if method != "HEAD":
        assert answer.code == "InvalidId"


@pytest.mark.parametrize("path", ["%ff", "%C0%AF", "%ED%A0%80", "%80abc"])
def test_ids_that_are_not_utf8_are_422(idle: Gateway, path: str) -> None:
    assert call(idle, "GET", "/object/" + path).status == 422


@pytest.mark.parametrize(
    "path",
    [
        "/object",
        "/object/a/b",
        "/object/a%2Fb",
        "/object/a/",
        "/object//a",
        "/Object/a",
        "/objecta",
        "//object/a",
        "/object/../object/a",
        "/objectsa",
        "/object%2F/a",
    ],
)
def test_other_paths_are_unknown_routes(idle: Gateway, path: str) -> None:
    answer = call(idle, "GET", path)
    assert (answer.status, answer.code) == (404, "NoSuchRoute")


# Uploads that are refused


def test_an_upload_without_a_length_is_411(app: Gateway) -> None:
    stream = Input(BODY)
    answer = call(app, "PUT", "/object/abc", stream)
    assert (answer.status, answer.code, stream.was_read) == (411, "LengthRequired", 0)
    assert_same_object(app, None)


class Unready(Input):
    """A body that must not be read before the answer is known."""

    is_answered = False

    def read(self, size: int | None = -1) -> bytes:
        assert self.is_answered
        return super().read(size)


def test_an_upload_above_the_limit_is_413_before_it_is_read() -> None:
    stream = Unready(BODY)
    app = make_app(settings=Settings(max_object_bytes=1023))

    def watched(environ, start_response):  # type: ignore[no-untyped-def]
        response = app(environ, start_response)
        stream.is_answered = True
        return response

    answer = call(watched, "PUT", "/object/abc", stream, {"Content-Length": "1024"})
    assert (answer.status, answer.code) == (413, "ObjectTooLarge")
    assert_same_object(app, None)


def test_an_upload_of_exactly_the_limit_is_taken(app: Gateway) -> None:
    put(app, bytes(MIB))
    assert call(app, "PUT", "/object/abc", bytes(MIB + 1)).status == 413


@pytest.mark.parametrize("length", ["-1", "abc", "+5", "1.0", "5, 5", "\u0665"])
def test_malformed_lengths_are_400(app: Gateway, length: str) -> None:
    overrides = {"CONTENT_LENGTH": length}
    answer = call(app, "PUT", "/object/abc", b"12345", environ=overrides)
    assert (answer.status, answer.code) == (400, "InvalidLength")
    assert_same_object(app, None)


def test_both_framings_are_400(app: Gateway) -> None:
    answer = call_chunked(app, "/object/abc", BODY, {"Content-Length": "5"})
    assert (answer.status, answer.code) == (400, "AmbiguousLength")
    assert_same_object(app, None)


@pytest.mark.parametrize("is_new", [True, False])
@pytest.mark.parametrize("size", [10, 2 * CHUNK_BYTES])
def test_a_truncated_upload_stores_nothing(
    app: Gateway, is_new: bool, size: int
) -> None:
    if not is_new:
        put(app)
    headers = {"Content-Length": str(size)}
    answer = call(app, "PUT", "/object/abc", Input(bytes(size - 1)), headers)
    assert (answer.status, answer.code) == (400, "IncompleteBody")
    assert_same_object(app, None if is_new else BODY)


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (ConnectionResetError(), 400, "IncompleteBody"),
        (TimeoutError(), 408, "RequestTimeout"),
        (Exception(), 400, "IncompleteBody"),
    ],
)
def test_an_upload_that_can_not_be_read_stores_nothing(
    app: Gateway, error: Exception, status: int, code: str
) -> None:
    put(app)
    headers = {"Content-Length": str(MIB)}
    stream = BrokenInput(bytes(300_000), error)
    answer = call(app, "PUT", "/object/abc", stream, headers)
    assert (answer.status, answer.code) == (status, code)
    stream = BrokenInput(bytes(300_000), error)
    assert call_chunked(app, "/object/abc", stream).status == status
    assert_same_object(app)


def test_wrapped_and_partial_uploads_are_refused(app: Gateway) -> None:
    for headers, status in (
        ({"Content-Encoding": "aws-chunked"}, 501),
        ({"X-Amz-Content-Sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER"}, 501),
        ({"X-Amz-Copy-Source": "/a/b"}, 501),
        ({"X-Copy-Source": "/a/b"}, 501),
        ({"X-Copy-Source-Range": "bytes=0-0"}, 501),
        ({"Content-Range": "bytes 0-9/20"}, 400),
    ):
        assert call(app, "PUT", "/object/abc", BODY, headers).status == status
    assert_same_object(app, None)


# Uploads of unknown length


@pytest.mark.parametrize("size", [0, 5, CHUNK_BYTES + 1, MIB])
def test_a_chunked_upload_is_stored_with_its_length(app: Gateway, size: int) -> None:
    answer = call_chunked(app, "/object/abc", bytes(size))
    assert (answer.status, answer.json["size"]) == (201, size)
    assert_same_object(app, bytes(size))


def test_a_chunked_upload_above_the_limit_is_413(app: Gateway) -> None:
    put(app)
    assert call_chunked(app, "/object/abc", bytes(MIB + 1)).code == "ObjectTooLarge"
    assert_same_object(app)


def test_the_spool_is_shared_and_its_room_comes_back() -> None:
    app = make_app(settings=Settings(spool_bytes=2 * MIB))
    for _ in range(3):
        assert call_chunked(app, "/object/abc", bytes(MIB)).status == 201
        answer = call_chunked(app, "/object/abc", bytes(MIB + 1))
        assert (answer.status, answer.code) == (507, "SpoolFull")
        broken = BrokenInput(bytes(MIB), ConnectionResetError())
        assert call_chunked(app, "/object/abc", broken).status == 400
    assert_same_object(app, bytes(MIB))


def test_the_spools_room_comes_back_when_the_node_fails() -> None:
    node = ScriptedNode([("put", NodeError("gone"))] * 3)
    app = make_app([cast(Node, node)], Settings(spool_bytes=2 * MIB))
    for _ in range(3):
        assert call_chunked(app, "/object/abc", bytes(MIB)).status == 503
    node.close()


# Ranges


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=-1", 1023, 1023),
        ("bytes=5-", 5, 1023),
        ("bytes=1-2", 1, 2),
        ("bytes=1000-9999", 1000, 1023),
        ("bytes=-9999", 0, 1023),
    ],
)
def test_ranges(app: Gateway, text: str, first: int, last: int) -> None:
    put(app)
    answer = call(app, "GET", "/object/abc", headers={"Range": text})
    assert (answer.status, answer.body) == (206, BODY[first : last + 1])
    assert answer.headers["Content-Range"] == f"bytes {first}-{last}/1024"
    assert answer.headers["Content-Length"] == str(last - first + 1)
    assert answer.headers["ETag"] == ETAG


def test_a_range_of_several_chunks(app: Gateway) -> None:
    body = bytes(range(256)) * 4096
    put(app, body)
    answer = call(app, "GET", "/object/abc", headers={"Range": "bytes=1-1000000"})
    assert (answer.status, answer.body == body[1:1_000_001]) == (206, True)


@pytest.mark.parametrize("text", ["bytes=1024-", "bytes=-0", "bytes=9999-10000"])
def test_a_range_outside_the_object_is_416(app: Gateway, text: str) -> None:
    put(app)
    answer = call(app, "GET", "/object/abc", headers={"Range": text})
    assert (answer.status, answer.code) == (416, "InvalidRange")
    assert answer.headers["Content-Range"] == "bytes */1024"


@pytest.mark.parametrize("text", ["bytes=0-1,5-6", "bytes=x", "lines=1-2", ""])
def test_ranges_that_are_ignored(app: Gateway, text: str) -> None:
    put(app)
    answer = call(app, "GET", "/object/abc", headers={"Range": text})
    assert (answer.status, answer.body) == (200, BODY)


def test_ranges_of_an_empty_object(app: Gateway) -> None:
    put(app, b"")
    for text, status in (("bytes=0-", 416), ("bytes=0-0", 416), ("bytes=-1", 200)):
        answer = call(app, "GET", "/object/abc", headers={"Range": text})
        assert answer.status == status


def test_head_ignores_ranges(app: Gateway) -> None:
    put(app)
    answer = call(app, "HEAD", "/object/abc", headers={"Range": "bytes=0-0"})
    assert (answer.status, answer.headers["Content-Length"]) == (200, "1024")


def test_if_range_of_another_version_gives_the_whole_object(app: Gateway) -> None:
    put(app)
    for condition, status in ((ETAG, 206), ('"old"', 200), ("W/" + ETAG, 200)):
        headers = {"Range": "bytes=0-0", "If-Range": condition}
        assert call(app, "GET", "/object/abc", headers=headers).status == status


# Conditional requests


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_current_copy_is_304(app: Gateway, method: str) -> None:
    given = {"Cache-Control": "max-age=60", "Expires": "0", "X-Meta-Colour": "blue"}
    call(app, "PUT", "/object/abc", BODY, given)
    answer = call(app, method, "/object/abc", headers={"If-None-Match": f'"x", {ETAG}'})
    assert (answer.status, answer.body) == (304, b"")
    assert set(answer.headers) == {
        "ETag",
        "Last-Modified",
        "Cache-Control",
        "Expires",
        "Content-Security-Policy",
        "X-Content-Type-Options",
        "X-Request-Id",
    }
    since = {"If-Modified-Since": FUTURE}
    assert call(app, method, "/object/abc", headers=since).status == 304


def test_versions_of_one_second_are_never_mixed(app: Gateway) -> None:
    """Nor are those of two seconds: it does not matter when this runs."""
    put(app, b"a" * 1024)
    date = call(app, "GET", "/object/abc").headers["Last-Modified"]
    put(app, b"b" * 1024)
    resumed = {"Range": "bytes=512-", "If-Range": date}
    for given in (resumed, {"If-Modified-Since": date}):
        answer = call(app, "GET", "/object/abc", headers=given)
        assert (answer.status, answer.body) == (200, b"b" * 1024)
    unmodified = {"Range": "bytes=512-", "If-Unmodified-Since": date}
    assert call(app, "GET", "/object/abc", headers=unmodified).status == 412


def test_a_time_that_is_still_to_come_is_not_told() -> None:
    ahead = 4_070_908_800 * 10**9
    found = an_object(modified_ns=ahead), content([b"12345"], 5, modified_ns=ahead)
    app, _ = scripted(("head", found[0]), ("get", found[1]))
    for method in ("HEAD", "GET"):
        answer = call(app, method, "/object/abc")
        assert modified(answer) < datetime.now(UTC)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_conditions_that_fail_are_412(app: Gateway, method: str) -> None:
    put(app)
    past = {"If-Unmodified-Since": "Sun, 06 Nov 1994 08:49:37 GMT"}
    for headers in ({"If-Match": '"x"'}, past):
        answer = call(app, method, "/object/abc", headers=headers)
        assert answer.status == 412
    malformed = call(app, method, "/object/abc", headers={"If-Match": "x"})
    assert malformed.status == 400


def test_conditions_are_judged_before_ranges(app: Gateway) -> None:
    put(app)
    for given, status in (({"If-None-Match": ETAG}, 304), ({"If-Match": '"x"'}, 412)):
        headers = {"Range": "bytes=9999-", **given}
        assert call(app, "GET", "/object/abc", headers=headers).status == status


def test_conditions_on_a_missing_object_are_404(app: Gateway) -> None:
    for headers in ({"If-Match": "*"}, {"If-None-Match": "*"}, {"Range": "bytes=0-0"}):
        assert call(app, "GET", "/object/abc", headers=headers).status == 404


def test_an_upload_only_if_there_is_none(single: Gateway) -> None:
    condition = {"If-None-Match": "*"}
    assert call(single, "PUT", "/object/abc", BODY, condition).status == 201
    answer = call(single, "PUT", "/object/abc", b"new", condition)
    assert (answer.status, answer.code) == (412, "PreconditionFailed")
    assert_same_object(single)


def test_an_upload_only_over_a_known_version(single: Gateway) -> None:
    answer = call(single, "PUT", "/object/abc", BODY, {"If-Match": ETAG})
    assert answer.status == 412  # there is none
    put(single)
    assert call(single, "PUT", "/object/abc", b"new", {"If-Match": '"x"'}).status == 412
    assert call(single, "PUT", "/object/abc", b"new", {"If-Match": ETAG}).status == 201
    assert_same_object(single, b"new")


def test_an_upload_over_the_empty_etag_is_never_unconditional(single: Gateway) -> None:
    put(single)
    assert call(single, "PUT", "/object/abc", b"new", {"If-Match": '""'}).status == 412
    assert_same_object(single)


def test_a_conditional_chunked_upload(single: Gateway) -> None:
    condition = {"If-None-Match": "*"}
    assert call_chunked(single, "/object/abc", BODY, condition).status == 201
    assert call_chunked(single, "/object/abc", b"new", condition).status == 412


def test_an_upload_only_if_there_is_none_after_a_delete(single: Gateway) -> None:
    put(single)
    assert call(single, "DELETE", "/object/abc").status == 204
    condition = {"If-None-Match": "*"}
    assert call(single, "PUT", "/object/abc", b"new", condition).status == 201
    assert_same_object(single, b"new")


@pytest.mark.parametrize("condition", [{"If-None-Match": "*"}, {"If-Match": ETAG}])
def test_a_conditional_upload_of_several_copies_is_501(
    nodes: list[Node], condition: dict[str, str]
) -> None:
    app = app_on(nodes, 2)
    put(app)
    broken = BrokenInput(b"", ConnectionResetError())  # not read before it is refused
    headers = {"Content-Length": "3", **condition}
    answer = call(app, "PUT", "/object/abc", broken, headers)
    assert (answer.status, answer.code) == (501, "NotSupported")
    assert "REPLICAS=1" in answer.json["error"]
    assert_same_object(app)


@pytest.mark.parametrize(
    "headers",
    [
        {"If-None-Match": '"x"'},
        {"If-Match": "*"},
        {"If-Match": '"a", "b"'},
        {"If-Unmodified-Since": "Sun, 06 Nov 1994 08:49:37 GMT"},
    ],
    ids=str,
)
def test_conditions_that_nodes_can_not_judge_are_501(
    app: Gateway, headers: dict[str, str]
) -> None:
    put(app)
    answer = call(app, "PUT", "/object/abc", b"new", headers)
    assert (answer.status, answer.code) == (501, "NotSupported")
    assert_same_object(app)


def test_a_conditional_upload_is_here_before_it_is_sent_to_the_node() -> None:
    app, node = scripted(("head", NoSuchKeyError()))
    headers = {"If-None-Match": "*", "Content-Length": "10"}
    answer = call(app, "PUT", "/object/abc", Input(b"short"), headers)
    assert answer.status == 400
    node.close()


@pytest.mark.parametrize(
    "condition",
    [{"If-None-Match": "*"}, {"If-Match": '"other"'}, {"If-Match": '"missing"'}],
    ids=str,
)
def test_a_condition_that_does_not_hold_is_refused_before_the_body(
    nodes: list[Node], condition: dict[str, str]
) -> None:
    app = app_on(nodes, 1)
    if '"missing"' not in condition.values():
        put(app)
    broken = BrokenInput(b"", ConnectionResetError())
    headers = {"Content-Length": "3", **condition}
    answer = call(app, "PUT", "/object/abc", broken, headers)
    assert (answer.status, answer.code) == (412, "PreconditionFailed")


def test_a_conditional_upload_that_can_not_be_held_is_refused_before_the_body() -> None:
    app = make_app(settings=Settings(spool_bytes=MIB))
    broken = BrokenInput(b"", ConnectionResetError())
    headers = {"Content-Length": str(MIB), "If-None-Match": "*"}
    answer = call(app, "PUT", "/object/abc", broken, headers)
    assert (answer.status, answer.code) == (507, "SpoolFull")
    assert "Content-Length" not in answer.json["error"]


# Deleting


def test_deleting_is_204_also_if_there_was_none(app: Gateway) -> None:
    put(app)
    for _ in range(2):
        answer = call(app, "DELETE", "/object/abc")
        assert (answer.status, answer.body) == (204, b"")
        assert "Content-Length" not in answer.headers
        assert "Content-Type" not in answer.headers
    assert_same_object(app, None)


@pytest.mark.parametrize("name", ["If-Match", "If-None-Match", "If-Unmodified-Since"])
def test_a_conditional_delete_is_501(app: Gateway, name: str) -> None:
    put(app)
    answer = call(app, "DELETE", "/object/abc", headers={name: "*"})
    assert (answer.status, answer.code) == (501, "NotSupported")
    assert_same_object(app)


# Nodes that fail


@pytest.mark.parametrize(
    ("method", "body"),
    [
        ("GET", None),
        ("HEAD", None),
        ("PUT", BODY),
        ("PUT", bytes(CHUNK_BYTES + 1)),
        ("DELETE", None),
    ],
    ids=["GET", "HEAD", "PUT", "PUT-streamed", "DELETE"],
)
@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (NodeError("10.0.0.1 broke"), 503, "NodeFailed"),
        (NodeBusyError("503 SlowDown"), 503, "NodeBusy"),
        (NodeReadOnlyError("/data: EROFS"), 503, "NodeReadOnly"),
        (NodePermissionError("/data: EACCES"), 503, "NodeDenied"),
        (NodeUnreachableError("10.0.0.1:9000 refused"), 503, "NodeUnreachable"),
        (NodeTimeoutError("silent"), 503, "NodeUnreachable"),
        (NodeAccessError("secret key refused"), 503, "NodeDenied"),
        (NodeProtocolError("garbage"), 502, "NodeNonsense"),
        (NodeFullError("/data is full"), 507, "NodeFull"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_a_failed_node_comes_to(
    method: str, body: bytes | None, error: NodeError, status: int, code: str
) -> None:
    app, node = scripted((method.lower(), error))
    answer = call(app, method, "/object/abc", body)
    assert answer.status == status
    assert (answer.headers["Retry-After"] is not None) == (status == 503)
    if method != "HEAD":
        assert answer.code == code
        assert str(error) not in answer.json["error"]
    if body and len(body) > CHUNK_BYTES:
        assert [upload.is_aborted for upload in node.uploads] == [True]
    node.close()


def test_a_node_that_does_not_answer_is_503_for_its_own_objects_only() -> None:
    down = ScriptedNode([("get", NodeUnreachableError("down"))], "down")
    nodes = [*memory_nodes(), cast(Node, down)]
    app = make_app(nodes)
    ranker = Ranker(dict.fromkeys((node.name for node in nodes), 1.0))
    homes = {
        key: ranker.rank(ObjectName("store", key).hash_key)[0]
        for key in map(str, range(99))
    }
    own = next(key for key, home in homes.items() if home == "down")
    other = next(key for key, home in homes.items() if home != "down")
    assert call(app, "GET", f"/object/{own}").status == 503
    assert call(app, "GET", f"/object/{other}").status == 404
    down.close()


def test_with_two_replicas_a_node_that_does_not_answer_goes_unnoticed(
    nodes: list[Node],
) -> None:
    down = AbsentNode(nodes[0].name)
    app = make_app(nodes, Settings(replicas=2))
    without_one = make_app([down, *nodes[1:]], Settings(replicas=2))
    put(app)
    assert_same_object(without_one)
    put(without_one, b"new")
    assert_same_object(app, b"new")
    assert call(app, "DELETE", "/object/abc").status == 204
    assert_same_object(without_one, None)


@pytest.mark.parametrize("pieces", [[NodeError("x")], [b""], [b"1234567"]])
def test_a_download_that_fails_before_its_first_byte_has_a_status(
    pieces: list[bytes | Exception],
) -> None:
    body = cast(Content, content(pieces, size=5))
    app, node = scripted(("get", body))
    assert call(app, "GET", "/object/abc").status in (502, 503)
    assert body.closed == 1
    node.close()


@pytest.mark.parametrize(
    "pieces",
    [
        [b"123", NodeError("gone")],
        [b"123"],
        [b"123", b"4"],
        [b"123", b"456"],
        [b"123", b"45", b"6"],
    ],
    ids=str,
)
def test_a_broken_download_raises_and_never_ends_short(
    pieces: list[bytes | Exception],
) -> None:
    body = cast(Content, content(pieces, size=5))
    app, node = scripted(("get", body))
    with pytest.raises(NodeError):
        call(app, "GET", "/object/abc")
    assert body.closed == 1
    node.close()


@pytest.mark.parametrize("pieces", [[b"12345"], [b"12", b"345"], [b"1"] * 5])
def test_a_download_is_closed_exactly_once(pieces: list[bytes | Exception]) -> None:
    body = cast(Content, content(pieces, size=5))
    app, node = scripted(("get", body))
    assert len(call(app, "GET", "/object/abc").body) == 5
    assert body.closed == 1
    node.close()


def test_a_range_and_the_version_go_to_the_node() -> None:
    body = content([b"23"], size=5)
    app, node = scripted(("head", an_object(5)), ("get", body))
    answer = call(app, "GET", "/object/abc", headers={"Range": "bytes=1-2"})
    assert (answer.status, answer.body) == (206, b"23")
    assert node.asked[1] == ("get", NAME, (1, 2), "abc")
    node.close()


def test_an_object_that_changes_meanwhile_is_looked_at_again() -> None:
    app, node = scripted(
        ("head", an_object(5)),
        ("get", PreconditionError()),
        ("head", an_object(6, etag="new")),
        ("get", content([b"6"], size=6, etag="new")),
    )
    answer = call(app, "GET", "/object/abc", headers={"Range": "bytes=-1"})
    assert answer.headers["Content-Range"] == "bytes 5-5/6"
    node.close()


def test_an_object_that_changes_all_the_time_is_503() -> None:
    turns = [("head", an_object(5)), ("get", NoSuchKeyError())]
    app, node = scripted(*turns * 3)
    answer = call(app, "GET", "/object/abc", headers={"Range": "bytes=-1"})
    assert (answer.status, answer.code) == (503, "Conflict")
    assert answer.headers["Retry-After"]
    node.close()


def test_without_nodes_everything_is_503_with_the_reason() -> None:
    app = make_app([], problem="The Docker daemon does not answer")
    for method in ("GET", "PUT", "DELETE"):
        answer = call(app, method, "/object/abc", BODY if method == "PUT" else None)
        assert (answer.status, answer.code) == (503, "NoNodes")
        assert answer.json["error"] == "The Docker daemon does not answer"
        assert answer.headers["Retry-After"]


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
def test_while_the_set_of_nodes_is_not_known_everything_is_503(method: str) -> None:
    """A silent node may know of objects; an empty one that answers doesn't."""
    world = World(replicas=2, is_formed=False)
    world.disks["node-2"].is_silent = True
    app = make_app([], Settings(replicas=2), membership=world.membership)
    body = BODY if method == "PUT" else None
    answer = call(app, method, "/object/abc", body)
    assert answer.status == 503
    assert answer.headers["Retry-After"]
    if method != "HEAD":
        assert answer.code == "NoNodes"


def test_too_few_nodes_for_the_replicas_are_503_and_say_so() -> None:
    app = make_app(memory_nodes(2), Settings(replicas=3))
    stream = Input(BODY)
    answer = call(app, "PUT", "/object/abc", stream, {"Content-Length": "1024"})
    assert (answer.status, answer.code) == (503, "NoNodes")
    assert answer.json["error"] == "3 nodes are needed, 2 are known"


def test_only_listed_headers_reach_a_node() -> None:
    app, node = scripted(("put", an_object(5)))
    hostile = {
        "Authorization": "AWS4-HMAC-SHA256 x",
        "X-Amz-Security-Token": "x",
        "X-Minio-Replication-Etag": "x",
        "X-Meta-Colour": "blue",
        "Te": "trailers",
        "Proxy-Authorization": "x",
    }
    call(app, "PUT", "/object/abc", b"12345", hostile)
    ((_, name, length, headers, conditions),) = node.asked
    assert (name, length, node.uploads[0].data) == (NAME, 5, b"12345")
    kept = {"Content-Type": "application/octet-stream", "X-Meta-Colour": "blue"}
    assert headers == kept
    assert conditions == {"if_match": None, "if_absent": False, "keeps_newer": False}
    assert node.uploads[0].is_committed
    node.close()


def test_a_truncated_upload_is_never_committed() -> None:
    app, node = scripted(("put", an_object(5)))
    headers = {"Content-Length": str(CHUNK_BYTES + 2)}
    body = Input(bytes(CHUNK_BYTES + 1))
    answer = call(app, "PUT", "/object/abc", body, headers)
    assert answer.status == 400
    (upload,) = node.uploads
    assert (upload.is_committed, upload.is_aborted) == (False, True)
    node.close()


def test_a_small_upload_is_here_before_a_node_is_asked() -> None:
    app, node = scripted()  # no answers: asking it would fail
    headers = {"Content-Length": "10"}
    answer = call(app, "PUT", "/object/abc", Input(b"123456789"), headers)
    assert answer.status == 400
    node.close()
