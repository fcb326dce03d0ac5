"""Large objects in parts as clients see them: no difference to those in one piece."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amazin.errors import NodeError
from amazin.model.manifest import PARTS_HEADER
from amazin.model.objects import ObjectName
from amazin.model.stored_names import PARTS
from amazin.nodes.interface import Node
from amazin.settings.settings import Settings
from gateway import Gateway
from tests.support.app import call, call_chunked, folder_nodes, make_app
from tests.support.fakes import memory_nodes
from tests.support.large_objects import BODY, OTHER, PART, SMALL, tag


def app_with(nodes: Iterable[Node], part_bytes: int) -> Gateway:
    """Return an application on these nodes, which stores parts of this size."""
    return make_app(nodes, Settings(chunk_bytes=part_bytes))


KEPT = {
    "Content-Type": "text/plain",
    "X-Meta-Colour": "blue",
    "Cache-Control": "no-cache",
}
RANGES = ["0-0", "-1", "999-1000", "1000-", "0-2559", "2559-9999", "-99999", "500-2400"]
CONDITIONS: list[tuple[str, str]] = [
    ("If-Match", f'"{tag(BODY)}"'),
    ("If-Match", '"x"'),
    ("If-None-Match", f'"{tag(BODY)}"'),
    ("If-None-Match", "*"),
    ("If-Modified-Since", "Sun, 06 Nov 2044 08:49:37 GMT"),
    ("If-Unmodified-Since", "Sun, 06 Nov 1994 08:49:37 GMT"),
    ("Range", "bytes=2560-"),
    *[("Range", f"bytes={text}") for text in RANGES],
]
REQUESTS: list[tuple[Any, ...]] = [
    ("POST", "/buckets/photos"),
    ("PUT", "/object/big", BODY, KEPT),
    ("PUT", "/objects/photos/a/big.bin", BODY, KEPT),
    ("GET", "/object/big"),
    ("HEAD", "/object/big"),
    *[
        (method, f"/{path}", None, {name: value})
        for method in ("GET", "HEAD")
        for path in ("object/big", "objects/photos/a/big.bin")
        for name, value in CONDITIONS
    ],
    (
        "GET",
        "/object/big",
        None,
        {"Range": "bytes=998-1001", "If-Range": f'"{tag(BODY)}"'},
    ),
    ("GET", "/object/big", None, {"Range": "bytes=998-1001", "If-Range": '"x"'}),
    ("GET", "/objects/photos/list"),
    ("PUT", "/objects/photos/copy", b"", {"X-Copy-Source": "/photos/a/big.bin"}),
    ("GET", "/objects/photos/copy"),
    ("GET", "/objects/photos/list?recursive=true&limit=1"),
    ("DELETE", "/buckets/photos"),
    ("PUT", "/object/big", OTHER, {"If-Match": f'"{tag(OTHER)}"'}),
    ("PUT", "/object/big", OTHER, {"If-Match": f'"{tag(BODY)}"'}),
    ("PUT", "/object/big", BODY, {"If-None-Match": "*"}),
    ("GET", "/object/big"),
    ("PUT", "/object/big", b"tiny", {"If-Match": f'"{tag(OTHER)}"'}),
    ("GET", "/object/big"),
    ("DELETE", "/object/big"),
    ("GET", "/object/big"),
    ("HEAD", "/object/big"),
    ("DELETE", "/objects/photos/a/big.bin"),
    ("DELETE", "/objects/photos/copy"),
    ("GET", "/objects/photos/list"),
    ("DELETE", "/buckets/photos"),
]


def test_clients_see_no_difference(tmp_path: Path) -> None:
    """Every answer is what it is without parts, but for times and ids."""
    (tmp_path / "plain").mkdir()
    (tmp_path / "parts").mkdir()
    nodes = folder_nodes(tmp_path / "parts")
    plain = app_with(folder_nodes(tmp_path / "plain"), 0)
    parts = app_with(nodes, PART)
    for request in REQUESTS:
        one, other = (call(app, *request) for app in (plain, parts))
        assert one.status == other.status, request
        for name in ("Last-Modified", "X-Request-Id"):
            assert (name in one.headers) == (name in other.headers)
            del one.headers[name], other.headers[name]
        if b"last_modified" in one.body:
            assert timeless(one.json) == timeless(other.json)
            continue
        assert one.headers.items() == other.headers.items(), request
        if b'"requestId"' not in one.body:
            assert one.body == other.body, request
    assert parts_on(nodes), "there were parts, and nobody removed them"


def parts_on(nodes: Iterable[Node]) -> list[tuple[Node, str]]:
    """Return where which parts lie, in the order of their keys."""
    rows = [
        (node, key) for node in nodes for key, _ in node.list_objects("store", PARTS)
    ]
    return sorted(rows, key=lambda row: row[1])


def timeless(value: Any) -> Any:
    """Return what is told of objects but for their times."""
    rows = value if isinstance(value, list) else [value]
    return [{k: v for k, v in row.items() if k != "last_modified"} for row in rows]


def test_lists_tell_of_whole_objects() -> None:
    app = app_with(memory_nodes(), PART)
    call(app, "POST", "/buckets/photos")
    stored = call(app, "PUT", "/objects/photos/big", BODY, KEPT).json
    assert call(app, "GET", "/objects/photos/list").json == [stored]
    assert (stored["size"], stored["etag"]) == (len(BODY), tag(BODY))


def test_an_archive_has_the_bytes_of_large_objects() -> None:
    app = app_with(memory_nodes(), PART)
    call(app, "POST", "/buckets/photos")
    call(app, "PUT", "/objects/photos/big", BODY)
    call(app, "PUT", "/objects/photos/small", SMALL)
    answer = call(app, "GET", "/archive/photos")
    with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
        assert archive.namelist() == ["big", "small"]
        assert archive.read("big") == BODY


def test_uploads_of_unknown_length_become_parts_too() -> None:
    nodes = memory_nodes()
    app = app_with(nodes, PART)
    assert call_chunked(app, "/object/big", BODY).status == 201
    assert call(app, "GET", "/object/big").body == BODY
    assert len(parts_on(nodes)) == 3


def test_clients_can_neither_forge_nor_see_what_says_where_parts_are() -> None:
    nodes = memory_nodes()
    app = app_with(nodes, PART)
    stored = call(app, "PUT", "/object/big", BODY, KEPT)
    (manifest,) = [
        info for node in nodes for key, info in node.list_objects("store", "big")
    ]
    forged = {
        "X-Amazin-Parts": manifest.headers[PARTS_HEADER],
        "X-Amazin-Owner": "YQ==",
    }
    assert stored.status == call(app, "PUT", "/object/lie", SMALL, forged).status
    assert call(app, "GET", "/object/lie").body == SMALL
    for path in ("/object/big", "/object/lie"):
        answer = call(app, "GET", path)
        assert not [name for name in answer.headers if "amazin" in name.lower()]
    call(app, "POST", "/buckets/photos")
    call(app, "PUT", "/objects/photos/big", BODY)
    call(app, "PUT", "/objects/photos/copy", b"", {"X-Copy-Source": "/photos/big"})
    call(app, "DELETE", "/objects/photos/big")
    assert call(app, "GET", "/objects/photos/copy").body == BODY


def test_an_upload_that_does_not_fit_is_the_clients_mistake() -> None:
    app = app_with(memory_nodes(), PART)
    headers = {"X-Meta-A": "a" * 1845}
    assert call(app, "PUT", "/object/a", BODY[:PART], headers).status == 201
    answer = call(app, "PUT", "/object/a", BODY, headers)
    assert (answer.status, answer.code) == (400, "MetadataTooLarge")
    assert call(app, "GET", "/object/a").body == BODY[:PART]


def test_a_download_that_lacks_a_part_is_503_or_breaks() -> None:
    nodes = memory_nodes()
    app = app_with(nodes, PART)
    call(app, "PUT", "/object/big", BODY)
    for node, key in reversed(parts_on(nodes)):
        node.start_delete(ObjectName("store", key)).wait()
        if key.endswith("000000"):
            answer = call(app, "GET", "/object/big")
            assert answer.status == 503
            assert answer.headers["Retry-After"]
        else:
            with pytest.raises(NodeError):
                call(app, "GET", "/object/big")
    assert call(app, "HEAD", "/object/big").status == 200


@given(st.integers(1, 900), st.integers(1, 30), st.data())
def test_any_range_over_http_is_what_it_names(
    part_bytes: int, parts: int, data: Any
) -> None:
    app = app_with(memory_nodes(), part_bytes)
    size = data.draw(st.integers(1, min(3000, parts * part_bytes)))
    body = (BODY * 2)[:size]
    call(app, "PUT", "/object/any", body)
    first = data.draw(st.integers(0, size - 1))
    last = data.draw(st.integers(first, 2 * size))
    answer = call(app, "GET", "/object/any", None, {"Range": f"bytes={first}-{last}"})
    assert (answer.status, answer.body) == (206, body[first : last + 1])
