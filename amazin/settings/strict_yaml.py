"""Reads YAML as people mean it, so that every error has its line.

The text is composed to nodes, so nothing is constructed; anchors, aliases and tags are
refused. No error repeats text of the file, which could be a secret. Source: YAML 1.2.2.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode
from yaml.reader import ReaderError

from amazin.errors import SettingsError

_EMPTY = ("", "~", "null", "Null", "NULL")
Found = TypeVar("Found")


def parse_strictly(text: str, file: str, take: Callable[[StrictYaml], Found]) -> Found:
    """Return what `take` makes of the text; `file` is its name in errors.

    Raises: SettingsError: the text is no YAML; what `take` raises.
    """
    line, problem = 0, ""
    try:
        reader = StrictYaml(text, file)
        try:
            return take(reader)
        except yaml.MarkedYAMLError as exc:
            line = exc.problem_mark.line if exc.problem_mark else reader.line
            problem = f": {_explain(exc)}"
        except RecursionError:
            line, problem = reader.line, ": it is nested too deeply"
        except (yaml.YAMLError, ValueError, OverflowError):
            line = reader.line
    except ReaderError as exc:
        line, problem = text.count("\n", 0, exc.position), ": a control character"
    raise SettingsError(f"{file}:{line + 1}: this is not YAML{problem}")


class StrictYaml(yaml.SafeLoader):
    """Composes the nodes of a file."""

    def __init__(self, text: str, file: str) -> None:
        super().__init__(text)
        self.file = file

    def document(self, expected: str) -> MappingNode | None:
        """Return the one document of the file, a mapping; None: it is empty.

        Raises: SettingsError, with what is `expected`.
        """
        node = self.get_node() if self.check_node() else None
        if node and not isinstance(node, MappingNode) and not is_empty(node):
            self.refuse(node, expected)
        if self.check_node():
            self.refuse(self._peek(), "a second document begins; expected one")
        return node if isinstance(node, MappingNode) else None

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        """Compose the next node. Raises: SettingsError, for an anchor, alias or tag."""
        event = self._peek()
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            self.refuse(event, "anchors (&) and aliases (*) can't be used; quotes help")
        if event.tag is not None:
            self.refuse(event, "tags (!) can't be used; quotes help")
        return super().compose_node(parent, index)

    def refuse(self, found: Node | yaml.Event, sentence: str) -> NoReturn:
        """Raises: SettingsError, with the line of what was found."""
        mark = found.start_mark or self.get_mark()
        raise SettingsError(f"{self.file}:{mark.line + 1}: {sentence}")

    def _peek(self) -> Any:
        return self.peek_event()  # type: ignore[no-untyped-call]


def is_empty(node: Node) -> bool:
    """Whether a node has no value."""
    return (
        isinstance(node, ScalarNode)
        and node.value.strip() in _EMPTY
        and (node.style is None or not node.value.strip())
    )


def _explain(error: yaml.MarkedYAMLError) -> str:
    """Return what is wrong, without any text of the file, which could be a secret."""
    problem = error.problem or error.context or "it can't be read"
    if "\\t" in problem:
        return "a tab; indent with blanks"
    return "a tag can't be used" if "tag" in problem else problem
