"""`amazin config`: shows the settings and their origins. Asks no node."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from amazin.cli.common import examples, json_option, wide_console
from amazin.settings.config_file import load
from amazin.settings.converters import Given
from amazin.settings.settings import Settings

HIDDEN = "(hidden)"


@dataclass(frozen=True)
class Row:
    """One setting."""

    name: str
    """The environment variable."""
    place: str
    """The path in the file, with dots."""
    value: Any
    """`HIDDEN` for a secret that is set."""
    unit: str
    origin: str
    """`default`, `environment NAME` or `file:line`."""


def rows(settings: Settings, given: Mapping[str, Given]) -> list[Row]:
    """Return every setting, in the order of `docs/settings.md`."""
    found = []
    for field in fields(settings):
        value = getattr(settings, field.name)
        if field.metadata["is_list"]:  # as it was written
            text = given.get(field.name)
            value = text.text if text else field.metadata["default"]
        is_hidden = field.metadata["is_secret"] and value
        row = Row(
            field.name.upper(),
            field.metadata["place"] or field.name,
            HIDDEN if is_hidden else value,
            field.metadata["unit"],
            origin(given.get(field.name)),
        )
        found.append(row)
    return found


def origin(given: Given | None) -> str:
    """Return where a setting's value comes from."""
    if given is None:
        return "default"
    return given.file_line or f"environment {given.name}"


def as_table(found: list[Row]) -> Table:
    """Return a table with a row for each setting; values as they are written."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("setting", "value", "unit", "origin"):
        table.add_column(title, overflow="fold")
    for row in found:
        value = str(row.value)
        value = value.lower() if isinstance(row.value, bool) else value
        table.add_row(*map(Text, (row.name, value, row.unit, row.origin)))
    return table


def as_json(found: list[Row]) -> dict[str, Any]:
    """Return all rows, by the name of the setting."""
    return {
        row.name: {
            "value": row.value,
            "unit": row.unit,
            "origin": row.origin,
            "place": row.place,
        }
        for row in found
    }


@click.command(
    "config",
    epilog=examples("CONFIG=/etc/amazin.yaml amazin config", "amazin config --json"),
)
@json_option
def config_command(is_json: bool) -> None:
    """Show every setting: its value, its unit, and its origin.

    Secrets are hidden. The file is the one that CONFIG names, which is written if it is
    missing, or configs/config.yaml.
    """
    found = rows(*load(os.environ))
    if is_json:
        click.echo(json.dumps(as_json(found)))
    else:
        wide_console().print(as_table(found))
