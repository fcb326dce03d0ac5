"""A real Prometheus takes what is in `deploy/`: configuration, alerts, queries."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.prometheus import (
    CONFIG,
    FOLDER,
    RULES,
    RULES_TEST,
    PrometheusServer,
    Query,
    alternatives,
    board_queries,
    copied,
    gateway_metrics,
    rules,
)
from tests.support.series import exposition
from tests.support.servers import find_binary
from tests.support.waiting import PATIENCE_SECONDS, await_that

pytestmark = pytest.mark.integration

GATEWAYS = 2
ALTERNATIVES = alternatives(CONFIG.read_text())


@pytest.fixture(scope="module")
def promtool() -> str:
    """The program that checks what Prometheus reads."""
    return find_binary("PROMTOOL", "promtool")


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusServer]:
    """One with our configuration that has scraped two gateways a few times."""
    binary = find_binary("PROMETHEUS", "prometheus")
    folder = tmp_path_factory.mktemp("prometheus")
    with ExitStack() as stack:
        served = [
            stack.enter_context(gateway_metrics(exposition)) for _ in range(GATEWAYS)
        ]
        config = copied(folder / "config", served)
        server = PrometheusServer(binary, folder / "data", config)
        stack.callback(server.stop)
        server.start()
        scrapes = "min(sum_over_time(up[1m]))"
        await_that(lambda: value_of(server.query(scrapes)) >= 4)
        yield server


def value_of(samples: list[Any]) -> float:
    return float(samples[0]["value"][1]) if samples else 0.0


def check(promtool: str, *arguments: str | Path) -> str:
    """Return what promtool says against something, nothing if it is well."""
    done = subprocess.run(
        [promtool, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    return done.returncode * f"{done.stdout}{done.stderr}"


def test_the_configuration_is_one(promtool: str, tmp_path: Path) -> None:
    assert check(promtool, "check", "config", copied(tmp_path)) == ""


@pytest.mark.parametrize(
    "block", ALTERNATIVES, ids=lambda text: text.split(":")[0].strip()
)
def test_the_other_ways_to_find_gateways_can_be_taken(
    promtool: str, tmp_path: Path, block: str
) -> None:
    config = copied(tmp_path)
    text = config.read_text()
    if block.startswith("    ") and "_sd_configs" in block:
        text = text[: text.index("    static_configs:")]
    where = "scrape_configs:\n" if not block.startswith(" ") else "    authorization:\n"
    config.write_text(text.replace(where, block + where))
    assert yaml.safe_load(config.read_text()) != yaml.safe_load(CONFIG.read_text())
    said = check(promtool, "check", "config", config)
    if "field consul_sd_configs not found" in said:
        pytest.skip("this Prometheus is built without Consul, as Debian's is")
    assert said == ""


def test_the_other_ways_are_found() -> None:
    firsts = [block.split(":")[0].strip() for block in ALTERNATIVES]
    ways = [f"{way}_sd_configs" for way in ("dns", "consul", "docker")]
    assert firsts == ["alerting", "scheme", *ways]


def test_the_alerts_are_rules(promtool: str) -> None:
    assert check(promtool, "check", "rules", RULES) == ""


def test_each_alert_fires_where_it_must_and_nowhere_else(promtool: str) -> None:
    assert check(promtool, "test", "rules", RULES_TEST) == ""


@pytest.mark.parametrize("name", [rule["alert"] for rule in rules()])
@pytest.mark.parametrize("broken", [{"expr": "vector(0) > 1"}, {"for": "0s"}], ids=str)
def test_the_test_of_the_alerts_notices_a_broken_one(
    promtool: str, tmp_path: Path, name: str, broken: dict[str, str]
) -> None:
    folder = tmp_path / "rules"
    shutil.copytree(FOLDER, folder)
    whole = yaml.safe_load(RULES.read_text())
    (rule,) = (one for one in whole["groups"][0]["rules"] if one["alert"] == name)
    rule.update(broken)
    (folder / RULES.name).write_text(yaml.safe_dump(whole))
    assert name in check(promtool, "test", "rules", folder / RULES_TEST.name)


def test_a_scrape_is_well_formed(promtool: str) -> None:
    done = subprocess.run(
        [promtool, "check", "metrics"],
        input=exposition(1),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_gateways_are_scraped_with_the_token(prometheus: PrometheusServer) -> None:
    targets = prometheus.ask("targets", state="active")["activeTargets"]
    assert [target["health"] for target in targets] == ["up"] * GATEWAYS


@pytest.mark.parametrize("query", board_queries(), ids=lambda query: query.owner)
def test_each_query_of_the_board_has_an_answer(
    prometheus: PrometheusServer, query: Query
) -> None:
    samples = prometheus.query(query.text)
    assert samples or query.owner == "Alerts A"  # empty while nothing fires
    # Shares of nothing are no numbers.
    assert not [one for one in samples if one["value"][1] in ("NaN", "+Inf")]


def test_all_alerts_are_asked_without_an_error(prometheus: PrometheusServer) -> None:
    def health() -> list[tuple[str, str]]:
        groups = prometheus.ask("rules")["groups"]
        return [(one["name"], one["health"]) for one in groups[0]["rules"]]

    await_that(lambda: "unknown" not in dict(health()).values())
    assert health() == [(rule["alert"], "ok") for rule in rules()]
