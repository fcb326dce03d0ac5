"""JSON logs: one object per line, to standard output. Never credentials or bodies."""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from contextlib import suppress
from typing import Any, TextIO

_encode = json.JSONEncoder(default=str).encode


class JsonFormatter(logging.Formatter):
    """Formats a record as JSON; `extra={"fields": {...}}` adds fields to it."""

    _second = (0, "")
    """The last second that was formatted, and its text."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line of JSON."""
        second, moment = self._second
        if second != int(record.created):
            second = int(record.created)
            moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._second = (second, moment)
        line: dict[str, Any] = {
            "time": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return _encode(line)


_BLANK = vars(logging.LogRecord("", logging.INFO, "", 0, "", (), None))


class EventRecord(logging.LogRecord):
    """A cheap record for what every request logs; has no source file, no thread."""

    def __init__(self, logger: str, message: str, fields: dict[str, Any]) -> None:
        now = time.time()
        self.__dict__.update(
            _BLANK,
            name=logger,
            msg=message,
            created=now,
            msecs=now % 1 * 1000,
            fields=fields,
        )


class LineHandler(logging.StreamHandler[TextIO]):
    """Writes each line at once. It takes no lock: a line is a single write.

    Lines that can't be written are lost, which standard error says once.
    """

    _is_broken = False

    def handle(self, record: logging.LogRecord) -> bool:
        """Write a record of any level."""
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001 - as all handlers do
            self.handleError(record)
            return True
        try:
            self.stream.write(line + "\n")
            self.stream.flush()
        except (OSError, ValueError) as exc:  # no reader, a full disk; it was closed
            self._complain(exc)
        else:
            self._is_broken = False
        return True

    def _complain(self, error: Exception) -> None:
        """Say that lines are lost, unless it is known."""
        if self._is_broken:
            return
        self._is_broken = True
        with suppress(OSError, ValueError, AttributeError):  # None: it was closed
            sys.stderr.write(f"The log can't be written; lines are lost: {error}\n")


def logging_config(level: str) -> dict[str, Any]:
    """Return the argument of `logging.config.dictConfig`; `level` is in lower case."""
    shown = {"level": level.upper(), "handlers": ["stdout"], "propagate": False}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": JsonFormatter}},
        "handlers": {
            "stdout": {
                "()": LineHandler,
                "formatter": "json",
                "stream": "ext://sys.stdout",
            }
        },
        "loggers": {
            "amazin": shown,
            "gunicorn.error": shown,
            "gunicorn.access": {"handlers": [], "propagate": False},
        },
        "root": {"level": "WARNING", "handlers": ["stdout"]},
    }


def without_credentials(text: str) -> str:
    """Return a URL, or what should be one, with the part before its last @ hidden."""
    hidden = r"\1(hidden)@"
    return re.sub(r"^([A-Za-z][A-Za-z0-9+.-]*://)?.*@", hidden, text, flags=re.DOTALL)
