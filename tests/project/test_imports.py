"""Which way imports run, and what importing a part of the product loads."""

from __future__ import annotations

import configparser
import json
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.support.paths import PROJECT

LINT_IMPORTS = Path(sysconfig.get_path("scripts")) / "lint-imports"
LIBRARIES = {"consul", "dns", "docker", "gevent", "minio", "requests", "yaml"}
"""What takes long to load, and is needed for one discovery, or some calls."""
PATIENCE_SECONDS = 50.0
FIXED = {"discovery", "gateway", "hashing", "wsgi"}


# Which way


def test_every_room_and_module_has_its_place_in_the_direction() -> None:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(PROJECT / "setup.cfg")
    layers = parser["importlinter:contract:direction"]["layers"]
    rooms = {
        f"amazin.{path.stem}"
        for path in (PROJECT / "amazin").iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    rooms.remove("amazin.__init__")
    assert set(re.split(r"[\s|]+", layers.strip())) == rooms | FIXED
    assert set(parser["importlinter"]["root_packages"].split()) == FIXED | {"amazin"}


@pytest.mark.parametrize(
    ("file", "wrong", "broken"),
    [
        ("hashing.py", "amazin.units", "Imports run downwards"),
        ("wsgi.py", "amazin.serving.limits", "Imports run downwards"),
        ("gateway.py", "amazin.api.routes", "Imports run downwards"),
        ("amazin/web/dates.py", "gateway", "Imports run downwards"),
        ("amazin/model/names.py", "amazin.nodes.interface", "Imports run downwards"),
        ("amazin/repair/plan.py", "amazin.status.counts", "Imports run downwards"),
        ("amazin/model/objects.py", "amazin.model.manifest", "No circle"),
        ("gateway.py", "hashing", "The gateway knows HTTP, but no nodes"),
        ("amazin/client/http.py", "yaml", "A program loads nothing of the gateway"),
        ("amazin/model/names.py", "hashing", "A program loads nothing of the gateway"),
    ],
)
def test_an_import_the_wrong_way_is_found(
    tmp_path: Path, file: str, wrong: str, broken: str
) -> None:
    shutil.copytree(
        PROJECT / "amazin",
        tmp_path / "amazin",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    (tmp_path / "scripts").mkdir()
    modules = [f"{name}.py" for name in FIXED]
    for name in ("setup.cfg", "scripts/lint-imports", *modules):
        shutil.copy(PROJECT / name, tmp_path / name)
    with (tmp_path / file).open("a") as source:
        source.write(f"\n\ndef later() -> None:\n    import {wrong}\n")
    done = subprocess.run(
        [tmp_path / "scripts" / "lint-imports", LINT_IMPORTS],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert re.search(f"^{broken}.* BROKEN$", done.stdout, re.M)


# What is loaded


def loaded_by(statement: str, folder: Path, **settings: str) -> set[str]:
    """Return the names of all that a statement loads, without those of submodules."""
    show = "import json, sys; print(json.dumps(list(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", f"{statement}\n{show}"],
        cwd=folder,
        env=settings,
        capture_output=True,
        timeout=PATIENCE_SECONDS,
        check=True,
    )
    return {name.partition(".")[0] for name in json.loads(done.stdout)}


def test_the_gateway_loads_what_its_discovery_needs(tmp_path: Path) -> None:
    folders = loaded_by("import wsgi", tmp_path, DISCOVERY="folders")
    assert folders >= FIXED
    assert folders.isdisjoint(LIBRARIES | {"rich", "urllib3"})
    containers = loaded_by("import wsgi", tmp_path, DISCOVERY="docker")
    assert containers & LIBRARIES == {"docker", "requests"}


def test_a_program_loads_nothing_of_the_gateway(tmp_path: Path) -> None:
    loaded = loaded_by("from amazin.client import GatewayClient", tmp_path)
    assert loaded.isdisjoint(LIBRARIES | FIXED)


@pytest.mark.parametrize(
    "statement",
    ["import amazin.cli.main", "from amazin.settings.config_file import load_settings"],
)
def test_help_and_settings_load_no_library_of_the_gateway(
    statement: str, tmp_path: Path
) -> None:
    loaded = loaded_by(statement, tmp_path)
    assert loaded.isdisjoint(LIBRARIES | FIXED | {"rich", "urllib3"})
