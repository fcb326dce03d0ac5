"""What tests begin and leave open: it is closed when the test ends.

For what is made deep within a test; what a test makes itself it may close by `with`.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Protocol, TypeVar


class Closable(Protocol):
    """Whatever has to be closed."""

    def close(self) -> object:
        """End what it began."""


T = TypeVar("T", bound=Closable)
_open = ExitStack()


def closed_later(thing: T) -> T:
    """Return the thing, which is closed at the end of the test, the last one first."""
    _open.callback(thing.close)
    return thing


def close_all() -> None:
    """Close what is open."""
    _open.close()
