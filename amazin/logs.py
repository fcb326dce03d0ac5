"""JSON logs: one object a line, to standard output. Never credentials or bodies."""

from __future__ import annotations

import json
import logging
import time
from typing import Any, TextIO

_encode = json.JSONEncoder(default=str).encode


class JsonFormatter(logging.Formatter):
    """Formats a record; `extra={"fields": {...}}` adds fields of its own."""

    _second = (0, "")
    """The last one, and its text."""

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
    """A record of what happens at every request: without who logged it, and where."""

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
    """Writes a line at once; without a lock, for that can't be torn apart."""

    def handle(self, record: logging.LogRecord) -> bool:
        """Write a record, whatever it is."""
        try:
            self.stream.write(self.format(record) + "\n")
            self.stream.flush()
        except Exception:  # noqa: BLE001 - as all handlers do
            self.handleError(record)
        return True


def logging_config(level: str) -> dict[str, Any]:
    """Return what `logging.config.dictConfig` takes; `level` in lower case."""
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
