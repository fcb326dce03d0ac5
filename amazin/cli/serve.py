"""`amazin serve`: serves the gateway."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import click

from amazin.cli.common import MistakeError, examples
from amazin.serving import start as serve
from amazin.serving.checks import open_access
from amazin.serving.processes import bind_address
from amazin.settings.config_file import find_file, load_settings, written
from amazin.settings.converters import Given, absolute
from amazin.settings.load import KNOWN
from amazin.settings.settings import Settings

_OF_NODES = {
    "storage_instances_selector": "docker",
    "docker_networks": "docker",
    "nodes": "static",
    "nodes_file": "static",
    "dns_name": "dns",
    "consul_nodes_service": "consul",
}
"""Settings that only one kind of discovery uses, with this kind."""


@click.command(
    "serve",
    epilog=examples("DATA_DIR=/srv/objects amazin serve --port 3000"),
)
@click.option("-host", "--host", help="Address to listen on, instead of HOST.")
@click.option(
    "-port",
    "--port",
    type=click.IntRange(1, 65535),
    help="Port to listen on, instead of PORT.",
)
def serve_command(host: str | None, port: int | None) -> None:
    """Serve the gateway.

    If neither the environment nor the configuration file has DISCOVERY, the nodes are
    folders of this machine, in DATA_DIR.
    """
    if host is not None:
        os.environ["HOST"] = host
    if port is not None:
        os.environ["PORT"] = str(port)
    given = written(os.environ)
    if "discovery" not in given:
        refuse_unused_nodes(given)
        os.environ["DISCOVERY"] = "folders"
    settings = load_settings(os.environ)
    serve.main(start_lines(settings, find_file(os.environ)))


def refuse_unused_nodes(given: Mapping[str, Given]) -> None:
    """Check that no setting names nodes while DISCOVERY is not set.

    A default that is written in a file names none. Raises: MistakeError.
    """
    for name in _OF_NODES.keys() & given.keys():
        if given[name].text == KNOWN[name].metadata["default"]:
            continue
        raise MistakeError(
            f"{name.upper()} is set, but DISCOVERY is not: set DISCOVERY="
            f"{_OF_NODES[name]}, or DISCOVERY=folders to keep objects in folders"
        )


def start_lines(settings: Settings, file: Path | None) -> str:
    """Return the text that is printed when the server listens."""
    host = "localhost" if settings.host in ("0.0.0.0", "::") else settings.host
    url = f"http://{bind_address(host, settings.port)}"
    lines = [f"Amazin Object Storage on {url}"]
    if file:
        lines.append(f"Settings come from {file}")
    if settings.discovery == "folders":
        lines.append(f"Objects lie in {absolute(settings.data_dir)}")
    if settings.access == "open":
        again = f"curl {url}/object/hello"
        lines.append(f"Try:  echo hello | curl -T - {url}/object/hello && {again}")
    lines.append(open_access(settings, [(settings.host, settings.port)]))
    return "\n".join(filter(None, lines))
