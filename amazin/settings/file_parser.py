"""Parses a configuration file, so that every error has its line.

Values are not looked at: `load.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from amazin.logs import without_credentials
from amazin.settings.converters import Given
from amazin.settings.load import FIELDS, PLACES, SECTIONS
from amazin.settings.strict_yaml import StrictYaml, is_empty, parse_strictly


def parse(text: str, file: str) -> dict[str, Given]:
    """Return what the file has for each field; `file` is its name in errors.

    Raises:
        SettingsError: the text is no YAML, or names no setting; values are not checked.
    """
    return parse_strictly(text, file, lambda yaml: _Reader(yaml).settings())


class _Reader:
    """Reads the settings from the nodes of a file."""

    def __init__(self, yaml: StrictYaml) -> None:
        self._yaml = yaml
        self._refuse = yaml.refuse
        self._lines: dict[str, int] = {}
        """The line of each place that was read already."""
        self._given: dict[str, Given] = {}

    def settings(self) -> dict[str, Given]:
        """Read the one document of the file."""
        expected = "expected settings, one a line, as `replicas: 2`"
        if document := self._yaml.document(expected):
            self._read_section(document, "")
        return self._given

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
            elif not is_empty(value):
                names = ", ".join(_names_in(place))
                self._refuse(value, f"{place}: expected a section with any of {names}")

    def _read_setting(self, place: str, node: Node) -> None:
        field, line = PLACES[place], self._lines[place]
        if isinstance(node, SequenceNode) and field.metadata["is_list"]:
            text = ",".join(self._values(place, node))
        elif isinstance(node, ScalarNode):
            text = "" if is_empty(node) else node.value.strip()
        else:
            found = "a list" if isinstance(node, SequenceNode) else "a section"
            self._refuse(node, f"{place}: expected one value, not {found}")
        if text:
            self._given[field.name] = Given(text, place, f"{self._yaml.file}:{line}")

    def _values(self, place: str, sequence: SequenceNode) -> Iterator[str]:
        for node in sequence.value:
            if not isinstance(node, ScalarNode):
                self._refuse(node, f"{place}: expected a list of values")
            if "," in node.value:
                self._refuse(node, f"{place}: a value in a list can't hold a comma")
            if not is_empty(node):
                yield node.value.strip()


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
