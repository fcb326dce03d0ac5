"""What the commands that speak to a gateway share: options, progress, threads."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from queue import Queue
from types import TracebackType
from typing import Self, TypeVar

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

from amazin.cli.common import FailureError, MistakeError
from amazin.client.client import DEFAULT_URL, GatewayClient
from amazin.client.objects import checked_headers, path_of
from amazin.errors import ClientError, RefusedError
from amazin.model.stored_names import printable

T = TypeVar("T")
Command = TypeVar("Command", bound=Callable[..., object])
HOPELESS_CODES = frozenset(("NoSuchBucket", "InvalidBucketName"))
"""Errors that all objects of a bucket meet."""
FAILURES_IN_A_ROW = 10
"""So many objects for which the gateway was tried again in vain: then it is left."""
LABEL_LETTERS = 40
SMALL_BYTES = 2**20
"""Objects below it have no bar of their own, if there is one for all."""


def gateway_options(command: Command) -> Command:
    """Add the options that say which gateway, and how much is told."""
    for option in (
        click.option("--quiet", "-q", is_flag=True, help="Only tell what went wrong."),
        click.option(
            "--token",
            envvar="AMAZIN_TOKEN",
            show_envvar=True,
            help="API token, if the gateway wants one.",
        ),
        click.option(
            "--url",
            envvar="AMAZIN_URL",
            default=DEFAULT_URL,
            show_default=True,
            show_envvar=True,
            help="The gateway.",
        ),
    ):
        command = option(command)
    return command


make_bucket_option = click.option(
    "--make-bucket", is_flag=True, help="Make the bucket, if there is none."
)


def client_of(url: str, token: str | None) -> GatewayClient:
    """Return a client. Raises: MistakeError: these can't be a URL and a token."""
    try:
        return GatewayClient(url, token)
    except ClientError as exc:
        raise MistakeError(str(exc)) from exc


def as_address(text: str) -> str:
    """Return an address. Raises: MistakeError: it can't be one."""
    try:
        path_of(text)
    except ClientError as exc:
        raise MistakeError(str(exc)) from exc
    return text


def as_tree(text: str) -> tuple[str, str]:
    """Return the bucket, and what all keys below an address begin with.

    Raises: MistakeError: it names no bucket.
    """
    bucket, _, prefix = text.partition("/")
    if not bucket:
        raise MistakeError(f"{text!r} has no bucket: photos/2026 has one")
    if prefix and not prefix.endswith("/"):
        prefix += "/"
    return bucket, prefix


def last_segment(address: str) -> str:
    """Return the name that a file gets after an object. Raises: MistakeError: none."""
    name = address.rpartition("/")[2]
    if name in ("", ".", "..") or "\0" in name:
        raise MistakeError(f"{address!r} ends in no file's name: give one")
    return name


def counted(objects: int) -> str:
    """Return a number of objects, in words."""
    return f"{objects} object" if objects == 1 else f"{objects} objects"


def reason_of(error: Exception) -> str:
    """Return why something failed, as one sentence for people."""
    if isinstance(error, OSError):
        return printable(error.strerror or type(error).__name__)
    return printable(str(error))


@contextmanager
def with_hint() -> Iterator[None]:
    """Add to an error of an upload what helps against it, if anything does."""
    try:
        yield
    except RefusedError as exc:
        hint = ""
        if exc.code == "NoSuchBucket":
            hint = "; --make-bucket makes it"
        elif exc.status == 411:
            hint = "; this server takes files, and no pipes"
        after = exc.retry_after_seconds
        raise RefusedError(exc.status, exc.code, f"{exc}{hint}", after) from exc


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


def each(work: Callable[[T], object], tasks: Iterable[T], threads: int) -> None:
    """Do all tasks, so many at a time, as they come; they are never all in memory.

    The first error of `work`, or of `tasks`, ends it and is raised.
    """
    pending: Queue[T | None] = Queue(threads)
    errors: list[Exception] = []

    def run() -> None:
        while (task := pending.get()) is not None:
            try:
                if not errors:
                    work(task)
            except Exception as exc:  # noqa: BLE001 - raised below
                errors.append(exc)

    # They are daemons, so that an interruption ends the process at once: nothing that
    # they do has to be brought to an end.
    crew = [threading.Thread(target=run, daemon=True) for _ in range(threads)]
    for thread in crew:
        thread.start()
    try:
        for task in tasks:
            if errors:
                break
            pending.put(task)
    except Exception as exc:  # noqa: BLE001 - raised below
        errors.append(exc)
    for _ in crew:
        pending.put(None)
    for thread in crew:
        thread.join()
    if errors:
        raise errors[0]


def as_headers(
    context: click.Context, option: click.Parameter, values: tuple[str, ...]
) -> dict[str, str]:
    """Read `X-Owner: ann`, several times."""
    headers: dict[str, str] = {}
    for value in values:
        name, colon, text = value.partition(":")
        if not colon or not name.strip():
            message = f"{value!r} is no header like 'X-Owner: ann'"
            raise click.BadParameter(message, context, option)
        headers[name.strip()] = text.strip()
    return headers


def check_headers(headers: Mapping[str, str]) -> None:
    """Raises: MistakeError: one of them can't be sent with an upload."""
    try:
        checked_headers(headers)
    except ClientError as exc:
        raise MistakeError(str(exc)) from exc
