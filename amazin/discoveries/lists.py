"""`DISCOVERY=static`: nodes that an operator listed, in a setting or in a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from amazin.errors import DiscoveryError, SettingsError
from amazin.model.node_specs import NodeSpec, parse_list


class StaticDiscovery:
    """The nodes of `NODES` or of `MINIO_ENDPOINT`, which never change."""

    def __init__(self, specs: Sequence[NodeSpec]) -> None:
        self._specs = specs

    def find(self) -> Sequence[NodeSpec]:
        """Return the nodes, in their order."""
        return self._specs


class NodesFileDiscovery:
    """The nodes in the file `NODES_FILE`, which each `find` reads again."""

    def __init__(self, path: Path) -> None:
        """Read the file once. Raises: SettingsError, with no secret in its message."""
        self._path = path
        try:
            self._read()
        except SettingsError as exc:  # later errors reach clients
            raise SettingsError(f"{exc} ({path.absolute()})") from exc

    def find(self) -> Sequence[NodeSpec]:
        """Read the file; return its nodes in order. Raises: DiscoveryError."""
        try:
            return self._read()
        except SettingsError as exc:
            raise DiscoveryError(f"The list of nodes can't be used. {exc}") from exc

    def _read(self) -> Sequence[NodeSpec]:
        try:
            text = self._path.read_text(encoding="utf-8-sig")
        except OSError as exc:
            raise SettingsError(f"NODES_FILE: can't be read: {exc.strerror}") from exc
        except UnicodeDecodeError:
            raise SettingsError("NODES_FILE: is not UTF-8 text") from None
        specs = parse_list(
            (f"NODES_FILE: line {number}", line)
            for number, line in enumerate(text.splitlines(), start=1)
            if not line.lstrip().startswith("#")
        )
        if not specs:
            raise SettingsError("NODES_FILE: there is no node in it")
        return specs
