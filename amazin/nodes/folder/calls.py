"""How the work of a folder node is asked for: off the event loop, errors as ours."""

from __future__ import annotations

import errno
import json
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar, TypeVarTuple

from amazin.blocking import BlockingCalls
from amazin.errors import NodeError, NodeFullError, NodeTimeoutError

Answer = TypeVar("Answer")
Arguments = TypeVarTuple("Arguments")


def ask(
    calls: BlockingCalls, function: Callable[[*Arguments], Answer], *args: *Arguments
) -> Answer:
    """Run off the event loop; the one place where foreign errors become ours."""
    try:
        return calls.run(function, *args)
    except (OSError, sqlite3.Error, json.JSONDecodeError, UnicodeDecodeError) as exc:
        raise _translated(exc) from exc


def _translated(exc: Exception) -> NodeError:
    if isinstance(exc, OSError):
        full = exc.errno in (errno.ENOSPC, errno.EDQUOT)
        reason = errno.errorcode.get(exc.errno or 0, type(exc).__name__)
        return (NodeFullError if full else NodeError)(f"the folder failed: {reason}")
    primary = getattr(exc, "sqlite_errorcode", 0) & 0xFF
    kind = {sqlite3.SQLITE_FULL: NodeFullError, sqlite3.SQLITE_BUSY: NodeTimeoutError}
    reason = getattr(exc, "sqlite_errorname", type(exc).__name__)
    return kind.get(primary, NodeError)(f"the folder's index failed: {reason}")


def _hold_nothing() -> None:
    pass


@dataclass(frozen=True, slots=True)
class PendingCall(Generic[Answer]):
    """A `Pending` that asks when it is waited for: a folder has nothing to send."""

    calls: BlockingCalls
    work: Callable[[], Answer]
    release: Callable[[], None] = _hold_nothing

    def is_ready(self, timeout: float) -> bool:
        """Answer at once: nothing arrives before `wait`."""
        return True

    def wait(self) -> Answer:
        """Do the work."""
        return ask(self.calls, self.work)

    def cancel(self) -> None:
        """Release what the question holds. Idempotent, harmless after `wait`."""
        self.release()
