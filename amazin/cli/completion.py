"""`amazin completion`: prints the completion script of a shell."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from amazin.cli.common import examples

SHELLS = ("bash", "zsh", "fish")


@click.command(
    epilog=examples(
        'eval "$(amazin completion bash)"          in ~/.bashrc',
        'eval "$(amazin completion zsh)"           in ~/.zshrc, behind compinit',
        "amazin completion fish | source           in ~/.config/fish/config.fish",
    )
)
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a script that lets a shell complete commands and options.

    SHELL is bash (from 4.4 on), zsh or fish.
    """
    root = context.find_root()
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"Nothing is known of the shell {shell}")
    maker = kind(root.command, {}, "amazin", "_AMAZIN_COMPLETE")
    click.echo(maker.source())
