"""The comparison as an SVG: bars with their spread, for light and dark pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape

from bench.cells import CELLS, Cell
from bench.stats import over_rounds

SHOWN = (
    "GET 1 KiB, 16",
    "PUT 1 KiB, 16",
    "GET 1 KiB, 64",
    "GET 64 KiB, 16",
    "GET 256 MiB, 4",
    "PUT 256 MiB, 4",
)
COLUMNS, PANEL_WIDTH, TITLE_HEIGHT, BAR_HEIGHT, GAP = 2, 440, 34, 18, 6
NAME_WIDTH, FIGURE_WIDTH, MARGIN = 104, 66, 16
MB = 1_000_000
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600 }
.ours { fill: #2f7d6b } .other { fill: #9aa5b1 }
.spread { stroke: #24292f; stroke-width: 1.5 }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 } .spread { stroke: #e6edf3 }
.ours { fill: #3fa58d } .other { fill: #66707b }
}
"""


def picture(cells: Mapping[str, Any]) -> str:
    """Return an SVG with a panel for each cell that is shown."""
    shown = [cell for cell in CELLS if cell.name in SHOWN and cell.name in cells]
    shown.sort(key=lambda cell: SHOWN.index(cell.name))
    bars = max((len(cells[cell.name]) for cell in shown), default=0)
    height = TITLE_HEIGHT + bars * (BAR_HEIGHT + GAP) + MARGIN
    rows = -(-len(shown) // COLUMNS)
    size = (COLUMNS * PANEL_WIDTH + MARGIN, rows * height + MARGIN)
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {0} {1}" '
        'width="{0}" height="{1}">'.format(*size),
        "<title>Rates of the gateway and of others, medians and spread</title>",
        f"<style>{STYLE}</style>",
    ]
    for place, cell in enumerate(shown):
        left = MARGIN + place % COLUMNS * PANEL_WIDTH
        top = MARGIN + place // COLUMNS * height
        parts.append(f'<g transform="translate({left} {top})">')
        parts += panel(cell, cells[cell.name])
        parts.append("</g>")
    return "\n".join([*parts, "</svg>", ""])


def panel(
    cell: Cell, columns: Mapping[str, Sequence[Mapping[str, float]]]
) -> list[str]:
    """Return the bars of one cell."""
    scale = cell.size / MB if cell.is_large else 1
    found = {
        name: over_rounds([scale * one["rate"] for one in rounds])
        for name, rounds in columns.items()
    }
    most = max(one["max"] for one in found.values()) or 1
    width = PANEL_WIDTH - NAME_WIDTH - FIGURE_WIDTH - MARGIN
    unit = "MB/s" if cell.is_large else "requests/s"
    kind = "streams" if cell.is_large else "connections"
    title = escape(f"{cell.name} {kind}: {unit}")
    parts = [f'<text class="title" x="0" y="14">{title}</text>']
    for place, (name, one) in enumerate(found.items()):
        top = TITLE_HEIGHT - 8 + place * (BAR_HEIGHT + GAP)
        parts += bar(name, one, top, width / most)
    return parts


def bar(name: str, found: Mapping[str, float], top: int, scale: float) -> list[str]:
    """Return a bar with its name, its figure and a line from least to greatest."""
    style = "ours" if name.startswith("gunicorn") else "other"
    middle, least, greatest = (
        NAME_WIDTH + scale * found[key] for key in ("median", "min", "max")
    )
    base, half = top + 13, top + BAR_HEIGHT / 2
    return [
        f'<text x="{NAME_WIDTH - 8}" y="{base}" text-anchor="end">'
        f"{escape(name)}</text>",
        f'<rect class="{style}" x="{NAME_WIDTH}" y="{top}" height="{BAR_HEIGHT}" '
        f'width="{middle - NAME_WIDTH:.1f}"/>',
        f'<line class="spread" x1="{least:.1f}" x2="{greatest:.1f}" '
        f'y1="{half}" y2="{half}"/>',
        f'<text x="{greatest + 6:.1f}" y="{base}">{found["median"]:,.0f}</text>',
    ]
