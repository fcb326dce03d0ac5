"""What importing a part of the product loads, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

LIBRARIES = {"consul", "dns", "docker", "gevent", "minio", "requests", "yaml"}
"""What takes long to load, and is needed for one discovery, or some calls."""
FIXED = {"discovery", "gateway", "hashing", "wsgi"}


def loaded_by(statement: str, folder: Path, **settings: str) -> set[str]:
    """Return the names of all that a statement loads, without those of submodules."""
    show = "import json, sys; print(json.dumps(list(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", f"{statement}\n{show}"],
        cwd=folder,
        env=settings,
        capture_output=True,
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
