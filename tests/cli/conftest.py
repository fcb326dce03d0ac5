"""What tests of the commands for objects share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.scripted_gateway import ScriptedGateway, new_gateways


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, and no gateway in the environment."""
    monkeypatch.chdir(tmp_path)
    for name in ("AMAZIN_URL", "AMAZIN_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def gateway() -> Iterator[Callable[..., ScriptedGateway]]:
    """A function: begins a gateway that gives these answers."""
    with new_gateways() as make:
        yield make
