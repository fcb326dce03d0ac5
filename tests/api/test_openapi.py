"""`openapi.yaml` has every route, and what it says of them is what the gateway does.

`schemathesis` makes requests of the document, right ones and wrong ones, and holds the
answers of a running gateway against it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from openapi_spec_validator import OpenAPIV30SpecValidator
from schemathesis import Case, GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from amazin.access.grants import OPEN
from amazin.api.docs import DOCUMENT
from amazin.api.routes import all_routes
from amazin.settings.settings import Settings
from amazin.web.messages import Route
from generate.api_page import METHODS, parsed, resolved
from tests.support.gateway_process import GatewayProcess
from tests.support.paths import PROJECT

SETTINGS = Settings(blob_api=True)
PURR = hashlib.sha1(b"purr" * 100).hexdigest()
CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
TOKEN = "a-token-for-tests"
NAMES = {
    "id": ["cat1", "empty", "missing"],
    "bucket": ["photos", "letters", "missing"],
    "key": ["notes.txt", "2026/11/cat.jpg", "a b//\u00fc+%?#", "missing"],
    "blob": [PURR, f"{PURR}.txt", "0" * 40, "no.tar.gz"],
}
"""Names that the driven gateway has, or not, beside those that are made up."""
DOOMED = {
    "id": ["doomed"],
    "bucket": ["photos", "empty-bucket", "missing"],
    "key": ["doomed", "doomed/too"],
}
"""Those that may be deleted, without taking anything from the other operations."""
CREDENTIALS = [
    *[{"Authorization": f"Bearer {TOKEN}"}] * 8,
    {},
    {"Authorization": "Bearer of-bad-news"},
]
COMMON = {200, 201, 204, 400, 404, 409, 412, 422}
"""Statuses that are among the answers, however few are asked for."""
NOT_HERE = {500, 502, 503}
"""Documented or not: on three folders on one machine nothing may answer so."""


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """The document."""
    return parsed(DOCUMENT.read_bytes())


def documented(document: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield method and path of all operations."""
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                yield method.upper(), path


# The document and the code


def test_it_is_openapi(document: dict[str, Any]) -> None:
    errors = OpenAPIV30SpecValidator(document).iter_errors()
    assert [error.message for error in errors] == []


def test_both_have_the_same_routes(document: dict[str, Any]) -> None:
    routes = all_routes(SETTINGS)
    found: dict[Route, set[tuple[bool, ...]]] = {route: set() for route in routes}
    for method, path in documented(document):
        example = path.replace("{bucket}", "photos").replace("{id}", "cat1")
        example = example.replace("{blob}", "cafe.jpg")
        keys = ("a/b.txt", "b.txt") if "{bucket}/{key}" in path else ("b.txt",)
        for key in keys:
            route, groups = served_by(routes, method, example.replace("{key}", key))
            assert key in groups or "{key}" not in path
            found[route].add(tuple(map(bool, groups)))
    for route, forms in found.items():
        forms_there_are = 2 if ")?" in route.pattern.pattern else 1
        assert len(forms) == forms_there_are, (route.method, route.pattern.pattern)


def served_by(
    routes: list[Route], method: str, path: str
) -> tuple[Route, tuple[str, ...]]:
    """Return the route of a request, and what its pattern matches."""
    for route in routes:
        match = route.pattern.fullmatch(path)
        if match and route.method == method:
            return route, match.groups("")
    raise AssertionError(f"{method} {path} is documented, but not served")


def test_open_routes_are_those_without_security(document: dict[str, Any]) -> None:
    routes = all_routes(SETTINGS)
    for method, path in documented(document):
        node = document["paths"][path][method.lower()]
        example = path.replace("{bucket}", "photos").replace("{id}", "a")
        example = example.replace("{blob}", "cafe")
        route, _ = served_by(routes, method, example.replace("{key}", "b"))
        is_open = node.get("security", document["security"]) == []
        assert is_open == (route.action == OPEN), (method, path)


def test_every_code_of_the_source_is_documented(document: dict[str, Any]) -> None:
    codes = set(document["components"]["schemas"]["Code"]["enum"])
    assert codes == set(codes_in_source())


def codes_in_source() -> Iterator[str]:
    """Yield the codes of errors that are raised anywhere on the north side."""
    raised = re.compile(
        r'HTTPError\(\s*\w+,\s*"(\w+)"|_refusal\(\s*"(\w+)"'
        r'|\((?:\w+Error|\d+), (?:\d+, )?"(\w+)"|^\s+"([A-Z][a-z]+[A-Z]\w+)",$',
        re.MULTILINE,
    )
    sources = [PROJECT / "gateway.py"]
    for room in NORTH:
        sources += (PROJECT / "amazin" / room).glob("*.py")
    for source in sources:
        for groups in raised.findall(source.read_text("utf-8")):
            yield "".join(groups)


NORTH = ("access", "api", "web", "cluster", "signing", "model")


def test_every_reference_leads_somewhere_and_every_component_is_used(
    document: dict[str, Any],
) -> None:
    references = set(re.findall(r"#/[\w/]+", DOCUMENT.read_text("utf-8")))
    for reference in references:
        assert resolved(document, {"$ref": reference})
    for kind, components in document["components"].items():
        if kind != "securitySchemes":
            there = {f"#/components/{kind}/{name}" for name in components}
            assert there <= references


def test_operations_have_names_of_their_own(document: dict[str, Any]) -> None:
    names = [
        document["paths"][path][method.lower()]["operationId"]
        for method, path in documented(document)
    ]
    assert len(names) == len(set(names))


def test_the_file_in_the_root_is_the_one_that_is_served() -> None:
    assert (PROJECT / "openapi.yaml").samefile(DOCUMENT)


# The document and a running gateway


@contextmanager
def running(access: str, folder: Path) -> Iterator[GatewayProcess]:
    """Run a gateway on folders meanwhile, with some objects."""
    settings = {
        "DISCOVERY": "folders",
        "DATA_DIR": str(folder / "data"),
        "ACCESS": access,
        "BLOB_API": "on",
        "API_TOKENS": TOKEN,
        "SIGNING_SECRET": "correct-horse-battery-staple",
    }
    gateway = GatewayProcess(folder, settings)
    try:
        gateway.start()
        fill(gateway)
        yield gateway
    finally:
        gateway.stop()


def fill(gateway: GatewayProcess) -> None:
    """Store the objects of `NAMES`."""
    token = {"Authorization": f"Bearer {TOKEN}"}
    for bucket in NAMES["bucket"][:2]:
        assert gateway.ask("POST", f"/buckets/{bucket}", b"", token).status == 201
        for key in NAMES["key"][:3]:
            path = f"/objects/{bucket}/{quote(key)}"
            assert gateway.ask("PUT", path, b"meow", token).status == 201
    for path in ("/objects/notes.txt", "/object/cat1"):
        assert gateway.ask("PUT", path, b"purr" * 100, token).status == 201
    assert gateway.ask("PUT", "/object/empty", b"", token).status == 201
    assert gateway.ask("POST", "/upload", b"purr" * 100, token).status == 200


@pytest.mark.parametrize(
    ("access", "count", "expected"),
    [
        ("open", 3, COMMON | {501}),
        pytest.param("open", 12, COMMON | {206, 304, 501}, marks=pytest.mark.slow),
        pytest.param("signed", 5, COMMON | {401, 403}, marks=pytest.mark.slow),
    ],
)
@pytest.mark.timeout(300)
def test_every_answer_is_documented(
    document: dict[str, Any],
    tmp_path: Path,
    access: str,
    count: int,
    expected: set[int],
) -> None:
    """`count` requests of each kind, right and wrong ones, for each operation."""
    schema = schemathesis.openapi.from_dict(document)
    seen = set[int]()
    with running(access, tmp_path) as gateway, requests.Session() as session:
        session.trust_env = False
        for method, path in documented(document):
            operation = schema[path][method.lower()]
            names = DOOMED if method == "DELETE" else NAMES
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                cases = operation.as_strategy(generation_mode=mode)
                seen |= answered(gateway, session, requested(cases, names), count)
    assert seen >= expected, "the requests reach too little"


@st.composite
def requested(
    draw: st.DrawFn, cases: st.SearchStrategy[Case[Any]], names: dict[str, list[str]]
) -> tuple[Case[Any], dict[str, str]]:
    """Make requests, some of which are of these names, with credentials."""
    case = draw(cases)
    for name in case.path_parameters or {}:
        if draw(st.booleans()):
            case.path_parameters[name] = quote(draw(st.sampled_from(names[name])), "")
    if draw(st.booleans()):  # they are refused too often to leave much else
        for name in [name for name in case.headers if name.startswith("If-")]:
            del case.headers[name]
    return case, draw(st.sampled_from(CREDENTIALS))


def answered(
    gateway: GatewayProcess,
    session: requests.Session,
    requests_made: st.SearchStrategy[tuple[Case[Any], dict[str, str]]],
    count: int,
) -> set[int]:
    """Hold answers against the document; returns their statuses."""
    seen = set[int]()
    base_url = f"http://127.0.0.1:{gateway.port}"

    @hypothesis_settings(
        max_examples=count,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(requests_made)
    def check(made: tuple[Case[Any], dict[str, str]]) -> None:
        case, headers = made
        response = case.call(base_url, session, headers, timeout=30)
        seen.add(response.status_code)
        assert response.status_code not in NOT_HERE
        case.validate_response(response, checks=CHECKS)

    check()
    return seen
