"""Progress bars of transfers, and the list of what failed."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TransferSpeedColumn,
)
from rich.text import Text

from amazin.cli.common import FailureError
from amazin.errors import ClientError, RefusedError
from amazin.model.names import printable

HOPELESS_CODES = frozenset(("NoSuchBucket", "InvalidBucketName"))
"""Errors that all objects of a bucket meet."""
FAILURES_IN_A_ROW = 10
"""So many objects for which the gateway was tried again in vain: then it is left."""
LABEL_LETTERS = 40
SMALL_BYTES = 2**20
"""Objects below it have no bar of their own, if there is one for all."""


def counted(objects: int) -> str:
    """Return a number of objects, in words."""
    return f"{objects} object" if objects == 1 else f"{objects} objects"


def reason_of(error: Exception) -> str:
    """Return why something failed, as one sentence for people."""
    if isinstance(error, OSError):
        return printable(error.strerror or type(error).__name__)
    return printable(str(error))


class Board:
    """Tells people how it goes: bars at a terminal, and a line for each failure.

    On standard error. Threads may share it. Used in a `with`, it ends with exit code 1
    if anything failed.
    """

    def __init__(self, is_quiet: bool, has_bars: bool = True) -> None:
        self._is_quiet = is_quiet
        self._console = Console(stderr=True, highlight=False)
        self._lock = threading.Lock()
        self._in_a_row = 0
        self.failures = 0
        self.done = 0
        """How many objects are as they should be."""
        self._total: Bar | None = None
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(20),
            DownloadColumn(),
            TransferSpeedColumn(),
            console=self._console,
            transient=True,
            disable=is_quiet or not has_bars or not self._console.is_terminal,
        )

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bars.stop()
        if kind is None and self.failures:
            sys.exit(1)

    def show_total(self) -> None:
        """Show a line for all objects together, too, and small ones only there."""
        self._total = Bar(self._bars, self._bars.add_task(counted(0), total=None))

    @contextmanager
    def bar(self, label: str, size: int | None) -> Iterator[Bar]:
        """Show the progress of one object while it lasts."""
        if self._total and size is not None and size < SMALL_BYTES:
            yield Bar(self._bars, None, self._total)
            return
        text = printable(label)
        if len(text) > LABEL_LETTERS:
            text = f"...{text[3 - LABEL_LETTERS :]}"
        task = self._bars.add_task(text, total=size)
        try:
            yield Bar(self._bars, task, self._total)
        finally:
            self._bars.remove_task(task)

    def well(self, count: int = 1) -> None:
        """Note that objects are as they should be."""
        with self._lock:
            self._in_a_row = 0
            self.done += count
            if self._total:
                self._total.name(counted(self.done))

    def failed(self, label: str, error: Exception) -> None:
        """Note that something failed. Raises: FailureError: so would all the rest."""
        with self._lock:
            self.failures += 1
            is_transient = isinstance(error, ClientError) and (
                error.retry_after_seconds is not None
            )
            self._in_a_row = self._in_a_row + 1 if is_transient else 0
            is_hopeless = self._in_a_row == FAILURES_IN_A_ROW or self._concerns_all(
                error
            )
        sentence = f"{printable(label)}: {reason_of(error)}"
        if is_hopeless:
            raise FailureError(sentence)
        self.say(sentence)

    def _concerns_all(self, error: Exception) -> bool:
        """Whether every other request would be refused for the same reason."""
        if not isinstance(error, RefusedError):
            return False
        has_one_bucket = self._total is not None
        is_bucket = has_one_bucket and error.code in HOPELESS_CODES
        return is_bucket or error.status in (401, 403)

    def say(self, sentence: str) -> None:
        """Tell something that must be known."""
        self._console.print(Text(sentence), soft_wrap=True)

    def tell(self, sentence: str) -> None:
        """Tell at the end what went well, on standard output, or keep quiet."""
        self._bars.stop()
        if not self._is_quiet:
            click.echo(sentence)


class Bar:
    """The progress of one object, or of all; without a task only the total has it."""

    def __init__(
        self, bars: Progress, task: TaskID | None, total: Bar | None = None
    ) -> None:
        self._bars = bars
        self._task = task
        self._total = total
        self._position = 0

    def set(self, position: int, size: int | None = None) -> None:
        """Show how many bytes are through, of how many."""
        if self._total:
            self._total.advance(position - self._position)
        self._position = position
        if self._task is not None:
            self._bars.update(self._task, completed=position, total=size)

    def advance(self, size: int) -> None:
        """Show that more bytes are through."""
        if self._task is not None:
            self._bars.update(self._task, advance=size)

    def name(self, label: str) -> None:
        """Show another label."""
        if self._task is not None:
            self._bars.update(self._task, description=label)
