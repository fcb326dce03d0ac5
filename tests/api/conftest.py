"""The nodes under an application: in memory, and in the slow tier folders too."""

from __future__ import annotations

from pathlib import Path

import pytest

from amazin.nodes.interface import Node
from tests.support.app import folder_nodes
from tests.support.fakes import memory_nodes


@pytest.fixture(params=["memory", pytest.param("folders", marks=pytest.mark.slow)])
def nodes(request: pytest.FixtureRequest, tmp_path: Path) -> list[Node]:
    """Three empty nodes, with the buckets that every node has."""
    if request.param == "folders":
        return [*folder_nodes(tmp_path)]
    return [*memory_nodes()]
