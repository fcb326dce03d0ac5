"""Whatever arrives, the application answers as the contract says, and never fails."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from amazin.settings.settings import Settings
from gateway import Gateway
from tests.support.app import Answer, BrokenInput, Input, call, make_app

LIMIT, SPOOL = 4096, 3000
CODES = {
    400: {
        "AmbiguousLength",
        "IncompleteBody",
        "InvalidCondition",
        "InvalidHeader",
        "InvalidLength",
        "MetadataTooLarge",
        "PartialUpload",
    },
    404: {"NoSuchRoute", "NoSuchObject"},
    405: {"MethodNotAllowed"},
    411: {"LengthRequired"},
    412: {"PreconditionFailed"},
    413: {"ObjectTooLarge"},
    416: {"InvalidRange"},
    422: {"InvalidId"},
    501: {"NotSupported"},
    507: {"SpoolFull"},
}

LATIN_1 = st.text(st.characters(max_codepoint=255), max_size=40)
ANY_TEXT = st.text(max_size=40)
TAGS = st.sampled_from(['"abc"', 'W/"x"', "*", '""', '"a", "b"', '"', ","])
DATES = st.sampled_from(
    ["Sun, 06 Nov 1994 08:49:37 GMT", "Sun Nov  6 08:49:37 2094", "Sunday", "0"]
)
NUMBERS = st.one_of(
    st.integers(-5, 5000).map(str), st.sampled_from(["", "9" * 40, "9" * 2000, "٣"])
)
RANGES = st.tuples(NUMBERS, NUMBERS).map(lambda pair: "bytes={}-{}".format(*pair))
LONG = st.integers(1900, 2100).map(lambda length: "x" * length)

METHODS = st.one_of(
    st.sampled_from(["GET", "HEAD", "PUT", "DELETE"]),
    st.sampled_from(["POST", "put", "OPTIONS", "TRACE", ""]),
    LATIN_1,
)
IDS = st.one_of(st.sampled_from(["a", "b", "abc", "x" * 32, "x" * 33, "a/b"]), LATIN_1)
PATHS = st.one_of(
    st.sampled_from(["/object/a", "/object/b", "/object/c"]),
    IDS.map(lambda object_id: "/object/" + object_id),
    st.sampled_from(["/health", "/health/ready", "/", "", "//", "/object"]),
    LATIN_1.map(lambda text: "/" + text),
    ANY_TEXT,
)
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "CONTENT_TYPE": LATIN_1,
        "HTTP_RANGE": st.one_of(RANGES, LATIN_1),
        "HTTP_IF_MATCH": st.one_of(TAGS, LATIN_1),
        "HTTP_IF_NONE_MATCH": st.one_of(TAGS, LATIN_1),
        "HTTP_IF_MODIFIED_SINCE": st.one_of(DATES, LATIN_1),
        "HTTP_IF_UNMODIFIED_SINCE": st.one_of(DATES, LATIN_1),
        "HTTP_IF_RANGE": st.one_of(TAGS, DATES, LATIN_1),
        "HTTP_CONTENT_ENCODING": st.one_of(st.just("aws-chunked"), LATIN_1),
        "HTTP_CONTENT_RANGE": LATIN_1,
        "HTTP_CACHE_CONTROL": ANY_TEXT,
        "HTTP_X_REQUEST_ID": LATIN_1,
        "HTTP_X_FORWARDED_FOR": LATIN_1,
        "HTTP_X_META_COLOUR": st.one_of(LONG, LATIN_1, ANY_TEXT),
        "HTTP_AUTHORIZATION": LATIN_1,
        "QUERY_STRING": st.one_of(st.just("all"), LATIN_1),
        "REMOTE_ADDR": st.one_of(st.just("127.0.0.1"), LATIN_1),
    },
)
OWN_HEADERS = st.dictionaries(
    LATIN_1.map(lambda t: "HTTP_X_META_" + t.upper()), LATIN_1
)
BODIES = st.one_of(st.binary(max_size=300), st.integers(0, 5000).map(bytes))
FRAMINGS = st.fixed_dictionaries(
    {},
    optional={
        "CONTENT_LENGTH": st.one_of(NUMBERS, LATIN_1),
        "HTTP_TRANSFER_ENCODING": st.sampled_from(["chunked", "Chunked ", "gzip", ""]),
        "wsgi.input_terminated": st.booleans(),
    },
)
BREAKS = st.sampled_from([None, None, ConnectionResetError(), ValueError("x")])


@pytest.fixture(scope="module")
def app() -> Gateway:
    """An application with little room."""
    return make_app(settings=Settings(max_object_bytes=LIMIT, spool_bytes=SPOOL))


def ask(app: Gateway, stream: Input, environ: Mapping[str, Any]) -> Answer:
    """Send a request past the validator's checks of what a server hands over."""
    answer = call(app, "GET", "/", stream, environ=environ)
    check(answer, environ["REQUEST_METHOD"])
    return answer


def check(answer: Answer, method: str) -> None:
    """Check what every answer has; the validator has seen the rest."""
    status, headers = answer.status, answer.headers
    assert headers["X-Request-Id"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert status in CODES or status in (200, 201, 204, 206, 304)
    if status in (204, 304) or method == "HEAD":
        assert answer.body == b""
    else:
        assert headers["Content-Length"] == str(len(answer.body))
        if status in CODES:
            assert answer.code in CODES[status]
    for name, value in headers.items():
        assert all(" " <= char != "\x7f" for char in name + value)


@given(METHODS, PATHS, HEADERS, OWN_HEADERS, FRAMINGS, BODIES, BREAKS)
def test_any_request_gets_an_answer_of_the_contract(
    app: Gateway,
    method: str,
    path: str,
    headers: dict[str, str],
    own_headers: dict[str, str],
    framing: dict[str, Any],
    body: bytes,
    error: Exception | None,
) -> None:
    stream = BrokenInput(body, error) if error else Input(body)
    request = {"REQUEST_METHOD": method, "PATH_INFO": path}
    ask(app, stream, {**request, **own_headers, **headers, **framing})


@given(HEADERS, FRAMINGS, BODIES, BREAKS)
@example({}, {"CONTENT_LENGTH": "5"}, b"1234", None)
@example({}, {"CONTENT_LENGTH": "5"}, b"123456", None)
def test_an_upload_is_stored_whole_or_not_at_all(
    app: Gateway,
    headers: dict[str, str],
    framing: dict[str, Any],
    body: bytes,
    error: Exception | None,
) -> None:
    path = {"PATH_INFO": "/object/whole"}
    put, get = ({"REQUEST_METHOD": method, **path} for method in ("PUT", "GET"))
    ask(app, Input(b"old"), {**put, "CONTENT_LENGTH": "3"})
    stream = BrokenInput(body, error) if error else Input(body)
    stored = ask(app, stream, {**put, **headers, **framing})
    found = ask(app, Input(), get)
    if stored.status != 201:
        assert found.body == b"old"
        return
    is_chunked = framing.get("HTTP_TRANSFER_ENCODING")
    length = len(body) if is_chunked else int(framing["CONTENT_LENGTH"])
    assert found.body == body[:length]
    assert (length, stored.json["size"]) == (len(found.body), length)
    assert stored.json["etag"] == hashlib.md5(found.body).hexdigest()


@given(HEADERS, BODIES)
def test_a_download_is_the_object_or_the_part_it_says(
    app: Gateway, headers: dict[str, str], body: bytes
) -> None:
    body = body[:LIMIT]
    path = {"PATH_INFO": "/object/part"}
    put, get = ({"REQUEST_METHOD": method, **path} for method in ("PUT", "GET"))
    stored = ask(app, Input(body), {**put, "CONTENT_LENGTH": str(len(body))})
    assert stored.status == 201
    answer = ask(app, Input(), {**get, **headers})
    head = ask(app, Input(), {**get, **headers, "REQUEST_METHOD": "HEAD"})
    if answer.status in (206, 416):
        assert head.status == 200
    else:
        assert head.status == answer.status
    if answer.status == 200:
        assert answer.body == body
    elif answer.status == 206:
        text = answer.headers["Content-Range"].removeprefix("bytes ")
        (first, _, last), size = text.split("/")[0].partition("-"), text.split("/")[1]
        assert answer.body == body[int(first) : int(last) + 1] != b""
        assert int(size) == len(body)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
@example("a" * 32)
@example("a" * 33)
@example("a\n")
@example("\0")
@example("٣")
def test_an_id_is_letters_and_digits_and_nothing_else(
    app: Gateway, object_id: str
) -> None:
    answer = call(app, "PUT", "/object/" + quote(object_id, safe=""), b"x")
    is_id = object_id.isascii() and object_id.isalnum() and len(object_id) <= 32
    if is_id:
        assert answer.status == 201
        assert call(app, "GET", "/object/" + object_id).body == b"x"
    else:
        expected = 404 if "/" in object_id else 422
        assert answer.status == expected
