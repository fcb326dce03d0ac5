"""A node that is known but can't be reached now: stopped, paused, or vanished."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NoReturn

from amazin.errors import NodeUnreachableError
from amazin.nodes.interface import ObjectInfo


class AbsentNode:
    """Takes part in placement and refuses every request at once."""

    def __init__(self, name: str) -> None:
        self.name = name

    def _refuse(self, *args: Any, **options: Any) -> NoReturn:
        raise NodeUnreachableError("the node is not running")

    start_get = start_head = start_put = start_delete = start_check = _refuse
    make_bucket = _refuse

    def list_objects(
        self, bucket: str, prefix: str = "", after: str = ""
    ) -> Iterator[tuple[str, ObjectInfo]]:
        """See `Node`."""
        self._refuse()

    def close(self) -> None:
        """See `Node`."""
