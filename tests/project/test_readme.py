"""What the README and its pages show is what there is."""

from __future__ import annotations

import json
import re

from amazin.api.routes import all_routes
from amazin.settings.settings import Settings
from tests.support.app import call, make_app
from tests.support.paths import PROJECT

README = (PROJECT / "README.md").read_text("utf-8")
API = (PROJECT / "docs" / "api.md").read_text("utf-8")
EXTENDING = (PROJECT / "docs" / "extending.md").read_text("utf-8")


def test_the_example_of_ones_own_discovery_is_the_one_that_is_tested() -> None:
    source = (PROJECT / "tests" / "support" / "own_discovery.py").read_text()
    _, _, code = source.partition("\n\n")
    assert f"```python\n{code.strip()}\n```" in EXTENDING


def test_the_routes_of_every_api_are_in_the_tables() -> None:
    for route in all_routes(Settings(blob_api=True)):
        family = re.match("/[a-z-]+", route.pattern.pattern)
        assert family
        assert f" {family[0]}" in API
    for path in ("/object/{id}", "/health", "/health/ready"):
        assert f"`GET {path}`" in API


def test_every_route_of_the_readme_is_served() -> None:
    routes = all_routes(Settings(blob_api=True))
    _, _, table = README.partition("## The API")
    shown = re.findall(r"^\| (`.+) \|", table.partition("## The command")[0], re.M)
    assert len(shown) == 7
    for methods, path in re.findall(r"`((?:\w+`, `)*\w+) (/[^`]+)`", "\n".join(shown)):
        example = re.sub(r"\{\w+\}", "abc", path)
        for method in methods.split("`, `"):
            assert any(
                route.method == method and route.pattern.fullmatch(example)
                for route in routes
            ), f"{method} {path}"


def test_the_answers_that_the_readme_shows_are_those_of_the_gateway() -> None:
    app = make_app()
    body = (PROJECT / "LICENSE").read_bytes()
    for method, path, sent in (
        ("PUT", "/object/licence", body),
        ("POST", "/buckets/docs", None),
        ("PUT", "/objects/docs/2026/licence.txt", body),
        ("GET", "/objects/docs/list?prefix=2026/", None),
    ):
        answer = call(app, method, path, sent)
        _, _, shown = README.partition(f"localhost:3000{path}")
        line = shown.splitlines()[1]
        assert without_time(json.loads(line)) == without_time(answer.json), path


def without_time(value: object) -> object:
    """Return an answer without what differs each time."""
    items = value if isinstance(value, list) else [value]
    for item in items:
        item.pop("last_modified", None)
    return value


def test_the_pinned_versions_fit_what_setup_cfg_asks_for() -> None:
    setup = (PROJECT / "setup.cfg").read_text()
    _, _, rest = setup.partition("install_requires =\n")
    wanted = [line.strip() for line in rest.partition("\n\n")[0].splitlines()]
    pinned = {
        line.partition("==")[0]
        for line in (PROJECT / "requirements.txt").read_text().splitlines()
    }
    names = [line.partition(">")[0] for line in wanted]
    assert names
    assert set(names) <= pinned
