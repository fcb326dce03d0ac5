"""`amazin help`: shows the same text as `--help`."""

from __future__ import annotations

from collections.abc import Iterable

import click
from click import Group

from amazin.cli.common import MistakeError, examples


def names(
    context: click.Context, argument: click.Parameter, incomplete: str
) -> list[str]:
    """Return the commands that begin with `incomplete`, for shell completion."""
    try:
        above = asked_for(context.find_root(), context.params.get("words") or ())
    except click.ClickException:
        return []
    group = above.command
    known = group.list_commands(above) if isinstance(group, Group) else []
    return [name for name in known if name.startswith(incomplete)]


@click.command("help", epilog=examples("amazin help repair", "amazin help token new"))
@click.argument("words", metavar="[COMMAND]...", nargs=-1, shell_complete=names)
@click.pass_context
def help_command(context: click.Context, words: tuple[str, ...]) -> None:
    """Show what a command does, and how.

    Without COMMAND, show all commands.
    """
    asked = asked_for(context.find_root(), words)
    click.echo(asked.get_help())


def asked_for(context: click.Context, words: Iterable[str]) -> click.Context:
    """Return the context of the command that the words name, below another.

    Raises: ClickException: there is no such command.
    """
    for word in words:
        group = context.command
        if not isinstance(group, Group):
            raise MistakeError(f"'{context.command_path}' has no command '{word}'")
        name, command, _ = group.resolve_command(context, [word])
        if command is None:
            raise click.UsageError(f"No such command '{word}'.", context)
        context = click.Context(command, context, info_name=name)
    return context
