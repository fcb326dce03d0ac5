"""What is in `deploy/` for Prometheus and Grafana: complete, and of series there are.

That Prometheus takes all of it is in tests/real/test_prometheus.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Set
from itertools import combinations
from typing import Any

import pytest
import yaml

from generate.board import board as made_board
from tests.support.paths import PROJECT
from tests.support.prometheus import (
    BOARD,
    CHOSEN,
    RULES_TEST,
    Query,
    board,
    board_queries,
    chosen,
    panels,
    rule_queries,
    rules,
)
from tests.support.series import exposition, labels_of

OF_PROMETHEUS = frozenset({"alertname", "alertstate", "instance", "job", "le"})
QUERIES = [*rule_queries(), *board_queries()]
PAGE = (PROJECT / "docs" / "monitoring.md").read_text()


@pytest.fixture(scope="module")
def scraped() -> Mapping[str, Set[str]]:
    """The labels of each name in a scrape."""
    return labels_of(exposition(1))


def names_in(query: str) -> set[str]:
    return set(re.findall(r"\bamazin_\w+", without_texts(query)))


def without_texts(query: str) -> str:
    return re.sub(r'"[^"]*"', '""', query)


def labels_in(query: str) -> Iterator[tuple[str, set[str]]]:
    """Yield each series of a query, and the labels by which it is chosen."""
    for name, inside in re.findall(r"(\w+)\{([^}]*)\}", without_texts(query)):
        yield name, set(re.findall(r"(\w+)\s*[!=]", inside))


def grouped_by(query: str) -> set[str]:
    inside = re.findall(r"\b(?:by|on)\s*\(([^)]*)\)", query)
    return {label.strip() for labels in inside for label in labels.split(",")}


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.owner)
def test_each_query_asks_for_series_and_labels_that_there_are(
    scraped: Mapping[str, Set[str]], query: Query
) -> None:
    names = names_in(query.text)
    assert names <= scraped.keys()
    known = OF_PROMETHEUS.union(*(scraped[name] for name in names))
    assert grouped_by(query.text) <= known
    for name, labels in labels_in(query.text):
        assert labels <= OF_PROMETHEUS | scraped.get(name, frozenset()), name


def test_what_a_query_asks_for_is_found() -> None:
    query = 'sum by (a, b) (rate(amazin_x{c=~"amazin_z{", d!="e"}[1m])) / amazin_y'
    assert names_in(query) == {"amazin_x", "amazin_y"}
    assert dict(labels_in(query)) == {"amazin_x": {"c", "d"}}
    assert grouped_by(query) == {"a", "b"}


def test_every_series_is_on_the_board(scraped: Mapping[str, Set[str]]) -> None:
    asked = set().union(*(names_in(query.text) for query in board_queries()))
    asked |= {name.removesuffix("_bucket") for name in asked}
    ends = re.compile("_(bucket|count|created|sum)$")
    assert {ends.sub("", name) for name in scraped} <= asked


def test_each_alert_says_how_bad_it_is_and_what_to_do() -> None:
    for rule in rules():
        assert rule["alert"].startswith("Amazin")
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert rule["for"]
        assert rule["annotations"].keys() == {"summary", "description"}
        assert len(rule["annotations"]["summary"]) < 80
        assert rule["annotations"]["description"].endswith(".")


def test_each_alert_is_tested_where_it_fires_and_where_it_must_not() -> None:
    names = [rule["alert"] for rule in rules()]
    assert len({*names}) == len(names)
    asked = [
        (name, bool(test["exp_samples"]))
        for group in yaml.safe_load(RULES_TEST.read_text())["tests"]
        for test in group["promql_expr_test"]
        for name in [re.findall('alertname="(.*?)"', test["expr"])]
    ]
    for name in names:
        assert ([name], False) in asked, name
        assert ([name], True) in asked, name


def test_each_alert_is_in_the_documentation_with_its_severity() -> None:
    said = re.findall(r"^\| `(Amazin\w+)` \| (\w+) \|", PAGE, re.MULTILINE)
    assert said == [(rule["alert"], rule["labels"]["severity"]) for rule in rules()]


def test_the_board_is_what_is_made_of_its_rows_now() -> None:
    assert BOARD.read_text() == made_board(), "run `make generate`"


def test_the_board_belongs_to_no_one_grafana() -> None:
    whole = board()
    assert whole["id"] is None
    assert whole["schemaVersion"] >= 41
    assert "__inputs" not in whole
    uids = re.findall(r'"uid": "([^"]*)"', BOARD.read_text())
    assert {*uids} == {"amazin", "${datasource}"}


def test_the_board_has_its_variables_and_uses_no_others() -> None:
    variables = board()["templating"]["list"]
    names = [variable["name"] for variable in variables]
    assert names == ["datasource", "job", "instance", "node"]
    assert variables[0]["type"] == "datasource"
    used = set(re.findall(r"\$\{?(\w+)", BOARD.read_text()))
    assert used == {*names, "__rate_interval", "__all"}
    assert used - {"datasource", "__all"} == {name[1:] for name in CHOSEN}


def test_the_values_of_variables_are_labels_of_series(
    scraped: Mapping[str, Set[str]],
) -> None:
    for variable in board()["templating"]["list"][1:]:
        asked = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["definition"])
        assert asked
        (name,) = names_in(chosen(asked[1]))
        assert asked[2] in OF_PROMETHEUS | scraped[name]


def test_the_board_has_its_rows() -> None:
    rows = [panel for panel in board()["panels"] if panel["type"] == "row"]
    assert [row["title"] for row in rows] == [
        *("Is it well", "Traffic", "Latency", "Nodes", "Placement", "Repair"),
        "Process",
    ]
    assert not any(row["collapsed"] or row["panels"] for row in rows)


def test_each_panel_says_what_it_shows_and_asks_the_chosen_source() -> None:
    titles = [panel["title"] for panel in panels()]
    assert len({*titles}) == len(titles)
    for panel in panels():
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["targets"]
        for asking in (panel, *panel["targets"]):
            assert asking["datasource"] == {
                "type": "prometheus",
                "uid": "${datasource}",
            }
        letters = [target["refId"] for target in panel["targets"]]
        assert len({*letters}) == len(letters)
        assert all(target["expr"].strip() for target in panel["targets"])


def test_each_panel_asks_for_the_chosen_cluster_and_the_chosen_interval() -> None:
    for panel in panels():
        for target in panel["targets"]:
            series = re.findall(r"(\w+)\{([^}]*)\}", target["expr"])
            assert series
            assert all('job="$job"' in labels for _, labels in series)
            assert {*re.findall(r"\[(.+?)\]", target["expr"])} <= {"$__rate_interval"}
            assert not re.search(r"amazin_\w+(?!\w|\{)", target["expr"])


def test_facts_about_the_cluster_are_taken_once() -> None:
    once = re.compile(r"\b(?:max|min)(?: by \([\w, ]+\))? ?\((\w+)\{")
    facts = re.compile(r"\b(amazin_(?:node_(?:up|weight|exp|obj|bytes)|roster|rep)\w*)")
    for query in board_queries():
        text = without_texts(query.text)
        assert facts.findall(text) == [
            name for name in once.findall(text) if facts.fullmatch(name)
        ]


def test_numbers_are_unique_and_panels_lie_beside_each_other() -> None:
    all_panels = board()["panels"]
    numbers = [panel["id"] for panel in all_panels]
    assert len({*numbers}) == len(numbers)
    places = [panel["gridPos"] for panel in all_panels]
    for place in places:
        assert 0 <= place["x"] < place["x"] + place["w"] <= 24
        assert place["h"] > 0
        assert place["y"] >= 0
    assert not any(overlap(one, other) for one, other in combinations(places, 2))


def overlap(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return all(
        one[side] < other[side] + other[length]
        and other[side] < one[side] + one[length]
        for side, length in (("x", "w"), ("y", "h"))
    )
