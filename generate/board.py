"""The Grafana board `deploy/grafana/amazin.json`, made of the rows in `board.yaml`.

What all panels have in common is said here, and where each of them stands.
Format: https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/
"""

from __future__ import annotations

import json
import string
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

Json = dict[str, Any]
SOURCE = Path(__file__).with_name("board.yaml")
SCHEMA_VERSION = 42
"""Of Grafana 12; earlier ones take what they know of it."""
COLUMNS = 24
HEIGHTS = {"stat": 4, "state-timeline": 6}
HEIGHT = 8
WIDTH = 8
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
GATEWAY = 'job="$job", instance=~"$instance"'
LABELS = {"GATEWAY": GATEWAY, "NODE": f'{GATEWAY}, node=~"$node"'}
LEGEND: Json = {"displayMode": "list", "placement": "bottom", "showLegend": True}
REDUCED: Json = {"calcs": ["lastNotNull"], "fields": "", "values": False}
OPTIONS: Mapping[str, Json] = {
    "bargauge": {"reduceOptions": REDUCED, "orientation": "horizontal"},
    "heatmap": {"calculate": False, "yAxis": {"unit": "s"}},
    "stat": {"reduceOptions": REDUCED, "colorMode": "value", "graphMode": "none"},
    "state-timeline": {"legend": LEGEND, "mergeValues": True, "showValue": "never"},
    "timeseries": {
        "legend": LEGEND,
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
}
"""What panels of a kind are drawn with."""
CUSTOM: Mapping[str, Json] = {
    "state-timeline": {"fillOpacity": 70, "lineWidth": 0},
    "timeseries": {"fillOpacity": 10, "lineWidth": 1, "showPoints": "never"},
}
STATES: Mapping[float, str] = {0: "red", 1: "green"}
PLAIN: Mapping[float, str] = {0: "blue"}
"""From which value on a panel has which colour, unless it says so itself."""


def board() -> str:
    """Return the board as JSON."""
    rows = yaml.safe_load(SOURCE.read_text("utf-8"))
    whole: Json = {
        "title": "Amazin Object Storage",
        "description": "Gateways, nodes, placement and repair of one cluster.",
        "uid": "amazin",
        "id": None,
        "schemaVersion": SCHEMA_VERSION,
        "tags": ["amazin"],
        "editable": True,
        "graphTooltip": 1,
        "time": {"from": "now-6h", "to": "now"},
        "refresh": "1m",
        "annotations": {"list": []},
        "links": [],
        "templating": {"list": list(variables())},
        "panels": list(placed(rows)),
    }
    return json.dumps(whole, indent=2) + "\n"


def variables() -> Iterator[Json]:
    """Yield what can be chosen above the board."""
    yield {
        "name": "datasource",
        "label": "Prometheus",
        "type": "datasource",
        "query": "prometheus",
    }
    yield variable("job", "Cluster", "amazin_build_info")
    yield variable("instance", "Gateway", 'amazin_build_info{job="$job"}', is_all=True)
    yield variable("node", "Node", 'amazin_node_up{job="$job"}', is_all=True)


def variable(name: str, label: str, series: str, is_all: bool = False) -> Json:
    """Return a variable whose values are those of a label of these series."""
    several: Json = {"multi": True, "includeAll": True, "allValue": ".+"}
    chosen: Json = {"current": {"text": ["All"], "value": ["$__all"]}}
    query = f"label_values({series}, {name})"
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": DATASOURCE,
        "query": {"query": query, "refId": name},
        "definition": query,
        "refresh": 2,  # with each change of the time: nodes come and go
        "sort": 1,
        **({**several, **chosen} if is_all else {}),
    }


def placed(rows: Sequence[Json]) -> Iterator[Json]:
    """Yield rows and panels, each with its place and its number."""
    number, top = 1, 0
    for row in rows:
        place = {"x": 0, "y": top, "w": COLUMNS, "h": 1}
        yield {"id": number, "type": "row", "title": row["row"], "gridPos": place} | {
            "collapsed": False,
            "panels": [],
        }
        number, top, left, below = number + 1, top + 1, 0, top + 1
        for source in row["panels"]:
            width, height = size(source)
            if left + width > COLUMNS:
                left, top = 0, below
            place = {"x": left, "y": top, "w": width, "h": height}
            yield {"id": number, **panel(source), "gridPos": place}
            number, left, below = number + 1, left + width, max(below, top + height)
        top = below


def size(source: Json) -> tuple[int, int]:
    """Return the width and the height of a panel."""
    return source.get("width", WIDTH), HEIGHTS.get(source.get("kind", ""), HEIGHT)


def panel(source: Json) -> Json:
    """Return a panel without its place."""
    kind = source.get("kind", "timeseries")
    options = dict(OPTIONS[kind])
    if source.get("shows") == "name":
        options["textMode"] = "name"
    return {
        "title": source["title"],
        "description": source["description"],
        "type": kind,
        "datasource": DATASOURCE,
        "fieldConfig": {"defaults": defaults(source, kind), "overrides": []},
        "options": options,
        "targets": list(targets(source["queries"], kind)),
    }


def defaults(source: Json, kind: str) -> Json:
    """Return the unit, the colours and the lines of a panel."""
    steps = source.get("steps", STATES if kind == "state-timeline" else PLAIN)
    return {
        "unit": source.get("unit", "short"),
        "min": 0,
        "color": {"mode": colours(kind)},
        "thresholds": {"mode": "absolute", "steps": list(thresholds(steps))},
        "custom": CUSTOM.get(kind, {}),
    }


def colours(kind: str) -> str:
    """Return what decides about the colours of a panel of this kind."""
    return "palette-classic" if kind == "timeseries" else "thresholds"


def thresholds(steps: Mapping[float, str]) -> Iterator[Json]:
    """Yield from which value on which colour is shown; the first has no lower end."""
    for index, (value, colour) in enumerate(sorted(steps.items())):
        yield {"color": colour, "value": value if index else None}


def targets(queries: Sequence[Json], kind: str) -> Iterator[Json]:
    """Yield the queries of a panel."""
    is_instant = kind in ("bargauge", "stat")
    for letter, query in zip(string.ascii_uppercase, queries, strict=False):
        yield {
            "refId": letter,
            "datasource": DATASOURCE,
            "expr": expression(query["expr"]),
            "legendFormat": query.get("legend", "__auto"),
            "format": "heatmap" if kind == "heatmap" else "time_series",
            "instant": is_instant,
            "range": not is_instant,
        }


def expression(source: str) -> str:
    """Return a query with the labels that the variables choose."""
    for name, labels in LABELS.items():
        source = source.replace("{" + name, "{" + labels)
    return source
