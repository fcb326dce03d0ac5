"""`amazin version`: shows the release."""

from __future__ import annotations

import json
import platform

import click

from amazin.cli.common import GoCommand, examples, json_option
from amazin.release import HERE, release


@click.command(cls=GoCommand, epilog=examples("amazin version --verbose"))
@click.option(
    "-verbose", "--verbose", "-v", "is_verbose", is_flag=True, help="Python's, too."
)
@json_option
def version(is_verbose: bool, is_json: bool) -> None:
    """Show which release this is."""
    shown = {"version": release(), "python": platform.python_version()}
    if is_json:
        click.echo(json.dumps({**shown, "folder": str(HERE)}))
        return
    click.echo(f"amazin {shown['version']}")
    if is_verbose:
        click.echo(f"Python {shown['python']}, in {HERE}")
