"""Copies: PUT with X-Copy-Source."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

import pytest

from amazin.api import buckets
from amazin.model.objects import CHUNK_BYTES
from amazin.nodes.interface import Node
from amazin.settings.settings import Settings
from gateway import Gateway
from tests.support.app import Answer, Input, Site, call, call_chunked, make_app
from tests.support.fakes import FakeNode, memory_nodes

MIB = 2**20
LONG_KEY = "k" * 1024
GIVEN = {
    "Content-Type": "text/x-y",
    "X-Meta-Colour": "blue",
    "Cache-Control": "no-store",
}


@pytest.fixture
def app(site: Site) -> Gateway:
    """An application with two buckets and an object."""
    settings = Settings(replicas=site.replicas, max_object_bytes=2 * MIB)
    app = make_app(site.nodes, settings, routes=buckets.ROUTES)
    for bucket in ("photos", "other"):
        call(app, "POST", f"/buckets/{bucket}")
    assert call(app, "PUT", "/objects/photos/a/b", b"hello", GIVEN).status == 201
    return app


def copy(
    app: Gateway,
    source: str = "/photos/a/b",
    target: str = "/objects/other/c/d",
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Ask for a copy."""
    headers = {"X-Copy-Source": source, **(headers or {})}
    return call(app, "PUT", target, headers=headers)


def test_a_copy_has_the_bytes_and_headers_of_its_source(app: Gateway) -> None:
    ignored = {"Content-Type": "a/b", "X-Meta-Colour": "red", "X-Meta-Size": "1"}
    answer = copy(app, headers=ignored)
    assert answer.status == 201
    assert answer.json["key"] == "c/d"
    assert (answer.json["size"], answer.json["content_type"]) == (5, "text/x-y")
    found = call(app, "GET", "/objects/other/c/d")
    assert found.body == b"hello"
    assert {name: found.headers[name] for name in GIVEN} == GIVEN
    assert "X-Meta-Size" not in found.headers
    assert "X-Copy-Source" not in found.headers


def test_a_range_is_not_copied(app: Gateway) -> None:
    answer = copy(app, headers={"X-Copy-Source-Range": "bytes=0-0"})
    assert (answer.status, answer.code) == (501, "NotSupported")
    assert call(app, "GET", "/objects/other/c/d").status == 404


@pytest.mark.parametrize("size", [0, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * MIB])
def test_copies_of_any_size(app: Gateway, size: int) -> None:
    body = (bytes(range(251)) * (size // 251 + 1))[:size]
    call(app, "PUT", "/objects/photos/big", body)
    assert copy(app, "/photos/big").json["size"] == size
    assert call(app, "GET", "/objects/other/c/d").body == body


@pytest.mark.parametrize("size", [5, 2 * MIB])
def test_a_copy_onto_itself_is_a_new_version(app: Gateway, size: int) -> None:
    stored = call(app, "PUT", "/objects/photos/a/b", bytes(size), GIVEN)
    answer = copy(app, target="/objects/photos/a/b")
    assert answer.status == 201
    assert answer.json["etag"] == stored.json["etag"]
    assert answer.json["last_modified"] > stored.json["last_modified"]
    found = call(app, "GET", "/objects/photos/a/b")
    assert (len(found.body), found.headers["X-Meta-Colour"]) == (size, "blue")


@pytest.mark.parametrize("key", ["100% é+b", "//x", "..", LONG_KEY], ids=ascii)
def test_a_source_is_percent_encoded(app: Gateway, key: str) -> None:
    headers = {"X-Meta-Colour": "blue"}
    call(app, "PUT", f"/objects/photos/{quote(key)}", b"x", headers)
    for source in (f"/photos/{quote(key)}", f"photos/{quote(key, safe='')}"):
        assert copy(app, source).status == 201
        found = call(app, "GET", "/objects/other/c/d")
        assert (found.body, found.headers["X-Meta-Colour"]) == (b"x", "blue")


def test_a_long_key_goes_with_its_own_object_only(app: Gateway) -> None:
    assert copy(app, target=f"/objects/other/{LONG_KEY}").status == 201
    assert copy(app, f"/other/{LONG_KEY}", "/objects/other/z").status == 201
    answer = call(app, "GET", "/objects/other/list")
    assert [entry["key"] for entry in answer.json] == [LONG_KEY, "z"]


@pytest.mark.parametrize(
    ("source", "status", "code"),
    [
        ("/photos/missing", 404, "NoSuchObject"),
        ("/missing/a/b", 404, "NoSuchBucket"),
        ("", 400, "InvalidCopy"),
        ("/", 400, "InvalidCopy"),
        ("/photos", 400, "InvalidCopy"),
        ("//photos/a", 400, "InvalidCopy"),
        ("/photos/%FF", 400, "InvalidCopy"),
        ("/photos/", 422, "InvalidKey"),
        ("/photos/list", 422, "InvalidKey"),
        ("/store/abc", 422, "InvalidBucketName"),
        ("/A/a", 422, "InvalidBucketName"),
    ],
)
def test_a_source_that_is_none(
    app: Gateway, source: str, status: int, code: str
) -> None:
    answer = copy(app, source)
    assert (answer.status, answer.code) == (status, code)
    assert call(app, "GET", "/objects/other/c/d").status == 404


def test_a_missing_target_bucket_is_404(app: Gateway) -> None:
    assert copy(app, target="/objects/missing/a").code == "NoSuchBucket"


def test_the_default_bucket_is_made_for_a_copy(app: Gateway) -> None:
    assert copy(app, target="/objects/cat").status == 201
    assert call(app, "GET", "/objects/default/cat").body == b"hello"


def test_a_copy_has_no_body(app: Gateway) -> None:
    headers = {"X-Copy-Source": "/photos/a/b"}
    answer = call(app, "PUT", "/objects/other/c/d", b"x", headers)
    assert (answer.status, answer.code) == (400, "InvalidCopy")
    answer = call_chunked(app, "/objects/other/c/d", Input(b"x"), headers)
    assert (answer.status, answer.code) == (400, "InvalidCopy")
    assert call(app, "PUT", "/objects/other/c/d", b"", headers).status == 201


def test_what_is_larger_than_allowed_is_not_copied(nodes: list[Node]) -> None:
    app = make_app(nodes, routes=buckets.ROUTES)
    call(app, "POST", "/buckets/photos")
    call(app, "PUT", "/objects/photos/a/b", b"hello")
    app = make_app(nodes, Settings(max_object_bytes=4), routes=buckets.ROUTES)
    answer = copy(app, target="/objects/photos/c")
    assert (answer.status, answer.code) == (413, "ObjectTooLarge")


def test_a_copy_can_be_conditional(nodes: list[Node]) -> None:
    app = make_app(nodes, routes=buckets.ROUTES)
    call(app, "POST", "/buckets/photos")
    call(app, "PUT", "/objects/photos/a/b", bytes(MIB))
    condition = {"If-None-Match": "*"}
    for status in (201, 412):
        answer = copy(app, target="/objects/photos/c", headers=condition)
        assert answer.status == status
    assert len(call(app, "GET", "/objects/photos/c").body) == MIB


class TurningNode(FakeNode):
    """A node on which the source is overwritten once it is open."""

    app: Gateway | None = None

    def start_put(self, *arguments: object, **options: object) -> object:  # type: ignore[override]
        self._turn()
        return super().start_put(*arguments, **options)  # type: ignore[arg-type]

    def start_upload(self, *arguments: object, **options: object) -> object:  # type: ignore[override]
        self._turn()
        return super().start_upload(*arguments, **options)  # type: ignore[arg-type]

    def _turn(self) -> None:
        app, self.app = self.app, None
        if app:
            new = bytes([7]) * MIB
            assert call(app, "PUT", "/objects/photos/a/b", new).status == 201


@pytest.mark.parametrize("size", [5, MIB])
@pytest.mark.parametrize("replicas", [1, 2])
def test_one_version_is_copied(replicas: int, size: int) -> None:
    settings = Settings(replicas=replicas)
    nodes = memory_nodes()
    other = make_app(nodes, settings, routes=buckets.ROUTES)
    call(other, "POST", "/buckets/photos")
    call(other, "PUT", "/objects/photos/a/b", bytes(size))
    turning = [TurningNode(node.spec, node.disk) for node in nodes]
    app = make_app(turning, settings, routes=buckets.ROUTES)
    for node in turning:
        node.app = other
    assert copy(app, target="/objects/photos/c").status == 201
    assert call(app, "GET", "/objects/photos/a/b").body == bytes([7]) * MIB
    copied: bytes = call(app, "GET", "/objects/photos/c").body
    assert copied == bytes(size)


def test_a_source_that_breaks_off_stores_nothing() -> None:
    """The node says that there is more than it has."""
    nodes = memory_nodes()
    app = make_app(nodes, routes=buckets.ROUTES)
    call(app, "POST", "/buckets/photos")
    call(app, "PUT", "/objects/photos/a/b", bytes(MIB))
    for node in nodes:
        for name, (info, body) in node.disk.objects.items():
            node.disk.objects[name] = (info, body[:CHUNK_BYTES])
    answer = copy(app, target="/objects/photos/c")
    assert (answer.status, answer.code) == (502, "NodeNonsense")
    assert call(app, "GET", "/objects/photos/c").status == 404
