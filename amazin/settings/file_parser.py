"""Parses a configuration file, so that every error has its line.

Reads YAML's events one by one and constructs no objects; refuses aliases and tags. Does
not check values: `load.py` does. Source: YAML 1.2.2.
"""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from typing import NoReturn

import yaml
from yaml.events import (
    AliasEvent,
    CollectionStartEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)
from yaml.reader import ReaderError

from amazin.errors import SettingsError
from amazin.settings.converters import Given
from amazin.settings.load import FIELDS, PLACES, SECTIONS

_EMPTY = ("", "~", "null", "Null", "NULL")


def parse(text: str, file: str) -> dict[str, Given]:
    """Return what the file has for each field; `file` is its name in errors.

    Raises:
        SettingsError: the text is no YAML, or names no setting; values are not checked.
    """
    return _Parser(text, file).parse()


class _Parser:
    """Parses the events of one file."""

    def __init__(self, text: str, file: str) -> None:
        self._text = text
        self._file = file
        self._line = 1
        self._lines: dict[str, int] = {}
        """The line of each place that was read already."""
        self._given: dict[str, Given] = {}
        self._events: Iterator[Event] = yaml.parse(text, Loader=yaml.SafeLoader)

    def parse(self) -> dict[str, Given]:
        """Parse the single document of the file."""
        self._next()
        if isinstance(self._next(), StreamEndEvent):
            return {}
        event = self._next()
        if isinstance(event, MappingStartEvent):
            self._read_section("")
        elif not _is_empty(event):
            self._refuse("expected settings, one a line, as `replicas: 2`")
        self._next()
        if isinstance(self._next(), DocumentStartEvent):
            self._refuse("a second document begins; expected one")
        return self._given

    def _next(self) -> Event:
        try:
            event = next(self._events)
        except yaml.MarkedYAMLError as exc:
            self._line = exc.problem_mark.line + 1 if exc.problem_mark else self._line
            self._refuse(f"this is not YAML: {_explain(exc)}")
        except ReaderError as exc:
            self._line = self._text.count("\n", 0, exc.position) + 1
            self._refuse("this is not YAML: a control character")
        except (yaml.YAMLError, ValueError, OverflowError):
            self._refuse("this is not YAML")
        if event.start_mark:
            self._line = event.start_mark.line + 1
        if isinstance(event, AliasEvent) or getattr(event, "anchor", None) is not None:
            self._refuse("anchors (&) and aliases (*) can't be used; quotes help")
        if getattr(event, "tag", None) is not None:
            self._refuse("tags (!) can't be used; quotes help")
        return event

    def _read_section(self, section: str) -> None:
        while not isinstance(event := self._next(), MappingEndEvent):
            if not isinstance(event, ScalarEvent):
                self._refuse("expected the name of a setting")
            place = f"{section}{event.value}"
            if place in self._lines:
                earlier = f"it is already in line {self._lines[place]}"
                self._refuse(f"{_printable(place)}: stands here twice: {earlier}")
            self._lines[place] = self._line
            if place in SECTIONS:
                self._read_inner(place)
            elif place in PLACES:
                self._read_setting(place)
            else:
                self._refuse(_unknown(place))

    def _read_inner(self, place: str) -> None:
        event = self._next()
        if isinstance(event, MappingStartEvent):
            self._read_section(f"{place}.")
        elif not _is_empty(event):
            names = ", ".join(_names_in(place))
            self._refuse(f"{place}: expected a section with any of {names}")

    def _read_setting(self, place: str) -> None:
        field, line = PLACES[place], self._line
        event = self._next()
        if isinstance(event, SequenceStartEvent) and field.metadata["is_list"]:
            text = ",".join(self._read_list(place))
        elif isinstance(event, ScalarEvent):
            text = "" if _is_empty(event) else event.value.strip()
        else:
            found = "a list" if isinstance(event, SequenceStartEvent) else "a section"
            self._refuse(f"{place}: expected one value, not {found}")
        if text:
            self._given[field.name] = Given(text, place, f"{self._file}:{line}")

    def _read_list(self, place: str) -> Iterator[str]:
        while not isinstance(event := self._next(), SequenceEndEvent):
            if isinstance(event, CollectionStartEvent):
                self._refuse(f"{place}: expected a list of values")
            if not isinstance(event, ScalarEvent) or _is_empty(event):
                continue
            if "," in event.value:
                self._refuse(f"{place}: a value in a list can't hold a comma")
            yield event.value.strip()

    def _refuse(self, sentence: str) -> NoReturn:
        raise SettingsError(f"{self._file}:{self._line}: {sentence}") from None


def _is_empty(event: Event) -> bool:
    return (
        isinstance(event, ScalarEvent)
        and event.value.strip() in _EMPTY
        and (event.style is None or not event.value.strip())
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
