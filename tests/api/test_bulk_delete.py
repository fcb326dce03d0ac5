"""Deleting many objects in one request."""

from __future__ import annotations

import json
from contextlib import closing
from typing import Any

import pytest

from amazin.api import buckets
from amazin.api.bulk_delete import MAX_BYTES, MAX_KEYS
from amazin.model.json_stream import ITEM_CHARACTERS
from amazin.model.stored_names import marker_name, stored_name
from amazin.nodes.build import AbsentNode
from amazin.nodes.interface import Node
from amazin.settings.settings import Settings
from amazin.web.json_body import PIECE_BYTES
from gateway import Gateway
from hashing import Ranker
from tests.support.app import Answer, Input, Site, call, make_app

NODES = [f"node-{number}" for number in range(1, 4)]
PATH = "/objects/photos/delete"


@pytest.fixture
def app(site: Site) -> Gateway:
    """An application with a bucket of three objects."""
    settings = Settings(replicas=site.replicas)
    app = make_app(site.nodes, settings, routes=buckets.ROUTES)
    call(app, "POST", "/buckets/photos")
    for key in ("a", "a/b", "c"):
        assert call(app, "PUT", f"/objects/photos/{key}", b"x").status == 201
    return app


def delete(app: Gateway, keys: Any, path: str = PATH) -> Answer:
    """Ask for deletes."""
    return call(app, "POST", path, json.dumps({"keys": keys}).encode())


def kept(app: Gateway) -> list[str]:
    """Return the keys that are still there."""
    answer = call(app, "GET", "/objects/photos/list")
    return [entry["key"] for entry in answer.json]


def test_named_objects_are_deleted_and_others_stay(app: Gateway) -> None:
    answer = delete(app, ["c", "a/b", "missing"])
    assert answer.status == 200
    assert answer.json == {"deleted": ["c", "a/b", "missing"], "errors": []}
    assert kept(app) == ["a"]


def test_a_key_may_come_twice(app: Gateway) -> None:
    assert delete(app, ["c", "c", "a"]).json["deleted"] == ["c", "a"]
    assert kept(app) == ["a/b"]


def test_nothing_may_be_named(app: Gateway) -> None:
    assert delete(app, []).json == {"deleted": [], "errors": []}


def test_the_default_bucket_has_a_form_of_its_own(app: Gateway) -> None:
    call(app, "PUT", "/objects/cat", b"x")
    assert delete(app, ["cat"], "/objects/delete").json["deleted"] == ["cat"]
    assert call(app, "GET", "/objects/cat").status == 404
    assert len(kept(app)) == 3


def test_delete_is_a_key_like_any_other(app: Gateway) -> None:
    assert call(app, "PUT", PATH, b"x").status == 201
    assert call(app, "GET", PATH).body == b"x"
    assert delete(app, ["delete"]).json["deleted"] == ["delete"]


def test_as_many_keys_as_allowed(app: Gateway) -> None:
    keys = [f"{number}" for number in range(MAX_KEYS)]
    assert delete(app, keys).json["deleted"] == keys
    answer = delete(app, [*keys, "one more"])
    assert (answer.status, answer.code) == (400, "TooManyKeys")


@pytest.mark.parametrize("letter", ["Ж", "😀"], ids=ascii)
def test_as_many_keys_as_allowed_may_be_as_long_as_allowed_and_escaped(
    app: Gateway, letter: str
) -> None:
    long = letter * (1020 // len(letter.encode()))
    keys = [f"{number:04}{long}" for number in range(MAX_KEYS)]
    assert delete(app, keys).json["deleted"] == keys


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"1",
        b'"keys"',
        b'["a"]',
        b"{}",
        b'{"keys": null}',
        b'{"keys": "a"}',
        b'{"keys": {"a": 1}}',
        b'{"keys": [1]}',
        b'{"keys": [null]}',
        b'{"keys": [["a"]]}',
        b'{"keys": ["a"], "quiet": true}',
        b'{"keys": ["c"], "keys": ["a"]}',
        b'{"Keys": ["a"]}',
        b'{"keys": ["a", NaN]}',
        b'{"keys": ["a"]} x',
        b'{"keys": ["\xff"]}',
        b'\xef\xbb\xbf{"keys": ["a"]}',
        b'{"keys": [' + b"[" * 100_000,
        b'{"keys": [' + b"9" * 10_000 + b"]}",
    ],
    ids=range(22),
)
def test_a_body_that_is_wrong_is_400_and_deletes_nothing(
    app: Gateway, body: bytes
) -> None:
    answer = call(app, "POST", PATH, body)
    assert answer.status == 400
    assert answer.code in ("InvalidBody", "InvalidJson")
    assert len(kept(app)) == 3


@pytest.mark.parametrize("key", ["", "k" * 1025, "\ud800", "list"], ids=ascii)
def test_a_key_that_is_wrong_is_422_and_deletes_nothing(app: Gateway, key: str) -> None:
    answer = delete(app, ["a", key])
    assert (answer.status, answer.code) == (422, "InvalidKey")
    assert answer.json["error"].startswith("Key 2 of the list: ")
    assert len(kept(app)) == 3


def test_too_long_a_body_is_413(app: Gateway) -> None:
    headers = {"Content-Length": str(MAX_BYTES + 1)}
    answer = call(app, "POST", PATH, Input(b"{"), headers)
    assert (answer.status, answer.code) == (413, "BodyTooLarge")
    chunked = {"Transfer-Encoding": "chunked"}
    long_list = b'{"keys": [' + (b'"a",' + b" " * 5000) * (MAX_BYTES // 5000 + 1)
    environ = {"wsgi.input_terminated": True}
    answer = call(app, "POST", PATH, Input(long_list), chunked, environ=environ)
    assert (answer.status, answer.code) == (413, "BodyTooLarge")
    short_list = Input(b'{"keys": ["c"]}')
    answer = call(app, "POST", PATH, short_list, chunked, environ=environ)
    assert answer.json["deleted"] == ["c"]


@pytest.mark.parametrize(
    ("keys", "status"),
    [
        (b"[]," * 1_000_000, 400),
        (b'"a",' * 1_000_000, 400),
        (b'"' + b"a" * 3_000_000, 400),
        (b'"' + b"a" * 1025 + b'",' + b" " * 3_000_000, 422),
    ],
    ids=["lists", "many keys", "a long key", "a key that is too long"],
)
def test_a_body_is_read_up_to_what_is_wrong(
    app: Gateway, keys: bytes, status: int
) -> None:
    with closing(Unread(b'{"keys":[' + keys)) as body:
        headers = {"Content-Length": str(len(body.getvalue()))}
        answer = call(app, "POST", PATH, body, headers)
        assert answer.status == status
        assert body.was_read_for_keys <= 2 * ITEM_CHARACTERS + 2 * PIECE_BYTES
    assert len(kept(app)) == 3


class Unread(Input):
    """A body of which only the handler's reads count: what is left is drained."""

    was_read_for_keys = 0

    def read(self, size: int | None = -1) -> bytes:
        if size is not None and size <= PIECE_BYTES:
            self.was_read_for_keys += size
        return super().read(size)


def test_a_body_without_a_length_or_cut_short_is_refused(app: Gateway) -> None:
    assert call(app, "POST", PATH).code == "LengthRequired"
    answer = call(app, "POST", PATH, Input(b'{"keys":[]}'), {"Content-Length": "12"})
    assert (answer.status, answer.code) == (400, "IncompleteBody")


def test_a_node_that_fails_keeps_only_its_own_objects(nodes: list[Node]) -> None:
    app = make_app(nodes, routes=buckets.ROUTES)
    call(app, "POST", "/buckets/photos")
    ranker = Ranker(dict.fromkeys(NODES, 1.0))

    def home(key: str) -> str:
        return ranker.rank(stored_name("photos", key)[0].hash_key)[0]

    keys = [f"{number}" for number in range(20)]
    marker = ranker.rank(marker_name("photos").hash_key)[0]
    down = min({home(key) for key in keys} - {marker})
    left = [AbsentNode(node.name) if node.name == down else node for node in nodes]
    answer = delete(make_app(left, routes=buckets.ROUTES), keys)
    assert answer.status == 200
    assert answer.json["deleted"] == [key for key in keys if home(key) != down]
    assert [error["key"] for error in answer.json["errors"]] == [
        key for key in keys if home(key) == down
    ]
    assert {error["code"] for error in answer.json["errors"]} == {"NodeUnreachable"}
