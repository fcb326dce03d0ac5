"""What a principal with few grants tries on a gateway under a real server."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from hashlib import sha1, sha256
from itertools import product

import pytest

from tests.support.gateway_process import GatewayProcess

SECRET = b"of nobody's business"
BLOB = sha1(SECRET).hexdigest()
HIDDEN = (
    *("/objects/data/ab", "/objects/data/b/1", "/objects/data/A/1"),
    *("/objects/other/a/1", "/objects/public/private", "/object/id1"),
)
ACCESS = f"""\
anonymous: [{{allow: [read], buckets: [public], prefix: www/}}]
principals:
  admin:
    tokens: [{{sha256: {sha256(b"amz_admin").hexdigest()}}}]
    grants: [{{allow: [admin]}}]
  ann:
    tokens: [{{sha256: {sha256(b"amz_ann").hexdigest()}}}]
    grants: [{{allow: [read, write, list, delete], buckets: [data], prefix: a/}}]
  nobody:
    tokens: [{{sha256: {sha256(b"amz_nobody").hexdigest()}}}]
"""
ADMIN = {"Authorization": "Bearer amz_admin"}
SPELLINGS = [
    *HIDDEN,
    *("/objects/data/a/../ab", "/objects/data/a/%2e%2e/ab", "/objects/data//ab"),
    *("/objects//data/ab", "//objects/data/ab", "/./objects/data/ab"),
    *("/objects/data/./ab", "/objects/data/a%2f..%2fab", "/objects/data%2fab"),
    *("/objects%2fdata/ab", "/OBJECTS/data/ab", "/objects/DATA/ab"),
    *("/objects/data/ab/", "/objects/data/ab%00", "/objects/data/a/%00"),
    *("/objects/data/%61b", "/objects/data/ab;a/", "/objects/data/ab?x=/a/"),
    *("/objects/data/ab%3Fa/", "/objects/data/%C0%AFab", "/objects/data/a%C0%AF1"),
    *("/objects/data/a%ef%bc%8f1", "/objects/data/a%5C..%5Cab"),
    *("/objects/data/a/1/../../ab", "http://127.0.0.1/objects/data/ab"),
    *("/objects/store/id1", "/objects/store/-o/data/k/ab", "/objects/ab"),
    *(
        "/object/./id1",
        f"/fetch/{BLOB}",
        f"/fetch/{BLOB}.txt",
        "/status",
        "/metrics",
        "/objects/list",
    ),
    *("/archive/data", "/archive/data?prefix=a", "/archive/data?prefix=ab", "/archive"),
    *("/archive/data?prefix=a/&prefix=", "/archive/other?prefix=a/"),
    *("/objects/data/list", "/objects/data/list?prefix=a", "/objects/data/li%73t"),
    *("/objects/data/list?prefix=%61b", "/objects/data/list?prefix=a/&prefix="),
    *("/objects/data/list?Prefix=a/", "/objects/data/list?prefix=A/"),
    *("/objects/other/list?prefix=a/", "/objects/public/list?prefix=www/"),
]
LISTS = [
    *("", "&after=", "&after=b", "&after=a", "&after=ab", "&after=%00", "&after=../"),
    *("&recursive=false", "&recursive=false&after=a/1", "&limit=1&after=a%2F1"),
]
SOURCES = [
    *("/data/ab", "data/ab", "/data/%61b", "/data/a/../ab", "//data/ab", "/data//ab"),
    *("/other/a/1", "/data/a%2F..%2Fab", "/store/id1", "/data/a/1, /data/ab"),
]
CONDITIONS = [
    *("Range: bytes=0-0", "Range: bytes=999-", "If-Match: *", "If-None-Match: *"),
    *('If-Match: "x"', "If-Modified-Since: Wed, 21 Oct 2015 07:28:00 GMT"),
    *("X-HTTP-Method-Override: GET", "X-Original-URL: /objects/public/www/i"),
    *("X-Copy-Source: /data/ab", "Origin: https://evil.example.com"),
]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway with objects that ann may use, and others."""
    folder = tmp_path_factory.mktemp("granted")
    (folder / "access.yaml").write_text(ACCESS)
    settings = {
        "DISCOVERY": "folders",
        "DATA_DIR": str(folder / "data"),
        "ACCESS_FILE": str(folder / "access.yaml"),
        "BLOB_API": "true",
    }
    with GatewayProcess(folder, settings) as gateway:
        for bucket in ("data", "other", "public"):
            assert gateway.ask("POST", f"/buckets/{bucket}", b"", ADMIN).status == 201
        for path in HIDDEN:
            assert gateway.ask("PUT", path, SECRET, ADMIN).status == 201
        for path in ("/objects/data/a/1", "/objects/public/www/i"):
            assert gateway.ask("PUT", path, b"shown", ADMIN).status == 201
        assert gateway.ask("POST", "/upload", SECRET, ADMIN).status == 200
        yield gateway


def send(
    gateway: GatewayProcess, line: str, *headers: str, token: str = ""
) -> tuple[int, bytes]:
    """Send a request head as it is; return the status, and the whole answer."""
    own = [f"Authorization: Bearer {token}"] if token else []
    host = f"Host: 127.0.0.1:{gateway.port}"
    head = [f"{line} HTTP/1.1", host, *own, *headers, "Connection: close", "", ""]
    with socket.create_connection(("127.0.0.1", gateway.port), 10) as sock:
        sock.sendall("\r\n".join(head).encode("latin-1"))
        answer = b"".join(iter(lambda: sock.recv(65536), b""))
    return int(answer.split(b" ", 2)[1]), answer


def untold(answer: bytes) -> bytes:
    """Return an answer without what differs always, and without the asked name."""
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = [
        line
        for line in head.splitlines()
        if not line.lower().startswith((b"date:", b"x-request-id:"))
    ]
    shown = json.loads(body) if body else {}
    shown.pop("requestId", None)
    text = b"\n".join(lines) + json.dumps(shown).encode()
    return text.replace(b"othex", b"other")


@pytest.mark.parametrize("token", ["", "amz_ann", "amz_nobody", "amz_wrong"])
def test_no_spelling_opens_more(gateway: GatewayProcess, token: str) -> None:
    for method, path in product(("GET", "HEAD"), SPELLINGS):
        status, answer = send(gateway, f"{method} {path}", token=token)
        assert 400 <= status < 500, (method, path)
        assert SECRET not in answer


def test_lists_show_nothing_outside_the_prefix(gateway: GatewayProcess) -> None:
    for query in LISTS:
        line = f"GET /objects/data/list?prefix=a/{query}"
        status, answer = send(gateway, line, token="amz_ann")
        assert status == 200, query
        keys = [entry["key"] for entry in json.loads(body_of(answer))]
        assert set(keys) <= {"a/1"}, query
    status, answer = send(gateway, "GET /archive/data?prefix=a/", token="amz_ann")
    assert status == 200
    assert SECRET not in answer


def body_of(answer: bytes) -> bytes:
    """Return the body, which may be chunked; none of these is longer than a chunk."""
    head, _, body = answer.partition(b"\r\n\r\n")
    if b"chunked" in head.lower():
        lines = body.split(b"\r\n")
        return b"".join(lines[1::2])
    return body


def test_copies_read_nothing_outside(gateway: GatewayProcess) -> None:
    for source in SOURCES:
        headers = (f"X-Copy-Source: {source}", "Content-Length: 0")
        line = "PUT /objects/data/a/copied"
        status, _ = send(gateway, line, *headers, token="amz_ann")
        assert 400 <= status < 500, source
    twice = ("X-Copy-Source: /data/a/1", "X-Copy-Source: /data/ab", "Content-Length: 0")
    assert (
        send(gateway, "PUT /objects/data/a/copied", *twice, token="amz_ann")[0] == 404
    )


@pytest.mark.parametrize("token", ["", "amz_ann", "amz_nobody"])
def test_no_answer_tells_whether_something_exists(
    gateway: GatewayProcess, token: str
) -> None:
    pairs = [
        ("/objects/data/ab", "/objects/data/ac"),
        ("/objects/other/a/1", "/objects/othex/a/1"),
        ("/object/id1", "/object/id2"),
        ("/buckets/other", "/buckets/othex"),
        ("/objects/other/list", "/objects/othex/list"),
        ("/archive/other", "/archive/othex"),
        (f"/fetch/{BLOB}", f"/fetch/{'a' * 40}"),
        ("/presigned-url/other/a", "/presigned-url/othex/a"),
    ]
    methods = ("GET", "HEAD", "PUT", "DELETE", "POST")
    for method, header, pair in product(methods, CONDITIONS, pairs):
        headers = (
            header,
            *(("Content-Length: 0",) if method in ("PUT", "POST") else ()),
        )
        answers = [
            send(gateway, f"{method} {path}", *headers, token=token) for path in pair
        ]
        assert answers[0][0] >= 400
        assert untold(answers[0][1]) == untold(answers[1][1]), (method, header, pair)


@pytest.mark.parametrize(
    ("given", "status"),
    [
        (["Bearer amz_admin"], 200),
        (["bearer  amz_admin "], 200),
        (["Bearer amz_admin", "Bearer amz_admin"], 403),
        (["Bearer amz_nobody", "Bearer amz_admin"], 403),
        (["Bearer amz_admin,Bearer x"], 403),
        (["Bearer AMZ_ADMIN"], 403),
        (['Bearer "amz_admin"'], 403),
        (["Bearer %61mz_admin"], 403),
        (["Bearer \xe4mz_admin"], 403),
        ([f"Bearer {sha256(b'amz_admin').hexdigest()}"], 403),
        (["Bearer"], 403),
        ([""], 401),
        (["amz_admin"], 401),
        (["Basic YW16X2FkbWluOg=="], 401),
        (["Bearer\tamz_admin"], 401),
        (["Bearer amz_admin\x00"], 400),
    ],
)
def test_a_token_has_one_form(
    gateway: GatewayProcess, given: list[str], status: int
) -> None:
    headers = [f"Authorization: {value}" for value in given]
    assert send(gateway, "GET /objects/data/ab", *headers)[0] == status


@pytest.mark.parametrize(
    "header",
    [
        *("Proxy-Authorization: Bearer amz_admin", "Cookie: token=amz_admin"),
        *(
            "X-Forwarded-User: admin",
            "Remote-User: admin",
            "X-Forwarded-For: 127.0.0.1",
        ),
        *("SCRIPT_NAME: /objects/public", "PATH_INFO: /objects/data/ab"),
        *("X-Rewrite-URL: /objects/data/ab", "Upgrade: websocket"),
        "X-Forwarded-Prefix: /objects",
    ],
)
def test_no_other_header_tells_who_asks(gateway: GatewayProcess, header: str) -> None:
    for path in ("/objects/data/ab", "/objects/public/www/../../data/ab"):
        status, answer = send(gateway, f"GET {path}", header)
        assert 400 <= status < 500
        assert SECRET not in answer
