"""The machine of the promise, where large objects lie in parts.

`repair` collects parts meanwhile. Days pass at any moment, also in the middle of
uploads and of repairs.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from amazin.cluster.cluster import Cluster
from amazin.cluster.large_objects import LargeObjectStore
from amazin.cluster.stamps import Stamps
from amazin.membership.membership import Membership
from amazin.model.objects import ObjectName
from tests.proof.machine import GATEWAYS, NUMBERS, PromiseMachine
from tests.support.promise import World

PART_BYTES = 150_000
"""Streams have two parts."""


class PartsMachine(PromiseMachine):
    """The same, with gateways that store long bodies in parts."""

    def new_world(self) -> World:
        """See `PromiseMachine`."""
        numbers = itertools.count()

        def new_upload_id() -> str:
            return next(numbers).to_bytes(16, "little").hex()

        def new_cluster(
            membership: Membership,
            clock_ns: Callable[[], int],
            new_tie_break: Callable[[], int],
        ) -> LargeObjectStore:
            cluster = Cluster(membership, Stamps(clock_ns, new_tie_break))
            return LargeObjectStore(cluster, PART_BYTES, clock_ns, new_upload_id)

        return World(new_cluster=new_cluster)

    at_rest = precondition(lambda self: self.world.gateways and not self.world.running)

    @at_rest
    @rule(
        name=PromiseMachine.name,
        gateway=GATEWAYS,
        kinds=st.lists(st.sampled_from(["put", "delete"]), max_size=2),
        fault=st.sampled_from(["", "down", "deaf"]),
        number=NUMBERS,
    )
    def collect(
        self, name: ObjectName, gateway: int, kinds: list[str], fault: str, number: int
    ) -> None:
        """What was written, maybe in vain, is a day old when `repair` runs."""
        self.calm(4, True)
        self.put(name, gateway, True)
        if fault:
            self.fail(number, fault)
        for kind in kinds:
            self.finish(kind, gateway, name, True)
        self.pass_a_day(name, gateway, 90_000.0)

    @at_rest
    @rule(
        name=PromiseMachine.name,
        gateway=GATEWAYS,
        steps=st.integers(1, 30),
        seconds=st.sampled_from([40_000.0, 50_000.0, 90_000.0]),
    )
    def upload_for_long(
        self, name: ObjectName, gateway: int, steps: int, seconds: float
    ) -> None:
        """`repair` runs in the middle of an upload."""
        self.calm(4, True)
        number = self.world.operation("put", gateway, name, True)
        self.step(number, steps)
        self.pass_a_day(name, gateway, seconds)
        self.world.finish(number)
        self.pass_a_day(name, gateway, 100_000.0 - seconds)

    def pass_a_day(self, name: ObjectName, gateway: int, seconds: float) -> None:
        self.world.now += seconds
        self.calm(4, True)
        self.must_go_on(name, gateway, False)
        self.check()
