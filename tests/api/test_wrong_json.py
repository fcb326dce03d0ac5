"""JSON that is wrong in every way is refused with 400 or 422, and does nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from amazin.api import buckets, presign
from amazin.settings.settings import Settings
from gateway import Gateway
from tests.support.app import Answer, call, make_app

BATCHES = ("/objects/photos/delete", "/objects/delete")
PRESIGNERS = ("/presigned-url/photos/a/b.txt", "/presigned-url/a.txt")
POSTS = (*BATCHES, *PRESIGNERS)
KEPT = "/objects/photos/kept", "/objects/kept"

NO_REQUEST: tuple[bytes, ...] = (
    b"",
    b" ",
    b"\0",
    b"nothing",
    b"keys=kept",
    b"{",
    b"{}",
    b"{}{}",
    b"[]",
    b"null",
    b"true",
    b"0",
    b"-",
    b"1e999",
    b"9" * 5000,
    b"NaN",
    b'"keys"',
    b'["kept"]',
    b"{'keys':['kept']}",
    b'{"keys"}',
    b'{"":""}',
    b"\xff\xfe",
    b'{"keys":["\xff"]}',
    b'{"method":"\xff"}',
    b'\xef\xbb\xbf{"keys":["kept"]}',
    '{"keys":["kept"],"method":"GET"}'.encode("utf-16"),
    b"[" * 60_000,
    b'{"keys":' * 7_000,
    b'{"keys":["kept"],"method":"GET"}',
    b'{"keys":["kept"],"keys":["kept"]}',
    b'{"method":"GET","method":"GET"}',
    b'{"keys":["kept"],"method":"GET"',
    b'{"keys":["kept"]}}',
    b'{"method":"GET"};',
    b'{"__proto__":{"keys":["kept"],"method":"GET"}}',
)
"""No right request for any path."""

NO_BATCH: tuple[Any, ...] = (
    {"keys": None},
    {"keys": True},
    {"keys": 1},
    {"keys": "kept"},
    {"keys": {"kept": 1}},
    {"keys": [None]},
    {"keys": ["kept", 1]},
    {"keys": ["kept", ["kept"]]},
    {"keys": ["kept", {"key": "kept"}]},
    {"keys": ["kept", ""]},
    {"keys": ["kept", "\ud800"]},
    {"keys": ["kept", "x" * 1025]},
    {"keys": ["kept", "\u00fc" * 513]},
    {"keys": ["kept", "list"]},
    {"keys": ["kept"] * 1001},
    {"keys": ["kept"], "quiet": True},
    {"Keys": ["kept"]},
    {"key": "kept"},
)
NO_ORDER: tuple[Any, ...] = (
    {"expiry": "15m"},
    {"method": None},
    {"method": 1},
    {"method": ["GET"]},
    {"method": {"GET": "GET"}},
    {"method": ""},
    {"method": "get"},
    {"method": "GET "},
    {"method": "HEAD"},
    {"method": "DELETE"},
    {"method": "\ud800"},
    {"method": "GET", "expiry": None},
    {"method": "GET", "expiry": 900},
    {"method": "GET", "expiry": ["15m"]},
    {"method": "GET", "expiry": "15"},
    {"method": "GET", "expiry": "-15m"},
    {"method": "GET", "expiry": "0s"},
    {"method": "GET", "expiry": "999ms"},
    {"method": "GET", "expiry": "168h1s"},
    {"method": "GET", "expiry": "9" * 400 + "h"},
    {"method": "GET", "expiry": "1h" * 5000},
    {"method": "GET", "expiry": "\u0661h"},
    {"method": "GET", "expiry": "soon"},
    {"method": "GET", "expiry": "\ud800"},
    {"method": "GET", "key": "kept"},
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["GET", "PUT", "15m", "list", "\ud800", "a/b"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["keys", "method", "expiry"]) | st.text(max_size=5),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@pytest.fixture(scope="module")
def app() -> Gateway:
    """An application that has the objects `KEPT`."""
    routes = (*buckets.ROUTES, *presign.ROUTES)
    settings = Settings(signing_secret="correct horse battery staple")
    app = make_app(settings=settings, routes=routes)
    assert call(app, "POST", "/buckets/photos").status == 201
    for path in KEPT:
        assert call(app, "PUT", path, b"kept").status == 201
    return app


def post(app: Gateway, path: str, body: bytes) -> Answer:
    """Send a body as JSON."""
    headers = {"Content-Type": "application/json", "Host": "gateway:3000"}
    return call(app, "POST", path, body, headers)


def require_refused(app: Gateway, path: str, body: bytes) -> None:
    """Check that the body is refused, and that the objects are still there."""
    answer = post(app, path, body)
    assert answer.status in (400, 422), answer.body
    assert answer.code
    for kept in KEPT:
        assert call(app, "GET", kept).body == b"kept"


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize("body", NO_REQUEST, ids=lambda body: ascii(body[:24]))
def test_what_is_no_request_at_all(app: Gateway, path: str, body: bytes) -> None:
    require_refused(app, path, body)


@pytest.mark.parametrize("path", BATCHES)
@pytest.mark.parametrize("value", NO_BATCH, ids=lambda value: ascii(value)[:40])
def test_what_is_no_list_of_keys(app: Gateway, path: str, value: Any) -> None:
    require_refused(app, path, json.dumps(value).encode())


@pytest.mark.parametrize("path", PRESIGNERS)
@pytest.mark.parametrize("value", NO_ORDER, ids=lambda value: ascii(value)[:40])
def test_what_is_no_order_of_a_url(app: Gateway, path: str, value: Any) -> None:
    require_refused(app, path, json.dumps(value).encode())


@pytest.mark.parametrize("path", POSTS)
@given(value=JSON)
@example(value={"keys": []})
@example(value={"method": "GET", "expiry": "1m0.5s"})
def test_any_json_is_done_or_refused(app: Gateway, path: str, value: Any) -> None:
    answer = post(app, path, json.dumps(value).encode())
    if answer.status != 200:
        assert answer.status in (400, 422)
        assert answer.code
    elif path in BATCHES:
        assert answer.json == {"deleted": [*dict.fromkeys(value["keys"])], "errors": []}
    else:
        assert answer.json["method"] == value["method"]


@pytest.mark.parametrize("path", POSTS)
@given(body=st.binary(max_size=200))
def test_any_bytes_are_refused(app: Gateway, path: str, body: bytes) -> None:
    answer = post(app, path, body)
    assert answer.status in (400, 422)
    assert answer.code


@pytest.mark.parametrize("body", [b"", b"{", b'{"bucket":1}', b"\xff" * 4096])
def test_making_a_bucket_takes_no_notice_of_a_body(body: bytes) -> None:
    app = make_app(routes=buckets.ROUTES)
    assert post(app, "/buckets/photos", body).status == 201


def test_a_body_that_is_too_long_is_refused_before_it_is_read(app: Gateway) -> None:
    for path in POSTS:
        answer = post(app, path, b'"' + b"x" * 2**22 + b'"')
        assert (answer.status, answer.code) == (413, "BodyTooLarge")
