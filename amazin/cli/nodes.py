"""What the commands that ask nodes share: the membership and the log."""

from __future__ import annotations

import logging.config
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from typing import Any

from rich.console import Console

from amazin.membership.membership import Membership
from amazin.nodes.build import node_builder
from amazin.settings.settings import Settings
from discovery import load_discovery

QUIET = {"info": "warning"}
"""Replaces levels of the gateway's log that are too verbose for a command."""


@contextmanager
def known_nodes(settings: Settings) -> Iterator[Membership]:
    """Give the membership of the nodes, and close it at the end.

    A command proposes no changes of the set of nodes, and makes no folders: a missing
    folder is a node that is down, not an empty one.
    """
    discovery = load_discovery(replace(settings, folder_nodes=0))
    build = node_builder(settings.node_limits)
    with ExitStack() as stack:
        membership = Membership(discovery, build, settings.refresh_seconds)
        stack.callback(membership.close)
        try:
            yield membership
        except KeyboardInterrupt:
            stack.pop_all()  # the process ends at once, with its threads
            raise


class NoteHandler(logging.Handler):
    """Prints warnings as sentences, above a progress bar if there is one."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record."""
        text = record.getMessage()
        # rich ends the thread if nobody reads; the work is to go on.
        with suppress(OSError, SystemExit):
            self._console.print(text, soft_wrap=True, highlight=False, markup=False)


def log_to(console: Console, settings: Settings) -> None:
    """Print the log of a command on a console, as sentences."""
    level = QUIET.get(settings.least_level, settings.least_level).upper()
    note: Mapping[str, Any] = {"()": NoteHandler, "console": console}
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "handlers": {"notes": note},
            "loggers": {
                "amazin": {"level": level, "handlers": ["notes"], "propagate": False}
            },
        }
    )
