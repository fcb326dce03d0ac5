"""`amazin replicate`: mirrors blobs; see `blobs/replication/run.py`."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.filesize import decimal
from rich.progress import TextColumn
from rich.table import Column

from amazin.blobs.node.node import BlobNode
from amazin.blobs.replication.run import (
    JOBS,
    OnProgress,
    Options,
    Replication,
    Stage,
    print_nothing,
)
from amazin.blobs.replication.work import Report
from amazin.blobs.sos_conf import BlobServer, read_servers, shown, table
from amazin.cli.common import (
    GoCommand,
    ended_by_signals,
    examples,
    json_option,
    new_console,
    show_report,
)
from amazin.cli.nodes import log_to
from amazin.cli.progress import run_bar
from amazin.settings.config_file import load_settings
from amazin.settings.settings import Settings
from amazin.units import counted

MAX_JOBS = 64
NO_SERVERS = "nothing to do: neither -blob-server nor a sos.conf names a blob server"


@click.command(
    cls=GoCommand,
    epilog=examples("amazin replicate -blob-server http://n1:3001,http://n2:3001"),
)
@click.option(
    "-v",
    "-verbose",
    "--verbose",
    "is_verbose",
    is_flag=True,
    help="A line for each copy, there, missing or made, as `sos replicate` prints.",
)
@click.option(
    "-blob-server",
    "--blob-server",
    "given",
    metavar="URL,URL",
    help="The servers, one group; by default those of /etc/sos.conf and ~/.sos.conf.",
)
@click.option(
    "--jobs",
    type=click.IntRange(1, MAX_JOBS),
    default=JOBS,
    show_default=True,
    help="How many blobs are copied at once.",
)
@click.option(
    "--check", is_flag=True, help="Read every copy, and compare it with its id."
)
@json_option
def replicate(
    is_verbose: bool, given: str | None, jobs: int, check: bool, is_json: bool
) -> None:
    """Copy blobs to every blob server of their group.

    The servers may be ours and those of `sos`. Copies are compared with the id, if that
    is a SHA-1. Different contents under one id are reported and not changed. A server
    that doesn't answer is left out. The run can be stopped and started again at any
    time.

    Exit code 1 means that something is left to be done; standard error says why.
    """
    if is_verbose and is_json:
        raise click.UsageError("--verbose and --json don't go together")
    settings = load_settings(os.environ)
    console = new_console()
    log_to(console, settings)
    servers = read_servers(given, Path(os.path.expanduser("~")))  # noqa: PTH111
    options = Options(jobs, check, settings.spool_dir)
    with ended_by_signals("Stopped. Begin it again at any time."):
        if is_verbose:
            click.echo(table(servers), nl=False)
        is_watched = console.is_interactive and not is_verbose
        with shown_at(console) if is_watched else nullcontext() as on_progress:
            report = run(settings, servers, options, is_verbose, on_progress)
    if servers or is_json or is_verbose:
        # Programs read the lines of --verbose on standard output, so the report goes to
        # standard error.
        line, problems = summary(report), list(unfinished(report))
        show_report(fields(report), line, problems, is_json, is_quiet=is_verbose)
    else:
        click.echo(NO_SERVERS)
    sys.exit(0 if report.is_well else 1)


def run(
    settings: Settings,
    servers: Sequence[BlobServer],
    options: Options,
    is_verbose: bool,
    on_progress: OnProgress | None,
) -> Report:
    """Mirror each group. Raises: RepairError: the lists can't be written."""
    groups: dict[str, list[str]] = {}
    for server in servers:
        groups.setdefault(server.group, []).append(server.url)

    def connect(url: str) -> BlobNode:
        return BlobNode(shown(url), url, settings.node_limits)

    say = Printer().say if is_verbose else print_nothing
    return Replication(connect, options, say, on_progress).run(groups)


class Printer:
    """Prints the lines of one call together. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def say(self, lines: Sequence[str]) -> None:
        """Print lines."""
        if lines:
            with self._lock:
                click.echo("\n".join(lines))


# At a terminal


@contextmanager
def shown_at(console: Console) -> Iterator[OnProgress]:
    """Show a progress bar; give what updates it."""
    label = TextColumn("{task.description}", table_column=Column(no_wrap=True))
    with run_bar(console, lambda report, s: f"{copied(report)}, {s}", label) as bar:
        task = bar.add_task("Looking", total=None, report=Report())

        def show(stage: Stage) -> None:
            bar.update(
                task,
                description=stage.group,
                completed=stage.done,
                total=stage.total,
                report=stage.report,
            )

        yield show


# The report


def unfinished(report: Report) -> Iterator[str]:
    """Yield a sentence for each problem and each server that was left out."""
    yield from report.problems
    if report.more_problems:
        yield f"... and {report.more_problems} more"
    for url, reason in report.left_out.items():
        yield f"{url} was left out: {reason}"


def fields(report: Report) -> dict[str, object]:
    """Return the report as JSON shows it."""
    return {**asdict(report), "is_well": report.is_well}


def summary(report: Report) -> str:
    """Return the report as one line."""
    parts = [copied(report), f"looked at {counted(report.blobs, 'blob')}"]
    if report.differing:
        parts.append(f"{report.differing} with different contents")
    if report.damaged:
        parts.append(counted(report.damaged, "damaged copy"))
    if report.failures:
        parts.append(counted(report.failures, "failure"))
    if report.left_out:
        parts.append(f"{counted(len(report.left_out), 'server')} left out")
    return ", ".join(parts)


def copied(report: Report) -> str:
    """Return the number and the size of the copied blobs."""
    return f"copied {counted(report.copied, 'blob')} ({decimal(report.bytes)})"
