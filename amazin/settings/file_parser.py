"""Parses a configuration file, so that every error has its line.

Its YAML is composed to nodes, so nothing is constructed; anchors, aliases and tags are
refused. Values are not looked at: `load.py`. Source: YAML 1.2.2.
"""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any, NoReturn

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from yaml.reader import ReaderError

from amazin.errors import SettingsError
from amazin.logs import without_credentials
from amazin.settings.converters import Given
from amazin.settings.load import FIELDS, PLACES, SECTIONS

_EMPTY = ("", "~", "null", "Null", "NULL")


def parse(text: str, file: str) -> dict[str, Given]:
    """Return what the file has for each field; `file` is its name in errors.

    Raises:
        SettingsError: the text is no YAML, or names no setting; values are not checked.
    """
    line, problem = 0, ""
    try:
        reader = _Reader(text, file)
        try:
            return reader.settings()
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


class _Reader(yaml.SafeLoader):
    """Composes the nodes of a file, and reads the settings from them."""

    def __init__(self, text: str, file: str) -> None:
        super().__init__(text)
        self._file = file
        self._lines: dict[str, int] = {}
        """The line of each place that was read already."""
        self._given: dict[str, Given] = {}

    def settings(self) -> dict[str, Given]:
        """Read the one document of the file."""
        node = self.get_node() if self.check_node() else None
        if isinstance(node, MappingNode):
            self._read_section(node, "")
        elif node and not _is_empty(node):
            self._refuse(node, "expected settings, one a line, as `replicas: 2`")
        if self.check_node():
            self._refuse(self._peek(), "a second document begins; expected one")
        return self._given

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        """Compose the next node. Raises: SettingsError, for an anchor, alias or tag."""
        event = self._peek()
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            self._refuse(
                event, "anchors (&) and aliases (*) can't be used; quotes help"
            )
        if event.tag is not None:
            self._refuse(event, "tags (!) can't be used; quotes help")
        return super().compose_node(parent, index)

    def _peek(self) -> Any:
        return self.peek_event()  # type: ignore[no-untyped-call]

    def _read_section(self, section: MappingNode, above: str) -> None:
        for name, value in section.value:
            if not isinstance(name, ScalarNode):
                self._refuse(name, "expected the name of a setting")
            place = f"{above}{name.value}"
            if place in self._lines:
                earlier = f"it is already in line {self._lines[place]}"
                self._refuse(name, f"{_printable(place)}: stands here twice: {earlier}")
            self._lines[place] = name.start_mark.line + 1
            if place in PLACES:
                self._read_setting(place, value)
            elif place not in SECTIONS:
                self._refuse(name, _unknown(place))
            elif isinstance(value, MappingNode):
                self._read_section(value, f"{place}.")
            elif not _is_empty(value):
                names = ", ".join(_names_in(place))
                self._refuse(value, f"{place}: expected a section with any of {names}")

    def _read_setting(self, place: str, node: Node) -> None:
        field, line = PLACES[place], self._lines[place]
        if isinstance(node, SequenceNode) and field.metadata["is_list"]:
            text = ",".join(self._values(place, node))
        elif isinstance(node, ScalarNode):
            text = "" if _is_empty(node) else node.value.strip()
        else:
            found = "a list" if isinstance(node, SequenceNode) else "a section"
            self._refuse(node, f"{place}: expected one value, not {found}")
        if text:
            self._given[field.name] = Given(text, place, f"{self._file}:{line}")

    def _values(self, place: str, sequence: SequenceNode) -> Iterator[str]:
        for node in sequence.value:
            if not isinstance(node, ScalarNode):
                self._refuse(node, f"{place}: expected a list of values")
            if "," in node.value:
                self._refuse(node, f"{place}: a value in a list can't hold a comma")
            if not _is_empty(node):
                yield node.value.strip()

    def _refuse(self, found: Node | yaml.Event, sentence: str) -> NoReturn:
        mark = found.start_mark or self.get_mark()
        raise SettingsError(f"{self._file}:{mark.line + 1}: {sentence}")


def _is_empty(node: Node) -> bool:
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


def _names_in(section: str) -> list[str]:
    depth = section.count(".") + 1
    inner = [place for place in FIELDS if place.startswith(f"{section}.")]
    return list(dict.fromkeys(place.split(".")[depth] for place in inner))


def _printable(place: str) -> str:
    if not place:
        return "a setting without a name"
    place = without_credentials(place)
    shown = place if len(place) <= 60 else f"{place[:60]}..."
    return shown if shown.isprintable() else ascii(shown)


def _unknown(place: str) -> str:
    last = place.rpartition(".")[2].lower()
    likely = [
        known
        for known, field in FIELDS.items()
        if last in (known.rpartition(".")[2].lower(), field.name)
    ]
    likely = likely or get_close_matches(place[:60], [*FIELDS, *SECTIONS], n=1)
    hint = f"; perhaps {likely[0]} is meant" if likely else ""
    return f"{_printable(place)}: there is no such setting{hint}"
