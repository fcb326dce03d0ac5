"""The `amazin` command: the product in a terminal.

The list of its commands, each a module of `commands/` that is imported when it is asked
for; and the one place where errors become a sentence and an exit code.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click

from commands import FailureError, MistakeError
from errors import GatewayError, HTTPError, SettingsError

COMMANDS = {
    "config": "config:config_command",
    "forget": "forget:forget",
    "locate": "locate:locate_command",
    "repair": "repair:repair",
}
"""By name: the module in `commands/`, and the command in it."""


class Commands(click.Group):
    """The commands, found when they are needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return their names."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return one; None: there is none of this name."""
        if cmd_name not in COMMANDS:
            return None
        module, _, function = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(import_module(f"commands.{module}"), function)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except click.UsageError as exc:
            raise MistakeError(exc.format_message()) from exc
        except SettingsError as exc:
            raise MistakeError(f"Settings: {exc}") from exc
        except HTTPError as exc:
            raise MistakeError(exc.message) from exc
        except GatewayError as exc:
            raise FailureError(str(exc)) from exc


@click.group(cls=Commands)
def main() -> None:
    """Look after a cluster of storage nodes.

    Settings are those of the gateway (`amazin config` shows them): DISCOVERY and what
    it needs say who the nodes are.
    """


if __name__ == "__main__":
    main(prog_name="amazin")
