"""`amazin serve`: serves the gateway."""

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
    settings, given = load(os.environ)
    if "discovery" not in given:
        refuse_unused_nodes(given)
        os.environ["DISCOVERY"] = "folders"
        settings, given = load(os.environ)
    click.echo(start_lines(settings))
    serve.main()


def refuse_unused_nodes(given: Mapping[str, Given]) -> None:
    """Check that no setting names nodes while DISCOVERY is not set.

    Raises: MistakeError.
    """
    for name in _OF_NODES.keys() & given.keys():
        raise MistakeError(
            f"{name.upper()} is set, but DISCOVERY is not: set DISCOVERY="
            f"{_OF_NODES[name]}, or DISCOVERY=folders to keep objects in folders"
        )


def start_lines(settings: Settings) -> str:
    """Return the text that is printed before the server starts."""
    host = "localhost" if settings.host in ("0.0.0.0", "::") else settings.host
    url = f"http://{bind_address(host, settings.port)}"
    lines = [f"Amazin Object Storage on {url}"]
    if settings.discovery == "folders":
        lines.append(f"Objects lie in {settings.data_dir}")
    lines.append(
        f"Try:  echo hello | curl -T - {url}/object/hello && curl {url}/object/hello"
    )
    return "\n".join(lines)
