"""Markers of buckets: what making and removing promise, also at the same time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from amazin.cluster.buckets import KNOWN_SECONDS, MARKER, Buckets
from amazin.cluster.cluster import Cluster
from amazin.errors import BucketNotEmptyError, BucketNotFoundError, NodeError
from amazin.membership.membership import Membership
from amazin.model.bodies import HeldBody
from amazin.model.objects import ObjectInfo, ObjectName
from amazin.model.stored_names import marker_name, stored_name
from tests.support.answers import told
from tests.support.fakes import skip
from tests.support.world import Bytes, World, any_replicas, world_of

BUCKET = "photos"
MARKER_NAME = marker_name(BUCKET)


class Interposed(Cluster):
    """A cluster in which something happens before or after a step."""

    def __init__(self, membership: Membership) -> None:
        super().__init__(membership)
        self.before_delete: Callable[[], object] = skip
        self.after_delete: Callable[[], object] = skip
        self.listings: list[NodeError | None] = []
        """How the coming listings fail; None: they don't."""
        self.steps: list[str] = []

    def delete(self, name: ObjectName) -> Any:
        self.steps.append("delete")
        self.before_delete()
        member = super().delete(name)
        self.after_delete()
        return member

    def put(self, *arguments: Any, **options: Any) -> Any:
        self.steps.append("put")
        return super().put(*arguments, **options)

    def list(self, prefix: str, after: str = "") -> Iterator[tuple[str, ObjectInfo]]:
        error = self.listings.pop(0) if self.listings else None
        if error:
            raise error
        return super().list(prefix, after)


class Gateways:
    """A gateway whose steps can be interrupted, beside another one."""

    def __init__(self, replicas: int) -> None:
        self.world = world_of(replicas)
        self.cluster = Interposed(self.world.membership)
        self.seconds = 1000.0
        self.buckets = Buckets(self.cluster, lambda: self.seconds)
        self.elsewhere = Buckets(World.beside(self.world, replicas).cluster)

    def store(self, key: str = "a") -> None:
        """Store an object in the bucket."""
        name, headers = stored_name(BUCKET, key)
        self.world.cluster.put(name, Bytes(b"hello"), headers)

    def remove_object(self, key: str = "a") -> None:
        """Delete it."""
        self.world.cluster.delete(stored_name(BUCKET, key)[0])

    def refusal(self) -> tuple[int, str]:
        """Try to remove the bucket; returns status and code."""
        with pytest.raises((BucketNotEmptyError, BucketNotFoundError)) as caught:
            self.buckets.remove(BUCKET)
        answer = told(caught.value)
        return answer.status, answer.code


@pytest.fixture
def gateways(replicas: int) -> Gateways:
    """Two gateways."""
    return Gateways(replicas)


@any_replicas
def test_a_bucket_that_was_made_is_there_for_everybody(gateways: Gateways) -> None:
    assert not gateways.buckets.is_there(BUCKET)
    assert not gateways.elsewhere.is_there(BUCKET)
    gateways.buckets.make(BUCKET)
    assert gateways.buckets.is_there(BUCKET)
    assert gateways.elsewhere.is_there(BUCKET)


@any_replicas
def test_making_a_bucket_again_writes_nothing(gateways: Gateways) -> None:
    gateways.buckets.make(BUCKET)
    gateways.buckets.make(BUCKET)
    assert gateways.cluster.steps == ["put"]


@any_replicas
def test_an_empty_bucket_is_removed_for_everybody(gateways: Gateways) -> None:
    gateways.buckets.make(BUCKET)
    gateways.store()
    gateways.remove_object()
    gateways.buckets.remove(BUCKET)
    assert not gateways.buckets.was_there(BUCKET)
    assert not gateways.elsewhere.is_there(BUCKET)
    assert gateways.refusal() == (404, "NoSuchBucket")


@any_replicas
def test_a_bucket_that_holds_something_is_not_touched(gateways: Gateways) -> None:
    gateways.buckets.make(BUCKET)
    gateways.store()
    gateways.cluster.steps.clear()
    assert gateways.refusal() == (409, "BucketNotEmpty")
    assert gateways.cluster.steps == []
    assert gateways.elsewhere.is_there(BUCKET)


@any_replicas
def test_buckets_are_no_part_of_each_other(gateways: Gateways) -> None:
    gateways.buckets.make(BUCKET)
    gateways.buckets.make(BUCKET + "2")
    gateways.store()
    gateways.buckets.remove(BUCKET + "2")
    assert gateways.elsewhere.is_there(BUCKET)


@any_replicas
@pytest.mark.parametrize("moment", ["before_delete", "after_delete"])
def test_what_is_stored_during_a_removal_keeps_the_bucket(
    gateways: Gateways, moment: str
) -> None:
    gateways.buckets.make(BUCKET)
    setattr(gateways.cluster, moment, gateways.store)
    assert gateways.refusal() == (409, "BucketNotEmpty")
    assert gateways.elsewhere.is_there(BUCKET)
    assert gateways.cluster.steps == ["put", "delete", "put"]


@any_replicas
def test_a_removal_that_cannot_begin_touches_nothing(gateways: Gateways) -> None:
    gateways.buckets.make(BUCKET)
    gateways.cluster.listings = [NodeError("away")]
    with pytest.raises(NodeError, match="away"):
        gateways.buckets.remove(BUCKET)
    assert gateways.cluster.steps == ["put"]


@any_replicas
def test_a_removal_that_can_not_look_again_puts_the_bucket_back(
    gateways: Gateways,
) -> None:
    gateways.buckets.make(BUCKET)
    gateways.cluster.listings = [None, NodeError("away")]
    with pytest.raises(NodeError, match="away"):
        gateways.buckets.remove(BUCKET)
    assert gateways.cluster.listings == []
    assert gateways.elsewhere.is_there(BUCKET)


@any_replicas
def test_a_removal_of_unknown_outcome_puts_the_bucket_back(gateways: Gateways) -> None:
    def fail() -> None:
        raise NodeError("no answer")

    gateways.buckets.make(BUCKET)
    gateways.cluster.after_delete = fail
    with pytest.raises(NodeError, match="no answer"):
        gateways.buckets.remove(BUCKET)
    assert gateways.elsewhere.is_there(BUCKET)


@any_replicas
def test_a_bucket_that_is_made_during_its_removal_is_there(gateways: Gateways) -> None:
    gateways.buckets.make(BUCKET)
    gateways.cluster.after_delete = lambda: gateways.elsewhere.make(BUCKET)
    gateways.buckets.remove(BUCKET)
    assert gateways.buckets.is_there(BUCKET)
    assert gateways.elsewhere.is_there(BUCKET)


@any_replicas
def test_a_look_is_remembered_for_moments(gateways: Gateways) -> None:
    gateways.buckets.make(BUCKET)
    gateways.elsewhere.remove(BUCKET)
    gateways.seconds += KNOWN_SECONDS / 2
    assert gateways.buckets.was_there(BUCKET)
    gateways.seconds += KNOWN_SECONDS
    assert not gateways.buckets.was_there(BUCKET)


@any_replicas
def test_a_look_right_now_corrects_what_is_remembered(gateways: Gateways) -> None:
    gateways.buckets.make(BUCKET)
    gateways.elsewhere.remove(BUCKET)
    assert not gateways.buckets.is_there(BUCKET)
    assert not gateways.buckets.was_there(BUCKET)


@any_replicas
def test_what_is_remembered_costs_nothing(gateways: Gateways) -> None:
    gateways.buckets.make(BUCKET)
    gateways.world.forget_calls()
    assert gateways.buckets.was_there(BUCKET)
    assert not any(gateways.world.calls())


def test_a_marker_is_an_object_like_any_other() -> None:
    gateways = Gateways(2)
    gateways.buckets.make(BUCKET)
    stored = [
        body
        for disk in gateways.world.disks.values()
        for name, (_, body) in disk.data.items()
        if name == MARKER_NAME
    ]
    assert isinstance(MARKER, HeldBody)
    assert stored == [b"".join(MARKER.chunks())] * 2
