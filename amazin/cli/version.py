"""`amazin version`: shows the release."""

from __future__ import annotations

import json
import platform
from configparser import ConfigParser
from configparser import Error as ConfigError
from importlib import metadata
from pathlib import Path

import click

from amazin.cli.common import GoCommand, examples, json_option

PACKAGE = "amazin-object-storage"
HERE = Path(__file__).resolve().parents[2]
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


@click.command(cls=GoCommand, epilog=examples("amazin version --verbose"))
@click.option(
    "-verbose", "--verbose", "-v", "is_verbose", is_flag=True, help="Python's, too."
)
@json_option
def version(is_verbose: bool, is_json: bool) -> None:
    """Show which release this is."""
    shown = {"version": release(), "python": platform.python_version()}
    if is_json:
        click.echo(json.dumps({**shown, "folder": str(HERE)}))
        return
    click.echo(f"amazin {shown['version']}")
    if is_verbose:
        click.echo(f"Python {shown['python']}, in {HERE}")
