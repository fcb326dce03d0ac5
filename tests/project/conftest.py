"""The product, built and installed once for all tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.installed import build_wheel, install


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `pip install .` installs."""
    source, target = (tmp_path_factory.mktemp(name) for name in ("source", "wheel"))
    return build_wheel(source, target)


@pytest.fixture(scope="session")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the programs of an environment in which it is installed."""
    return install(wheel, tmp_path_factory.mktemp("installed"))
