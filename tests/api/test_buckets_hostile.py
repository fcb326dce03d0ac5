"""Requests that nobody means well: each is answered, below 500, and changes nothing."""

from __future__ import annotations

import itertools

import pytest

from amazin.settings.settings import Settings
from gateway import Gateway
from tests.support.app import Answer, call, make_app

KEYS = ["a", "a/b", "c"]
METHODS = ["GET", "HEAD", "PATCH", "OPTIONS", "TRACE", "CONNECT", "LIST", "get"]
"""Those that must not change anything; most are not served anywhere."""
PATHS = [
    *["/buckets", "/buckets/", "/buckets//", "/buckets/photos/", "/buckets/%00"],
    *["/buckets/photos%0A", "/buckets/..", "/buckets/" + "a" * 100_000, "//buckets"],
    *["/objects", "/objects/", "/objects//", "/objects//list", "/objects//delete"],
    *["/objects/photos", "/objects/photos/", "/objects/photos/list/", "/objects/%FF/a"],
    *["/objects/list/list", "/objects/delete/list", "/objects/photos%0A/list"],
    *["/objects/photos/%00", "/objects/photos/%ED%A0%80", "/objects/photos/list%0A"],
    *["/objects/photos/" + "/" * 1024, "/objects/" + "a/" * 5000, "/OBJECTS/photos/a"],
    *["/objects/../buckets", "/objects/%2e%2e/x", "/objects/photos/" + "k" * 100_000],
    *["/archive/", "/archive//", "/archive/%FF", "/archive/photos/a", "/archive/é"],
]
QUERIES = [
    *["", "&&&", "=", "=&=", "limit=01", "limit=1e3", "limit=+1", "limit=%31"],
    *["limit=%D9%A3", "limit=1&limit=1", "prefix=%00", "prefix=%", "prefix=%zz"],
    *["prefix=a;b", "prefix", "prefix=&prefix=", "prefix=" + "k" * 2000, "prefix=\xff"],
    *["after=" + "z" * 100_000, "after=%F4%90%80%80", "after=%F4%8F%BF%BF"],
    *["recursive=false&prefix=/&after=/", "recursive=false&after=%00&limit=1"],
    *["a" * 200_000, "&" * 100_000, "prefix=a&" * 99, "X-Amz-a=1&x-amz-b=%FF"],
]


@pytest.fixture
def app() -> Gateway:
    """An application with a bucket of three objects."""
    app = make_app(settings=Settings(auto_create_default_bucket=False))
    assert call(app, "POST", "/buckets/photos").status == 201
    for key in KEYS:
        assert call(app, "PUT", f"/objects/photos/{key}", b"x").status == 201
    return app


def require_refusal(answer: Answer, method: str) -> None:
    """Check that an answer is a client's error as all are, or else no error."""
    assert answer.status < 500
    if answer.status >= 400 and method != "HEAD":
        assert answer.code
    if answer.status == 405:
        assert answer.headers["Allow"]
        assert method not in answer.headers["Allow"].split(", ")
    if method == "HEAD":
        assert answer.body == b""


def require_unchanged(app: Gateway) -> None:
    """Check that what was there still is, and nothing else."""
    assert call(app, "GET", "/buckets").json == ["photos"]
    entries = call(app, "GET", "/objects/photos/list").json
    assert [entry["key"] for entry in entries] == KEYS


def test_paths_that_nobody_means(app: Gateway) -> None:
    for method, path in itertools.product(METHODS, PATHS):
        require_refusal(call(app, method, path), method)
    require_unchanged(app)


def test_writes_to_paths_that_can_not_be_written(app: Gateway) -> None:
    allowed = "/objects/photos/"  # any key of it
    paths = [path for path in PATHS if not path.startswith(allowed)]
    for method, path in itertools.product(["PUT", "POST", "DELETE"], paths):
        for body in (b"", b"{}"):
            answer = call(app, method, path, body)
            require_refusal(answer, method)
            assert answer.status >= 400, (method, path)
    require_unchanged(app)


@pytest.mark.parametrize(
    "path", ["/objects/photos/list", "/archive/photos", "/buckets", "/objects/list"]
)
def test_queries_that_nobody_means(app: Gateway, path: str) -> None:
    for method, query in itertools.product(["GET", "HEAD"], QUERIES):
        answer = call(app, method, f"{path}?{query}")
        require_refusal(answer, method)
        assert answer.status in (200, 400, 404)
    require_unchanged(app)


@pytest.mark.parametrize(
    "path",
    [
        "/buckets",
        "/objects/photos/a",
        "/objects/photos/list",
        "/objects/photos/missing",
        "/objects/other/list",
        "/objects/photos/list?limit=0",
        "/archive/photos",
        "/archive/other",
    ],
)
def test_head_is_get_without_the_body(app: Gateway, path: str) -> None:
    got, head = call(app, "GET", path), call(app, "HEAD", path)
    assert (head.status, head.body) == (got.status, b"")
    for name in ("Content-Type", "Content-Length", "ETag", "Allow"):
        assert head.headers[name] == got.headers[name]


@pytest.mark.parametrize(
    ("source", "status"),
    [
        ("///", 400),
        ("\xff", 400),
        ("/photos//", 404),
        ("/photos/%00", 404),
        ("/photos/a?versionId=1", 404),
        ("/photos/a%zz", 404),
        ("/photos/" + "k" * 2000, 422),
        ("http://x/photos/a", 422),
        ("/PHOTOS/a", 422),
    ],
)
def test_sources_of_copies_that_nobody_means(
    app: Gateway, source: str, status: int
) -> None:
    headers = {"X-Copy-Source": source}
    answer = call(app, "PUT", "/objects/photos/t", b"", headers)
    require_refusal(answer, "PUT")
    assert answer.status == status
    require_unchanged(app)
