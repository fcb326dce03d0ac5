"""Archives: whole, safe to unpack, and never cut short without showing it."""

from __future__ import annotations

import io
import re
import time
import zipfile
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import cast
from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amazin.api import buckets
from amazin.api.archive import Members, zipped
from amazin.api.archive_names import Names
from amazin.errors import NodeError, NodeProtocolError
from amazin.model.objects import CHUNK_BYTES
from amazin.nodes.interface import NodeObject
from amazin.settings.settings import Settings
from amazin.web.streaming import START_BYTES
from gateway import Gateway
from tests.support.app import Content, Site, call, content, make_app

MODIFIED = 784_111_777
"""When the objects of `content` were modified: Sun, 06 Nov 1994 08:49:37 GMT."""


@pytest.fixture
def app(site: Site) -> Gateway:
    """An application with an empty bucket."""
    settings = Settings(replicas=site.replicas)
    app = make_app(site.nodes, settings, routes=buckets.ROUTES)
    assert call(app, "POST", "/buckets/photos").status == 201
    return app


def put(app: Gateway, key: str, body: bytes) -> None:
    """Store an object."""
    assert call(app, "PUT", f"/objects/photos/{quote(key)}", body).status == 201


def unpacked(data: bytes) -> dict[str, bytes]:
    """Return the entries of an archive, checked; in their order."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def members(*contents: tuple[str, Content]) -> Members:
    """Yield keys with what is open."""
    yield from cast("Iterator[tuple[str, NodeObject]]", iter(contents))


def named(*keys: str) -> list[str]:
    """Return the names of entries for these keys, sorted."""
    names = Names()
    return [names.name(key) for key in keys]


def test_an_archive_has_all_objects_below_a_prefix(app: Gateway) -> None:
    objects = {
        "a/1": b"one",
        "a/2/3": bytes(range(256)) * 4096,
        "a/empty": b"",
        "a/é": b"accent",
        "b": b"not below",
    }
    for key, body in objects.items():
        put(app, key, body)
    answer = call(app, "GET", "/archive/photos?prefix=a/")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/zip"
    disposition = answer.headers["Content-Disposition"]
    assert disposition == 'attachment; filename="photos.zip"'
    objects.pop("b")
    assert unpacked(answer.body) == objects
    assert list(unpacked(call(app, "GET", "/archive/photos").body)) == [*objects, "b"]


def test_an_archive_of_nothing_is_empty(app: Gateway) -> None:
    assert unpacked(call(app, "GET", "/archive/photos").body) == {}
    put(app, "a", b"x")
    assert unpacked(call(app, "GET", "/archive/photos?prefix=b").body) == {}


def test_head_of_an_archive(app: Gateway) -> None:
    put(app, "a", bytes(3 * CHUNK_BYTES))
    answer = call(app, "HEAD", "/archive/photos")
    assert (answer.status, answer.body) == (200, b"")


def test_the_default_bucket_has_a_form_of_its_own(app: Gateway) -> None:
    call(app, "PUT", "/objects/cat", b"x")
    assert unpacked(call(app, "GET", "/archive").body) == {"cat": b"x"}


@pytest.mark.parametrize("query", ["prefix=a&prefix=b", "prefix=%FF", "recursive=true"])
def test_a_query_that_is_wrong_is_400(app: Gateway, query: str) -> None:
    answer = call(app, "GET", f"/archive/photos?{query}")
    assert (answer.status, answer.code) == (400, "InvalidQuery")


def test_entries_have_the_time_of_the_object(app: Gateway) -> None:
    put(app, "a", b"x")
    (listed,) = call(app, "GET", "/objects/photos/list").json
    with zipfile.ZipFile(io.BytesIO(call(app, "GET", "/archive/photos").body)) as zip_:
        (entry,) = zip_.infolist()
    seconds = time.strptime(listed["last_modified"][:19], "%Y-%m-%dT%H:%M:%S")
    assert entry.date_time[:5] == seconds[:5]
    assert seconds[5] - entry.date_time[5] in (0, 1)  # it counts pairs of seconds
    assert entry.external_attr >> 16 == 0o644


@pytest.mark.parametrize("modified", [-1, 0, 2**62])
def test_times_that_an_archive_can_not_tell(modified: int) -> None:
    body = cast(Content, content([b"12345"], size=5, modified_ns=modified))
    assert unpacked(b"".join(zipped(members(("a", body))))) == {"a": b"12345"}


# Names


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("a/b c/é.txt", "a/b c/é.txt"),
        (".hidden/..x/x..", ".hidden/..x/x.."),
        ("100%", "100%"),
        ("%zz", "%zz"),
        ("%41", "%2541"),
        ("/etc/passwd", "%2Fetc/passwd"),
        ("../../x", "%2E./%2E./x"),
        ("a/..", "a/%2E."),
        ("a/./b", "a/%2E/b"),
        ("a/... /b", "a/%2E.. /b"),
        ("a//b", "a/%2Fb"),
        ("a/", "a%2F"),
        ("/", "%2F"),
        ("//", "%2F%2F"),
        ("C:/x", "C%3A/x"),
        ("a/c:x", "a/c%3Ax"),
        ("ab:c", "ab:c"),
        ("a\\..\\b", "a%5C..%5Cb"),
        ("a\nb\x00\x7f\x85", "a%0Ab%00%7F%C2%85"),
        ("a%+", "a%25+"),
        ("a%+/b", "a%25+/b"),
        ("a%+b", "a%+b"),
        ("x" * 255, "x" * 255),
        ("x" * 256, "x" * 251 + "%+/xxxxx"),
        ("é" * 128, "é" * 125 + "%+/ééé"),
        ("x" * 251 + "....", "x" * 251 + "...."),
        ("x" * 251 + "." * 5, "x" * 251 + "%+/%2E...."),
        ("x" * 251 + "C:\\a b", "x" * 251 + "%+/%43:%5Ca b"),
        ("a/" + "x" * 600 + "/b", f"a/{'x' * 251}%+/{'x' * 251}%+/{'x' * 98}/b"),
        ("\n" * 90, "%0A" * 83 + "%+/%0A%0A%0A%0A%0A%0A%0A"),
    ],
)
def test_what_an_extractor_could_misread_is_encoded(key: str, name: str) -> None:
    assert named(key) == [name]


def test_a_file_is_never_a_folder_too() -> None:
    keys = ["a", "a-", "a-/b", "a/b", "a/b/c", "a/d", "ab/c", "b/a"]
    names = named(*keys)
    assert names == [
        "a",
        "a-",
        "a-%2Fb",
        "a%2Fb",
        "a%2Fb%2Fc",
        "a%2Fd",
        "ab/c",
        "b/a",
    ]


nasty = st.lists(
    st.sampled_from(
        [
            *("a", "b", "/", "/", ".", "..", " ", "%", "2", "F", "\\", ":", "é", "%+"),
            *("x" * 248, "y" * 255, "é" * 126),
        ]
    ),
    min_size=1,
    max_size=8,
).map("".join)


@given(st.sets(nasty | st.text(min_size=1, max_size=10), min_size=1, max_size=20))
def test_names_are_safe_and_tell_the_key(keys: set[str]) -> None:
    in_order = sorted(keys, key=str.encode)
    names = named(*in_order)
    assert [
        unquote(name.replace("%+/", ""), errors="strict") for name in names
    ] == in_order
    folders = {str(parent) for name in names for parent in PurePosixPath(name).parents}
    assert not folders & set(names)
    for name in names:
        assert "\\" not in name
        assert all(ord(char) >= 32 for char in name)
        for segment in name.split("/"):
            assert segment.strip(". ")
            assert len(segment.encode()) <= 255
            assert not re.match("[A-Za-z]:", segment)


# Breaking


def test_an_object_deleted_meanwhile_is_left_out(app: Gateway) -> None:
    for key in ("a", "b", "c"):
        put(app, key, bytes(CHUNK_BYTES * 2))
    environ = {"wsgi.url_scheme": "http", "SERVER_NAME": "x", "SERVER_PORT": "80"}
    environ |= {"REQUEST_METHOD": "GET", "PATH_INFO": "/archive/photos"}
    statuses: list[str] = []
    body = app(
        {**environ, "wsgi.input": io.BytesIO()},
        lambda status, headers, exc_info=None: statuses.append(status),  # type: ignore[arg-type, func-returns-value]
    )
    pieces = iter(body)
    data = next(pieces)
    assert call(app, "DELETE", "/objects/photos/b").status == 204
    data += b"".join(pieces)
    body.close()  # type: ignore[attr-defined]
    assert statuses == ["200 OK"]
    assert list(unpacked(data)) == ["a", "c"]


@pytest.mark.parametrize(
    ("pieces", "error"),
    [
        ([b"1234", NodeError("gone")], NodeError),
        ([b"1234"], NodeProtocolError),
        ([b"1234", b"56"], NodeProtocolError),
        ([NodeError("gone")], NodeError),
    ],
)
def test_a_node_that_fails_leaves_an_archive_that_opens_nowhere(
    pieces: list[bytes | Exception], error: type[Exception]
) -> None:
    first = content([b"12345"], size=5)
    second = content(pieces, size=5)
    sent = bytearray()
    stream = zipped(members(("a", cast(Content, first)), ("b", cast(Content, second))))
    with pytest.raises(error):
        for piece in stream:
            sent += piece
    with pytest.raises(zipfile.BadZipFile):
        zipfile.ZipFile(io.BytesIO(sent))


def test_who_stops_reading_leaves_nothing_open(app: Gateway) -> None:
    body = cast(Content, content([b"1" * 100] * 3, size=300))
    stream = zipped(members(("a", body)))
    next(stream)
    next(stream)
    stream.close()
    assert list(stream) == []
    assert body.closed == 0  # that is for who opened it


def test_an_archive_of_much_is_sent_in_pieces(app: Gateway) -> None:
    put(app, "a", bytes(CHUNK_BYTES * 2))
    answer = call(app, "GET", "/archive/photos")
    assert "Content-Length" not in answer.headers
    assert len(answer.body) > START_BYTES
