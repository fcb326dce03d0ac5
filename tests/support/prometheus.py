"""What is in `deploy/` for Prometheus and Grafana, and a real Prometheus with it."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import yaml

from tests.support.paths import PROJECT
from tests.support.ports import free_port
from tests.support.servers import Server

FOLDER = PROJECT / "deploy" / "prometheus"
CONFIG, RULES, RULES_TEST = (
    FOLDER / f"{name}.yml"
    for name in ("prometheus", "amazin.rules", "amazin.rules.test")
)
BOARD = PROJECT / "deploy" / "grafana" / "amazin.json"
TOKEN = "amz_of-prometheus"
CHOSEN = {
    "$__rate_interval": "1m",
    "$job": "amazin",
    "$instance": ".+",
    "$node": ".+",
}
"""What Grafana has in place of variables."""


@dataclass(frozen=True)
class Query:
    """A query, and whose it is."""

    owner: str
    text: str


def rules() -> list[Any]:
    """Return the alerts as they stand in their file."""
    return [
        rule
        for group in yaml.safe_load(RULES.read_text())["groups"]
        for rule in group["rules"]
    ]


def board() -> Any:
    """Return the board."""
    return json.loads(BOARD.read_text())


def panels() -> list[Any]:
    """Return the panels of the board without its rows."""
    return [panel for panel in board()["panels"] if panel["type"] != "row"]


def board_queries() -> list[Query]:
    """Return the queries of all panels, with a value for each variable."""
    return [
        Query(f"{panel['title']} {target['refId']}", chosen(target["expr"]))
        for panel in panels()
        for target in panel["targets"]
    ]


def chosen(text: str) -> str:
    """Return a query as Grafana sends it."""
    for variable, value in CHOSEN.items():
        text = text.replace(variable, value)
    return text


def rule_queries() -> list[Query]:
    """Return what the alerts ask."""
    return [Query(rule["alert"], rule["expr"]) for rule in rules()]


def copied(folder: Path, targets: Sequence[str] = ()) -> Path:
    """Copy what Prometheus reads, and a token; return its configuration.

    `targets`: asked once a second in place of the gateways that are named there.
    """
    shutil.copytree(FOLDER, folder, dirs_exist_ok=True)
    (folder / "amazin.token").write_text(TOKEN)
    config = folder / CONFIG.name
    if targets:
        whole = yaml.safe_load(config.read_text())
        whole["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        whole["scrape_configs"][0]["static_configs"] = [{"targets": [*targets]}]
        config.write_text(yaml.safe_dump(whole))
    return config


def alternatives(text: str) -> list[str]:
    """Return the blocks of a configuration that are switched off, uncommented."""
    blocks = re.findall(r"(?:^ *#(?!\s\S|\n).*\n)+", text, re.MULTILINE)
    return [re.sub(r"^( *)#", r"\1", block, flags=re.MULTILINE) for block in blocks]


@contextmanager
def gateway_metrics(exposition: Callable[[int], str]) -> Iterator[str]:
    """Answer scrapes that have the token meanwhile; yields the address.

    `exposition` is given the number of the scrape.
    """
    server = HTTPServer(("127.0.0.1", 0), _handler(exposition))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(exposition: Callable[[int], str]) -> type[BaseHTTPRequestHandler]:
    scrapes: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        timeout = 5

        def do_GET(self) -> None:
            """Answer a scrape."""
            scrapes.append(self.path)
            is_known = self.headers["Authorization"] == f"Bearer {TOKEN}"
            self.send_response(200 if is_known and self.path == "/metrics" else 403)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(exposition(len(scrapes)).encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler


class PrometheusServer(Server):
    """A Prometheus with a configuration."""

    def __init__(self, binary: str, folder: Path, config: Path) -> None:
        super().__init__(binary, folder, free_port(), "", "")
        self.config = config

    def command(self) -> Sequence[str]:
        """See `Server`."""
        return (
            *(self.binary, f"--config.file={self.config}", "--log.level=warn"),
            f"--storage.tsdb.path={self.folder}",
            f"--web.listen-address={self.address}",
        )

    def environment(self) -> Mapping[str, str]:
        """See `Server`."""
        return {}

    def _serves(self) -> bool:
        try:
            return self._get("/-/ready")[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def _get(self, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def ask(self, path: str, **parameters: str) -> Any:
        """Return the data of an answer of its API. Raises: ValueError, it refuses."""
        status, body = self._get(f"/api/v1/{path}?{urlencode(parameters)}")
        answer = json.loads(body)
        if status != 200 or answer["status"] != "success":
            raise ValueError(answer)
        return answer["data"]

    def query(self, text: str) -> Any:
        """Return the samples that a query has now."""
        return self.ask("query", query=text)["result"]
