"""Pages of other origins: what rules let them ask for, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from amazin.settings.settings import Settings
from gateway import Gateway
from tests.support.app import Answer, call, make_app

ORIGIN = "https://app.example.com"
ACCESS = """\
anonymous: [{allow: [admin]}]
cors:
  - buckets: [public]
    origins: ["https://app.example.com"]
    methods: [GET, PUT]
    expose: [ETag, X-Request-Id]
    max_age: 60
  - {ids: true, origins: ["*"], methods: [GET]}
"""


@pytest.fixture
def app(tmp_path: Path) -> Gateway:
    """An application with these rules and a bucket."""
    path = tmp_path / "access.yaml"
    path.write_text(ACCESS)
    app = make_app(settings=Settings(access="signed", access_file=str(path)))
    for bucket in ("public", "other"):
        assert call(app, "POST", f"/buckets/{bucket}").status == 201
    return app


def asked(
    app: Gateway, method: str, path: str, body: bytes | None = None, **headers: str
) -> Answer:
    """Ask as a browser does for a page of another origin."""
    given = {"Origin": ORIGIN, "Sec-Fetch-Site": "cross-site"}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    return call(app, method, path, body, given)


def preflight(app: Gateway, method: str, path: str, **headers: str) -> Answer:
    """Ask beforehand."""
    return asked(app, "OPTIONS", path, Access_Control_Request_Method=method, **headers)


def test_a_page_with_a_rule_writes_and_reads(app: Gateway) -> None:
    answer = asked(app, "PUT", "/objects/public/a", b"bytes")
    assert answer.status == 201
    answer = asked(app, "GET", "/objects/public/a")
    assert (answer.status, answer.body) == (200, b"bytes")
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert answer.headers["Access-Control-Expose-Headers"] == "ETag, X-Request-Id"
    assert answer.headers["Vary"] == "Origin"
    assert "Access-Control-Allow-Credentials" not in answer.headers


def test_errors_can_be_read_as_well(app: Gateway) -> None:
    answer = asked(app, "GET", "/objects/public/none")
    assert answer.status == 404
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN


@pytest.mark.parametrize(
    ("method", "path", "origin"),
    [
        ("PUT", "/objects/other/a", ORIGIN),
        ("DELETE", "/objects/public/a", ORIGIN),
        ("PUT", "/objects/public/a", "https://evil.example.com"),
        ("PUT", "/objects/public/a", "https://app.example.com.evil.com"),
        ("PUT", "/objects/public/a", "http://app.example.com"),
        ("PUT", "/objects/public/a", "https://app.example.com:8443"),
        ("PUT", "/objects/public/a", "null"),
        ("PUT", "/object/a", ORIGIN),
        ("POST", "/buckets/new", ORIGIN),
        ("POST", "/presigned-url/public/a", ORIGIN),
    ],
)
def test_a_page_without_a_rule_changes_nothing(
    app: Gateway, method: str, path: str, origin: str
) -> None:
    answer = asked(app, method, path, b"{}", Origin=origin)
    assert (answer.status, answer.code) == (403, "CrossOrigin")
    assert "Access-Control-Allow-Origin" not in answer.headers
    answer = preflight(app, method, path, Origin=origin)
    assert answer.status in (403, 405)
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_a_page_asks_beforehand_without_credentials(tmp_path: Path) -> None:
    path = tmp_path / "access.yaml"
    path.write_text(ACCESS.replace("anonymous: [{allow: [admin]}]", ""))
    app = make_app(settings=Settings(access="signed", access_file=str(path)))
    asks = {"Access_Control_Request_Headers": "authorization, x-meta-a"}
    answer = preflight(app, "PUT", "/objects/public/a/b", **asks)
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["Access-Control-Allow-Methods"] == "PUT"
    assert answer.headers["Access-Control-Allow-Headers"] == "authorization, x-meta-a"
    assert answer.headers["Access-Control-Max-Age"] == "60"
    assert asked(app, "PUT", "/objects/public/a/b", b"x").status == 401


def test_strange_names_of_headers_are_not_repeated(app: Gateway) -> None:
    asks = {"Access_Control_Request_Headers": "a<script>"}
    answer = preflight(app, "GET", "/object/a", **asks)
    assert answer.status == 204
    assert "Access-Control-Allow-Headers" not in answer.headers


def test_without_rules_nothing_is_answered_beforehand() -> None:
    answer = preflight(make_app(), "GET", "/object/a")
    assert (answer.status, answer.code) == (405, "MethodNotAllowed")


def test_a_rule_for_all_origins_is_for_its_method_only(app: Gateway) -> None:
    answer = asked(app, "GET", "/object/none", Origin="https://any.example.org")
    assert answer.headers["Access-Control-Allow-Origin"] == "https://any.example.org"
    assert preflight(app, "PUT", "/object/a").status == 403
