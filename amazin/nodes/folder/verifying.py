"""Verifies whole content files, each once at a time, in few threads of its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass, field

from amazin.blocking import BlockingCalls, is_patched
from amazin.errors import NodeError
from amazin.nodes.folder.calls import ask
from amazin.nodes.folder.reading import FolderObject

_THREADS = 2
_ATTEMPTS = 10
Verify = Callable[[], bytes]
"""Blocks; returns the checksums of a file that is whole."""


class UnverifiedError(Exception):
    """A content file has to be verified as a whole before it is read."""

    def __init__(self, file: str, verify: Verify) -> None:
        super().__init__(file)
        self.file = file
        self.verify = verify


class Verifier:
    """Runs verifications; small requests of the folder have other threads."""

    def __init__(self) -> None:
        self.calls = BlockingCalls(_THREADS)
        self._running: dict[Hashable, Future[bytes]] = {}

    def sums(self, file: Hashable, verify: Verify) -> bytes:
        """Return what `verify` does; who asks for the same file meanwhile waits for it.

        It goes on if who asked first goes away. Raises: NodeError.
        """
        key = (file, os.getpid())  # a forked process has none of its parent's threads
        mine = Future[bytes]()
        running = self._running.setdefault(key, mine)
        if running is mine:
            if is_patched():
                sys.modules["gevent"].spawn(self._run, key, mine, verify)
            else:
                self._run(key, mine, verify)
        return running.result()

    def _run(self, key: Hashable, result: Future[bytes], verify: Verify) -> None:
        try:
            sums = ask(self.calls, verify)
        except BaseException as exc:  # noqa: BLE001 - raised again by who asked
            del self._running[key]
            result.set_exception(exc)
        else:
            del self._running[key]
            result.set_result(sums)


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
                sums = self.verifier.sums(exc.file, exc.verify)
                self._verified[exc.file] = sums
        raise NodeError("the object keeps changing")

    def cancel(self) -> None:
        """Release nothing: nothing is held. Idempotent, harmless after `wait`."""
