"""`DISCOVERY=folders`: the nodes are folders of this machine, below `DATA_DIR`."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from amazin.errors import SettingsError
from amazin.model.node_specs import NodeSpec
from amazin.nodes.folder.content import give_to_owner, sync_folder

log = logging.getLogger("amazin.discovery")


class FolderDiscovery:
    """Finds `node-1`, `node-2`, ... in a folder: the first `count`, and all others.

    Folders are made only at the start: a folder that vanishes later is a node that is
    down, not a new and empty one. A name that was found once is kept.
    """

    def __init__(self, data_dir: Path, count: int) -> None:
        """Make the folders that are missing. Raises: SettingsError."""
        self._data_dir = data_dir.absolute()
        self._numbers = set(range(1, count + 1))
        try:
            for number in self._numbers:
                path = self._data_dir / f"node-{number}"
                if not path.is_dir():
                    path.mkdir(parents=True, exist_ok=True)
                    give_to_owner(path)
            sync_folder(self._data_dir)
        except OSError as exc:
            raise SettingsError(
                f"DATA_DIR: {self._data_dir} can't be used: {exc.strerror}"
            ) from exc

    def find(self) -> Sequence[NodeSpec]:
        """Return all nodes that were ever found, sorted by name."""
        self._numbers.update(self._existing())
        names = sorted(f"node-{number}" for number in self._numbers)
        return [NodeSpec(name, (self._data_dir / name).as_uri()) for name in names]

    def _existing(self) -> Iterator[int]:
        try:
            for path in self._data_dir.iterdir():
                match = re.fullmatch(r"node-([1-9][0-9]{0,8})", path.name)
                if match and path.is_dir():
                    yield int(match[1])
        except OSError as exc:
            log.debug("the data folder can't be listed: %s", exc)
