"""Builds the right kind of node for each spec that discovery finds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import unquote, urlsplit

from amazin.errors import NodeUnreachableError
from amazin.model.node_specs import NodeSpec, TimeLimits
from amazin.model.objects import ObjectInfo
from amazin.nodes.folder.node import FolderNode
from amazin.nodes.interface import Node
from amazin.nodes.metered import NodeMeter, metered
from amazin.nodes.s3.node import S3Node


def node_builder(
    limits: TimeLimits, meter_of: Callable[[str], NodeMeter] | None = None
) -> Callable[[NodeSpec], Node]:
    """Return a function that builds a node from its spec; it connects to nothing.

    `meter_of` returns what counts the requests to the node of a name.
    """

    def build(spec: NodeSpec) -> Node:
        if spec.endpoint is None:
            return AbsentNode(spec.name)
        node = new_node(spec)
        return metered(node, meter_of(spec.name)) if meter_of else node

    def new_node(spec: NodeSpec) -> Node:
        assert spec.endpoint is not None
        parts = urlsplit(spec.endpoint)
        if parts.scheme == "file":
            return FolderNode(spec.name, Path(unquote(parts.path)))
        return S3Node(spec, limits)

    return build


class AbsentNode:
    """A node that is down: it keeps its place in rankings, and refuses all calls."""

    def __init__(self, name: str) -> None:
        self.name = name

    def _refuse(self, *args: Any, **options: Any) -> NoReturn:
        raise NodeUnreachableError("the node is not found, or not running")

    start_get = start_head = start_put = start_upload = start_delete = _refuse
    start_check = make_bucket = _refuse

    def list_objects(
        self, bucket: str, prefix: str = "", after: str = ""
    ) -> Iterator[tuple[str, ObjectInfo]]:
        """See `Node`."""
        self._refuse()

    def close(self) -> None:
        """See `Node`."""
