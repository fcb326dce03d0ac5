"""What all commands share: errors, option values, settings, reports and signals.

The help of `amazin` imports this module, so it imports large libraries only where it
needs them.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from signal import SIGINT, SIGTERM
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

import click

from amazin.errors import RefusedError, SettingsError
from amazin.units import duration

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem
    from rich.console import Console

    from amazin.settings.settings import Settings

TABLE_WIDTH = 1000
"""Wider than any table: no cell is folded where lines can be of any length."""
NO_CURSOR = ("", "dumb", "unknown")
"""Values of TERM: a terminal without cursor codes, which shows no bars."""
DAY_SECONDS = 24 * 3600
_BOOLEANS = {"1": True, "t": True, "true": True, "0": False, "f": False, "false": False}
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}


class MistakeError(click.ClickException):
    """The user has to change an argument or a setting. Exit code 2."""

    exit_code = 2

    def show(self, file: Any = None) -> None:
        """Print the message on standard error."""
        click.echo(self.format_message(), err=True)


class FailureError(MistakeError):
    """The command can't be carried out now. Exit code 1."""

    exit_code = 1


WORDS = {
    "NoSuchBucket": ("There is no such bucket", "`amazin ls` shows all buckets"),
    "BucketNotEmpty": (
        "The bucket is not empty",
        "`amazin rb --force` removes its objects, too",
    ),
    "NoCredentials": ("This gateway wants a token", "give --token or AMAZIN_TOKEN"),
    "LengthRequired": ("This server takes files, and no pipes", ""),
    "SpoolFull": (
        "The gateway has no room now to hold it until all has arrived",
        "a file needs none",
    ),
}
"""Of errors that gateways put into words of HTTP: what is wrong, and what helps."""


def in_words(error: Exception) -> str:
    """Return an error as a sentence in words of the command."""
    if not isinstance(error, RefusedError):
        return str(error)
    end = f" (request {error.request})" if error.request else ""
    sentence, hint = WORDS.get(error.code, (str(error).removesuffix(end), ""))
    hints = getattr(error, "__notes__", None) or [hint]
    return "; ".join(filter(None, (sentence, *hints))) + end


def examples(*lines: str, title: str = "") -> str:
    """Return the end of a command's help: examples of calls, one a line."""
    title = title or ("Example" if len(lines) == 1 else "Examples")
    return "\n".join(["\b", f"{title}:", *(f"  {line}" for line in lines)])


def as_rate(
    context: click.Context, option: click.Parameter, value: str | None
) -> float | None:
    """Convert `50MB/s` to bytes a second; a K alone is 1024, as for curl and rclone.

    Raises: BadParameter.
    """
    if value is None:
        return None
    match = re.fullmatch(
        r"([0-9]{1,15}(?:\.[0-9]{1,6})?) ?([KMGT]?)(I?B)?(?:/S)?", value.upper()
    )
    if not match or not float(match[1]) or (match[3] == "IB" and not match[2]):
        raise click.BadParameter(
            f"{value!r} is no rate like 50MB/s, 8MiB/s, 500K or 100000", context, option
        )
    base = 1000.0 if match[3] == "B" else 1024.0
    return float(match[1]) * base ** _POWERS[match[2]]


def as_seconds(
    context: click.Context, option: click.Parameter, value: str | None
) -> float | None:
    """Convert a duration as settings have it, or days as `1.5d`, to seconds.

    Raises: BadParameter.
    """
    if value is None:
        return None
    match = re.fullmatch(
        r"(?:([0-9]{1,5}(?:\.[0-9]{1,3})?) ?d)? ?(.*)", value, re.DOTALL
    )
    days, rest = match.groups() if match else (None, value)
    try:
        found = float(days or 0) * DAY_SECONDS
        found += duration(rest.replace(" ", "")) if rest or not days else 0
    except ValueError:
        found = 0.0
    if not found:
        message = f"{value!r} is no duration like 90s, 1m30s, 15m, 1h or 1d"
        raise click.BadParameter(message, context, option)
    return found


def as_files(
    context: click.Context, argument: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Let a shell complete an argument with the names of files."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="file")]


class GoCommand(click.Command):
    """A command that also takes flags as Go programs do: `-verbose=true`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments."""
        flags = {
            name
            for option in self.params
            if isinstance(option, click.Option) and option.is_flag
            for name in option.opts
        }
        plain = []
        for arg in args:
            name, _, value = arg.partition("=")
            if name not in flags or value.lower() not in _BOOLEANS:
                plain.append(arg)
            elif _BOOLEANS[value.lower()]:
                plain.append(name)
        return super().parse_args(ctx, plain)


def show_report(
    fields: Mapping[str, object],
    summary: str,
    problems: Iterable[str],
    is_json: bool,
    is_quiet: bool = False,
) -> None:
    """Print the report of a run as JSON, or as a line and its problems.

    Problems go to standard error; with `is_quiet` the line does, too.
    """
    if is_json:
        click.echo(json.dumps(fields))
        return
    click.echo(summary, err=is_quiet)
    for problem in problems:
        click.echo(problem, err=True)


json_option = click.option("--json", "is_json", is_flag=True, help="Print JSON.")


def read_settings() -> Settings:
    """Read the settings from the environment and the file. Raises: SettingsError."""
    from amazin.settings.config_file import load
    from amazin.settings.converters import absolute

    settings, given = load(os.environ)
    if "discovery" not in given and (Path(settings.data_dir) / "node-1").is_dir():
        note = "DISCOVERY is not set: the nodes are Docker's, not the folders in "
        click.echo(f"{note}{settings.data_dir} (DISCOVERY=folders)", err=True)
    if settings.discovery == "folders" and not Path(settings.data_dir).is_dir():
        folder = absolute(settings.data_dir)
        raise SettingsError(f"DATA_DIR: there is no folder {folder!r}")
    return settings


def has_cursor() -> bool:
    """Whether a terminal here knows cursor codes and colours."""
    return os.environ.get("TERM", "") not in NO_CURSOR


def new_console(is_error: bool = True, width: int | None = None) -> Console:
    """Return a console on standard error, or on standard output.

    Colours, bars and cursor codes are for terminals only. Variables that ask for
    colours elsewhere (FORCE_COLOR, TTY_COMPATIBLE, TTY_INTERACTIVE) are meant for
    programs whose output is read by people; that of a command is also kept in files.
    """
    from rich.console import Console

    stream = sys.stderr if is_error else sys.stdout
    is_terminal = stream is not None and stream.isatty()
    return Console(
        stderr=is_error,
        width=width,
        highlight=False,
        force_terminal=is_terminal,
        force_interactive=is_terminal and has_cursor(),
        color_system="auto" if has_cursor() else None,
        force_jupyter=False,
    )


def wide_console() -> Console:
    """Return a console for tables: a narrow terminal wraps lines, and cuts none."""
    return new_console(False, max(TABLE_WIDTH, new_console(False).width))


SHOW_CURSOR = b"\x1b[?25h\r\n"


@contextmanager
def ended_by_signals(message: str = "") -> Iterator[None]:
    """End the process at once on SIGTERM and SIGINT.

    That is safe for the objects: copies become visible whole, and nothing is removed
    before its copies exist. With a `message`, which is printed, the exit code is 128
    plus the signal's number; without one it is 0.
    """

    def end(which: int, frame: FrameType | None) -> NoReturn:
        if message and os.isatty(2) and has_cursor():
            os.write(2, SHOW_CURSOR)
        if message:
            os.write(2, f"{message}\n".encode())
        os._exit(128 + which if message else 0)

    old = {which: signal.signal(which, end) for which in (SIGTERM, SIGINT)}
    try:
        yield
    finally:
        for which, handler in old.items():
            signal.signal(which, handler)
