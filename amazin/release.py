"""Which release this is."""

from __future__ import annotations

from configparser import ConfigParser
from configparser import Error as ConfigError
from importlib import metadata
from pathlib import Path

PACKAGE = "amazin-object-storage"
HERE = Path(__file__).resolve().parents[1]
"""The folder of the program's modules."""


def release(folder: Path = HERE) -> str:
    """Return the release whose modules are in a folder.

    It is in the `setup.cfg` there, if that is ours; else it is the installed one.
    """
    setup = ConfigParser(interpolation=None)
    try:
        setup.read(folder / "setup.cfg", encoding="utf-8")
    except (ConfigError, OSError, UnicodeDecodeError):
        setup.clear()
    if setup.get("metadata", "name", fallback="") == PACKAGE:
        return setup.get("metadata", "version", fallback="unknown")
    try:
        return metadata.version(PACKAGE)
    except metadata.PackageNotFoundError:
        return "unknown"
