"""Keeps the rules of `ACCESS_FILE` up to date while the file changes.

The file is looked at once a second at most, when a request comes. What has changed
counts as soon as two looks found the same: it may be written at this moment, and half a
file can be well-formed. A file that is wrong changes nothing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

from amazin.access.file import parse_access
from amazin.access.rules import Rules, with_settings
from amazin.errors import HTTPError, SettingsError
from amazin.settings.settings import Settings

LOOK_SECONDS = 1.0
MOST_BYTES = 4 * 2**20
"""A longer file is taken for a mistake."""
Mark = tuple[object, ...]
"""Differs if a file was replaced or written."""

log = logging.getLogger("amazin.access_file")


class AccessFile:
    """The rules of a file."""

    def __init__(
        self,
        path: str,
        settings: Settings,
        clock: Callable[[], float] = time.monotonic,
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
        self._rules: Rules | None = None
        self._secrets: tuple[str, ...] = ()
        self.is_good = True
        """Whether the rules are those of the file as it was seen last."""
        self._seen = self._used = self._mark()
        try:
            self._rules, self._secrets = self._read()
        except SettingsError as exc:
            if not is_replacement:
                raise
            self.is_good = False
            log.error("nobody gets in: %s", exc)
        self._seen = self._used = self._mark()
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
        mark = self._mark()
        is_still, self._seen = mark == self._seen, mark
        if not is_still or mark == self._used:
            return
        try:
            rules, secrets = self._read()
        except SettingsError as exc:
            self.is_good, self._used = False, mark  # a wrong file is read once
            log.error("the rules stay as they were: %s", exc)
            return
        if self._mark() != mark:  # it was written meanwhile
            return
        self._rules, self._secrets, self.is_good = rules, secrets, True
        self._seen = self._used = self._mark()
        log.info("the access file was read again")

    def _mark(self) -> tuple[Mark, ...]:
        return tuple(map(mark_of, (self._path, *self._secrets)))

    def _read(self) -> tuple[Rules, tuple[str, ...]]:
        rules, secrets = read_rules(self._path)
        for path in filter(is_shown, secrets):
            log.warning("%s can be read by other users of this machine", path)
        return with_settings(rules, self._settings), secrets


def read_rules(path: str) -> tuple[Rules, tuple[str, ...]]:
    """Return the rules in a file, and the paths of the secrets that it names.

    Raises: SettingsError.
    """
    secrets: list[str] = []

    def read_secret(name: str) -> str:
        secrets.append(str(Path(path).parent / name))
        return content_of(Path(secrets[-1]))

    try:
        text = content_of(Path(path))
    except ValueError as exc:
        raise SettingsError(f"ACCESS_FILE: {path}: {exc}") from None
    return parse_access(text, path, read_secret), tuple(secrets)


def mark_of(path: str) -> Mark:
    """Return what differs when a file, or what a link leads to, has changed."""
    try:
        found = Path(path).stat()
    except OSError as exc:
        return (exc.errno,)
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size


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
