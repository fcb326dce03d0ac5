"""What the README shows is what there is."""

from __future__ import annotations

import re

from amazin.api.routes import all_routes
from amazin.settings.settings import Settings
from tests.support.paths import PROJECT

README = (PROJECT / "README.md").read_text()


def test_the_example_of_ones_own_discovery_is_the_one_that_is_tested() -> None:
    source = (PROJECT / "tests" / "support" / "own_discovery.py").read_text()
    _, _, code = source.partition("\n\n")
    assert f"```python\n{code.strip()}\n```" in README


def test_the_routes_of_every_api_are_in_its_tables() -> None:
    for route in all_routes(Settings()):
        family = re.match("/[a-z-]+", route.pattern.pattern)
        assert family
        assert f" {family[0]}" in README
    for path in ("/object/{id}", "/health", "/health/ready"):
        assert f"`GET {path}`" in README


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
