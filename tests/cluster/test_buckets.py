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


class Scene:
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
def scene(replicas: int) -> Scene:
    """Two gateways."""
    return Scene(replicas)


@any_replicas
def test_a_bucket_that_was_made_is_there_for_everybody(scene: Scene) -> None:
    assert not scene.buckets.is_there(BUCKET)
    assert not scene.elsewhere.is_there(BUCKET)
    scene.buckets.make(BUCKET)
    assert scene.buckets.is_there(BUCKET)
    assert scene.elsewhere.is_there(BUCKET)


@any_replicas
def test_making_a_bucket_again_writes_nothing(scene: Scene) -> None:
    scene.buckets.make(BUCKET)
    scene.buckets.make(BUCKET)
    assert scene.cluster.steps == ["put"]


@any_replicas
def test_an_empty_bucket_is_removed_for_everybody(scene: Scene) -> None:
    scene.buckets.make(BUCKET)
    scene.store()
    scene.remove_object()
    scene.buckets.remove(BUCKET)
    assert not scene.buckets.was_there(BUCKET)
    assert not scene.elsewhere.is_there(BUCKET)
    assert scene.refusal() == (404, "NoSuchBucket")


@any_replicas
def test_a_bucket_that_holds_something_is_not_touched(scene: Scene) -> None:
    scene.buckets.make(BUCKET)
    scene.store()
    scene.cluster.steps.clear()
    assert scene.refusal() == (409, "BucketNotEmpty")
    assert scene.cluster.steps == []
    assert scene.elsewhere.is_there(BUCKET)


@any_replicas
def test_buckets_are_no_part_of_each_other(scene: Scene) -> None:
    scene.buckets.make(BUCKET)
    scene.buckets.make(BUCKET + "2")
    scene.store()
    scene.buckets.remove(BUCKET + "2")
    assert scene.elsewhere.is_there(BUCKET)


@any_replicas
@pytest.mark.parametrize("moment", ["before_delete", "after_delete"])
def test_what_is_stored_during_a_removal_keeps_the_bucket(
    scene: Scene, moment: str
) -> None:
    scene.buckets.make(BUCKET)
    setattr(scene.cluster, moment, scene.store)
    assert scene.refusal() == (409, "BucketNotEmpty")
    assert scene.elsewhere.is_there(BUCKET)
    assert scene.cluster.steps == ["put", "delete", "put"]


@any_replicas
def test_a_removal_that_cannot_begin_touches_nothing(scene: Scene) -> None:
    scene.buckets.make(BUCKET)
    scene.cluster.listings = [NodeError("away")]
    with pytest.raises(NodeError, match="away"):
        scene.buckets.remove(BUCKET)
    assert scene.cluster.steps == ["put"]


@any_replicas
def test_a_removal_that_can_not_look_again_puts_the_bucket_back(scene: Scene) -> None:
    scene.buckets.make(BUCKET)
    scene.cluster.listings = [None, NodeError("away")]
    with pytest.raises(NodeError, match="away"):
        scene.buckets.remove(BUCKET)
    assert scene.cluster.listings == []
    assert scene.elsewhere.is_there(BUCKET)


@any_replicas
def test_a_removal_of_unknown_outcome_puts_the_bucket_back(scene: Scene) -> None:
    def fail() -> None:
        raise NodeError("no answer")

    scene.buckets.make(BUCKET)
    scene.cluster.after_delete = fail
    with pytest.raises(NodeError, match="no answer"):
        scene.buckets.remove(BUCKET)
    assert scene.elsewhere.is_there(BUCKET)


@any_replicas
def test_a_bucket_that_is_made_during_its_removal_is_there(scene: Scene) -> None:
    scene.buckets.make(BUCKET)
    scene.cluster.after_delete = lambda: scene.elsewhere.make(BUCKET)
    scene.buckets.remove(BUCKET)
    assert scene.buckets.is_there(BUCKET)
    assert scene.elsewhere.is_there(BUCKET)


@any_replicas
def test_a_look_is_remembered_for_moments(scene: Scene) -> None:
    scene.buckets.make(BUCKET)
    scene.elsewhere.remove(BUCKET)
    scene.seconds += KNOWN_SECONDS / 2
    assert scene.buckets.was_there(BUCKET)
    scene.seconds += KNOWN_SECONDS
    assert not scene.buckets.was_there(BUCKET)


@any_replicas
def test_a_look_right_now_corrects_what_is_remembered(scene: Scene) -> None:
    scene.buckets.make(BUCKET)
    scene.elsewhere.remove(BUCKET)
    assert not scene.buckets.is_there(BUCKET)
    assert not scene.buckets.was_there(BUCKET)


@any_replicas
def test_what_is_remembered_costs_nothing(scene: Scene) -> None:
    scene.buckets.make(BUCKET)
    scene.world.forget_calls()
    assert scene.buckets.was_there(BUCKET)
    assert not any(scene.world.calls())


def test_a_marker_is_an_object_like_any_other() -> None:
    scene = Scene(2)
    scene.buckets.make(BUCKET)
    stored = [
        body
        for disk in scene.world.disks.values()
        for name, (_, body) in disk.data.items()
        if name == MARKER_NAME
    ]
    assert isinstance(MARKER, HeldBody)
    assert stored == [b"".join(MARKER.chunks())] * 2
