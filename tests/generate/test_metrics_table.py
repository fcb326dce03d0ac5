"""The table of series in `docs/metrics.md`."""

from __future__ import annotations

from generate.metrics_table import metrics_page, series
from tests.support.paths import PROJECT
from tests.support.series import SERIES

PAGE = PROJECT / "docs" / "metrics.md"


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text("utf-8") == metrics_page(PAGE), "run `make generate`"


def test_the_table_has_each_series_once() -> None:
    found = [(one.name, one.type, frozenset(one.labels)) for one in series()]
    known = [(one.name, one.type, frozenset(one.labels)) for one in SERIES]
    assert sorted(found, key=str) == sorted(known, key=str)
