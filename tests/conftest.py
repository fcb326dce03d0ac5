"""Real servers as fixtures; the tests that use them are marked `integration`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import TypeVar

import pytest

from tests.support.servers import (
    MinioServer,
    Server,
    VersityServer,
    find_binary,
    free_port,
)

S = TypeVar("S", bound=Server)


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
