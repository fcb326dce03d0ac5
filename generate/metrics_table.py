"""The table of series in `docs/metrics.md`, made of the code. The rest stays."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import Metric

from amazin.membership.snapshot import Snapshot
from amazin.membership.transitions import RosterView
from amazin.metrics.facts import Facts, Known
from amazin.metrics.meters import Meters
from amazin.status.viewer import Findings

HEAD = ("| Series | Type | Labels | Meaning |", "|---|---|---|---|")
NOTHING = Known(Snapshot({}, RosterView({}), ""), {}, Findings(None, None), True)
"""Of a cluster of which nothing is known: all series are there nevertheless."""


@dataclass(frozen=True)
class Series:
    """One series as it stands in the table."""

    name: str
    type: str
    labels: tuple[str, ...]
    meaning: str


def series() -> Iterator[Series]:
    """Yield all series, in the order of the code."""
    for meter in vars(Meters(CollectorRegistry())).values():
        if isinstance(meter, MetricWrapperBase):
            (family,) = meter.describe()
            yield entry(family, tuple(meter._labelnames))
    for family in Facts(NOTHING).collect():
        yield entry(family, tuple(getattr(family, "_labelnames", ())))


def entry(family: Metric, labels: tuple[str, ...]) -> Series:
    """Return a series under the name by which Prometheus asks for it."""
    name = f"{family.name}_total" if family.type == "counter" else family.name
    return Series(name, family.type, labels, family.documentation)


def row(one: Series) -> str:
    """Return the row of one series."""
    labels = ", ".join(f"`{label}`" for label in one.labels)
    return f"| `{one.name}` | {one.type} | {labels} | {one.meaning} |"


def metrics_page(page: Path) -> str:
    """Return the page with the table as it is now."""
    table = "\n".join([*HEAD, *map(row, series())])
    old = re.compile(re.escape(HEAD[0]) + r"\n(\|.*\n)*")
    return old.sub(lambda _: table + "\n", page.read_text("utf-8"))
