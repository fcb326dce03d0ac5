"""Verifies whole content files, each once at a time, in few threads of its own."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

from amazin.blocking import BlockingCalls
from amazin.errors import NodeBusyError, NodeError
from amazin.nodes.folder.calls import ask
from amazin.nodes.folder.reading import FolderObject
from amazin.request_limits import time_left

_THREADS = 2
_ATTEMPTS = 10
T = TypeVar("T")
Verify = Callable[[], bytes]
"""Blocks; returns the checksums of a file that is whole."""


class UnverifiedError(Exception):
    """A content file has to be verified as a whole before it is read."""

    def __init__(self, file: str, verify: Verify) -> None:
        super().__init__(file)
        self.file = file
        self.verify = verify


class Verifier:
    """Reads whole files; small requests of the folder have other threads."""

    def __init__(self) -> None:
        self.calls = BlockingCalls(_THREADS)
        self._running: dict[Hashable, Future[Any]] = {}

    def run(self, what: Hashable, read: Callable[[], T]) -> T:
        """Return what `read` does; who asks for the same meanwhile waits for it.

        It goes on if nobody waits any more: whoever asks next needs it, too.
        Raises: NodeError; NodeBusyError, at the request's deadline.
        """
        key = (what, os.getpid())  # a forked process has none of its parent's threads
        mine = Future[T]()
        running: Future[T] = self._running.setdefault(key, mine)
        if running is mine:  # gevent makes a greenlet of it
            threading.Thread(
                target=self._run, args=(key, mine, read), daemon=True
            ).start()
        return _awaited(running)

    def _run(self, key: Hashable, result: Future[T], read: Callable[[], T]) -> None:
        try:
            found = ask(self.calls, read)
        except BaseException as exc:  # noqa: BLE001 - raised again by who asked
            del self._running[key]
            result.set_exception(exc)
        else:
            del self._running[key]
            result.set_result(found)


def _awaited(running: Future[T]) -> T:
    left = time_left()
    try:
        return running.result(left if left < math.inf else None)
    except TimeoutError as exc:
        if running.done():
            raise
        raise NodeBusyError("the copy is still being verified") from exc


@dataclass(frozen=True, slots=True)
class PendingRead:
    """A `Pending` that opens an object, whose file may have to be verified first."""

    calls: BlockingCalls
    verifier: Verifier
    open: Callable[[dict[str, bytes]], FolderObject]
    """Takes the checksums of the files that were verified. Raises: UnverifiedError."""
    _verified: dict[str, bytes] = field(default_factory=dict)

    def is_ready(self, timeout: float) -> bool:
        """Always true: nothing happens before `wait`."""
        return True

    def wait(self) -> FolderObject:
        """Do the work."""
        for _ in range(_ATTEMPTS):
            try:
                return ask(self.calls, self.open, self._verified)
            except UnverifiedError as exc:
                sums = self.verifier.run(exc.file, exc.verify)
                self._verified[exc.file] = sums
        raise NodeError("the object keeps changing")

    def cancel(self) -> None:
        """Release nothing: nothing is held. Idempotent, harmless after `wait`."""
