"""Who gets in: nobody without a token or a signed URL, and with one no further."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from amazin.access.grants import OPEN
from amazin.api.objects import ROUTES
from amazin.api.routes import all_routes
from amazin.errors import HTTPError, SignatureError
from amazin.settings.settings import Settings
from amazin.signing.urls import SigningKey, signed_url
from amazin.web.access import Access
from amazin.web.messages import Request, variable
from gateway import Gateway
from tests.support.answers import told
from tests.support.app import Answer, call, make_app, make_environ
from tests.support.fakes import memory_nodes

KEY = SigningKey("amazin", "correct-horse-battery-staple")
BASE = "http://gateway:3000"
PATH = "/object/abc"
TOKENS = ("first-token", "second/token==", "t\u00f6ken")
BEARER = {"Authorization": "Bearer first-token"}


def settings_with(access: str = "signed", **values: Any) -> Settings:
    """Return settings with tokens and a secret, unless they say otherwise."""
    given = {"api_tokens": TOKENS, "signing_secret": KEY.secret, **values}
    return Settings(access=access, **given)


def app_with(access: str = "signed", **values: Any) -> Gateway:
    """Return an application with these settings."""
    return make_app(settings=settings_with(access, **values))


@pytest.fixture(params=["open", "signed"])
def app(request: pytest.FixtureRequest) -> Gateway:
    """An application that holds two objects; open, and signed."""
    app = app_with(request.param)
    for name in ("abc", "other"):
        answer = call(app, "PUT", f"/object/{name}", name.encode(), BEARER)
        assert answer.status == 201
    return app


@pytest.fixture
def signed_app() -> Gateway:
    """An application on empty nodes that wants a token or a signed URL."""
    return app_with()


def url_of(
    method: str = "GET", path: str = PATH, *, age: float = 0, base: str = BASE
) -> str:
    """Return a URL for one minute, made `age` seconds ago."""
    return signed_url(KEY, method, base, path, 60, time.time() - age)


def follow(
    app: Gateway,
    url: str,
    method: str = "GET",
    body: bytes | None = None,
    host: str = "",
    **headers: str,
) -> Answer:
    """Send a request to a URL; `host` is what a proxy makes of the URL's."""
    parts = urlsplit(url)
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    given["Host"] = host or parts.netloc
    return call(app, method, f"{parts.path}?{parts.query}", body, given)


# Tokens


@pytest.mark.parametrize(
    ("authorization", "status", "code"),
    [
        (None, 401, "NoCredentials"),
        ("", 401, "NoCredentials"),
        ("first-token", 401, "NoCredentials"),
        ("Basic first-token", 401, "NoCredentials"),
        ("AWS4-HMAC-SHA256 Credential=amazin/20270115", 401, "NoCredentials"),
        ("Bearerfirst-token", 401, "NoCredentials"),
        ("Bearer", 403, "UnknownToken"),
        ("Bearer ", 403, "UnknownToken"),
        ("Bearer first-toke", 403, "UnknownToken"),
        ("Bearer first-token1", 403, "UnknownToken"),
        ("Bearer First-token", 403, "UnknownToken"),
        ("Bearer first-token, second/token==", 403, "UnknownToken"),
        ("Bearer " + ", ".join(TOKENS).encode().decode("latin-1"), 403, "UnknownToken"),
        ("Bearer \xff", 403, "UnknownToken"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
def test_without_a_token_nothing_is_served(
    signed_app: Gateway, authorization: str | None, status: int, code: str, method: str
) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    answer = call(signed_app, method, PATH, b"body", headers)
    assert answer.status == status
    assert answer.headers["WWW-Authenticate"] == ("Bearer" if status == 401 else None)
    assert method == "HEAD" or answer.code == code
    assert call(signed_app, "GET", PATH, None, BEARER).status == 404


@pytest.mark.parametrize(
    "authorization",
    [
        "Bearer first-token",
        "bearer first-token",
        "BEARER  second/token== ",
        "Bearer " + "t\u00f6ken".encode().decode("latin-1"),
    ],
)
def test_each_token_opens_everything(signed_app: Gateway, authorization: str) -> None:
    headers = {"Authorization": authorization}
    assert call(signed_app, "PUT", PATH, b"body", headers).status == 201
    assert call(signed_app, "GET", PATH, None, headers).body == b"body"
    assert call(signed_app, "DELETE", PATH, None, headers).status == 204


@pytest.mark.parametrize("given", ["", " ", ",", "first-token"])
def test_no_tokens_open_nothing(given: str) -> None:
    app = app_with(api_tokens=())
    answer = call(app, "GET", PATH, None, {"Authorization": f"Bearer {given}"})
    assert (answer.status, answer.code) == (403, "UnknownToken")


def test_an_open_gateway_asks_for_no_token() -> None:
    app = app_with("open")
    for authorization in ("Bearer wrong", "Basic x", ""):
        headers = {"Authorization": authorization}
        assert call(app, "PUT", PATH, b"body", headers).status == 201


def test_health_is_open(signed_app: Gateway) -> None:
    assert call(signed_app, "GET", "/health").status == 200
    assert call(signed_app, "HEAD", "/health").status == 200


# Signed URLs


def test_a_url_opens_one_object_for_one_method(app: Gateway) -> None:
    url = url_of()
    assert follow(app, url).body == b"abc"
    for method in ("HEAD", "PUT", "DELETE"):
        answer = follow(app, url, method)
        assert answer.status == 403
        assert method == "HEAD" or answer.code == "WrongMethod"
    other = follow(app, url.replace("/abc", "/other"))
    assert (other.status, other.code) == (403, "SignatureMismatch")
    assert follow(app, url).body == b"abc"


def test_a_url_for_put_stores_and_nothing_else(app: Gateway) -> None:
    url = url_of("PUT")
    headers = {"Content_Type": "text/plain", "X_Meta_Colour": "blue"}
    assert follow(app, url, "PUT", b"new", **headers).status == 201
    stored = follow(app, url_of())
    assert (stored.body, stored.headers["X-Meta-Colour"]) == (b"new", "blue")
    for method in ("GET", "DELETE"):
        assert follow(app, url, method).code == "WrongMethod"


def test_ranges_and_conditions_are_free(app: Gateway) -> None:
    part = follow(app, url_of(), Range="bytes=1-")
    assert (part.status, part.body) == (206, b"bc")
    unchanged = follow(app, url_of(), If_None_Match=part.headers["ETag"])
    assert unchanged.status == 304


def test_a_signature_is_verified_also_where_none_is_needed(app: Gateway) -> None:
    for url, code in (
        (url_of(age=62), "ExpiredUrl"),
        (url_of(age=-400), "NotYetValid"),
        (url_of()[:-1], "MalformedSignature"),
        (f"{BASE}{PATH}?X-Amz-Algorithm=AWS4-HMAC-SHA256", "MalformedSignature"),
        (f"{BASE}{PATH}?X-Amz-Signature", "MalformedSignature"),
        (url_of(base="http://elsewhere").replace("elsewhere", "gateway"), None),
    ):
        answer = follow(app, url)
        assert (answer.status, answer.code) == (403, code or "SignatureMismatch")


def test_where_access_is_open_a_token_does_not_mend_a_url() -> None:
    app = app_with("open")
    call(app, "PUT", PATH, b"abc")
    answer = follow(app, url_of(age=62), **BEARER)
    assert (answer.status, answer.code) == (403, "ExpiredUrl")
    assert follow(app, url_of(), Authorization="Bearer wrong").status == 200


def test_two_credentials_are_refused() -> None:
    answer = follow(app_with(), url_of(), **BEARER)
    assert (answer.status, answer.code) == (400, "TwoCredentials")


def test_what_is_no_signature_is_no_credential(app: Gateway) -> None:
    is_open = call(app, "GET", PATH).status == 200
    answer = call(app, "GET", f"{PATH}?x-amz-signature=0&a=X-Amz-Date")
    assert answer.status in ((200, 400) if is_open else (401,))


@pytest.mark.parametrize("access", ["open", "signed"])
def test_without_a_secret_no_url_is_verified(access: str) -> None:
    app = app_with(access, signing_secret="")
    answer = follow(app, url_of())
    assert (answer.status, answer.code) == (501, "NotSupported")
    assert "SIGNING_SECRET" in answer.json["error"]
    empty = signed_url(SigningKey("amazin", ""), "GET", BASE, PATH, 60, time.time())
    assert follow(app, empty).status == 501


def test_gateways_with_one_secret_accept_each_others_urls() -> None:
    nodes = memory_nodes()
    apps = [make_app(nodes, settings_with(access)) for access in ("signed", "open")]
    assert follow(apps[0], url_of("PUT"), "PUT", b"shared").status == 201
    assert [follow(app, url_of()).body for app in apps] == [b"shared"] * 2
    other = app_with(signing_secret="another")
    assert follow(other, url_of()).code == "SignatureMismatch"
    other = app_with(signing_key_id="another")
    assert follow(other, url_of()).code == "UnknownKeyId"


def test_the_public_address_is_accepted() -> None:
    public = "https://storage.example.com"
    app = app_with(public_url=public)
    stored = follow(app, url_of("PUT", base=public), "PUT", b"x", "inner:80")
    assert stored.status == 201
    assert follow(app, url_of(base=public), host="storage.example.com").body == b"x"
    assert follow(app, url_of()).body == b"x"
    other = follow(app, url_of(base="https://other.example"), host="inner:80")
    assert other.code == "SignatureMismatch"


# Reaching further


def check(url: str, method: str = "PUT", **headers: str) -> None:
    """Ask for access as a client would that sends these headers."""
    parts = urlsplit(url)
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    given["Host"] = parts.netloc
    environ = make_environ(method, f"{parts.path}?{parts.query}", None, given)
    request = Request(method, environ["PATH_INFO"], environ, "id")
    route = next(route for route in ROUTES if route.method == method)
    Access(settings_with()).admit(request, route, ("abc",))


def test_a_url_for_one_object_copies_no_other() -> None:
    check(url_of("PUT"))
    for name in ("X_Copy_Source", "x_copy_source", "X_Copy_Source_Range"):
        with pytest.raises(HTTPError) as caught:
            check(url_of("PUT"), **{name: "/photos/secret"})
        assert (caught.value.status, caught.value.code) == (403, "UnsignedHeader")


def test_names_that_clients_invent_are_not_remembered() -> None:
    before = variable.cache_info().currsize
    for number in range(10):
        more = f"SignedHeaders=host%3Bx{number}"
        url = url_of("PUT").replace("SignedHeaders=host", more)
        with pytest.raises(SignatureError) as caught:
            check(url)
        assert told(caught.value).code == "MissingSignedHeader"
    assert variable.cache_info().currsize <= before + 1


def test_a_signed_copy_source_is_the_signers_will() -> None:
    sent = AWSRequest("PUT", BASE + PATH, headers={"X-Copy-Source": "/photos/a"})
    credentials = Credentials(KEY.key_id, KEY.secret)
    S3SigV4QueryAuth(credentials, "s3", "us-east-1", expires=60).add_auth(sent)
    check(sent.url, X_Copy_Source="/photos/a")
    for headers, code in (
        ({"X_Copy_Source": "/photos/b"}, "SignatureMismatch"),
        ({}, "MissingSignedHeader"),
    ):
        with pytest.raises(SignatureError) as caught:
            check(sent.url, **headers)
        answer = told(caught.value)
        assert (answer.status, answer.code) == (403, code)


def test_blanks_in_a_signed_copy_source_are_refused() -> None:
    """Signatures don't tell one blank from two, but keys differ by them."""
    for source in ("/photos/a b", "/photos/a  b", "/photos/a\tb"):
        headers = {"X-Copy-Source": source}
        sent = AWSRequest("PUT", BASE + PATH, headers=headers)
        credentials = Credentials(KEY.key_id, KEY.secret)
        S3SigV4QueryAuth(credentials, "s3", "us-east-1", expires=60).add_auth(sent)
        with pytest.raises(HTTPError) as caught:
            check(sent.url, X_Copy_Source=source)
        assert caught.value.code == "UnsignedHeader"


def test_copies_as_s3_asks_for_them_are_refused() -> None:
    """Else they would be empty uploads."""
    with pytest.raises(HTTPError) as caught:
        check(url_of("PUT"), X_Amz_Copy_Source="/photos/a")
    assert caught.value.status == 501


# Every route

_OPEN = {"/health", "/health/ready", "/docs", "/openapi.yaml"}
_PATHS = (
    *_OPEN,
    *("/object/abc", "/object/", "/buckets", "/buckets/photos", "/objects/a"),
    *("/objects/photos/a", "/objects/list", "/objects/photos/list", "/objects/"),
    *("/objects/delete", "/objects/photos/delete", "/archive", "/archive/photos"),
    *("/presigned-url/a", "/presigned-url/photos/a/b", "/presigned-url/"),
    *("/status", "/metrics"),
)


def test_every_route_but_the_open_ones_is_guarded(signed_app: Gateway) -> None:
    asked = set()
    for route in all_routes(settings_with()):
        for path in filter(route.pattern.fullmatch, _PATHS):
            asked.add(route)
            answer = call(signed_app, route.method, path, b"")
            assert (answer.status == 401) is (path not in _OPEN), (route.method, path)
            assert (route.action == OPEN) is (path in _OPEN)
    assert asked == set(all_routes(settings_with()))


def test_no_token_opens_by_a_path_beside_an_open_one(signed_app: Gateway) -> None:
    for path in ("/health/../buckets", "/docs/../buckets", "/health%0A", "//buckets"):
        assert call(signed_app, "GET", path).status == 404
