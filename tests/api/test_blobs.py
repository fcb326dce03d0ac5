"""`/upload` and `/fetch/{id}`: content-addressed blobs, over a cluster and others."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from amazin.api.blobs import ROUTES, parse_file
from amazin.cluster.cluster import Chooser, Download
from amazin.cluster.uploads import Stored
from amazin.errors import InvalidIdError, NodeError, NoNodesError
from amazin.membership.member import Member
from amazin.model.bodies import Body
from amazin.model.node_specs import NodeSpec
from amazin.model.objects import UNKNOWN_SIZE, ObjectInfo
from amazin.nodes.build import AbsentNode
from amazin.nodes.interface import Node
from amazin.serving.blob_apps import ServerServices
from amazin.settings.settings import Settings
from amazin.web.spool import SpoolRoom
from gateway import Gateway
from tests.support.answers import told
from tests.support.app import Answer, Content, Input, call, make_app
from tests.support.waiting import within_a_second

BODY = b"a cat, as a JPEG"
ID = hashlib.sha1(BODY).hexdigest()
ON = Settings(blob_api=True)
HTTP_1_0 = {"SERVER_PROTOCOL": "HTTP/1.0"}
HTTP_1_1 = {"SERVER_PROTOCOL": "HTTP/1.1"}


@pytest.fixture
def app(nodes: list[Node]) -> Gateway:
    """A gateway on three nodes."""
    return make_app(nodes, ON)


def upload(
    app: Gateway,
    body: bytes | Input = BODY,
    headers: Mapping[str, str] | None = None,
    *,
    chunked: bool = False,
) -> Answer:
    """Upload a blob."""
    stream = body if isinstance(body, Input) else Input(body)
    if not chunked:
        return call(app, "POST", "/upload", body, headers)
    headers = {"Transfer-Encoding": "chunked", **(headers or {})}
    environ = {"wsgi.input_terminated": True}
    return call(app, "POST", "/upload", stream, headers, environ=environ)


def test_the_routes_are_served_where_the_setting_says_so() -> None:
    app = make_app()
    assert upload(app).code == "NoSuchRoute"
    assert call(app, "GET", f"/fetch/{ID}").code == "NoSuchRoute"


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("body", [b"", BODY, bytes(range(256)) * 4000])
def test_what_is_uploaded_comes_back_under_its_sha1(
    app: Gateway, body: bytes, chunked: bool
) -> None:
    blob_id = hashlib.sha1(body).hexdigest()
    answer = upload(app, body, chunked=chunked)
    assert answer.status == 200
    expected = f'{{"id":"{blob_id}","status":"OK","size":{len(body)}}}'
    assert answer.body.decode() == expected
    fetched, head = within_a_second(
        lambda: [call(app, method, f"/fetch/{blob_id}") for method in ("GET", "HEAD")]
    )
    assert (fetched.status, fetched.body) == (200, body)
    assert fetched.headers["Content-Length"] == str(len(body))
    assert (head.status, head.body) == (200, b"")
    for name in ("Content-Length", "ETag", "Content-Type", "Last-Modified"):
        assert head.headers[name] == fetched.headers[name]


@pytest.mark.parametrize(
    ("given", "extension", "expected"),
    [
        ({"X-Mime-Type": "image/jpeg"}, "", "image/jpeg"),
        ({"X-Mime-Type": "image/jpeg"}, ".png", "image/jpeg"),
        ({}, ".png", "image/png"),
        ({}, "", "application/octet-stream"),
        ({}, ".", "application/octet-stream"),
        ({"Content-Type": "application/x-www-form-urlencoded"}, ".txt", "text/plain"),
    ],
)
def test_the_content_type_is_what_was_said_or_what_the_extension_suggests(
    app: Gateway, given: dict[str, str], extension: str, expected: str
) -> None:
    assert upload(app, headers=given).status == 200
    for method in ("GET", "HEAD"):
        answer = call(app, method, f"/fetch/{ID}{extension}")
        assert answer.status == 200
        assert answer.headers["Content-Type"] == expected
        assert answer.headers["X-Mime-Type"] == given.get("X-Mime-Type")


@pytest.mark.parametrize(
    "extension",
    [
        *("html", "htm", "HTML", "xhtml", "shtml", "svg", "svgz", "xml", "xsl", "rdf"),
        *("js", "mjs", "css", "swf", "wasm", "mht", "mhtml", "eml", "xul", "sgml"),
        *("webmanifest", "hta", "htc", "atom", "xht", "svg.gz"),
    ],
)
def test_no_extension_makes_a_type_that_browsers_run(
    app: Gateway, extension: str
) -> None:
    upload(app)
    name = extension.rpartition(".")[2]
    found = call(app, "GET", f"/fetch/{ID}.{name}").headers["Content-Type"]
    assert found in ("application/octet-stream", "application/gzip")


def test_only_headers_of_its_own_are_kept(app: Gateway) -> None:
    headers = {
        "x-lower-case": "a",
        "X-Forwarded-For": "192.0.2.1",
        "X-Auth-Request-Access-Token": "hush" * 1000,
        "X-Amzn-Oidc-Data": "hush",
        "Content-Encoding": "gzip",
        "Cache-Control": "no-store",
    }
    assert upload(app, headers=headers).status == 200
    answer = call(app, "GET", f"/fetch/{ID}")
    assert answer.headers["X-Lower-Case"] == "a"
    for name in list(headers)[1:]:
        assert name not in answer.headers


def test_the_same_content_is_stored_once_with_its_first_headers(
    nodes: list[Node], app: Gateway
) -> None:
    assert upload(app, headers={"X-Name": "first"}).status == 200
    assert upload(app, headers={"X-Name": "second"}).status == 200
    assert upload(app).status == 200
    assert call(app, "GET", f"/fetch/{ID}").headers["X-Name"] == "first"
    assert sum(len(list(node.list_objects("store"))) for node in nodes) == 1


def test_the_etag_is_the_id_and_conditions_hold(app: Gateway) -> None:
    upload(app)
    tag = f'"{ID}"'
    path = f"/fetch/{ID}.jpg"
    assert call(app, "GET", path).headers["ETag"] == tag
    for method in ("GET", "HEAD"):
        same = call(app, method, path, headers={"If-None-Match": tag})
        assert (same.status, same.headers["ETag"]) == (304, tag)
        other = call(app, method, path, headers={"If-Match": '"cafe"'})
        assert other.status == 412
        assert call(app, method, path, headers={"If-Match": tag}).status == 200


def test_ranges_hold(app: Gateway) -> None:
    upload(app)
    part = call(app, "GET", f"/fetch/{ID}", headers={"Range": "bytes=2-4"})
    assert (part.status, part.body) == (206, BODY[2:5])
    assert part.headers["Content-Range"] == f"bytes 2-4/{len(BODY)}"
    headers = {"Range": "bytes=2-4", "If-Range": f'"{ID}"'}
    assert call(app, "GET", f"/fetch/{ID}", headers=headers).status == 206
    beyond = call(app, "GET", f"/fetch/{ID}", headers={"Range": "bytes=99-"})
    assert beyond.status == 416


def test_a_body_that_is_cut_off_is_not_stored(app: Gateway) -> None:
    cut = upload(app, Input(BODY), {"Content-Length": str(len(BODY) + 1)})
    assert (cut.status, cut.code) == (400, "IncompleteBody")
    assert call(app, "GET", f"/fetch/{ID}").code == "NoSuchObject"


def test_a_body_above_the_limit_is_refused() -> None:
    app = make_app(settings=Settings(blob_api=True, max_object_bytes=10))
    assert upload(app).code == "ObjectTooLarge"
    assert upload(app, chunked=True).code == "ObjectTooLarge"
    assert call(app, "GET", f"/fetch/{ID}").status == 404


def test_without_room_for_the_body_it_is_507_and_the_room_comes_back(
    tmp_path: Path,
) -> None:
    room = SpoolRoom(str(tmp_path), 2 * len(BODY))
    app = make_app(settings=ON, spool=room)
    assert upload(app, BODY + b"!").code == "SpoolFull"
    for _ in range(3):
        assert upload(app).status == 200


@pytest.mark.parametrize("chunked", [False, True])
def test_headers_that_can_not_be_kept_are_refused_before_the_body_is_read(
    app: Gateway, chunked: bool
) -> None:
    stream = Input(BODY)
    headers = {"X-Much": "x" * 3000, "Content-Length": str(len(BODY))}
    if chunked:
        del headers["Content-Length"]
    answer = upload(app, stream, headers, chunked=chunked)
    assert (answer.status, answer.code) == (400, "MetadataTooLarge")


@pytest.mark.parametrize(
    ("file", "status"),
    [
        ("0" * 40, 404),
        ("a", 404),
        ("z" * 255, 404),
        ("z" * 256, 422),
        ("", 422),
        (".txt", 422),
        ("UPPER", 422),
        (f"{ID}.tar.gz", 422),
        ("a%2Fb", 404),
        ("..%2f..%2fetc", 404),
        ("caf%C3%A9", 422),
        ("a%0A", 422),
    ],
)
def test_ids_that_are_not_there(app: Gateway, file: str, status: int) -> None:
    upload(app)
    assert call(app, "GET", f"/fetch/{file}").status == status
    assert call(app, "HEAD", f"/fetch/{file}").status == status


def test_only_the_last_extension_is_one() -> None:
    assert parse_file("cafe.tgz") == ("cafe", ".tgz")
    assert parse_file("cafe") == ("cafe", "")
    with pytest.raises(InvalidIdError, match="lower-case") as caught:
        parse_file("cafe.tar.gz")
    answer = told(caught.value)
    assert (answer.status, answer.code) == (422, "InvalidId")


@pytest.mark.parametrize("method", ["PUT", "GET", "DELETE"])
def test_other_methods_are_405(app: Gateway, method: str) -> None:
    answer = call(app, method, "/upload")
    assert (answer.status, answer.headers["Allow"]) == (405, "POST")


def test_access_rules_hold() -> None:
    settings = Settings(blob_api=True, access="signed", api_tokens=("sesame",))
    app = make_app(settings=settings)
    assert upload(app).code == "NoCredentials"
    assert call(app, "GET", f"/fetch/{ID}").code == "NoCredentials"
    token = {"Authorization": "Bearer sesame"}
    assert upload(app, headers=token).status == 200
    assert call(app, "GET", f"/fetch/{ID}", headers=token).body == BODY


class OldServer:
    """`Blobs` whose sizes are not known before the end."""

    def __init__(self, *pieces: Any) -> None:
        """It has one blob, of these pieces; an exception among them is raised."""
        self._info = ObjectInfo(UNKNOWN_SIZE, "", 0, None, {"X-Name": "cat"})
        self._member = Member(NodeSpec("old", None), AbsentNode("old"))
        self.content = Content(self._info, list(pieces))

    def get(self, blob_id: str, choose: Chooser | None = None) -> Download:
        byte_range = choose(self._info) if choose else None
        return Download(self._member, self.content, byte_range)

    def head(self, blob_id: str) -> Stored:
        return Stored(self._member, self._info)

    def put(self, blob_id: str, body: Body, headers: Mapping[str, str]) -> Stored:
        raise NoNodesError("nothing can be stored here")


@pytest.fixture
def room(tmp_path: Path) -> SpoolRoom:
    """Room for bodies of a MiB."""
    return SpoolRoom(str(tmp_path), 2 * 2**20)


def old_app(room: SpoolRoom, *pieces: Any) -> tuple[Gateway, OldServer]:
    """Return the routes over an old server."""
    old = OldServer(*pieces)
    return Gateway(ROUTES, ServerServices(old, ON, room)), old


@pytest.mark.parametrize("header", [{}, {"Range": "bytes=0-1"}, {"If-Match": "*"}])
def test_a_blob_of_unknown_size_is_sent_whole_without_a_length(
    room: SpoolRoom, header: dict[str, str]
) -> None:
    app, old = old_app(room, b"a ca", b"t")
    answer = call(app, "GET", f"/fetch/{ID}", headers=header, environ=HTTP_1_1)
    assert (answer.status, answer.body) == (200, b"a cat")
    for name in ("Content-Length", "Accept-Ranges", "Last-Modified", "Content-Range"):
        assert name not in answer.headers
    assert answer.headers["ETag"] == f'"{ID}"'
    assert answer.headers["X-Name"] == "cat"
    assert old.content.closed


class ForgetfulServer(OldServer):
    """`Blobs` that know the size when asked for it, but not when they send."""

    def get(self, blob_id: str, choose: Chooser | None = None) -> Download:
        known = replace(self._info, size=5)
        byte_range = choose(known) if choose else None
        return Download(self._member, self.content, byte_range)


def test_a_range_is_never_sent_as_the_whole(room: SpoolRoom) -> None:
    blobs = ForgetfulServer(b"ca", b"t")
    app = Gateway(ROUTES, ServerServices(blobs, ON, room))
    headers = {"Range": "bytes=2-4"}
    answer = call(app, "GET", f"/fetch/{ID}", headers=headers, environ=HTTP_1_1)
    assert (answer.status, answer.body) == (206, b"cat")
    assert answer.headers["Content-Range"] == "bytes 2-4/*"
    assert answer.headers["Content-Length"] == "3"


def test_head_of_an_unknown_size_tells_none(room: SpoolRoom) -> None:
    app, _ = old_app(room)
    answer = call(app, "HEAD", f"/fetch/{ID}")
    assert answer.status == 200
    assert "Content-Length" not in answer.headers


def test_a_blob_of_unknown_size_that_breaks_breaks_the_answer(room: SpoolRoom) -> None:
    app, old = old_app(room, b"a ca", NodeError("broken"))
    with pytest.raises(NodeError):
        call(app, "GET", f"/fetch/{ID}", environ=HTTP_1_1)
    assert old.content.closed


def test_a_client_that_could_not_see_the_break_gets_a_length(room: SpoolRoom) -> None:
    app, old = old_app(room, b"a ca", b"t")
    answer = call(app, "GET", f"/fetch/{ID}", environ=HTTP_1_0)
    assert (answer.status, answer.body) == (200, b"a cat")
    assert answer.headers["Content-Length"] == "5"
    assert old.content.closed
    app, old = old_app(room, b"a ca", NodeError("broken"))
    assert call(app, "GET", f"/fetch/{ID}", environ=HTTP_1_0).status == 503
    assert old.content.closed
    for _ in range(3):
        app, old = old_app(room, bytes(2**20))
        assert call(app, "GET", f"/fetch/{ID}", environ=HTTP_1_0).status == 200
        app, old = old_app(room, bytes(2**20), b"!")
        assert call(app, "GET", f"/fetch/{ID}", environ=HTTP_1_0).status == 507


def test_a_store_that_fails_is_told_and_the_room_comes_back(room: SpoolRoom) -> None:
    app, _ = old_app(room)
    for _ in range(3):
        answer = upload(app, bytes(2**20))
        assert (answer.status, answer.code) == (503, "NoNodes")
