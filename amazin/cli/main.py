"""The `amazin` command: the list of its commands, and their errors.

The module of a command is imported only when the command is called or its help is
shown. Errors become a sentence and an exit code here only.
"""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from amazin.cli.common import FailureError, MistakeError, examples, in_words
from amazin.errors import GatewayError, HTTPError, SettingsError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

SERVING = "Serving"
OBJECTS = "Objects and buckets"
CLUSTER = "Cluster"
BLOB_SERVERS = "Blob servers"
ITSELF = "This command"


class Entry(NamedTuple):
    """One command; this is known before its module is imported."""

    section: str
    """The section of the help."""
    place: str
    """`module:function`; the module is in `amazin.cli`."""
    summary: str
    """The first sentence of its help, without the full stop."""


COMMANDS = {
    "serve": Entry(SERVING, "serve:serve_command", "Serve the gateway"),
    "config": Entry(
        SERVING,
        "config:config_command",
        "Show every setting: its value, its unit, and its origin",
    ),
    "token": Entry(SERVING, "token:token", "Make API tokens, or list who has which"),
    "access": Entry(
        SERVING, "access:access", "Tell whether the access file permits something"
    ),
    "mb": Entry(OBJECTS, "buckets:mb", "Make buckets"),
    "rb": Entry(OBJECTS, "buckets:rb", "Remove buckets"),
    "ls": Entry(OBJECTS, "ls:ls", "List the buckets, or the objects of one"),
    "put": Entry(OBJECTS, "put:put", "Store files as objects"),
    "get": Entry(OBJECTS, "get:get", "Fetch an object into a file"),
    "cp": Entry(
        OBJECTS,
        "cp:cp",
        "Copy files to the store, objects from it, or objects within it",
    ),
    "mv": Entry(
        OBJECTS,
        "cp:mv",
        "Move files to the store, objects from it, or objects within it",
    ),
    "rm": Entry(OBJECTS, "rm:rm", "Remove objects"),
    "stat": Entry(OBJECTS, "stat:stat_command", "Show the properties of objects"),
    "du": Entry(OBJECTS, "du:du", "Sum up the sizes of objects"),
    "presign": Entry(
        OBJECTS,
        "presign:presign",
        "Print a URL with which anybody can fetch or store one object",
    ),
    "status": Entry(
        CLUSTER, "status:status", "Show every node, and what it holds of all objects"
    ),
    "repair": Entry(
        CLUSTER, "repair:repair", "Bring every object onto the nodes where it belongs"
    ),
    "forget": Entry(
        CLUSTER,
        "forget:forget",
        "Give up nodes that never come back, with everything they hold",
    ),
    "locate": Entry(
        CLUSTER,
        "locate:locate_command",
        "Show on which nodes an object lies, and in which version",
    ),
    "api-server": Entry(
        BLOB_SERVERS,
        "api_server:api_server",
        "Serve uploads and downloads of blobs, which blob servers keep",
    ),
    "blob-server": Entry(
        BLOB_SERVERS, "blob_server:blob_server", "Serve a folder of blobs"
    ),
    "import-blobs": Entry(
        BLOB_SERVERS,
        "import_blobs:import_blobs",
        "Take over the blobs that sos stored in a folder",
    ),
    "replicate": Entry(
        BLOB_SERVERS,
        "replicate:replicate",
        "Copy blobs to every blob server of their group",
    ),
    "completion": Entry(
        ITSELF,
        "completion:completion",
        "Print a script that lets a shell complete commands and options",
    ),
    "version": Entry(ITSELF, "version:version", "Show which release this is"),
    "help": Entry(ITSELF, "help:help_command", "Show what a command does, and how"),
}
"""The commands by name, in the order of the help, section by section."""
SYNONYMS = {
    **dict.fromkeys(("copy", "mirror", "sync", "copyto"), "cp"),
    **dict.fromkeys(("move", "rename", "moveto"), "mv"),
    **dict.fromkeys(("upload", "store", "rcat", "pipe"), "put"),
    **dict.fromkeys(("download", "fetch", "cat"), "get"),
    **dict.fromkeys(("delete", "remove", "del", "purge"), "rm"),
    **dict.fromkeys(("list", "lsf", "lsd", "tree", "find"), "ls"),
    **dict.fromkeys(("size", "ncdu"), "du"),
    **dict.fromkeys(("share", "link", "sign"), "presign"),
    "mkdir": "mb",
    "rmdir": "rb",
    "head": "stat",
    "info": "status",
}
"""What other tools call a command."""
PRINTING = frozenset(
    {
        *("ls", "stat", "du", "presign", "status", "locate"),
        *("token", "access", "completion"),
    }
)
"""The commands that do nothing but print."""
EXIT_CODES = (
    ("0", "All is well."),
    ("1", "Something failed, or is left to be done; standard error says what."),
    ("2", "An argument or a setting can't be used."),
    ("130", "Stopped by Ctrl-C."),
)


FIRST_STEPS = examples(
    "amazin serve                           keeps objects in the folder data",
    "amazin mb photos                       makes a bucket",
    "amazin put cat.jpg photos/             stores a file as photos/cat.jpg",
    "amazin ls photos                       lists what is stored",
    "amazin get photos/cat.jpg              fetches it",
    title="First steps",
)


class Commands(click.Group):
    """The group of all commands, which imports a command when it is needed."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run as a program, which ends here.

        The interpreter's own end would write once more what standard output has
        refused, and may abort while another thread prints.
        """
        try:
            return super().__call__(*args, **kwargs)
        except SystemExit as exc:
            code = exc.code if isinstance(exc.code, int) else bool(exc.code)
        for stream in filter(None, (sys.stdout, sys.stderr)):  # None: it was closed
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command; None: there is no such command."""
        if cmd_name not in COMMANDS:
            return None
        module, _, function = COMMANDS[cmd_name].place.partition(":")
        found = import_module(f"amazin.cli.{module}")
        command: click.Command = getattr(found, function)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that the arguments begin with.

        Raises: MistakeError: there is no such command, and a similar one is suggested;
        or standard output is closed, and the command does nothing but print.
        """
        name = args[0]
        if name in PRINTING and sys.stdout is None:
            raise MistakeError("Standard output is closed")
        if name in COMMANDS or name.startswith("-") or ctx.resilient_parsing:
            return super().resolve_command(ctx, args)
        raise MistakeError(
            f"No such command '{name}'.{similar_command(name)}\n{ctx.get_usage()}\n"
            f"'{ctx.command_path} --help' shows all commands."
        )

    def format_commands(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        """Write the sections of commands, without importing the commands."""
        width = max(map(len, COMMANDS))
        sections: dict[str, list[tuple[str, str]]] = {}
        for name, entry in COMMANDS.items():
            row = (name.ljust(width), entry.summary)
            sections.setdefault(entry.section, []).append(row)
        for title, rows in sections.items():
            with formatter.section(title):
                formatter.write_dl(rows)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the exit codes, then an example."""
        with formatter.section("Exit codes"):
            formatter.write_dl(EXIT_CODES)
        super().format_epilog(ctx, formatter)

    def shell_complete(
        self, ctx: click.Context, incomplete: str
    ) -> list[CompletionItem]:
        """Return the commands and options that begin with `incomplete`.

        Imports no command.
        """
        from click.shell_completion import CompletionItem

        items = [
            CompletionItem(name, help=entry.summary)
            for name, entry in COMMANDS.items()
            if name.startswith(incomplete)
        ]
        return items + click.Command.shell_complete(self, ctx, incomplete)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; turn errors into sentences and exit codes."""
        try:
            return super().invoke(ctx)
        except click.UsageError as exc:
            raise MistakeError(exc.format_message()) from exc
        except SettingsError as exc:
            raise MistakeError(f"Settings: {exc}") from exc
        except HTTPError as exc:
            raise MistakeError(exc.message) from exc
        except GatewayError as exc:
            raise FailureError(in_words(exc)) from exc
        except KeyboardInterrupt:
            click.echo("Stopped", err=True)
            ctx.exit(130)
        except OSError as exc:
            raise as_failure(exc) from exc

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the options of `amazin` itself; `--help` prints and exits here."""
        try:
            return super().parse_args(ctx, args)
        except OSError as exc:
            raise as_failure(exc) from exc


def similar_command(name: str) -> str:
    """Return a sentence with a similar command; empty: no command is similar."""
    from difflib import get_close_matches

    if name in SYNONYMS:
        return f" Did you mean '{SYNONYMS[name]}'?"
    found = get_close_matches(name, COMMANDS, n=1)
    return f" Did you mean '{found[0]}'?" if found else ""


def as_failure(error: OSError) -> Exception:
    """Return the error to raise for an OSError.

    EPIPE stays an OSError: if the reader of the output has ended (`amazin ls | head`),
    click exits without a message.
    """
    return error if error.errno == errno.EPIPE else FailureError(text_of(error))


def text_of(error: OSError) -> str:
    """Return the text of an OSError, with the file name in front if it has one."""
    if not error.strerror:
        return str(error) or type(error).__name__
    return f"{error.filename}: {error.strerror}" if error.filename else error.strerror


def print_version(context: click.Context, option: click.Parameter, value: bool) -> None:
    """Print the release and exit, if the option is given."""
    if value and not context.resilient_parsing:
        from amazin.release import release

        click.echo(f"amazin {release()}")
        context.exit()


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=f"{FIRST_STEPS}\n\n"
    "`amazin help COMMAND` shows what a command does, with an example.",
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=print_version,
    help="Show which release this is.",
)
def main() -> None:
    """Many storage nodes, one object store.

    The commands for objects and buckets talk to the gateway at AMAZIN_URL, which is
    http://localhost:3000 unless set. The others take their settings from the
    environment and a file; `amazin config` shows them.
    """
