"""Two gateways on the same nodes, at the same time: what was acknowledged stays."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from amazin.api import buckets
from amazin.settings.settings import Settings
from gateway import Gateway
from tests.support.app import Answer, call, make_app

PATIENCE_SECONDS = 30.0
any_replicas = pytest.mark.parametrize("replicas", [1, 2])
some_rounds = pytest.mark.parametrize(
    "rounds", [5, pytest.param(50, marks=pytest.mark.slow)]
)


@pytest.fixture
def gateways(tmp_path: Path, replicas: int) -> tuple[Gateway, Gateway]:
    """Two applications that know the same folders, and not each other."""
    settings = Settings(replicas=replicas, spool_dir=str(tmp_path))
    first = make_app(tmp_path, settings, routes=buckets.ROUTES)
    second = make_app(tmp_path, settings, routes=buckets.ROUTES)
    return first, second


def at_once(*acts: Callable[[], Any]) -> list[Any]:
    """Do all of this in threads that start together; returns what they return."""
    barrier = threading.Barrier(len(acts), timeout=PATIENCE_SECONDS)

    def begin(act: Callable[[], Any]) -> Any:
        barrier.wait()
        return act()

    with ThreadPoolExecutor(len(acts)) as pool:
        return list(pool.map(begin, acts))


def keys_of(answer: Answer) -> list[str]:
    """Return the keys of a listing."""
    assert answer.status == 200, answer.body
    return [entry["key"] for entry in answer.json]


@any_replicas
@some_rounds
def test_no_acknowledged_object_is_in_a_removed_bucket(
    gateways: tuple[Gateway, Gateway], rounds: int
) -> None:
    for number in range(rounds):
        bucket = f"bucket-{number}"
        call(gateways[0], "POST", f"/buckets/{bucket}")
        acknowledged = race(gateways, bucket)
        for app in gateways:
            is_there = call(app, "HEAD", f"/buckets/{bucket}").status == 200
            assert is_there or not acknowledged
            if is_there:
                keys = keys_of(call(app, "GET", f"/objects/{bucket}/list"))
                assert acknowledged <= set(keys)
        for key in acknowledged:
            assert call(gateways[1], "GET", f"/objects/{bucket}/{key}").status == 200


def race(gateways: tuple[Gateway, Gateway], bucket: str) -> set[str]:
    """Write into a bucket while it is removed; returns the keys acknowledged."""

    def writer(app: Gateway, name: str) -> dict[str, int]:
        keys = [f"{name}/{turn}" for turn in range(2)]
        return {
            key: call(app, "PUT", f"/objects/{bucket}/{key}", b"x").status
            for key in keys
        }

    def remover(app: Gateway) -> int:
        return call(app, "DELETE", f"/buckets/{bucket}").status

    first, second = gateways
    written, written_too, *removals = at_once(
        lambda: writer(first, "a"),
        lambda: writer(second, "b"),
        lambda: remover(second),
        lambda: remover(first),
    )
    statuses = written | written_too
    assert set(statuses.values()) <= {201, 404}
    assert set(removals) <= {204, 404, 409}
    assert {204, 409} & set(removals)
    return {key for key, status in statuses.items() if status == 201}


@any_replicas
@some_rounds
def test_the_same_key_written_and_deleted_at_once(
    gateways: tuple[Gateway, Gateway], rounds: int
) -> None:
    """Bucket and key are made and removed by two gateways: nothing is ever 5xx."""
    statuses: set[int] = set()

    def turn(app: Gateway) -> None:
        for number in range(rounds):
            for method, path, body in (
                ("POST", "/buckets/photos", None),
                ("PUT", "/objects/photos/a/b", b"%d" % number),
                ("GET", "/objects/photos/a/b", None),
                ("DELETE", "/objects/photos/a/b", None),
                ("DELETE", "/buckets/photos", None),
            ):
                statuses.add(call(app, method, path, body).status)

    first, second = gateways
    at_once(lambda: turn(first), lambda: turn(second))
    assert statuses <= {200, 201, 204, 404, 409}
    for app in gateways:
        call(app, "POST", "/buckets/photos")
        call(app, "DELETE", "/objects/photos/a/b")
        assert keys_of(call(app, "GET", "/objects/photos/list")) == []
    assert call(first, "DELETE", "/buckets/photos").status == 204
    assert call(second, "HEAD", "/buckets/photos").status == 404


@any_replicas
def test_many_that_make_a_bucket_at_once(gateways: tuple[Gateway, Gateway]) -> None:
    answers = at_once(
        *[lambda app=app: call(app, "POST", "/buckets/photos") for app in gateways * 3]
    )
    assert [answer.status for answer in answers] == [201] * 6
    assert call(gateways[0], "GET", "/buckets").json == ["photos"]


@any_replicas
def test_the_default_bucket_is_made_by_many_first_uploads(
    gateways: tuple[Gateway, Gateway],
) -> None:
    def upload(app: Gateway, key: str) -> int:
        return call(app, "PUT", f"/objects/{key}", b"x").status

    first, second = gateways
    statuses = at_once(
        lambda: upload(first, "a"),
        lambda: upload(second, "b"),
        lambda: upload(second, "c"),
    )
    assert statuses == [201] * 3
    assert keys_of(call(first, "GET", "/objects/list")) == ["a", "b", "c"]


@any_replicas
@some_rounds
def test_listings_while_others_write(
    gateways: tuple[Gateway, Gateway], rounds: int
) -> None:
    """What is there all the time is listed exactly once, whatever comes and goes."""
    first, second = gateways
    call(first, "POST", "/buckets/photos")
    constant = [f"k/{number:03}" for number in range(0, 60, 2)]
    for key in constant:
        assert call(first, "PUT", f"/objects/photos/{key}", b"x").status == 201
    is_over = threading.Event()

    def write() -> None:
        number = 1
        while not is_over.is_set():
            key = f"/objects/photos/k/{number % 60:03}"
            call(second, "PUT", key, b"y")
            call(second, "DELETE", key)
            call(second, "PUT", f"/objects/photos/{constant[number % 30]}", b"z")
            number += 2

    def read() -> None:
        try:
            for _ in range(rounds):
                keys = keys_of(call(first, "GET", "/objects/photos/list"))
                assert keys == sorted(set(keys))
                assert set(constant) <= set(keys)
        finally:
            is_over.set()

    at_once(write, read)
    assert keys_of(call(second, "GET", "/objects/photos/list"))
