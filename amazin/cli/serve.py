"""`amazin serve`: the gateway."""

from __future__ import annotations

import os
from collections.abc import Mapping

import click

from amazin.cli.common import MistakeError, examples
from amazin.serving import start as serve
from amazin.serving.processes import bind_address
from amazin.settings.config_file import load
from amazin.settings.converters import Given
from amazin.settings.settings import Settings

_OF_NODES = {
    "storage_instances_selector": "docker",
    "nodes": "static",
    "nodes_file": "static",
    "dns_name": "dns",
    "consul_nodes_service": "consul",
}
"""Settings that mean something for one kind of discovery, and which."""


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

    If nothing says who the nodes are (DISCOVERY, a configuration file), they are
    folders of this machine, in DATA_DIR.
    """
    if host is not None:
        os.environ["HOST"] = host
    if port is not None:
        os.environ["PORT"] = str(port)
    settings, given = load(os.environ)
    if "discovery" not in given:
        require_none_meant(given)
        os.environ["DISCOVERY"] = "folders"
        settings, given = load(os.environ)
    click.echo(start_lines(settings))
    serve.main()


def require_none_meant(given: Mapping[str, Given]) -> None:
    """Raises: MistakeError: there are nodes, but DISCOVERY doesn't say so."""
    for name in _OF_NODES.keys() & given.keys():
        raise MistakeError(
            f"{name.upper()} is set, but DISCOVERY is not: set DISCOVERY="
            f"{_OF_NODES[name]}, or DISCOVERY=folders to keep objects in folders"
        )


def start_lines(settings: Settings) -> str:
    """Return where the gateway is, and how to try it."""
    host = "localhost" if settings.host in ("0.0.0.0", "::") else settings.host
    url = f"http://{bind_address(host, settings.port)}"
    lines = [f"Amazin Object Storage on {url}"]
    if settings.discovery == "folders":
        lines.append(f"Objects lie in {settings.data_dir}")
    lines.append(
        f"Try:  curl -T README.md {url}/object/readme && curl {url}/object/readme"
    )
    return "\n".join(lines)
