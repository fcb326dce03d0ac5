"""The promise, where large objects lie in parts, which `repair` collects meanwhile.

Days pass at any moment, also in the middle of uploads and of repairs.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import ExitStack
from types import SimpleNamespace

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from amazin.cluster.cluster import Cluster
from amazin.cluster.large_objects import LargeObjectStore
from amazin.errors import LateError
from amazin.membership.membership import Membership
from amazin.model import manifest
from amazin.model.objects import ObjectName
from tests.proof.mutants import replaced
from tests.proof.test_promise import GATEWAYS, NUMBERS, PromiseMachine
from tests.support import promise

PART_BYTES = 150_000
"""Streams have two parts."""


class ChunkedMachine(PromiseMachine):
    """The same, with gateways that store long bodies in parts."""

    def __init__(self) -> None:
        super().__init__()
        numbers = itertools.count()

        def token_hex(size: int) -> str:
            return next(numbers).to_bytes(size, "little").hex()

        def new_cluster(
            membership: Membership, clock_ns: Callable[[], int]
        ) -> LargeObjectStore:
            cluster = Cluster(membership, clock_ns)
            return LargeObjectStore(cluster, PART_BYTES, clock_ns)

        with ExitStack() as stack:
            for owner, name, value in (
                (promise, "Cluster", new_cluster),
                (promise, "ERRORS", (*promise.ERRORS, LateError)),
                (manifest, "secrets", SimpleNamespace(token_hex=token_hex)),
            ):
                stack.enter_context(replaced(owner, name, value))
            self._stack = stack.pop_all()

    def teardown(self) -> None:
        try:
            super().teardown()
        finally:
            self._stack.close()

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


TestChunkedPromise = ChunkedMachine.TestCase
TestChunkedPromise.settings = settings(
    max_examples=150,
    stateful_step_count=80,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
