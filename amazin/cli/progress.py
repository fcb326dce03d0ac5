"""Progress bars of transfers and runs, and messages of failed transfers."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self

import click
from rich.console import Console
from rich.filesize import decimal
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TransferSpeedColumn,
)
from rich.table import Column
from rich.text import Text

from amazin.cli.common import FailureError, in_words, new_console
from amazin.client.files import Show
from amazin.errors import ClientError, LocalError, RefusedError
from amazin.model.names import printable
from amazin.units import counted

HOPELESS_CODES = frozenset(("NoSuchBucket", "InvalidBucketName"))
"""Error codes that all objects of the bucket would get."""
FAILURES_IN_A_ROW = 10
"""The command ends after this number of transient failures in a row."""
LABEL_LETTERS = 40
SMALL_BYTES = 2**20
"""Smaller objects have no bar of their own if there is a bar for all."""


def reason_of(error: Exception) -> str:
    """Return the text of an error; control characters are escaped."""
    if isinstance(error, OSError):
        return printable(error.strerror or type(error).__name__)
    return printable(in_words(error))


def shortened(label: str) -> str:
    """Return a label for a bar; of a long one, its end."""
    text = printable(label)
    fits = len(text) <= LABEL_LETTERS
    return text if fits else f"...{text[3 - LABEL_LETTERS :]}"


def say(text: str) -> None:
    """Print on standard output. Raises: FailureError: it can't be written."""
    try:
        click.echo(text)
    except BrokenPipeError:  # the reader has ended
        raise
    except OSError as exc:
        raise FailureError(f"standard output: {exc.strerror}") from exc


class Display:
    """Shows progress bars at a terminal, and a line for each failure.

    Both go to standard error. At the end of the `with`, the process exits with code 1
    if anything failed. Thread-safe.
    """

    def __init__(self, is_quiet: bool, has_bars: bool = True) -> None:
        self._is_quiet = is_quiet
        self._console = new_console()
        self._lock = threading.Lock()
        self._in_a_row = 0
        self.failures = 0
        self.done = 0
        """Number of objects that were transferred or skipped."""
        self._total: TaskID | None = None
        """The bar of all objects together."""
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(20),
            DownloadColumn(),
            TransferSpeedColumn(),
            console=self._console,
            transient=True,
            disable=is_quiet or not has_bars or not self._console.is_interactive,
        )

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        self._bars.stop()
        if kind is None and self.failures:
            sys.exit(1)

    def show_total(self) -> None:
        """Show one bar for all objects; small ones then have no bar of their own."""
        self._total = self._bars.add_task(counted(0, "object"), total=None)

    @contextmanager
    def bar(self, label: str, size: int | None) -> Iterator[Show]:
        """Show the progress of one object; give what updates it."""
        is_small = size is not None and size < SMALL_BYTES
        has_bar = self._total is None or not is_small
        task = self._bars.add_task(shortened(label), total=size) if has_bar else None
        position = 0

        def show(now: int, size: int | None) -> None:
            nonlocal position
            if self._total is not None:
                self._bars.advance(self._total, now - position)
            position = now
            if task is not None:
                self._bars.update(task, completed=now, total=size)

        try:
            yield show
        finally:
            if task is not None:
                self._bars.remove_task(task)

    @contextmanager
    def noting(self, label: str, local: str = "") -> Iterator[None]:
        """Count an object as done; note the ClientError or OSError of its transfer.

        The label of an error of this machine is `local`, if given.

        Raises: FailureError: as `note_failure`.
        """
        try:
            yield
        except BrokenPipeError:  # of standard output: the reader has ended
            raise
        except (ClientError, OSError) as exc:
            is_local = isinstance(exc, (OSError, LocalError))
            self.note_failure(local if local and is_local else label, exc)
        else:
            self.note_done()

    def note_done(self, count: int = 1) -> None:
        """Count objects as done."""
        with self._lock:
            self._in_a_row = 0
            self.done += count
            if self._total is not None:
                self._bars.update(self._total, description=counted(self.done, "object"))

    def note_failure(self, label: str, error: Exception) -> None:
        """Print and count a failure. Raises: FailureError: all others would fail."""
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
        self.warn(sentence)

    def _concerns_all(self, error: Exception) -> bool:
        """Whether all other requests would fail for the same reason."""
        if not isinstance(error, RefusedError):
            return False
        has_one_bucket = self._total is not None
        is_bucket = has_one_bucket and error.code in HOPELESS_CODES
        return is_bucket or error.status in (401, 403)

    def warn(self, sentence: str) -> None:
        """Print a sentence on standard error."""
        self._console.print(Text(sentence), soft_wrap=True)

    def print(self, sentence: str) -> None:
        """Print a result on standard output, unless quiet; the bars make room."""
        if self._is_quiet:
            return
        self._bars.stop()
        say(sentence)
        self._bars.start()


class DoneColumn(ProgressColumn):
    """A column with what a run has done so far, and its speed."""

    def __init__(self, done: Callable[[Any, str], str]) -> None:
        """`done` returns the text, from the report and the speed as text."""
        super().__init__(Column(no_wrap=True))
        self._done = done

    def render(self, task: Task) -> Text:
        """Return the current text; the report changes also between two updates."""
        report = task.fields["report"]
        speed = decimal(int(report.bytes / max(task.elapsed or 0.0, 0.1)))
        return Text(self._done(report, f"{speed}/s"))


def run_bar(
    console: Console, done: Callable[[Any, str], str], *labels: ProgressColumn
) -> Progress:
    """Return the progress bar of a run, with labels in front.

    Its task needs a field `report`. See `DoneColumn` for `done`. With labels the bar is
    removed at its end.
    """
    return Progress(
        *labels,
        BarColumn(20),
        MofNCompleteColumn(),
        DoneColumn(done),
        TimeElapsedColumn(),
        console=console,
        transient=bool(labels),
    )
