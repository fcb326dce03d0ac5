"""What a real browser does: with stored pages, with foreign ones, with our own.

A page server stands in front of a gateway, as a proxy does. A page of it that asks it
is of the gateway's own origin; one that asks the gateway's own port is a foreign one.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha1
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from amazin.signing.urls import SigningKey, signed_url
from tests.support.blob_processes import server_of
from tests.support.browser import PageServer, page_server, shown
from tests.support.gateway_process import GatewayProcess
from tests.support.waiting import await_that

pytestmark = pytest.mark.integration

KEPT = ("/object/kept", "/objects/photos/kept", "/objects/other/kept")
KEYS = ["a/../b", "a/./b", "../x", "a/.", "a/..", "./a", "..", "a//b", "%2e./x", "z/"]
SETTINGS = {
    "DISCOVERY": "folders",
    "ACCESS": "open",
    "BLOB_API": "true",
    "SIGNING_SECRET": "correct-horse-battery-staple",
}
ACCESS = """\
anonymous: [{{allow: [admin]}}]
cors:
  - buckets: [photos]
    origins: ["http://127.0.0.1:{page}"]
    methods: [GET, PUT]
    expose: [ETag]
  - {{buckets: [other], origins: ["http://localhost:{page}"], methods: [GET, PUT]}}
"""
"""Everybody may do everything, but pages of one origin only what the rules say."""
TYPES = {"html": "text/html", "svg": "image/svg+xml"}
START = """<!doctype html><body><script>
const types = [
    'application/x-www-form-urlencoded', 'multipart/form-data', 'text/plain'];
const loaded = made => new Promise((done, fail) => {
    [made.onload, made.onerror] = [() => done(made), fail];
    document.body.append(made);
});
const made = (name, properties) =>
    Object.assign(document.createElement(name), properties);
async function status(url, options) {
    try { return (await fetch(url, options)).status; } catch (error) { return 0; }
}
async function sent(action, enctype) {
    const target = `frame${frames.length}`;
    const frame = await loaded(made('iframe', {name: target}));
    const form = made('form', {action, enctype, method: 'POST', target});
    form.append(made('input', {name: 'x', value: 'y'}));
    document.body.append(form);
    const done = new Promise(done => { frame.onload = done; });
    form.submit();
    return done;
}
const told = {};
(async () => {
"""
END = """
})().catch(error => { told.error = String(error); }).then(
    () => fetch('/told', {method: 'POST', body: JSON.stringify(told)}));
</script>"""
OPENED = """
for (const url of WITH.saved) document.body.append(made('iframe', {src: url}));
for (const url of WITH.opened) await loaded(made('iframe', {src: url}));
for (const url of WITH.opened) await loaded(made('object', {data: url}));
const image = await loaded(made('img', {src: '/objects/photos/a.svg'}));
told.width = image.naturalWidth;
await loaded(made('iframe', {src: '/page/html'}));
await loaded(made('iframe', {src: '/page/svg'}));
"""
FOREIGN = """
told.statuses = [];
for (const host of WITH) {
    types.forEach((type, number) => {
        const body = new Blob(['x=y'], {type});
        navigator.sendBeacon(`${host}/buckets/beacon${number}`, body);
    });
    for (const [number, type] of types.entries()) {
        const body = new Blob(['x=y'], {type});
        const options = {method: 'POST', mode: 'no-cors', body};
        await sent(`${host}/buckets/form${number}`, type);
        await sent(`${host}/upload`, type);
        await sent(`${host}/objects/photos/delete`, type);
        await fetch(`${host}/buckets/fetch${number}`, options);
        await fetch(`${host}/upload`, options);
    }
    for (const method of ['PUT', 'DELETE'])
        for (const path of ['/object/kept', '/objects/photos/kept', '/buckets/photos'])
            told.statuses.push(await status(host + path, {method, body: 'x'}));
}
"""
READ = """
told.statuses = [];
for (const path of WITH)
    for (const method of ['GET', 'HEAD'])
        told.statuses.push(await status(path, {method}));
const embedded = WITH.flatMap(src => ['script', 'iframe', 'img'].map(
    name => loaded(made(name, {src})).catch(() => 0)));
// A frame never tells that it became a download.
const patience = new Promise(done => setTimeout(done, 3000));
await Promise.race([Promise.all(embedded), patience]);
told.frames = [...document.querySelectorAll('iframe')].map(
    frame => frame.contentDocument ? frame.contentDocument.body.innerText : '');
"""
ALLOWED = """
const put = async (url, options) => fetch(url, {method: 'PUT', ...options});
const answer = await put(WITH.put, {body: 'by a page', headers: {'X-Meta-A': '1'}});
const hidden = answer.headers.get('X-Request-Id');
told.put = [answer.status, answer.headers.get('ETag'), hidden];
const read = await fetch(WITH.get);
told.get = [await read.text(), read.headers.get('ETag')];
told.refused = [];
for (const [method, url] of WITH.refused) {
    const options = method === 'GET' ? {} : {method, body: 'x'};
    told.refused.push(await status(url, options));
    await fetch(url, {...options, mode: 'no-cors'}).catch(() => 0);
}
"""
OWN = """
const options = body => (
    {method: 'POST', body, headers: {'Content-Type': 'application/json'}});
told.statuses = [
    await status('/buckets/own', {method: 'POST'}),
    await status('/objects/own/a', {method: 'PUT', body: 'x'}),
    await status('/objects/own/a', {method: 'DELETE'}),
    await status('/objects/own/delete', options('{"keys": ["a"]}')),
    await status('/upload', {method: 'POST', body: 'own'}),
];
navigator.sendBeacon('/buckets/beacon');
await sent('/buckets/form', types[0]);
told.bodies = {};
for (const [key, uploading, url] of WITH) {
    await fetch(uploading, {method: 'PUT', body: key});
    told.bodies[key] = await (await fetch(url)).text();
}
"""


@contextmanager
def started(folder: Path, **settings: str) -> Iterator[GatewayProcess]:
    """Run a gateway with buckets and objects that everybody may change."""
    settings = {**SETTINGS, "DATA_DIR": str(folder / "data"), **settings}
    with GatewayProcess(folder, settings) as gateway:
        for bucket in ("photos", "other"):
            assert gateway.ask("POST", f"/buckets/{bucket}", b"").status == 201
        for path in KEPT:
            assert gateway.ask("PUT", path, b"kept").status == 201
        yield gateway


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway that is open to all, with buckets and objects."""
    with started(tmp_path_factory.mktemp("browsed")) as gateway:
        yield gateway


@pytest.fixture
def ruled(tmp_path: Path) -> Iterator[tuple[GatewayProcess, PageServer]]:
    """A gateway with rules for pages, and a server of pages."""
    with page_server(0) as pages:
        access = tmp_path / "access.yaml"
        access.write_text(ACCESS.format(page=pages.port))
        with started(tmp_path, ACCESS="signed", ACCESS_FILE=str(access)) as gateway:
            pages.gateway_port = gateway.port
            yield gateway, pages


@pytest.fixture
def pages(gateway: GatewayProcess) -> Iterator[PageServer]:
    """A server of pages in front of the gateway."""
    with page_server(gateway.port) as server:
        yield server


def shown_with(pages: PageServer, script: str, values: object, folder: Path) -> Any:
    """Return what a page with this script tells; it has the values in `WITH`."""
    code = f"const WITH = {json.dumps(values)};{script}"
    pages.pages["script"] = START + code + END
    told = shown(pages, "/page/script", folder)
    assert "error" not in told
    return told


def active(kind: str, name: str, pages: PageServer) -> str:
    """Return a page, or an image, whose script asks for /ran/NAME."""
    script = f"<script>location = 'http://127.0.0.1:{pages.port}/ran/{name}'</script>"
    if kind == "html":
        return f"<!doctype html><p>a page{script}"
    opening = '<svg xmlns="http://www.w3.org/2000/svg" width="7" height="7">'
    return f"{opening}{script}</svg>"


def presigned(gateway: GatewayProcess, pages: PageServer, key: str) -> list[str]:
    """Return URLs for an upload and a download of a key, through the page server."""
    headers = {"Host": f"127.0.0.1:{pages.port}", "Content-Type": "application/json"}
    path, urls = f"/presigned-url/photos/{quote(key, safe='')}", list[str]()
    for method in ("PUT", "GET"):
        body = json.dumps({"method": method}).encode()
        answer = gateway.ask("POST", path, body, headers)
        urls.append(json.loads(answer.body)["url"])
    return urls


def test_stored_pages_run_no_script(
    gateway: GatewayProcess, pages: PageServer, tmp_path: Path
) -> None:
    blobs = server_of("ours", tmp_path / "blobs")
    blobs.start()
    opened, saved = [], []
    try:
        for kind, of_type in TYPES.items():
            headers = {"Content-Type": of_type, "X-Mime-Type": of_type}
            for path in (f"/object/{kind}", f"/objects/photos/a.{kind}"):
                body = active(kind, path.replace("/", "-"), pages).encode()
                assert gateway.ask("PUT", path, body, headers).status == 201
                opened.append(path)
            body = active(kind, f"typed-{kind}", pages).encode()
            assert gateway.ask("POST", "/upload", body, headers).status == 200
            fetched = f"/fetch/{sha1(body).hexdigest()}"
            opened += [
                fetched,
                f"{fetched}.txt",
                f"{blobs.url}/blob/{blobs.put(body, **headers)}",
            ]
            body = active(kind, f"untyped-{kind}", pages).encode()
            assert gateway.ask("POST", "/upload", body).status == 200
            saved += [f"/fetch/{sha1(body).hexdigest()}.{name}" for name in TYPES]
            pages.pages[kind] = active(kind, kind, pages)
        told = shown_with(pages, OPENED, {"opened": opened, "saved": saved}, tmp_path)
    finally:
        blobs.kill()
    assert told["width"] == 7
    assert pages.ran == {*TYPES}  # those that nobody sandboxed


def names(gateway: GatewayProcess) -> list[str]:
    """Return how a page of another origin names the gateway."""
    return [f"http://{name}:{gateway.port}" for name in ("127.0.0.1", "localhost")]


def require_unchanged(gateway: GatewayProcess, buckets: bytes) -> None:
    """Check that the gateway has what it had."""
    assert gateway.ask("GET", "/buckets").body == buckets
    for path in KEPT:
        assert gateway.ask("GET", path).body == b"kept"
    for bucket in ("photos", "other"):
        listed = json.loads(gateway.ask("GET", f"/objects/{bucket}/list").body)
        assert [entry["key"] for entry in listed] == ["kept"]


def writes_nothing(
    gateway: GatewayProcess, pages: PageServer, folder: Path
) -> set[tuple[str, int]]:
    """Have a foreign page try to write; return the gateway's answers."""
    buckets = gateway.ask("GET", "/buckets").body
    before = gateway.log.stat().st_size
    told = shown_with(pages, FOREIGN, names(gateway), folder)
    assert set(told["statuses"]) == {0}

    def answered() -> list[tuple[str, int]] | None:
        lines = map(json.loads, gateway.log.read_bytes()[before:].splitlines())
        found = [
            (line["method"], line["status"])
            for line in lines
            if line.get("method", "GET") != "GET"  # the icon of the page of an error
        ]
        return found if len(found) >= 2 * (3 * 6 + 6) else None

    answers = set(await_that(answered) or ())
    require_unchanged(gateway, buckets)
    return answers


def test_a_foreign_page_writes_nothing(tmp_path: Path) -> None:
    with started(tmp_path) as gateway, page_server(gateway.port) as pages:
        answers = writes_nothing(gateway, pages, tmp_path)
    assert answers == {("POST", 403), ("OPTIONS", 405)}


def test_a_foreign_page_writes_nothing_beside_rules(tmp_path: Path) -> None:
    access = tmp_path / "access.yaml"
    access.write_text(ACCESS.format(page=1))  # an origin that isn't the page's
    settings = {"ACCESS": "signed", "ACCESS_FILE": str(access)}
    with (
        started(tmp_path, **settings) as gateway,
        page_server(gateway.port) as pages,
    ):
        answers = writes_nothing(gateway, pages, tmp_path)
    # A path that has no such method at all is answered 405.
    assert answers == {("POST", 403), ("OPTIONS", 403), ("OPTIONS", 405)}


def reads_nothing(gateway: GatewayProcess, pages: PageServer, folder: Path) -> None:
    """Have a foreign page try to read."""
    paths = [
        *("/object/kept", "/objects/other/kept", "/objects/other/list"),
        *("/buckets", "/archive/other", "/status", "/metrics"),
        f"/fetch/{sha1(b'x').hexdigest()}",
    ]
    urls = [host + path for host in names(gateway) for path in paths]
    told = shown_with(pages, READ, urls, folder)
    assert set(told["statuses"]) == {0}
    assert set(told["frames"]) == {""}


def test_a_foreign_page_reads_nothing(
    gateway: GatewayProcess, pages: PageServer, tmp_path: Path
) -> None:
    reads_nothing(gateway, pages, tmp_path)


def test_a_page_reads_nothing_beside_its_rule(
    ruled: tuple[GatewayProcess, PageServer], tmp_path: Path
) -> None:
    reads_nothing(*ruled, tmp_path)


def test_a_page_of_a_known_origin_does_what_its_rule_says(
    ruled: tuple[GatewayProcess, PageServer], tmp_path: Path
) -> None:
    gateway, pages = ruled
    buckets = gateway.ask("GET", "/buckets").body
    host = f"http://127.0.0.1:{gateway.port}"
    urls = {
        (method, bucket): presigned_url(host, method, f"/objects/{bucket}/new")
        for method in ("GET", "PUT", "DELETE")
        for bucket in ("photos", "other")
    }
    refused = [
        ("DELETE", urls["DELETE", "photos"]),
        *(("DELETE", host + path) for path in (*KEPT, "/buckets/other")),
        *((method, url) for (method, name), url in urls.items() if name == "other"),
        ("GET", f"{host}/objects/other/kept"),
        ("PUT", f"{host}/objects/other/kept"),
        ("POST", f"{host}/objects/photos/delete"),
        ("POST", f"{host}/presigned-url/photos/kept"),
        *(("GET", host + path) for path in ("/buckets", "/archive/photos")),
        *(("GET", host + path) for path in ("/status", "/metrics")),
        *((method, f"{host}/object/kept") for method in ("GET", "PUT")),
        ("POST", f"{host}/upload"),
    ]
    values = {
        "put": urls["PUT", "photos"],
        "get": urls["GET", "photos"],
        "refused": refused,
    }
    told = shown_with(pages, ALLOWED, values, tmp_path)
    answer = gateway.ask("GET", "/objects/photos/new")
    assert answer.body == b"by a page"
    tag = answer.headers["ETag"]
    assert told["put"] == [201, tag, None]
    assert told["get"] == ["by a page", tag]
    assert set(told["refused"]) == {0}
    assert gateway.ask("DELETE", "/objects/photos/new").status == 204
    require_unchanged(gateway, buckets)


def presigned_url(host: str, method: str, path: str) -> str:
    """Return a URL that the holder of the gateway's secret signs."""
    key = SigningKey("amazin", SETTINGS["SIGNING_SECRET"])
    return signed_url(key, method, host, path, 60, time.time())


def test_a_page_of_the_same_origin_writes(
    gateway: GatewayProcess, pages: PageServer, tmp_path: Path
) -> None:
    urls = [[key, *presigned(gateway, pages, key)] for key in KEYS]
    told = shown_with(pages, OWN, urls, tmp_path)
    assert told["statuses"] == [201, 201, 204, 200, 200]
    assert told["bodies"] == {key: key for key in KEYS}
    expected = ["beacon", "form", "other", "own", "photos"]
    await_that(lambda: json.loads(gateway.ask("GET", "/buckets").body) == expected)
