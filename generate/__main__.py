"""Writes every file that is made from others: `make generate`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from generate.api_page import api_page
from generate.board import board
from generate.changelog import changelog
from generate.metrics_table import metrics_page
from generate.settings_table import settings_page

PROJECT = Path(__file__).resolve().parents[1]
FILES: Mapping[str, Callable[[], str]] = {
    "CHANGELOG.md": lambda: changelog(PROJECT / "changelog"),
    "amazin/api/docs.html": api_page,
    "deploy/grafana/amazin.json": board,
    "docs/metrics.md": lambda: metrics_page(PROJECT / "docs" / "metrics.md"),
    "docs/settings.md": lambda: settings_page(PROJECT / "docs" / "settings.md"),
}


def main() -> None:
    """Write them all."""
    for name, make in FILES.items():
        (PROJECT / name).write_text(make(), encoding="utf-8")


if __name__ == "__main__":
    main()
