"""Makes the right kind of node of what discovery says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from amazin.nodes.absent import AbsentNode
from amazin.nodes.folder.node import FolderNode
from amazin.nodes.interface import Node, NodeSpec, TimeLimits
from amazin.nodes.s3.node import S3Node


def node_builder(limits: TimeLimits) -> Callable[[NodeSpec], Node]:
    """Return a function from spec to node; it connects to nothing."""

    def build(spec: NodeSpec) -> Node:
        if spec.endpoint is None:
            return AbsentNode(spec.name)
        parts = urlsplit(spec.endpoint)
        if parts.scheme == "file":
            return FolderNode(spec.name, Path(unquote(parts.path)))
        return S3Node(spec, limits)

    return build
