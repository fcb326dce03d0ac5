"""The table of settings in `docs/settings.md`, made of the code. The rest stays."""

from __future__ import annotations

import re
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

from amazin.settings.removed import RemovedSettings
from amazin.settings.settings import Settings

HEAD = (
    "| Setting | In the file | Unit | Default | Meaning |",
    "|---|---|---|---|---|",
)


def default_text(value: object) -> str:
    """Return a default as it would stand in the environment."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def row(setting: Field[Any]) -> str:
    """Return the row of one setting."""
    default = default_text(setting.metadata["default"])
    cells = (
        f"`{setting.name.upper()}`",
        f"`{setting.metadata['place'] or setting.name}`",
        setting.metadata["unit"],
        f"`{default}`" if default else "",
        setting.metadata["meaning"].replace("|", r"\|"),
    )
    return f"| {' | '.join(cells)} |"


def settings_table() -> str:
    """Return the whole table, a row for every setting; last those that were removed."""
    rows = map(row, (*fields(Settings), *fields(RemovedSettings)))
    return "\n".join([*HEAD, *rows])


def settings_page(page: Path) -> str:
    """Return the page with the table as it is now."""
    old = re.compile(re.escape(HEAD[0]) + r"\n(\|.*\n)*")
    # As a function: a replacement text would have its backslashes read.
    return old.sub(lambda _: settings_table() + "\n", page.read_text("utf-8"))
