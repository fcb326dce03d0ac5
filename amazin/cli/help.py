"""`amazin help`: shows the same text as `--help`."""

from __future__ import annotations

import click
from click import Group

from amazin.cli.common import examples


def names(
    context: click.Context, argument: click.Parameter, incomplete: str
) -> list[str]:
    """Return the commands that begin with `incomplete`, for shell completion."""
    root = context.find_root()
    known = root.command.list_commands(root) if isinstance(root.command, Group) else []
    return [name for name in known if name.startswith(incomplete)]


@click.command("help", epilog=examples("amazin help repair"))
@click.argument("name", metavar="[COMMAND]", required=False, shell_complete=names)
@click.pass_context
def help_command(context: click.Context, name: str | None) -> None:
    """Show what a command does, and how.

    Without COMMAND, show all commands.
    """
    above = context.find_root()
    group = above.command
    if name is None or not isinstance(group, Group):
        click.echo(above.get_help())
        return
    found, command, _ = group.resolve_command(above, [name])
    if command is None:
        raise click.UsageError(f"No such command '{name}'.")
    with click.Context(command, above, info_name=found) as asked:
        click.echo(command.get_help(asked))
