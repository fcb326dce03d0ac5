"""A member: one node of the cluster, and whether this process may send it requests.

A node that fails is skipped until it answers a probe, so that clients don't wait for
it. A node that answers but stores nothing is still asked: it may be read. It is tried
until it stores again. This module does not decide which node holds what.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

from amazin.errors import (
    GatewayError,
    LostCopyError,
    NodeAccessError,
    NodeBusyError,
    NodeError,
    NodeFullError,
    NodeProtocolError,
    NodeReadOnlyError,
    NodeRefusalError,
    NodeTimeoutError,
    NodeUnreachableError,
    NoSuchBucketError,
    NoSuchKeyError,
)
from amazin.model.node_specs import NodeSpec
from amazin.model.objects import ObjectInfo, ObjectName
from amazin.nodes.interface import Answer, Node, Pending, TriedNode, Upload
from amazin.request_limits import has_node_failed, is_late

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 5.0
"""Between two probes of a node that fails; the pause doubles each time."""
RELAPSE_SECONDS, FIRST_HOLD_SECONDS, LONGEST_HOLD_SECONDS = 60.0, 5.0, 300.0
"""A node that stores nothing again so soon after it did is told to store only after a
while, which doubles each time: a disk that is nearly full takes small objects."""
UP = "up"
CLOSE_SECONDS = 10.0
"""How long `close` waits for a thread to end."""
SKIP_AFTER = (NodeUnreachableError, NodeTimeoutError, NodeAccessError)
"""After these failures an immediate retry is pointless."""
CERTAIN = (NodeFullError, NodeReadOnlyError)
"""After these it is known that the node stores nothing; after others it is tried."""
PASSING = (NodeBusyError, NoSuchBucketError, NodeProtocolError, LostCopyError)
"""These say nothing about whether the node stores."""

log = logging.getLogger("amazin.membership")


class Member:
    """A node, and whether requests may be sent to it. Thread-safe."""

    def __init__(
        self,
        spec: NodeSpec,
        node: Node,
        first_pause_seconds: float = FIRST_PAUSE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.spec = spec
        self.node = node
        self.name = spec.name
        self.refusal: NodeError | None = None
        """Why it stores nothing now; None: it does, as far as is known."""
        self.tried_at = -math.inf
        """On the monotonic clock: when it last showed whether it stores."""
        self._clock = clock
        self._stored_at = self._held_until = -math.inf
        self._hold_seconds = 0.0
        """See `RELAPSE_SECONDS`: since when it stores again, how long it must not."""
        self._first_pause_seconds = first_pause_seconds
        self._is_skipped = False
        self.failure = NodeError("")
        """The last one after which it was skipped."""
        self._is_suspect = False
        """Whether it has to be tried: it failed, and that may last."""
        self._is_lost = False
        self._is_retired = threading.Event()
        self._lock = threading.Lock()
        self._probing: threading.Thread | None = None

    @property
    def is_skipped(self) -> bool:
        """Whether the node failed and hasn't answered a probe since."""
        return self._is_skipped

    @property
    def state(self) -> str:
        """What is known of it without asking, in words: `NodeError.state`, or `up`."""
        known = self.failure if self._is_skipped else self.refusal
        return known.state if known else UP

    @property
    def is_full(self) -> bool:
        """Whether it refused the last upload because it has no room."""
        return isinstance(self.refusal, NodeFullError)

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
            error = NodeUnreachableError(str(self.failure))
            error.state = self.failure.state
        else:
            return
        has_node_failed.set(True)
        error.node = self.name
        raise error

    def note_failure(self, error: NodeError) -> None:
        """Skip the node, note that it stores nothing, or have it tried: as it failed.

        A failure that passes, or that a request without enough time had, changes
        nothing.
        """
        has_node_failed.set(True)
        error.node = self.name
        if isinstance(error, SKIP_AFTER):
            if not is_late():
                self._skip(error)
        elif isinstance(error, CERTAIN):
            self._note_refusal(error)
        elif not isinstance(error, PASSING) and self.refusal is None:
            self._is_suspect = isinstance(self.node, TriedNode)
        self._probe_later()

    def _skip(self, error: NodeError) -> None:
        with self._lock:
            is_known = self._is_skipped or self._is_retired.is_set()
            if is_known or self.spec.endpoint is None:
                return
            self.failure, self._is_skipped = error, True
        log.warning("node %s is skipped: %s", self.name, error)

    def note_stored(self) -> None:
        """Note that the node has just stored something."""
        self._note_refusal(None)

    def _note_refusal(self, error: NodeError | None) -> None:
        now = self.tried_at = self._clock()
        old = self.refusal
        if error is None and (old is None or now < self._held_until):
            return
        self.refusal = error
        if error is None:
            self._stored_at = now
            log.warning("node %s stores again", self.name)
        elif old is None or old.state != error.state:
            log.warning("node %s stores nothing: %s: %s", self.name, error.state, error)
            if old is None:
                self._hold(now)

    def _hold(self, now: float) -> None:
        """Decide how long it counts as storing nothing, whatever is seen meanwhile."""
        is_relapse = now < self._stored_at + RELAPSE_SECONDS
        longer = min(2 * self._hold_seconds or FIRST_HOLD_SECONDS, LONGEST_HOLD_SECONDS)
        self._hold_seconds = longer if is_relapse else 0.0
        self._held_until = now + self._hold_seconds

    # Trials and probes

    def needs_trial(self, seconds: float) -> bool:
        """Whether a trial could tell more than the last upload that long ago."""
        is_due = self._is_suspect or self._clock() >= self.tried_at + seconds
        return is_due and isinstance(self.node, TriedNode)

    def note_trial(self, answer: object) -> None:
        """Note the response to a trial: whether the node stores now."""
        self._is_suspect = False
        if not isinstance(answer, NodeTimeoutError):
            self.tried_at = self._clock()
        if not isinstance(answer, GatewayError):
            self._note_refusal(None)
        elif isinstance(answer, NodeError) and not isinstance(
            answer, (*PASSING, *SKIP_AFTER)
        ):
            self._note_refusal(answer)
            self._probe_later()

    def _probe_later(self) -> None:
        """Have a thread ask and try the node until it answers and stores."""
        with self._lock:
            if self._probing or not self._has_to_be_probed():
                return
            self._probing = threading.Thread(
                target=self._probe, name=f"probe {self.name}", daemon=True
            )
        self._probing.start()

    def _has_to_be_probed(self) -> bool:
        if self.spec.endpoint is None or self._is_retired.is_set():
            return False
        stores = self.refusal is None or not isinstance(self.node, TriedNode)
        return self._is_skipped or self._is_suspect or not stores

    def _probe(self) -> None:
        pause = self._first_pause_seconds
        while not self._is_retired.wait(pause):
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
            with suppress(Exception):  # a bug in a node must not end the probing
                self._ask_again()
            with self._lock:
                if not self._has_to_be_probed():
                    self._probing = None
                    return

    def _ask_again(self) -> None:
        if self._is_skipped:
            with suppress(NodeRefusalError):
                self.node.start_check().wait()
            self._is_skipped = False
            log.info("node %s answers again", self.name)
        elif isinstance(self.node, TriedNode) and self.needs_trial(
            self.node.trial_seconds
        ):
            try:
                self.note_trial(self.node.start_trial().wait())
            except NodeError as exc:
                self.note_failure(exc)
                self.note_trial(exc)

    def retire(self) -> None:
        """Stop the probes, because another member replaces this one; does not wait."""
        self._is_retired.set()
        self.node.close()

    def close(self) -> None:
        """Stop the probes and wait for their end; a running one has time limits."""
        self.retire()
        if probing := self._probing:
            probing.join(CLOSE_SECONDS)

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
