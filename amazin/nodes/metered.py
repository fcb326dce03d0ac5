"""Counts the requests to a node, of whatever kind: how they ended and how long it took.

The methods of the node itself are replaced, so that it stays of its kind.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Generic, Protocol

from amazin.errors import GatewayError, LateError, NodeTimeoutError
from amazin.model.objects import ObjectInfo
from amazin.nodes.interface import Answer, Node, NodeObject, Pending, Upload

OPERATIONS = ("get", "head", "put", "delete", "check", "trial")
SILENT_SECONDS = 1.0
"""Who gives up a request after so long has waited for a node that is silent."""


class NodeMeter(Protocol):
    """Takes what there is to count of one node."""

    def note(
        self, operation: str, seconds: float, error: Exception | None = None
    ) -> None:
        """Count a request that took so long, and failed if there is an error."""

    def note_sent(self, size: int) -> None:
        """Count bytes of bodies that were sent to the node."""

    def note_received(self, size: int) -> None:
        """Count bytes of bodies that came from the node."""


def metered(node: Node, meter: NodeMeter) -> Node:
    """Return the node, which from now on tells `meter` of its requests."""
    for operation in OPERATIONS:
        name = f"start_{operation}"
        if start := getattr(node, name, None):
            timed = OpenedPending if operation == "get" else TimedPending
            setattr(node, name, partial(_timed, timed, meter, operation, start))
    # mypy: a method of an instance is replaced on purpose.
    node.start_put = partial(_put, meter, node.start_put)  # type: ignore[method-assign]
    upload = partial(_upload, meter, node.start_upload)
    node.start_upload = upload  # type: ignore[method-assign]
    listing = partial(_listed, meter, node.list_objects)
    node.list_objects = listing  # type: ignore[method-assign]
    return node


def _timed(
    timed: type[TimedPending[Any]],
    meter: NodeMeter,
    operation: str,
    start: Callable[..., Pending[Any]],
    *args: Any,
    **options: Any,
) -> Pending[Any]:
    """Begin a request, which is counted now if it fails, else when it is over."""
    began = time.monotonic()
    try:
        return timed(start(*args, **options), meter, operation, began)
    except GatewayError as exc:
        meter.note(operation, time.monotonic() - began, exc)
        raise


def _put(
    meter: NodeMeter,
    start: Callable[..., Pending[ObjectInfo]],
    name: object,
    data: bytes,
    *args: Any,
    **options: Any,
) -> Pending[ObjectInfo]:
    meter.note_sent(len(data))
    return start(name, data, *args, **options)


def _upload(
    meter: NodeMeter, start: Callable[..., Upload], *args: Any, **options: Any
) -> MeteredUpload:
    began = time.monotonic()
    try:
        return MeteredUpload(start(*args, **options), meter, began)
    except GatewayError as exc:
        meter.note("put", time.monotonic() - began, exc)
        raise


def _listed(
    meter: NodeMeter,
    start: Callable[..., Iterator[tuple[str, ObjectInfo]]],
    *args: Any,
    **options: Any,
) -> Iterator[tuple[str, ObjectInfo]]:
    """Yield a listing; its time is that of the first entry, then others work on it."""
    began, seconds = time.monotonic(), None
    error: GatewayError | None = None
    try:
        for entry in start(*args, **options):
            if seconds is None:
                seconds = time.monotonic() - began
            yield entry
    except GatewayError as exc:
        error = exc
        raise
    finally:
        if seconds is None:
            seconds = time.monotonic() - began
        if not isinstance(error, LateError):  # else its client has given it up
            meter.note("list", seconds, error)


class TimedPending(Generic[Answer]):
    """See `Pending`: it is counted when it is over."""

    __slots__ = ("_began", "_is_noted", "_meter", "_operation", "_pending", "is_ready")

    def __init__(
        self, pending: Pending[Answer], meter: NodeMeter, operation: str, began: float
    ) -> None:
        self._pending = pending
        self._meter = meter
        self._operation = operation
        self._began = began
        self._is_noted = False
        self.is_ready: Callable[[float], bool] = pending.is_ready

    def wait(self) -> Answer:
        """See `Pending`."""
        self._is_noted = True
        try:
            answer = self._pending.wait()
        except GatewayError as exc:
            self._meter.note(self._operation, time.monotonic() - self._began, exc)
            raise
        self._meter.note(self._operation, time.monotonic() - self._began)
        return answer

    def cancel(self) -> None:
        """See `Pending`. A node that could have answered at once is not blamed."""
        seconds = time.monotonic() - self._began
        if seconds >= SILENT_SECONDS and not self._is_noted and not self.is_ready(0):
            self._meter.note(self._operation, seconds, NodeTimeoutError("given up"))
        self._is_noted = True
        self._pending.cancel()


class OpenedPending(TimedPending[NodeObject]):
    """A request for an object whose bytes are counted, too."""

    __slots__ = ()

    def wait(self) -> MeteredObject:
        """See `Pending`."""
        return MeteredObject(super().wait(), self._meter)


class MeteredObject:
    """See `NodeObject`: its bytes are counted as they are read."""

    __slots__ = ("_content", "_meter", "close", "info")

    def __init__(self, content: NodeObject, meter: NodeMeter) -> None:
        self._content = content
        self._meter = meter
        self.info = content.info
        self.close: Callable[[], None] = content.close

    def read(self) -> bytes:
        """See `NodeObject`."""
        data = self._content.read()
        if data:
            self._meter.note_received(len(data))
        return data


class MeteredUpload:
    """See `Upload`: it is counted as a request when it is over."""

    def __init__(self, upload: Upload, meter: NodeMeter, began: float) -> None:
        self._upload = upload
        self._meter = meter
        self._began = began
        self.abort = upload.abort

    def write(self, chunk: bytes) -> None:
        """See `Upload`."""
        try:
            self._upload.write(chunk)
        except GatewayError as exc:
            self._meter.note("put", time.monotonic() - self._began, exc)
            raise
        self._meter.note_sent(len(chunk))

    def start_commit(self) -> Pending[ObjectInfo]:
        """See `Upload`."""
        try:
            pending = self._upload.start_commit()
        except GatewayError as exc:
            self._meter.note("put", time.monotonic() - self._began, exc)
            raise
        return TimedPending(pending, self._meter, "put", self._began)
