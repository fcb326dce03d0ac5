"""`amazin config`: shows the settings and their origins. Asks no node."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import Field, dataclass, fields
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from amazin.cli.common import (
    FailureError,
    MistakeError,
    examples,
    json_option,
    wide_console,
)
from amazin.errors import SettingsError
from amazin.logs import without_credentials
from amazin.settings import converters
from amazin.settings.config_file import (
    file_path,
    is_there,
    load,
    reason,
    remarks,
    write_defaults,
)
from amazin.settings.converters import Given
from amazin.settings.load import in_use
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
    """`HIDDEN` for a secret that is set; URLs without their credentials."""
    unit: str
    origin: str
    """`default`, `environment NAME` or `file:line`."""


def rows(settings: Settings, given: Mapping[str, Given]) -> list[Row]:
    """Return every setting, in the order of `docs/settings.md`."""
    unused = given.keys() - in_use(given)
    return [
        Row(
            field.name.upper(),
            field.metadata["place"] or field.name,
            shown_value(field, settings, given.get(field.name), field.name in unused),
            field.metadata["unit"],
            origin(given.get(field.name), field.name in unused),
        )
        for field in fields(settings)
    ]


def shown_value(
    field: Field[Any], settings: Settings, given: Given | None, is_unused: bool
) -> Any:
    """Return a setting's value: paths from the root on, lists as they were written.

    So is what is written but not used.
    """
    value = getattr(settings, field.name)
    if field.metadata["is_list"] or is_unused:
        value = given.text if given else field.metadata["default"]
    if field.metadata["is_secret"]:
        return HIDDEN if value else value
    if field.metadata["convert"] is converters.folder and value and not is_unused:
        return converters.absolute(value)
    may_be_url = isinstance(value, str) and ("://" in value or is_unused)
    return without_credentials(value) if may_be_url else value


def origin(given: Given | None, is_unused: bool) -> str:
    """Return where a setting's value comes from."""
    if given is None:
        return "default"
    place = given.file_line or f"environment {given.name}"
    return f"{place}, not used" if is_unused else place


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
    epilog=examples(
        "CONFIG=/etc/amazin.yaml amazin config",
        "amazin config --json",
        "amazin config --write /etc/amazin.yaml",
    ),
)
@json_option
@click.option(
    "--write",
    "new_file",
    metavar="[FILE]",
    is_flag=False,
    flag_value="",
    help="Write a new file with every setting, the defaults as comments, and exit. "
    "Without FILE it is the one that CONFIG names, or configs/config.yaml.",
)
def config_command(is_json: bool, new_file: str | None) -> None:
    """Show every setting: its value, its unit, and its origin.

    Secrets are hidden. The file is the one that CONFIG names, or configs/config.yaml,
    if that exists.
    """
    if new_file is not None:
        write_file(new_file)
        return
    found = rows(*load(os.environ))
    for sentence in remarks(os.environ):
        click.echo(sentence, err=True)
    if is_json:
        click.echo(json.dumps(as_json(found)))
    else:
        wide_console().print(as_table(found))


def write_file(name: str) -> None:
    """Write a new file; "" stands for where the settings would be read from.

    Raises: MistakeError, FailureError: it can't be written, or is there already.
    """
    try:
        path = file_path({"CONFIG": name} if name else os.environ)
    except SettingsError as exc:
        raise MistakeError(f"--write: {exc}") from None
    try:
        write_defaults(path)
    except OSError as exc:
        if is_there(path):
            text = f"{path} is there already, and stays as it is"
            raise FailureError(text) from None
        raise FailureError(f"{path} can't be written: {reason(exc)}") from exc
    click.echo(f"Wrote {path}; gateways read it with CONFIG={path}")
