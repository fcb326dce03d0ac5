"""`amazin status`: shows the nodes, and what repair has found. Changes nothing."""

from __future__ import annotations

import json
import sys
import time
from contextlib import ExitStack
from dataclasses import replace

import click
from rich.console import Console
from rich.live import Live

from amazin.cli.common import (
    MistakeError,
    as_seconds,
    examples,
    json_option,
    new_console,
    read_settings,
    wide_console,
)
from amazin.cli.nodes import known_nodes, log_to
from amazin.cli.status_view import (
    as_json,
    as_lines,
    as_table,
    remarks,
    sentence,
)
from amazin.cluster.copy_counts import total
from amazin.membership.membership import Membership
from amazin.status.counts import Counting
from amazin.status.observer import Observer, Status

POLL_SECONDS = 0.1


@click.command(epilog=examples("amazin status", "amazin status --watch 5 --count"))
@click.option(
    "--watch",
    is_flag=False,
    flag_value="2",
    callback=as_seconds,
    metavar="[TIME]",
    help="Show the status again and again, by default every 2 seconds.",
)
@click.option(
    "--count",
    "is_counting",
    is_flag=True,
    help="List all nodes, to count now what lies on them.",
)
@click.option("--fast", "is_fast", is_flag=True, hidden=True)  # as without --count
@json_option
def status(
    watch: float | None, is_counting: bool, is_fast: bool, is_json: bool
) -> None:
    """Show every node, and what it holds of all objects.

    Its state; its weight; what the nodes remember of it (the roster); how many objects
    lie on it, and of which size; how many tombstones of deleted ones, and internal
    ones (marks of buckets, parts of large objects); its share of all of these, and
    what is due to it by placement; the space left on its disk, if it tells; its
    address. What lies on the nodes is what the last `amazin repair` counted, unless
    --count is given: that lists all nodes, again and again while it watches.

    Below the nodes, what the last `amazin repair` has found and left, how long ago,
    and what the last `amazin repair --check` has found.

    Exit code 1 means that a node is not well; that the last repair left objects with
    too few copies, or waiting for another run; that copies which the last check found
    damaged or gone are not replaced; that there are fewer nodes than REPLICAS; or that
    the list of nodes can't be read. With --count also that nodes know of other copies
    which are damaged or gone, or can't be listed.
    """
    if is_counting and is_fast:
        raise MistakeError("--fast means not to --count")
    settings = read_settings()
    console = new_console()
    log_to(console, settings)
    with known_nodes(settings) as membership, ExitStack() as stack:
        repeats = watch is not None
        counting = new_counting(membership, repeats) if is_counting else None
        if counting:
            stack.callback(counting.close)
        observer = Observer(membership, counting, settings.replicas)
        if watch is not None:
            watch_nodes(observer, watch, is_json)
            return
        found = once(observer, counting, console)
    if is_json:
        click.echo(json.dumps(as_json(found)))
    else:
        show(found)
    sys.exit(0 if found.is_well else 1)


def new_counting(membership: Membership, repeats: bool) -> Counting:
    """Return a count of the objects on the nodes; `repeats`: again and again."""
    return Counting(
        lambda name: membership.snapshot().members.get(name), repeats=repeats
    )


def once(observer: Observer, counting: Counting | None, console: Console) -> Status:
    """Return the status; if they are counted, when all objects are."""
    with console.status("Looking at the nodes") as progress:
        found = observer.look()
        while counting and not counting.wait(POLL_SECONDS):
            copies = total(counting.counts().values()).copies
            progress.update(f"Counting the objects on the nodes: {copies:,}")
    return replace(found, counted=observer.counted()) if counting else found


def watch_nodes(observer: Observer, seconds: float, is_json: bool) -> None:
    """Show the status again and again until Ctrl-C, which is no failure."""
    console = new_console(False)
    try:
        if is_json or not console.is_interactive:
            while True:
                print_again(observer.look(), is_json)
                time.sleep(seconds)
        with Live(console=console, auto_refresh=False) as live:
            while True:
                live.update(as_lines(observer.look(), console), refresh=True)
                time.sleep(seconds)
    except KeyboardInterrupt:
        return


def print_again(found: Status, is_json: bool) -> None:
    """Print the status as a line of JSON, or as a table."""
    if is_json:
        click.echo(json.dumps(as_json(found)))
        return
    show(found, has_ages=True)


def show(found: Status, has_ages: bool = False) -> None:
    """Print the status as text; problems go to standard error."""
    click.echo(sentence(found))
    wide_console().print(as_table(found, has_ages))
    for line in remarks(found):
        click.echo(line)
    for problem in found.problems:
        click.echo(problem, err=True)
