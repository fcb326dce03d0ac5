"""A user's own module: found in the current folder, whatever it is called."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import discovery
from amazin.discoveries.own import import_own
from amazin.errors import SettingsError
from amazin.settings.settings import Settings


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder; what is imported from it is forgotten in the end."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in sys.modules.keys() - before:
        del sys.modules[name]


def write(file: Path, text: str) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    importlib.invalidate_caches()


def test_a_module_is_found_with_what_it_imports(folder: Path) -> None:
    write(folder / "my_nodes.py", "from my_disks import DISKS\n")
    write(folder / "my_disks.py", "import my_nodes\nDISKS = my_nodes.__name__\n")
    assert import_own("my_nodes").DISKS == "my_nodes"


@pytest.mark.parametrize("name", ["discovery", "docker", "json", "time"])
def test_a_name_that_is_taken_means_the_users_module_only_here(
    folder: Path, name: str
) -> None:
    taken = importlib.import_module(name)
    write(folder / f"{name}.py", f"import {name} as theirs\n")
    own = import_own(name)
    assert Path(own.__file__ or "").parent == folder
    assert own.theirs is taken is sys.modules[name]


def test_a_package_whose_name_is_taken_finds_its_own_modules(folder: Path) -> None:
    write(folder / "yaml" / "__init__.py", "")
    write(folder / "yaml" / "nodes.py", "from .disks import DISKS\n")
    write(folder / "yaml" / "disks.py", "from yaml import safe_load\nDISKS = 3\n")
    assert import_own("yaml.nodes").DISKS == 3


def test_a_folder_without_init_is_a_package_too(folder: Path) -> None:
    write(folder / "my_package" / "nodes.py", "NODES = 3\n")
    assert import_own("my_package.nodes").NODES == 3


def test_nothing_in_the_folder_stands_in_for_a_library(folder: Path) -> None:
    for name in ("docker", "hashing", "yaml"):
        write(folder / f"{name}.py", "raise AssertionError(__name__)\n")
    write(folder / "my_nodes.py", "import docker.errors, hashing, yaml.tokens\n")
    import_own("my_nodes")


def test_a_module_that_is_installed_is_taken_from_there(folder: Path) -> None:
    assert import_own("discovery") is discovery


@pytest.mark.parametrize("name", ["my_broken", "yaml"])
def test_what_can_not_be_loaded_leaves_nothing_behind(folder: Path, name: str) -> None:
    write(folder / f"{name}.py", "import no_such_module\n")
    before = set(sys.modules)
    with pytest.raises(ImportError, match="no_such_module"):
        import_own(name)
    assert set(sys.modules) == before


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ("discovery:Missing", "discovery has no class Missing"),
        ("discovery:Plain", r"discovery:Plain has no method find\(\)"),
        ("discovery.disks:Mine", "can't import discovery.disks: .* 'discovery.disks'"),
    ],
)
def test_an_error_has_the_users_name_of_the_module(
    folder: Path, own: str, message: str
) -> None:
    write(folder / "discovery.py", "class Plain: ...\n")
    with pytest.raises(SettingsError, match=f"^DISCOVERY: {message}") as caught:
        discovery.load_discovery(Settings(discovery=own))
    assert "own_" not in str(caught.value)
