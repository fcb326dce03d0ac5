"""The blob server's API, as existing clients know it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import md5
from pathlib import Path

import pytest

from amazin.api.blob_server import FolderServices, routes
from amazin.blobs.folder_store import BlobFolder
from amazin.cluster.uploads import Stored
from amazin.errors import NodeFullError
from amazin.model.bodies import Body
from amazin.serving.blob_apps import ByPort
from amazin.settings.settings import Settings
from amazin.web.spool import SpoolRoom
from amazin.web.streaming import START_BYTES
from gateway import Gateway
from tests.support.answers import require_no_origin
from tests.support.app import Answer, Input, call
from tests.support.cleanup import closed_later

CAT = b"a cat"
TAG = f'"{md5(CAT).hexdigest()}"'
CHUNKED = {"Transfer-Encoding": "chunked"}


def make_app(path: Path, settings: Settings | None = None) -> Gateway:
    """Return a blob server on a folder."""
    return serving(BlobFolder(path), settings or Settings())


def serving(blobs: BlobFolder, settings: Settings) -> Gateway:
    """Return a blob server of these blobs, which are closed at the end of the test."""
    services = FolderServices(blobs, settings, SpoolRoom("nowhere", 0))
    return closed_later(Gateway(routes(settings), services))


@pytest.fixture
def app(tmp_path: Path) -> Gateway:
    """A blob server; there is no room to hold any body."""
    return make_app(tmp_path)


def post(
    app: Gateway,
    blob_id: str,
    body: bytes | Input = CAT,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Upload as existing api-servers do: chunked."""
    stream = body if isinstance(body, Input) else Input(body)
    environ = {"wsgi.input_terminated": True}
    headers = {**CHUNKED, **(headers or {})}
    return call(app, "POST", f"/blob/{blob_id}", stream, headers, environ=environ)


def test_what_is_stored_is_no_page_of_ours(app: Gateway) -> None:
    post(app, "page", headers={"X-Mime-Type": "text/html"})
    for method in ("GET", "HEAD"):
        require_no_origin(call(app, method, "/blob/page"))


@pytest.mark.parametrize("body", [b"", CAT, bytes(range(256)) * 4000])
@pytest.mark.parametrize("is_chunked", [True, False])
def test_a_blob_comes_back(app: Gateway, body: bytes, is_chunked: bool) -> None:
    answer = (
        post(app, "mia", body) if is_chunked else call(app, "POST", "/blob/mia", body)
    )
    assert answer.status == 200
    assert answer.body.decode() == f'{{"id":"mia","status":"OK","size":{len(body)}}}'
    found = call(app, "GET", "/blob/mia")
    assert (found.status, found.body) == (200, body)
    head = call(app, "HEAD", "/blob/mia")
    assert (head.status, head.body) == (200, b"")
    for answer in (found, head):
        assert answer.headers["Content-Length"] == str(len(body))
        assert answer.headers["ETag"] == f'"{md5(body).hexdigest()}"'
        assert answer.headers["Content-Type"] == "application/octet-stream"
        assert answer.headers["Accept-Ranges"] == "bytes"


def test_headers_of_its_own_come_back(app: Gateway) -> None:
    given = {"X-Mime-Type": "image/jpeg", "X-Name": "Mia", "Cache-Control": "no-store"}
    form = {"Content-Type": "application/x-www-form-urlencoded", "X-Request-Id": "1"}
    assert post(app, "mia", CAT, {**given, **form}).status == 200
    for method in ("GET", "HEAD"):
        headers = call(app, method, "/blob/mia").headers
        assert headers["Content-Type"] == headers["X-Mime-Type"] == "image/jpeg"
        assert headers["X-Name"] == "Mia"
        assert "Cache-Control" not in headers
        assert headers["X-Request-Id"] != "1"


def test_a_blob_has_only_the_x_headers_of_its_upload(app: Gateway) -> None:
    post(app, "mia", headers={"X-Colour": "grey"})
    found = call(app, "GET", "/blob/mia", headers={"Range": "bytes=0-1"})
    names = {name for name in found.headers if name.startswith("X-")}
    assert (found.status, names) == (206, {"X-Colour", "X-Content-Type-Options"})
    assert "X-Request-Id" in call(app, "GET", "/blob/tom").headers


def test_more_headers_are_stored_than_other_nodes_take(app: Gateway) -> None:
    """As sos does, whose api-server would take a refusal for success."""
    given = {f"X-Name-{number}": "x" * 5000 for number in range(12)}
    assert post(app, "mia", CAT, given).status == 200
    assert call(app, "GET", "/blob/mia").headers["X-Name-11"] == "x" * 5000
    more = given | {"X-Name-12": "x" * 5000, "X-Name-13": "x" * 5000}
    refused = post(app, "max", CAT, more)
    assert (refused.status, refused.code) == (400, "MetadataTooLarge")
    assert "64 KiB" in refused.json["error"]


def test_the_first_upload_stays(app: Gateway) -> None:
    assert post(app, "mia", CAT, {"X-Name": "first"}).status == 200
    assert post(app, "mia", CAT, {"X-Name": "second"}).status == 200
    for other in (b"a dog", b"", bytes(10**6)):
        refused = post(app, "mia", other)
        assert (refused.status, refused.code) == (409, "DifferentContent")
        refused = call(app, "POST", "/blob/mia", other)
        assert (refused.status, refused.code) == (409, "DifferentContent")
    found = call(app, "GET", "/blob/mia")
    assert (found.body, found.headers["X-Name"]) == (CAT, "first")


def test_ids_need_not_be_hashes_of_their_content(app: Gateway) -> None:
    for blob_id in ("0" * 39, "0" * 41, "0" * 39 + "g"):
        assert post(app, blob_id).status == 200
        assert call(app, "GET", f"/blob/{blob_id}").body == CAT


def test_ranges_and_conditions_hold(app: Gateway) -> None:
    post(app, "mia")
    part = call(app, "GET", "/blob/mia", headers={"Range": "bytes=-3"})
    assert (part.status, part.body) == (206, b"cat")
    same = call(app, "GET", "/blob/mia", headers={"If-None-Match": TAG})
    assert same.status == 304
    other = call(app, "GET", "/blob/mia", headers={"If-Match": '"x"'})
    assert other.status == 412


@pytest.mark.parametrize(
    ("blob_id", "status"),
    [
        ("a" * 255, 404),
        ("a" * 256, 422),
        ("", 422),
        ("UPPER", 422),
        ("a-b", 422),
        ("a.json", 422),
        ("..", 422),
        ("a%20b", 422),
        ("caf%C3%A9", 422),
        ("%FF", 422),
        ("a%0A", 422),
        ("a%2Fb", 404),
        ("index.sqlite", 422),
    ],
)
def test_ids(app: Gateway, blob_id: str, status: int) -> None:
    assert call(app, "GET", f"/blob/{blob_id}").status == status
    assert call(app, "HEAD", f"/blob/{blob_id}").status == status
    stored = 200 if blob_id == "a" * 255 else status
    assert post(app, blob_id).status == stored


def test_a_cut_off_upload_is_not_stored(tmp_path: Path, app: Gateway) -> None:
    cut = call(app, "POST", "/blob/mia", Input(CAT), {"Content-Length": "6"})
    assert (cut.status, cut.code) == (400, "IncompleteBody")
    assert call(app, "GET", "/blob/mia").code == "NoSuchObject"
    assert not [file for file in (tmp_path / "content").rglob("*") if file.is_file()]


@pytest.mark.parametrize("is_chunked", [True, False])
def test_an_upload_above_the_limit_is_refused(tmp_path: Path, is_chunked: bool) -> None:
    app = make_app(tmp_path, Settings(max_object_bytes=4))
    answer = post(app, "mia") if is_chunked else call(app, "POST", "/blob/mia", CAT)
    assert (answer.status, answer.code) == (413, "ObjectTooLarge")
    assert call(app, "GET", "/blob/mia").status == 404


def test_an_upload_without_a_length_is_refused(app: Gateway) -> None:
    assert call(app, "POST", "/blob/mia").code == "LengthRequired"


class FullFolder(BlobFolder):
    """A folder on a disk that has no room."""

    def put(self, blob_id: str, body: Body, headers: Mapping[str, str]) -> Stored:
        raise NodeFullError("full")


def test_a_full_disk_is_507(tmp_path: Path) -> None:
    app = serving(FullFolder(tmp_path), Settings())
    answer = post(app, "mia")
    assert (answer.status, answer.code) == (507, "NodeFull")
    assert call(app, "GET", "/blobs").json == []


def test_a_folder_that_vanished_is_503_never_404(tmp_path: Path) -> None:
    place = tmp_path / "store"
    place.mkdir()
    app = make_app(place)
    post(app, "mia")
    place.rename(tmp_path / "gone")
    for path in ("/blob/mia", "/blobs", "/blobs?details"):
        assert call(app, "GET", path).status == 503
    assert post(app, "max").status == 503


def test_the_list_has_all_ids_in_order(tmp_path: Path, app: Gateway) -> None:
    assert call(app, "GET", "/blobs").body == b"[]"
    assert call(app, "GET", "/blobs?details").body == b"[]"
    for blob_id in ("mia", "0", "max"):
        post(app, blob_id)
    (tmp_path / "legacy").write_bytes(b"old")
    answer = call(app, "GET", "/blobs")
    assert answer.body == b'["0","legacy","max","mia"]'
    assert answer.headers["Content-Type"] == "application/json"
    details = call(app, "GET", "/blobs?details").json
    assert [list(detail) for detail in details] == [["id", "size", "etag"]] * 4
    assert details[:2] == [
        {"id": "0", "size": 5, "etag": TAG.strip('"')},
        {"id": "legacy", "size": 3, "etag": ""},
    ]
    assert call(app, "HEAD", "/blobs").body == b""


def test_a_long_list_is_streamed(app: Gateway) -> None:
    ids = [f"{number:04}" + "x" * 250 for number in range(START_BYTES // 250 + 1)]
    for blob_id in ids:
        post(app, blob_id)
    for path in ("/blobs", "/blobs?details"):
        answer = call(app, "GET", path)
        assert "Content-Length" not in answer.headers
        found = json.loads(answer.body)
        assert [item if path == "/blobs" else item["id"] for item in found] == ids


def test_what_sos_left_has_a_length_and_no_etag(tmp_path: Path, app: Gateway) -> None:
    (tmp_path / "mia").write_bytes(CAT)
    (tmp_path / "mia.json").write_text('{"X-Mime-Type": "image/jpeg", "Host": "x"}')
    for method in ("GET", "HEAD"):
        answer = call(app, method, "/blob/mia")
        assert answer.status == 200
        assert answer.headers["Content-Length"] == "5"
        assert answer.headers["Content-Type"] == "image/jpeg"
        assert "ETag" not in answer.headers
        assert "Host" not in answer.headers
        assert "Last-Modified" in answer.headers
    part = call(app, "GET", "/blob/mia", headers={"Range": "bytes=2-"})
    assert (part.status, part.body) == (206, b"cat")
    other = call(app, "GET", "/blob/mia", headers={"If-Match": TAG})
    assert other.status == 412


def test_headers_that_sos_left_and_no_answer_may_have_are_left_out(
    tmp_path: Path, app: Gateway
) -> None:
    (tmp_path / "mia").write_bytes(CAT)
    headers = {
        "X-Ok": "1",
        "X-Bad\r\nEvil: 1": "1",
        "X-Evil": "1\r\nEvil: 1",
        "X-Frame-Options": "DENY",
        "X-Mime-Type": "text/html\r\nEvil: 1",
    }
    (tmp_path / "mia.json").write_text(json.dumps(headers))
    answer = call(app, "GET", "/blob/mia")
    assert answer.headers["X-Ok"] == "1"
    assert answer.headers["Content-Type"] == "application/octet-stream"
    for name in ("Evil", "X-Evil", "X-Frame-Options", "X-Mime-Type"):
        assert name not in answer.headers


@pytest.mark.parametrize("path", ["/alive", "/health"])
def test_it_says_that_it_lives(tmp_path: Path, path: str) -> None:
    app = make_app(tmp_path, Settings(access="signed", api_tokens=("sesame",)))
    assert call(app, "GET", path).status == 200
    assert call(app, "HEAD", path).status == 200
    alive = call(app, "GET", "/alive")
    assert (alive.headers["Content-Type"], alive.body) == ("text/plain", b"alive")


def test_access_rules_hold(tmp_path: Path) -> None:
    app = make_app(tmp_path, Settings(access="signed", api_tokens=("sesame",)))
    assert post(app, "mia").code == "NoCredentials"
    assert call(app, "GET", "/blobs").code == "NoCredentials"
    token = {"Authorization": "Bearer sesame"}
    assert post(app, "mia", CAT, token).status == 200


@pytest.mark.parametrize(
    "path", ["/", "/blobs/", "/blob", "/blob/a/b", "/object/cat", "/upload", "/docs"]
)
def test_nothing_else_is_served(app: Gateway, path: str) -> None:
    assert call(app, "GET", path).code == "NoSuchRoute"


def test_the_port_that_a_request_came_in_by_decides(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    ports = ByPort({1: make_app(tmp_path / "one"), 2: make_app(tmp_path / "two")})
    for port in ("1", "2"):
        environ = {"SERVER_PORT": port, "HTTP_HOST": "blobs:1"}
        call(ports, "POST", f"/blob/by{port}", CAT, environ=environ)
    for port in ("1", "2"):
        answer = call(ports, "GET", "/blobs", environ={"SERVER_PORT": port})
        assert answer.json == [f"by{port}"]


def test_old_clients_may_have_two_slashes(app: Gateway) -> None:
    assert call(app, "POST", "//blob/mia", CAT).status == 200
    assert call(app, "GET", "//blob/mia").body == CAT
    assert call(app, "GET", "//blobs").body == b'["mia"]'
