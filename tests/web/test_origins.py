"""Pages of other origins write nothing here, and names that are not ours serve none."""

from __future__ import annotations

from hashlib import sha1

import pytest

from amazin.errors import HTTPError
from amazin.settings.settings import Settings
from amazin.web.origins import require_own_page, require_served_host
from gateway import Gateway
from tests.support.answers import require_no_origin, told
from tests.support.app import Answer, call, make_app

KEPT = sha1(b"kept").hexdigest()
HOST = {"Host": "gateway:3000"}
FOREIGN = [
    {"Origin": "null"},
    {"Origin": "https://evil.example"},
    {"Origin": "http://gateway:3001"},
    {"Origin": "http://gateway"},
    {"Origin": "http://gateway:3000.evil.example"},
    {"Origin": "http://gateway:3000, https://evil.example"},
    {"Origin": ""},
    {"Origin": "gateway:3000/"},
    {"Origin": "://gateway:3000"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-origin,cross-site"},
    {"Origin": "http://gateway:3000", "Sec-Fetch-Site": "Cross-Site"},
]
OWN = [
    {},
    {"Origin": "http://gateway:3000"},
    {"Origin": "http://GATEWAY:3000", "Sec-Fetch-Site": "same-origin"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "none"},
]
WRITES = [
    ("PUT", "/object/new", b"x"),
    ("DELETE", "/object/abc", None),
    ("POST", "/buckets/photos", b""),
    ("DELETE", "/buckets/photos", None),
    ("PUT", "/objects/photos/new", b"x"),
    ("DELETE", "/objects/photos/a", None),
    ("POST", "/objects/photos/delete", b'{"keys":["a"]}'),
    ("POST", "/presigned-url/photos/a", b'{"method":"PUT"}'),
    ("POST", "/upload", b"x"),
]


def app_with(**values: object) -> Gateway:
    """Return an application that holds some objects."""
    app = make_app(settings=Settings(blob_api=True, **values))  # type: ignore[arg-type]
    assert call(app, "POST", "/buckets/photos").status == 201
    for path in ("/object/abc", "/objects/photos/a"):
        assert call(app, "PUT", path, b"kept").status == 201
    return app


@pytest.mark.parametrize("page", FOREIGN)
def test_a_foreign_page_writes_nothing(page: dict[str, str]) -> None:
    app = app_with()
    for method, path, body in WRITES:
        answer = call(app, method, path, body, HOST | page)
        assert (answer.status, answer.code) == (403, "CrossOrigin"), path
    for path in ("/object/abc", "/objects/photos/a"):
        assert call(app, "GET", path).body == b"kept"
    for path in ("/object/new", "/objects/photos/new"):
        assert call(app, "GET", path).status == 404


@pytest.mark.parametrize("page", OWN)
def test_programs_and_pages_of_the_same_origin_write(page: dict[str, str]) -> None:
    assert call(app_with(), "PUT", "/object/new", b"x", HOST | page).status == 201


@pytest.mark.parametrize("page", FOREIGN)
def test_a_foreign_page_may_send_readers(page: dict[str, str]) -> None:
    app = app_with()
    for method in ("GET", "HEAD"):
        assert call(app, method, "/object/abc", None, HOST | page).status == 200


@pytest.mark.parametrize(
    ("host", "public_url", "origin", "is_own"),
    [
        ("storage.example", "", "https://storage.example", True),
        ("storage.example:443", "", "https://storage.example", True),
        ("storage.example:80", "", "http://storage.example", True),
        ("storage.example:80", "", "https://storage.example", False),
        ("gateway", "https://storage.example", "https://storage.example", True),
        ("gateway", "https://storage.example:444", "https://storage.example", False),
        ("gateway", "https://storage.example", "http://storage.example", False),
        ("gateway", "http://storage.example:443", "https://storage.example", True),
        (":80", "", "null", False),
        ("[::1]:3000", "", "http://[::1]:3000", True),
        ("[::1]", "", "http://[::1]", True),
        ("", "", "null", False),
        ("", "", "http://", False),
    ],
)
def test_an_origin_is_that_of_the_host_or_of_public_url(
    host: str, public_url: str, origin: str, is_own: bool
) -> None:
    environ = {"HTTP_HOST": host, "HTTP_ORIGIN": origin}
    if is_own:
        require_own_page(environ, public_url)
    else:
        with pytest.raises(HTTPError, match="another origin"):
            require_own_page(environ, public_url)


# JSON

JSON_ROUTES = {
    "/objects/photos/delete": b'{"keys":["a"]}',
    "/presigned-url/photos/a": b'{"method":"GET"}',
}


def posted(path: str, content_type: str) -> Answer:
    """Post JSON under this type."""
    app = app_with(signing_secret="correct horse battery staple")
    headers = {"Content-Type": content_type, "Host": "gateway"}
    return call(app, "POST", path, JSON_ROUTES[path], headers)


@pytest.mark.parametrize("path", JSON_ROUTES)
def test_json_is_taken_under_its_own_type_only(path: str) -> None:
    for content_type in (
        *("", "text/plain", "application/x-www-form-urlencoded", "application/jsonp"),
        *("multipart/form-data; boundary=x", "text/plain; application/json"),
    ):
        answer = posted(path, content_type)
        assert (answer.status, answer.code) == (415, "UnsupportedMediaType")
    for content_type in ("application/json", "Application/JSON; charset=utf-8"):
        assert posted(path, content_type).status == 200


# Host names


@pytest.mark.parametrize(
    ("host", "is_served"),
    [
        *(("storage.example", True), ("STORAGE.example:3000", True)),
        *(("storage.example.", True), ("public.example:8080", True)),
        *(("localhost:3000", True), ("127.0.0.1:3000", True), ("[::1]:3000", True)),
        *(("evil.example", False), ("storage.example.evil.example", False)),
        *(("evil.example:3000", False), ("127.0.0.1.evil.example", False)),
        *(("2130706433.example", False), ("storage.example;a", False)),
    ],
)
def test_only_known_host_names_are_served(host: str, is_served: bool) -> None:
    app = app_with(
        served_hosts=("storage.example",), public_url="https://public.example"
    )
    for method in ("GET", "DELETE"):
        answer = call(app, method, "/object/abc", None, {"Host": host})
        if is_served:
            assert answer.status in (200, 204)
        else:
            assert (answer.status, answer.code) == (421, "UnknownHost")
    assert call(app, "GET", "/health", None, {"Host": host}).status == 200


def test_a_request_without_a_host_is_of_a_program() -> None:
    require_served_host({}, ("storage.example",), "")


def test_an_unknown_host_is_told_nothing() -> None:
    with pytest.raises(HTTPError) as caught:
        require_served_host({"HTTP_HOST": "evil"}, ("storage.example",), "")
    assert "storage" not in told(caught.value).message


# What is stored


@pytest.mark.parametrize(
    "path",
    ["/object/abc", "/objects/photos/a", "/archive/photos", f"/fetch/{KEPT}.html"],
)
def test_what_is_stored_is_no_page_of_ours(path: str) -> None:
    app = app_with()
    assert call(app, "POST", "/upload", b"kept").json["id"] == KEPT
    for method in ("GET", "HEAD"):
        require_no_origin(call(app, method, path))
    require_no_origin(call(app, "GET", path, None, {"Range": "bytes=1-2"}))
