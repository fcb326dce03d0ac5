"""The nodes under an application: in memory, and in the slow tier folders too."""

from __future__ import annotations

from pathlib import Path

import pytest

from amazin.nodes.interface import Node
from tests.support.app import Site, folder_nodes
from tests.support.fakes import memory_nodes


def nodes_of(kind: str, folder: Path) -> list[Node]:
    """Return three empty nodes, with the buckets that every node has."""
    return [*(folder_nodes(folder) if kind == "folders" else memory_nodes())]


@pytest.fixture(params=["memory", pytest.param("folders", marks=pytest.mark.slow)])
def nodes(request: pytest.FixtureRequest, tmp_path: Path) -> list[Node]:
    """Three empty nodes."""
    return nodes_of(request.param, tmp_path)


@pytest.fixture(
    params=[
        pytest.param(("memory", 1), id="r=1"),
        pytest.param(("memory", 2), id="r=2"),
        pytest.param(("folders", 1), id="folders", marks=pytest.mark.slow),
    ]
)
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Site:
    """Three empty nodes, for one or two replicas; folders for one."""
    kind, replicas = request.param
    return Site(nodes_of(kind, tmp_path), replicas)
