"""What a real browser does: with stored pages, with foreign ones, with our own.

A page server stands in front of a gateway, as a proxy does. A page of it that asks it
is of the gateway's own origin; one that asks the gateway's own port is a foreign one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import sha1
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.blob_processes import server_of
from tests.support.browser import PageServer, page_server, shown
from tests.support.gateway_process import GatewayProcess
from tests.support.waiting import await_that

pytestmark = pytest.mark.integration

KEYS = ["a/../b", "a/./b", "../x", "a/.", "a/..", "./a", "..", "a//b", "%2e./x", "z/"]
SETTINGS = {
    "DISCOVERY": "folders",
    "ACCESS": "open",
    "BLOB_API": "true",
    "SIGNING_SECRET": "correct-horse-battery-staple",
}
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


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway that is open to all, with a bucket and an object."""
    folder = tmp_path_factory.mktemp("browsed")
    settings = {**SETTINGS, "DATA_DIR": str(folder / "data")}
    with GatewayProcess(folder, settings) as gateway:
        assert gateway.ask("POST", "/buckets/photos", b"").status == 201
        for path in ("/object/kept", "/objects/photos/kept"):
            assert gateway.ask("PUT", path, b"kept").status == 201
        yield gateway


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


def test_a_foreign_page_writes_nothing(
    gateway: GatewayProcess, pages: PageServer, tmp_path: Path
) -> None:
    hosts = [f"http://{name}:{gateway.port}" for name in ("127.0.0.1", "localhost")]
    buckets = gateway.ask("GET", "/buckets").body
    before = gateway.log.stat().st_size
    told = shown_with(pages, FOREIGN, hosts, tmp_path)
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
    assert answers == {("POST", 403), ("OPTIONS", 405)}
    assert gateway.ask("GET", "/buckets").body == buckets
    for path in ("/object/kept", "/objects/photos/kept"):
        assert gateway.ask("GET", path).body == b"kept"


def test_a_page_of_the_same_origin_writes(
    gateway: GatewayProcess, pages: PageServer, tmp_path: Path
) -> None:
    urls = [[key, *presigned(gateway, pages, key)] for key in KEYS]
    told = shown_with(pages, OWN, urls, tmp_path)
    assert told["statuses"] == [201, 201, 204, 200, 200]
    assert told["bodies"] == {key: key for key in KEYS}
    expected = ["beacon", "form", "own", "photos"]
    await_that(lambda: json.loads(gateway.ask("GET", "/buckets").body) == expected)
