"""The configuration file: finds it, reads it, writes a new one.

The file is `configs/config.yaml`, if it exists, or the one that `CONFIG` names, which
must exist. Values in the environment take precedence. `file_parser.py` knows what the
file may contain, `settings.py` which settings there are.
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
from typing import Any

from amazin.errors import SettingsError
from amazin.settings import converters
from amazin.settings.converters import Given
from amazin.settings.load import (
    FIELDS,
    KNOWN,
    LEAST_SIMILARITY,
    convert,
    from_given,
    given_by,
    misspelt,
    with_implied,
)
from amazin.settings.settings import Settings

USUAL_FILE = "configs/config.yaml"
MOST_BYTES = 256 * 1024
"""A longer file is taken for a mistake."""
_HEAD = """\
# Every setting of Amazin Object Storage; the defaults are comments. To change one,
# remove the # in front of it, but no blank. An environment variable takes precedence:
# each comment begins with its name. The file may have secrets: protect it.
"""


def load_settings(environ: Mapping[str, str]) -> Settings:
    """Load the settings from environment and file. Raises: SettingsError."""
    return load(environ)[0]


def load(environ: Mapping[str, str]) -> tuple[Settings, Mapping[str, Given]]:
    """Return the settings, and for each one that is not a default where it was written.

    Raises:
        SettingsError: names file and line, or the variable, and what was expected.
    """
    in_file = written_in_file(environ)
    given = with_implied(in_file | given_by(environ))
    settings = from_given(given)
    for name in in_file.keys() & given_by(environ).keys():
        convert(KNOWN[name], in_file[name])
    return settings, given


def written(environ: Mapping[str, str]) -> Mapping[str, Given]:
    """Return what is written for each setting, without looking at the values.

    Raises:
        SettingsError: the file can't be read, or names no setting.
    """
    return with_implied(written_in_file(environ) | given_by(environ))


# The file


def written_in_file(environ: Mapping[str, str]) -> dict[str, Given]:
    """Return what the file has for each setting. Raises: SettingsError."""
    path = find_file(environ)
    return parsed(path) if path else {}


def find_file(environ: Mapping[str, str]) -> Path | None:
    """Return the file's absolute path, or None: there is none, and none is named.

    Raises:
        SettingsError: there is no file where `CONFIG` says.
    """
    path = file_path(environ)
    if is_there(path):
        return path
    if not environ.get("CONFIG", "").strip():
        return None
    raise SettingsError(
        f"CONFIG: there is no file {path}{similar_file(path)}; "
        "`amazin config --write` writes one"
    )


def file_path(environ: Mapping[str, str]) -> Path:
    """Return where the file is or would be. Raises: SettingsError."""
    named = environ.get("CONFIG", "").strip()
    try:
        return Path(converters.absolute(converters.folder(named or USUAL_FILE)))
    except ValueError as exc:
        raise SettingsError(f"CONFIG: can't be used: {exc}") from None


def similar_file(path: Path, least: float = 0.6) -> str:
    """Return a hint at a file beside this one that has a similar name; else ""."""
    with suppress(OSError):
        names = [other.name for other in path.parent.iterdir() if other.is_file()]
        for name in get_close_matches(path.name, names, 1, least):
            return f"; perhaps {path.with_name(name)} is meant"
    return ""


def remarks(environ: Mapping[str, str]) -> Iterator[str]:
    """Yield sentences on what looks like a typing error, but may be somebody else's.

    Raises: SettingsError.
    """
    yield from misspelt(environ)
    path = file_path(environ)
    hint = "" if is_there(path) else similar_file(path, LEAST_SIMILARITY)
    if hint:
        yield f"there is no file {path}{hint}"


def is_there(path: Path) -> bool:
    """Whether the path exists, readable or not. Raises: SettingsError."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as exc:
        raise SettingsError(f"CONFIG: {path} can't be read: {reason(exc)}") from exc
    return True


def write_defaults(path: Path) -> None:
    """Write a file with every setting, which only its owner can read.

    It appears complete, and nothing is overwritten. Raises: OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile("w", encoding="utf-8", dir=path.parent) as file:
        file.write(defaults_text())
        file.flush()
        try:
            os.link(file.name, path)
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links
            new = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(new, "w", encoding="utf-8") as plain:
                plain.write(defaults_text())


def read_file(path: Path) -> str:
    """Return the file's text. Raises: SettingsError."""
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


def parsed(path: Path) -> dict[str, Given]:
    """Return what the file has for each field. Raises: SettingsError."""
    text = read_file(path)
    # The module imports YAML, which is needed only if there is a file.
    from amazin.settings.file_parser import parse

    return parse(text, str(path))


def reason(error: OSError) -> str:
    """Return the system's message for the error."""
    return error.strerror or type(error).__name__


# Written


def defaults_text() -> str:
    """Return the text of a file with every setting, its default and its meaning."""
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
        value = branch.metadata["in_file"]
        if value is None:
            value, name = branch.metadata["default"], f"#{name}"
        yield f"{indent}{name}: {_yaml_value(branch, value)}"


def _yaml_value(field: Field[Any], value: Any) -> str:
    if field.metadata["unit"] == "s":
        return f"{value:g}s"
    if field.metadata["unit"] == "bytes" and value % 2**30 == 0:
        return f"{value >> 30}GiB"
    if isinstance(value, str) and field.metadata["is_list"]:
        return json.dumps([part for part in value.split(",") if part])
    return json.dumps(value)
