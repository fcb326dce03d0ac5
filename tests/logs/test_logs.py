"""Lines of JSON: what is in them, and that each is written at once."""

from __future__ import annotations

import io
import json
import logging
import logging.config
import sys
from typing import Any

import pytest

from amazin.logs import EventRecord, JsonFormatter, LineHandler, logging_config


def record(message: str, *args: object, **changes: Any) -> logging.LogRecord:
    """Return a record of a moment in 1994."""
    made = logging.LogRecord("amazin.x", logging.WARNING, "", 0, message, args, None)
    made.created, made.msecs = 784_111_777.25, 250.0
    made.__dict__.update(changes)
    return made


def formatted(given: logging.LogRecord) -> dict[str, Any]:
    """Return what is in its line."""
    line = JsonFormatter().format(given)
    assert "\n" not in line
    found: dict[str, Any] = json.loads(line)
    return found


def test_a_line_has_time_level_logger_and_message() -> None:
    assert formatted(record("node %s\nis away", "a")) == {
        "time": "1994-11-06T08:49:37.250Z",
        "level": "warning",
        "logger": "amazin.x",
        "message": "node a\nis away",
    }


def test_a_line_has_the_fields_of_its_record_whatever_they_are() -> None:
    found = formatted(record("x", fields={"status": 200, "error": KeyError("k")}))
    assert (found["status"], found["error"]) == (200, "'k'")


def test_a_line_has_the_exception() -> None:
    try:
        raise KeyError("lost")
    except KeyError:
        found = formatted(record("x", exc_info=sys.exc_info()))
    assert found["exception"].endswith("KeyError: 'lost'")


def test_the_time_goes_on() -> None:
    formatter = JsonFormatter()
    times = [
        json.loads(formatter.format(record("x", created=created)))["time"]
        for created in (60.25, 60.25, 121.25)
    ]
    assert [time[14:19] for time in times] == ["01:00", "01:00", "02:01"]


def test_the_record_of_a_request_is_formatted_like_any_other() -> None:
    found = formatted(EventRecord("amazin.access", "GET", {"status": 200}))
    assert list(found) == ["time", "level", "logger", "message", "status"]
    assert (found["level"], found["logger"]) == ("info", "amazin.access")


class Stream(io.StringIO):
    """A stream that notes what is written at once, and may fail."""

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__()
        self.error = error
        self.writes: list[str] = []
        self.flushes = 0

    def write(self, text: str) -> int:
        if self.error:
            raise self.error
        self.writes.append(text)
        return len(text)

    def flush(self) -> None:
        self.flushes += 1


def test_a_line_is_a_single_write_and_is_not_kept_back() -> None:
    stream = Stream()
    assert LineHandler(stream).handle(record("x"))
    assert (stream.writes, stream.flushes) == (["x\n"], 1)


@pytest.mark.parametrize(
    "error",
    [BrokenPipeError("Broken pipe"), OSError(28, "No space"), ValueError("closed")],
)
def test_lines_that_cannot_be_written_cost_one_sentence(
    error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    stream = Stream(error)
    handler = LineHandler(stream)
    for _ in range(1000):
        assert handler.handle(record("x"))
    said = f"The log can't be written; lines are lost: {error}\n"
    assert capsys.readouterr().err == said
    stream.error = None
    handler.handle(record("y"))
    assert stream.writes == ["y\n"]
    stream.error = error
    handler.handle(record("z"))
    assert capsys.readouterr().err == said


def test_a_log_without_standard_error_is_no_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    assert LineHandler(Stream(BrokenPipeError())).handle(record("x"))


def test_a_record_that_can_not_be_formatted_is_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert LineHandler(Stream()).handle(record("%d", "x"))
    assert "Logging error" in capsys.readouterr().err


def test_the_configuration_shows_its_level_and_nothing_of_the_access_log(
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    try:
        logging.config.dictConfig(logging_config("info"))
        logging.getLogger("amazin.x").info("shown")
        logging.getLogger("amazin.x").debug("not shown")
        logging.getLogger("gunicorn.access").warning("not shown either")
    finally:
        root.handlers, root.level = before, level
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["message"] == "shown"
