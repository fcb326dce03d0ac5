"""The server knobs: that gunicorn still has what they turn, and that they fit."""

from __future__ import annotations

import re
import runpy
import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.config import Config
from gunicorn.http.unreader import SocketUnreader

PROJECT = Path(__file__).resolve().parent.parent
NOT_KNOBS = ("os", "signal", "subprocess", "sys", "settings")


@pytest.fixture
def knobs() -> Iterator[dict[str, Any]]:
    """The names that the configuration file defines."""
    default, handler = SocketUnreader.max_body_chunk, signal.getsignal(signal.SIGINT)
    yield runpy.run_path(str(PROJECT / "gunicorn.conf.py"))
    SocketUnreader.max_body_chunk = default
    signal.signal(signal.SIGINT, handler)


def test_every_knob_is_one_that_gunicorn_knows(knobs: dict[str, Any]) -> None:
    known = Config().settings
    ours = {
        name
        for name, value in knobs.items()
        if not name.startswith("_") and name.islower() and name not in NOT_KNOBS
    }
    assert {"bind", "worker_class", "pre_request", "logconfig_dict"} <= ours
    assert ours - known.keys() <= {"annotations", "logging_config"}


def test_bodies_are_read_in_large_pieces(knobs: dict[str, Any]) -> None:
    knobs["post_worker_init"](None)
    assert SocketUnreader.max_body_chunk == 256 * 1024


def test_a_silent_client_is_cut_off(knobs: dict[str, Any]) -> None:
    limits: list[float] = []
    sock = SimpleNamespace(settimeout=limits.append)
    knobs["pre_request"](None, SimpleNamespace(unreader=SimpleNamespace(sock=sock)))
    knobs["pre_request"](None, SimpleNamespace(unreader=object()))
    assert limits == [knobs["CLIENT_TIMEOUT_SECONDS"]]


def test_the_container_gets_longer_to_stop_than_running_requests(
    knobs: dict[str, Any],
) -> None:
    compose = (PROJECT / "docker-compose.yml").read_text()
    grace = re.search(r"stop_grace_period: ([0-9]+)s", compose)
    assert grace
    assert int(grace[1]) > knobs["graceful_timeout"]
