"""Calls that block (disk, SQLite) kept away from gevent's event loop.

Does not import gevent: whether the process is patched is seen when a call is made.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

Arguments = TypeVarTuple("Arguments")
Result = TypeVar("Result")


def run_blocking(function: Callable[[*Arguments], Result], *args: *Arguments) -> Result:
    """Call `function(*args)`, in the hub's native threads if gevent has patched us.

    There it runs to its end even if the waiting greenlet is killed or timed out. It
    must not touch anything patched (locks, sleep, sockets), nor what the greenlet
    goes on to use.
    """
    monkey = sys.modules.get("gevent.monkey")
    if monkey is None or not monkey.is_module_patched("socket"):
        return function(*args)
    result, error = (
        sys.modules["gevent"].get_hub().threadpool.apply(_outcome, (function, args))
    )
    if error is not None:
        raise error
    return result  # type: ignore[no-any-return]


def _outcome(
    function: Callable[[*Arguments], Result], args: tuple[*Arguments]
) -> tuple[Result | None, BaseException | None]:
    # gevent prints the traceback of whatever a job raises, also of what is expected.
    try:
        return function(*args), None
    except BaseException as exc:  # noqa: BLE001 - raised again by the caller
        return None, exc
