"""Bytes that rot on a folder, or are gone: nobody is given wrong ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from amazin.api import buckets
from amazin.errors import LostCopyError
from amazin.model.objects import CHUNK_BYTES
from amazin.settings.settings import Settings
from gateway import Gateway
from tests.support.app import Answer, call, make_app
from tests.support.folder_node import content

LONG = (bytes(range(251)) * (3 * CHUNK_BYTES // 251 + 1))[: 3 * CHUNK_BYTES]
PATH = "/objects/photos/cat"

Damage = Callable[[Path], object]


def flip(path: Path, position: int = 0) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def flip_middle(path: Path) -> None:
    flip(path, CHUNK_BYTES + 5)


damages = pytest.mark.parametrize("damage", [flip, Path.unlink], ids=["rot", "gone"])


def app_on(path: Path, replicas: int) -> Gateway:
    app = make_app(path, Settings(replicas=replicas), routes=buckets.ROUTES)
    call(app, "POST", "/buckets/photos")
    assert call(app, "PUT", PATH, LONG).status == 201
    return app


def copies(path: Path) -> list[Path]:
    """Return the content files of the object."""
    return [file for file in content_of(path) if file.stat().st_size == len(LONG)]


def content_of(path: Path) -> list[Path]:
    return [file for node in sorted(path.iterdir()) for file in content(node)]


def copy(app: Gateway) -> Answer:
    return call(app, "PUT", f"{PATH}2", headers={"X-Copy-Source": "/photos/cat"})


@damages
def test_the_only_copy_is_lost_and_says_so(tmp_path: Path, damage: Damage) -> None:
    app = app_on(tmp_path, 1)
    damage(copies(tmp_path)[0])
    for method, headers in [
        ("GET", {}),
        ("GET", {"Range": "bytes=3-5"}),
        ("HEAD", {}),
    ]:
        answer = call(app, method, PATH, headers=headers)
        assert answer.status == 502
        assert "Retry-After" not in answer.headers
        if method == "GET":
            assert answer.code == "LostObject"
    assert copy(app).status == 502
    assert call(app, "GET", f"{PATH}2").status == 404
    assert call(app, "PUT", PATH, b"new").status == 201
    assert call(app, "GET", PATH).body == b"new"


@damages
def test_a_lost_object_can_be_deleted(tmp_path: Path, damage: Damage) -> None:
    app = app_on(tmp_path, 1)
    damage(copies(tmp_path)[0])
    assert call(app, "DELETE", PATH).status == 204
    assert call(app, "GET", PATH).status == 404
    assert call(app, "HEAD", PATH).status == 404


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("damage", [flip, flip_middle, Path.unlink])
def test_another_copy_is_read(tmp_path: Path, damage: Damage, which: int) -> None:
    app = app_on(tmp_path, 2)
    etag = call(app, "HEAD", PATH).headers["ETag"]
    damage(copies(tmp_path)[which])
    answer = call(app, "GET", PATH)
    assert (answer.status, answer.body) == (200, LONG)
    assert answer.headers["ETag"] == etag
    first = CHUNK_BYTES - 1
    part = call(app, "GET", PATH, headers={"Range": f"bytes={first}-{first + 9}"})
    assert (part.status, part.body) == (206, LONG[first : first + 10])
    assert call(app, "HEAD", PATH).headers["ETag"] == etag
    assert copy(app).json["etag"] == etag.strip('"')


def test_an_answer_breaks_where_no_other_copy_is(tmp_path: Path) -> None:
    app = app_on(tmp_path, 1)
    flip_middle(copies(tmp_path)[0])
    with pytest.raises(LostCopyError):
        call(app, "GET", PATH)
    assert call(app, "HEAD", PATH).status == 502
