"""A Docker daemon in memory, as its client shows it."""

from __future__ import annotations

import queue
import time
from collections.abc import Iterator
from typing import Any

from docker.errors import NotFound

from amazin.discoveries.docker_endpoint import Endpoint
from tests.support.waiting import PATIENCE_SECONDS


class FakeEvents:
    """A stream of the daemon's events, as its client shows it."""

    def __init__(self) -> None:
        self._coming: queue.Queue[Any] = queue.Queue()

    def put(self, event: Any) -> None:
        """Let an event happen; None: the stream ends."""
        self._coming.put(event)

    def __iter__(self) -> Iterator[Any]:
        return iter(lambda: self._coming.get(timeout=PATIENCE_SECONDS), None)

    def close(self) -> None:
        self.put(None)


class FakeDaemon:
    """A Docker daemon as its client shows it."""

    def __init__(self) -> None:
        self.summaries: list[dict[str, Any]] = []
        self.inspections: dict[str, dict[str, Any]] = {}
        self.existing_networks: list[str] = []
        self.told: dict[str, Any] = {}
        """What it tells of itself."""
        self.asked: list[str] = []
        self.error: Exception | None = None
        self.connected = self.closed = 0
        self.stream = FakeEvents()

    def connect(self, endpoint: Endpoint) -> FakeDaemon:
        assert endpoint.url == "unix:///daemon"
        self.connected += 1
        self._fail()
        return self

    def close(self) -> None:
        self.closed += 1

    def containers(self, *, all: bool = False, filters: Any = None) -> Any:  # noqa: A002
        self._fail()
        if not all:
            return [one for one in self.summaries if one["State"] == "running"]
        assert filters == {"name": "amazin-node"}
        return self.summaries

    def inspect_container(self, id_: str) -> dict[str, Any]:
        self.asked.append(id_)
        self._fail()
        known = [whole for whole in self.inspections if whole.startswith(id_)]
        if not known:
            raise NotFound("No such container")
        return self.inspections[id_ if id_ in known else known[0]]

    def info(self) -> dict[str, Any]:
        self._fail()
        return self.told

    def networks(self) -> list[dict[str, str]]:
        self.asked.append("networks")
        return [{"Id": id_, "Name": f"{id_}-name"} for id_ in self.existing_networks]

    def events(self, *, since: int, filters: Any, decode: bool) -> FakeEvents:
        assert decode and abs(since - time.time()) < 10
        assert filters["type"] == ["container", "network"]
        self._fail()
        return self.stream

    def _fail(self) -> None:
        if self.error:
            raise self.error

    def add(self, id_: str, name: str, **changes: Any) -> dict[str, Any]:
        network = {"NetworkID": "net-1", "IPAddress": f"10.0.0.{len(self.summaries)}"}
        networks = {"shop_default": network}
        self.inspections[id_] = {
            "Config": {"Env": ["MINIO_ROOT_USER=user", f"MINIO_ROOT_PASSWORD=of-{id_}"]}
        }
        summary = {
            "Id": id_,
            "Names": [f"/{name}"],
            "State": "running",
            "Created": len(self.summaries),
            "Labels": {},
            "NetworkSettings": {"Networks": networks},
        } | changes
        self.summaries.append(summary)
        return summary
