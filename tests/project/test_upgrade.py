"""What an earlier state stored is read, listed, repaired and settled by this state."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.command_process import run
from tests.support.gateway_process import GatewayProcess
from tests.support.paths import PROJECT
from tests.support.servers import find_binary
from tests.support.upgrade import (
    LISTS,
    NAMES,
    answers_of,
    folder_settings,
    minio_settings,
    unpack,
)
from tests.support.waiting import await_that

STORED = PROJECT / "tests" / "data" / "upgrade"
ANSWERS: Mapping[str, Any] = json.loads((STORED / "answers.json").read_text("utf-8"))
NEW = "node-4"
SOON = {"REFRESH_SECONDS": "0.2", "WORKERS": "1"}

Cluster = Callable[[Sequence[str]], AbstractContextManager[Mapping[str, str]]]
"""Starts the nodes of these names, and has the settings of a gateway on them."""


@pytest.fixture
def disks(tmp_path: Path, kind: str) -> Path:
    """The disks as they were left."""
    unpack(STORED / f"{kind}.tar.xz", tmp_path / "disks")
    return tmp_path / "disks"


@pytest.fixture
def cluster(disks: Path, kind: str) -> Cluster:
    """The nodes on these disks."""
    if kind == "minio":
        return partial(minio_settings, disks, find_binary("MINIO", "minio"))

    def folders(names: Sequence[str]) -> AbstractContextManager[Mapping[str, str]]:
        for name in names:
            (disks / name).mkdir(exist_ok=True)
        return nullcontext(folder_settings(disks))

    return folders


def same_as_before(gateway: GatewayProcess, kind: str) -> bool:
    """Check that each path is answered as it was, but that lists may tell more."""
    before = ANSWERS[kind]
    now = answers_of(gateway, [path for path in before if path not in LISTS])
    for path in LISTS:
        for old, new in zip(before[path], now[path], strict=True):
            assert old.items() <= new.items(), path
    assert {path: now[path] for path in before if path not in LISTS} == {
        path: answer for path, answer in before.items() if path not in LISTS
    }
    return True


MINIO = pytest.param("minio", marks=pytest.mark.integration)


@pytest.fixture
def command(tmp_path: Path) -> Callable[[str, Mapping[str, str]], str]:
    """Runs a command with these settings, which has to succeed; what it prints."""

    def succeed(name: str, settings: Mapping[str, str]) -> str:
        done = run(name, folder=tmp_path, settings={**settings, **SOON})
        assert (done.returncode, done.stderr) == (0, ""), done.stdout
        return done.stdout

    return succeed


@pytest.mark.parametrize("kind", ["folders", MINIO])
def test_what_an_earlier_state_stored_is_there_and_where_it_belongs(
    tmp_path: Path,
    cluster: Cluster,
    kind: str,
    command: Callable[[str, Mapping[str, str]], str],
) -> None:
    with (
        cluster(NAMES) as settings,
        GatewayProcess(tmp_path, {**settings, **SOON}) as gateway,
    ):
        assert same_as_before(gateway, kind)
        assert "The set of nodes is settled." in command("status", settings)
        assert "made" not in command("repair", settings)
        assert same_as_before(gateway, kind)


@pytest.mark.parametrize(
    "kind", [pytest.param("folders", marks=pytest.mark.slow), MINIO]
)
def test_what_an_earlier_state_stored_moves_to_a_new_node(
    tmp_path: Path,
    cluster: Cluster,
    kind: str,
    command: Callable[[str, Mapping[str, str]], str],
) -> None:
    with (
        cluster([*NAMES, NEW]) as settings,
        GatewayProcess(tmp_path, {**settings, **SOON}) as gateway,
    ):
        assert same_as_before(gateway, kind)
        await_that(lambda: f"next {NAMES[0]}" in gateway.log.read_text())
        assert "settled the new set of nodes" in command("repair", settings)
        assert "4 nodes: 4 up." in command("status", settings)
        assert same_as_before(gateway, kind)
        assert gateway.ask("PUT", "/object/id1", b"newer").status == 201
        assert gateway.ask("GET", "/object/id1").body == b"newer"
