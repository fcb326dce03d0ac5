"""What `amazin repair` shows while it runs, and in the end.

When it runs: `repair/schedule.py`. What it does: `repair/run.py`.
"""

from __future__ import annotations

import json
import logging

import click
from rich.console import Console
from rich.filesize import decimal
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TimeElapsedColumn,
)
from rich.table import Column
from rich.text import Text

from amazin.repair.report import Options, Report, fields, number, one_line, to_do
from amazin.repair.schedule import Job, run, wait_for_it

log = logging.getLogger("amazin.repair")


# When


# One run


def work(job: Job, console: Console) -> Report:
    """Run for a person at a terminal: the plan first, then with a progress bar."""
    with console.status("Looking at the nodes") as status:
        snapshot = wait_for_it(job, status.update)

        def count(report: Report) -> None:
            status.update(f"Looking at the objects: {report.objects}")

        planned = run(job, snapshot, Options(is_dry_run=True), count)
    if job.options.is_dry_run:
        return planned
    found = number(planned.objects, "object")
    console.print(f"{found}; {to_do(planned)}", highlight=False)
    with Progress(
        BarColumn(20),
        MofNCompleteColumn(),
        DoneColumn(table_column=Column(no_wrap=True)),
        TimeElapsedColumn(),
        console=console,
    ) as bar:
        task = bar.add_task("", total=planned.objects, report=Report())

        def show(report: Report) -> None:
            bar.update(task, completed=report.objects, report=report)

        return run(job, snapshot, job.options, show)


class DoneColumn(ProgressColumn):
    """What has been done up to now, and how fast."""

    def render(self, task: Task) -> Text:
        """Return it as of this moment: copying goes on between two objects."""
        report: Report = task.fields["report"]
        speed = decimal(int(report.bytes / max(task.elapsed or 0.0, 0.1)))
        copies = f"{number(report.copies, 'copy')} ({decimal(report.bytes)}, {speed}/s)"
        return Text(f"{copies}, {report.removals} removed")


# What came of it


def show_report(report: Report, options: Options, is_json: bool) -> None:
    """Print it: one line, and the problems on standard error; or JSON."""
    if is_json:
        click.echo(json.dumps(fields(report)))
        return
    click.echo(one_line(report, options.is_dry_run))
    for problem in report.problems:
        click.echo(problem, err=True)


# Again and again
