"""A folder node of its own for each test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from amazin.nodes.folder.node import FolderNode


@pytest.fixture
def node(tmp_path: Path) -> Iterator[FolderNode]:
    """A node in the test's folder."""
    with closing(FolderNode("node-1", tmp_path)) as node:
        node.make_bucket("store")
        yield node


@pytest.fixture(params=[False, True], ids=["whole", "streamed"])
def streams(request: pytest.FixtureRequest) -> bool:
    """Whether also small bodies are streamed."""
    return bool(request.param)
