"""The `amazin` command: what an operator does to a cluster, beside running a gateway.

Each command looks at the nodes, does one thing, and ends: 0 all is well, 1 something
is left to be done, 2 a setting or an argument can't be used. What the commands do:
`cli_repair.py`, `cli_locate.py`, `cli_config.py`. Settings are the gateway's.
"""

from __future__ import annotations

import json
import logging.config
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.console import Console

import cli_config
from api.bucket_requests import address_of
from api.objects import object_name
from changes import forget as forget_nodes
from cli_locate import FOUND, Location, as_json, as_table, locate, problems
from cli_nodes import known_nodes, log_to, look
from cli_repair import Job, Watch, attempt, ended_by_signals, show_report, work
from config_file import load, load_settings
from errors import GatewayError, HTTPError, RepairError, RosterError, SettingsError
from logs import logging_config
from membership import Snapshot
from mending import Options
from nodes import DATA_BUCKETS
from roster import Roster
from settings import Settings

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
TABLE_WIDTH = 160
POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}


class MistakeError(click.ClickException):
    """The user has to write something else; shown as one sentence."""

    exit_code = 2

    def show(self, file: Any = None) -> None:
        """Print it."""
        click.echo(self.format_message(), err=True)


class FailureError(MistakeError):
    """The nodes don't let it be done now."""

    exit_code = 1


class Commands(click.Group):
    """The one place where errors become a sentence and an exit code."""

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


def as_rate(
    context: click.Context, option: click.Parameter, value: str | None
) -> float | None:
    """Read `50MB/s` as bytes a second."""
    if value is None:
        return None
    match = re.fullmatch(
        r"([0-9]{1,15}(?:\.[0-9]{1,6})?) ?(?:([KMGT]I?)?B)?(?:/S)?", value.upper()
    )
    if not match or not float(match[1]):
        raise click.BadParameter(
            f"{value!r} is no rate like 50MB/s, 8MiB/s or 100000", context, option
        )
    unit = match[2] or ""
    base = 1024.0 if unit.endswith("I") else 1000.0
    return float(match[1]) * base ** POWERS[unit[:1]]


def as_seconds(
    context: click.Context, option: click.Parameter, value: str | None
) -> float | None:
    """Read `90s`, `15m`, `1h`, `1.5d` as seconds."""
    if value is None:
        return None
    match = re.fullmatch(r"([0-9]{1,5}(?:\.[0-9]{1,3})?) ?([smhd])", value)
    if not match or not float(match[1]):
        raise click.BadParameter(
            f"{value!r} is no duration like 90s, 15m, 1h or 1d", context, option
        )
    return float(match[1]) * SECONDS[match[2]]


def known_bucket(
    context: click.Context, option: click.Parameter, value: str | None
) -> str | None:
    """Return a bucket that exists."""
    if value not in (None, *DATA_BUCKETS):
        names = ", ".join(DATA_BUCKETS)
        raise click.BadParameter(f"there is no {value!r}, but {names}", context, option)
    return value


bucket_option = click.option(
    "--bucket", callback=known_bucket, metavar="NAME", help="The objects of a bucket."
)
json_option = click.option("--json", "is_json", is_flag=True, help="Print JSON.")


@click.group(cls=Commands)
def main() -> None:
    """Look after a cluster of storage nodes.

    Settings are those of the gateway (`amazin config` shows them): DISCOVERY and what
    it needs say who the nodes are.
    """


@main.command()
@click.option("--dry-run", is_flag=True, help="Only say what there is to do.")
@click.option(
    "--rate",
    callback=as_rate,
    metavar="BYTES/S",
    help="Copy no faster, as 50MB/s.",
)
@bucket_option
@click.option(
    "--every",
    callback=as_seconds,
    metavar="TIME",
    help="Run for ever in this rhythm, as 1h.",
)
@json_option
def repair(
    dry_run: bool,
    rate: float | None,
    bucket: str | None,
    every: float | None,
    is_json: bool,
) -> None:
    """Bring every object onto the nodes where it belongs.

    After a node was added, is to be drained, was lost or forgotten, or has been away.
    It may be stopped, and begun again, at any time. Exit code 1 means that something
    is left to be done, for which standard error gives the reason.
    """
    if every and dry_run:
        raise click.UsageError("--every and --dry-run don't go together")
    settings = read_settings()
    buckets = (bucket,) if bucket else DATA_BUCKETS
    options = Options(dry_run, rate, buckets, settings.spool_dir)
    if every:
        logging.config.dictConfig(logging_config(settings.least_level))
        with ended_by_signals(), known_nodes(settings) as membership:
            job = Job(membership, options, settings.refresh_seconds)
            Watch(job, every).run()
    console = Console(stderr=True)
    log_to(console, settings)
    interrupted = "Stopped. Begin it again at any time."
    with ended_by_signals(interrupted), known_nodes(settings) as membership:
        job = Job(membership, options, settings.refresh_seconds)
        report = work(job, console) if console.is_terminal else attempt(job)
    show_report(report, options, is_json)
    sys.exit(0 if report.is_well else 1)


@main.command("locate")
@click.argument("key")
@json_option
def locate_command(key: str, is_json: bool) -> None:
    """Show on which nodes an object lies, and in which version.

    KEY is the id of an object, or its bucket and key: photos/2026/a.jpg

    Exit code 1 means that there is none, or that it can't be told.
    """
    settings = read_settings()
    log_to(Console(stderr=True), settings)
    bucket, slash, rest = key.partition("/")
    name = address_of(settings, bucket, rest).name if slash else object_name(key)
    with known_nodes(settings) as membership:
        location = locate(look(membership), name)
    if is_json:
        click.echo(json.dumps(as_json(location)))
    else:
        show(location)
    sys.exit(0 if location.verdict == FOUND else 1)


def show(location: Location) -> None:
    """Print it for people; a narrow terminal breaks lines, and cuts none."""
    console = Console(width=max(TABLE_WIDTH, Console().width), highlight=False)
    click.echo(location.sentence)
    console.print(as_table(location))
    for problem in problems(location):
        click.echo(problem, err=True)


@main.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--yes", is_flag=True, help="Don't ask.")
@click.option("--force", is_flag=True, help="Even if a node answers.")
def forget(names: tuple[str, ...], yes: bool, force: bool) -> None:
    """Give up nodes that never come back, with everything they hold.

    To take away a node that still works, give it the weight 0 instead and run
    `amazin repair`, which empties it.
    """
    settings = read_settings()
    log_to(Console(stderr=True), settings)
    given_up = frozenset(names)
    with known_nodes(settings) as membership:
        snapshot = look(membership)
        if snapshot.roster is None:
            raise RepairError(snapshot.reason)
        without(given_up)(snapshot.roster)
        if not force:
            refuse_alive(snapshot, given_up)
        click.echo(consequences(snapshot.roster, given_up), err=True)
        if not yes:
            click.confirm("Give up for good?", abort=True, err=True)
        if not membership.change(without(given_up)):
            raise RepairError("The nodes can't record it now; try again in a moment")
    click.echo(f"Forgotten: {enumerated(given_up)}. `amazin repair` finishes it.")


@main.command("config")
@json_option
def config_command(is_json: bool) -> None:
    """Show every setting: its value, its unit, and who says so.

    Secrets are hidden. The file is the one that CONFIG names, which is written if it is
    missing, or configs/config.yaml.
    """
    found = cli_config.rows(*load(os.environ))
    if is_json:
        click.echo(json.dumps(cli_config.as_json(found)))
    else:
        console = Console(width=max(TABLE_WIDTH, Console().width), highlight=False)
        console.print(cli_config.as_table(found))


def without(names: frozenset[str]) -> Callable[[Roster], Roster]:
    """Return the step that gives nodes up; it raises MistakeError if they can't be."""

    def change(roster: Roster) -> Roster:
        try:
            return forget_nodes(roster, names)
        except RosterError as exc:
            raise MistakeError(
                f"{enumerated(names)} can't be forgotten: {exc}"
            ) from exc

    return change


def refuse_alive(snapshot: Snapshot, names: frozenset[str]) -> None:
    """Raise MistakeError if a node answers."""
    alive = names - snapshot.sight.silent - snapshot.lost
    if alive:
        raise MistakeError(
            f"There, and with its disk: {enumerated(alive)}. Give it the weight 0 and "
            "run `amazin repair`, which empties it; or add --force"
        )


def consequences(roster: Roster, names: frozenset[str]) -> str:
    """Return what it means to give up these nodes, for the one who decides."""
    replicas = min(nodes.replicas for nodes in roster.sets)
    gone = (
        "objects that have no copy elsewhere are lost for good"
        if len(names | set(roster.forgotten)) >= replicas
        else f"each object has {replicas} copies, so other nodes have it, if they are "
        "there and well"
    )
    it, back = ("they hold", "they come back")
    if len(names) == 1:
        it, back = ("it holds", "it comes back")
    return (
        f"{enumerated(names)} will be given up: {gone}. What {it} is ignored, "
        f"even if {back}."
    )


def enumerated(names: frozenset[str]) -> str:
    """Return names as a list for people."""
    return ", ".join(sorted(names))


def read_settings() -> Settings:
    """Read environment and file. Raises: SettingsError."""
    settings = load_settings(os.environ)
    if settings.discovery == "folders" and not Path(settings.data_dir).is_dir():
        raise SettingsError(f"DATA_DIR: there is no folder {settings.data_dir!r}")
    if ":" in settings.discovery:
        sys.path.insert(0, str(Path.cwd()))  # one's own class is found as by gunicorn
    return settings


if __name__ == "__main__":
    main(prog_name="amazin")
