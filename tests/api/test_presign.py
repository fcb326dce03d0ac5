"""Presigned URLs: asked for, made, and used by clients that know nothing else."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs, unquote, urlsplit

import boto3
import pytest
from botocore.config import Config

from amazin.api.presign import MAX_BODY_BYTES, seconds_of
from amazin.membership.membership import Membership
from amazin.model.node_specs import NodeSpec
from amazin.nodes.interface import Node
from amazin.settings.settings import Settings
from amazin.signing.urls import SigningKey, signed_url
from gateway import Gateway
from tests.support.app import (
    Answer,
    FixedMembership,
    Input,
    ScriptedNode,
    an_object,
    call,
    make_app,
)
from tests.support.gateway_process import GatewayProcess, ask, nodes_setting
from tests.support.servers import Server

KEY = SigningKey("amazin", "correct-horse-battery-staple")
PATIENCE_SECONDS = 30.0
HOST = {"Host": "gateway:3000"}
TOKEN = "token-of-the-tests"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
HOSTILE = (
    "a b/c.txt",
    "\u00fc/\U0001f600",
    "1+1=2&x?y#z",
    "100%/%2F",
    "a//b",
    "/",
    "..",
    "a/../../b",
    "./a/.",
    "a/",
    "~'()*!,;:@$",
)


def app_with(**values: Any) -> Gateway:
    """Return an application with a signing secret, unless `values` say otherwise."""
    return make_app(settings=Settings(**{"signing_secret": KEY.secret, **values}))


@pytest.fixture
def app() -> Gateway:
    """An application with a signing secret."""
    return app_with()


def order(
    app: Gateway,
    body: object = None,
    path: str = "/presigned-url/photos/a",
    headers: dict[str, str] | None = None,
) -> Answer:
    """Ask for a URL: for GET, unless the body says otherwise."""
    if body is None:
        body = {"method": "GET"}
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return call(app, "POST", path, data, {**HOST, **(headers or {})})


def follow(app: Gateway, url: str, method: str, body: bytes | None = None) -> Answer:
    """Send a request to a URL."""
    parts = urlsplit(url)
    headers = {"Host": parts.netloc}
    return call(app, method, f"{parts.path}?{parts.query}", body, headers)


# What is answered


def test_the_answer(app: Gateway) -> None:
    wanted = {"method": "PUT", "expiry": "1h"}
    answer = order(app, wanted, "/presigned-url/photos/a/b%20c")
    assert answer.status == 200
    assert list(answer.json) == ["url", "method", "key", "bucket"]
    url = answer.json.pop("url")
    assert answer.json | {"url": url} == {
        "url": url,
        "method": "PUT",
        "key": "a/b c",
        "bucket": "photos",
    }
    place, _, query = url.partition("?")
    assert place == "http://gateway:3000/objects/photos/a/b%20c"
    parameters = {name: values for name, (values,) in parse_qs(query).items()}
    assert parameters["X-Amz-Expires"] == "3600"
    assert parameters["X-Amz-Credential"].startswith("amazin/")
    assert KEY.secret not in answer.body.decode()


def test_one_segment_is_a_key_of_the_default_bucket() -> None:
    app = app_with(default_bucket="backups")
    answer = order(app, path="/presigned-url/a.txt").json
    assert (answer["bucket"], answer["key"]) == ("backups", "a.txt")
    assert urlsplit(answer["url"]).path == "/objects/backups/a.txt"


def test_urls_are_made_with_the_public_address() -> None:
    app = app_with(public_url="https://storage.example.com")
    for host in ("inner:80", "other.example"):
        url = order(app, headers={"Host": host}).json["url"]
        assert url.startswith("https://storage.example.com/objects/photos/a?")


@pytest.mark.parametrize("host", ["a b", "", "evil/path", "a@b", "a:b", "a\xff", "[x]"])
def test_a_host_that_is_none_makes_no_url(app: Gateway, host: str) -> None:
    answer = order(app, headers={"Host": host})
    assert (answer.status, answer.code) == (400, "InvalidHost")


@pytest.mark.parametrize("host", ["gateway", "10.0.0.1:3000", "[::1]:3000", "a_b.c-d"])
def test_hosts(app: Gateway, host: str) -> None:
    url = order(app, headers={"Host": host}).json["url"]
    assert url.startswith(f"http://{host}/objects/")


def test_without_a_secret_there_are_no_urls() -> None:
    answer = order(app_with(signing_secret=""))
    assert (answer.status, answer.code) == (501, "NotSupported")
    assert "SIGNING_SECRET" in answer.json["error"]


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
def test_urls_are_asked_for_with_post(app: Gateway, method: str) -> None:
    answer = call(app, method, "/presigned-url/photos/a")
    assert (answer.status, answer.headers["Allow"]) == (405, "POST")


# Wrong orders


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "InvalidJson"),
        (b"no", "InvalidJson"),
        (b"{", "InvalidJson"),
        (b'{"method": "GET"} x', "InvalidJson"),
        (b'{"method": "\xff"}', "InvalidJson"),
        (b'\xef\xbb\xbf{"method": "GET"}', "InvalidJson"),
        ('{"method": "GET"}'.encode("utf-16"), "InvalidJson"),
        (b'{"method": "GET", "method": "GET"}', "InvalidJson"),
        (b'{"method": "GET", "x": {"a": 1, "a": 2}}', "InvalidJson"),
        (b"[" * 60_000, "InvalidJson"),
        (b'{"a":' * 10_000, "InvalidJson"),
        (b"1" * 60_000, "InvalidJson"),
        (b"null", "InvalidBody"),
        (b"[]", "InvalidBody"),
        (b"NaN", "InvalidJson"),
        (b'"GET"', "InvalidBody"),
        (b'[["method", "GET"]]', "InvalidBody"),
        (b'{"method": "GET", "expires": "1h"}', "InvalidBody"),
        (b'{"method": "GET", "\\ud800": 1}', "InvalidBody"),
        (b"{}", "InvalidMethod"),
        (b'{"method": null}', "InvalidMethod"),
        (b'{"method": ""}', "InvalidMethod"),
        (b'{"method": "get"}', "InvalidMethod"),
        (b'{"method": "GET "}', "InvalidMethod"),
        (b'{"method": "HEAD"}', "InvalidMethod"),
        (b'{"method": "DELETE"}', "InvalidMethod"),
        (b'{"method": ["GET"]}', "InvalidMethod"),
        (b'{"method": {"GET": 1}}', "InvalidMethod"),
        (b'{"method": 1}', "InvalidMethod"),
        (b'{"method": "\\ud800"}', "InvalidMethod"),
        (b'{"method": "GET", "expiry": null}', "InvalidExpiry"),
        (b'{"method": "GET", "expiry": 900}', "InvalidExpiry"),
        (b'{"method": "GET", "expiry": 0}', "InvalidExpiry"),
        (b'{"method": "GET", "expiry": false}', "InvalidExpiry"),
        (b'{"method": "GET", "expiry": NaN}', "InvalidJson"),
        (b'{"method": "GET", "expiry": []}', "InvalidExpiry"),
        (b'{"method": "GET", "expiry": ["1h"]}', "InvalidExpiry"),
        (b'{"method": "GET", "expiry": {}}', "InvalidExpiry"),
        (b'{"method": "GET", "expiry": "\\u0000"}', "InvalidExpiry"),
    ],
)
def test_wrong_bodies(app: Gateway, body: bytes, code: str) -> None:
    answer = order(app, body)
    assert (answer.status, answer.code) == (400, code)


@pytest.mark.parametrize(
    ("expiry", "seconds"),
    [
        ("", 900),
        ("15m", 900),
        ("+15m", 900),
        ("1h30m", 5400),
        ("1.5h", 5400),
        (".5h", 1800),
        ("1.h", 3600),
        ("900s", 900),
        ("1s", 1),
        ("1999ms", 1),
        ("1000000000ns", 1),
        ("1000000us", 1),
        ("1000000\u00b5s", 1),
        ("999999\u03bcs1\u00b5s", 1),
        ("1m1m", 120),
        ("0h1s", 1),
        ("168h", 604_800),
        ("604800.999s", 604_800),
    ],
)
def test_durations(app: Gateway, expiry: str, seconds: int) -> None:
    url = order(app, {"method": "GET", "expiry": expiry}).json["url"]
    assert parse_qs(urlsplit(url).query)["X-Amz-Expires"] == [str(seconds)]


def test_fifteen_minutes_without_a_duration(app: Gateway) -> None:
    url = order(app).json["url"]
    assert parse_qs(urlsplit(url).query)["X-Amz-Expires"] == ["900"]


@pytest.mark.parametrize(
    "expiry",
    [
        "500ms",
        "999999999ns",
        "0",
        "0s",
        "-15m",
        "-1ns",
        "168h1s",
        "169h",
        "8760h",
        "999999999999999999h",
        "9999999999999999999s",
        "1s" * 40,
        "9" * 60_000,
        "soon",
        "15",
        "15 m",
        " 15m",
        "15m ",
        "15m\n",
        "15M",
        "1d",
        "7d",
        "1w",
        "15min",
        "m",
        "+",
        "-",
        "+-1m",
        "++1m",
        "1h-30m",
        ".",
        ".s",
        "1..5h",
        "1e3s",
        "1_000s",
        "0x10s",
        "\u0661\u0665m",
        "PT15M",
    ],
)
def test_wrong_durations(app: Gateway, expiry: str) -> None:
    answer = order(app, {"method": "GET", "expiry": expiry})
    assert (answer.status, answer.code) == (400, "InvalidExpiry")
    assert len(answer.body) < 300


def test_long_durations_cost_no_time() -> None:
    assert seconds_of("1" * 10**6) is None
    assert seconds_of("1s" * 10**6) is None


def test_bodies_have_a_limit(app: Gateway) -> None:
    body = b'{"method": "GET"}'.ljust(MAX_BODY_BYTES)
    assert order(app, body).status == 200
    stream = Input(body + b" ")
    length = {"Content-Length": str(len(body) + 1), **HOST}
    answer = call(app, "POST", "/presigned-url/photos/a", stream, length)
    assert (answer.status, answer.code) == (413, "BodyTooLarge")


def test_no_body_at_all(app: Gateway) -> None:
    answer = call(app, "POST", "/presigned-url/photos/a", None, HOST)
    assert (answer.status, answer.code) == (411, "LengthRequired")


def test_a_body_that_is_cut_off(app: Gateway) -> None:
    stream, headers = Input(b'{"method": "GET"}'), {"Content-Length": "40", **HOST}
    answer = call(app, "POST", "/presigned-url/photos/a", stream, headers)
    assert (answer.status, answer.code) == (400, "IncompleteBody")


@pytest.mark.parametrize(("size", "status"), [(64, 200), (MAX_BODY_BYTES + 1, 413)])
def test_chunked_bodies(app: Gateway, size: int, status: int) -> None:
    body = b'{"method": "GET"}'.ljust(size)
    path = "/presigned-url/photos/a"
    headers = {"Transfer-Encoding": "chunked", **HOST}
    environ = {"wsgi.input_terminated": True}
    answer = call(app, "POST", path, Input(body), headers, environ=environ)
    assert answer.status == status
    assert status == 200 or answer.code == "BodyTooLarge"


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("X/a", "InvalidBucketName"),
        ("ab/a", "InvalidBucketName"),
        ("/a", "InvalidBucketName"),
        ("a%20b/a", "InvalidBucketName"),
        ("store/a", "InvalidBucketName"),
        ("%FF%FF%FF/a", "InvalidBucketName"),
        ("", "InvalidKey"),
        ("photos/", "InvalidKey"),
        ("photos/%FF", "InvalidKey"),
        ("photos/" + "a" * 1025, "InvalidKey"),
        ("photos/list", "InvalidKey"),
        ("list", "InvalidKey"),
    ],
)
def test_names_are_checked(app: Gateway, path: str, code: str) -> None:
    answer = order(app, path="/presigned-url/" + path)
    assert (answer.status, answer.code) == (422, code)


# Access


def test_making_a_url_wants_a_token() -> None:
    app = app_with(access="signed", api_tokens=(TOKEN,))
    answer = order(app)
    assert (answer.status, answer.code) == (401, "NoCredentials")
    assert order(app, headers={"Authorization": "Bearer other"}).status == 403
    assert order(app, headers=BEARER).status == 200


def test_no_url_makes_urls() -> None:
    """Not even one that was signed for just that."""
    app = app_with(access="signed", api_tokens=(TOKEN,))
    base, path = "http://gateway:3000", "/presigned-url/photos/a"
    url = signed_url(KEY, "POST", base, path, 60, time.time())
    answer = follow(app, url, "POST", b'{"method": "GET"}')
    assert (answer.status, answer.code) == (401, "NoCredentials")


# Using URLs


@pytest.fixture(params=["open", "signed"])
def shop(request: pytest.FixtureRequest) -> Gateway:
    """An application, open or signed, with the bucket `photos`."""
    app = app_with(access=request.param, api_tokens=(TOKEN,))
    assert call(app, "POST", "/buckets/photos", b"", BEARER).status == 201
    return app


@pytest.mark.parametrize("key", HOSTILE)
def test_urls_store_and_fetch_any_key(shop: Gateway, key: str) -> None:
    escaped = "".join(f"%{byte:02X}" for byte in key.encode())
    path, urls = f"/presigned-url/photos/{escaped}", {}
    for method in ("PUT", "GET"):
        answer = order(shop, {"method": method}, path, BEARER)
        assert answer.json["key"] == key
        urls[method] = answer.json["url"]
    assert follow(shop, urls["GET"], "GET").status == 404
    assert follow(shop, urls["PUT"], "PUT", b"bytes").status == 201
    assert follow(shop, urls["GET"], "GET").body == b"bytes"
    refused = follow(shop, urls["GET"], "DELETE")
    assert (refused.status, refused.code) == (403, "WrongMethod")


def client_for(endpoint: str) -> Any:
    """Return a boto3 client with the gateway's key."""
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=KEY.key_id,
        aws_secret_access_key=KEY.secret,
        region_name="eu-west-3",
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
    )


@pytest.mark.parametrize("key", HOSTILE)
def test_boto3_makes_urls_that_store_and_fetch(shop: Gateway, key: str) -> None:
    s3 = client_for("http://gateway:3000/objects")
    given = {"Bucket": "photos", "Key": key}
    url = {
        name: s3.generate_presigned_url(f"{name}_object", given)
        for name in ("put", "get", "head", "delete")
    }
    assert unquote(urlsplit(url["put"]).path) == f"/objects/photos/{key}"
    assert follow(shop, url["put"], "PUT", b"bytes").status == 201
    assert follow(shop, url["get"], "GET").body == b"bytes"
    assert follow(shop, url["head"], "HEAD").headers["Content-Length"] == "5"
    assert follow(shop, url["get"], "HEAD").status == 403
    assert follow(shop, url["delete"], "DELETE").status == 204
    assert follow(shop, url["get"], "GET").status == 404


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway that wants a token or a signed URL, with the bucket `photos`."""
    folder = tmp_path_factory.mktemp("signed")
    settings = {
        "DISCOVERY": "folders",
        "DATA_DIR": str(folder / "data"),
        "ACCESS": "signed",
        "API_TOKENS": TOKEN,
        "SIGNING_SECRET": KEY.secret,
    }
    gateway = GatewayProcess(folder, settings)
    try:
        gateway.start()
        assert gateway.ask("POST", "/buckets/photos", b"", BEARER).status == 201
        yield gateway
    finally:
        gateway.stop()


DOTTED = [
    *("..", ".", "../up", "./a", "a/..", "a/.", "a/../b", "a/./b", "a/../../b/./"),
    *("../..", "a//../b", "..a/.b/c..", "%2e%2e/a", "a\\..\\b"),
]


def test_urls_of_dots_survive_those_who_resolve_them() -> None:
    """As browsers, node, Python's requests and others do, also of escaped dots."""
    for key in DOTTED:
        url = signed_url(KEY, "GET", "http://gateway", f"/objects/b/{key}", 60, 0)
        path = urlsplit(url).path
        assert unquote(path) == f"/objects/b/{key}"
        segments = [segment.replace("%2E", ".") for segment in path.upper().split("/")]
        assert not {".", ".."} & set(segments)


def test_node_takes_urls_as_they_are(gateway: GatewayProcess) -> None:
    program = shutil.which("node")
    if program is None:
        pytest.skip("no node")
    urls = {}
    for key in DOTTED:
        escaped = "".join(f"%{byte:02X}" for byte in key.encode())
        path, body = f"/objects/photos/{escaped}", b"bytes of " + key.encode()
        assert gateway.ask("PUT", path, body, BEARER).status == 201
        order = b'{"method": "GET"}'
        path = f"/presigned-url/photos/{escaped}"
        urls[key] = json.loads(gateway.ask("POST", path, order, BEARER).body)["url"]
    get = "console.log(await (await fetch(url)).text())"
    script = f"for (const url of process.argv.slice(1)) {get}"
    command = [program, "--input-type=module", "-e", script, *urls.values()]
    done = subprocess.run(command, timeout=30, check=True, stdout=subprocess.PIPE)
    assert done.stdout.decode().splitlines() == [f"bytes of {key}" for key in DOTTED]


def curl(url: str, *options: str) -> bytes:
    """Return what curl prints, as somebody would call it who was sent the URL."""
    program = shutil.which("curl")
    if program is None:
        pytest.skip("no curl")
    command = [program, "--silent", "--show-error", "--fail", *options, url]
    return subprocess.run(
        command, timeout=PATIENCE_SECONDS, check=True, stdout=subprocess.PIPE
    ).stdout


@pytest.mark.parametrize("key", HOSTILE)
def test_curl_takes_urls_as_they_are(
    gateway: GatewayProcess, tmp_path: Path, key: str
) -> None:
    (tmp_path / "file").write_bytes(b"bytes of " + key.encode())
    escaped = "".join(f"%{byte:02X}" for byte in key.encode())
    urls = {}
    for method in ("PUT", "GET"):
        body = json.dumps({"method": method, "expiry": "1m"}).encode()
        path = f"/presigned-url/photos/{escaped}"
        answer = gateway.ask("POST", path, body, BEARER)
        urls[method] = json.loads(answer.body)["url"]
    curl(urls["PUT"], "--globoff", "--upload-file", str(tmp_path / "file"))
    assert curl(urls["GET"], "--globoff") == b"bytes of " + key.encode()
    assert gateway.ask("GET", f"/objects/photos/{escaped}").status == 401


# At the node


def direct_app(spec: NodeSpec, *answers: tuple[str, Any], **values: Any) -> Gateway:
    """Return an application on one node with these answers, and this address."""
    node = cast(Node, ScriptedNode(list(answers), spec.name))
    fixed = FixedMembership([node])
    fixed.snapshot().members[spec.name].spec = spec
    settings = Settings(presign="direct", **values)
    membership = cast(Membership, fixed)
    return make_app([], settings, membership=membership)


S3_NODE = NodeSpec("node-1", "http://node:9000", "node-key", "node-secret")


def test_a_direct_url_points_at_the_node() -> None:
    app = direct_app(S3_NODE, ("head", an_object()))
    answer = order(app, {"method": "GET", "expiry": "1m"}).json
    assert answer["url"].startswith("http://node:9000/store/-o/photos/")
    assert "X-Amz-Credential=node-key%2F" in answer["url"]
    assert "node-secret" not in answer["url"]


def test_a_direct_url_is_signed_for_the_region_of_the_node() -> None:
    spec = NodeSpec("node-1", "http://node:9000", "key", "word", region="eu-west-3")
    url = order(direct_app(spec, ("head", an_object()))).json["url"]
    assert "%2Feu-west-3%2Fs3%2Faws4_request" in url


def test_a_direct_url_is_not_made_for_uploads() -> None:
    answer = order(direct_app(S3_NODE), {"method": "PUT"})
    assert (answer.status, answer.code) == (501, "NotSupported")
    assert "PRESIGN=direct" in answer.json["error"]


def test_a_folder_has_no_url(tmp_path: Path) -> None:
    spec = NodeSpec("node-1", f"file://{tmp_path}")
    answer = order(direct_app(spec, ("head", an_object())))
    assert (answer.status, answer.code) == (501, "NotSupported")
    assert "folder" in answer.json["error"]
    assert str(tmp_path) not in answer.json["error"]


def test_what_does_not_exist_has_no_direct_url() -> None:
    answer = order(app_with(presign="direct"))
    assert (answer.status, answer.code) == (404, "NoSuchObject")


@pytest.mark.integration
@pytest.mark.parametrize("kind", ["minio", "versity"])
@pytest.mark.parametrize("replicas", ["1", "2"])
def test_nodes_accept_direct_urls(
    kind: str,
    replicas: str,
    new_minio: Callable[[], Server],
    new_versity: Callable[[], Server],
    tmp_path: Path,
) -> None:
    made = [new_minio() if kind == "minio" else new_versity() for _ in range(2)]
    for server in made:
        server.start()
    specs = [server.spec(f"node-{number}") for number, server in enumerate(made, 1)]
    settings = {"DISCOVERY": "static", "NODES": nodes_setting(specs)}
    settings |= {"PRESIGN": "direct", "REPLICAS": replicas}
    gateway = GatewayProcess(tmp_path, settings)
    try:
        gateway.start()
        assert gateway.ask("POST", "/buckets/photos", b"").status == 201
        for key in ("a b/\u00fc.txt", "a//b", "../up", "1+1=2&x?y#z%2F", "z" * 1024):
            escaped = "".join(f"%{byte:02X}" for byte in key.encode())
            path = f"photos/{escaped}"
            assert gateway.ask("PUT", "/objects/" + path, key.encode()).status == 201
            answer = gateway.ask("POST", "/presigned-url/" + path, b'{"method":"GET"}')
            assert_direct(json.loads(answer.body)["url"], key, made)
    finally:
        gateway.stop()
        for server in made:
            server.stop()


def assert_direct(url: str, key: str, servers: list[Server]) -> None:
    """Check that a URL leads to one of the servers, to this key only, for GET only."""
    parts = urlsplit(url)
    assert parts.netloc in [server.address for server in servers]
    target = f"{parts.path}?{parts.query}"
    port = parts.port or 0
    assert ask(port, "GET", target).body == key.encode()
    assert ask(port, "DELETE", target).status == 403
    assert ask(port, "PUT", target, b"new").status == 403
    altered = target[:-1] + ("0" if target[-1] != "0" else "1")
    assert ask(port, "GET", altered).status == 403
