"""While hostile clients are connected, others are answered as if they were alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.hostile import MOST_GROWTH_BYTES, MOST_SECONDS, suffer, victim
from bench.hostile_clients import KINDS
from tests.support.gateway_process import GatewayProcess

IN_SHORT = ("pipelined requests", "chunks of one byte", "refused chunks, 404")
"""Each of them once stopped a worker for seconds."""
GENEROUS_SECONDS = 2.0
"""For the longest of few answers, on a machine that has other work."""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway of one worker."""
    with victim(tmp_path_factory.mktemp("gateway"), 1) as gateway:
        yield gateway


@pytest.mark.parametrize("kind", IN_SHORT)
def test_nobody_waits_for_hostile_clients(gateway: GatewayProcess, kind: str) -> None:
    found = suffer(gateway, kind, 0.5)
    assert (found.failed, found.lost_workers) == (0, 0)
    assert found.taken_bytes > 0
    assert found.longest_seconds < GENEROUS_SECONDS
    assert found.grown_bytes <= MOST_GROWTH_BYTES


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_nobody_waits_for_any_hostile_clients(
    tmp_path: Path, kind: str, workers: int
) -> None:
    with victim(tmp_path, workers) as gateway:
        found = suffer(gateway, kind, 5)
    assert (found.failed, found.lost_workers) == (0, 0)
    assert found.p99_seconds < 2 * MOST_SECONDS  # the machine has other work
    assert found.grown_bytes <= MOST_GROWTH_BYTES
