"""Several gateways that all find the same fresh nodes, and write at once."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from amazin.cluster.cluster import Cluster
from amazin.membership.membership import Membership
from amazin.membership.transitions import DesiredNodes
from amazin.model.bodies import HeldBody
from amazin.model.node_specs import NodeSpec, TimeLimits
from amazin.model.objects import ObjectName
from amazin.nodes.build import node_builder
from tests.support.cleanup import closed_later
from tests.support.fakes import FakeDiscovery

GATEWAYS = 4
PATIENCE_SECONDS = 30.0


@pytest.mark.parametrize("replicas", [1, 2])
@pytest.mark.parametrize("rounds", [1, pytest.param(20, marks=pytest.mark.slow)])
def test_nobody_is_refused_because_others_form_the_cluster(
    tmp_path: Path, replicas: int, rounds: int
) -> None:
    for turn in range(rounds):
        folders = [tmp_path / f"{turn}-{number}" for number in range(3)]
        for folder in folders:
            folder.mkdir()
        specs = [NodeSpec(f"n{i}", path.as_uri()) for i, path in enumerate(folders)]
        clusters = [make_cluster(specs, replicas) for _ in range(GATEWAYS)]
        failures = write_at_once(clusters)
        assert not failures
        for cluster in clusters:
            for number in range(GATEWAYS):
                assert cluster.head(ObjectName("store", f"k{number}")).info.size == 3


def make_cluster(specs: list[NodeSpec], replicas: int) -> Cluster:
    """Return a gateway's, which looks at the nodes when it is asked for anything."""
    membership = Membership(
        FakeDiscovery(*specs),
        node_builder(TimeLimits()),
        60.0,
        DesiredNodes(replicas, {}),
        is_watching=False,
    )
    return Cluster(closed_later(membership))


def write_at_once(clusters: list[Cluster]) -> list[Exception]:
    """Have each store an object; return what was raised."""
    failures: list[Exception] = []
    barrier = threading.Barrier(len(clusters), timeout=PATIENCE_SECONDS)

    def write(number: int) -> None:
        try:
            barrier.wait()
            name = ObjectName("store", f"k{number}")
            clusters[number].put(name, HeldBody(b"cat"), {})
        except Exception as exc:  # noqa: BLE001 - told by the assertion
            failures.append(exc)

    threads = [
        threading.Thread(target=write, args=(number,))
        for number in range(len(clusters))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    return failures
