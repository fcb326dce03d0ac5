"""When a repair is worth its while."""

from __future__ import annotations

from amazin.cluster.cluster import Cluster
from amazin.errors import NodeTimeoutError
from amazin.membership.membership import WAIT_REFRESHES, Membership
from amazin.membership.transitions import DesiredNodes
from amazin.model.bodies import HeldBody
from amazin.model.node_specs import NodeSpec
from amazin.model.objects import ObjectName
from amazin.nodes.interface import Node
from amazin.repair.schedule import is_run_useful
from tests.support.cleanup import closed_later
from tests.support.fakes import FakeDiscovery, FakeDisk, FakeNode

REFRESH_SECONDS = 5.0


def test_a_node_that_lost_its_disk_is_worth_a_run_once_all_know_it() -> None:
    disks: dict[str, FakeDisk] = {}

    def build(spec: NodeSpec) -> Node:
        return FakeNode(spec, disks.setdefault(spec.name, FakeDisk()))

    now = 1000.0
    membership = closed_later(
        Membership(
            FakeDiscovery(*(NodeSpec(name, f"http://{name}:9000") for name in "abc")),
            build,
            REFRESH_SECONDS,
            DesiredNodes(2, {}),
            clock=lambda: now,
            is_watching=False,
            least_wait_seconds=0.0,
        )
    )
    assert not is_run_useful(membership, was_well=False)
    Cluster(membership).put(ObjectName("store", "abc"), HeldBody(b"abc"), {})
    assert not is_run_useful(membership, was_well=True)
    assert is_run_useful(membership, was_well=False)
    disks["b"].wipe()
    membership.refresh()
    assert not is_run_useful(membership, was_well=True)
    now += WAIT_REFRESHES * REFRESH_SECONDS
    membership.refresh()
    assert is_run_useful(membership, was_well=True)
    disks["c"].wipe()
    membership.refresh()
    assert not is_run_useful(membership, was_well=True)
    disks["a"].failing = NodeTimeoutError("silent")
    membership.refresh()
    assert not is_run_useful(membership, was_well=False)
