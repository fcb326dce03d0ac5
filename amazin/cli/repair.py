"""`amazin repair`: brings objects to their nodes; see `repair/schedule.py`."""

from __future__ import annotations

import logging.config
import sys
from dataclasses import replace

import click
from rich.console import Console
from rich.filesize import decimal

from amazin.cli.common import (
    as_rate,
    as_seconds,
    ended_by_signals,
    examples,
    json_option,
    new_console,
    read_settings,
    show_report,
)
from amazin.cli.nodes import known_nodes, log_to
from amazin.cli.progress import run_bar
from amazin.logs import logging_config
from amazin.repair.report import Options, Report, fields, one_line, to_do
from amazin.repair.schedule import Job, Watch, attempt, run, wait_until_ready
from amazin.units import counted


@click.command(
    epilog=examples(
        "amazin repair --dry-run",
        "amazin repair --rate 50MB/s",
        "amazin repair --check --rate 50MB/s",
        "amazin repair --every 1h",
    )
)
@click.option("-n", "--dry-run", is_flag=True, help="Only say what there is to do.")
@click.option(
    "--check",
    is_flag=True,
    help="Read all copies, and replace damaged ones. Goes on where it was stopped.",
)
@click.option(
    "--rate",
    callback=as_rate,
    metavar="BYTES/S",
    help="Copy and check no faster, as 50MB/s.",
)
@click.option(
    "--every",
    callback=as_seconds,
    metavar="TIME",
    help="Run repeatedly; the time from start to start, as 1h30m.",
)
@json_option
def repair(
    dry_run: bool,
    check: bool,
    rate: float | None,
    every: float | None,
    is_json: bool,
) -> None:
    """Bring every object onto the nodes where it belongs.

    Run it after a node was added, given the weight 0, lost or forgotten, or was down.
    It can be stopped and started again at any time. Exit code 1 means that something
    is left to be done; standard error says why.
    """
    if every and dry_run:
        raise click.UsageError("--every and --dry-run don't go together")
    settings = read_settings()
    options = Options(dry_run, check, rate, settings.spool_dir)
    if every:
        logging.config.dictConfig(logging_config(settings.least_level))
        with ended_by_signals(), known_nodes(settings) as membership:
            job = Job(membership, options, settings.refresh_seconds)
            Watch(job, every).run()
    console = new_console()
    log_to(console, settings)
    interrupted = "Stopped. Begin it again at any time."
    with ended_by_signals(interrupted), known_nodes(settings) as membership:
        job = Job(membership, options, settings.refresh_seconds)
        report = work(job, console) if console.is_interactive else attempt(job)
    show_report(fields(report), one_line(report, dry_run), report.problems, is_json)
    sys.exit(0 if report.is_well else 1)


def work(job: Job, console: Console) -> Report:
    """Run at a terminal: show the result of a dry run, then a progress bar."""
    with console.status("Looking at the nodes") as status:
        snapshot = wait_until_ready(job, status.update)

        def count(report: Report) -> None:
            status.update(f"Looking at the objects: {report.objects}")

        is_check = job.options.is_check and job.options.is_dry_run
        options = replace(job.options, is_dry_run=True, is_check=is_check)
        planned = run(job, snapshot, options, count)
    if job.options.is_dry_run:
        return planned
    found = counted(planned.objects, "object")
    console.print(f"{found}; {to_do(planned)}", highlight=False)
    with run_bar(console, done) as bar:
        task = bar.add_task("", total=planned.objects, report=Report())

        def show(report: Report) -> None:
            bar.update(task, completed=report.objects, report=report)

        return run(job, snapshot, job.options, show)


def done(report: Report, speed: str) -> str:
    """Return the text beside the progress bar."""
    copies = f"{counted(report.copies, 'copy')} ({decimal(report.bytes)}, {speed})"
    read = f"{decimal(report.checked_bytes)} read, " if report.checked else ""
    return f"{read}{copies}, {report.removals} removed"
