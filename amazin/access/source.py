"""Keeps the rules of `ACCESS_FILE` up to date while the file changes.

The file is looked at once a second at most, when a request comes. What has changed
counts as soon as it is two seconds old, or two looks found the same: it may be written
at this moment, and half a file can be well-formed. A wrong file changes nothing.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from amazin.access.file import parse_access
from amazin.access.rules import Rules, with_settings
from amazin.blocking import BlockingCalls
from amazin.errors import HTTPError, SettingsError
from amazin.settings.settings import Settings

LOOK_SECONDS = 1.0
OLD_SECONDS = 2.0
"""What was changed so long ago is not being written."""
MOST_BYTES = 2**20
"""A longer file is taken for a mistake: to parse it would take many seconds."""
Mark = tuple[int, ...]
"""Differs if a file was replaced or written. The first number is when that was, in
nanoseconds of Unix time; 0: there is no file."""

log = logging.getLogger("amazin.access_file")


class AccessFile:
    """The rules of a file."""

    def __init__(
        self,
        path: str,
        settings: Settings,
        clock: Callable[[], float] = time.monotonic,
        now_ns: Callable[[], int] = time.time_ns,
        *,
        is_replacement: bool = False,
    ) -> None:
        """Read the file.

        `is_replacement`: this process takes the place of one that ended. It must not
        stop the server because the file is wrong now: it knows no rules until it isn't.

        Raises: SettingsError.
        """
        self._path = path
        self._settings = settings
        self._clock = clock
        self._now_ns = now_ns
        self._rules: Rules | None = None
        self.is_good = True
        """Whether the rules are those of the file as it was seen last."""
        # A long file takes seconds, in which others are served.
        self._outside, self._looking = BlockingCalls(1), threading.Lock()
        self._used: dict[str, Mark] = {}
        """The files that were read last, as they were before."""
        try:
            self._rules = self._read()
        except SettingsError as exc:
            if not is_replacement:
                raise
            self.is_good = False
            log.error("nobody gets in: %s", exc)
        self._seen = self._used
        self._next_look = clock() + LOOK_SECONDS

    def rules(self) -> Rules:
        """Return the rules that are in force. Raises: HTTPError 503: none are known."""
        now = self._clock()
        if now >= self._next_look:
            self._look_once(now)
        if self._rules is None:
            message = "The access file can't be used, so nobody is known; try later"
            raise HTTPError(503, "AccessUnknown", message)
        return self._rules

    def _look_once(self, now: float) -> None:
        """Look, or leave that to another request; wait for it if it is overdue."""
        is_overdue = now >= self._next_look + OLD_SECONDS
        if not self._looking.acquire(blocking=is_overdue):
            return
        try:
            if now >= self._next_look:
                self._look()
        finally:
            self._next_look = max(self._next_look, now + LOOK_SECONDS)
            self._looking.release()

    def _look(self) -> None:
        marks = self._outside.run(marks_of, self._used)
        is_still, self._seen = marks == self._seen or self._is_old(marks), marks
        if not is_still or marks == self._used:
            return
        try:
            rules = self._read()
        except SettingsError as exc:  # a wrong file is read once
            self.is_good = False
            log.error("the rules stay as they were: %s", exc)
            return
        # If it was written meanwhile, the next look sees that.
        if self._outside.run(marks_of, self._used) == self._used:
            self._rules, self.is_good = rules, True
            log.info("the access file was read again")

    def _is_old(self, marks: Mapping[str, Mark]) -> bool:
        latest = max(mark[0] for mark in marks.values())
        return 0 < latest < self._now_ns() - OLD_SECONDS * 10**9

    def _read(self) -> Rules:
        self._used = self._outside.run(marks_of, [self._path])
        rules = self._outside.run(read_rules, self._path, self._used)
        for path in filter(is_shown, list(self._used)[1:]):
            log.warning("%s can be read by other users of this machine", path)
        return with_settings(rules, self._settings)


def read_rules(path: str, marks: dict[str, Mark] | None = None) -> Rules:
    """Return the rules in a file; `marks` gets the mark of each file that it names.

    Raises: SettingsError.
    """

    def read_secret(name: str) -> str:
        secret = Path(path).parent / name
        if marks is not None:
            marks[str(secret)] = mark_of(str(secret))
        return content_of(secret)

    try:
        text = content_of(Path(path))
    except ValueError as exc:
        raise SettingsError(f"ACCESS_FILE: {path}: {exc}") from None
    return parse_access(text, path, read_secret)


def marks_of(paths: Iterable[str]) -> dict[str, Mark]:
    """Return the mark of each file."""
    return {path: mark_of(path) for path in paths}


def mark_of(path: str) -> Mark:
    """Return what differs when a file, or what a link leads to, has changed."""
    try:
        found = Path(path).stat()
    except OSError as exc:
        return 0, exc.errno or 0
    size = found.st_size
    return found.st_ctime_ns, found.st_dev, found.st_ino, found.st_mtime_ns, size


def is_shown(path: str) -> bool:
    """Whether other users may read a file."""
    try:
        return bool(Path(path).stat().st_mode & 0o004)
    except OSError:
        return False


def content_of(path: Path) -> str:
    """Return a file's text. Raises: ValueError, with why it can't be used."""
    try:
        if path.exists() and not path.is_file():
            raise ValueError("it is no file")
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as exc:
        raise ValueError(exc.strerror or type(exc).__name__) from None
    if len(content) > MOST_BYTES:
        raise ValueError(f"it is longer than {MOST_BYTES} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8 text") from None
