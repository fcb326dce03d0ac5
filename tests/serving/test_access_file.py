"""An access file that is replaced under load, with a real server and its workers."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from pathlib import Path
from threading import Event

import pytest

from tests.support.gateway_process import GatewayProcess

PATIENCE_SECONDS = 20.0
REPLACEMENTS = 1000
FIRST = {"reader": "[{allow: [read], ids: true}]", "gone": "[]"}
SECOND = {"reader": "[{allow: [read], ids: true}]", "writer": "[{allow: [admin]}]"}


def text_of(principals: dict[str, str]) -> str:
    """Return an access file with these principals, whose tokens are their names."""
    lines = ["principals:"]
    for name, grants in principals.items():
        digest = hashlib.sha256(name.encode()).hexdigest()
        token = f"[{{sha256: {digest}}}]"
        lines.append(f"  {name}: {{tokens: {token}, grants: {grants}}}")
    return "\n".join(lines) + "\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The access file, a link as in a mounted secret."""
    (tmp_path / "first").write_text(text_of(FIRST))
    link = tmp_path / "access.yaml"
    link.symlink_to("first")
    return link


@pytest.fixture
def gateway(tmp_path: Path, path: Path) -> Iterator[GatewayProcess]:
    """A gateway on folders, with one worker: another one could begin too late."""
    settings = {"DISCOVERY": "folders", "DATA_DIR": str(tmp_path / "data")}
    settings |= {"ACCESS_FILE": str(path), "WORKERS": "1"}
    with GatewayProcess(tmp_path, settings) as gateway:
        yield gateway


def status_for(gateway: GatewayProcess, token: str) -> int:
    """Return the status that a principal gets for a missing object."""
    headers = {"Authorization": f"Bearer {token}"}
    return gateway.ask("GET", "/object/none", None, headers).status


def replace(path: Path, text: str, *, by_link: bool) -> None:
    """Replace the file: another one in its place, or where the link leads."""
    new = path.with_name("new")
    new.write_text(text)
    if by_link:
        target = path.with_name(f"target-{time.monotonic_ns()}")
        new.rename(target)
        new.symlink_to(target.name)
    new.replace(path)


@pytest.mark.slow
def test_no_request_is_decided_by_half_a_file(
    gateway: GatewayProcess, path: Path
) -> None:
    whole, over = text_of(SECOND), Event()
    half = whole[: whole.index("  writer")]  # well-formed
    texts = cycle([text_of(FIRST), "principals: [", whole, half[:-20]])

    def client(number: int) -> set[tuple[str, int]]:
        found = set()
        for token in cycle(("reader", "nobody", "writer")):
            found.add((token, status_for(gateway, token)))
            if over.is_set():
                return found
        raise AssertionError

    with ThreadPoolExecutor(8) as pool:
        clients = [pool.submit(client, number) for number in range(8)]
        for number in range(REPLACEMENTS):
            replace(path, next(texts), by_link=number % 2 == 0)
        over.set()
        seen = set().union(*(done.result(PATIENCE_SECONDS) for done in clients))
    assert ("reader", 404) in seen
    assert ("nobody", 403) in seen
    assert seen <= {
        ("reader", 404),  # in each whole file
        ("nobody", 403),
        ("writer", 403),
        ("writer", 404),
    }
    replace(path, whole, by_link=True)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while {status_for(gateway, "writer") for _ in range(8)} != {404}:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_worker_that_starts_beside_a_wrong_file_lets_nobody_in(
    gateway: GatewayProcess, path: Path
) -> None:
    replace(path, "principals: [", by_link=False)
    for worker in gateway.workers():
        os.kill(worker, signal.SIGKILL)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while status_of_new_worker(gateway) != 503:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert gateway.ask("GET", "/health").status == 200
    replace(path, text_of(SECOND), by_link=False)
    while {status_for(gateway, "reader") for _ in range(8)} != {404}:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def status_of_new_worker(gateway: GatewayProcess) -> int:
    """Return the status for a principal; 0 while no worker listens."""
    try:
        return status_for(gateway, "reader")
    except OSError:
        return 0


def test_a_wrong_file_stops_the_start(tmp_path: Path, path: Path) -> None:
    replace(path, "principals: 3", by_link=False)
    settings = {"DISCOVERY": "folders", "DATA_DIR": str(tmp_path / "data")}
    gateway = GatewayProcess(tmp_path, {**settings, "ACCESS_FILE": str(path)})
    with pytest.raises(AssertionError, match="expected names of principals"):
        gateway.start()
    assert "Settings: " in gateway.log.read_text()
