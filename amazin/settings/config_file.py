"""The configuration file: found, read, and written with defaults when it is missing.

`configs/config.yaml` if it is there, or the file that `CONFIG` names. What the
environment says goes first. YAML's events are read one by one, so nothing is
constructed; aliases and tags are refused. What a setting is: `settings.py`.
Source: YAML 1.2.2.
"""

from __future__ import annotations

import json
import os
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import Field
from difflib import get_close_matches
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, NoReturn

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
from amazin.settings import converters
from amazin.settings.converters import Given
from amazin.settings.load import (
    KNOWN,
    REMOVED,
    convert,
    from_given,
    given_by,
    with_implied,
)
from amazin.settings.settings import Settings

USUAL_FILE = "configs/config.yaml"
MOST_BYTES = 256 * 1024
"""A file that is longer is something else."""
PLACES: Mapping[str, Field[Any]] = {
    field.metadata["place"] or name: field for name, field in KNOWN.items()
}
"""What may be written, by its place in the file."""
FIELDS = {place: field for place, field in PLACES.items() if field.name not in REMOVED}
"""Each setting by its place in the file."""
SECTIONS = {
    place[:dot] for place in FIELDS for dot in range(len(place)) if place[dot] == "."
}
_EMPTY = ("", "~", "null", "Null", "NULL")
_HEAD = """\
# Every setting of Amazin Object Storage and its default. A variable of the environment
# goes first: its name stands before each sentence. Secrets: let nobody else read this.
"""


def load_settings(environ: Mapping[str, str]) -> Settings:
    """Read the environment and the file. Raises: SettingsError."""
    return load(environ)[0]


def load(environ: Mapping[str, str]) -> tuple[Settings, Mapping[str, Given]]:
    """Read the settings, and where each that is no default was written.

    Raises:
        SettingsError: naming file and line or the variable, and what was expected.
    """
    path = find_file(environ)
    in_file = parse(read_file(path), str(path)) if path else {}
    given = in_file | given_by(environ)
    settings = from_given(given)
    for name in in_file.keys() & given_by(environ).keys():
        convert(KNOWN[name], in_file[name])
    return settings, with_implied(given)


# The file


def find_file(environ: Mapping[str, str]) -> Path | None:
    """Return the file that counts, None without one; writes the one that is missing.

    Raises:
        SettingsError: it can't be written.
    """
    named = environ.get("CONFIG", "").strip()
    try:
        path = Path(converters.folder(named or USUAL_FILE))
    except ValueError as exc:
        raise SettingsError(f"CONFIG: can't be used: {exc}") from None
    if is_there(path):
        return path
    if not named:
        return None
    try:
        write_defaults(path)
    except OSError as exc:
        raise SettingsError(f"CONFIG: {path} can't be written: {reason(exc)}") from exc
    return path


def is_there(path: Path) -> bool:
    """Whether there is something, even if it can't be read. Raises: SettingsError."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as exc:
        raise SettingsError(f"CONFIG: {path} can't be read: {reason(exc)}") from exc
    return True


def write_defaults(path: Path) -> None:
    """Write a file with every default; one that is there meanwhile stays.

    It appears whole, for gateways that start together. Raises: OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile("w", encoding="utf-8", dir=path.parent) as file:
        file.write(defaults_text())
        file.flush()
        try:
            os.link(file.name, path)
        except FileExistsError:
            return
        except OSError:  # a file system without hard links
            with suppress(FileExistsError), path.open("x", encoding="utf-8") as plain:
                plain.write(defaults_text())


def read_file(path: Path) -> str:
    """Return what is in it. Raises: SettingsError."""
    try:
        if path.exists() and not path.is_file():
            raise SettingsError(f"CONFIG: {path} is not a file")
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise SettingsError(f"CONFIG: {path} is longer than {MOST_BYTES} bytes")
        return content.decode("utf-8-sig")
    except OSError as exc:
        raise SettingsError(f"CONFIG: {path} can't be read: {reason(exc)}") from exc
    except UnicodeDecodeError as exc:
        line = exc.object.count(b"\n", 0, exc.start) + 1
        raise SettingsError(f"{path}:{line}: this is not UTF-8 text") from None


def reason(error: OSError) -> str:
    """Return what the system says."""
    return error.strerror or type(error).__name__


# Read


def parse(text: str, file: str) -> dict[str, Given]:
    """Return what a file says for each field; `file` is its name in errors.

    Raises:
        SettingsError: for what is no YAML or no setting; values are not looked at.
    """
    return _Parser(text, file).parse()


class _Parser:
    """Follows the events of one file."""

    def __init__(self, text: str, file: str) -> None:
        self._text = text
        self._file = file
        self._line = 1
        self._lines: dict[str, int] = {}
        """Where each place that was seen stands."""
        self._given: dict[str, Given] = {}
        self._events: Iterator[Event] = yaml.parse(text, Loader=yaml.SafeLoader)

    def parse(self) -> dict[str, Given]:
        """Read the one document of the file."""
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
    """Return what is wrong, without anything of the text that could be a secret."""
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


# Written


def defaults_text() -> str:
    """Return a file with every setting at its default, and what each means."""
    tree: dict[str, Any] = {}
    for place, field in FIELDS.items():
        *sections, name = place.split(".")
        branch = tree
        for section in sections:
            branch = branch.setdefault(section, {})
        branch[name] = field
    return _HEAD + "\n".join(["", *_lines(tree, "")]) + "\n"


def _lines(tree: Mapping[str, Any], indent: str) -> Iterable[str]:
    for name, branch in tree.items():
        if isinstance(branch, dict):
            yield f"{indent}{name}:"
            yield from _lines(branch, indent + "  ")
            continue
        remark = f"{branch.name.upper()}: {branch.metadata['meaning']}"
        yield from textwrap.wrap(
            remark, 88, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}#   "
        )
        yield f"{indent}{name}: {_yaml_value(branch)}"


def _yaml_value(field: Field[Any]) -> str:
    value = field.metadata["in_file"]
    if field.metadata["unit"] == "s":
        return f"{value:g}s"
    if field.metadata["unit"] == "bytes" and value % 2**30 == 0:
        return f"{value >> 30}GiB"
    if isinstance(value, str) and field.metadata["is_list"]:
        return json.dumps([part for part in value.split(",") if part])
    return json.dumps(value)
