"""Keeps the rules of `ACCESS_FILE` up to date while the file changes.

The file is looked at once a second at most, when a request comes. A change counts at
once if it is old, else as soon as two looks found the same: the file may be written at
this moment, and half a file can be well-formed. A file that is wrong changes nothing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from amazin.access.file import parse_access
from amazin.access.rules import Rules, with_settings
from amazin.errors import HTTPError, SettingsError
from amazin.settings.settings import Settings

LOOK_SECONDS = 1.0
OLD_SECONDS = 2.0
"""A file that was changed before that is not being written.

Some file systems keep whole seconds, and a file server's clock may differ.
"""
MOST_BYTES = 4 * 2**20
"""A longer file is taken for a mistake."""

log = logging.getLogger("amazin.access_file")


class Mark(NamedTuple):
    """Differs if a file was replaced or written, or what a link leads to."""

    error: int | None = None
    """Why nothing else is known; None: all is."""
    device: int = 0
    inode: int = 0
    size: int = 0
    modified_ns: int = 0
    changed_ns: int = 0

    def is_old(self, now: float) -> bool:
        """Whether the file was changed long ago, by the wall clock.

        No time in the future is old: a clock was set back.
        """
        latest_ns = max(self.modified_ns, self.changed_ns)
        return self.error is None and latest_ns <= (now - OLD_SECONDS) * 1e9


Marks = dict[str, Mark]
"""By path: the access file and the secrets that it names."""


class AccessFile:
    """The rules of a file."""

    def __init__(
        self,
        path: str,
        settings: Settings,
        clock: Callable[[], float] = time.monotonic,
        *,
        wall_clock: Callable[[], float] = time.time,
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
        self._wall_clock = wall_clock
        self._rules: Rules | None = None
        self.is_good = True
        """Whether the rules are those of the file as it was seen last."""
        self._used: Marks = {}
        try:
            self._rules = self._read(self._used)
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
            self._next_look = now + LOOK_SECONDS
            self._look()
        if self._rules is None:
            message = "The access file can't be used, so nobody is known; try later"
            raise HTTPError(503, "AccessUnknown", message)
        return self._rules

    def _look(self) -> None:
        marks, before = marks_of(self._used), self._seen
        self._seen = marks
        if marks == self._used or not (marks == before or self._are_old(marks)):
            return
        read: Marks = {}
        try:
            rules = self._read(read)
        except SettingsError as exc:
            self.is_good = False
            self._seen = self._used = {**read, **marks}  # a wrong file is read once
            log.error("the rules stay as they were: %s", exc)
            return
        found = {**read, **marks}
        if marks_of(found) != found:  # one was written meanwhile
            return
        self._rules, self.is_good = rules, True
        self._seen = self._used = read
        log.info("the access file was read again")

    def _are_old(self, marks: Marks) -> bool:
        now = self._wall_clock()
        return all(mark.is_old(now) for mark in marks.values())

    def _read(self, marks: Marks) -> Rules:
        rules = read_rules(self._path, marks)
        for path in filter(is_shown, marks.keys() - {self._path}):
            log.warning("%s can be read by other users of this machine", path)
        return with_settings(rules, self._settings)


def read_rules(path: str, marks: Marks) -> Rules:
    """Return the rules in a file; add the marks of what is read, from before that.

    Raises: SettingsError.
    """
    marks[path] = mark_of(path)

    def read_secret(name: str) -> str:
        secret = str(Path(path).parent / name)
        marks.setdefault(secret, mark_of(secret))
        return content_of(Path(secret))

    try:
        text = content_of(Path(path))
    except ValueError as exc:
        raise SettingsError(f"ACCESS_FILE: {path}: {exc}") from None
    return parse_access(text, path, read_secret)


def marks_of(paths: Iterable[str]) -> Marks:
    """Return the marks of files."""
    return {path: mark_of(path) for path in paths}


def mark_of(path: str) -> Mark:
    """Return the mark of a file."""
    try:
        found = Path(path).stat()
    except OSError as exc:
        return Mark(exc.errno or 0)
    times = found.st_mtime_ns, found.st_ctime_ns
    return Mark(None, found.st_dev, found.st_ino, found.st_size, *times)


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
