"""One node as this process sees it: whether it can be asked now.

A node that fails is skipped until it answers a probe, so that clients don't wait for
it. Does not decide which node holds what.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable

from amazin.errors import (
    NodeAccessError,
    NodeError,
    NodeTimeoutError,
    NodeUnreachableError,
    NoSuchBucketError,
    NoSuchKeyError,
)
from amazin.model.node_specs import NodeSpec
from amazin.model.objects import ObjectInfo, ObjectName
from amazin.nodes.interface import Answer, Node, Pending, Upload

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 5.0
"""Between two probes of a node that fails; doubles."""
SKIP_AFTER = (NodeUnreachableError, NodeTimeoutError, NodeAccessError)
"""Failures after which asking again at once is pointless."""

log = logging.getLogger("amazin.membership")


class Member:
    """A node, and whether it can be asked. Thread-safe."""

    def __init__(
        self,
        spec: NodeSpec,
        node: Node,
        first_pause_seconds: float = FIRST_PAUSE_SECONDS,
    ) -> None:
        self.spec = spec
        self.node = node
        self.name = spec.name
        self._first_pause_seconds = first_pause_seconds
        self._is_skipped = False
        self._is_lost = False
        self._is_retired = threading.Event()
        self._lock = threading.Lock()

    @property
    def is_skipped(self) -> bool:
        """Whether the node failed and hasn't answered a probe since."""
        return self._is_skipped

    @property
    def is_lost(self) -> bool:
        """Whether the node answers with an empty disk, though it held data."""
        return self._is_lost

    @is_lost.setter
    def is_lost(self, is_lost: bool) -> None:
        if is_lost != self._is_lost:
            self._is_lost = is_lost
            state = "has lost its disk; `amazin repair` fills it again"
            log.warning("node %s %s", self.name, state if is_lost else "counts again")

    def ask(self, start: Callable[[Node], Pending[Answer]]) -> Pending[Answer]:
        """Send a question. Raises: NodeError, at once if it is skipped or lost."""
        self._refuse_if_lost()
        return self.ask_even_lost(start)

    def ask_even_lost(
        self, start: Callable[[Node], Pending[Answer]]
    ) -> Pending[Answer]:
        """Send a question. Raises: NodeError, at once if the node is skipped."""
        self._refuse_if_skipped()
        try:
            return _WatchedPending(self, start(self.node))
        except NodeError as exc:
            self.note_failure(exc)
            raise

    def head(self, name: ObjectName) -> ObjectInfo | None:
        """Ask what the node holds; None: no such key. Raises: NodeError."""
        self._refuse_if_lost()
        return self.head_even_lost(name)

    def head_even_lost(self, name: ObjectName) -> ObjectInfo | None:
        """Ask what the node holds; None: no such key. Raises: NodeError."""
        try:
            return self.ask_even_lost(lambda node: node.start_head(name)).wait()
        except NoSuchKeyError:
            return None

    def upload(self, start: Callable[[Node], Upload]) -> Upload:
        """Begin an upload. Raises: NodeError, at once if it is skipped or lost."""
        self._refuse_if_lost()
        return self.upload_even_lost(start)

    def upload_even_lost(self, start: Callable[[Node], Upload]) -> Upload:
        """Begin an upload. Raises: NodeError, at once if the node is skipped."""
        self._refuse_if_skipped()
        try:
            return _WatchedUpload(self, start(self.node))
        except NodeError as exc:
            self.note_failure(exc)
            raise

    def _refuse_if_lost(self) -> None:
        if self._is_lost:
            error = NoSuchBucketError("the node has lost its disk")
            error.node = self.name
            raise error

    def _refuse_if_skipped(self) -> None:
        if self._is_skipped:
            error = NodeUnreachableError("the node failed a moment ago")
            error.node = self.name
            raise error

    def note_failure(self, error: NodeError) -> None:
        """Skip the node from now on, if the failure is of a kind that lasts."""
        error.node = self.name
        if not isinstance(error, SKIP_AFTER) or self.spec.endpoint is None:
            return
        with self._lock:
            if self._is_skipped or self._is_retired.is_set():
                return
            self._is_skipped = True
        log.warning("node %s is skipped: %s", self.name, error)
        threading.Thread(
            target=self._probe, name=f"probe {self.name}", daemon=True
        ).start()

    def _probe(self) -> None:
        pause = self._first_pause_seconds
        while not self._is_retired.wait(pause):
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
            try:
                self.node.start_check().wait()
            except Exception:  # noqa: BLE001 - a bug in a node must not end the probing
                continue
            self._is_skipped = False
            log.info("node %s answers again", self.name)
            return

    def retire(self) -> None:
        """Another member takes this one's place: end the probing."""
        self._is_retired.set()
        self.node.close()

    def __repr__(self) -> str:
        return f"<Member {self.name}>"


class _WatchedPending(Pending[Answer]):
    """A question whose failure is noted."""

    def __init__(self, member: Member, pending: Pending[Answer]) -> None:
        self._member = member
        self._pending = pending

    def is_ready(self, timeout: float) -> bool:
        return self._pending.is_ready(timeout)

    def wait(self) -> Answer:
        try:
            return self._pending.wait()
        except NodeError as exc:
            self._member.note_failure(exc)
            raise

    def cancel(self) -> None:
        self._pending.cancel()


class _WatchedUpload(Upload):
    """An upload whose failure is noted."""

    def __init__(self, member: Member, upload: Upload) -> None:
        self._member = member
        self._upload = upload

    def write(self, chunk: bytes) -> None:
        try:
            self._upload.write(chunk)
        except NodeError as exc:
            self._member.note_failure(exc)
            raise

    def start_commit(self) -> Pending[ObjectInfo]:
        try:
            return _WatchedPending(self._member, self._upload.start_commit())
        except NodeError as exc:
            self._member.note_failure(exc)
            raise

    def abort(self) -> None:
        self._upload.abort()


def finish(upload: Upload, chunks: Iterable[bytes]) -> ObjectInfo:
    """Send all of a body and store it; if that fails nothing is stored.

    Raises: PreconditionError, NodeError; see `Upload.start_commit`.
    """
    try:
        for chunk in chunks:
            upload.write(chunk)
        return upload.start_commit().wait()
    finally:
        upload.abort()
