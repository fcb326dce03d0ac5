"""Every route, by every principal, with every kind of credentials."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from amazin.access.grants import OPEN
from amazin.api.routes import all_routes
from amazin.metrics.metrics import Metrics
from amazin.settings.settings import Settings
from amazin.signing.urls import SigningKey, signed_url
from gateway import Gateway
from tests.support.app import Answer, call, make_app
from tests.support.cleanup import closed_later

SECRET = "correct-horse-battery-staple"
KEY_SECRET = "the-secret-of-the-key-of-s3"
BASE = "http://gateway:3000"
GRANTS = {
    "reader": "[{allow: [read, list], buckets: [photos], prefix: a/}]",
    "writer": "[{allow: [write], buckets: [photos], prefix: a/}]",
    "remover": "[{allow: [delete], buckets: [photos], prefix: a/}]",
    "lister": "[{allow: [list], buckets: [photos]}]",
    "bucketeer": "[{allow: [bucket], buckets: [photos]}]",
    "ids": "[{allow: [read, write, delete], ids: true}]",
    "blobs": "[{allow: [read, write], blobs: true}]",
    "prometheus": "[{allow: [metrics]}]",
    "watcher": "[{allow: [status]}]",
    "nothing": "[]",
    "admin": "[{allow: [admin]}]",
}


def token_of(name: str) -> str:
    """Return a principal's token."""
    return f"amz_{name}"


def access_text() -> str:
    """Return an access file with these principals, `reader` with more credentials."""
    lines = ["principals:"]
    for name, grants in GRANTS.items():
        digest = hashlib.sha256(token_of(name).encode()).hexdigest()
        lines += [f"  {name}:", f"    tokens: [{{sha256: {digest}}}]"]
        lines += [f"    grants: {grants}"]
        if name == "reader":
            old = hashlib.sha256(b"amz_old").hexdigest()
            lines[-2] = f"    tokens: [{{sha256: {digest}}}, {{sha256: {old}, "
            lines[-2] += "expires: 2020-01-01}]"
            lines.append("    keys: [{id: READER1, secret_file: secret}]")
    return "\n".join(lines) + "\n"


@pytest.fixture
def app(tmp_path: Path) -> Gateway:
    """An application with these principals, and a few objects."""
    (tmp_path / "secret").write_text(KEY_SECRET)
    (tmp_path / "secret").chmod(0o600)
    path = tmp_path / "access.yaml"
    path.write_text(access_text())
    settings = Settings(
        access="signed", access_file=str(path), signing_secret=SECRET, blob_api=True
    )
    app = make_app(settings=settings, metrics=closed_later(Metrics()))
    for bucket in ("photos", "other"):
        assert ask(app, "admin", "POST", f"/buckets/{bucket}").status == 201
    for path_ in ("/objects/photos/a/1", "/objects/photos/ab", "/object/id1"):
        assert ask(app, "admin", "PUT", path_, b"bytes").status == 201
    assert ask(app, "admin", "POST", "/upload", b"blob").status == 200
    return app


def ask(
    app: Gateway,
    name: str,
    method: str,
    path: str,
    body: bytes | None = None,
    **headers: str,
) -> Answer:
    """Ask with the token of a principal; "" stands for no credentials."""
    given = {"Authorization": f"Bearer {token_of(name)}"} if name else {}
    given |= {header.replace("_", "-"): value for header, value in headers.items()}
    return call(app, method, path, body, given)


BLOB = hashlib.sha1(b"blob", usedforsecurity=False).hexdigest()
GET_URL, PUT_URL = (json.dumps({"method": name}).encode() for name in ("GET", "PUT"))
NO_KEYS = b'{"keys": []}'
TABLE: list[tuple[str, str, bytes | None, set[str]]] = [
    ("PUT", "/object/new", b"x", {"ids"}),
    ("GET", "/object/id1", None, {"ids"}),
    ("HEAD", "/object/id1", None, {"ids"}),
    ("DELETE", "/object/id2", None, {"ids"}),
    ("GET", "/buckets", None, {"reader", "writer", "remover", "lister", "bucketeer"}),
    ("HEAD", "/buckets", None, {"reader", "writer", "remover", "lister", "bucketeer"}),
    ("POST", "/buckets/photos", None, {"bucketeer"}),
    (
        "HEAD",
        "/buckets/photos",
        None,
        {"reader", "writer", "remover", "lister", "bucketeer"},
    ),
    ("HEAD", "/buckets/other", None, set()),
    ("DELETE", "/buckets/photos", None, {"bucketeer"}),
    ("GET", "/objects/photos/list?prefix=a/", None, {"reader", "lister"}),
    ("HEAD", "/objects/photos/list?prefix=a/", None, {"reader", "lister"}),
    ("GET", "/objects/photos/list?prefix=a", None, {"lister"}),
    ("GET", "/objects/photos/list", None, {"lister"}),
    ("GET", "/objects/other/list?prefix=a/", None, set()),
    ("POST", "/objects/photos/delete", NO_KEYS, {"remover"}),
    ("POST", "/objects/other/delete", NO_KEYS, set()),
    ("PUT", "/objects/photos/a/2", b"x", {"writer"}),
    ("PUT", "/objects/photos/ab", b"x", set()),
    ("PUT", "/objects/photos/a", b"x", set()),
    ("PUT", "/objects/photos/a%2F3", b"x", {"writer"}),
    ("PUT", "/objects/photos//a/3", b"x", set()),
    ("PUT", "/objects/photos/a/../b", b"x", {"writer"}),  # `..` is part of a key
    ("PUT", "/objects/other/a/1", b"x", set()),
    ("GET", "/objects/photos/a/1", None, {"reader"}),
    ("GET", "/objects/photos/a/none", None, {"reader"}),
    ("HEAD", "/objects/photos/a/1", None, {"reader"}),
    ("GET", "/objects/photos/ab", None, set()),
    ("GET", "/objects/photos/A/1", None, set()),
    ("GET", "/objects/a/1", None, set()),
    ("DELETE", "/objects/photos/a/none", None, {"remover"}),
    ("DELETE", "/objects/photos/ab", None, set()),
    ("GET", "/archive/photos?prefix=a/", None, {"reader"}),
    ("HEAD", "/archive/photos?prefix=a/", None, {"reader"}),
    ("GET", "/archive/photos", None, set()),
    ("POST", "/presigned-url/photos/a/1", GET_URL, {"reader"}),
    ("POST", "/presigned-url/photos/a/1", PUT_URL, {"writer"}),
    ("POST", "/presigned-url/photos/ab", PUT_URL, set()),
    ("POST", "/upload", b"new blob", {"blobs"}),
    ("GET", f"/fetch/{BLOB}", None, {"blobs"}),
    ("HEAD", f"/fetch/{BLOB}", None, {"blobs"}),
    ("GET", "/status", None, {"watcher"}),
    ("HEAD", "/status", None, {"watcher"}),
    ("GET", "/metrics", None, {"prometheus"}),
    ("HEAD", "/metrics", None, {"prometheus"}),
]
"""Method, path, body, and who may do that beside the administrator."""


@pytest.mark.parametrize(("method", "path", "body", "allowed"), TABLE)
def test_a_route_serves_whom_a_grant_allows(
    app: Gateway, method: str, path: str, body: bytes | None, allowed: set[str]
) -> None:
    served = set()
    for name in GRANTS:
        answer = ask(app, name, method, path, body)
        assert answer.status not in (401, 500)
        if answer.status != 403:
            served.add(name)
        elif method != "HEAD":
            assert answer.code == "NotAllowed"
    assert served == {*allowed, "admin"}


@pytest.mark.parametrize(("method", "path", "body", "allowed"), TABLE)
def test_a_route_takes_no_wrong_credentials(
    app: Gateway, method: str, path: str, body: bytes | None, allowed: set[str]
) -> None:
    answers = {
        "": ask(app, "", method, path, body),
        "basic": ask(app, "", method, path, body, Authorization="Basic YTpi"),
        "unknown": ask(app, "unknown", method, path, body),
        "hash": ask(app, "", method, path, body, Authorization=f"Bearer {BLOB}"),
        "expired": ask(app, "", method, path, body, Authorization="Bearer amz_old"),
    }
    codes = ["NoCredentials", "NoCredentials", "UnknownToken", "UnknownToken"]
    statuses = [answer.status for answer in answers.values()]
    assert statuses == [401, 401, 403, 403, 403]
    if method != "HEAD":
        shown = [answer.code for answer in answers.values()]
        assert shown == [*codes, "ExpiredToken"]


def test_the_table_has_every_route() -> None:
    settings = Settings(access="signed", blob_api=True)
    routes = {route for route in all_routes(settings) if route.action != OPEN}
    paths = [(method, path.partition("?")[0]) for method, path, _, _ in TABLE]
    asked = {
        next(
            r
            for r in all_routes(settings)
            if r.pattern.fullmatch(path) and r.method == m
        )
        for m, path in paths
    }
    assert asked == routes


def url_by(key: SigningKey, method: str, path: str) -> str:
    """Return a URL's path and query, signed with a key."""
    return signed_url(key, method, BASE, path, 60, time.time()).removeprefix(BASE)


def follow(app: Gateway, method: str, url: str, body: bytes | None = None) -> Answer:
    """Ask as a client that was given a URL."""
    return call(app, method, url, body, {"Host": "gateway:3000"})


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
def test_a_key_signs_what_its_principal_may(app: Gateway, method: str) -> None:
    key = SigningKey("READER1", KEY_SECRET)
    inside = follow(app, method, url_by(key, method, "/objects/photos/a/1"), b"")
    outside = follow(app, method, url_by(key, method, "/objects/photos/ab"), b"")
    assert inside.status == (200 if method in ("GET", "HEAD") else 403)
    assert outside.status == 403


@pytest.mark.parametrize(
    ("key", "code"),
    [
        (SigningKey("READER1", "x" * 20), "SignatureMismatch"),
        (SigningKey("READER2", KEY_SECRET), "UnknownKeyId"),
        (SigningKey("amazin.reader", SECRET), "SignatureMismatch"),
        (SigningKey("amazin.nobody", SECRET), "UnknownKeyId"),
        (SigningKey("reader", SECRET), "UnknownKeyId"),
    ],
)
def test_a_wrong_key_signs_nothing(app: Gateway, key: SigningKey, code: str) -> None:
    answer = follow(app, "GET", url_by(key, "GET", "/objects/photos/a/1"))
    assert (answer.status, answer.code) == (403, code)


def test_a_key_that_was_never_valid_signs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "access.yaml"
    (tmp_path / "secret").write_text(KEY_SECRET)
    path.write_text(
        "principals: {old: {keys: [{id: OLD, secret_file: secret, expires: 1970-01-01}]"
        ", grants: [{allow: [admin]}]}}\n"
    )
    app = make_app(settings=Settings(access="signed", access_file=str(path)))
    url = url_by(SigningKey("OLD", KEY_SECRET), "GET", "/objects/photos/a")
    assert follow(app, "GET", url).code == "ExpiredUrl"


def test_a_url_belongs_to_a_principal_and_ends_with_it(tmp_path: Path) -> None:
    path = tmp_path / "access.yaml"
    path.write_text(access_text().replace("keys:", "#"))
    settings = Settings(
        access="signed",
        access_file=str(path),
        signing_secret=SECRET,
        api_tokens=("t" * 16,),
    )
    app = make_app(settings=settings)
    admin = {"Authorization": f"Bearer {'t' * 16}"}
    assert call(app, "POST", "/buckets/photos", None, admin).status == 201
    headers = {"Authorization": "Bearer amz_writer", "Host": "gateway:3000"}
    answer = call(app, "POST", "/presigned-url/photos/a/1", PUT_URL, headers)
    url = answer.json["url"].removeprefix(BASE)
    assert "amazin.writer" in url
    assert follow(app, "PUT", url, b"bytes").status == 201
    path.write_text(access_text().replace("keys:", "#").replace("writer", "wrote"))
    answer = follow(make_app(settings=settings), "PUT", url, b"bytes")
    assert (answer.status, answer.code) == (403, "UnknownKeyId")


def test_a_url_makes_no_other(app: Gateway) -> None:
    for key in (SigningKey("READER1", KEY_SECRET), SigningKey("amazin", SECRET)):
        url = url_by(key, "POST", "/presigned-url/photos/a/1")
        assert follow(app, "POST", url, GET_URL).status == 401


def test_a_copy_needs_both_objects(app: Gateway) -> None:
    source = {"X_Copy_Source": "/photos/a/1"}
    for name in ("reader", "writer"):
        answer = ask(app, name, "PUT", "/objects/photos/a/2", None, **source)
        assert (answer.status, answer.code) == (403, "NotAllowed")
    assert ask(app, "admin", "PUT", "/objects/photos/a/2", None, **source).status == 201


@pytest.mark.parametrize(
    ("path", "body", "text"),
    [
        ("/buckets", None, "You may not do anything with any bucket"),
        ("/presigned-url/other/a", GET_URL, "with this key of the bucket other"),
        ("/presigned-url/photos/b", PUT_URL, "with this key of the bucket photos"),
        ("/object/id1", None, "You may not do this: read, in objects by id"),
    ],
)
def test_a_denial_is_a_sentence_of_words_that_the_access_file_has(
    app: Gateway, path: str, body: bytes | None, text: str
) -> None:
    name = "watcher" if path == "/buckets" else "reader"
    answer = ask(app, name, "POST" if body else "GET", path, body)
    assert answer.status == 403
    assert answer.json["error"].endswith(text)


def test_keys_are_deleted_one_by_one(app: Gateway) -> None:
    body = json.dumps({"keys": ["a/1", "ab", "a/none"]}).encode()
    answer = ask(app, "remover", "POST", "/objects/photos/delete", body)
    assert answer.json["deleted"] == ["a/1", "a/none"]
    assert [failed["code"] for failed in answer.json["errors"]] == ["NotAllowed"]
    assert ask(app, "admin", "GET", "/objects/photos/ab").status == 200
    assert ask(app, "admin", "GET", "/objects/photos/a/1").status == 404


def test_buckets_of_others_are_not_shown(app: Gateway) -> None:
    assert ask(app, "reader", "GET", "/buckets").json == ["photos"]
    assert ask(app, "admin", "GET", "/buckets").json == ["other", "photos"]


def test_readiness_names_nodes_to_whom_it_may(app: Gateway) -> None:
    for name in ("", "reader", "unknown", "prometheus"):
        assert set(ask(app, name, "GET", "/health/ready").json) == {"status"}
    for name in ("watcher", "admin"):
        assert set(ask(app, name, "GET", "/health/ready").json) == {"status", "nodes"}


def test_nothing_tells_whether_something_exists(app: Gateway) -> None:
    answers = [
        ask(app, "writer", "GET", f"/objects/photos/{key}", X_Request_Id="1")
        for key in ("a/1", "a/none")
    ]
    answers.append(ask(app, "writer", "GET", "/objects/none/a", X_Request_Id="1"))
    assert answers[0].body == answers[1].body
    assert [answer.status for answer in answers] == [403] * 3


# The audit log


@pytest.fixture
def audited() -> Iterator[list[dict[str, object]]]:
    """What the audit log has; it grows."""
    lines: list[dict[str, object]] = []

    class Lines(logging.Handler):
        def handle(self, record: logging.LogRecord) -> bool:
            lines.append(record.fields)  # type: ignore[attr-defined]
            return True

    log, handler = logging.getLogger("amazin.audit"), Lines()
    level = log.level
    log.setLevel(logging.INFO)
    log.addHandler(handler)
    yield lines
    log.removeHandler(handler)
    log.setLevel(level)


def test_what_a_foreign_page_was_refused_is_logged(
    app: Gateway, audited: list[dict[str, object]]
) -> None:
    audited.clear()
    ask(app, "writer", "PUT", "/objects/photos/a/2", b"x", Origin="http://else.where")
    assert [(line["status"], line["principal"]) for line in audited] == [(403, "")]


def test_changes_and_refusals_are_logged(
    app: Gateway, audited: list[dict[str, object]]
) -> None:
    audited.clear()
    ask(app, "writer", "PUT", "/objects/photos/a/2", b"x", X_Request_Id="r1")
    ask(app, "reader", "GET", "/objects/photos/a/2")
    ask(app, "reader", "GET", "/objects/photos/ab")
    ask(app, "reader", "POST", "/presigned-url/photos/a/1", GET_URL)
    ask(app, "unknown", "GET", "/buckets")
    ask(app, "remover", "POST", "/objects/photos/delete", b'{"keys": ["a/2", "ab"]}')
    digest = hashlib.sha256(b"amz_writer").hexdigest()[:8]
    assert audited[0] == {
        "requestId": "r1",
        "principal": "writer",
        "credential": digest,
        "action": "write",
        "kind": "objects",
        "bucket": "photos",
        "key": "a/2",
        "status": 201,
        "client": "192.0.2.7",
    }
    shown = [
        (line["principal"], line["action"], line["key"], line["status"])
        for line in audited[1:]
    ]
    assert sorted(shown[3:5], key=str) == [
        ("remover", "delete", "a/2", 204),
        ("remover", "delete", "ab", 403),
    ]
    assert [*shown[:3], shown[5]] == [
        ("reader", "read", "ab", 403),
        ("reader", "presign", "a/1", 200),
        ("", "", "", 403),
        ("remover", "delete", "", 200),
    ]


def test_where_access_is_open_nothing_is_logged(
    audited: list[dict[str, object]],
) -> None:
    call(make_app(), "PUT", "/object/a", b"x")
    call(make_app(), "GET", url_by(SigningKey("a", SECRET), "GET", "/object/a"))
    assert audited == []
