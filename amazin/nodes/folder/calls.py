"""How a folder node runs its blocking work: off the event loop, with our exceptions."""

from __future__ import annotations

import errno
import json
import logging
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Generic, TypeVar, TypeVarTuple

from amazin.blocking import BlockingCalls
from amazin.errors import (
    LostCopyError,
    NodeError,
    NodeFullError,
    NodePermissionError,
    NodeReadOnlyError,
    NodeTimeoutError,
)

Answer = TypeVar("Answer")
Arguments = TypeVarTuple("Arguments")

ERRORS: dict[int | None, type[NodeError]] = {
    errno.ENOSPC: NodeFullError,
    errno.EDQUOT: NodeFullError,
    errno.EROFS: NodeReadOnlyError,
    errno.EACCES: NodePermissionError,
    errno.EPERM: NodePermissionError,
}
"""What an error of the system means; all others are failures of the disk."""

log = logging.getLogger("amazin.nodes")


def ask(
    calls: BlockingCalls, function: Callable[[*Arguments], Answer], *args: *Arguments
) -> Answer:
    """Run a function off the event loop; translate its exceptions to `NodeError`."""
    try:
        return calls.run(function, *args)
    except LostCopyError as exc:
        # Here and not where it is found: a native thread must not log.
        if exc.is_news:
            log.warning("%s", exc)
        raise
    except (OSError, sqlite3.Error, json.JSONDecodeError, UnicodeDecodeError) as exc:
        raise _translated(exc) from exc


def _translated(exc: Exception) -> NodeError:
    if isinstance(exc, OSError):
        return ERRORS.get(exc.errno, NodeError)(f"the folder failed: {name_of(exc)}")
    primary = getattr(exc, "sqlite_errorcode", 0) & 0xFF
    kind = {sqlite3.SQLITE_FULL: NodeFullError, sqlite3.SQLITE_BUSY: NodeTimeoutError}
    reason = getattr(exc, "sqlite_errorname", type(exc).__name__)
    return kind.get(primary, NodeError)(f"the folder's index failed: {reason}")


def name_of(error: OSError) -> str:
    """Return the name of a system's error, as EROFS."""
    return errno.errorcode.get(error.errno or 0, type(error).__name__)


def _release_nothing() -> None:
    pass


@dataclass(frozen=True, slots=True)
class PendingCall(Generic[Answer]):
    """A `Pending` that does its work in `wait`, because a folder sends nothing."""

    calls: BlockingCalls
    work: Callable[[], Answer]
    release: Callable[[], None] = _release_nothing

    def is_ready(self, timeout: float) -> bool:
        """Always true: nothing happens before `wait`."""
        return True

    def wait(self) -> Answer:
        """Do the work."""
        return ask(self.calls, self.work)

    def cancel(self) -> None:
        """Release the call's resources. Idempotent, harmless after `wait`."""
        self.release()


class StartedCall(Generic[Answer]):
    """A `Pending` whose work goes on beside the caller, who need not wait for its end.

    A disk that hangs, as that of a server which went away, holds up its calls for ever.
    """

    def __init__(self, calls: BlockingCalls, work: Callable[[], Answer]) -> None:
        self._future: Future[Answer] = Future()
        self._thread = threading.Thread(
            target=self._run, args=(calls, work), name="check", daemon=True
        )
        self._thread.start()

    def _run(self, calls: BlockingCalls, work: Callable[[], Answer]) -> None:
        try:
            self._future.set_result(ask(calls, work))
        except BaseException as exc:  # noqa: BLE001 - raised again by `wait`
            self._future.set_exception(exc)

    def is_ready(self, timeout: float) -> bool:
        """Whether the work ends within that many seconds."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def wait(self) -> Answer:
        """Return what the work returned."""
        self._thread.join()
        return self._future.result()

    def cancel(self) -> None:
        """Leave the work to itself."""
