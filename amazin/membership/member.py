"""A member: one node of the cluster, and whether this process may send it requests.

A node that fails is skipped until it answers a probe, so that clients don't wait for
it. This module does not decide which node holds what.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

from amazin.errors import (
    NodeAccessError,
    NodeError,
    NodeFullError,
    NodeTimeoutError,
    NodeUnreachableError,
    NoSuchBucketError,
    NoSuchKeyError,
)
from amazin.model.node_specs import NodeSpec
from amazin.model.objects import ObjectInfo, ObjectName
from amazin.nodes.interface import Answer, Node, Pending, Upload
from amazin.request_limits import is_late

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 5.0
"""Between two probes of a node that fails; the pause doubles each time."""
CLOSE_SECONDS = 10.0
"""How long `close` waits for a thread to end."""
SKIP_AFTER = (NodeUnreachableError, NodeTimeoutError, NodeAccessError)
"""After these failures an immediate retry is pointless."""

log = logging.getLogger("amazin.membership")


class Member:
    """A node, and whether requests may be sent to it. Thread-safe."""

    def __init__(
        self,
        spec: NodeSpec,
        node: Node,
        first_pause_seconds: float = FIRST_PAUSE_SECONDS,
    ) -> None:
        self.spec = spec
        self.node = node
        self.name = spec.name
        self.is_full = False
        """Whether it refused the last upload because it has no room."""
        self.tried_at = -math.inf
        """On the monotonic clock: when it last showed whether it has room."""
        self._first_pause_seconds = first_pause_seconds
        self._is_skipped = False
        self._is_lost = False
        self._is_retired = threading.Event()
        self._lock = threading.Lock()
        self._probing: threading.Thread | None = None

    @property
    def is_skipped(self) -> bool:
        """Whether the node failed and hasn't answered a probe since."""
        return self._is_skipped

    @property
    def is_lost(self) -> bool:
        """Whether the node answers with an empty disk, although it held data."""
        return self._is_lost

    @is_lost.setter
    def is_lost(self, is_lost: bool) -> None:
        if is_lost != self._is_lost:
            self._is_lost = is_lost
            state = "has lost its disk; `amazin repair` fills it again"
            log.warning(
                "node %s %s", self.name, state if is_lost else "is in use again"
            )

    def ask(
        self, start: Callable[[Node], Pending[Answer]], *, even_lost: bool = False
    ) -> Pending[Answer]:
        """Send a request; `wait` receives the response.

        Raises: NodeError, at once if the node is skipped, or lost unless `even_lost`.
        """
        if self._is_skipped or self._is_lost:
            self._refuse(even_lost)
        try:
            return start(self.node)
        except NodeError as exc:
            self.note_failure(exc)
            raise

    def wait(self, pending: Pending[Answer]) -> Answer:
        """Receive the response to a request. Raises: as `Pending.wait`."""
        try:
            return pending.wait()
        except NodeError as exc:
            self.note_failure(exc)
            raise

    def call(
        self, start: Callable[[Node], Pending[Answer]], *, even_lost: bool = False
    ) -> Answer:
        """Send a request and receive the response. Raises: as `ask` and `wait`."""
        if self._is_skipped or self._is_lost:
            self._refuse(even_lost)
        try:
            return start(self.node).wait()
        except NodeError as exc:
            self.note_failure(exc)
            raise

    def head(self, name: ObjectName, *, even_lost: bool = False) -> ObjectInfo | None:
        """Return the info about the node's copy; None: no key. Raises: NodeError."""
        try:
            return self.call(lambda node: node.start_head(name), even_lost=even_lost)
        except NoSuchKeyError:
            return None

    def upload(
        self, start: Callable[[Node], Upload], *, even_lost: bool = False
    ) -> Upload:
        """Begin an upload. Raises: as `ask`."""
        if self._is_skipped or self._is_lost:
            self._refuse(even_lost)
        try:
            return start(self.node)
        except NodeError as exc:
            self.note_failure(exc)
            raise

    def store(
        self,
        start: Callable[[Node], Upload],
        chunks: Iterable[bytes],
        *,
        even_lost: bool = False,
    ) -> ObjectInfo:
        """Upload a whole body; if that fails nothing is stored.

        Raises: PreconditionError, NodeError; see `Upload.start_commit`.
        """
        upload = self.upload(start, even_lost=even_lost)
        with self.noting():
            return finish(upload, chunks)

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Note the NodeErrors that the block raises; see `note_failure`."""
        try:
            yield
        except NodeError as exc:
            self.note_failure(exc)
            raise

    def require_usable(self) -> None:
        """Raises: NodeError, if requests must not be sent to the node now."""
        if self._is_skipped or self._is_lost:
            self._refuse(even_lost=False)

    def _refuse(self, even_lost: bool) -> None:
        """Raises: NodeError, if the node is skipped, or lost unless `even_lost`."""
        if self._is_lost and not even_lost:
            error: NodeError = NoSuchBucketError("the node has lost its disk")
        elif self._is_skipped:
            error = NodeUnreachableError("the node failed a moment ago")
        else:
            return
        error.node = self.name
        raise error

    def note_failure(self, error: NodeError) -> None:
        """Skip the node from now on, if this kind of failure lasts."""
        error.node = self.name
        if isinstance(error, NodeFullError):
            self._note_room(is_full=True)
        if not isinstance(error, SKIP_AFTER) or self.spec.endpoint is None:
            return
        if is_late():  # the node had less than its own time
            return
        with self._lock:
            if self._is_skipped or self._is_retired.is_set():
                return
            self._is_skipped = True
            self._probing = threading.Thread(
                target=self._probe, name=f"probe {self.name}", daemon=True
            )
        log.warning("node %s is skipped: %s", self.name, error)
        self._probing.start()

    def note_room(self) -> None:
        """Note that the node has just stored an object."""
        self._note_room(is_full=False)

    def _note_room(self, is_full: bool) -> None:
        self.tried_at = time.monotonic()
        if is_full != self.is_full:
            self.is_full = is_full
            state = "is full: it refuses uploads" if is_full else "has room again"
            log.warning("node %s %s", self.name, state)

    def _probe(self) -> None:
        pause = self._first_pause_seconds
        while not self._is_retired.wait(pause):
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
            try:
                with suppress(NodeFullError):
                    self.node.start_check().wait()
            except Exception:  # noqa: BLE001 - a bug in a node must not end the probing
                continue
            self._is_skipped = False
            log.info("node %s answers again", self.name)
            return

    def retire(self) -> None:
        """Stop the probes, because another member replaces this one; does not wait."""
        self._is_retired.set()
        self.node.close()

    def close(self) -> None:
        """Stop the probes and wait for their end; a running one has time limits."""
        self.retire()
        if self._probing is not None:
            self._probing.join(CLOSE_SECONDS)

    def __repr__(self) -> str:
        return f"<Member {self.name}>"


def finish(upload: Upload, chunks: Iterable[bytes]) -> ObjectInfo:
    """Send a whole body and store it; if that fails nothing is stored.

    Raises: PreconditionError, NodeError; see `Upload.start_commit`.
    """
    try:
        for chunk in chunks:
            upload.write(chunk)
        return upload.start_commit().wait()
    finally:
        upload.abort()
