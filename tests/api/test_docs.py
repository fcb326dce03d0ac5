"""`/openapi.yaml` and `/docs`: open to everybody, and in need of nothing else."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest

from amazin.api.docs import DOCUMENT, PAGE
from amazin.settings.settings import Settings
from gateway import Gateway
from generate.api_page import api_page, parsed
from tests.support.app import call, make_app

PATHS = ("/openapi.yaml", "/docs")
VOID = {"meta", "br", "link", "img"}


class Outline(HTMLParser):
    """What a page is made of. Raises AssertionError, if its tags are not in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags = list[str]()
        self.ids = list[str]()
        self.links = list[str]()
        self.words = ""
        self._open = list[str]()
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self._open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            elif name == "href":
                self.links.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


@pytest.fixture
def app() -> Gateway:
    """An application that is closed to strangers."""
    return make_app(settings=Settings(access="signed", api_tokens=("x",)))


@pytest.fixture
def page(app: Gateway) -> Outline:
    """The page."""
    return Outline(call(app, "GET", "/docs").body.decode())


def test_the_document_is_served_as_it_is(app: Gateway) -> None:
    answer = call(app, "GET", "/openapi.yaml")
    assert (answer.status, answer.body) == (200, DOCUMENT.read_bytes())
    assert answer.headers["Content-Type"] == "application/yaml"


@pytest.mark.parametrize("path", PATHS)
def test_head_has_the_headers_of_get(app: Gateway, path: str) -> None:
    got, head = (call(app, method, path) for method in ("GET", "HEAD"))
    for headers in (got.headers, head.headers):
        del headers["X-Request-Id"]
    assert (head.status, head.body) == (200, b"")
    assert head.headers.items() == got.headers.items()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("form", ["{}", "W/{}", '"x", {}', "*"])
def test_who_has_it_is_not_sent_it_again(app: Gateway, path: str, form: str) -> None:
    tag = call(app, "GET", path).headers["ETag"]
    answer = call(app, "GET", path, None, {"If-None-Match": form.format(tag)})
    assert (answer.status, answer.body) == (304, b"")
    assert answer.headers["ETag"] == tag


@pytest.mark.parametrize("path", PATHS)
def test_another_tag_gets_it_and_a_malformed_one_400(app: Gateway, path: str) -> None:
    answer = call(app, "GET", path, None, {"If-None-Match": '"x"'})
    assert (answer.status, answer.body) == (200, call(app, "GET", path).body)
    answer = call(app, "GET", path, None, {"If-None-Match": "x"})
    assert (answer.status, answer.code) == (400, "InvalidCondition")


@pytest.mark.parametrize("health_path", ["/alive", "/a b: #{'\"\u00fc}"])
def test_it_names_the_path_that_was_set(health_path: str) -> None:
    app = make_app(settings=Settings(health_path=health_path))
    document = parsed(call(app, "GET", "/openapi.yaml").body)
    assert {health_path, health_path + "/ready"} <= document["paths"].keys()
    assert not {"/health", "/health/ready"} & document["paths"].keys()
    page = Outline(call(app, "GET", "/docs").body.decode())
    for text in (
        f"curl http://localhost:3000{health_path}",
        f"GET {health_path}/ready",
    ):
        assert text in page.words
    assert "/health" not in page.words


def test_the_page_is_what_is_made_of_the_document_now() -> None:
    assert PAGE.read_text("utf-8") == api_page(), "run `make generate`"


def test_the_page_says_all_of_every_operation(page: Outline) -> None:
    document = parsed(DOCUMENT.read_bytes())
    for path, item in document["paths"].items():
        for method, node in item.items():
            if method != "parameters":
                assert f"{method.upper()} {path}" in page.words
                assert node["operationId"] in page.ids
                for sample in node.get("x-codeSamples", ()):
                    assert sample["source"].strip() in page.words
    for parameter in document["components"]["parameters"].values():
        assert parameter["name"] in page.words


def test_the_page_needs_nothing_else(app: Gateway, page: Outline) -> None:
    assert not {"script", "link", "img", "iframe", "object", "form"} & {*page.tags}
    elsewhere = {link for link in page.links if not link.startswith("#")}
    assert elsewhere == {"openapi.yaml"}
    answer = call(app, "GET", "/docs")
    assert b"url(" not in answer.body
    policy = answer.headers["Content-Security-Policy"]
    [style] = re.findall(r"<style>(.*?)</style>", answer.body.decode(), re.DOTALL)
    assert "default-src 'none'" in policy
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}';" in policy
    assert b" style=" not in answer.body


def test_every_link_in_the_page_leads_to_one_place(page: Outline) -> None:
    assert len(page.ids) == len(set(page.ids))
    anchors = {link[1:] for link in page.links if link.startswith("#")}
    assert anchors <= set(page.ids)
