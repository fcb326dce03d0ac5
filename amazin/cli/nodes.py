"""What all commands share: the nodes while one runs, and its log."""

from __future__ import annotations

import logging.config
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from rich.console import Console

from amazin.membership.membership import Membership
from amazin.model.node_specs import Discovery, NodeSpec, WatchingDiscovery
from amazin.nodes.build import node_builder
from amazin.settings.settings import Settings
from discovery import load_discovery

QUIET = {"info": "warning"}
"""Levels of the gateway's log that say too much beside the output of a command."""


@contextmanager
def known_nodes(settings: Settings) -> Iterator[Membership]:
    """Follow the nodes meanwhile; changes of their set are never proposed here.

    Nor are folders made: one that is missing is a node that is away, not an empty one.
    """
    discovery = EndingDiscovery(load_discovery(replace(settings, folder_nodes=0)))
    membership = Membership(
        discovery, node_builder(settings.node_limits), settings.refresh_seconds
    )
    try:
        yield membership
    finally:
        members = membership.snapshot().members
        discovery.end()
        for member in members.values():
            member.retire()


class EndingDiscovery:
    """Another discovery, whose follower leaves the nodes in peace in the end."""

    def __init__(self, own: Discovery) -> None:
        self._own = own
        self._is_over = threading.Event()

    def find(self) -> list[NodeSpec]:
        """See `Discovery`."""
        return list(self._own.find())

    def wait(self, seconds: float) -> None:
        """See `WatchingDiscovery`. In the end it never returns."""
        if isinstance(self._own, WatchingDiscovery):
            self._own.wait(seconds)
        else:
            self._is_over.wait(seconds)
        if self._is_over.is_set():
            threading.Event().wait()

    def wake(self) -> None:
        """See `WatchingDiscovery`."""
        if isinstance(self._own, WatchingDiscovery):
            self._own.wake()

    def end(self) -> None:
        """The nodes are to be looked for no more."""
        self._is_over.set()
        self.wake()


class NoteHandler(logging.Handler):
    """Prints warnings as sentences, above a progress bar if there is one."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Print one."""
        text = record.getMessage()
        self._console.print(text, soft_wrap=True, highlight=False, markup=False)


def log_to(console: Console, settings: Settings) -> None:
    """Show the log of a command that a person runs on standard error."""
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
