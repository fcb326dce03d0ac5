"""`amazin locate`: shows which nodes hold an object. Changes nothing."""

from __future__ import annotations

import json
import sys
from typing import Any

import click
from rich.console import JustifyMethod
from rich.table import Table

from amazin.api.addresses import address_of
from amazin.api.objects import object_name
from amazin.cli.common import (
    examples,
    json_option,
    new_console,
    read_settings,
    wide_console,
)
from amazin.cli.nodes import known_nodes, log_to
from amazin.model.stored_names import shown
from amazin.status.locate import FOUND, Holding, Location, locate, moment
from amazin.status.observer import look

# Shown


def show(location: Location) -> None:
    """Print the location as text; problems go to standard error."""
    click.echo(location.sentence)
    wide_console().print(as_table(location))
    for problem in problems(location):
        click.echo(problem, err=True)


def as_table(location: Location) -> Table:
    """Return a table with a row for each node."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("rank", "node", "home", "state", "version", "size", "ETag", ""):
        justify: JustifyMethod = "right" if title in ("rank", "size") else "left"
        table.add_column(title, justify=justify, no_wrap=True)
    for held in location.holdings:
        table.add_row(str(held.rank or ""), held.node, home(held), *copy_cells(held))
    return table


def problems(location: Location) -> list[str]:
    """Return a line for each node that can't be reached."""
    return [
        f"{held.node}: {held.problem}" for held in location.holdings if held.problem
    ]


def home(held: Holding) -> str:
    """Return the homes that a node is in, as text."""
    homes = [("home", held.is_home), ("next home", held.is_next_home)]
    return ", ".join(word for word, is_in in homes if is_in)


def copy_cells(held: Holding) -> tuple[str, ...]:
    """Return the cells of a node's state and its copy."""
    info = held.info
    if info is None:
        return held.state, "", "", "", ""
    words = [
        ("newest", held.is_newest),
        ("tombstone", info.is_deleted),
        ("damaged or gone", info.is_damaged),
    ]
    note = ", ".join(word for word, is_so in words if is_so)
    return held.state, moment(info), str(info.size), info.etag, note


def as_json(location: Location) -> dict[str, Any]:
    """Return the location as JSON shows it."""
    return {
        "bucket": location.name.bucket,
        "key": location.name.key,
        "object": shown(location.name),
        "verdict": location.verdict,
        "reason": location.reason,
        "nodes": [node_as_json(held) for held in location.holdings],
    }


def node_as_json(held: Holding) -> dict[str, Any]:
    """Return a node and its copy as JSON shows them."""
    info = held.info
    copy = info and {
        "time": moment(info),
        "size": info.size,
        "etag": info.etag,
        "is_tombstone": info.is_deleted,
        "is_newest": held.is_newest,
        "is_damaged": info.is_damaged,
    }
    return {
        "rank": held.rank,
        "node": held.node,
        "is_home": held.is_home,
        "is_next_home": held.is_next_home,
        "state": held.state,
        "problem": held.problem,
        "copy": copy,
    }


# The command


@click.command(
    "locate", epilog=examples("amazin locate readme", "amazin locate photos/2026/a.jpg")
)
@click.argument("key")
@click.option("--check", is_flag=True, help="Read the copies: are they whole?")
@json_option
def locate_command(key: str, check: bool, is_json: bool) -> None:
    """Show on which nodes an object lies, and in which version.

    KEY is the id of an object, or its bucket and key: photos/2026/a.jpg

    Exit code 1 means that there is none, that its bytes are lost, or that it can't be
    told.
    """
    settings = read_settings()
    log_to(new_console(), settings)
    bucket, slash, rest = key.partition("/")
    name = address_of(settings, bucket, rest).name if slash else object_name(key)
    with known_nodes(settings) as membership:
        location = locate(look(membership), name, is_check=check)
    if is_json:
        click.echo(json.dumps(as_json(location)))
    else:
        show(location)
    sys.exit(0 if location.verdict == FOUND else 1)
