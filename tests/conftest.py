"""What holds for every test, and real servers as fixtures.

Tests that use real servers are marked `integration`. Of the environment nothing counts
but what names those servers: no setting, no wish for colours, no terminal, nothing
that changes what an interpreter does.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import TypeVar

import pytest

from amazin.settings.load import KNOWN
from tests.support.cleanup import close_all
from tests.support.examples import register_profiles
from tests.support.leaks import Holdings, left_since
from tests.support.ports import free_port
from tests.support.servers import (
    RUNNING,
    MinioServer,
    Server,
    VersityServer,
    find_binary,
)

S = TypeVar("S", bound=Server)
register_profiles()

_OF_OTHERS = (
    *("AMAZIN_URL", "CONFIG", "LOG_DEBUG", "GUNICORN_CMD_ARGS", "WEB_CONCURRENCY"),
    *("FORCE_COLOR", "NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "TTY_COMPATIBLE"),
    *("COLUMNS", "LINES", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
    *("http_proxy", "https_proxy", "all_proxy", "no_proxy", "CDPATH"),
)
"""Variables that programs under test heed, beside the settings."""


def pytest_configure(config: pytest.Config) -> None:
    """Begin with an environment and signals as on any machine, also for children."""
    given_up = {*map(str.upper, KNOWN), *_OF_OTHERS}
    if not getattr(config.option, "numprocesses", None):  # else its workers need them
        given_up |= {name for name in os.environ if name.startswith("PYTHON")}
    for variable in given_up:
        os.environ.pop(variable, None)
    os.environ["TERM"] = "dumb"
    # In the background of a script it is ignored, and children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """At the end of each test its threads, children and descriptors are gone.

    What fixtures of a wider scope hold was there before, but for real servers: a test
    may have started them again. Who made them stops them.
    """
    before = Holdings.now()
    yield
    close_all()
    assert left_since(before, RUNNING) == []


@pytest.fixture(autouse=True)
def log_as_it_was() -> Iterator[None]:
    """What a command or a server makes of the process's log ends with the test."""
    yield
    logger = logging.getLogger("amazin")
    logger.handlers.clear()
    logger.propagate = True
    logger.setLevel(logging.NOTSET)


class ServerFactory:
    """Makes servers, not started, each with its own keys, port and empty folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = count(1)
        self._made: list[Server] = []

    def make(self, kind: type[S], binary: str) -> S:
        """Return a new server of this kind."""
        number = next(self._numbers)
        server = kind(
            binary,
            self._folder / f"server-{number}",
            free_port(),
            f"accesskey{number}",
            f"secret-key-{number}",
        )
        self._made.append(server)
        return server

    def stop_all(self) -> None:
        """Stop all that run."""
        for server in self._made:
            server.stop()


@pytest.fixture(scope="session")
def _servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerFactory]:
    factory = ServerFactory(tmp_path_factory.mktemp("servers"))
    yield factory
    factory.stop_all()


@pytest.fixture(scope="session")
def new_minio(_servers: ServerFactory) -> Callable[[], MinioServer]:
    """A function that returns a new MinIO server, not started."""
    binary = find_binary("MINIO", "minio")
    return lambda: _servers.make(MinioServer, binary)


@pytest.fixture(scope="session")
def new_versity(_servers: ServerFactory) -> Callable[[], VersityServer]:
    """A function that returns a new versitygw server, not started."""
    binary = find_binary("VERSITYGW", "versitygw")
    return lambda: _servers.make(VersityServer, binary)


@pytest.fixture(scope="session")
def minio_server(new_minio: Callable[[], MinioServer]) -> MinioServer:
    """One MinIO server for all tests; who kills or freezes it starts it again."""
    server = new_minio()
    server.start()
    return server


@pytest.fixture(scope="session")
def versity_server(new_versity: Callable[[], VersityServer]) -> VersityServer:
    """One versitygw server for all tests; who kills or freezes it starts it again."""
    server = new_versity()
    server.start()
    return server
